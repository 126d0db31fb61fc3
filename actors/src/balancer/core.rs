//! What there is of a balancer whether or not its actors live.

mod ending;
mod entrance;
mod life;
mod straight;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use hdrhistogram::Histogram;
use tokio::sync::{Notify, watch};

use super::actor::{Balancer, Look};
use super::cell::Cell;
use super::desk::times::{histogram, record};
use super::desk::{Desk, Refusal, Rules, Wakes};
use super::lane::{Lane, Threads, Trust};
use super::nested::Mark;
use super::parts::{Again, Cost, Failed, MakeWorker, Parts, Settings};
use super::policy::{Policy, Spread};
use super::resilience::Resilience;
use super::room::{Place, Room};
use super::ticket::Ticket;
use crate::clock::{Clock, Seed, Time};
use crate::failure::Failure;
use crate::pool::{Pool, die, guarded};
use crate::supervision::{Guarded, Port};
use crate::trace::{Act, Record, Tracer};
use crate::worker::{Begin, Work, Worker};

pub(in crate::balancer) enum Body<Q> {
    Once(Option<Guarded<Q>>),
    // A lock of its own: a request need not be `Sync`, and its `Clone` is the user's.
    Shared(Arc<Mutex<Guarded<Q>>>),
}

/// What the desk keeps of a request.
pub(in crate::balancer) struct Item<W: Work> {
    body: Body<W::Request>,
    cell: Arc<Cell<W::Reply>>,
    asked: Time,
    /// On whose behalf it is made: balancers whose workers wait for it.
    behalf: u64,
    // Room in the queue, held to the end of the request.
    _room: Option<Place>,
}

pub(in crate::balancer) struct State<W: Work> {
    desk: Desk<Item<W>>,
    closed: bool,
    /// Workers that have been up at least once.
    seen: Vec<bool>,
    restarts: u64,
    response: Histogram<u64>,
    waited: Histogram<u64>,
    /// Sums of seconds, for means that are not rounded to a bucket.
    responses: f64,
    waits: f64,
    busy: Duration,
}

/// What is to be done once the lock is given back.
pub(in crate::balancer) struct Told<W: Work> {
    wakes: Wakes,
    refused: Vec<(u64, Item<W>, Refusal)>,
    idle: bool,
}

impl<W: Work> State<W> {
    fn told(&mut self) -> Told<W> {
        Told {
            wakes: self.desk.wakes(),
            refused: self.desk.refused(),
            idle: self.desk.open() == 0,
        }
    }
}

/// One worker, seen by its balancer.
struct WorkerCore<W: Work> {
    name: Arc<str>,
    port: Port<Worker<W>>,
    /// Of the present life alone: one that hangs would take what is rung for the next.
    bell: ArcSwap<Notify>,
    /// A `Begin` is on its way: one is enough.
    told: AtomicBool,
}

