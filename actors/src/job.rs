//! What balancers of a config file carry: requests with or without a book, and the kinds of worker that answer them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::book::Book;
use crate::clock::{Clock, Seed};
use crate::failure::Failure;
use crate::fault::{Deed, Point};
use crate::pool::Pool;
use crate::worker::Work;
use crate::works::Works;

/// One request of a requester, a crew or an incinerator to a balancer of a config file.
#[derive(Debug, Clone)]
pub struct Job {
    /// Who asks. Together with `number` it names the request: what chance decides of it (its service time) is drawn by these
    /// two, so that two policies see the same requests.
    pub from: Arc<str>,
    /// The requester's number of it, from 0; the id of the book that it is about.
    pub number: u64,
    /// 0 for the request itself; counted up for every further worker that is asked the same, and for every retry.
    pub copy: u32,
    /// The book that it is about, where a crew or an incinerator asks.
    pub book: Option<Book>,
}

/// The answer: the book as it was worked on (its id is kept), or nothing where there was no book, or it was dropped on purpose.
///
/// An error is the request's own: transient or permanent as for [`crate::transform::Transform::apply`].
pub type Answer = Result<Option<Book>, Failure>;

/// A future of this thread.
pub type Serving<'a> = Pin<Box<dyn Future<Output = Answer> + 'a>>;

/// One worker's place: does one request at a time. Made anew after a panic.
pub trait Serve: Send + 'static {
    /// Answers `job`. The future may be dropped at any await, where the request was cancelled.
    fn serve(&mut self, job: Job) -> Serving<'_>;
}

/// One worker's place of a kind, as the balancer's work.
pub struct Served {
    serve: Box<dyn Serve>,
    blocks: bool,
    /// Whose faults are its own, and the worker's name there.
    works: Option<(Arc<Works>, Arc<str>)>,
}

impl Served {
    /// `blocks`: what the kind says of itself.
    pub fn new(serve: Box<dyn Serve>, blocks: bool) -> Self {
        Self {
            serve,
            blocks,
            works: None,
        }
    }

    /// Faults of these works are done to it, as the worker of this name.
    #[must_use]
    pub fn in_works(mut self, works: Arc<Works>, name: Arc<str>) -> Self {
        self.works = Some((works, name));
        self
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served")
            .field("blocks", &self.blocks)
            .finish()
    }
}

impl Work for Served {
    type Request = Job;
    type Reply = Answer;

    async fn work(&mut self, job: Job) -> Answer {
        let Some((works, name)) = self
            .works
            .as_ref()
            .filter(|(works, _)| works.faults().is_some())
        else {
            return self.serve.serve(job).await;
        };
        match works.fault(name, Point::Work, Some(job.number)) {
            Some(Deed::Error(failure)) => Err(failure),
            Some(Deed::Slow(by)) => {
                let answer = self.serve.serve(job).await;
                works.clock.sleep(by).await;
                answer
            }
            _ => self.serve.serve(job).await,
        }
    }

    fn blocks(&self) -> bool {
        self.blocks
    }
}

/// What a worker is told of where it is.
#[derive(Debug, Clone)]
pub struct WorkerSite {
    /// The balancer's name.
    pub balancer: Arc<str>,
    /// Which of the balancer's workers it is, from 0.
    pub worker: usize,
    /// Time: the only one that it may sleep by.
    pub clock: Clock,
    /// Chance.
    pub seed: Seed,
    /// Cores, and threads for what blocks.
    pub pool: Arc<Pool>,
    /// Factor on times that stand in for work.
    pub time_scale: f64,
}

/// A kind of worker with its options: makes the workers of one balancer, and knows what can be known of its requests.
pub trait Service: Send + Sync + 'static {
    /// A worker. Called for every place, and again after every panic, on the worker's own thread.
    ///
    /// # Errors
    /// What it refuses, e.g. a program that is not there. The start fails then.
    fn worker(&self, site: &WorkerSite) -> Result<Box<dyn Serve>, Failure>;

    /// True if a worker may block its thread: it is then served off the arbiters.
    fn blocks(&self) -> bool {
        false
    }

    /// What `job` will take on a worker of usual speed, where that is known before it runs.
    fn cost(&self, site: &WorkerSite, job: &Job) -> Option<Duration> {
        let _ = (site, job);
        None
    }

    /// What a request takes on average at the worker number `worker`, where that is known; before the time scale.
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
