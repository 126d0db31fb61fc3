//! Carts, which carry books in messages and bound the books under way in a crew.
//!
//! A cart owns what it carries. If it is dropped anywhere (by a panic, a kill, a dead mailbox) its
//! slot and its reservation are released, its books are settled by their marks, and the empty cart
//! returns to its crew's queue.

use std::fmt;
use std::sync::Arc;

use super::queue::{CrewQueue, NextStep};
use crate::book::{Book, BookId};
use crate::custody::lease::{Lease, LeaseVerdict};
use crate::custody::reservation::Reservation;
use crate::custody::slots::ExclusiveSlot;
use crate::custody::{HolderId, Want, Worked};
use gopherworks_supervision::clock::Time;

/// Name of a cart: its crew and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CartName<'a> {
    /// Name of the crew.
    pub crew: &'a str,
    /// Number within the crew, from 1.
    pub number: u32,
}

impl fmt::Display for CartName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.crew, self.number)
    }
}

/// Contents of a cart, reused from trip to trip.
#[derive(Default)]
pub(crate) struct CartBody {
    pub(crate) lease: Option<Lease>,
    pub(crate) worked: Worked,
    pub(crate) slot: Option<ExclusiveSlot>,
    pub(crate) reservation: Option<Reservation>,
    /// When the cart was due at its current location, by the schedule of its trip.
    pub(crate) due: Time,
    /// Number of books it carries, or carried last.
    pub(crate) books: usize,
    /// Number within the crew, from 1.
    pub(crate) number: u32,
    /// Incremented each time the cart is replaced because its holder was fenced.
    pub(crate) generation: u16,
    /// Carts coupled to this one, as its group. They have none of their own, and carry books only
    /// through its lease.
    #[allow(
        clippy::vec_box,
        reason = "they come and go as they are; nothing is moved but the box"
    )]
    pub(crate) coupled: Vec<Box<CartBody>>,
}

impl CartBody {
    /// Number of carts, including coupled ones.
    pub(crate) fn carts(&self) -> usize {
        1 + self.coupled.len()
    }
}

/// A cart in use. Dropping it returns it to its crew's queue.
pub struct Cart {
    queue: Arc<CrewQueue>,
    body: Option<Box<CartBody>>,
}

impl fmt::Debug for Cart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cart")
            .field("crew", &self.queue.name())
            .field("books", &self.len())
            .finish()
    }
}

impl Cart {
    pub(crate) fn from_body(queue: Arc<CrewQueue>, body: Box<CartBody>) -> Self {
        Self { queue, body: Some(body) }
    }

    /// Queues the cart in its crew, where it needs `step` next.
    pub(crate) fn put(self, step: NextStep) {
        let queue = self.queue.clone();
        queue.put(self, step);
    }

    /// Takes the body out without returning the cart to its crew.
    pub(crate) fn into_body(mut self) -> Box<CartBody> {
        self.body.take().expect("a cart has its body until it is dropped")
    }

    pub(crate) fn body(&self) -> &CartBody {
        self.body.as_ref().expect("a cart has its body until it is dropped")
    }

    pub(crate) fn body_mut(&mut self) -> &mut CartBody {
        self.body.as_mut().expect("a cart has its body until it is dropped")
    }

