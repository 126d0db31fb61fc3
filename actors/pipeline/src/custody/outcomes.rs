//! Outcomes of single books, for callers that await them.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::book::BookId;
use crate::custody::ledger::BookOutcome;

/// Future of a book's outcome. Dropping it does not affect the book.
#[derive(Debug)]
pub struct Awaited {
    book: BookId,
    outcome: oneshot::Receiver<BookOutcome>,
}

impl Awaited {
    /// Id of the book.
    pub fn book(&self) -> BookId {
        self.book
    }
}

impl Future for Awaited {
    /// `None` if the run ended before the book did.
    type Output = Option<BookOutcome>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.outcome).poll(cx).map(Result::ok)
    }
}

/// Books whose outcomes are awaited.
#[derive(Debug, Default)]
pub struct BookOutcomes {
    watched: Mutex<WatchedBooks>,
    /// Size of `books`, read without the lock: most runs await none.
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct WatchedBooks {
    books: HashMap<BookId, oneshot::Sender<BookOutcome>>,
    /// True if the run is over.
    over: bool,
}

impl BookOutcomes {
    fn lock(&self) -> MutexGuard<'_, WatchedBooks> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a book before it can be leased; returns a future of its outcome.
    pub fn watch(&self, book: BookId) -> Awaited {
        let (sender, outcome) = oneshot::channel();
        let mut watched = self.lock();
        if !watched.over {
            watched.books.insert(book, sender);
            // Sweeps abandoned entries whenever the size reaches a power of two.
            if watched.books.len().is_power_of_two() {
                watched.books.retain(|_, sender| !sender.is_closed());
            }
            self.count.store(watched.books.len(), Relaxed);
        }
        Awaited { book, outcome }
    }

    /// Resolves the futures of these books. Called under the lock of the shelf, as `watch` is.
    #[inline]
    pub fn end(&self, outcome: BookOutcome, ids: impl IntoIterator<Item = BookId>) {
        if self.count.load(Relaxed) > 0 {
            self.resolve(outcome, ids);
        }
    }

    #[cold]
    fn resolve(&self, outcome: BookOutcome, ids: impl IntoIterator<Item = BookId>) {
        let mut senders = Vec::new();
        {
            let mut watched = self.lock();
            senders.extend((ids.into_iter()).filter_map(|id| watched.books.remove(&id)));
            self.count.store(watched.books.len(), Relaxed);
        }
        for sender in senders {
            // The receiver may have been dropped.
            let _ = sender.send(outcome);
        }
    }

    /// The run is over: pending and later futures resolve to `None`.
    pub fn close(&self) {
        let books = {
            let mut watched = self.lock();
            watched.over = true;
            self.count.store(0, Relaxed);
            std::mem::take(&mut watched.books)
        };
        drop(books);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn each_fate_is_told_once_and_the_end_of_the_run_to_all_others() {
        let outcomes = BookOutcomes::default();
        let [one, two, three] = [1, 2, 3].map(|id| outcomes.watch(BookId(id)));
        outcomes.end(BookOutcome::Burned, [BookId(1), BookId(9)]);
        outcomes.end(BookOutcome::Dead, [BookId(1), BookId(2)]);
        assert_eq!(one.now_or_never(), Some(Some(BookOutcome::Burned)));
        assert_eq!(two.now_or_never(), Some(Some(BookOutcome::Dead)));
        outcomes.close();
        assert_eq!(three.now_or_never(), Some(None));
        assert_eq!(outcomes.watch(BookId(4)).now_or_never(), Some(None));
    }

    #[test]
    fn abandoned_watches_are_not_kept() {
        let outcomes = BookOutcomes::default();
        for id in 0..10_000 {
            drop(outcomes.watch(BookId(id)));
            assert!(outcomes.lock().books.len() < 2);
        }
        // With live entries, at most as many abandoned ones are kept.
        let kept: Vec<_> = (0..100).map(|id| outcomes.watch(BookId(id))).collect();
        for id in 1000..9000 {
            drop(outcomes.watch(BookId(id)));
        }
        assert!(outcomes.lock().books.len() <= 2 * kept.len());
    }
}
