//! Service to crews: carts that ask for books, carts that bring some, and those that have to wait.
//!
//! A cart is served on the caller's thread if no cart is waiting; otherwise it is parked at the
//! gate until books or space arrive, and is served by the thread that brings them. Checking the
//! shelf and parking a cart happen under one lock, the gate's; a thread that changes the shelf and
//! then checks the gate therefore misses no cart.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::core::{PileCore, PileGate};
use super::{Deliver, Take};
use crate::book::BookId;
use crate::crew::cart::Cart;
use crate::crew::queue::NextStep;
use crate::custody::lease::Lease;
use crate::custody::reservation::Reservation;
use crate::custody::{HolderId, PileKey, RefusedLoad, Settled};
use crate::event::Event;
use crate::tap::Passing;
use crate::trace::Act;
use gopherworks_supervision::clock::Time;
use gopherworks_supervision::fault::{FaultAction, Point};

/// A cart that was admitted, and how.
pub(super) struct Entered {
    cart: Cart,
    how: How,
}

enum How {
    /// The cart had no books left to unload.
    Empty,
    /// Space is reserved for this many books.
    Reserved(usize),
    /// Its books were accepted from this pile; their ids are known if the run is traced.
    Passed(Settled, PileKey, Option<Vec<BookId>>),
}

/// Outcome of admitting a loaded cart.
enum Admission {
    In(Entered),
    Full(Cart),
}

impl PileCore {
    fn is_direct(&self) -> bool {
        let context = &self.context;
        *(self.direct).get_or_init(|| context.faults().is_none())
    }

    /// An empty cart, held by `holder`, asks for books. Returned loaded if there are books and no
    /// cart waits for them; otherwise it is parked, and continues through its crew's queue.
    pub(crate) fn take(self: &Arc<Self>, cart: Cart, holder: HolderId) -> Option<Cart> {
        if self.is_direct() {
            return self.take_now(cart, holder);
        }
        let site = (self.name.as_str(), Point::Take);
        self.context.pass(site, cart, self, Self::send_empty);
        None
    }

    fn send_empty(&self, cart: Cart) {
        let sent = self.port.send_with(|epoch| {
            cart.hand_to(HolderId::new(self.node, epoch));
            Take(cart)
        });
        if let Err(unsent) = sent {
            self.has_come_empty(unsent.into_inner().0);
            self.ring();
        }
    }

    fn take_now(&self, mut cart: Cart, holder: HolderId) -> Option<Cart> {
        let since = cart.due();
        let custody = &self.context.custody;
        custody.collect(self.key);
        let want = cart.want();
        self.fill(want.books);
        let gate = self.gate();
        if gate.takers.is_empty() && !self.is_closed() {
            let lease = custody.lease(self.key, want, holder);
            if let Some(lease) = lease {
                let (givers, offers) = (!gate.givers.is_empty(), !gate.sealed);
                drop(gate);
                self.load(&mut cart, lease, since);
                if givers {
                    self.serve_others(since);
                }
                if offers {
                    self.room.notify_waiters();
                }
                return Some(cart);
            }
        }
        self.park_taker(gate, cart);
        self.stats.waited();
        self.ring();
        None
    }

    /// A loaded cart arrives. Returned with its next step if there is space and no cart waits for
    /// it; otherwise it is parked, and continues through its crew's queue.
    pub(crate) fn deliver(self: &Arc<Self>, cart: Cart) -> Option<(Cart, NextStep)> {
        if self.is_direct() {
            return self.deliver_now(cart);
        }
        let site = (self.name.as_str(), Point::Deliver);
        self.context.pass(site, cart, self, Self::send_loaded);
        None
    }

    fn send_loaded(&self, cart: Cart) {
        let sent = self.port.send_with(|epoch| {
            cart.hand_to(HolderId::new(self.node, epoch));
            Deliver(cart)
        });
        if let Err(unsent) = sent {
            let cart = unsent.into_inner().0;
            cart.hand_to(HolderId::NONE);
            self.gate().givers.push_back(cart);
            self.ring();
        }
    }

