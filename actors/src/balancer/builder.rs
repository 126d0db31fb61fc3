//! How an application makes a balancer of its own.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix_rt::{ArbiterHandle, System};

use super::actor::Balancer;
use super::core::BalancerCore;
use super::handle::BalancerHandle;
use super::parts::{Parts, Settings};
use super::policy::{Full, Hedge, Policy, Spread};
use super::resilience::{Eject, RetryBudget, Shed};
use crate::clock::{Clock, Seed};
use crate::failure::Failure;
use crate::pool::Pool;
use crate::supervision::{
    self, Arbiters, Backoff, Child, Exit, Place, Setup, SupervisionEvent, Supervisor,
};
use crate::trace::Tracer;
use crate::worker::{Work, Worker};

/// A balancer to be started. See [`Balancer::of`].
pub struct Builder<W: Work> {
    parts: Parts<W>,
    supervision: supervision::Policy,
    arbiters: usize,
    on: Vec<ArbiterHandle>,
    hang_after: Duration,
    threads: usize,
    shutdown: Duration,
    at_most: usize,
}

impl<W: Work> fmt::Debug for Builder<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("parts", &self.parts)
            .finish()
    }
}

impl<W: Work> Balancer<W> {
    /// A balancer whose workers are made by `make`, given the worker's number from 0: at the start, and again after every panic.
    pub fn of(make: impl Fn(usize) -> W + Send + Sync + 'static) -> Builder<W> {
        Self::try_of(move |worker| Ok(make(worker)))
    }

    /// The same, where a worker may be refused: at the start that is an error, later the supervisor tries again.
    pub fn try_of(
        make: impl Fn(usize) -> Result<W, Failure> + Send + Sync + 'static,
    ) -> Builder<W> {
        let clock = Clock::real();
        Builder {
            parts: Parts {
                name: "balancer".into(),
                settings: Settings::default(),
                make: Arc::new(make),
                again: None,
                cost: None,
                failed: None,
                clock,
                seed: Seed(0),
                // Replaced at the start.
                pool: Arc::new(Pool::none()),
                tracer: None,
                idle: None,
            },
            supervision: supervision::Policy {
                // One bad request after the other must not end a service: only the backoff slows it down.
                intensity: u32::MAX,
                in_a_row: u32::MAX,
                backoff: Backoff {
                    min: Duration::from_millis(1),
                    max: Duration::from_secs(1),
                    reset: Duration::from_secs(1),
                    ..Backoff::default()
                },
                ..supervision::Policy::default()
            },
            arbiters: 0,
            on: Vec::new(),
            hang_after: Duration::from_secs(10),
            threads: 512,
            shutdown: Duration::from_secs(5),
            at_most: 0,
        }
    }
}