    /// Name for traces.
    pub fn name(&self) -> CartName<'_> {
        CartName { crew: self.queue.name(), number: self.body().number }
    }

    /// Ids of the books carried on, without those that failed or were dropped.
    pub(crate) fn ids(&self) -> Vec<BookId> {
        let books = (0..self.len()).filter_map(|index| self.book(index));
        books.map(|book| book.id).collect()
    }

    /// The queue of its crew.
    pub fn queue(&self) -> &Arc<CrewQueue> {
        &self.queue
    }

    /// Capacity, including coupled carts.
    pub(crate) fn want(&self) -> Want {
        let (one, carts) = (self.queue.want(), self.body().carts());
        Want {
            books: one.books.saturating_mul(carts),
            bytes: one.bytes.map(|bytes| bytes.saturating_mul(carts as u64)),
        }
    }

    pub(crate) fn carts(&self) -> usize {
        self.body().carts()
    }

    /// Couples an empty cart of the same crew.
    pub(crate) fn couple(&mut self, other: Cart) {
        let (queue, other) = (self.queue.clone(), other.into_body());
        queue.couple_to(self.body_mut(), other);
    }

    /// Uncouples carts until `carts` (>= 1) are left; the others are queued to be sent for books.
    pub(crate) fn uncouple(&mut self, carts: usize) {
        while self.carts() > carts.max(1)
            && let Some(mut body) = self.body_mut().coupled.pop()
        {
            body.due = self.due();
            self.queue.enqueue(body, NextStep::Take);
        }
    }

    /// Number of books it carries.
    pub fn len(&self) -> usize {
        self.body().lease.as_ref().map_or(0, Lease::len)
    }

    /// True if it carries no lease.
    pub fn is_empty(&self) -> bool {
        self.body().lease.is_none()
    }

    /// The books as they were on the pile.
    pub fn books(&self) -> &[Book] {
        self.body().lease.as_ref().map_or(&[], Lease::books)
    }

    /// Number of the attempt at the book at this index, from 1.
    pub(crate) fn attempt(&self, index: usize) -> u32 {
        let lease = self.body().lease.as_ref();
        lease.map_or(1, |lease| lease.note(index).attempts.saturating_add(1))
    }

    /// The book at `index` after the work done so far; `None` if it failed or was dropped on
    /// purpose.
    pub fn book(&self, index: usize) -> Option<&Book> {
        let body = self.body();
        let lease = body.lease.as_ref()?;
        if matches!(
            lease.marked(index),
            LeaseVerdict::Drop(_) | LeaseVerdict::Split(_) | LeaseVerdict::Refuse(_)
        ) {
            return None;
        }
        match &body.worked {
            Some(worked) => worked.get(index)?.as_ref(),
            None => lease.books().get(index),
        }
    }

    /// Sets the holder of the cart and its lease.
    pub(crate) fn hand_to(&self, holder: HolderId) {
        let body = self.body();
        if let Some(lease) = &body.lease {
            lease.hand_to(holder);
        }
        self.queue.held_by(body, holder);
    }

    /// Moves the cart's due time to `time` if that is later.
    pub(crate) fn not_before(&mut self, time: Time) {
        let body = self.body_mut();
        body.due = body.due.max(time);
    }

    /// When the cart was due at its current location, by its schedule.
    pub(crate) fn due(&self) -> Time {
        self.body().due
    }

    /// Releases its slot as of its due time.
    pub(crate) fn leave_slot(&mut self) {
        let body = self.body_mut();
        if let Some(slot) = body.slot.take() {
            slot.give_back_at(body.due);
        }
    }

    /// Loads books, and uncouples carts that would stay empty.
    pub(crate) fn load(&mut self, lease: Lease) {
        let one = self.queue.want();
        let body = self.body_mut();
        body.books = lease.len();
        let bytes = lease.bytes();
        body.lease = Some(lease);
        body.worked = None;
        if !body.coupled.is_empty() {
            let by_bytes = one.bytes.map_or(0, |most| bytes.div_ceil(most.max(1)) as usize);
            let needed = body.books.div_ceil(one.books.max(1)).max(by_bytes);
            self.uncouple(needed);
        }
    }

    /// Unloads the books.
    pub(crate) fn unload(&mut self) -> Option<(Lease, Worked)> {
        let body = self.body_mut();
        let lease = body.lease.take()?;
        Some((lease, body.worked.take()))
    }

    /// Number and bytes of the books that a dump would have to admit.
    pub(crate) fn load_size(&self) -> (usize, u64) {
        let lease = self.body().lease.as_ref();
        let children = (0..self.len()).filter_map(|index| match lease?.marked(index) {
            LeaseVerdict::Split(children) => Some(children.0.iter()),
            _ => None,
        });
        (0..self.len())
            .filter_map(|index| self.book(index))
            .chain(children.flatten())
            .fold((0, 0), |(books, bytes), book| (books + 1, bytes + book.size()))
    }
}

impl Drop for Cart {
    fn drop(&mut self) {
        let Some(mut body) = self.body.take() else {
            return;
        };
        if let Some(slot) = body.slot.take() {
            // The holder died: the slot was in use until now.
            slot.give_back_at(self.queue.now());
        }
        body.reservation = None;
        body.worked = None;
        body.lease = None;
        self.queue.return_empty(body);
    }
}
