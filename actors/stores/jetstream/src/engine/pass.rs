//! Passing books on: the new messages, and records of the old ones that say that the books are
//! gone, are one atomic batch. A message whose books are all gone is acked after it.

use futures_util::future::join_all;
use gopherworks_pipeline::book::Book;
use gopherworks_pipeline::store::{Pass, Passed, Receipt};
use tokio::sync::OwnedMutexGuard;

use super::append::{NewPack, Place, loaded};
use super::change::Change;
use super::*;
use crate::server::BATCH;

/// A message of which books are passed, locked.
struct Source {
    pile: Arc<Pile>,
    pack: OwnedMutexGuard<Pack>,
}

type Answers = Vec<Result<Passed, StoreError>>;

fn each<T>(count: usize, error: &StoreError) -> Vec<Result<T, StoreError>> {
    (0..count).map(|_| Err(error.clone())).collect()
}

/// Maximum number of books that are passed at once: each may need a message of its own, a record of
/// that message, and one of the message that it comes from.
const MOST: usize = BATCH / 3 / PACK_BOOKS * PACK_BOOKS;

impl Engine {
    pub async fn pass(&self, pass: Pass) -> Answers {
        let count = pass.books.len();
        let to = match self.pile(&pass.to) {
            Ok(to) => to,
            Err(error) => return each(count, &error),
        };
        let mut answers = Answers::with_capacity(count);
        for books in pass.books.chunks(MOST) {
            let failed = answers.iter().filter_map(|answer| answer.as_ref().err());
            let some = match failed.filter(|error| !error.is_single()).last().cloned() {
                Some(error) => each(books.len(), &error),
                None => self.pass_some(&to, books.to_vec(), pass.hold).await,
            };
            answers.extend(some);
        }
        answers
    }

    async fn pass_some(
        &self,
        to: &Pile,
        books: Vec<(Receipt, Option<Book>)>,
        hold: bool,
    ) -> Answers {
        let count = books.len();
        let (receipts, changed): (Vec<_>, Vec<_>) = books.into_iter().unzip();
        // Before the leases are checked: it may take time.
        let places: Vec<usize> = (0..count).filter(|at| changed[*at].is_some()).collect();
        let changed = match loaded(changed.into_iter().flatten().collect(), self.largest()).await {
            Ok(books) => places.into_iter().zip(books).collect::<HashMap<_, _>>(),
            Err(error) => return each(count, &error),
        };
        let tickets: Vec<Option<Ticket>> =
            receipts.iter().map(|receipt| Ticket::read(receipt, self.server.nonce)).collect();
        let (mut sources, indexes) = self.locked(&tickets).await;
        let mut stored = false;
        for _ in 0..RACES {
            let receipts = (receipts.as_slice(), tickets.as_slice());
            match self
                .try_pass(to, (hold, stored), receipts, &indexes, &changed, &mut sources)
                .await
            {
                Ok(answers) => return answers,
                // Another process was faster: what it has left is passed.
                Err(fault @ (Fault::Raced | Fault::Duplicate)) => {
                    stored |= matches!(fault, Fault::Duplicate);
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
    async fn locked(
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
        (hold, stored): (bool, bool),
        (receipts, tickets): (&[Receipt], &[Option<Ticket>]),
        indexes: &HashMap<(u32, u64), usize>,
        changed: &HashMap<usize, Book>,
        sources: &mut [Source],
    ) -> Result<Answers, Fault> {
        for source in sources.iter_mut().filter(|source| source.pack.unknown.is_some()) {
            self.refresh(&mut source.pack).await.map_err(Fault::Failed)?;
        }
        let now = self.server.now();
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
            moves.push(at);
        }
        let origin = digest([b"pass".as_slice(), to.consumer.as_bytes(), &origin]);
        let new = self.packs(&origin, books).map_err(Fault::Failed)?;
        let hold = hold.then(|| self.new_hold(to.spec.lease));
        let places =
            match self.store_moved(to, &new, (hold.map(|it| it.0), stored), &mut changes).await {
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
            for at in moved.by_ref().take(count) {
                answers[*at] = Ok(Passed { receipt: receipts.next(), acked: true });
            }
        }
        let packs = sources.iter_mut().map(|source| (&source.pile, &mut source.pack));
        join_all(packs.map(|(pile, pack)| self.give_back(pile, pack))).await;
        Ok(answers)
    }

    /// Stores the new messages, and the records of those that the books come from, in one batch.
    /// `stored` says that the server has some of the new ones already.
    async fn store_moved(
        &self,
        to: &Pile,
        new: &[NewPack],
        (hold, stored): (Option<crate::record::Hold>, bool),
        changes: &mut [Change<'_>],
    ) -> Result<Vec<Option<Place>>, Fault> {
        let records = self.records_of(changes, true);
        match self.store(to, new, hold, vec![], &records).await {
            Ok((places, last)) => {
                self.are_recorded(changes, last);
                Ok(places)
            }
            // They were passed before, and a server that was killed has forgotten that they left.
            Err(Fault::Duplicate) if stored => {
                let places = self.store_each(to, new, hold).await?;
                let last = self.server.publish(&records).await?;
                self.are_recorded(changes, last.sequence);
                Ok(places)
            }
            Err(fault) => Err(fault),
        }
    }
}
