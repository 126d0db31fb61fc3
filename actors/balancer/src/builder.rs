//! Building a balancer in code.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix_rt::{ArbiterHandle, System};

use crate::core::{Balancer, BalancerCore, Parts, Settings, Worker};
use crate::handle::BalancerHandle;
use crate::policy::{Hedge, LoadPolicy, Spread, WhenFull};
use crate::resilience::{Eject, RetryBudget, Shed};
use crate::trace::RequestTracer;
use crate::worker::Work;
use gopherworks_supervision::clock::{Clock, Seed};
use gopherworks_supervision::failure::Failure;
use gopherworks_supervision::pool::Pool;
use gopherworks_supervision::{
    Arbiters, Backoff, Child, ChildThread, Exit, Setup, SupervisionEvent, Supervisor,
};

/// Configures and starts a balancer. See [`Balancer::of`].
pub struct Builder<W: Work> {
    parts: Parts<W>,
    supervision: gopherworks_supervision::RestartPolicy,
    arbiters: usize,
    on: Vec<ArbiterHandle>,
    hang_after: Duration,
    threads: usize,
    shutdown: Duration,
    at_most: usize,
}

impl<W: Work> fmt::Debug for Builder<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("parts", &self.parts).finish()
    }
}

impl<W: Work> Balancer<W> {
    /// A balancer whose workers are made by `make`, given the worker's number from 0: at the
    /// start, after every restart, and once per concurrency slot.
    pub fn of(make: impl Fn(usize) -> W + Send + Sync + 'static) -> Builder<W> {
        Self::try_of(move |worker| Ok(make(worker)))
    }

