//! The account over several lives of a process on a store.

use std::collections::{BTreeMap, BTreeSet};

use gopherworks_pipeline::book::BookId;

use super::Audit;
use crate::simulate::StoreEnd;

/// Sets of books by what a crash of the process may do to them.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// True if there is a store.
    pub(super) on: bool,
    /// All books that were burned.
    ended: BTreeSet<u64>,
    /// Books from a source that the store has not confirmed: a crash may lose them, and the source
    /// gives them again.
    given: BTreeSet<u64>,
    stored: BTreeSet<u64>,
    /// By incinerator: books burned since its sink was last synced. A crash undoes these burns.
    unsynced: BTreeMap<String, Vec<u64>>,
    /// Burned books whose end the store has not confirmed.
    unconfirmed: BTreeSet<u64>,
    /// Books that may be burned again: a crash came before the store confirmed their ends.
    may_repeat: BTreeSet<u64>,
    undone: BTreeSet<u64>,
    dead: BTreeSet<u64>,
    /// Books whose end the store has confirmed.
    over: BTreeSet<u64>,
    /// Number of permitted repetitions of burns.
    pub(super) repeated: u64,
    pub(super) end: Option<End>,
}

/// The comparison with the store at the end.
#[derive(Debug)]
pub(super) struct End {
    pub(super) dropped: u64,
    pub(super) present: u64,
    /// Lost books in addition to those of the trace.
    pub(super) lost: u64,
    pub(super) duplicates: u64,
}

impl Kept {
    pub(super) fn put(&mut self, books: &[BookId]) {
        if self.on {
            self.given.extend(books.iter().map(|book| book.0));
        }
    }

    /// Records a burn; false if it is a duplicate.
    pub(super) fn burned(&mut self, node: &str, book: u64) -> bool {
        let is_first = self.ended.insert(book) || self.undone.remove(&book);
        let is_repeated = !is_first && self.may_repeat.remove(&book);
        self.repeated += u64::from(is_repeated);
        match self.unsynced.get_mut(node) {
            Some(books) => books.push(book),
            None => _ = self.unsynced.insert(node.to_owned(), vec![book]),
        }
        self.unconfirmed.insert(book);
        is_first || is_repeated
    }

    pub(super) fn synced(&mut self, node: &str) {
        self.unsynced.remove(node);
    }

    pub(super) fn died(&mut self, book: u64) {
        if self.on {
            self.dead.insert(book);
        }
    }

    pub(super) fn confirmed(&mut self, stored: &[BookId], ended: &[BookId]) {
        for book in stored {
            self.given.remove(&book.0);
            self.stored.insert(book.0);
        }
        for book in ended {
            self.unconfirmed.remove(&book.0);
            self.over.insert(book.0);
        }
    }
}

impl Audit {
    /// Records that a book was leased.
    pub(super) fn leased(&mut self, book: u64) {
        if self.kept.over.contains(&book) {
            // The stored end of the book was lost: it counts as a duplicate even before it is
            // burned again.
            self.twice.entry(book).or_default();
        } else if self.kept.on
            && !self.kept.stored.contains(&book)
            && !self.kept.given.contains(&book)
            && !self.kept.ended.contains(&book)
            && !self.open.contains_key(&book)
        {
            // The book was stored by a commit whose outcome a killed process never received.
            self.offered += 1;
            self.open.insert(book, Vec::new());
        }
    }

    /// Records that the process was killed: changes that the store had not confirmed may be lost.
    pub(super) fn crash(&mut self) {
        let kept = &mut self.kept;
        let given = std::mem::take(&mut kept.given);
        for book in &given {
            self.offered -= u64::from(self.open.remove(book).is_some());
        }
        for book in std::mem::take(&mut kept.unsynced).into_values().flatten() {
            if kept.undone.insert(book) {
                self.burned -= 1;
                kept.unconfirmed.remove(&book);
                kept.may_repeat.remove(&book);
                match given.contains(&book) {
                    true => self.offered -= 1,
                    false => _ = self.open.insert(book, Vec::new()),
                }
            }
        }
        kept.may_repeat.append(&mut kept.unconfirmed);
        let undead: Vec<u64> = kept.dead.difference(&kept.over).copied().collect();
        for book in undead {
            kept.dead.remove(&book);
            self.dead -= 1;
            self.open.insert(book, Vec::new());
        }
        self.down.clear();
    }

