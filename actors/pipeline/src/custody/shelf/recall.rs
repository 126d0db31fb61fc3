//! Adding books to a shelf, and returning books to a source that can produce them again.

use super::{BookRun, Shelf};
use crate::book::Book;
use crate::custody::ledger::Ids;

impl Shelf {
    /// Like [`Shelf::put_all`], for books of the pile's source.
    pub fn put_from_source(&mut self, books: Vec<Book>, bytes: u64, ids: Option<Ids>) {
        self.add(books, bytes, ids, true);
    }

    pub(super) fn add(&mut self, books: Vec<Book>, bytes: u64, ids: Option<Ids>, sourced: bool) {
        if books.is_empty() {
            return;
        }
        let (first, count) = (self.next_position, books.len());
        self.ready_bytes += bytes;
        self.next_position += count as u64;
        self.fresh_books += count;
        self.fresh.push_back(BookRun { first, ids, bytes, sourced, books: books.into_iter() });
    }

    /// True if books that return untried go back to their source.
    pub fn is_recalling(&self) -> bool {
        self.recalling
    }

    /// Removes and returns books of the pile's source that were never leased. If all books came
    /// from it, also those that were returned untried, now or later.
    pub fn recall(&mut self) -> Vec<Book> {
        let mut recalled = Vec::new();
        self.recalling = !self.mixed;
        if self.recalling {
            let returned = std::mem::take(&mut self.returned);
            for (position, entry) in returned {
                match entry.note.is_untouched() {
                    true => recalled.push(entry.book),
                    false => _ = self.returned.insert(position, entry),
                }
            }
        }
        let first = self.fresh.front().map(|run| run.first);
        let mut position = first.unwrap_or(self.next_position);
        for mut run in std::mem::take(&mut self.fresh) {
            if run.sourced {
                recalled.extend(run.books);
                continue;
            }
            // Positions of fresh books are consecutive.
            run.first = position;
            position += run.books.len() as u64;
            self.fresh.push_back(run);
        }
        self.next_position = position;
        self.fresh_books = self.fresh.iter().map(|run| run.books.len()).sum();
        self.ready_bytes -= recalled.iter().map(Book::size).sum::<u64>();
        recalled
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use proptest::prelude::*;

    use crate::book::Book;
    use crate::custody::lease::{Lease, LeaseVerdict};
    use crate::custody::{Bound, Custody, HolderId, Numbered, PileKey, Want};
    use gopherworks_supervision::clock::Clock;

    const PILE: PileKey = PileKey(0);

    fn store() -> Arc<Custody> {
        let piles = [(Bound::default(), 2)];
        Custody::new(piles, Clock::real(), Arc::new(|_| {}))
    }

    fn books(count: usize) -> Vec<Book> {
        (0..count).map(|n| Book::new(format!("{n}"))).collect()
    }

    fn from_source(store: &Custody, count: usize) {
        let first = store.number(count as u64);
        let put = store.put_numbered(PILE, Numbered::from(books(count), first));
        put.expect("no bound");
    }

    fn lease(store: &Custody, books: usize) -> Option<Lease> {
        store.lease(PILE, Want { books, bytes: None }, HolderId::NONE)
    }

    #[derive(Debug, Clone)]
    enum ShelfOp {
        Source(usize),
        Offer(usize),
        Lease(usize),
        /// Burns the first books of the oldest lease; the others return.
        Burn(usize),
        /// Returns the oldest lease untried.
        Return,
        Recall,
    }

    fn ops(offers: bool) -> impl Strategy<Value = Vec<ShelfOp>> {
        let op = prop_oneof![
            (1..6usize).prop_map(ShelfOp::Source),
            (1..6usize).prop_map(move |count| match offers {
                true => ShelfOp::Offer(count),
                false => ShelfOp::Source(count),
            }),
            (1..8usize).prop_map(ShelfOp::Lease),
            (1..8usize).prop_map(ShelfOp::Burn),
            Just(ShelfOp::Return),
            Just(ShelfOp::Recall),
        ];
        prop::collection::vec(op, 1..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None, ..ProptestConfig::default()
        })]

        /// Whatever is recalled, no book is lost, duplicated or reordered, and offered books stay.
        #[test]
        fn what_goes_back_was_never_offered_and_all_else_stays(
            (offers, ops) in any::<bool>().prop_flat_map(|offers| (Just(offers), ops(offers))),
        ) {
            let store = store();
            let (mut leases, mut offered) = (Vec::new(), 0);
            let mut ended = BTreeSet::new();
            for op in ops {
                match op {
                    ShelfOp::Source(count) => from_source(&store, count),
                    ShelfOp::Offer(count) => {
                        store.put(PILE, books(count)).expect("no bound");
                        offered += count as u64;
                    }
                    ShelfOp::Lease(count) => {
                        let Some(lease) = lease(&store, count) else {
                            continue;
                        };
                        let ids: Vec<u64> = lease.books().iter().map(|book| book.id.0).collect();
                        prop_assert!(ids.is_sorted(), "{:?}", ids);
                        leases.push(lease);
                    }
                    ShelfOp::Burn(count) if !leases.is_empty() => {
                        let mut lease = leases.remove(0);
                        prop_assert!(lease.begin_burn());
                        for (at, book) in lease.books().to_vec().iter().enumerate() {
                            let burned = at < count;
                            let verdict =
                                if burned { LeaseVerdict::Ack } else { LeaseVerdict::Return };
                            lease.mark(at, verdict);
                            prop_assert!(!burned || ended.insert(book.id));
                        }
                        let _ = store.settle(lease);
                    }
                    ShelfOp::Return if !leases.is_empty() => {
                        drop(leases.remove(0));
                        store.collect(PILE);
                    }
                    ShelfOp::Recall => drop(store.recall(PILE)),
                    ShelfOp::Burn(_) | ShelfOp::Return => {}
                }
                prop_assert_eq!(store.ledger().lost, 0);
            }
            drop(store.recall(PILE));
            drop(leases);
            store.collect(PILE);
            let ledger = store.ledger();
            prop_assert!(ledger.balances());
            prop_assert!(ledger.offered >= offered, "{:?}", ledger);
            if !offers {
                prop_assert_eq!(ledger.in_flight, 0);
                prop_assert_eq!(ledger.offered, ledger.burned);
            }
        }
    }
}
