//! How a cart is burned: its books together or one by one, and what becomes of each.

use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::{Fire, IncineratorCore};
use crate::book::Book;
use crate::cart::Cart;
use crate::clock::Time;
use crate::failure::Failure;
use crate::fault::{Deed, Point};
use crate::lease::{Lease, Verdict};
use crate::pool::guarded;

impl IncineratorCore {
    /// Burns a cart's books and settles them, from `began`, which is now, or untimed; gives the empty cart, if it has not gone home, and the time afterwards. `Err`
    /// is the text of a panic; the cart has gone home then, by its marks. A cart that was begun in an earlier `round` of the pause waits for the next one.
    pub(super) fn burn(
        &self,
        cart: Cart,
        fire: &Fire,
        began: Option<Time>,
        round: u64,
    ) -> Result<(Option<Cart>, Option<Time>), String> {
        if !self.pause.is_current(round) {
            self.park(cart);
            return Ok((None, began));
        }
        let mut cart = match self.begin(cart) {
            Ok(cart) => cart,
            Err(empty) => {
                self.untried(round);
                return Ok((Some(empty), began));
            }
        };
        let mut condition = None;
        let plain = is_plain(&cart) && self.works.faults().is_none();
        let mut struck = Vec::new();
        let together = if self.one_by_one.load(Ordering::Relaxed) || is_apart(&cart) {
            Ok(None)
        } else {
            let books: SmallVec<[&Book; 64]> = if plain {
                cart.books().iter().collect()
            } else {
                (0..cart.len()).filter_map(|at| cart.book(at)).collect()
            };
            guarded(|| {
                if books.is_empty() {
                    return None;
                }
                if self.works.faults().is_some() {
                    for (index, book) in books.iter().enumerate() {
                        struck.extend(self.fault(book).map(|failure| (index, failure)));
                    }
                }
                let burned = fire.burn_cart(&books);
                self.one_by_one.store(burned.is_none(), Ordering::Relaxed);
                burned
            })
        };
        match together {
            Err(text) => {
                // The book at fault is not known: none is charged, and each is burned by itself the next time.
                each_left(&mut cart, |lease, index| {
                    lease.mark_burned(index, Verdict::Apart);
                });
                return Err(text);
            }
            Ok(Some(mut results)) => {
                for (index, result) in &struck {
                    if let Some(burned) = results.get_mut(*index) {
                        *burned = Err(result.clone());
                    }
                }
                let mut results = results.into_iter();
                each_left(&mut cart, |lease, index| match results.next() {
                    Some(result) => self.mark(lease, index, result, &mut condition),
                    // Not known, so not charged; by itself it has one.
                    None => lease.mark_burned(index, Verdict::Apart),
                });
            }
            Ok(None) => {
                let burned = match plain && !fire.blocks() {
                    true => self.burn_plain(&mut cart, fire, &mut condition),
                    false => self.burn_each(&mut cart, 0, fire, &mut condition),
                };
                if let Err(panic) = burned {
                    self.tell_receipts(&cart);
                    self.trace(&cart);
                    return panic.map_or(Ok((None, began)), Err);
                }
            }
        }
        // Before the cart is on its way back to the pile: it must find the pause.
        self.weigh(round, condition.as_ref());
        Ok(self.burned(cart, began, fire.blocks()))
    }

