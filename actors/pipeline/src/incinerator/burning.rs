//! Burning a cart: all books together or one by one, and the outcome of each.

use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::{Fire, IncineratorCore};
use crate::book::Book;
use crate::crew::cart::Cart;
use crate::custody::lease::{Lease, LeaseVerdict};
use gopherworks_supervision::__private::guarded;
use gopherworks_supervision::clock::Time;
use gopherworks_supervision::failure::Failure;
use gopherworks_supervision::fault::{FaultAction, Point};

impl IncineratorCore {
    /// Burns a cart's books and settles them. `began` is the current time, or `None` for untimed.
    /// Returns the empty cart, unless it was dropped or parked, and the time afterwards. `Err` is
    /// the text of a panic, after which the cart was returned by its marks. A cart from an earlier
    /// `round` of the pause is parked.
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
        let plain = is_plain(&cart) && self.context.faults().is_none();
        let mut struck = Vec::new();
        let together = if self.one_by_one.load(Ordering::Relaxed) || is_apart(&cart) {
            Ok(None)
        } else {
            let books: SmallVec<[&Book; 64]> = if plain {
                cart.books().iter().collect()
            } else {
                (0..cart.len()).filter_map(|at| cart.book(at)).collect()
            };
            self.begin_burn(&cart, 0..cart.len());
            guarded(|| {
                if books.is_empty() {
                    return None;
                }
                if self.context.faults().is_some() {
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
                // The failing book is not known: no attempt is charged, and each book is burned
                // alone next time.
                each_left(&mut cart, |lease, index| {
                    lease.mark_burned(index, LeaseVerdict::Apart);
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
                    // Outcome unknown: no attempt is charged, and the book is burned alone next
                    // time.
                    None => lease.mark_burned(index, LeaseVerdict::Apart),
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
        // Before the cart returns to the pile, so that its next trip sees the pause.
        self.weigh(round, condition.as_ref());
        Ok(self.burned(cart, began, fire.blocks()))
    }

    /// Like [`IncineratorCore::burn_each`], for unchanged and unmarked books and a burn that does
    /// not block: one panic handler for all, and no marks, up to the first failure.
    fn burn_plain(
        &self,
        cart: &mut Cart,
        fire: &Fire,
        condition: &mut Option<Failure>,
    ) -> Result<(), Option<String>> {
        let Some(lease) = &mut cart.body_mut().lease else {
            return Ok(());
        };
        if self.context.is_halting() {
            return Err(None);
        }
        self.context.custody.begin_burn(lease, 0..lease.len());
        let mut done = 0;
        let burned = guarded(|| fire.burn_until(lease.books(), &mut done));
        // A user-defined burn may count wrongly.
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
                lease.mark_burned(done, LeaseVerdict::Refuse(failure));
                Err(Some(text))
            }
        }
    }

    /// Burns book by book, from `first`, until the sink becomes unavailable. `Err` ends the cart
    /// early: with the text of a panic, or with `None` if the run is halting.
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
            if self.context.is_halting() {
                return Err(None);
            }
            // Books with an earlier attempt are finished here: only untried ones go back to the
            // source on a drain.
            if let Some(lease) = &cart.body().lease
                && self.context.takes_back(lease, index)
            {
                if let Some(lease) = &mut cart.body_mut().lease {
                    lease.mark(index, LeaseVerdict::Return);
                }
                continue;
            }
            self.begin_burn(cart, index..index + 1);
            let attempt = cart.attempt(index);
            let burn = || fire.burn_attempt(book, attempt);
            let burned = guarded(|| self.fault(book).map_or_else(burn, Err));
            let Some(lease) = &mut cart.body_mut().lease else {
                return Ok(());
            };
            match burned {
                Ok(result) => self.mark(lease, index, result, condition),
                Err(text) => {
                    let failure = Failure::transient(format!("panicked: {text}"));
                    lease.mark_burned(index, LeaseVerdict::Refuse(failure));
                    return Err(Some(text));
                }
            }
        }
        Ok(())
    }

    fn fault(&self, book: &Book) -> Option<Failure> {
        match self.context.fault(&self.name, Point::Burn, Some(book.id.0)) {
            Some(FaultAction::Error(failure)) => Some(failure),
            _ => None,
        }
    }

    /// Marks the outcome of the book at `index`. A failure of the sink itself charges no book; the
    /// first becomes the `condition`.
    fn mark(
        &self,
        lease: &mut Lease,
        index: usize,
        result: Result<(), Failure>,
        condition: &mut Option<Failure>,
    ) {
        match result {
            Ok(()) => lease.mark_burned(index, LeaseVerdict::Ack),
            // Failures caused by stopping the run are not the book's fault.
            Err(_) if self.context.is_halting() => lease.mark_burned(index, LeaseVerdict::Return),
            Err(failure) if failure.is_of_sink() => {
                lease.mark(index, LeaseVerdict::Return);
                condition.get_or_insert(failure);
            }
            Err(failure) => lease.mark_burned(index, LeaseVerdict::Refuse(failure)),
        }
    }
}

/// True if all books are as they were leased, and unmarked.
fn is_plain(cart: &Cart) -> bool {
    let body = cart.body();
    body.worked.is_none() && (body.lease.as_ref()).is_some_and(|lease| lease.is_unmarked())
}

/// True if a book of it has to be burned alone.
fn is_apart(cart: &Cart) -> bool {
    (cart.body().lease.as_ref())
        .is_some_and(|lease| !lease.is_first() && (0..lease.len()).any(|at| lease.note(at).apart))
}

/// Calls `each` for every book that has not failed or been dropped before.
fn each_left(cart: &mut Cart, mut each: impl FnMut(&mut Lease, usize)) {
    for index in 0..cart.len() {
        if cart.book(index).is_some()
            && let Some(lease) = &mut cart.body_mut().lease
        {
            each(lease, index);
        }
    }
}
