//! The crew's queue: carts that wait for a gopher, and gophers that wait for a cart.
//!
//! It is kept outside the actors, so a gopher's death loses no cart. A cart is sent to an idle
//! gopher as a message; if all gophers that could take it are busy it waits here, and the first of
//! them to become free takes the cart that has waited longest.

mod control;
mod dispatch;
mod holders;
mod next_step;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use super::Carrier;
use super::steps::Duties;
use crate::crew::cart::{Cart, CartBody};
use crate::custody::slots::Slots;
use crate::custody::{HolderId, Want};
use gopherworks_supervision::clock::{Clock, Time};

pub(crate) use dispatch::{Incarnation, InlineRun, NextCart};
use holders::{CartHolders, coupled_to};
pub use next_step::NextStep;
pub(crate) use next_step::NextSteps;

/// A gopher's entry in its crew.
#[derive(Debug, Clone)]
pub struct CrewMember {
    /// The steps it does.
    pub duties: Duties,
    /// Sends to the gopher's current actor.
    pub port: Arc<dyn Carrier>,
    /// Number of its node in the pipeline, for [`HolderId`].
    pub node: u32,
}

#[derive(Default)]
struct QueueState {
    waiting: [VecDeque<Box<CartBody>>; 6],
    /// Steps for which a cart is waiting.
    wanted: NextSteps,
    /// Idle gophers, the longest idle first.
    idle: Vec<usize>,
    /// By gopher: its incarnation, if that can be lent while it is idle.
    lendable: Vec<Option<Arc<Incarnation>>>,
    /// By gopher: epoch of its latest incarnation.
    lives: Vec<u64>,
    /// Carts under way: neither waiting nor retired.
    out: usize,
    retired: usize,
    members: Vec<CrewMember>,
    /// By gopher: the steps that it does.
    steps: Vec<NextSteps>,
    /// Gophers with smaller indices get carts.
    size: usize,
    /// Gophers beyond `size` that have finished what they had in hand.
    left: Vec<usize>,
    /// Rung when a gopher is added to `left`.
    leavers: Option<Arc<Notify>>,
    /// An operator has paused the crew: no cart is sent for books.
    held: bool,
}

/// The queue of one crew.
pub struct CrewQueue {
    me: Weak<CrewQueue>,
    clock: Clock,
    name: String,
    want: Want,
    carts: usize,
    load_slots: Option<Arc<Slots>>,
    unload_slots: Option<Arc<Slots>>,
    /// Space at a dump is reserved before unloading begins, because unloading takes time.
    timed_unload: bool,
    state: Mutex<QueueState>,
    /// Copy of `state.wanted`, to be read without the lock.
    wanted: AtomicU8,
    /// Gophers with smaller indices may send carts for books.
    takers: AtomicUsize,
    /// How many carts may be coupled now.
    coupling: AtomicUsize,
    holders: CartHolders,
}

impl std::fmt::Debug for CrewQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CrewQueue").field("crew", &self.name).finish()
    }
}

