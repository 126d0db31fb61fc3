//! The lives of one process in virtual time: faults kill it, and it is started again on the same
//! simulated store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gopherworks_pipeline::store::{Account, Backend, Cursor, StoreError};
use gopherworks_pipeline::trace::{Act, Record, Tracer};
use gopherworks_supervision::clock::{Clock, Time};
use gopherworks_supervision::fault::Fired;

use super::until_done;
use crate::report::Report;
use crate::topology::{Done, Options, RunningTopology, Shared, StartError, Topology};

/// Pause before another start of a process whose store could not be opened.
const AGAIN: Duration = Duration::from_secs(1);

/// A process in virtual time, which faults may kill and start again.
pub struct Lives {
    topology: Topology,
    clock: Clock,
    limit: Option<Time>,
    shared: Shared,
    running: RunningTopology,
    life: Arc<Life>,
    total: Option<u64>,
    unbalanced: (u64, u64),
}

/// The end of the last life of a process.
#[derive(Debug)]
pub struct Ended {
    /// Report of the last life.
    pub report: Report,
    /// Why the last life ended.
    pub done: Done,
    /// Content of the store at the end, if there is one.
    pub(crate) store: Option<StoreEnd>,
}

/// Content of a simulated store at the end.
#[derive(Debug, Default)]
pub(crate) struct StoreEnd {
    pub(crate) account: Account,
    /// Ids of its dead letters.
    pub(crate) dead: Vec<u64>,
    /// Number of books of all sources, if these are read exactly once and have ended.
    pub(crate) total: Option<u64>,
    /// Books lost and done twice, by the ledgers of the killed lives.
    pub(crate) unbalanced: (u64, u64),
}

/// A tracer that forwards records until the process is killed.
struct Life {
    tracer: Option<Arc<dyn Tracer>>,
    over: AtomicBool,
}

impl Tracer for Life {
    fn record(&self, record: &Record<'_>) {
        if let Some(tracer) = self.tracer.as_ref().filter(|_| !self.over.load(Ordering::Acquire)) {
            tracer.record(record);
        }
    }
}

impl std::fmt::Debug for Lives {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lives").field("running", &self.running).finish_non_exhaustive()
    }
}

impl Lives {
    /// Starts a topology inside [`in_virtual_time`](super::in_virtual_time), with the faults of its
    /// options. With `limit`, sources are closed after that virtual time.
    ///
    /// # Errors
    /// As [`Topology::start`].
    pub async fn start(
        topology: &Topology,
        clock: &Clock,
        limit: Option<Duration>,
    ) -> Result<Self, StartError> {
        let topology = topology.clone().in_time_of(clock, limit);
        let shared = topology.shared(clock);
        let limit = limit.map(|limit| clock.now() + limit);
        let (running, life) = Self::born(&topology, &shared).await?;
        let total = running.expected().0;
        let (clock, unbalanced) = (clock.clone(), (0, 0));
        Ok(Self { topology, clock, limit, shared, running, life, total, unbalanced })
    }

    async fn born(
        topology: &Topology,
        shared: &Shared,
    ) -> Result<(RunningTopology, Arc<Life>), StartError> {
        let tracer = topology.options().tracer.clone();
        let life = Arc::new(Life { tracer, over: AtomicBool::new(false) });
        let tracer = life.tracer.is_some().then(|| -> Arc<dyn Tracer> { life.clone() });
        let options = Options { tracer, ..topology.options().clone() };
        let running = topology.clone().with_options(options).start_life(shared).await?;
        Ok((running, life))
    }

    /// The present life.
    pub fn running(&self) -> &RunningTopology {
        &self.running
    }

    /// The faults that fired in all lives.
    pub fn fired(&self) -> Vec<Fired> {
        self.running.fired()
    }

    /// Runs to the end of the last life: drained on its own, drained after the limit, or stuck. A
    /// life that is still running at the time `late` is stopped with the failure `late`.
    ///
    /// # Errors
    /// As [`Topology::start`], of a later life.
    pub async fn end(&mut self, late: (Time, String)) -> Result<Ended, StartError> {
        loop {
            let (running, clock) = (self.running.clone(), self.clock.clone());
            let limit = self.limit.map(|limit| limit - clock.now());
            let over = async {
                let done = tokio::select! {
                    biased;
                    done = until_done(&running, &clock, limit) => done,
                    () = clock.sleep_in_background(late.0) => {
                        running.fail(late.1.clone());
                        Done::Stopped
                    }
                };
                (running.finish(done.clone()).await, done)
            };
            let span = tokio::select! {
                biased;
                span = running.crashed() => span,
                (report, done) = over => {
                    let store = self.left(&done).await;
                    return Ok(Ended { report, done, store });
                }
            };
            drop(running);
            self.crash().await;
            self.clock.sleep(span).await;
            self.start_again(late.0).await?;
        }
    }

    async fn crash(&mut self) {
        self.life.over.store(true, Ordering::Release);
        if let Some(tracer) = &self.life.tracer {
            tracer.record(&Record { at: self.clock.now(), node: "", act: &Act::Crash });
        }
        let ledger = self.running.snapshot().ledger;
        self.unbalanced.0 += ledger.lost.unsigned_abs();
        self.unbalanced.1 += ledger.duplicates;
        if let Some(store) = &self.shared.store {
            store.crash();
        }
        self.running.crash().await;
    }

    /// Starts the next life. Like a service manager, tries again while the store can't be reached.
    async fn start_again(&mut self, late: Time) -> Result<(), StartError> {
        loop {
            match Self::born(&self.topology, &self.shared).await {
                Ok((running, life)) => {
                    (self.running, self.life) = (running, life);
                    return Ok(());
                }
                Err(StartError::Store(StoreError::Unavailable { .. } | StoreError::Unknown(_)))
                    if self.clock.now() < late =>
                {
                    self.clock.sleep(AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads the content of the store at the end.
    async fn left(&self, done: &Done) -> Option<StoreEnd> {
        let store = self.shared.store.as_ref()?.process();
        let plan = self.topology.plan();
        let once = |pile: &usize| !plan.piles[*pile].in_memory;
        let once = plan.sources.iter().all(|source| source.piles.iter().all(once));
        let is_read = *done == Done::Drained && self.limit.is_none();
        // Nothing else has the store open, and faults concern open stores only.
        let dead = store.dead(Cursor::START, usize::MAX).await.unwrap_or_default();
        Some(StoreEnd {
            account: store.survey().await.ok()?.account.unwrap_or_default(),
            dead: dead.iter().map(|letter| letter.book.id.0).collect(),
            total: self.total.filter(|_| once && is_read),
            unbalanced: self.unbalanced,
        })
    }
}
