//! Balancer state that outlives its actors, and the operations on it.

mod actor;
mod call;
mod inline;
mod inline_slots;
mod lending;
mod nested;
mod parts;
mod permits;
mod reply_slot;
mod roster;
mod serving;
mod state;
mod submit;
mod ticket;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use self::inline_slots::InlineSlots;
use self::lending::Lending;
use self::nested::Mark;
use self::permits::QueuePermits;
use self::roster::{Roster, WorkerCore};
use self::state::BalancerState;
use self::ticket::Presence;
use crate::figures::{Buckets, Figures};
use crate::policy::{LoadPolicy, Spread};
use crate::resilience::Resilience;
use crate::table::{Ref, RequestVerdict, Rules};
use crate::trace::{RequestAct, RequestRecord, RequestTracer};
use crate::worker::Work;
use gopherworks_supervision::__private::guarded;
use gopherworks_supervision::Port;
use gopherworks_supervision::clock::{Clock, Seed, Time};
use gopherworks_supervision::pool::Pool;

use self::parts::Failed;

pub use self::actor::{Balancer, Look};
pub use self::call::{Call, CallError};
pub use self::nested::NESTED_WITHIN;
pub use self::parts::{Again, Cost, MakeWorker, Parts, Settings};
pub use self::serving::Worker;

#[cfg(test)]
pub(crate) use self::inline_slots::begin_turn;

/// State of a balancer that outlives its actors.
pub struct BalancerCore<W: Work> {
    /// The balancer's name, used in logs and traces.
    pub name: Arc<str>,
    /// Sends to the balancer's current actor.
    pub port: Port<Balancer<W>>,
    settings: Settings,
    make: MakeWorker<W>,
    again: Option<Again<W>>,
    cost: Option<Cost<W>>,
    failed: Option<Failed<W>>,
    clock: Clock,
    seed: Seed,
    pool: Arc<Pool>,
    tracer: Option<Arc<dyn RequestTracer>>,
    idle: Option<Arc<dyn Fn() + Send + Sync>>,
    roster: Roster<W>,
    lending: Lending<W>,
    /// True if no further requests are accepted.
    sealed: AtomicBool,
    state: Mutex<BalancerState<W>>,
    permits: Option<Arc<QueuePermits>>,
    /// True if a `Look` is already in the mailbox.
    rung: AtomicBool,
    /// When the actor's timer fires, in nanoseconds; `u64::MAX` if it is not set. The timer serves
    /// hedges, deadlines, shedding, readmissions and slow start.
    armed: AtomicU64,
    changed: Notify,
    /// The balancer's bit in the masks of `nested`.
    mark: Mark,
    /// True if the warning about workers that call their own balancer was logged.
    warned: AtomicBool,
}

impl<W: Work> fmt::Debug for BalancerCore<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BalancerCore")
            .field("name", &self.name)
            .field("settings", &self.settings)
            .finish()
    }
}

impl<W: Work> BalancerCore<W> {
    /// Creates a balancer without actors. The caller supervises the workers and the balancer
    /// itself, see [`super::children`].
    pub fn new(parts: Parts<W>) -> Arc<Self> {
        let mut settings = parts.settings;
        settings.workers = settings.workers.max(1);
        settings.places = settings.places.max(1);
        settings.max_attempts = settings.max_attempts.max(1);
        let rules = Rules {
            policy: settings.policy,
            spread: settings.spread,
            workers: settings.workers,
            places: settings.places,
            max_attempts: settings.max_attempts,
            resilience: settings.resilience,
        };
        let chance = parts.seed.stream(&parts.name, "balancing");
        let now = parts.clock.now();
        let permits = settings.queue.map(|queue| {
            let most = (queue as usize).saturating_add(settings.workers * settings.places);
            QueuePermits::new(most)
        });
        // Tracing, retries and failure counts need every request in the table. Inline runs pick
        // the nearest idle worker, which only suits policies for which all idle workers are equal.
        let lends = !parts.clock.is_simulated()
            && parts.tracer.is_none()
            && parts.again.is_none()
            && parts.failed.is_none()
            && settings.spread == Spread::One
            && settings.resilience == Resilience::default()
            && matches!(
                settings.policy,
                LoadPolicy::LeastLoaded | LoadPolicy::Central { skip_slow: false, .. }
            );
        Arc::new(Self {
            lending: Lending::new(lends, settings.workers),
            roster: Roster::new(&parts.name, settings.workers),
            sealed: AtomicBool::new(false),
            port: Port::new(),
            state: Mutex::new(BalancerState::new(rules, chance, now)),
            permits,
            rung: AtomicBool::new(false),
            armed: AtomicU64::new(u64::MAX),
            changed: Notify::new(),
            mark: Mark::new(&parts.name),
            warned: AtomicBool::new(false),
            name: parts.name,
            settings,
            make: parts.make,
            again: parts.again,
            cost: parts.cost,
            failed: parts.failed,
            clock: parts.clock,
            seed: parts.seed,
            pool: parts.pool,
            tracer: parts.tracer,
            idle: parts.idle,
        })
    }

