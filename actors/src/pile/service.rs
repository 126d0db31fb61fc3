//! How crews are served at a pile: carts that ask for books, carts that bring some, and those of them that have to wait.
//!
//! Whoever comes is served there and then, on its own thread, if nobody waits before it: the books are outside the actor. Whoever can't be served waits at
//! the gate, and is served by whoever makes that possible. A look at the shelf and the parking of a cart are one step, under the gate's lock; so whoever
//! changes the shelf and then looks at the gate misses nobody.

use std::sync::Arc;
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;

use super::core::{Gate, PileCore};
use super::{Deliver, Take};
use crate::book::BookId;
use crate::cart::{Cart, Room};
use crate::clock::Time;
use crate::event::Event;
use crate::fault::{Deed, Point};
use crate::gopher::yard::{Leg, holder};
use crate::lease::Lease;
use crate::store::{Answer, PileKey, Refused, Settled};
use crate::trace::Act;

/// An answer that the engine owes; the actor waits for it.
pub(super) enum Owed {
    /// Books for a cart.
    Lease(Cart, BoxFuture<'static, Option<Lease>>),
    /// Whether a cart's books were let in.
    Pass(Cart, Passing, BoxFuture<'static, Result<Settled, Refused>>),
}

/// Where books that are let in come from, and which they are, where a trace wants to know.
pub(super) type Passing = (PileKey, Option<Vec<BookId>>);

/// A cart that was let in, and how.
pub(super) struct Entered {
    cart: Cart,
    how: How,
}

enum How {
    /// It had nothing to bring any more.
    Empty,
    /// Room is kept for so many books.
    Room(usize),
    /// Its books are here.
    Passed(Settled, Passing),
}

/// What becomes of a cart that brings books.
enum Admission {
    In(Entered),
    Full(Cart),
    Owed(Owed),
}

impl PileCore {
    fn is_direct(&self) -> bool {
        let works = &self.works;
        *(self.direct).get_or_init(|| works.faults().is_none() && works.store.answers_at_once())
    }

    /// An empty cart comes for books, in the hands of `holder`. It comes back loaded where there are some and nobody waits for them; else it waits
    /// here, and goes on by its yard.
    pub(crate) fn take(self: &Arc<Self>, cart: Cart, holder: u64) -> Option<Cart> {
        if self.is_direct() {
            return self.take_now(cart, holder);
        }
        let way = (self.name.as_str(), Point::Take);
        self.works.pass(way, cart, self, Self::send_empty);
        None
    }

    fn send_empty(&self, cart: Cart) {
        let sent = self.port.send_with(|epoch| {
            cart.hand_to(holder(self.node, epoch));
            Take(cart)
        });
        if let Err(unsent) = sent {
            let cart = unsent.into_inner().0;
            cart.hand_to(0);
            self.gate().takers.push_back(cart);
            self.ring();
        }
    }

    fn take_now(&self, mut cart: Cart, holder: u64) -> Option<Cart> {
        let since = cart.due();
        let store = &self.works.store;
        store.collect(self.key);
        let want = cart.want();
        self.fill(want.books);
        let gate = self.gate();
        if gate.takers.is_empty() && !self.is_closed() {
            let lease = store.lease(self.key, want, holder).now();
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

    /// A loaded cart comes. Where there is room and nobody waits for it, the cart comes back, with what it needs next; else it waits here, and goes on
    /// by its yard.
    pub(crate) fn deliver(self: &Arc<Self>, cart: Cart) -> Option<(Cart, Leg)> {
        if self.is_direct() {
            return self.deliver_now(cart);
        }
        let way = (self.name.as_str(), Point::Deliver);
        self.works.pass(way, cart, self, Self::send_loaded);
        None
    }

    fn send_loaded(&self, cart: Cart) {
        let sent = self.port.send_with(|epoch| {
            cart.hand_to(holder(self.node, epoch));
            Deliver(cart)
        });
        if let Err(unsent) = sent {
            let cart = unsent.into_inner().0;
            cart.hand_to(0);
            self.gate().givers.push_back(cart);
            self.ring();
        }
    }

    fn deliver_now(&self, mut cart: Cart) -> Option<(Cart, Leg)> {
        let since = cart.due();
        let gate = self.gate();
        // Room that was kept is this cart's own: it overtakes those who wait for room.
        if cart.body().room.is_some() || gate.givers.is_empty() {
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
                Admission::Owed(_) => {
                    unreachable!("nobody is served here by an engine that answers later")
                }
            }
        }
        self.park_giver(gate, cart);
        self.stats.waited();
        self.ring();
        None
    }

    fn park_taker(&self, mut gate: MutexGuard<'_, Gate>, cart: Cart) {
        cart.hand_to(0);
        gate.takers.push_back(cart);
    }

    fn park_giver(&self, mut gate: MutexGuard<'_, Gate>, cart: Cart) {
        cart.hand_to(0);
        match cart.body().room {
            Some(_) => gate.givers.push_front(cart),
            None => gate.givers.push_back(cart),
        }
    }

    /// A cart that the actor was sent for books: it waits its turn.
    pub(super) fn has_come_empty(&self, cart: Cart) {
        self.park_taker(self.gate(), cart);
    }

    /// A cart that the actor was sent with books: it waits its turn.
    pub(super) fn has_come_loaded(&self, cart: Cart) {
        self.park_giver(self.gate(), cart);
    }

    /// Moves what the feeder has read onto the shelf, as far as there is room, if `want` books are not there already.
    fn fill(&self, want: usize) {
        if let Some((feeder, share)) = &self.feeder
            && let Some(missing) = want.checked_sub(self.counts().ready)
            && missing > 0
            && !self.is_full()
        {
            feeder.fill(*share, self, missing);
        }
    }

    /// The same for the first who waits, or for `want` where nobody does.
    fn fill_for_next(&self, want: usize) {
        if self.feeder.is_some() {
            let next = self.gate().takers.front().map(|cart| cart.want().books);
            self.fill(next.unwrap_or(want));
        }
    }

    /// Serves those at the gate, by whoever made that possible.
    fn serve_others(&self, since: Time) {
        let owed = self.serve(since);
        debug_assert!(
            owed.is_empty(),
            "an engine that answers at once owes nothing"
        );
        if self.counts().next_due.is_some() {
            self.ring();
        }
    }

    /// Serves everybody who can be served. Whoever can't waits at the gate. `since` is when that became possible, by the schedule
    /// of the cart that made it so: nobody's schedule is put off by a timer's lateness. What the engine owes is the caller's to wait for.
    pub(super) fn serve(&self, since: Time) -> Vec<Owed> {
        let store = &self.works.store;
        let mut owed = Vec::new();
        loop {
            store.collect(self.key);
            self.fill_for_next(1);
            let mut let_in = false;
            while let Some((cart, lease)) = self.next_taker() {
                match lease {
                    Answer::Ready(Some(lease)) => {
                        self.grant(cart, lease, since);
                        self.fill_for_next(0);
                    }
                    Answer::Ready(None) => {}
                    Answer::Later(later) => owed.push(Owed::Lease(cart, later)),
                }
            }
            while let Some(admission) = self.next_giver() {
                match admission {
                    Admission::In(entered) => {
                        let_in = true;
                        let (cart, leg) = self.entered(entered, since);
                        cart.put(leg);
                    }
                    Admission::Owed(one) => owed.push(one),
                    Admission::Full(_) => break,
                }
            }
            // Their books may be what others wait for.
            if !let_in {
                break;
            }
        }
        // Room may have come without anything having moved: given up, or left by a stale lease.
        self.room.notify_waiters();
        owed
    }

    /// The first who waits for books, with some: one step, so that books which come meanwhile find it waiting or served.
    fn next_taker(&self) -> Option<(Cart, Answer<Option<Lease>>)> {
        let mut gate = self.gate();
        self.couple(&mut gate);
        let want = gate.takers.front()?.want();
        match self.works.store.lease(self.key, want, self.holder()) {
            Answer::Ready(None) => None,
            lease => Some((gate.takers.pop_front()?, lease)),
        }
    }

    /// Carts of one crew that wait one behind the other are coupled, as far as there are books for them.
    fn couple(&self, gate: &mut Gate) {
        let Some(first) = gate.takers.front() else {
            return;
        };
        let (carts, books) = (first.yard().coupling(), first.yard().want().books.max(1));
        if first.carts() >= carts || gate.takers.len() < 2 {
            return;
        }
        let carts = carts.min(self.counts().ready.div_ceil(books));
        while let [Some(first), Some(second)] = [gate.takers.front(), gate.takers.get(1)]
            && first.carts() + second.carts() <= carts
            && Arc::ptr_eq(first.yard(), second.yard())
        {
            if let Some(second) = gate.takers.remove(1)
                && let Some(first) = gate.takers.front_mut()
            {
                first.couple(second);
            }
        }
    }

    /// The first who brings books, let in; back at its place where there is no room. Who holds room goes first: whoever wants some may be waiting
    /// for just that.
    fn next_giver(&self) -> Option<Admission> {
        let mut gate = self.gate();
        let kept = (gate.givers.iter()).position(|cart| cart.body().room.is_some());
        let cart = gate.givers.remove(kept.unwrap_or(0))?;
        match self.admit(cart, false) {
            Admission::Full(cart) => {
                gate.givers.push_front(cart);
                None
            }
            admission => Some(admission),
        }
    }

    /// Lets a loaded cart in: keeps room for it where it unloads in its own time, else takes its books. `likely`: nobody was refused just now.
    fn admit(&self, mut cart: Cart, likely: bool) -> Admission {
        if cart.body().room.is_none() && self.is_full() {
            return Admission::Full(cart);
        }
        let store = &self.works.store;
        if cart.body().room.is_none() && cart.yard().unloads_in_time() {
            let (books, bytes) = cart.load_size();
            let Some(room) = Room::keep(store, self.key, books, bytes) else {
                return Admission::Full(cart);
            };
            cart.body_mut().room = Some(room);
            let how = How::Room(books);
            return Admission::In(Entered { cart, how });
        }
        if !likely && cart.body().room.is_none() && !self.may_pass(&cart) {
            return Admission::Full(cart);
        }
        let room = cart.body_mut().room.take();
        let ids = self.works.is_traced().then(|| cart.ids());
        let Some((lease, worked)) = cart.unload() else {
            let how = How::Empty;
            return Admission::In(Entered { cart, how });
        };
        let passing = (lease.pile(), ids);
        let again = self.works.message_fault(&self.name, Point::Settle, None);
        let twin = again
            .is_some_and(|deed| deed == Deed::Duplicate)
            .then(|| lease.twin());
        let answer = store.pass_on(lease, worked, self.key, room.and_then(Room::spend));
        let admission = match answer {
            Answer::Ready(answer) => Self::admitted(cart, passing, answer),
            Answer::Later(later) => Admission::Owed(Owed::Pass(cart, passing, later)),
        };
        if let Some(twin) = twin.filter(|_| !matches!(admission, Admission::Full(_))) {
            // Made twice, it must be found stale.
            drop(store.settle(twin));
        }
        admission
    }

    /// False if passing its books on is sure to be refused.
    fn may_pass(&self, cart: &Cart) -> bool {
        let body = cart.body();
        match &body.lease {
            // With worked books only the engine knows how many there are.
            Some(lease) if body.worked.is_none() && lease.is_unmarked() => {
                (self.works.store).has_room(self.key, lease.len(), lease.bytes())
            }
            _ => true,
        }
    }

    fn admitted(mut cart: Cart, passing: Passing, answer: Result<Settled, Refused>) -> Admission {
        match answer {
            Ok(settled) => {
                let how = How::Passed(settled, passing);
                Admission::In(Entered { cart, how })
            }
            Err(Refused { lease, worked }) => {
                let body = cart.body_mut();
                body.lease = Some(lease);
                body.worked = worked;
                Admission::Full(cart)
            }
        }
    }

    /// What follows from a cart's being let in, outside the gate's lock: what it needs next.
    fn entered(&self, Entered { mut cart, how }: Entered, since: Time) -> (Cart, Leg) {
        cart.not_before(since);
        match how {
            How::Room(books) => {
                let name = cart.name();
                self.works
                    .record(&self.name, &Act::Admit { cart: name, books });
                return (cart, Leg::Unload);
            }
            How::Empty | How::Passed(Settled::Stale, _) => {}
            How::Passed(settled, (from, ids)) => {
                if let Some(books) = &ids {
                    let cart = cart.name();
                    self.works.record(&self.name, &Act::Pass { cart, books });
                }
                // The pile above has fewer books on lease: it may be done, or have books back.
                if let Some(above) = self.upstream.iter().find(|pile| pile.key == from) {
                    above.look_if_waiting(settled);
                }
            }
        }
        cart.leave_slot();
        cart.body_mut().room = None;
        (cart, Leg::Return)
    }

    /// What the engine owed is there.
    pub(super) fn is_leased(&self, cart: Cart, lease: Option<Lease>) {
        match lease {
            Some(lease) => self.grant(cart, lease, self.works.clock.now()),
            None => self.gate().takers.push_back(cart),
        }
    }

    /// What the engine owed is there.
    pub(super) fn is_passed(&self, cart: Cart, passing: Passing, answer: Result<Settled, Refused>) {
        match Self::admitted(cart, passing, answer) {
            Admission::In(entered) => {
                let (cart, leg) = self.entered(entered, self.works.clock.now());
                cart.put(leg);
            }
            Admission::Full(cart) => self.gate().givers.push_back(cart),
            Admission::Owed(_) => {}
        }
    }

    fn holder(&self) -> u64 {
        holder(self.node, 0)
    }

    fn load(&self, cart: &mut Cart, lease: Lease, since: Time) {
        cart.not_before(since);
        cart.load(lease);
        self.stats.carts_with(cart.carts(), cart.len());
        if self.works.is_traced() {
            let (cart, books) = (cart.name(), &cart.ids());
            self.works.record(&self.name, &Act::Lease { cart, books });
        }
    }

    fn grant(&self, mut cart: Cart, lease: Lease, since: Time) {
        self.load(&mut cart, lease, since);
        cart.put(Leg::Load);
    }

    /// After a settlement: rings only where the pile has something to do about it.
    pub(crate) fn look_if_waiting(&self, settled: Settled) {
        let looks = match settled {
            Settled::Done {
                returned: 0, last, ..
            } => last && self.counts().is_drained(),
            _ => true,
        };
        if looks {
            self.ring();
        }
    }

    /// Closes it if nothing will come any more and nothing is left of it: the carts at the gate go out of circulation.
    pub(super) fn close_if_done(&self) {
        let retire = {
            let mut gate = self.gate();
            if !self.is_closed() {
                let fed = gate.sealed
                    && (self.feeder.as_ref()).is_none_or(|(feeder, share)| feeder.is_done(*share))
                    && self.upstream.iter().all(|pile| pile.is_closed());
                if !fed || !gate.givers.is_empty() || !self.counts().is_drained() {
                    return;
                }
                self.closed.store(true, Ordering::Release);
                self.works.tell(Event::Closed {
                    node: self.name.clone(),
                    at: self.works.clock.now(),
                });
            }
            std::mem::take(&mut gate.takers)
        };
        for cart in retire {
            let yard = cart.yard().clone();
            yard.retire(cart);
        }
        for below in self.downstream.get().into_iter().flatten() {
            if let Some(below) = below.upgrade() {
                below.ring();
            }
        }
        self.works.change();
    }
}
