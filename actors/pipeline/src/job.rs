//! Requests of configured balancers, with or without a book, and the kinds of worker that serve
//! them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::book::Book;
use crate::context::PipelineContext;
use gopherworks_balancer::worker::Work;
use gopherworks_supervision::clock::{Clock, Seed};
use gopherworks_supervision::failure::Failure;
use gopherworks_supervision::fault::{FaultAction, Point};
use gopherworks_supervision::pool::Pool;

/// A request of a requester, a crew or an incinerator to a configured balancer.
#[derive(Debug, Clone)]
pub struct Job {
    /// Name of the caller. With `number` it identifies the request: random choices such as its
    /// service time are drawn by these two, so that different policies see the same requests.
    pub from: Arc<str>,
    /// Number of the request at its caller, from 0; of a request about a book, the book's id.
    pub number: u64,
    /// 0 for the original; incremented for each further worker that gets a copy, and for each
    /// retry.
    pub copy: u32,
    /// The attempt at the book, from 1; 1 for a request without a book.
    pub attempt: u32,
    /// The book to work on, if a crew or an incinerator calls.
    pub book: Option<Book>,
}

/// The reply: the worked book (which keeps its id), or `None` if there was no book or it was
/// dropped on purpose.
///
/// An error concerns this request: transient or permanent as for
/// [`crate::transform::Transform::apply`].
pub type Answer = Result<Option<Book>, Failure>;

/// A future that stays on its thread.
pub type Serving<'a> = Pin<Box<dyn Future<Output = Answer> + 'a>>;

/// One concurrency slot of a worker: serves one request at a time. Made anew after a panic.
pub trait Serve: Send + 'static {
    /// Serves `job`. The future may be dropped at any await, if the request is cancelled.
    fn serve(&mut self, job: Job) -> Serving<'_>;
}

/// Adapts a [`Serve`] to the balancer's [`Work`].
pub struct Served {
    serve: Box<dyn Serve>,
    blocks: bool,
    /// Source of injected faults, and the worker's name there.
    context: Option<(Arc<PipelineContext>, Arc<str>)>,
}

impl Served {
    /// Wraps `serve`; `blocks` as defined by [`Service::blocks`].
    pub fn new(serve: Box<dyn Serve>, blocks: bool) -> Self {
        Self { serve, blocks, context: None }
    }

    /// Injects the faults of `context`, as for the worker of this name.
    #[must_use]
    pub fn in_context(mut self, context: Arc<PipelineContext>, name: Arc<str>) -> Self {
        self.context = Some((context, name));
        self
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served").field("blocks", &self.blocks).finish()
    }
}

impl Work for Served {
    type Request = Job;
    type Reply = Answer;

    async fn work(&mut self, job: Job) -> Answer {
        let Some((context, name)) =
            self.context.as_ref().filter(|(context, _)| context.faults().is_some())
        else {
            return self.serve.serve(job).await;
        };
        match context.fault(name, Point::Work, Some(job.number)) {
            Some(FaultAction::Error(failure)) => Err(failure),
            Some(FaultAction::Slow(by)) => {
                let answer = self.serve.serve(job).await;
                context.clock.sleep(by).await;
                answer
            }
            _ => self.serve.serve(job).await,
        }
    }

    fn blocks(&self) -> bool {
        self.blocks
    }
}

/// Environment of a worker.
#[derive(Debug, Clone)]
pub struct WorkerSite {
    /// Name of the balancer.
    pub balancer: Arc<str>,
    /// Number of the worker within its balancer, from 0.
    pub worker: usize,
    /// The clock; workers must not sleep by any other.
    pub clock: Clock,
    /// Seed of random choices.
    pub seed: Seed,
    /// Thread pool for blocking work, and the limit on cores.
    pub pool: Arc<Pool>,
    /// Factor on times that simulate work.
    pub time_scale: f64,
}

/// A configured kind of worker: makes the workers of one balancer, and predicts the cost of
/// requests.
pub trait Service: Send + Sync + 'static {
    /// Makes the service of one concurrency slot. Called for every slot, and again after every
    /// panic, on the worker's own thread.
    ///
    /// # Errors
    /// If the worker cannot be made, for instance because a program is missing. The start then
    /// fails.
    fn worker(&self, site: &WorkerSite) -> Result<Box<dyn Serve>, Failure>;

    /// True if a worker may block its thread: it then runs in the thread pool, never on an
    /// arbiter.
    fn blocks(&self) -> bool {
        false
    }

    /// Expected service time of `job` on a worker of normal speed, if known in advance.
    fn cost(&self, site: &WorkerSite, job: &Job) -> Option<Duration> {
        let _ = (site, job);
        None
    }

    /// Mean service time at worker number `worker`, if known; before `time_scale` is applied.
    fn mean(&self, worker: usize) -> Option<Duration> {
        let _ = worker;
        None
    }
}

impl fmt::Debug for dyn Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service")
    }
}
