//! Passing books on: stored on the second pile before they leave the first.
//!
//! If books of their messages stay behind, the new messages and the records of the old ones are
//! one atomic batch. A message whose books all pass is acked after it.

use futures_util::future::join_all;
use gopherworks_pipeline::book::Book;
use gopherworks_pipeline::store::{Pass, Passed, Receipt};
use tokio::sync::OwnedMutexGuard;

use super::append::{NewPack, Place, loaded};
use super::change::Change;
use super::*;

/// A message of which books are passed, locked.
struct Source {
    pile: Arc<Pile>,
    pack: OwnedMutexGuard<Pack>,
}

/// A book that is passed.
struct Move {
    /// Its place in the call.
    at: usize,
    /// Index of its source.
    source: usize,
}

type Answers = Vec<Result<Passed, StoreError>>;

fn each<T>(count: usize, error: &StoreError) -> Vec<Result<T, StoreError>> {
    (0..count).map(|_| Err(error.clone())).collect()
}

impl Engine {
    pub async fn pass(&self, pass: Pass) -> Answers {
        let count = pass.books.len();
        let to = match self.pile(&pass.to) {
            Ok(to) => to,
            Err(error) => return each(count, &error),
        };
        let (receipts, changed): (Vec<_>, Vec<_>) = pass.books.into_iter().unzip();
        // Before the leases are checked: it may take time.
        let places: Vec<usize> = (0..count).filter(|at| changed[*at].is_some()).collect();
        let changed = match loaded(changed.into_iter().flatten().collect(), self.largest()).await {
            Ok(books) => places.into_iter().zip(books).collect::<HashMap<_, _>>(),
            Err(error) => return each(count, &error),
        };
        let tickets: Vec<Option<Ticket>> =
            receipts.iter().map(|receipt| Ticket::read(receipt, self.server.nonce)).collect();
        let (mut sources, indexes) = self.sources(&tickets).await;
        for _ in 0..RACES {
            match self
                .try_pass(&to, pass.hold, (&receipts, &tickets), &indexes, &changed, &mut sources)
                .await
            {
                Ok(answers) => return answers,
                // Another process was faster: what it has left is passed.
                Err(Fault::Raced) => {
                    for source in &mut sources {
                        if let Err(error) = self.refresh(&mut source.pack).await {
                            return each(count, &error);
                        }
                    }
                }
                Err(fault) => return each(count, &fault.error()),
            }
        }
        each(count, &busy())
    }

    /// Locks the messages of receipts, in one order for all callers.
    async fn sources(
        &self,
        tickets: &[Option<Ticket>],
    ) -> (Vec<Source>, HashMap<(u32, u64), usize>) {
        let keys = tickets.iter().flatten().map(|ticket| ((ticket.pile, ticket.sequence), *ticket));
        let (mut sources, mut indexes) = (Vec::new(), HashMap::new());
        for (key, ticket) in keys.collect::<BTreeMap<_, _>>() {
            let Ok((pile, pack)) = self.find(&ticket) else { continue };
            indexes.insert(key, sources.len());
            sources.push(Source { pile, pack: pack.lock_owned().await });
        }
        (sources, indexes)
    }