    fn deliver_now(&self, mut cart: Cart) -> Option<(Cart, NextStep)> {
        let since = cart.due();
        let gate = self.gate();
        // A reservation belongs to this cart, so it may go before carts that wait for space.
        if cart.body().reservation.is_some() || gate.givers.is_empty() {
            match self.admit(cart, true) {
                Admission::In(entered) => {
                    let takers = !gate.takers.is_empty();
                    drop(gate);
                    let next = self.entered(entered, since);
                    if takers {
                        self.serve_others(since);
                    }
                    return Some(next);
                }
                Admission::Full(back) => cart = back,
            }
        }
        self.park_giver(gate, cart);
        self.stats.waited();
        self.ring();
        None
    }

    fn park_taker(&self, mut gate: MutexGuard<'_, PileGate>, cart: Cart) {
        // Under the lock, by which `send_back` finds every other cart.
        if cart.queue().is_held() {
            drop(gate);
            return cart.put(NextStep::Take);
        }
        cart.hand_to(HolderId::NONE);
        gate.takers.push_back(cart);
    }

    fn park_giver(&self, mut gate: MutexGuard<'_, PileGate>, cart: Cart) {
        cart.hand_to(HolderId::NONE);
        match cart.body().reservation {
            Some(_) => gate.givers.push_front(cart),
            None => gate.givers.push_back(cart),
        }
    }

    /// An empty cart that was sent to the actor: parked until it is served.
    pub(super) fn has_come_empty(&self, cart: Cart) {
        self.park_taker(self.gate(), cart);
    }

    /// A loaded cart that was sent to the actor: parked until it is served.
    pub(super) fn has_come_loaded(&self, cart: Cart) {
        self.park_giver(self.gate(), cart);
    }

    /// Moves books from the feeder to the shelf, as far as there is space, if fewer than `want`
    /// are ready.
    fn fill(&self, want: usize) {
        // What the source has given goes to a pile that keeps it, however much that has.
        let want = if self.context.custody.keeps(self.key) { usize::MAX } else { want };
        if let Some((feeder, share)) = &self.feeder
            && let counts = self.counts()
            && let Some(missing) = want.checked_sub(counts.ready + counts.late)
            && missing > 0
            && !self.is_full()
        {
            feeder.fill(*share, self, missing);
        }
    }

    /// Like `fill`, for the first parked cart, or for `want` books if none is parked.
    fn fill_for_next(&self, want: usize) {
        if self.feeder.is_some() {
            let next = self.gate().takers.front().map(|cart| cart.want().books);
            self.fill(next.unwrap_or(want));
        }
    }

    /// Serves parked carts after a direct service made that possible.
    fn serve_others(&self, since: Time) {
        self.serve(since);
        if self.counts().next_due.is_some() {
            self.ring();
        }
    }

    /// Serves all parked carts that can be served. `since` is when that became possible, by the
    /// schedule of the cart that made it so, so that a late timer delays no schedule.
    pub(super) fn serve(&self, since: Time) {
        let custody = &self.context.custody;
        loop {
            custody.collect(self.key);
            self.fill_for_next(1);
            let mut let_in = false;
            while let Some((cart, lease)) = self.next_taker() {
                self.grant(cart, lease, since);
                self.fill_for_next(0);
            }
            while let Some(entered) = self.next_giver() {
                let_in = true;
                let (cart, step) = self.entered(entered, since);
                cart.put(step);
            }
            // Their books may be what other carts wait for.
            if !let_in {
                break;
            }
        }
        // Space may have become available without a movement: a reservation given up, or a stale
        // lease.
        self.room.notify_waiters();
    }

