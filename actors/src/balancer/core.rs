//! What there is of a balancer whether or not its actors live.

mod ending;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::actor::{Balancer, Look};
use super::call::{Call, CallError};
use super::cell::Cell;
use super::desk::times::{histogram, record};
use super::desk::{Begun, Desk, Ref, Rules, Verdict, Wakes};
use super::parts::{Again, Cost, MakeWorker, Parts, Settings};
use super::policy::Full;
use super::resilience::CallOptions;
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
    // Room in the queue, held to the end of the request.
    _room: Option<OwnedSemaphorePermit>,
}

pub(in crate::balancer) struct State<W: Work> {
    desk: Desk<Item<W>>,
    closed: bool,
    /// Workers that have been up at least once.
    seen: Vec<bool>,
    response: Histogram<u64>,
    waited: Histogram<u64>,
    /// Sums of seconds, for means that are not rounded to a bucket.
    responses: f64,
    waits: f64,
    busy: Duration,
}

/// One worker, seen by its balancer.
struct WorkerCore<W: Work> {
    name: Arc<str>,
    port: Port<Worker<W>>,
    bell: Arc<Notify>,
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
    clock: Clock,
    seed: Seed,
    pool: Arc<Pool>,
    tracer: Option<Arc<dyn Tracer>>,
    idle: Option<Arc<dyn Fn() + Send + Sync>>,
    workers: Vec<WorkerCore<W>>,
    state: Mutex<State<W>>,
    room: Option<Arc<Semaphore>>,
    /// A `Look` is on its way.
    rung: AtomicBool,
    /// When the actor's timer for hedges ends.
    armed: AtomicU64,
    changed: Notify,
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
        };
        let chance = parts.seed.stream(&parts.name, "balancing");
        let now = parts.clock.now();
        let room = settings.queue.map(|queue| {
            let most = (queue as usize).saturating_add(settings.workers * settings.places);
            Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)))
        });
        Arc::new(Self {
            port: Port::new(),
            workers: (1..=settings.workers)
                .map(|number| WorkerCore {
                    name: format!("{}/{number}", parts.name).into(),
                    port: Port::new(),
                    bell: Arc::default(),
                })
                .collect(),
            state: Mutex::new(State {
                desk: Desk::new(rules, chance, now),
                closed: false,
                seen: vec![false; settings.workers],
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
            name: parts.name,
            settings,
            make: parts.make,
            again: parts.again,
            cost: parts.cost,
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

    pub(crate) fn bell(&self, worker: usize) -> &Arc<Notify> {
        &self.workers[worker].bell
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<W>> {
        // No user code runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, node: &str, at: Time, act: &Act<'_>) {
        if let Some(tracer) = &self.tracer {
            tracer.record(&Record { at, node, act });
        }
    }

    /// Waits for room in the queue where there is a bound and a wish to wait.
    async fn room(&self) -> Result<Option<OwnedSemaphorePermit>, CallError> {
        let Some(room) = &self.room else {
            return Ok(None);
        };
        match (self.settings.full, room.clone().try_acquire_owned()) {
            (_, Ok(permit)) => Ok(Some(permit)),
            (_, Err(TryAcquireError::Closed)) => Err(CallError::Closed),
            (Full::Reject, Err(TryAcquireError::NoPermits)) => Err(CallError::Full),
            (Full::Wait, Err(TryAcquireError::NoPermits)) => room
                .clone()
                .acquire_owned()
                .await
                .map(Some)
                .map_err(|_| CallError::Closed),
        }
    }

    /// Hands a request in, waiting for room where the queue is full and says so. Once this returns the request is in custody.
    ///
    /// `asked`: from when its response time counts.
    ///
    /// # Errors
    /// [`CallError::Full`] and [`CallError::Closed`]; the request is dropped then.
    pub async fn start_at(
        self: &Arc<Self>,
        request: W::Request,
        asked: Time,
        options: CallOptions,
    ) -> Result<Call<W>, CallError> {
        let room = self.room().await?;
        self.submit(request, room, asked, options)
    }

    /// Hands a request in, if there is room now.
    ///
    /// # Errors
    /// As [`BalancerCore::start_at`], and [`CallError::Full`] whatever the balancer does otherwise.
    pub fn try_start(
        self: &Arc<Self>,
        request: W::Request,
        options: CallOptions,
    ) -> Result<Call<W>, CallError> {
        let room = match &self.room {
            None => None,
            Some(room) => Some(room.clone().try_acquire_owned().map_err(|why| match why {
                TryAcquireError::Closed => CallError::Closed,
                TryAcquireError::NoPermits => CallError::Full,
            })?),
        };
        self.submit(request, room, self.clock.now(), options)
    }

    fn submit(
        self: &Arc<Self>,
        request: W::Request,
        room: Option<OwnedSemaphorePermit>,
        asked: Time,
        options: CallOptions,
    ) -> Result<Call<W>, CallError> {
        // The user's code may panic: then nothing is known of the request.
        let cost = (self.cost.as_ref()).and_then(|cost| guarded(|| cost(&request)).ok().flatten());
        let body = match self.again {
            Some(_) => Body::Shared(Arc::new(Mutex::new(Guarded::new(request)))),
            None => Body::Once(Some(Guarded::new(request))),
        };
        let cell = Arc::new(Cell::new());
        let item = Item {
            body,
            cell: cell.clone(),
            asked,
            _room: room,
        };
        let now = self.clock.now();
        let which = {
            let mut state = self.lock();
            if state.closed {
                drop(state);
                drop(item);
                return Err(CallError::Closed);
            }
            state.desk.submit(item, cost, now)
        };
        let call = Call {
            core: self.clone(),
            cell,
            which,
            open: true,
        };
        self.record(
            &self.name,
            now,
            &Act::Ask {
                request: which.number,
            },
        );
        self.ring();
        Ok(call)
    }

    /// Tells the actor to look, unless it was told already.
    pub(super) fn ring(&self) {
        if self.rung.swap(true, Ordering::AcqRel) {
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
        let (wakes, next) = {
            let mut state = self.lock();
            state.desk.hedge(now);
            state.desk.dispatch(now);
            let next = state.desk.next_hedge();
            // Under the lock, as where it is read: a hedge that comes after this look sees what this look has seen.
            let armed = next.map_or(u64::MAX, |at| at.0);
            self.armed.store(armed, Ordering::Release);
            (state.desk.wakes(), next)
        };
        self.wake(&wakes, None);
        next
    }

    pub(super) fn wake(&self, wakes: &Wakes, but: Option<usize>) {
        for worker in wakes {
            if Some(*worker) != but {
                // Vacant or gone: its queue goes back when its presence ends.
                let _ = self.workers[*worker].port.send(Begin);
            }
        }
    }

    /// The next request of a worker that has a free place.
    pub(crate) fn take(
        self: &Arc<Self>,
        worker: usize,
        epoch: u64,
    ) -> Option<(Ticket<W>, Guarded<W::Request>)> {
        let now = self.clock.now();
        let (begun, wakes, early, more) = {
            let mut state = self.lock();
            // A worker pulls: what waits in the balancer need not wait for the balancer's turn.
            state.desk.dispatch(now);
            let begun = state.desk.take(worker, epoch, now, |item| {
                let body = match &mut item.body {
                    Body::Once(body) => Ok(body.take()),
                    Body::Shared(body) => Err(body.clone()),
                };
                (body, item.cell.clone())
            });
            if let Some(begun) = &begun
                && begun.which.copy == 0
            {
                let waited = now - begun.submitted;
                record(&mut state.waited, waited);
                state.waits += waited.as_secs_f64();
            }
            let more = state.desk.has_more(worker);
            let armed = self.armed.load(Ordering::Acquire);
            let early = (state.desk.next_hedge()).is_some_and(|at| at.0 < armed);
            (begun, state.desk.wakes(), early, more)
        };
        self.wake(&wakes, Some(worker));
        if more {
            self.bell(worker).notify_one();
        }
        if early {
            self.ring();
        }
        let Begun {
            which,
            item: (body, cell),
            ..
        } = begun?;
        let ticket = Ticket {
            core: self.clone(),
            which,
            worker,
            epoch,
            began: now,
            cell,
            open: true,
        };
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

    pub(super) fn answer(&self, ticket: &Ticket<W>, reply: W::Reply) {
        let now = self.clock.now();
        let took = now - ticket.began;
        let (verdict, wakes, idle) = {
            let mut state = self.lock();
            let verdict =
                (state.desk).answered(ticket.which, ticket.worker, ticket.epoch, took, now);
            if let Verdict::Over(item) = &verdict {
                let response = now - item.asked;
                record(&mut state.response, response);
                state.responses += response.as_secs_f64();
            }
            state.busy += took;
            // Its own place is filled by its next take.
            (verdict, state.desk.wakes(), state.desk.open() == 0)
        };
        self.wake(&wakes, Some(ticket.worker));
        let wanted = matches!(verdict, Verdict::Over(_));
        self.record(
            &self.workers[ticket.worker].name,
            now,
            &Act::Answer {
                request: ticket.which.number,
                copy: ticket.which.copy,
                wanted,
            },
        );
        self.clock.made_progress();
        if let Verdict::Over(item) = verdict {
            item.cell.settle(Ok(reply));
            drop(item);
            self.ended(idle);
        }
    }

    pub(super) fn lost(&self, ticket: &Ticket<W>, charged: bool, reason: &str) {
        self.lose(ticket.which, ticket.worker, ticket.epoch, charged, reason);
    }

    pub(super) fn lose(&self, which: Ref, worker: usize, epoch: u64, charged: bool, reason: &str) {
        let now = self.clock.now();
        let again = self.again.is_some();
        let (verdict, idle) = {
            let mut state = self.lock();
            let desk = &mut state.desk;
            let verdict = desk.lost(which, worker, epoch, charged, again, now);
            (verdict, desk.open() == 0)
        };
        if !matches!(verdict, Verdict::Stale) {
            self.record(
                &self.workers[worker].name,
                now,
                &Act::Lose {
                    request: which.number,
                    copy: which.copy,
                },
            );
        }
        match verdict {
            Verdict::Over(item) => {
                let reason = format!("{} {reason}", self.workers[worker].name);
                item.cell.settle(Err(CallError::WorkerLost { reason }));
                drop(item);
                self.ended(idle);
            }
            // It was put back, or its place is free: somebody should look.
            Verdict::GoesOn | Verdict::Stale => self.ring(),
        }
    }

    pub(super) fn cancel(&self, which: Ref) {
        let now = self.clock.now();
        let (item, idle) = {
            let mut state = self.lock();
            (state.desk.cancel(which, now), state.desk.open() == 0)
        };
        if let Some(item) = item {
            self.record(
                &self.name,
                now,
                &Act::Cancel {
                    request: which.number,
                },
            );
            item.cell.abandon();
            drop(item);
            self.ended(idle);
        }
    }

    pub(super) fn ended(&self, idle: bool) {
        if idle {
            self.changed.notify_waiters();
            if let Some(told) = &self.idle {
                told();
            }
        }
    }
}
