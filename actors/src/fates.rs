//! What became of single books, for whoever offered them and waits for it.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::book::BookId;
use crate::ledger::Fate;

/// What becomes of one book. Dropping it costs nothing and changes nothing for the book.
#[derive(Debug)]
pub struct Awaited {
    book: BookId,
    fate: oneshot::Receiver<Fate>,
}

impl Awaited {
    /// Which book.
    pub fn book(&self) -> BookId {
        self.book
    }
}

impl Future for Awaited {
    /// `None` if the run ended before the book did.
    type Output = Option<Fate>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.fate).poll(cx).map(Result::ok)
    }
}

/// Books that somebody waits for.
#[derive(Debug, Default)]
pub struct Fates {
    watched: Mutex<Watched>,
    /// How many: most runs watch none, and pay nothing.
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Watched {
    books: HashMap<BookId, oneshot::Sender<Fate>>,
    /// Nothing more will end.
    over: bool,
}

impl Fates {
    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches a book, from before it can be leased.
    pub fn watch(&self, book: BookId) -> Awaited {
        let (told, fate) = oneshot::channel();
        let mut watched = self.lock();
        if !watched.over {
            watched.books.insert(book, told);
            // Those that nobody waits for any more are swept before they are many.
            if watched.books.len().is_power_of_two() {
                watched.books.retain(|_, told| !told.is_closed());
            }
            self.count.store(watched.books.len(), Relaxed);
        }
        Awaited { book, fate }
    }

    /// Books of these ids ended. Who watches a book did so under the same lock of its shelf that its end is told under.
    pub fn end(&self, fate: Fate, ids: impl IntoIterator<Item = BookId>) {
        if self.count.load(Relaxed) == 0 {
            return;
        }
        let mut told = Vec::new();
        {
            let mut watched = self.lock();
            told.extend((ids.into_iter()).filter_map(|id| watched.books.remove(&id)));
            self.count.store(watched.books.len(), Relaxed);
        }
        for told in told {
            // Nobody may wait any more.
            let _ = told.send(fate);
        }
    }

    /// The run is over. Whoever still waits is told so, and whoever asks from now on.
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
        let fates = Fates::default();
        let [one, two, three] = [1, 2, 3].map(|id| fates.watch(BookId(id)));
        fates.end(Fate::Burned, [BookId(1), BookId(9)]);
        fates.end(Fate::Dead, [BookId(1), BookId(2)]);
        assert_eq!(one.now_or_never(), Some(Some(Fate::Burned)));
        assert_eq!(two.now_or_never(), Some(Some(Fate::Dead)));
        fates.close();
        assert_eq!(three.now_or_never(), Some(None));
        assert_eq!(fates.watch(BookId(4)).now_or_never(), Some(None));
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_not_kept() {
        let fates = Fates::default();
        for id in 0..10_000 {
            drop(fates.watch(BookId(id)));
            assert!(fates.lock().books.len() < 2);
        }
        // Beside many that are waited for, at most as many again.
        let kept: Vec<_> = (0..100).map(|id| fates.watch(BookId(id))).collect();
        for id in 1000..9000 {
            drop(fates.watch(BookId(id)));
        }
        assert!(fates.lock().books.len() <= 2 * kept.len());
    }
}
