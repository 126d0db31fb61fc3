//! A topology that can be started, and the handle of a running one.

mod account;
mod ages;
mod balancers;
mod children;
mod control;
mod cores;
mod crews;
mod dead;
mod end;
mod faults;
mod inner;
mod kept;
#[cfg(feature = "http")]
mod link;
mod look;
mod made;
mod node_set;
mod nodes;
mod overlap;
mod owners;
mod placement;
mod reload;
mod reread;
mod running;
#[cfg(feature = "actix-web")]
mod seen;
#[cfg(feature = "actix-web")]
mod state;
mod store;
mod supervision_events;
#[cfg(feature = "actix-web")]
mod tap;
mod wiring;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gopherworks_pipeline::source::Receipts;
use gopherworks_pipeline::store::{Backend, StoreError};
use gopherworks_pipeline::trace::Tracer;
use gopherworks_supervision::clock::Clock;
use gopherworks_supervision::failure::Failure;

use crate::catalog::{Catalog, RunId};
use crate::plan::Plan;
use crate::report::Report;

pub use control::{AuditEntry, ControlError, Controlled};
pub use dead::{DeadBook, DeadSink};
pub use faults::Faulting;
pub use gopherworks_pipeline::OfferError;
pub use gopherworks_pipeline::{ControlAct, Event};
#[cfg(feature = "http")]
pub(crate) use link::TopologyLink;
pub use nodes::{LastFailure, NodeStatus, PileStatus};
pub use reload::ReloadError;
pub use reread::Reread;
pub use running::{Done, RunningTopology};
#[cfg(feature = "actix-web")]
pub(crate) use seen::SeenOnPile;
pub use store::FoundStore;
#[cfg(feature = "simulate")]
pub(crate) use store::Shared;

/// A resolved topology. It can be started any number of times; runs share no state.
#[derive(Debug, Clone)]
pub struct Topology {
    plan: Arc<Plan>,
    options: Options,
}

/// Options of a start that are not in the file.
#[derive(Clone, Default)]
pub struct Options {
    /// Clock of the run. Default: real time.
    pub clock: Option<Clock>,
    /// Factor on all step times. Default: 1.
    pub time_scale: Option<f64>,
    /// Sources that generate books do not end on their own.
    pub endless: bool,
    /// Starts without sources: the application offers all books, to any pile or dump.
    pub without_sources: bool,
    /// Gets a receipt for every burned book, in addition to sources that keep a state.
    pub receipts: Option<Arc<dyn Receipts>>,
    /// Gets every dead letter; the last 1,000 are also kept in memory.
    pub dead: Option<Arc<dyn DeadSink>>,
    /// Gets a record of every move; for simulations, since traces in real time are never identical.
    pub tracer: Option<Arc<dyn Tracer>>,
    /// Touches nothing outside: works are left out, burns only count, and no receipt is written.
    /// For comparing designs.
    pub dry: bool,
    /// Keeps the piles that do not say `store = "memory"`, instead of the plan's store. A
    /// simulation uses a simulated store in its place, and a dry run none.
    pub store: Option<Arc<dyn Backend>>,
    /// True to use a simulated store in place of the plan's, as every simulation does.
    pub stand_in: bool,
    /// Reads all sources anew, also those that earlier runs on the store have read.
    pub again: bool,
    /// Reads the file of the run again, for reloads. Default: there is none.
    pub reread: Option<Reread>,
    /// Faults to inject.
    pub faults: Faulting,
    /// Number of a schedule among those that the seed allows; for simulations. Default: the plain
    /// schedule.
    pub schedule: Option<u64>,
    /// Identity of the run. Default: a new one, or in a simulation one derived from the seed.
    pub run_id: Option<RunId>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("time_scale", &self.time_scale)
            .field("endless", &self.endless)
            .field("without_sources", &self.without_sources)
            .field("dry", &self.dry)
            .finish_non_exhaustive()
    }
}