    /// Unparks the first cart that waits for books, with a lease, in one step: books that arrive
    /// meanwhile find it parked or served.
    fn next_taker(&self) -> Option<(Cart, Lease)> {
        let mut gate = self.gate();
        self.couple(&mut gate);
        let want = gate.takers.front()?.want();
        let lease = self.context.custody.lease(self.key, want, self.holder())?;
        Some((gate.takers.pop_front()?, lease))
    }

    /// Couples adjacent waiting carts of one crew, as far as there are books for them.
    fn couple(&self, gate: &mut PileGate) {
        let Some(first) = gate.takers.front() else {
            return;
        };
        let (carts, books) = (first.queue().coupling(), first.queue().want().books.max(1));
        if first.carts() >= carts || gate.takers.len() < 2 {
            return;
        }
        let carts = carts.min(self.counts().ready.div_ceil(books));
        while let [Some(first), Some(second)] = [gate.takers.front(), gate.takers.get(1)]
            && first.carts() + second.carts() <= carts
            && Arc::ptr_eq(first.queue(), second.queue())
        {
            if let Some(second) = gate.takers.remove(1)
                && let Some(first) = gate.takers.front_mut()
            {
                first.couple(second);
            }
        }
    }

    /// Admits the first cart that brings books; it stays parked if there is no space. Carts with a
    /// reservation go first, since others may wait for the space it holds.
    fn next_giver(&self) -> Option<Entered> {
        let mut gate = self.gate();
        let kept = (gate.givers.iter()).position(|cart| cart.body().reservation.is_some());
        let cart = gate.givers.remove(kept.unwrap_or(0))?;
        match self.admit(cart, false) {
            Admission::Full(cart) => {
                gate.givers.push_front(cart);
                None
            }
            Admission::In(entered) => Some(entered),
        }
    }

    /// Admits a loaded cart: reserves space for it if unloading takes time, otherwise accepts its
    /// books. With `likely`, skips the check that spares a refusal.
    fn admit(&self, mut cart: Cart, likely: bool) -> Admission {
        if cart.body().reservation.is_none() && self.is_full() {
            return Admission::Full(cart);
        }
        let custody = &self.context.custody;
        if cart.body().reservation.is_none() && cart.queue().unloads_in_time() {
            let (books, bytes) = cart.load_size();
            let Some(reservation) = Reservation::make(custody, self.key, books, bytes) else {
                return Admission::Full(cart);
            };
            cart.body_mut().reservation = Some(reservation);
            let how = How::Reserved(books);
            return Admission::In(Entered { cart, how });
        }
        if !likely && cart.body().reservation.is_none() && !self.may_pass(&cart) {
            return Admission::Full(cart);
        }
        let reservation = cart.body_mut().reservation.take();
        let ids = self.context.is_traced().then(|| cart.ids());
        let Some((lease, worked)) = cart.unload() else {
            let how = How::Empty;
            return Admission::In(Entered { cart, how });
        };
        let from = lease.pile();
        let again = self.context.message_fault(&self.name, Point::Settle, None);
        let twin =
            again.is_some_and(|action| action == FaultAction::Duplicate).then(|| lease.twin());
        let reserved = reservation.and_then(Reservation::spend);
        let admission = match custody.pass_on(lease, worked, self.key, reserved) {
            Ok(settled) => Admission::In(Entered { cart, how: How::Passed(settled, from, ids) }),
            Err(RefusedLoad { lease, worked }) => {
                let body = cart.body_mut();
                body.lease = Some(lease);
                body.worked = worked;
                Admission::Full(cart)
            }
        };
        if let Some(twin) = twin.filter(|_| !matches!(admission, Admission::Full(_))) {
            // A duplicated settlement has to be found stale.
            custody.settle(twin);
        }
        admission
    }