    async fn try_pass(
        &self,
        to: &Pile,
        hold: bool,
        (receipts, tickets): (&[Receipt], &[Option<Ticket>]),
        indexes: &HashMap<(u32, u64), usize>,
        changed: &HashMap<usize, Book>,
        sources: &mut [Source],
    ) -> Result<Answers, Fault> {
        for source in sources.iter_mut().filter(|source| source.pack.unknown.is_some()) {
            self.refresh(&mut source.pack).await.map_err(Fault::Failed)?;
        }
        let now = self.server.now();
        let piles: Vec<Arc<Pile>> = sources.iter().map(|source| source.pile.clone()).collect();
        let packs = sources.iter_mut().map(|source| &mut *source.pack);
        let mut changes: Vec<Change<'_>> = packs.map(Change::new).collect();
        let mut answers: Answers = Vec::with_capacity(tickets.len());
        let (mut moves, mut books, mut origin) = (Vec::new(), Vec::new(), Vec::new());
        for (at, ticket) in tickets.iter().enumerate() {
            let found = ticket
                .and_then(|ticket| Some((ticket, *indexes.get(&(ticket.pile, ticket.sequence))?)));
            let Some((ticket, source)) = found else {
                answers.push(Err(StoreError::Gone));
                continue;
            };
            let (change, book) = (&mut changes[source], ticket.at as usize);
            if let Err(error) = change.pack.held(book, ticket.number, now) {
                answers.push(Err(error));
                continue;
            }
            let receipt = hold.then(|| receipts[at].clone());
            answers.push(Ok(Passed { receipt, acked: true }));
            if change.record.slots[book].is_gone {
                continue;
            }
            if ticket.pile == to.index {
                if !hold {
                    change.record.slots[book].hold = None;
                    change.ended.push(book);
                }
                continue;
            }
            change.record.slots[book].is_gone = true;
            change.ended.push(book);
            origin.extend(change.pack.uid);
            origin.push(book as u8);
            books.push(changed.get(&at).unwrap_or(&change.pack.books[book]).clone());
            moves.push(Move { at, source });
        }
        let recorded: Vec<bool> = changes.iter().map(|change| !change.record.is_gone()).collect();
        let origin = digest([b"pass".as_slice(), to.consumer.as_bytes(), &origin]);
        let new = self.packs(&origin, books).map_err(Fault::Failed)?;
        let hold = hold.then(|| self.new_hold(to.spec.lease));
        let places =
            match self.store_moved(to, &new, hold.map(|(hold, _)| hold), &mut changes).await {
                Ok(places) => places,
                Err(fault) => {
                    self.are_refused(&mut changes, &fault);
                    return Err(fault);
                }
            };
        let mut moved = moves.iter();
        for (pack, place) in new.into_iter().zip(places) {
            let count = pack.books.len();
            let receipts = match (place, hold) {
                (Some(place), Some((_, until))) => self.register(to, pack, place, until),
                _ => vec![],
            };
            let mut receipts = receipts.into_iter();
            for moved in moved.by_ref().take(count) {
                answers[moved.at] = Ok(Passed { receipt: receipts.next(), acked: true });
            }
        }
        let leave = piles.iter().zip(changes).zip(recorded);
        let leave = leave.map(|((pile, change), recorded)| self.has_left(pile, change, recorded));
        let left = join_all(leave).await;
        for Move { at, source } in &moves {
            if let (Ok(passed), false) = (&mut answers[*at], left[*source]) {
                passed.acked = false;
            }
        }
        for source in sources {
            self.give_back(&source.pile, &mut source.pack).await;
        }
        Ok(answers)
    }

    /// Stores the new messages, and the records of those that keep books, in one batch.
    async fn store_moved(
        &self,
        to: &Pile,
        new: &[NewPack],
        hold: Option<crate::record::Hold>,
        changes: &mut [Change<'_>],
    ) -> Result<Vec<Option<Place>>, Fault> {
        let records = self.records_of(changes);
        match self.store(to, new, hold, vec![], &records).await {
            Ok((places, last)) => {
                self.are_recorded(changes, last);
                Ok(places)
            }
            // An earlier try has stored them.
            Err(Fault::Duplicate) => {
                let places = self.store_each(to, new, hold).await?;
                let last = self.server.publish(&records).await?;
                self.are_recorded(changes, last.sequence);
                Ok(places)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Removes a message whose books have all passed; true if they have left it, which is known of
    /// those that were recorded.
    async fn has_left(&self, pile: &Pile, change: Change<'_>, is_recorded: bool) -> bool {
        is_recorded || matches!(self.finish(pile, change).await, Ok(()) | Err(StoreError::Gone))
    }
}
