//! The crew's queue: carts that wait for a gopher, and gophers that wait for a cart.
//!
//! It is kept outside the actors, so a gopher's death loses no cart. A cart is sent to an idle
//! gopher as a message; if all gophers that could take it are busy it waits here, and the first of
//! them to become free takes the cart that has waited longest.

mod coupling;
mod held;
mod hung;
mod legs;
mod lending;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::Carrier;
use super::steps::Duties;
use crate::crew::cart::{Cart, CartBody};
use crate::custody::Want;
use crate::custody::slots::{SlotUser, Slots};
use gopherworks_supervision::__private::planted::{self, Defect};
use gopherworks_supervision::clock::{Clock, Time};

use held::Claims;
pub use held::holder;
pub use legs::Leg;
use legs::Legs;
pub(crate) use lending::{Doer, Loan, Next};

/// A gopher's entry in its crew.
#[derive(Debug, Clone)]
pub struct Seat {
    /// The steps it does.
    pub duties: Duties,
    /// Sends to the gopher's current actor.
    pub port: Arc<dyn Carrier>,
    /// Number of its node in the pipeline, for [`holder`].
    pub node: u32,
}

#[derive(Default)]
struct State {
    waiting: [VecDeque<Box<CartBody>>; 6],
    /// Legs for which a cart is waiting.
    wanted: Legs,
    /// Idle gophers, the longest idle first.
    idle: Vec<usize>,
    /// By seat: the gopher that can be lent while it is idle.
    doers: Vec<Option<Arc<Doer>>>,
    /// By seat: epoch of its latest incarnation.
    lives: Vec<u64>,
    /// Carts under way: neither waiting nor retired.
    out: usize,
    retired: usize,
}

/// A cart for an idle gopher.
struct Pair {
    body: Box<CartBody>,
    leg: Leg,
    gopher: usize,
    /// There may be further pairs.
    more: bool,
}

/// The queue of one crew.
pub struct Yard {
    me: Weak<Yard>,
    clock: Clock,
    name: String,
    want: Want,
    carts: usize,
    seats: Vec<Seat>,
    /// By seat: the legs that its gopher does.
    legs: Vec<Legs>,
    load_slots: Option<Arc<Slots>>,
    unload_slots: Option<Arc<Slots>>,
    /// Space at a dump is reserved before unloading begins, because unloading takes time.
    timed_unload: bool,
    state: Mutex<State>,
    /// Copy of `state.wanted`, to be read without the lock.
    wanted: AtomicU8,
    /// How many carts may be coupled now.
    coupling: AtomicUsize,
    /// By number - 1: generation and holder of each cart.
    held: Box<[AtomicU64]>,
    /// By number - 1: what has to be released if the cart's holder is fenced.
    claims: Box<[Mutex<Claims>]>,
}

impl std::fmt::Debug for Yard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Yard").field("crew", &self.name).finish()
    }
}