    /// False if custody is sure to refuse the cart's books.
    fn may_pass(&self, cart: &Cart) -> bool {
        let body = cart.body();
        match &body.lease {
            // Only custody can count worked or marked books.
            Some(lease) if body.worked.is_none() && lease.is_unmarked() => {
                (self.context.custody).has_room(self.key, lease.len(), lease.bytes())
            }
            _ => true,
        }
    }

    /// Follow-up of an admission, outside the gate's lock. Returns the cart with its next step.
    fn entered(&self, Entered { mut cart, how }: Entered, since: Time) -> (Cart, NextStep) {
        cart.not_before(since);
        match how {
            How::Reserved(books) => {
                let name = cart.name();
                self.context.record(&self.name, &Act::Admit { cart: name, books });
                return (cart, NextStep::Unload);
            }
            How::Empty | How::Passed(Settled::Stale, ..) => {}
            How::Passed(settled, from, ids) => {
                if let Some(books) = &ids {
                    let cart = cart.name();
                    self.context.record(&self.name, &Act::Pass { cart, books });
                    if let Settled::Done { children: Some((ids, count)), .. } = settled {
                        let books: Vec<_> = (0..count).map(|at| ids.at(at)).collect();
                        self.context.record(&self.name, &Act::Put { books: &books });
                    }
                }
                // The upstream pile has fewer leased books: it may be drained, or have books
                // returned.
                let upstream = self.upstream.read().unwrap_or_else(PoisonError::into_inner);
                if let Some(above) = upstream.iter().find(|pile| pile.key == from) {
                    above.look_if_waiting(settled);
                }
            }
        }
        cart.leave_slot();
        cart.body_mut().reservation = None;
        (cart, NextStep::Return)
    }

    fn holder(&self) -> HolderId {
        HolderId::new(self.node, 0)
    }

    fn load(&self, cart: &mut Cart, lease: Lease, since: Time) {
        cart.not_before(since);
        cart.load(lease);
        self.stats.carts_with(cart.carts(), cart.len());
        self.context.show(&self.name, cart, Passing::Leased);
        if self.context.is_traced() {
            let (cart, books) = (cart.name(), &cart.ids());
            self.context.record(&self.name, &Act::Lease { cart, books });
        }
    }

    fn grant(&self, mut cart: Cart, lease: Lease, since: Time) {
        self.load(&mut cart, lease, since);
        cart.put(NextStep::Load);
    }

    /// Wakes the pile after a settlement, if that matters to it: books were returned, or it is
    /// drained.
    pub(crate) fn look_if_waiting(&self, settled: Settled) {
        let looks = match settled {
            Settled::Done { returned: 0, last, .. } => {
                (last || self.context.custody.keeps(self.key)) && self.counts().is_drained()
            }
            _ => true,
        };
        if looks {
            self.ring();
        }
    }

    /// Closes the pile if no further books can arrive and none are left. Parked carts are retired.
    pub(super) fn close_if_done(&self) {
        let retire = {
            let mut gate = self.gate();
            if !self.is_closed() {
                let fed = gate.sealed
                    && !self.fed_elsewhere.load(Ordering::Acquire)
                    && (self.feeder.as_ref()).is_none_or(|(feeder, share)| feeder.is_done(*share))
                    && self
                        .upstream
                        .read()
                        .unwrap_or_else(PoisonError::into_inner)
                        .iter()
                        .all(|pile| pile.is_closed());
                if !fed || !gate.givers.is_empty() {
                    return;
                }
                if !self.left_alone && !self.counts().is_drained() {
                    return self.context.custody.ask_if_over(self.key);
                }
                self.closed.store(true, Ordering::Release);
                self.context
                    .tell(Event::Closed { node: self.name.clone(), at: self.context.clock.now() });
            }
            std::mem::take(&mut gate.takers)
        };
        for cart in retire {
            let queue = cart.queue().clone();
            queue.retire(cart);
        }
        for below in self.downstream.read().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some(below) = below.upgrade() {
                below.ring();
            }
        }
        self.context.change();
    }
}
