//! Samples of the books that pass a node, for observers. A node checks one flag a cart; books are
//! copied only for an observer that has room for them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::book::{Body, Book, BookId};
use crate::crew::cart::Cart;
use crate::custody::lease::LeaseVerdict;
use gopherworks_supervision::clock::Time;

/// Books that wait for an observer; those that pass meanwhile are counted as missed.
const WAITING: usize = 256;

/// Largest body that a sample holds in memory, in bytes.
pub const LARGEST_SAMPLED: usize = 64 << 10;

/// Where a cart was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passing {
    /// Its books were leased from a pile.
    Leased,
    /// A crew has brought it, with its work done.
    Brought,
    /// An incinerator has burned it.
    Burned,
}

/// A book that passed a node.
#[derive(Debug, Clone)]
pub struct PassedBook {
    /// When it was seen.
    pub at: Time,
    /// What happened: `leased`, `brought`, `burned`, `failed`, `dropped`, `split` or
    /// `returned`.
    pub what: &'static str,
    /// Number of the book in the run.
    pub id: BookId,
    /// Name of the book, or `book` and its number.
    pub name: String,
    /// Bytes of its body.
    pub size: u64,
    /// Number of the attempt on the present pile, from 1.
    pub attempt: u32,
    /// Why it failed.
    pub reason: Option<String>,
    /// The book, if the observer asked for contents. A body larger than [`LARGEST_SAMPLED`] or in a
    /// file is left out, and then is empty.
    pub content: Option<Book>,
}

/// The observers of a run.
#[derive(Debug, Default)]
pub struct Taps {
    /// True if `all` has any.
    open: AtomicBool,
    all: RwLock<Vec<Arc<Tap>>>,
}

#[derive(Debug)]
struct Tap {
    node: String,
    contents: bool,
    sender: Sender<PassedBook>,
    /// Books that passed and were not sampled, and are not reported yet.
    missed: AtomicU64,
}

/// The samples of one observer. Dropping it closes the tap.
#[derive(Debug)]
pub struct TapReader {
    taps: Arc<Taps>,
    tap: Arc<Tap>,
    receiver: Receiver<PassedBook>,
}

impl Taps {
    /// Opens a tap of a node. With `contents`, samples have headers and bodies.
    pub fn open(self: &Arc<Self>, node: &str, contents: bool) -> TapReader {
        let (sender, receiver) = channel(WAITING);
        let (node, missed) = (node.to_owned(), AtomicU64::new(0));
        let tap = Arc::new(Tap { node, contents, sender, missed });
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        all.push(tap.clone());
        self.open.store(true, Ordering::Relaxed);
        drop(all);
        TapReader { taps: self.clone(), tap, receiver }
    }

    /// True if a cart at some node is to be shown.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Shows a cart at `node` to its observers.
    #[cold]
    pub(crate) fn show(&self, node: &str, cart: &Cart, passing: Passing, at: Time) {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        for tap in all.iter().filter(|tap| tap.node == node) {
            let mut missed = 0;
            for index in 0..cart.len() {
                match tap.sender.try_reserve() {
                    Ok(permit) => match seen((cart, index), passing, tap, at) {
                        Some(book) => permit.send(book),
                        None => continue,
                    },
                    Err(_) => {
                        missed = cart.len() - index;
                        break;
                    }
                }
            }
            if missed > 0 {
                tap.missed.fetch_add(missed as u64, Ordering::Relaxed);
            }
        }
    }
}

impl TapReader {
    /// Waits for books, and adds at most `most` to `books`. Returns how many were added.
    pub async fn read(&mut self, books: &mut Vec<PassedBook>, most: usize) -> usize {
        self.receiver.recv_many(books, most).await
    }

    /// Books that passed since the last call and were not sampled.
    pub fn missed(&self) -> u64 {
        self.tap.missed.swap(0, Ordering::Relaxed)
    }
}

impl Drop for TapReader {
    fn drop(&mut self) {
        let mut all = self.taps.all.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|tap| !Arc::ptr_eq(tap, &self.tap));
        self.taps.open.store(!all.is_empty(), Ordering::Relaxed);
    }
}

/// The sample of the book at `index`; `None` if it has not come this far.
fn seen(
    (cart, index): (&Cart, usize),
    passing: Passing,
    tap: &Tap,
    at: Time,
) -> Option<PassedBook> {
    let original = cart.books().get(index)?;
    let verdict = cart.body().lease.as_ref().map(|lease| lease.marked(index));
    let (what, reason) = match (passing, verdict) {
        (Passing::Leased, _) => ("leased", None),
        (Passing::Burned, Some(LeaseVerdict::Drop(_) | LeaseVerdict::Split(_))) => return None,
        (Passing::Burned, Some(LeaseVerdict::Refuse(failure)))
            if failure.node().is_some_and(|node| **node != *tap.node) =>
        {
            return None;
        }
        (_, Some(LeaseVerdict::Refuse(failure))) => ("failed", Some(failure.reason().to_owned())),
        (_, Some(LeaseVerdict::Drop(_))) => ("dropped", None),
        (_, Some(LeaseVerdict::Split(_))) => ("split", None),
        (Passing::Brought, _) if cart.book(index).is_some() => ("brought", None),
        (Passing::Burned, Some(LeaseVerdict::Ack)) => ("burned", None),
        (Passing::Brought | Passing::Burned, _) => ("returned", None),
    };
    let book = cart.book(index).unwrap_or(original);
    Some(PassedBook {
        at,
        what,
        id: book.id,
        name: book.title(),
        size: book.size(),
        attempt: cart.attempt(index),
        reason,
        content: tap.contents.then(|| sample(book)),
    })
}

/// A copy without a body that would hold much memory or a file.
fn sample(book: &Book) -> Book {
    let body = match &book.body {
        Body::Bytes(bytes) if bytes.len() <= LARGEST_SAMPLED => book.body.clone(),
        _ => Body::default(),
    };
    Book { id: book.id, headers: book.headers.clone(), body }
}