impl Yard {
    /// A queue with `carts` empty carts, waiting to be sent for books.
    #[allow(clippy::too_many_arguments, reason = "called once, by the wiring")]
    pub fn new(
        clock: Clock,
        name: impl Into<String>,
        want: Want,
        carts: usize,
        seats: Vec<Seat>,
        load_slots: Option<Arc<Slots>>,
        unload_slots: Option<Arc<Slots>>,
        timed_unload: bool,
    ) -> Arc<Self> {
        // Every queue can hold every cart, so that nothing allocates later, not even in a drop.
        let mut state = State {
            waiting: std::array::from_fn(|_| VecDeque::with_capacity(carts)),
            wanted: Legs::default(),
            idle: Vec::with_capacity(seats.len()),
            doers: seats.iter().map(|_| None).collect(),
            lives: vec![0; seats.len()],
            out: 0,
            retired: 0,
        };
        state.wanted.set(Leg::Take, carts > 0);
        let bodies = (1..=carts as u32).map(|number| CartBody { number, ..CartBody::default() });
        state.waiting[Leg::Take as usize].extend(bodies.map(Box::new));
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            clock,
            name: name.into(),
            want,
            carts,
            legs: seats.iter().map(|seat| Legs::of(seat.duties)).collect(),
            seats,
            load_slots,
            unload_slots,
            timed_unload,
            wanted: AtomicU8::new(state.wanted.0),
            state: Mutex::new(state),
            coupling: AtomicUsize::new(1),
            held: (0..carts).map(|_| AtomicU64::new(0)).collect(),
            claims: (0..carts).map(|_| Mutex::default()).collect(),
        })
    }

    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    /// Name of the crew.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Capacity of one cart.
    pub fn want(&self) -> Want {
        self.want
    }

    /// True if unloading takes time, so that space at the dump is reserved first.
    pub fn unloads_in_time(&self) -> bool {
        self.timed_unload
    }

    /// True if `leg` needs an exclusive slot.
    pub(crate) fn is_exclusive(&self, leg: Leg) -> bool {
        match leg {
            Leg::Load => self.load_slots.is_some(),
            Leg::Unload => self.unload_slots.is_some(),
            _ => false,
        }
    }

    /// Holder id of a gopher's incarnation `epoch`.
    pub(crate) fn holder_at(&self, gopher: usize, epoch: u64) -> u64 {
        holder(self.seats[gopher].node, epoch)
    }

    /// The steps that a gopher does.
    pub(crate) fn duties_of(&self, gopher: usize) -> Duties {
        self.seats[gopher].duties
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carts under way: neither waiting in the queue nor retired.
    pub fn under_way(&self) -> usize {
        self.lock().out
    }

    /// Number of carts that circulate.
    pub fn carts(&self) -> usize {
        self.carts
    }

    /// True once every cart is retired: the pile is closed and nothing is under way.
    pub fn is_done(&self) -> bool {
        self.lock().retired == self.carts
    }

    /// Queues a cart. A stale one (another has replaced it) is returned, to be dropped outside the
    /// lock.
    #[must_use]
    fn keep(&self, state: &mut State, body: Box<CartBody>, leg: Leg) -> Option<Box<CartBody>> {
        if self.is_stale(&body) {
            return Some(body);
        }
        self.held_by(&body, 0);
        state.out = state.out.saturating_sub(body.carts());
        self.want_leg(state, leg, true);
        let queue = &mut state.waiting[leg as usize];
        // Nearly always the youngest; a cart that could not be sent regains its position.
        if queue.back().is_none_or(|last| last.due <= body.due) {
            queue.push_back(body);
            return None;
        }
        let at = queue.iter().rposition(|other| other.due <= body.due);
        queue.insert(at.map_or(0, |at| at + 1), body);
        None
    }

    /// Dequeues the cart that has waited longest among those that need one of `legs` and whose
    /// slot, if it needs one, is free.
    fn pick(self: &Arc<Self>, state: &mut State, legs: Legs) -> Option<(Box<CartBody>, Leg)> {
        let mut open = state.wanted.and(legs);
        while !open.is_empty() {
            let mut best: Option<(Time, Leg)> = None;
            for leg in open.iter() {
                if let Some(front) = state.waiting[leg as usize].front()
                    && best.is_none_or(|(since, _)| front.due < since)
                {
                    best = Some((front.due, leg));
                }
            }
            let (_, leg) = best?;
            let slots = match leg {
                Leg::Load => self.load_slots.as_ref(),
                Leg::Unload => self.unload_slots.as_ref(),
                _ => None,
            };
            let slot = match slots.map(|slots| slots.take(&self.me)) {
                Some(None) => {
                    open.set(leg, false);
                    continue;
                }
                Some(some) => some,
                None => None,
            };
            let queue = &mut state.waiting[leg as usize];
            let mut body = queue.pop_front()?;
            let more = !queue.is_empty();
            self.want_leg(state, leg, more);
            if let Some(slot) = &slot {
                body.due = body.due.max(slot.free_since());
            }
            debug_assert!(body.slot.is_none(), "a waiting cart holds no slot");
            body.slot = slot;
            state.out += body.carts();
            return Some((body, leg));
        }
        None
    }

    fn cart(self: &Arc<Self>, body: Box<CartBody>, holder: u64) -> Cart {
        if body.slot.is_some() || body.room.is_some() {
            let claims = Claims {
                slot: body.slot.as_ref().map(crate::custody::slots::Slot::claim),
                room: body.room.as_ref().map(crate::custody::reservation::Room::claim),
            };
            let kept = &self.claims[body.number as usize - 1];
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = claims;
        }
        let cart = Cart::from_body(self.clone(), body);
        cart.hand_to(holder);
        cart
    }

    /// A free gopher hands back its cart with the next leg, if it has one, and gets the next cart
    /// to work on; `None` notes it as idle.
    pub fn advance(
        self: &Arc<Self>,
        gopher: usize,
        epoch: u64,
        done: Option<(Cart, Leg)>,
    ) -> Option<(Cart, Leg)> {
        let next = self.next(gopher, epoch, done, None, None)?;
        Some((next.cart, next.leg))
    }

    /// Like [`Yard::advance`], at the end of a `loan` if there was one. With `here`, idle gophers
    /// on that thread may be lent.
    pub(crate) fn next(
        self: &Arc<Self>,
        gopher: usize,
        epoch: u64,
        done: Option<(Cart, Leg)>,
        loan: Option<Loan>,
        here: Option<u64>,
    ) -> Option<Next> {
        let done = done.map(|(mut cart, leg)| {
            cart.leave_slot();
            (cart, leg)
        });
        let (picked, stale, pair) = {
            let mut stale = None;
            let mut state = self.lock();
            let changed = done.is_some() || loan.is_some();
            if let Some(loan) = loan {
                loan.end(&mut state);
            }
            // False for an incarnation whose thread hung while a later one took its place.
            let replaced = state.lives[gopher] > epoch;
            // After the loan's end: the gopher may have borrowed itself, by a cart meant for an
            // earlier incarnation.
            if !replaced && !state.idle.is_empty() {
                state.idle.retain(|idle| *idle != gopher);
            }
            if let Some((cart, leg)) = done {
                stale = self.keep(&mut state, cart.into_body(), leg);
            }
            let picked = match here {
                _ if replaced => None,
                Some(here) => self.choose(&mut state, gopher, here),
                None => {
                    let picked = self.pick(&mut state, self.legs[gopher]);
                    picked.map(|(body, leg)| (body, leg, None))
                }
            };
            // For other gophers.
            let pair = changed.then(|| self.pair(&mut state)).flatten();
            if picked.is_none() && !replaced {
                state.idle.push(gopher);
            }
            (picked, stale, pair)
        };
        drop(stale);
        let next = picked.map(|(body, leg, on)| {
            let doer = on.as_ref().and_then(Loan::doer);
            let holder = doer.map_or_else(|| self.holder_at(gopher, epoch), |doer| doer.holder);
            let cart = self.cart(body, holder);
            Next { cart, leg, on }
        });
        if let Some(pair) = pair {
            self.send(pair);
        }
        next
    }

    /// Queues a cart that needs `leg` next, and sends it on if a gopher is idle.
    pub fn put(self: &Arc<Self>, mut cart: Cart, leg: Leg) {
        // A slot is only held while a gopher works. Released before taking the lock, since that
        // wakes other crews.
        cart.leave_slot();
        self.take_in(cart.into_body(), leg);
    }

    /// True if a cart waits for a leg that this gopher does. Without the lock, so it may be
    /// outdated.
    pub(crate) fn is_wanted(&self, gopher: usize) -> bool {
        self.wanted.load(Ordering::Relaxed) & self.legs[gopher].0 != 0
    }

    fn want_leg(&self, state: &mut State, leg: Leg, there: bool) {
        state.wanted.set(leg, there);
        self.wanted.store(state.wanted.0, Ordering::Relaxed);
    }

    pub(crate) fn take_in(self: &Arc<Self>, body: Box<CartBody>, leg: Leg) {
        let (stale, pair) = {
            let mut state = self.lock();
            let stale = self.keep(&mut state, body, leg);
            (stale, self.pair(&mut state))
        };
        drop(stale);
        if let Some(pair) = pair {
            self.send(pair);
        }
    }

    /// Takes a cart out of circulation, because its pile is closed.
    pub fn retire(&self, cart: Cart) {
        let mut body = cart.into_body();
        let coupled = std::mem::take(&mut body.coupled);
        for body in std::iter::once(body).chain(coupled) {
            if self.is_stale(&body) {
                continue;
            }
            self.held_by(&body, 0);
            drop(body);
            let mut state = self.lock();
            state.out = state.out.saturating_sub(1);
            state.retired += 1;
        }
    }

    /// Queues an empty cart whose holder is gone. Its schedule is lost: it is due now.
    pub(crate) fn welcome_home(self: &Arc<Self>, mut body: Box<CartBody>) {
        let now = self.clock.now();
        while let Some(mut coupled) = body.coupled.pop() {
            coupled.due = now;
            self.take_in(coupled, Leg::Take);
        }
        body.due = now;
        self.take_in(body, Leg::Take);
    }

    /// Returns the books of waiting carts to their piles; for the end of a run, when no gopher is
    /// alive.
    pub fn evict(&self) {
        let mut loads = Vec::new();
        {
            let mut state = self.lock();
            for leg in Leg::ALL.into_iter().filter(|leg| *leg != Leg::Take) {
                while let Some(mut body) = state.waiting[leg as usize].pop_front() {
                    loads.push((body.lease.take(), body.worked.take(), body.room.take()));
                    state.waiting[Leg::Take as usize].push_back(body);
                    self.want_leg(&mut state, Leg::Take, true);
                }
                self.want_leg(&mut state, leg, false);
            }
        }
        // Outside the lock: dropping them wakes other nodes.
        drop(loads);
    }

    /// Matches an idle gopher with a waiting cart.
    fn pair(self: &Arc<Self>, state: &mut State) -> Option<Pair> {
        for at in 0..state.idle.len() {
            let gopher = state.idle[at];
            if state.wanted.and(self.legs[gopher]).is_empty() {
                continue;
            }
            if let Some((body, leg)) = self.pick(state, self.legs[gopher]) {
                state.idle.remove(at);
                let more = !state.idle.is_empty() && !state.wanted.is_empty();
                return Some(Pair { body, leg, gopher, more });
            }
        }
        None
    }

    /// Sends a cart to an idle gopher, then further ones while there are matches.
    fn send(self: &Arc<Self>, pair: Pair) {
        let mut next = Some(pair);
        while let Some(Pair { body, leg, gopher, more }) = next.take() {
            let Seat { port, node, .. } = &self.seats[gopher];
            if let Err(cart) = port.carry(self.cart(body, 0), leg, *node) {
                // The gopher is gone; its next incarnation looks here when it starts.
                let mut body = cart.into_body();
                body.slot = None;
                if planted::has(Defect::GopherForgetsCart) {
                    std::mem::forget(body);
                    return;
                }
                let stale = self.keep(&mut self.lock(), body, leg);
                drop(stale);
            } else if !more {
                return;
            }
            next = self.pair(&mut self.lock());
        }
    }
}

impl SlotUser for Yard {
    /// Sends waiting carts to idle gophers while there are matches.
    fn dispatch(self: Arc<Self>) {
        let pair = self.pair(&mut self.lock());
        if let Some(pair) = pair {
            self.send(pair);
        }
    }
}

#[cfg(test)]
mod tests;
