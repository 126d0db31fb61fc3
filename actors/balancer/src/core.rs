//! Balancer state that outlives its actors, and the operations on it.

mod actor;
mod call;
mod complete;
mod inline;
mod inline_slots;
mod nested;
mod parts;
mod permits;
mod reply_slot;
mod serving;
mod submit;
mod ticket;
mod workers;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use hdrhistogram::Histogram;
use tokio::sync::{Notify, watch};

use self::inline_slots::{InlineSlots, Threads, Trust};
use self::nested::Mark;
use self::permits::{Permit, QueuePermits};
use self::reply_slot::ReplySlot;
use self::ticket::Ticket;
use crate::policy::{LoadPolicy, Spread};
use crate::resilience::Resilience;
use crate::table::times::{histogram, record};
use crate::table::{Refusal, RequestTable, Rules, Wakes};
use crate::trace::{RequestAct, RequestRecord, RequestTracer};
use crate::worker::Work;
use gopherworks_supervision::__private::{die, guarded};
use gopherworks_supervision::clock::{Clock, Seed, Time};
use gopherworks_supervision::failure::Failure;
use gopherworks_supervision::pool::Pool;
use gopherworks_supervision::{Guarded, Port};

use self::parts::Failed;
use self::serving::Begin;

pub use self::actor::{Balancer, Look};
pub use self::call::{Call, CallError};
pub use self::nested::NESTED_WITHIN;
pub use self::parts::{Again, Cost, MakeWorker, Parts, Settings};
pub use self::serving::Worker;

#[cfg(test)]
pub(crate) use self::inline_slots::begin_turn;

pub(crate) enum RequestBody<Q> {
    Once(Option<Guarded<Q>>),
    // Has its own lock because a request need not be `Sync` and its `Clone` is user code.
    Shared(Arc<Mutex<Guarded<Q>>>),
}

/// What the request table stores of a request.
pub(crate) struct RequestPayload<W: Work> {
    body: RequestBody<W::Request>,
    reply_slot: Arc<ReplySlot<W::Reply>>,
    asked: Time,
    /// Mask of the balancers whose workers are waiting for this request (see `nested`).
    behalf: u64,
    // Queue permit, held until the request is over.
    _permit: Option<Permit>,
}

pub(crate) struct BalancerState<W: Work> {
    table: RequestTable<RequestPayload<W>>,
    closed: bool,
    /// By worker: it has been up at least once.
    seen: Vec<bool>,
    restarts: u64,
    response: Histogram<u64>,
    waited: Histogram<u64>,
    /// Sums in seconds: means from the histograms would be rounded to a bucket.
    responses: f64,
    waits: f64,
    busy: Duration,
}

/// Effects to carry out after the lock is released.
pub(crate) struct Effects<W: Work> {
    wakes: Wakes,
    refused: Vec<(u64, RequestPayload<W>, Refusal)>,
    idle: bool,
}

impl<W: Work> BalancerState<W> {
    fn effects(&mut self) -> Effects<W> {
        Effects {
            wakes: self.table.wakes(),
            refused: self.table.refused(),
            idle: self.table.open() == 0,
        }
    }
}