    /// Like [`Balancer::of`], with a `make` that can fail. A failure at the start is an error;
    /// later the supervisor tries again.
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
                // Replaced in `start`.
                pool: Arc::new(Pool::none()),
                tracer: None,
                idle: None,
            },
            supervision: gopherworks_supervision::RestartPolicy {
                // Unlimited restarts: a series of bad requests must not end a service. The backoff
                // slows it down.
                intensity: u32::MAX,
                in_a_row: u32::MAX,
                backoff: Backoff {
                    min: Duration::from_millis(1),
                    max: Duration::from_secs(1),
                    reset: Duration::from_secs(1),
                    ..Backoff::default()
                },
                ..gopherworks_supervision::RestartPolicy::default()
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
    /// Name in logs and reports; `balancer` by default.
    #[must_use]
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.parts.name = name.into();
        self
    }

    /// Number of workers; default and minimum 1.
    #[must_use]
    pub fn workers(mut self, count: usize) -> Self {
        self.parts.settings.workers = count;
        self
    }

    /// Concurrency slots of each worker; default and minimum 1. Each slot has its own instance of
    /// the work.
    #[must_use]
    pub fn concurrency(mut self, places: usize) -> Self {
        self.parts.settings.places = places;
        self
    }

    /// Which worker gets a request; [`LoadPolicy::CENTRAL`] by default.
    #[must_use]
    pub fn policy(mut self, policy: LoadPolicy) -> Self {
        self.parts.settings.policy = policy;
        self
    }

    /// Longest queue in requests, not counting one for each concurrency slot; 1024 by default,
    /// `None` is unbounded.
    #[must_use]
    pub fn queue(mut self, most: impl Into<Option<u32>>) -> Self {
        self.parts.settings.queue = most.into();
        self
    }

    /// What happens to a request when the queue is full; [`WhenFull::Wait`] by default.
    #[must_use]
    pub fn full(mut self, full: WhenFull) -> Self {
        self.parts.settings.full = full;
        self
    }

    /// Cost hint of a request, for [`LoadPolicy::ShortFirst`] and [`LoadPolicy::Reserve`]. Called
    /// once per request, on the caller's thread.
    #[must_use]
    pub fn cost(
        mut self,
        cost: impl Fn(&W::Request) -> Option<Duration> + Send + Sync + 'static,
    ) -> Self {
        self.parts.cost = Some(Arc::new(cost));
        self
    }

    /// Declares requests idempotent: one is retried if its worker is lost, until `max_attempts`
    /// (>= 1) workers failed on it. Otherwise, and once attempts are used up, the caller gets
    /// [`super::CallError::WorkerLost`].
    #[must_use]
    pub fn idempotent(mut self, max_attempts: u32) -> Self
    where
        W::Request: Clone,
    {
        self.parts.settings.max_attempts = max_attempts;
        self.parts.again = Some(Arc::new(|request, _| request.clone()));
        self
    }

    /// Sends each request to `copies` workers, or all of them with `None`, and takes the first
    /// reply; the others are cancelled. Implies [`Builder::idempotent`].
    #[must_use]
    pub fn replicated(mut self, copies: impl Into<Option<u32>>) -> Self
    where
        W::Request: Clone,
    {
        self.parts.settings.spread = Spread::Replicated(copies.into());
        let attempts = self.parts.settings.max_attempts;
        self.idempotent(attempts)
    }

    /// Sends a request to a second worker if the first takes long, within a budget. Implies
    /// [`Builder::idempotent`].
    #[must_use]
    pub fn hedged(mut self, hedge: Hedge) -> Self
    where
        W::Request: Clone,
    {
        self.parts.settings.spread = Spread::Hedged(hedge);
        let attempts = self.parts.settings.max_attempts;
        self.idempotent(attempts)
    }

    /// Default deadline of requests, from the call to the reply; none by default. When it passes,
    /// the caller gets [`super::CallError::DeadlineExceeded`] and running copies are cancelled.
    #[must_use]
    pub fn deadline(mut self, span: Duration) -> Self {
        self.parts.settings.resilience.deadline = Some(span);
        self
    }

    /// Sheds requests under overload that would be answered late; disabled by default. Only queued
    /// requests are shed, not callers waiting for a full queue, so the queue should be longer than
    /// it grows in `interval`.
    #[must_use]
    pub fn shed(mut self, shed: Shed) -> Self {
        self.parts.settings.resilience.shed = Some(shed);
        self
    }

    /// Limits all retries together. Default: none; only `max_attempts` limits retries.
    #[must_use]
    pub fn retry_budget(mut self, budget: RetryBudget) -> Self {
        self.parts.settings.resilience.retries = Some(budget);
        self
    }

    /// A restarted worker's share of requests grows from a tenth to its full size over `span`;
    /// disabled by default. Under a central policy this affects the order of workers and how many
    /// of its slots are used.
    #[must_use]
    pub fn slow_start(mut self, span: Duration) -> Self {
        self.parts.settings.resilience.slow_start = Some(span).filter(|span| !span.is_zero());
        self
    }

    /// Ejects failing or slow workers for a while; disabled by default.
    #[must_use]
    pub fn eject(mut self, eject: Eject) -> Self {
        self.parts.settings.resilience.eject = Some(eject);
        self
    }

    /// Which replies count as failures of their worker, as its death does; none by default. Called
    /// once per reply, on the worker's thread.
    #[must_use]
    pub fn failed(mut self, failed: impl Fn(&W::Reply) -> bool + Send + Sync + 'static) -> Self {
        self.parts.failed = Some(Arc::new(failed));
        self
    }

    /// Upper limit of [`BalancerHandle::resize`]; [`Builder::workers`] by default. Each worker not
    /// yet wanted is an idle actor of about a kilobyte; its work is made when it is wanted.
    #[must_use]
    pub fn at_most(mut self, workers: usize) -> Self {
        self.at_most = workers;
        self
    }

    /// Supervision policy of the workers. By default they are restarted indefinitely, after 1 ms
    /// to 1 s.
    #[must_use]
    pub fn supervision(mut self, policy: gopherworks_supervision::RestartPolicy) -> Self {
        self.supervision = policy;
        self
    }

    /// Number of dedicated arbiters for the workers; with 0, the default, they run on the calling
    /// one.
    #[must_use]
    pub fn arbiters(mut self, count: usize) -> Self {
        self.arbiters = count;
        self
    }

    /// Runs the workers on these arbiters of the application, in turn, instead of dedicated ones.
    /// Callers on them can be served inline, see [`BalancerHandle::call`]. These threads have no
    /// watchdog. If one ends, its workers fail until the supervisor gives up.
    #[must_use]
    pub fn on(mut self, arbiters: impl IntoIterator<Item = ArbiterHandle>) -> Self {
        self.on = arbiters.into_iter().collect();
        self
    }

    /// Maximum number of threads for blocking work, started on demand; 512 by default.
    #[must_use]
    pub fn threads(mut self, most: usize) -> Self {
        self.threads = most.max(1);
        self
    }

    /// How long a dedicated arbiter may be blocked before its workers are given up and restarted
    /// on a new one; 10 s by default.
    #[must_use]
    pub fn hang_after(mut self, span: Duration) -> Self {
        self.hang_after = span;
        self
    }

    /// How long workers may take to stop before they are killed; 5 s by default.
    #[must_use]
    pub fn shutdown(mut self, within: Duration) -> Self {
        self.shutdown = within;
        self
    }

    /// The clock, for simulations; the system's by default.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.parts.clock = clock;
        self
    }

    /// Random seed; 0 by default.
    #[must_use]
    pub fn seed(mut self, seed: Seed) -> Self {
        self.parts.seed = seed;
        self
    }

    /// Sends a record of every event to `tracer`. Disables inline calls.
    #[must_use]
    pub fn tracer(mut self, tracer: Arc<dyn RequestTracer>) -> Self {
        self.parts.tracer = Some(tracer);
        self
    }

    /// Starts the balancer in the running actix system; returns when all workers are up.
    ///
    /// # Errors
    /// Outside an actix system, if the operating system refuses threads, or if a worker could not
    /// be made and the supervisor gave up.
    pub async fn start(mut self) -> Result<BalancerHandle<W>, Failure> {
        if !System::is_registered() {
            return Err(Failure::permanent("a balancer starts inside a running actix system"));
        }
        for worker in 0..self.parts.settings.workers.max(1) {
            // A trial, so that a failure is an error here and not a series of restarts.
            (self.parts.make)(worker).map(gopherworks_supervision::Guarded::new)?;
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
            None if at != workers && !on.is_empty() => {
                ChildThread::Arbiter(on[at % on.len()].clone())
            }
            // The balancer runs on the calling arbiter: work that blocks its own arbiter must not
            // delay deadlines.
            Some(slot) if at != workers => ChildThread::Slot(slot.clone()),
            _ => ChildThread::Here,
        };
        let children = children(&core, place, self.shutdown);
        let giving_up = Arc::downgrade(&core);
        let setup = Setup {
            // A hung or dead thread cannot return its requests itself.
            listener: Some(Arc::new(move |event| {
                if let SupervisionEvent::Exited { name, epoch, exit, .. } = event
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
            Err(outcome) => {
                Err(Failure::permanent(format!("the balancer did not start: {outcome:?}")))
            }
        }
    }
}

/// The children to supervise: the workers in order, then the balancer. `place` maps a child's
/// number to its arbiter. The balancer, which keeps deadlines, should not share one with blocking
/// work.
pub fn children<W: Work>(
    core: &Arc<BalancerCore<W>>,
    place: impl Fn(usize) -> ChildThread,
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
    let child = Child::new(core.name.clone(), &core.port, move |_| Ok(Balancer::new(own.clone())));
    let last = core.settings().workers;
    children.push(child.place(place(last)).shutdown(shutdown));
    children
}