    /// The settings it was built with, raised to their minimums where they were lower.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The balancer's clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The seed of the balancer's random choices.
    pub fn seed(&self) -> Seed {
        self.seed
    }

    /// Names and ports of the workers.
    pub fn workers(&self) -> impl Iterator<Item = (&Arc<str>, &Port<Worker<W>>)> {
        self.roster.workers.iter().map(|worker| (&worker.name, &worker.port))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, BalancerState<W>> {
        // No user code runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, node: &str, at: Time, act: RequestAct) {
        if let Some(tracer) = &self.tracer {
            let recorded = guarded(|| tracer.record(&RequestRecord { at, node, act }));
            if let Err(text) = recorded {
                log::error!("a tracer panicked: {text}");
            }
        }
    }

    /// True if something is due before the actor's timer fires, so that the actor has to be woken.
    pub(crate) fn is_early(&self, state: &mut BalancerState<W>) -> bool {
        let armed = self.armed.load(Ordering::Acquire);
        (state.table.next_turn()).is_some_and(|at| at.0 < armed)
    }

    /// Wakes the balancer's actor, unless a wake-up is pending.
    pub(crate) fn ring(&self) {
        if self.rung.swap(true, Ordering::AcqRel) {
            // The pending wake-up may have been lost with the mailbox.
            if self.port.is_closed() {
                self.close();
            }
            return;
        }
        // A vacant port loses nothing: every incarnation looks when it starts. A closed port stays
        // closed.
        if let Err(unsent) = self.port.send(Look)
            && unsent.is_gone()
        {
            self.close();
        }
    }

    /// Dispatches all requests that can be dispatched. Returns when to look again.
    pub(crate) fn look(&self) -> Option<Time> {
        // Cleared first, so that later changes send a new wake-up.
        self.rung.store(false, Ordering::Release);
        let now = self.clock.now();
        let (effects, next) = {
            let mut state = self.lock();
            state.table.turn(now);
            let next = state.table.next_turn();
            // Stored under the lock that guards its readers: a later hedge sees this value.
            let armed = next.map_or(u64::MAX, |at| at.0);
            self.armed.store(armed, Ordering::Release);
            (state.effects(), next)
        };
        effects.apply(self, None);
        next
    }

    pub(crate) fn ended(&self, idle: bool) {
        if idle {
            self.changed.notify_waiters();
            if let Some(notify) = &self.idle
                && let Err(text) = guarded(|| notify())
            {
                log::error!("the waiter for the last request panicked: {text}");
            }
        }
    }

    pub(crate) fn lose(&self, which: Ref, worker: usize, epoch: u64, charged: bool, reason: &str) {
        let now = self.clock.now();
        let again = self.again.is_some();
        let (verdict, idle) = {
            let mut state = self.lock();
            let table = &mut state.table;
            let verdict = table.lost(which, worker, epoch, charged, again, now);
            (verdict, table.open() == 0)
        };
        if !matches!(verdict, RequestVerdict::Stale) {
            self.record(
                &self.roster.workers[worker].name,
                now,
                RequestAct::Lose { request: which.number, copy: which.copy },
            );
        }
        match verdict {
            RequestVerdict::Over(item) => {
                let reason = format!("{} {reason}", self.roster.workers[worker].name);
                item.reply_slot.settle(Err(CallError::WorkerLost { reason }));
                drop(item);
                self.ended(idle);
            }
            RequestVerdict::GoesOn | RequestVerdict::Stale => {}
        }
        // A request was put back, a slot is free, or a worker was ejected: dispatch again.
        self.ring();
    }

    pub(crate) fn cancel(&self, which: Ref) {
        let now = self.clock.now();
        let (item, idle) = {
            let mut state = self.lock();
            (state.table.cancel(which, now), state.table.open() == 0)
        };
        if let Some(item) = item {
            self.record(&self.name, now, RequestAct::Cancel { request: which.number });
            item.reply_slot.abandon();
            drop(item);
            self.ended(idle);
        }
    }

    /// Sets the number of wanted workers, clamped to 1..=the number it was built with. Returns it.
    pub fn resize(&self, workers: usize) -> usize {
        let now = self.clock.now();
        let resizing = self.roster.resizing.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, size) = {
            let mut state = self.lock();
            let before = state.table.size();
            state.table.resize(workers, now);
            (before, state.table.size())
        };
        self.roster.size.send_replace(size);
        if let Some(permits) = &self.permits {
            let places = self.settings.places;
            permits.grow(size.saturating_sub(before) * places);
            permits.shrink(before.saturating_sub(size) * places);
        }
        drop(resizing);
        // Workers beyond the new size are woken, so that they see that they are parked.
        self.roster.workers[size..].iter().for_each(WorkerCore::notify);
        self.ring();
        size
    }

