//! Adding books to a shelf, and returning books to a source that can produce them again.

use super::{Run, Shelf};
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
        let (first, count) = (self.next_place, books.len());
        self.ready_bytes += bytes;
        self.next_place += count as u64;
        self.fresh_books += count;
        self.fresh.push_back(Run { first, ids, bytes, sourced, books: books.into_iter() });
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
            for (place, entry) in returned {
                match entry.note.is_untouched() {
                    true => recalled.push(entry.book),
                    false => _ = self.returned.insert(place, entry),
                }
            }
        }
        let first = self.fresh.front().map(|run| run.first);
        let mut place = first.unwrap_or(self.next_place);
        for mut run in std::mem::take(&mut self.fresh) {
            if run.sourced {
                recalled.extend(run.books);
                continue;
            }
            // Positions of fresh books are consecutive.
            run.first = place;
            place += run.books.len() as u64;
            self.fresh.push_back(run);
        }
        self.next_place = place;
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
    use crate::custody::lease::{Lease, Verdict};
    use crate::custody::{Bound, Custody, Numbered, PileKey, Want};
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
        store.lease(PILE, Want { books, bytes: None }, 7)
    }

    #[derive(Debug, Clone)]
    enum Step {
        Source(usize),
        Offer(usize),
        Lease(usize),
        /// Burns the first books of the oldest lease; the others return.
        Burn(usize),
        /// Returns the oldest lease untried.
        Return,
        Recall,
    }

    fn steps(offers: bool) -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (1..6usize).prop_map(Step::Source),
            (1..6usize).prop_map(move |count| match offers {
                true => Step::Offer(count),
                false => Step::Source(count),
            }),
            (1..8usize).prop_map(Step::Lease),
            (1..8usize).prop_map(Step::Burn),
            Just(Step::Return),
            Just(Step::Recall),
        ];
        prop::collection::vec(step, 1..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None, ..ProptestConfig::default()
        })]

        /// Whatever is recalled, no book is lost, duplicated or reordered, and offered books stay.
        #[test]
        fn what_goes_back_was_never_offered_and_all_else_stays(
            (offers, steps) in any::<bool>().prop_flat_map(|offers| (Just(offers), steps(offers))),
        ) {
            let store = store();
            let (mut leases, mut offered) = (Vec::new(), 0);
            let mut ended = BTreeSet::new();
            for step in steps {
                match step {
                    Step::Source(count) => from_source(&store, count),
                    Step::Offer(count) => {
                        store.put(PILE, books(count)).expect("no bound");
                        offered += count as u64;
                    }
                    Step::Lease(count) => {
                        let Some(lease) = lease(&store, count) else {
                            continue;
                        };
                        let ids: Vec<u64> = lease.books().iter().map(|book| book.id.0).collect();
                        prop_assert!(ids.is_sorted(), "{:?}", ids);
                        leases.push(lease);
                    }
                    Step::Burn(count) if !leases.is_empty() => {
                        let mut lease = leases.remove(0);
                        prop_assert!(lease.begin_burn());
                        for (at, book) in lease.books().to_vec().iter().enumerate() {
                            let burned = at < count;
                            lease.mark(at, if burned { Verdict::Ack } else { Verdict::Return });
                            prop_assert!(!burned || ended.insert(book.id));
                        }
                        let _ = store.settle(lease);
                    }
                    Step::Return if !leases.is_empty() => {
                        drop(leases.remove(0));
                        store.collect(PILE);
                    }
                    Step::Recall => drop(store.recall(PILE)),
                    Step::Burn(_) | Step::Return => {}
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