    /// Compares the account with what the store holds at the end.
    pub(super) fn close(&mut self, store: &StoreEnd) {
        let letters: BTreeSet<u64> = store.dead.iter().copied().collect();
        for book in letters.difference(&self.kept.dead) {
            self.dead += 1;
            if self.open.remove(book).is_none() {
                self.offered += 1;
            }
        }
        for book in self.kept.dead.difference(&letters) {
            // Letters of piles in memory are not in the store.
            if self.kept.stored.contains(book) {
                self.dead -= 1;
                self.open.insert(*book, Vec::new());
            }
        }
        let total = store.total.unwrap_or(self.offered);
        self.kept.end = Some(End {
            dropped: store.account.dropped,
            present: store.account.present,
            lost: total.saturating_sub(self.offered) + store.unbalanced.0,
            duplicates: self.offered.saturating_sub(total) + store.unbalanced.1,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gopherworks_pipeline::trace::{Act, CartName, Record, Tracer};
    use gopherworks_supervision::clock::Time;

    use super::super::Auditor;
    use super::*;

    struct Told(Arc<Auditor>);

    impl Told {
        fn new() -> Self {
            let auditor = Auditor::new(None);
            auditor.lock().kept.on = true;
            Self(auditor)
        }

        fn tell(&self, node: &str, act: &Act<'_>) {
            self.0.record(&Record { at: Time::ZERO, node, act });
        }

        fn put(&self, books: &[u64]) {
            self.tell("pile", &Act::Put { books: &ids(books) });
        }

        fn stored(&self, stored: &[u64], ended: &[u64]) {
            let (stored, ended) = (ids(stored), ids(ended));
            self.tell("store", &Act::Store { stored: &stored, ended: &ended });
        }

        fn lease(&self, books: &[u64]) {
            let cart = CartName { crew: "crew", number: 1 };
            self.tell("pile", &Act::Lease { cart, books: &ids(books) });
        }

        fn burn(&self, books: &[u64]) {
            let cart = CartName { crew: "crew", number: 1 };
            self.lease(books);
            self.tell("fire", &Act::Burn { cart, books: &ids(books) });
        }

        fn sync(&self) {
            self.tell("fire", &Act::Sync);
        }

        fn crash(&self) {
            self.tell("", &Act::Crash);
        }

        /// Numbers of books offered, burned (each counted once) and repeated with permission; open
        /// books; duplicates.
        fn account(&self) -> (u64, u64, u64, Vec<u64>, Vec<u64>) {
            let audit = self.0.lock();
            (
                audit.offered,
                audit.burned - audit.again(),
                audit.kept.repeated,
                audit.open.keys().copied().collect(),
                audit.twice.keys().copied().collect(),
            )
        }
    }

    fn ids(books: &[u64]) -> Vec<BookId> {
        books.iter().copied().map(BookId).collect()
    }

    #[test]
    fn what_was_not_confirmed_when_the_process_died_may_be_burned_once_more() {
        let told = Told::new();
        told.put(&[1, 2, 3]);
        told.stored(&[1, 2, 3], &[]);
        told.burn(&[1, 2, 3]);
        told.sync();
        told.stored(&[], &[1]);
        told.crash();
        told.burn(&[2, 3]);
        assert_eq!(told.account(), (3, 3, 2, vec![], vec![]));
        told.burn(&[3]);
        assert_eq!(told.account(), (3, 3, 2, vec![], vec![3]));
    }

    #[test]
    fn without_a_crash_nothing_is_repeated_and_no_stored_end_comes_undone() {
        let told = Told::new();
        told.put(&[1, 2]);
        told.stored(&[1, 2], &[]);
        told.burn(&[1, 2]);
        told.burn(&[2]);
        assert_eq!(told.account(), (2, 2, 0, vec![], vec![2]));
        told.sync();
        told.stored(&[], &[1, 2]);
        told.crash();
        told.lease(&[1]);
        assert_eq!(told.account(), (2, 2, 0, vec![], vec![1, 2]));
    }

    #[test]
    fn what_a_sink_had_not_synced_has_to_be_burned_again() {
        let told = Told::new();
        told.put(&[1, 2]);
        told.stored(&[1, 2], &[]);
        told.burn(&[1]);
        told.sync();
        told.burn(&[2]);
        told.crash();
        assert_eq!(told.account(), (2, 1, 0, vec![2], vec![]));
        told.burn(&[2]);
        assert_eq!(told.account(), (2, 2, 0, vec![], vec![]));
    }

    #[test]
    fn books_without_a_confirmation_may_vanish_and_may_be_there() {
        let told = Told::new();
        told.put(&[1, 2, 3, 4]);
        told.stored(&[1, 2], &[]);
        told.crash();
        assert_eq!(told.account(), (2, 0, 0, vec![1, 2], vec![]));
        // The commit of 3 took effect after all; 4 comes again.
        told.lease(&[3]);
        told.put(&[4]);
        assert_eq!(told.account(), (4, 0, 0, vec![1, 2, 3, 4], vec![]));
    }

    #[test]
    fn a_source_that_is_read_twice_or_not_at_all_is_found_by_its_total() {
        for (total, lost, duplicates) in [(3, 1, 0), (2, 0, 0), (1, 0, 1)] {
            let told = Told::new();
            told.put(&[1, 2]);
            told.stored(&[1, 2], &[]);
            let store = StoreEnd { total: Some(total), ..StoreEnd::default() };
            let audit = told.0.finish(Some(&store));
            let end = audit.kept.end.expect("it is closed");
            assert_eq!((end.lost, end.duplicates), (lost, duplicates));
        }
    }

    #[test]
    fn the_dead_are_those_whose_letters_are_in_the_store() {
        let told = Told::new();
        told.put(&[1, 2, 3]);
        told.stored(&[1, 2, 3], &[]);
        for book in [1, 2] {
            let event = gopherworks_pipeline::Event::Dead {
                book: BookId(book),
                pile: "pile".to_owned(),
                reason: String::new(),
            };
            told.tell("", &Act::Event(&event));
        }
        told.stored(&[], &[1]);
        told.crash();
        assert_eq!(told.account(), (3, 0, 0, vec![2, 3], vec![]));
        // 1 was reported and has no letter; 3 has one and was not reported.
        let store = StoreEnd { dead: vec![3], ..StoreEnd::default() };
        let audit = told.0.finish(Some(&store));
        assert_eq!(audit.dead, 1);
        assert_eq!(audit.open.keys().copied().collect::<Vec<_>>(), [1, 2]);
    }
}