impl CrewQueue {
    /// A queue with `carts` empty carts, waiting to be sent for books.
    #[allow(clippy::too_many_arguments, reason = "called once, by the wiring")]
    pub fn new(
        clock: Clock,
        name: impl Into<String>,
        want: Want,
        carts: usize,
        members: Vec<CrewMember>,
        load_slots: Option<Arc<Slots>>,
        unload_slots: Option<Arc<Slots>>,
        timed_unload: bool,
    ) -> Arc<Self> {
        // Every queue can hold every cart, so that nothing allocates later, not even in a drop.
        let mut state = QueueState {
            waiting: std::array::from_fn(|_| VecDeque::with_capacity(carts)),
            wanted: NextSteps::default(),
            idle: Vec::with_capacity(members.len()),
            lendable: members.iter().map(|_| None).collect(),
            lives: vec![0; members.len()],
            out: 0,
            retired: 0,
            steps: members.iter().map(|member| NextSteps::of(member.duties)).collect(),
            size: members.len(),
            left: Vec::new(),
            leavers: None,
            held: false,
            members,
        };
        state.wanted.set(NextStep::Take, carts > 0);
        let bodies = (1..=carts as u32).map(|number| CartBody { number, ..CartBody::default() });
        state.waiting[NextStep::Take as usize].extend(bodies.map(Box::new));
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            clock,
            name: name.into(),
            want,
            carts,
            takers: AtomicUsize::new(state.size),
            load_slots,
            unload_slots,
            timed_unload,
            wanted: AtomicU8::new(state.wanted.0),
            state: Mutex::new(state),
            coupling: AtomicUsize::new(1),
            holders: CartHolders::new(carts),
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

    /// True if `step` needs an exclusive slot.
    pub(crate) fn is_exclusive(&self, step: NextStep) -> bool {
        match step {
            NextStep::Load => self.load_slots.is_some(),
            NextStep::Unload => self.unload_slots.is_some(),
            _ => false,
        }
    }

    /// Holder id of a gopher's incarnation `epoch`.
    pub(crate) fn holder_at(&self, gopher: usize, epoch: u64) -> HolderId {
        HolderId::new(self.lock().members[gopher].node, epoch)
    }

    /// Sets the holder of a cart; ignored if another cart has replaced it.
    pub(crate) fn held_by(&self, body: &CartBody, holder: HolderId) {
        self.holders.set(body, holder);
    }

    /// The steps that a gopher does.
    pub(crate) fn duties_of(&self, gopher: usize) -> Duties {
        self.lock().members[gopher].duties
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
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

    /// Queues a cart. Returns what the caller drops without the lock: the cart, if another has
    /// replaced it, or a load that is not begun because the crew is held.
    #[must_use]
    fn keep(
        &self,
        state: &mut QueueState,
        mut body: Box<CartBody>,
        mut step: NextStep,
    ) -> Option<Box<CartBody>> {
        if self.holders.is_stale(&body) {
            return Some(body);
        }
        let mut back = None;
        if step == NextStep::Load && state.held {
            step = NextStep::Take;
            back = Some(control::unloaded(&mut body));
        }
        self.holders.set(&body, HolderId::NONE);
        state.out = state.out.saturating_sub(body.carts());
        self.set_wanted(state, step, true);
        let queue = &mut state.waiting[step as usize];
        // Nearly always the youngest; a cart that could not be sent regains its position.
        if queue.back().is_none_or(|last| last.due <= body.due) {
            queue.push_back(body);
            return back;
        }
        let at = queue.iter().rposition(|other| other.due <= body.due);
        queue.insert(at.map_or(0, |at| at + 1), body);
        back
    }

    /// Dequeues the cart that has waited longest among those that need one of `steps` and whose
    /// slot, if it needs one, is free.
    fn pick(
        self: &Arc<Self>,
        state: &mut QueueState,
        steps: NextSteps,
    ) -> Option<(Box<CartBody>, NextStep)> {
        let mut open = state.wanted.and(steps);
        while !open.is_empty() {
            let mut best: Option<(Time, NextStep)> = None;
            for step in open.iter() {
                if let Some(front) = state.waiting[step as usize].front()
                    && best.is_none_or(|(since, _)| front.due < since)
                {
                    best = Some((front.due, step));
                }
            }
            let (_, step) = best?;
            let slots = match step {
                NextStep::Load => self.load_slots.as_ref(),
                NextStep::Unload => self.unload_slots.as_ref(),
                _ => None,
            };
            let slot = match slots.map(|slots| slots.take(&self.me)) {
                Some(None) => {
                    open.set(step, false);
                    continue;
                }
                Some(some) => some,
                None => None,
            };
            let queue = &mut state.waiting[step as usize];
            let mut body = queue.pop_front()?;
            let more = !queue.is_empty();
            self.set_wanted(state, step, more);
            if let Some(slot) = &slot {
                body.due = body.due.max(slot.free_since());
            }
            debug_assert!(body.slot.is_none(), "a waiting cart holds no slot");
            body.slot = slot;
            state.out += body.carts();
            return Some((body, step));
        }
        None
    }

    fn cart(self: &Arc<Self>, body: Box<CartBody>, holder: HolderId) -> Cart {
        self.holders.note_claims(&body);
        let cart = Cart::from_body(self.clone(), body);
        cart.hand_to(holder);
        cart
    }

    /// A free gopher hands back its cart with the next step, if it has one, and gets the next cart
    /// to work on; `None` notes it as idle.
    pub fn advance(
        self: &Arc<Self>,
        gopher: usize,
        epoch: u64,
        done: Option<(Cart, NextStep)>,
    ) -> Option<(Cart, NextStep)> {
        let next = self.next(gopher, epoch, done, None, None)?;
        Some((next.cart, next.step))
    }

    /// Like [`CrewQueue::advance`], at the end of an inline `run` if there was one. With `here`,
    /// idle gophers on that thread may be lent.
    pub(crate) fn next(
        self: &Arc<Self>,
        gopher: usize,
        epoch: u64,
        done: Option<(Cart, NextStep)>,
        run: Option<InlineRun>,
        here: Option<u64>,
    ) -> Option<NextCart> {
        let done = done.map(|(mut cart, step)| {
            cart.leave_slot();
            (cart, step)
        });
        let (picked, stale, assignment, node) = {
            let mut stale = None;
            let mut state = self.lock();
            let changed = done.is_some() || run.is_some();
            if let Some(run) = run {
                run.end(&mut state);
            }
            // False for an incarnation whose thread hung while a later one took its place.
            let replaced = state.lives[gopher] > epoch;
            let leaves = gopher >= state.size;
            // After the run's end: the gopher may have borrowed itself, by a cart meant for an
            // earlier incarnation.
            if !replaced && !state.idle.is_empty() {
                state.idle.retain(|idle| *idle != gopher);
            }
            if let Some((cart, step)) = done {
                stale = self.keep(&mut state, cart.into_body(), step);
            }
            let picked = match here {
                _ if replaced || leaves => None,
                Some(here) => self.choose(&mut state, gopher, here),
                None => {
                    let steps = state.steps[gopher];
                    let picked = self.pick(&mut state, steps);
                    picked.map(|(body, step)| (body, step, None))
                }
            };
            // For other gophers.
            let assignment = changed.then(|| self.assign(&mut state)).flatten();
            if picked.is_none() && !replaced {
                state.rest(gopher);
            }
            (picked, stale, assignment, state.members[gopher].node)
        };
        drop(stale);
        let next = picked.map(|(body, step, run)| {
            let lent = run.as_ref().and_then(InlineRun::lent);
            let holder = lent.map_or_else(|| HolderId::new(node, epoch), |lent| lent.holder);
            let cart = self.cart(body, holder);
            NextCart { cart, step, run }
        });
        if let Some(assignment) = assignment {
            self.send(assignment);
        }
        next
    }

    /// Queues a cart that needs `step` next, and sends it on if a gopher is idle.
    pub fn put(self: &Arc<Self>, mut cart: Cart, step: NextStep) {
        // A slot is only held while a gopher works. Released before taking the lock, since that
        // wakes other crews.
        cart.leave_slot();
        self.enqueue(cart.into_body(), step);
    }

    /// True if a cart waits for one of these steps. A snapshot, taken without the lock.
    pub(crate) fn is_wanted(&self, steps: NextSteps) -> bool {
        self.wanted.load(Ordering::Relaxed) & steps.0 != 0
    }

    fn set_wanted(&self, state: &mut QueueState, step: NextStep, there: bool) {
        state.wanted.set(step, there && !(state.held && step == NextStep::Take));
        self.wanted.store(state.wanted.0, Ordering::Relaxed);
    }

    pub(crate) fn enqueue(self: &Arc<Self>, body: Box<CartBody>, step: NextStep) {
        let (stale, assignment) = {
            let mut state = self.lock();
            let stale = self.keep(&mut state, body, step);
            (stale, self.assign(&mut state))
        };
        drop(stale);
        if let Some(assignment) = assignment {
            self.send(assignment);
        }
    }

    /// Takes a cart out of circulation, because its pile is closed.
    pub fn retire(&self, cart: Cart) {
        let mut body = cart.into_body();
        let coupled = std::mem::take(&mut body.coupled);
        for body in std::iter::once(body).chain(coupled) {
            if self.holders.is_stale(&body) {
                continue;
            }
            self.holders.set(&body, HolderId::NONE);
            drop(body);
            let mut state = self.lock();
            state.out = state.out.saturating_sub(1);
            state.retired += 1;
        }
    }

    /// Queues an empty cart whose holder is gone. Its schedule is lost: it is due now.
    pub(crate) fn return_empty(self: &Arc<Self>, mut body: Box<CartBody>) {
        let now = self.clock.now();
        while let Some(mut coupled) = body.coupled.pop() {
            coupled.due = now;
            self.enqueue(coupled, NextStep::Take);
        }
        body.due = now;
        self.enqueue(body, NextStep::Take);
    }

    /// Returns the books of waiting carts to their piles, after the last gopher of a run ended.
    pub fn evict(&self) {
        let mut loads = Vec::new();
        {
            let mut state = self.lock();
            for step in NextStep::ALL.into_iter().filter(|step| *step != NextStep::Take) {
                while let Some(mut body) = state.waiting[step as usize].pop_front() {
                    loads.push((body.lease.take(), body.worked.take(), body.reservation.take()));
                    state.waiting[NextStep::Take as usize].push_back(body);
                    self.set_wanted(&mut state, NextStep::Take, true);
                }
                self.set_wanted(&mut state, step, false);
            }
        }
        // Outside the lock: dropping them wakes other nodes.
        drop(loads);
    }

    /// Replaces every cart held by `lost`, a fenced holder whose thread may never return them, and
    /// releases their slots and reservations. Their books are recalled by custody. Returns how
    /// many carts that were.
    pub fn reclaim(self: &Arc<Self>, lost: HolderId) -> usize {
        let mut reclaimed = 0;
        self.holders.reclaim(lost, &self.clock, |body| {
            reclaimed += 1;
            self.return_empty(body);
        });
        reclaimed
    }

    /// How many carts may be coupled now; 1 is none.
    ///
    /// A crew whose trips take no time moves waiting carts in groups: one lease and one delivery
    /// for all. The number of carts still bounds the books under way.
    pub(crate) fn coupling(&self) -> usize {
        self.coupling.load(Ordering::Relaxed)
    }

    pub(crate) fn couple_up_to(&self, carts: usize) {
        self.coupling.store(carts, Ordering::Relaxed);
    }

    /// Couples waiting empty carts to one that is about to be sent for books, up to `carts` in
    /// all. With `returns`, includes carts that wait to be brought back.
    pub(crate) fn couple(&self, cart: &mut Cart, carts: usize, returns: bool) {
        let body = cart.body_mut();
        let mut state = self.lock();
        for step in [NextStep::Take, NextStep::Return].into_iter().take(1 + usize::from(returns)) {
            let waiting = &mut state.waiting[step as usize];
            let mut out = 0;
            while body.carts() < carts
                && let Some(next) = waiting.pop_front()
            {
                out += next.carts();
                self.couple_to(body, next);
            }
            let more = !waiting.is_empty();
            state.out += out;
            self.set_wanted(&mut state, step, more);
        }
    }

    /// Couples `other`, and the carts coupled to it, to `body`.
    pub(crate) fn couple_to(&self, body: &mut CartBody, mut other: Box<CartBody>) {
        let more = std::mem::take(&mut other.coupled);
        for other in std::iter::once(other).chain(more) {
            self.holders.set(&other, coupled_to(body));
            body.coupled.push(other);
        }
    }
}

#[cfg(test)]
mod tests;