    /// [`IncineratorCore::burn_each`] where all books are as they were leased and burning does not wait: one catch, and no mark, for all up to the first
    /// that fails.
    fn burn_plain(
        &self,
        cart: &mut Cart,
        fire: &Fire,
        condition: &mut Option<Failure>,
    ) -> Result<(), Option<String>> {
        let Some(lease) = &mut cart.body_mut().lease else {
            return Ok(());
        };
        if self.works.is_halting() {
            return Err(None);
        }
        let mut done = 0;
        let burned = guarded(|| fire.burn_until(lease.books(), &mut done));
        // A kind of somebody else's may count as it likes.
        let done = done.min(lease.len());
        lease.mark_first_burned(done);
        match burned {
            Ok(Ok(())) if done == lease.len() => Ok(()),
            Ok(Ok(())) => self.burn_each(cart, done, fire, condition),
            Ok(Err(failure)) => {
                self.mark(lease, done, Err(failure), condition);
                self.burn_each(cart, done + 1, fire, condition)
            }
            Err(text) => {
                let failure = Failure::transient(format!("panicked: {text}"));
                lease.mark_burned(done, Verdict::Refuse(failure));
                Err(Some(text))
            }
        }
    }

    /// Burns one book after the other, from the one at `first` on, until the sink can't take any. `Err` ends the cart early: with the text of a panic, or
    /// without one as the run is halting.
    fn burn_each(
        &self,
        cart: &mut Cart,
        first: usize,
        fire: &Fire,
        condition: &mut Option<Failure>,
    ) -> Result<(), Option<String>> {
        for index in first..cart.len() {
            if condition.is_some() {
                return Ok(());
            }
            let Some(book) = cart.book(index) else {
                continue;
            };
            if self.works.is_halting() {
                return Err(None);
            }
            // What was begun or has failed before is worked off: nothing but its pile takes it back.
            if let Some(lease) = &cart.body().lease
                && self.works.takes_back(lease, index)
            {
                if let Some(lease) = &mut cart.body_mut().lease {
                    lease.mark(index, Verdict::Return);
                }
                continue;
            }
            let burned = guarded(|| self.fault(book).map_or_else(|| fire.burn(book), Err));
            let Some(lease) = &mut cart.body_mut().lease else {
                return Ok(());
            };
            match burned {
                Ok(result) => self.mark(lease, index, result, condition),
                Err(text) => {
                    let failure = Failure::transient(format!("panicked: {text}"));
                    lease.mark_burned(index, Verdict::Refuse(failure));
                    return Err(Some(text));
                }
            }
        }
        Ok(())
    }

    fn fault(&self, book: &Book) -> Option<Failure> {
        match self.works.fault(&self.name, Point::Burn, Some(book.id.0)) {
            Some(Deed::Error(failure)) => Some(failure),
            _ => None,
        }
    }

    /// Marks what became of the book at `index`. The first failure that is the sink's is the `condition` of the sink; it charges no book.
    fn mark(
        &self,
        lease: &mut Lease,
        index: usize,
        result: Result<(), Failure>,
        condition: &mut Option<Failure>,
    ) {
        match result {
            Ok(()) => lease.mark_burned(index, Verdict::Ack),
            // What fails because the run is being stopped is no book's fault.
            Err(_) if self.works.is_halting() => lease.mark_burned(index, Verdict::Return),
            Err(failure) if failure.is_of_sink() => {
                lease.mark(index, Verdict::Return);
                condition.get_or_insert(failure);
            }
            Err(failure) => lease.mark_burned(index, Verdict::Refuse(failure)),
        }
    }
}

/// True if all books are as they were leased, and none bears a mark.
fn is_plain(cart: &Cart) -> bool {
    let body = cart.body();
    body.worked.is_none() && (body.lease.as_ref()).is_some_and(|lease| lease.is_unmarked())
}

/// True if a book of it is to be burned by itself.
fn is_apart(cart: &Cart) -> bool {
    (cart.body().lease.as_ref())
        .is_some_and(|lease| !lease.is_first() && (0..lease.len()).any(|at| lease.note(at).apart))
}

/// Calls `each` for every book that neither failed nor was dropped before.
fn each_left(cart: &mut Cart, mut each: impl FnMut(&mut Lease, usize)) {
    for index in 0..cart.len() {
        if cart.book(index).is_some()
            && let Some(lease) = &mut cart.body_mut().lease
        {
            each(lease, index);
        }
    }
}