/// The balancer's record of one worker.
struct WorkerCore<W: Work> {
    name: Arc<str>,
    port: Port<Worker<W>>,
    /// Wakes the current incarnation only: one that hangs must not consume its successor's
    /// wake-ups.
    bell: ArcSwap<Notify>,
    /// A `Begin` is already in the mailbox.
    wake_pending: AtomicBool,
}

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
    /// Number of workers wanted.
    size: watch::Sender<usize>,
    clock: Clock,
    seed: Seed,
    pool: Arc<Pool>,
    tracer: Option<Arc<dyn RequestTracer>>,
    idle: Option<Arc<dyn Fn() + Send + Sync>>,
    workers: Vec<WorkerCore<W>>,
    /// Whether idle workers may run requests inline on the caller's thread.
    lends: bool,
    trust: Trust,
    threads: Threads,
    inline_slots: Vec<InlineSlots<W>>,
    /// No further requests are accepted.
    sealed: AtomicBool,
    state: Mutex<BalancerState<W>>,
    permits: Option<Arc<QueuePermits>>,
    /// A `Look` is already in the mailbox.
    rung: AtomicBool,
    /// When the actor's timer fires, in nanoseconds; `u64::MAX` if it is not set. The timer serves
    /// hedges, deadlines, shedding, readmissions and slow start.
    armed: AtomicU64,
    changed: Notify,
    resizing: Mutex<()>,
    /// The balancer's bit in the masks of `nested`.
    mark: Mark,
    /// The warning about workers that call their own balancer was logged.
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
            lends,
            trust: Trust::default(),
            threads: Threads::new(settings.workers),
            inline_slots: (0..settings.workers).map(|_| InlineSlots::default()).collect(),
            sealed: AtomicBool::new(false),
            port: Port::new(),
            workers: (1..=settings.workers)
                .map(|number| WorkerCore {
                    name: format!("{}/{number}", parts.name).into(),
                    port: Port::new(),
                    bell: ArcSwap::default(),
                    wake_pending: AtomicBool::new(false),
                })
                .collect(),
            state: Mutex::new(BalancerState {
                table: RequestTable::new(rules, chance, now),
                closed: false,
                seen: vec![false; settings.workers],
                restarts: 0,
                response: histogram(),
                waited: histogram(),
                responses: 0.0,
                waits: 0.0,
                busy: Duration::ZERO,
            }),
            permits,
            rung: AtomicBool::new(false),
            armed: AtomicU64::new(u64::MAX),
            changed: Notify::new(),
            resizing: Mutex::default(),
            mark: Mark::new(&parts.name),
            warned: AtomicBool::new(false),
            name: parts.name,
            settings,
            make: parts.make,
            again: parts.again,
            cost: parts.cost,
            failed: parts.failed,
            size: watch::Sender::new(settings.workers),
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
        self.workers.iter().map(|worker| (&worker.name, &worker.port))
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    pub(crate) fn make(&self, worker: usize) -> Result<W, Failure> {
        (self.make)(worker)
    }

    pub(crate) fn bell(&self, worker: usize) -> Arc<Notify> {
        self.workers[worker].bell.load_full()
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
        self.apply(effects, None);
        next
    }

    /// Wakes workers (except `but`, which is already running) and resolves the calls of refused
    /// requests.
    pub(crate) fn apply(&self, effects: Effects<W>, but: Option<usize>) {
        for worker in &effects.wakes {
            if Some(*worker) != but {
                let one = &self.workers[*worker];
                // Vacant or gone: its queue is returned when its presence guard drops.
                if !one.wake_pending.swap(true, Ordering::AcqRel) && one.port.send(Begin).is_err() {
                    one.wake_pending.store(false, Ordering::Release);
                }
            }
        }
        if !effects.refused.is_empty() {
            self.refuse(effects.refused);
            self.ended(effects.idle);
        }
    }

    /// A worker has received its wake-up.
    pub(crate) fn heard(&self, worker: usize) {
        let one = &self.workers[worker];
        // Cleared before the notification, so that later requests send a new wake-up.
        one.wake_pending.store(false, Ordering::Release);
        one.bell.load().notify_one();
    }

    /// Takes the next request for a worker that has a free concurrency slot.
    pub(crate) fn take(
        self: &Arc<Self>,
        worker: usize,
        epoch: u64,
    ) -> Option<(Ticket<W>, Guarded<W::Request>)> {
        let now = self.clock.now();
        let (begun, effects, early, more) = {
            let mut state = self.lock();
            // Workers pull: a request in the backlog need not wait for the balancer's actor.
            state.table.turn(now);
            let begun = state.table.take(worker, epoch, now, |item| {
                let body = match &mut item.body {
                    RequestBody::Once(body) => Ok(body.take()),
                    RequestBody::Shared(body) => Err(body.clone()),
                };
                (body, item.reply_slot.clone(), item.behalf)
            });
            if let Some(begun) = &begun
                && begun.which.copy == 0
            {
                let waited = now - begun.submitted;
                record(&mut state.waited, waited);
                state.waits += waited.as_secs_f64();
            }
            let more = state.table.has_more(worker);
            let early = self.is_early(&mut state);
            (begun, state.effects(), early, more)
        };
        // The guard is made first: if anything below fails, the request is returned or reported
        // lost.
        let begun = begun.map(|begun| {
            let (body, reply_slot, behalf) = begun.item;
            let ticket = Ticket {
                core: self.clone(),
                which: begun.which,
                worker,
                epoch,
                began: now,
                reply_slot,
                behalf: behalf | self.mark.bit(),
                open: true,
            };
            (ticket, body)
        });
        self.apply(effects, Some(worker));
        if more {
            self.bell(worker).notify_one();
        }
        if early {
            self.ring();
        }
        let (ticket, body) = begun?;
        let which = ticket.which;
        self.record(
            &self.workers[worker].name,
            now,
            RequestAct::Begin { request: which.number, copy: which.copy },
        );
        let request = match (body, &self.again) {
            (Ok(Some(body)), _) => body,
            // The user's code may panic; the guard exists by now.
            (Err(body), Some(again)) => {
                let body = body.lock().unwrap_or_else(PoisonError::into_inner);
                match guarded(|| again(&body, which.copy)) {
                    Ok(request) => Guarded::new(request),
                    Err(text) => {
                        drop(body);
                        ticket.charge(&text);
                        die(text);
                    }
                }
            }
            (Ok(None), _) | (Err(_), None) => {
                unreachable!("only requests that can be recreated are retried")
            }
        };
        Some((ticket, request))
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
}
