//! A topology that can be started, and its running handle.

mod account;
mod dead;
mod desks;
mod end;
mod faults;
mod heard;
mod inner;
mod made;
mod overlap;
mod places;
mod running;
mod wiring;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gopherworks_actors::clock::Clock;
use gopherworks_actors::failure::Failure;
use gopherworks_actors::source::Receipts;
use gopherworks_actors::trace::Tracer;

use crate::catalog::{Catalog, RunId};
use crate::plan::Plan;
use crate::report::Report;

pub use dead::{DeadBook, DeadSink};
pub use faults::Faulting;
pub use gopherworks_actors::event::Event;
pub use gopherworks_actors::pile::OfferError;
pub use running::{Done, RunningTopology};

/// A resolved topology. It can be started any number of times; what runs shares nothing.
#[derive(Debug, Clone)]
pub struct Topology {
    plan: Arc<Plan>,
    options: Options,
}

/// How a topology is started; what a command line says rather than a file.
#[derive(Clone, Default)]
pub struct Options {
    /// Clock of the run. Default: real time.
    pub clock: Option<Clock>,
    /// Factor on all step times; 1 by default.
    pub time_scale: Option<f64>,
    /// Sources that make up their books never end by themselves.
    pub endless: bool,
    /// Leaves the sources out: the application offers all books, to any pile and dump.
    pub without_sources: bool,
    /// Hears of every burned book, besides the sources that remember.
    pub receipts: Option<Arc<dyn Receipts>>,
    /// Gets every dead letter; the last 1,000 are kept in memory besides.
    pub dead: Option<Arc<dyn DeadSink>>,
    /// Hears of every move; for simulations, since in real time no two traces are alike.
    pub tracer: Option<Arc<dyn Tracer>>,
    /// Touches nothing outside: works are left out, every burn only counts, and no receipt is
    /// written. For comparing designs.
    pub dry: bool,
    /// What goes wrong on purpose.
    pub faults: Faulting,
    /// Of all schedules that the seed allows, the one of this number; for simulations. `None` is
    /// the plain one.
    pub schedule: Option<u64>,
    /// Identity of the run among all runs; a new one by default, and one that follows from the
    /// seed in a simulation.
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

/// Why a topology did not start. Nothing of it runs then.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A source, a work or a burn could not be made.
    #[error("{node}: {failure}")]
    Node {
        /// The node or crew.
        node: String,
        /// Why.
        failure: Failure,
    },
    /// An output is an input too, which it would destroy.
    #[error("{0}")]
    Overlap(String),
    /// The operating system gave no threads.
    #[error("no threads: {0}")]
    Threads(#[from] std::io::Error),
    /// The supervisor gave up before every actor was up.
    #[error("the supervisor gave up during the start: {0}")]
    Escalated(String),
    /// A simulation can't do what the topology does.
    #[error(
        "a simulation can't do this: {0}; replace it, such as by `--set incinerators.NAME.burn=count` or another `load`"
    )]
    Outside(String),
    /// Not inside an actix system.
    #[error(
        "a topology starts inside a running actix system (`#[actix::main]`, or `System::new().block_on`)"
    )]
    NoSystem,
}

impl Topology {
    /// Reads a config file with the shipped kinds, the process's environment and no other
    /// overrides.
    ///
    /// # Errors
    /// Every mistake in the file, each with its place.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, crate::config::Diagnostics> {
        let overrides = crate::config::Overrides::of_process().unwrap_or_default();
        let loaded = crate::config::Loaded::read(path, &Catalog::standard(), &overrides)?;
        Ok(Self::from_plan(loaded.plan))
    }

    /// Resolves a config made by hand or by the builder.
    ///
    /// # Errors
    /// Every mistake in it, each with its config path.
    pub fn from_config(
        config: &crate::config::schema::TopologyConfig,
        catalog: &Catalog,
    ) -> Result<Self, crate::config::Diagnostics> {
        Plan::new(config, catalog).map(|(plan, _)| Self::from_plan(plan))
    }

    /// A topology of a plan.
    pub fn from_plan(plan: Plan) -> Self {
        Self { plan: Arc::new(plan), options: Options::default() }
    }

    /// Says how it is to be started.
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

    /// How it is to be started.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// What will run.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Starts it inside the running actix system: sinks first, each actor when the one before it
    /// is up. Returns when all are.
    ///
    /// The arbiters are its own; the supervisor lives on the calling one. Where that one ends, the
    /// topology is killed.
    ///
    /// # Errors
    /// [`StartError`]; what was started by then is stopped again.
    pub async fn start(&self) -> Result<RunningTopology, StartError> {
        wiring::start(&self.plan, &self.options).await
    }

    /// Starts it and waits for its end: the sources done and all drained, or the restart budget
    /// spent.
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

/// What the engine behind the piles survives.
pub const PROMISES: gopherworks_actors::store::Promises =
    gopherworks_actors::store::Promises::MEMORY;

/// How long books and carts on their way home are waited for when a run ends early.
const HOMECOMING: Duration = Duration::from_secs(5);