/// Why a topology did not start. Whatever had started is stopped.
#[derive(Debug)]
pub enum StartError {
    /// A source, a work or a burn could not be made.
    Node {
        /// The node or crew.
        node: String,
        /// Why the node could not be created.
        failure: Failure,
    },
    /// An output is also an input, and would destroy it.
    Overlap(String),
    /// The store of the durable piles could not be opened.
    Store(StoreError),
    /// The operating system gave no threads.
    Threads(std::io::Error),
    /// The supervisor gave up before every actor was up.
    Escalated(String),
    /// The topology does something that can't be simulated.
    Outside(String),
    /// The call was made outside an actix system.
    NoSystem,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Node { node, failure } => write!(f, "{node}: {failure}"),
            StartError::Overlap(what) => f.write_str(what),
            StartError::Store(error) => write!(f, "the store: {error}"),
            StartError::Threads(error) => write!(f, "can't start threads: {error}"),
            StartError::Escalated(why) => {
                write!(f, "the supervisor gave up during the start: {why}")
            }
            StartError::Outside(what) => write!(
                f,
                "a simulation can't do this: {what}; replace it, such as by `--set \
                 incinerators.NAME.burn=count` or another `load`"
            ),
            StartError::NoSystem => f.write_str(
                "a topology starts inside a running actix system (`#[actix::main]`, \
                 or `System::new().block_on`)",
            ),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::Threads(error) => Some(error),
            StartError::Store(error) => Some(error),
            _ => None,
        }
    }
}

impl From<std::io::Error> for StartError {
    fn from(error: std::io::Error) -> Self {
        StartError::Threads(error)
    }
}

impl Topology {
    /// Reads a config file with the shipped kinds and the process's environment, without other
    /// overrides.
    ///
    /// # Errors
    /// All mistakes in the file, each with its place.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, crate::config::Diagnostics> {
        let overrides = crate::config::Overrides::of_process().unwrap_or_default();
        let loaded = crate::Loaded::read(path, &Catalog::standard(), &overrides)?;
        Ok(Self::from_plan(loaded.plan))
    }

    /// Resolves a config made in code.
    ///
    /// # Errors
    /// All mistakes in it, each with its config path.
    pub fn from_config(
        config: &crate::config::elements::TopologyConfig,
        catalog: &Catalog,
    ) -> Result<Self, crate::config::Diagnostics> {
        Plan::new(config, catalog).map(|(plan, _)| Self::from_plan(plan))
    }

    /// Creates a topology from a plan.
    pub fn from_plan(plan: Plan) -> Self {
        Self { plan: Arc::new(plan), options: Options::default() }
    }

    /// Returns this topology with these options.
    #[must_use]
    pub fn with_options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Returns this topology with another seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        Arc::make_mut(&mut self.plan).execution.seed = seed;
        self
    }

    /// The options of its start.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The plan that it runs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Starts it inside the running actix system and returns when all actors have started; each
    /// starts after the one before, sinks first.
    ///
    /// It creates its own arbiters; the supervisor runs on the calling one. If that one ends, the
    /// topology is killed.
    ///
    /// # Errors
    /// [`StartError`]; actors that had started are stopped.
    pub async fn start(&self) -> Result<RunningTopology, StartError> {
        wiring::start(&self.plan, &self.options, None).await
    }

    /// State shared by all lives of a process on this clock.
    #[cfg(feature = "simulate")]
    pub(crate) fn shared(&self, clock: &Clock) -> store::Shared {
        store::Shared::new(&self.plan, &self.options, clock)
    }

    /// Like [`Topology::start`], for one of several lives.
    #[cfg(feature = "simulate")]
    pub(crate) async fn start_life(
        &self,
        shared: &store::Shared,
    ) -> Result<RunningTopology, StartError> {
        wiring::start(&self.plan, &self.options, Some(shared)).await
    }

    /// Starts it and waits for its end: everything drained after the sources ended, or the restart
    /// budget spent.
    ///
    /// # Errors
    /// As [`Topology::start`].
    pub async fn run(&self) -> Result<Report, StartError> {
        let running = self.start().await?;
        running.close_offers();
        let done = running.done().await;
        Ok(running.finish(done).await)
    }
}

/// What the store behind the piles survives.
pub const PROMISES: gopherworks_pipeline::Promises = gopherworks_pipeline::Promises::MEMORY;

/// How long an early end waits for books and carts in flight, and then for sinks and sources.
const HOMECOMING: Duration = Duration::from_secs(5);

/// `HOMECOMING` after the deadline of a drain: all waits together exceed the deadline by less than
/// a second.
const HOMECOMING_LATE: Duration = Duration::from_millis(250);
