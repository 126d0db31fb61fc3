//! Reservations: space at a dump for books that are about to come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Custody, PileKey};

/// Space reserved at a dump for a cartload on its way. Dropping it unused releases the
/// reservation.
pub struct Reservation(Arc<ReservationClaim>);

/// A reservation that can be released on behalf of a fenced holder.
pub(crate) struct ReservationClaim {
    store: Arc<Custody>,
    pile: PileKey,
    books: usize,
    bytes: u64,
    /// True once the reservation was used or released.
    over: AtomicBool,
}

impl Reservation {
    /// Reserves space for `books` of `bytes` in total; `None` if there is none.
    pub fn make(store: &Arc<Custody>, pile: PileKey, books: usize, bytes: u64) -> Option<Self> {
        store.reserve(pile, books, bytes).then(|| {
            Self(Arc::new(ReservationClaim {
                store: store.clone(),
                pile,
                books,
                bytes,
                over: AtomicBool::new(false),
            }))
        })
    }

    /// A handle by which the reservation can be released if its holder hangs.
    pub(crate) fn claim(&self) -> Arc<ReservationClaim> {
        self.0.clone()
    }

    /// Uses the reservation: (books, bytes) for storing the books; `None` if it was released
    /// before.
    pub(crate) fn spend(self) -> Option<(usize, u64)> {
        let over = self.0.over.swap(true, Ordering::AcqRel);
        (!over).then_some((self.0.books, self.0.bytes))
    }
}

impl ReservationClaim {
    /// Releases the reservation, unless it was used or released before.
    pub(crate) fn give_up(&self) {
        if !self.over.swap(true, Ordering::AcqRel) {
            self.store.release(self.pile, self.books, self.bytes);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.0.give_up();
    }
}