impl<W: Work> Builder<W> {
    /// What it is called, in logs and reports; `balancer` by default.
    #[must_use]
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.parts.name = name.into();
        self
    }

    /// Workers; 1 by default, and at least.
    #[must_use]
    pub fn workers(mut self, count: usize) -> Self {
        self.parts.settings.workers = count;
        self
    }

    /// Requests that one worker does at a time; 1 by default, and at least. Each place has an instance of the work for itself.
    #[must_use]
    pub fn concurrency(mut self, places: usize) -> Self {
        self.parts.settings.places = places;
        self
    }

    /// Who gets a request; [`Policy::CENTRAL`] by default.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.parts.settings.policy = policy;
        self
    }

    /// Requests that wait at most, besides one for each place; 1024 by default, `None` does not bound.
    #[must_use]
    pub fn queue(mut self, most: impl Into<Option<u32>>) -> Self {
        self.parts.settings.queue = most.into();
        self
    }

    /// What becomes of a request that finds the queue full; it waits by default.
    #[must_use]
    pub fn full(mut self, full: Full) -> Self {
        self.parts.settings.full = full;
        self
    }

    /// What a request is known to take, for [`Policy::ShortFirst`] and [`Policy::Reserve`]. Called once a request, by its caller.
    #[must_use]
    pub fn cost(
        mut self,
        cost: impl Fn(&W::Request) -> Option<Duration> + Send + Sync + 'static,
    ) -> Self {
        self.parts.cost = Some(Arc::new(cost));
        self
    }

    /// Declares that a request may be begun more than once: it is retried after its worker was lost, until it was the end of
    /// `max_attempts` (>= 1) workers. Without it, and where attempts are used up, its caller hears [`super::CallError::WorkerLost`].
    #[must_use]
    pub fn idempotent(mut self, max_attempts: u32) -> Self
    where
        W::Request: Clone,
    {
        self.parts.settings.max_attempts = max_attempts;
        self.parts.again = Some(Arc::new(|request, _| request.clone()));
        self
    }

    /// Asks all workers, or so many of them, the same, and takes the first answer; the others are cancelled. Requests count as idempotent.
    #[must_use]
    pub fn replicated(mut self, copies: impl Into<Option<u32>>) -> Self
    where
        W::Request: Clone,
    {
        self.parts.settings.spread = Spread::Replicated(copies.into());
        let attempts = self.parts.settings.max_attempts;
        self.idempotent(attempts)
    }

    /// Asks a second worker where the first takes long, within a budget. Requests count as idempotent.
    #[must_use]
    pub fn hedged(mut self, hedge: Hedge) -> Self
    where
        W::Request: Clone,
    {
        self.parts.settings.spread = Spread::Hedged(hedge);
        let attempts = self.parts.settings.max_attempts;
        self.idempotent(attempts)
    }

    /// Time that a request has from being asked to its answer, unless it says so itself; without an end by default. When it is over the
    /// caller hears [`super::CallError::DeadlineExceeded`], and whoever works on it is cancelled.
    #[must_use]
    pub fn deadline(mut self, span: Duration) -> Self {
        self.parts.settings.resilience.deadline = Some(span);
        self
    }

    /// Refuses at once, under overload, what would be answered late. Goes well with a queue that is longer than `interval` lets it
    /// become; who waits for room in the queue is not in it yet.
    #[must_use]
    pub fn shed(mut self, shed: Shed) -> Self {
        self.parts.settings.resilience.shed = Some(shed);
        self
    }

    /// How much may be tried again in all; as much as the attempts of each request allow by default.
    #[must_use]
    pub fn retry_budget(mut self, budget: RetryBudget) -> Self {
        self.parts.settings.resilience.retries = Some(budget);
        self
    }

    /// A worker that was started again gets its full share only after so long, growing from a tenth. Under a central policy that
    /// shows in who is asked first, and in how many of its places are used.
    #[must_use]
    pub fn slow_start(mut self, span: Duration) -> Self {
        self.parts.settings.resilience.slow_start = Some(span).filter(|span| !span.is_zero());
        self
    }

    /// Leaves ill workers out for a while.
    #[must_use]
    pub fn eject(mut self, eject: Eject) -> Self {
        self.parts.settings.resilience.eject = Some(eject);
        self
    }

    /// Which answers count as failures of their worker, besides its death. Called once an answer, by its worker.
    #[must_use]
    pub fn failed(mut self, failed: impl Fn(&W::Reply) -> bool + Send + Sync + 'static) -> Self {
        self.parts.failed = Some(Arc::new(failed));
        self
    }

    /// Most workers that [`BalancerHandle::resize`] may ask for. Those beyond [`Builder::workers`] wait: each is an actor of about a
    /// kilobyte, its work is made when it is wanted.
    #[must_use]
    pub fn at_most(mut self, workers: usize) -> Self {
        self.at_most = workers;
        self
    }

    /// How the supervisor treats workers that fail. By default it starts them again for ever, after 1 ms to 1 s.
    #[must_use]
    pub fn supervision(mut self, policy: supervision::Policy) -> Self {
        self.supervision = policy;
        self
    }

    /// Threads of its own for the workers; 0, the default, has all of them on the calling arbiter.
    #[must_use]
    pub fn arbiters(mut self, count: usize) -> Self {
        self.arbiters = count;
        self
    }

    /// The workers live on these arbiters of the application, one after the other, instead of arbiters of their own. Callers there need no
    /// hand-over where a worker has nothing to do: see [`BalancerHandle::call`]. Nobody watches these threads. If one ends, its workers
    /// fail until the supervision gives up.
    #[must_use]
    pub fn on(mut self, arbiters: impl IntoIterator<Item = ArbiterHandle>) -> Self {
        self.on = arbiters.into_iter().collect();
        self
    }

    /// Most threads for work that blocks; 512 by default. They are started when needed.
    #[must_use]
    pub fn threads(mut self, most: usize) -> Self {
        self.threads = most.max(1);
        self
    }

    /// How long an arbiter of its own may be blocked before its workers are given up and started on another; 10 s by default.
    #[must_use]
    pub fn hang_after(mut self, span: Duration) -> Self {
        self.hang_after = span;
        self
    }

    /// How long workers may take to stop; 5 s by default.
    #[must_use]
    pub fn shutdown(mut self, within: Duration) -> Self {
        self.shutdown = within;
        self
    }

    /// Time, for simulations; the machine's own by default.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.parts.clock = clock;
        self
    }

    /// Seed of its chance; 0 by default.
    #[must_use]
    pub fn seed(mut self, seed: Seed) -> Self {
        self.parts.seed = seed;
        self
    }

    /// Hears of every move.
    #[must_use]
    pub fn tracer(mut self, tracer: Arc<dyn Tracer>) -> Self {
        self.parts.tracer = Some(tracer);
        self
    }

    /// Starts it inside the running actix system; returns when all workers are up.
    ///
    /// # Errors
    /// Outside an actix system; where the system refuses threads; where a worker was refused and the supervision gave up.
    pub async fn start(mut self) -> Result<BalancerHandle<W>, Failure> {
        if !System::is_registered() {
            return Err(Failure::permanent(
                "a balancer starts inside a running actix system",
            ));
        }
        for worker in 0..self.parts.settings.workers.max(1) {
            // Only a check, so that a refusal is an error here and not a row of restarts.
            (self.parts.make)(worker).map(supervision::Guarded::new)?;
        }
        let pool = Pool::with_waiting(self.parts.clock.clone(), 1, self.threads)
            .map_err(|error| Failure::io("starting threads", &error))?;
        self.parts.pool = Arc::new(pool);
        let (clock, seed) = (self.parts.clock.clone(), self.parts.seed);
        let size = self.parts.settings.workers.max(1);
        self.parts.settings.workers = size.max(self.at_most);
        let core = BalancerCore::new(self.parts);
        core.resize(size);
        let own = if self.on.is_empty() { self.arbiters } else { 0 };
        let arbiters = Arbiters::start(own, Some(self.hang_after), &clock);
        let on = self.on;
        let workers = core.settings().workers;
        let place = |at: usize| match arbiters.slot(at) {
            None if at != workers && !on.is_empty() => Place::Arbiter(on[at % on.len()].clone()),
            // Work that blocks its arbiter must not keep the balancer from its deadlines.
            Some(slot) if at != workers => Place::Slot(slot.clone()),
            _ => Place::Here,
        };
        let children = children(&core, place, self.shutdown);
        let giving_up = Arc::downgrade(&core);
        let setup = Setup {
            // Its thread may never give anything back.
            heard: Some(Arc::new(move |event| {
                if let SupervisionEvent::Exited {
                    name, epoch, exit, ..
                } = event
                    && let Exit::Hung | Exit::Blocked(_) | Exit::ArbiterDead = exit
                    && let Some(core) = giving_up.upgrade()
                {
                    core.give_up(name, *epoch, *exit == Exit::Hung);
                }
            })),
            ..Setup::new(self.supervision, clock, seed)
        };
        let supervisor = Supervisor::start_with(setup, children);
        let handle = BalancerHandle::new(core, supervisor.clone(), arbiters, self.shutdown);
        match supervisor.wait_started().await {
            Ok(()) => {
                handle.ready().await;
                Ok(handle)
            }
            Err(outcome) => Err(Failure::permanent(format!(
                "the balancer did not start: {outcome:?}"
            ))),
        }
    }
}

/// The balancer and its workers, to be supervised. `place` says where the worker of this number lives; the balancer itself, which keeps time
/// for all, lives where the number after the last worker's does.
pub fn children<W: Work>(
    core: &Arc<BalancerCore<W>>,
    place: impl Fn(usize) -> Place,
    shutdown: Duration,
) -> Vec<Child> {
    let mut children = Vec::new();
    for (worker, (name, port)) in core.workers().enumerate() {
        let own = core.clone();
        let child = Child::new(name.clone(), port, move |birth| {
            Worker::new(own.clone(), worker, birth.epoch).map_err(|failure| failure.to_string())
        });
        children.push(child.place(place(worker)).shutdown(shutdown));
    }
    let own = core.clone();
    let child = Child::new(core.name.clone(), &core.port, move |_| {
        Ok(Balancer::new(own.clone()))
    });
    let last = core.settings().workers;
    children.push(child.place(place(last)).shutdown(shutdown));
    children
}