/// What there is of a balancer whether or not its actors live.
pub struct BalancerCore<W: Work> {
    /// Its name.
    pub name: Arc<str>,
    /// How to reach its actor.
    pub port: Port<Balancer<W>>,
    settings: Settings,
    make: MakeWorker<W>,
    again: Option<Again<W>>,
    cost: Option<Cost<W>>,
    failed: Option<Failed<W>>,
    /// Workers that are wanted.
    size: watch::Sender<usize>,
    clock: Clock,
    seed: Seed,
    pool: Arc<Pool>,
    tracer: Option<Arc<dyn Tracer>>,
    idle: Option<Arc<dyn Fn() + Send + Sync>>,
    workers: Vec<WorkerCore<W>>,
    /// Whether workers may lend places at all, and which do where.
    lends: bool,
    trust: Trust,
    threads: Threads,
    lanes: Vec<Lane<W>>,
    /// It takes no further request.
    sealed: AtomicBool,
    state: Mutex<State<W>>,
    room: Option<Arc<Room>>,
    /// A `Look` is on its way.
    rung: AtomicBool,
    /// When the actor's timer ends: for hedges, deadlines, waits that are too long, workers that are let back in.
    armed: AtomicU64,
    changed: Notify,
    resizing: Mutex<()>,
    /// Its bit among the balancers on whose behalf a thread is used.
    mark: Mark,
    /// It was said that its own workers ask it.
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
    /// A balancer without actors: `workers()` and itself are to be supervised by the caller.
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
        let room = settings.queue.map(|queue| {
            let most = (queue as usize).saturating_add(settings.workers * settings.places);
            Room::new(most)
        });
        // Who hears of every move, retries, or counts failures, has all requests at the desk; and only where any worker that has
        // nothing to do is as good as any other, the nearest one is.
        let lends = !parts.clock.is_simulated()
            && parts.tracer.is_none()
            && parts.again.is_none()
            && parts.failed.is_none()
            && settings.spread == Spread::One
            && settings.resilience == Resilience::default()
            && matches!(
                settings.policy,
                Policy::LeastLoaded
                    | Policy::Central {
                        skip_slow: false,
                        ..
                    }
            );
        Arc::new(Self {
            lends,
            trust: Trust::default(),
            threads: Threads::new(settings.workers),
            lanes: (0..settings.workers).map(|_| Lane::default()).collect(),
            sealed: AtomicBool::new(false),
            port: Port::new(),
            workers: (1..=settings.workers)
                .map(|number| WorkerCore {
                    name: format!("{}/{number}", parts.name).into(),
                    port: Port::new(),
                    bell: ArcSwap::default(),
                    told: AtomicBool::new(false),
                })
                .collect(),
            state: Mutex::new(State {
                desk: Desk::new(rules, chance, now),
                closed: false,
                seen: vec![false; settings.workers],
                restarts: 0,
                response: histogram(),
                waited: histogram(),
                responses: 0.0,
                waits: 0.0,
                busy: Duration::ZERO,
            }),
            room,
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

    /// How it treats requests.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Time.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The seed of its chance.
    pub fn seed(&self) -> Seed {
        self.seed
    }

    /// Names and ports of the workers.
    pub fn workers(&self) -> impl Iterator<Item = (&Arc<str>, &Port<Worker<W>>)> {
        self.workers
            .iter()
            .map(|worker| (&worker.name, &worker.port))
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

    pub(super) fn lock(&self) -> MutexGuard<'_, State<W>> {
        // No user code runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, node: &str, at: Time, act: &Act<'_>) {
        if let Some(tracer) = &self.tracer {
            let told = guarded(|| tracer.record(&Record { at, node, act }));
            if let Err(text) = told {
                log::error!("a tracer panicked: {text}");
            }
        }
    }

    /// True if something is to happen before the actor's timer ends: it has to be told.
    pub(super) fn is_early(&self, state: &mut State<W>) -> bool {
        let armed = self.armed.load(Ordering::Acquire);
        (state.desk.next_turn()).is_some_and(|at| at.0 < armed)
    }

    /// Tells the actor to look, unless it was told already.
    pub(super) fn ring(&self) {
        if self.rung.swap(true, Ordering::AcqRel) {
            // What was told last may have died with its mailbox.
            if self.port.is_closed() {
                self.close();
            }
            return;
        }
        // A vacant port is no loss: every life looks when it begins. A closed one stays closed.
        if let Err(unsent) = self.port.send(Look)
            && unsent.is_gone()
        {
            self.close();
        }
    }

    /// Hands out what can be handed out. Gives when the next second copy is due.
    pub(super) fn look(&self) -> Option<Time> {
        // Before the look: what comes after it rings again.
        self.rung.store(false, Ordering::Release);
        let now = self.clock.now();
        let (told, next) = {
            let mut state = self.lock();
            state.desk.turn(now);
            let next = state.desk.next_turn();
            // Under the lock, as where it is read: a hedge that comes after this look sees what this look has seen.
            let armed = next.map_or(u64::MAX, |at| at.0);
            self.armed.store(armed, Ordering::Release);
            (state.told(), next)
        };
        self.tell(told, None);
        next
    }

    /// Tells workers that there is something to do, all but one; and those whose requests were ended.
    pub(super) fn tell(&self, told: Told<W>, but: Option<usize>) {
        for worker in &told.wakes {
            if Some(*worker) != but {
                let one = &self.workers[*worker];
                // Vacant or gone: its queue goes back when its presence ends.
                if !one.told.swap(true, Ordering::AcqRel) && one.port.send(Begin).is_err() {
                    one.told.store(false, Ordering::Release);
                }
            }
        }
        if !told.refused.is_empty() {
            self.refuse(told.refused);
            self.ended(told.idle);
        }
    }

    /// A worker has been told that there is something to do.
    pub(crate) fn heard(&self, worker: usize) {
        let one = &self.workers[worker];
        // Before the bell: what comes after it is told anew.
        one.told.store(false, Ordering::Release);
        one.bell.load().notify_one();
    }

    /// The next request of a worker that has a free place.
    pub(crate) fn take(
        self: &Arc<Self>,
        worker: usize,
        epoch: u64,
    ) -> Option<(Ticket<W>, Guarded<W::Request>)> {
        let now = self.clock.now();
        let (begun, told, early, more) = {
            let mut state = self.lock();
            // A worker pulls: what waits in the balancer need not wait for the balancer's turn.
            state.desk.turn(now);
            let begun = state.desk.take(worker, epoch, now, |item| {
                let body = match &mut item.body {
                    Body::Once(body) => Ok(body.take()),
                    Body::Shared(body) => Err(body.clone()),
                };
                (body, item.cell.clone(), item.behalf)
            });
            if let Some(begun) = &begun
                && begun.which.copy == 0
            {
                let waited = now - begun.submitted;
                record(&mut state.waited, waited);
                state.waits += waited.as_secs_f64();
            }
            let more = state.desk.has_more(worker);
            let early = self.is_early(&mut state);
            (begun, state.told(), early, more)
        };
        // Before anything else: whatever happens from here on, it is lost in good order.
        let begun = begun.map(|begun| {
            let (body, cell, behalf) = begun.item;
            let ticket = Ticket {
                core: self.clone(),
                which: begun.which,
                worker,
                epoch,
                began: now,
                cell,
                behalf: behalf | self.mark.bit(),
                open: true,
            };
            (ticket, body)
        });
        self.tell(told, Some(worker));
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
            &Act::Begin {
                request: which.number,
                copy: which.copy,
            },
        );
        let request = match (body, &self.again) {
            (Ok(Some(body)), _) => body,
            // The user's code may panic: the ticket is there already.
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
                unreachable!("only what can be made again is begun again")
            }
        };
        Some((ticket, request))
    }

    pub(super) fn ended(&self, idle: bool) {
        if idle {
            self.changed.notify_waiters();
            if let Some(told) = &self.idle
                && let Err(text) = guarded(|| told())
            {
                log::error!("who waits for the last request panicked: {text}");
            }
        }
    }
}