    /// Takes back the requests of a worker's incarnation `epoch`, which is given up although its
    /// thread may still run. A late reply to a request that is not yet over still counts. With
    /// `guilty` the worker itself hung, so its running requests are charged an attempt.
    pub fn give_up(&self, name: &str, epoch: u64, guilty: bool) {
        let Some(worker) = self.roster.workers.iter().position(|one| &*one.name == name) else {
            return;
        };
        let begun = {
            let state = self.lock();
            let present = state.table.is_up(worker, epoch);
            present.then(|| state.table.begun_by(worker, epoch))
        };
        for which in begun.into_iter().flatten() {
            self.lose(which, worker, epoch, guilty, "was given up as hung");
        }
        Presence::end(self, worker, epoch);
    }

    /// To be called when a caller is known to hang: queue permits granted but not collected are
    /// offered to other waiting callers.
    pub fn offer_permits_anew(&self) {
        if let Some(permits) = &self.permits {
            permits.offer_anew();
        }
    }

    /// Accepts no further requests; accepted ones run to completion.
    pub fn seal(&self) {
        self.lock().closed = true;
        // Before inline runs are counted: one that ends from now on notifies waiters of `changed`.
        self.sealed.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
        if let Some(permits) = &self.permits {
            permits.close();
        }
    }

    /// Accepts no further requests and gives up all in flight: their callers get
    /// [`CallError::Closed`].
    pub fn close(&self) {
        self.seal();
        let now = self.clock.now();
        let items = self.lock().table.clear(now);
        for item in &items {
            item.reply_slot.settle(Err(CallError::Closed));
        }
        (0..self.settings.workers).for_each(|worker| self.lending.shut(worker, None));
        let any = !items.is_empty();
        drop(items);
        self.ended(any);
    }

    /// True while requests are accepted and at least one worker is up.
    pub fn is_ready(&self) -> bool {
        let state = self.lock();
        !state.closed && state.table.is_any_up()
    }

    /// Number of worker restarts, including those of parked workers.
    pub fn restarts(&self) -> u64 {
        self.lock().restarts
    }

    /// Requests in flight, queued or running.
    pub fn open(&self) -> usize {
        self.lock().table.open() + self.lending.account().open
    }

    /// Waits until no request is in flight.
    pub async fn quiet(&self) {
        self.until(|state| {
            state.table.open() == 0 && !self.lending.slots.iter().any(InlineSlots::is_busy)
        })
        .await;
    }

    /// Waits until every wanted worker has been up once, or the balancer is closed.
    pub async fn ready(&self) {
        self.until(|state| {
            let wanted = &state.seen[..state.table.size()];
            state.closed || wanted.iter().all(|seen| *seen)
        })
        .await;
    }

    async fn until(&self, holds: impl Fn(&BalancerState<W>) -> bool) {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // Registers before checking, so that no change in between is missed.
            changed.as_mut().enable();
            if holds(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    /// Estimated time until the requests queued now have been served; zero if there is no data.
    pub fn retry_after(&self) -> Duration {
        self.lock().retry_after(self.settings.places)
    }

    /// Histograms of the response time (from the call to the reply) and the waiting time (from
    /// acceptance to the first start).
    pub fn buckets(&self) -> [Buckets; 2] {
        let lent = self.lending.account();
        self.lock().buckets(&lent)
    }

    /// Statistics since the start.
    pub fn figures(&self) -> Figures {
        let now = self.clock.now();
        let lent = self.lending.account();
        self.lock().figures(&lent, now)
    }
}
