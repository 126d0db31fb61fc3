//! Books that come to a shelf from the store.

use super::{ReturnedBook, Shelf};
use crate::book::Book;
use crate::custody::lease::Note;
use crate::custody::ledger::Ids;
use crate::custody::shelf::DeadLetter;
use crate::store::Tries;

impl Shelf {
    /// Adds books with what is known of them at the end, in order. Returns those whose attempts are
    /// used up.
    pub fn recover(&mut self, books: Vec<(Book, Tries)>) -> Vec<DeadLetter> {
        let spent = |tries: &Tries| tries.attempts >= self.max_attempts;
        let (dead, mut books): (Vec<_>, Vec<_>) =
            books.into_iter().partition(|(_, tries)| spent(tries));
        // Books with a note are not fresh, and fresh books have adjacent positions: those before
        // the last note are kept as returned.
        let noted = books.iter().rposition(|(_, tries)| *tries != Tries::default());
        let fresh = books.split_off(noted.map_or(0, |last| last + 1));
        for (book, tries) in books {
            let Tries { attempts, deliveries, begun, apart } = tries;
            let position = self.next_position;
            self.next_position += 1;
            self.ready_bytes += book.size();
            let note = Note { position, attempts, deliveries, begun, apart };
            self.returned.insert(position, ReturnedBook { book, note });
        }
        let fresh: Vec<Book> = fresh.into_iter().map(|(book, _)| book).collect();
        let (bytes, ids) = Ids::and_bytes_of(&fresh);
        self.put_all(fresh, bytes, ids);
        let dead = dead.into_iter().map(|(book, tries)| DeadLetter {
            book,
            pile: self.key,
            reason: "the process ended each time while it was burned".to_owned(),
            attempts: tries.attempts,
            node: None,
        });
        dead.collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::book::BookId;
    use crate::custody::{Bound, HolderId, PileKey, Want};
    use gopherworks_supervision::clock::Time;

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None, ..ProptestConfig::default()
        })]

        /// Recovered books are leased in their order, with their notes, before later ones.
        #[test]
        fn recovered_books_keep_order_and_notes(
            attempts in prop::collection::vec(0..4u32, 1..20), want in 1..5usize, part in 1..9usize,
        ) {
            let mut shelf = Shelf::new(PileKey(0), Bound::default(), 3);
            let book = |id| Book { id: BookId(id), ..Book::default() };
            let tries = |attempts| Tries { attempts, deliveries: attempts, ..Tries::default() };
            let all: Vec<_> =
                (1..).zip(&attempts).map(|(id, used)| (book(id), tries(*used))).collect();
            // Fetched in parts: those that were tried lie between fresh ones.
            let parts = all.chunks(part).map(|part| shelf.recover(part.to_vec()));
            let dead: Vec<DeadLetter> = parts.flatten().collect();
            prop_assert!(dead.iter().all(|letter| letter.attempts == 3));
            let later = all.len() as u64 + 1;
            shelf.put_all(vec![book(later)], 0, None);
            let mut seen = Vec::new();
            let want = Want { books: want, bytes: None };
            while let Some(batch) = shelf.lease(want, Time::ZERO, HolderId::NONE, Vec::new) {
                for (at, book) in batch.books.iter().enumerate() {
                    seen.push((book.id.0, batch.note(at).attempts, batch.note(at).deliveries));
                }
            }
            let kept = (1u64..).zip(&attempts).filter(|(_, used)| **used < 3);
            let mut wanted: Vec<_> = kept.map(|(id, used)| (id, *used, used + 1)).collect();
            wanted.push((later, 0, 1));
            prop_assert_eq!(seen, wanted);
            prop_assert_eq!(dead.len() + shelf.leased(), attempts.len() + 1);
        }
    }
}
