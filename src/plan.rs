//! A [`Plan`] is a validated config with all names resolved to indices, ready to be wired. All
//! checks of the topology, errors and warnings, are made here.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gopherworks_balancer::policy::{LoadPolicy, Spread, WhenFull};
use gopherworks_balancer::resilience::{Priority, Resilience};
use gopherworks_pipeline::load;
use gopherworks_pipeline::load::Load;
use gopherworks_pipeline::steps::{Duties, StepTimes};

use crate::catalog::{
    BurnFactory, Catalog, STANDARD_STREAM, ServiceFactory, SourceFactory, WorkFactory,
};
use crate::config::elements::{
    Capacity, Exclusive, ExpectConfig, HttpConfig, OperationsConfig, Placement, RetryConfig,
    StoreConfig, SupervisionConfig, TopologyConfig,
};
use crate::config::label::base;
use crate::config::{Code, Diagnostic, Diagnostics, Origin};

mod balancing;
mod bounds;
pub mod changes;
#[cfg(feature = "expressions")]
mod expressions;
pub mod faults;
pub mod formula;
mod graph;
mod kinds;
mod limits;
mod memory;
mod only;
mod operations;
mod resolve;
mod servers;
mod splits;
#[cfg(test)]
mod tests;
mod unfold;

pub(crate) use balancing::named;
pub use only::PileElsewhere;
pub(crate) use resolve::resolve;
pub use unfold::unfold;

/// A resolved topology. Nodes refer to each other by their indices in these vectors.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Name of the topology.
    pub name: String,
    /// The config that it was resolved from, for pictures.
    pub config: Arc<TopologyConfig>,
    /// Sources, each with the piles that it fills.
    pub sources: Vec<SourcePlan>,
    /// Piles and dumps, upstream before downstream.
    pub piles: Vec<PilePlan>,
    /// Incinerators, sorted by name.
    pub incinerators: Vec<IncineratorPlan>,
    /// Crews and relays, upstream before downstream.
    pub crews: Vec<CrewPlan>,
    /// Balancers with their workers, sorted by name.
    pub balancers: Vec<BalancerPlan>,
    /// Requesters, sorted by name.
    pub requesters: Vec<RequesterPlan>,
    /// Store of the durable piles; `None` if all piles are in memory.
    pub store: Option<StoreConfig>,
    /// The server for operators; `None` for none.
    pub operations: Option<OperationsConfig>,
    /// Cores, placement, seed, scratch folder and drain deadline.
    pub execution: ExecutionPlan,
    /// Restart and shutdown settings.
    pub supervision: SupervisionConfig,
    /// Duration of one gopher's round trip without dumps, from `[model] t1`; `None` if not set.
    pub t1: Option<Duration>,
    /// What a simulation cannot run, as messages: external programs, networks and standard input.
    pub outside: Vec<String>,
    /// Faults to inject, with their targets.
    pub faults: Vec<faults::FaultPlan>,
    /// Properties that must hold despite the faults.
    pub expect: ExpectConfig,
}

impl Plan {
    /// Files and folders that a run would read, without duplicates.
    pub fn reads(&self) -> Vec<&PathBuf> {
        let piles = self.piles.iter().flat_map(|pile| &pile.reads);
        let crews = self.crews.iter().flat_map(|crew| &crew.reads);
        let fires = self.incinerators.iter().flat_map(|fire| &fire.reads);
        let balancers = self.balancers.iter().flat_map(|balancer| &balancer.reads);
        once(piles.chain(crews).chain(fires).chain(balancers))
    }

    /// Files and folders that a run would write, without duplicates.
    pub fn writes(&self) -> Vec<&PathBuf> {
        let piles = self.piles.iter().flat_map(|pile| &pile.writes);
        let crews = self.crews.iter().flat_map(|crew| &crew.writes);
        let fires = self.incinerators.iter().flat_map(|fire| &fire.writes);
        let balancers = self.balancers.iter().flat_map(|balancer| &balancer.writes);
        let store = self.store.iter().filter_map(|store| match store {
            StoreConfig::Sqlite { path } => Some(path),
            StoreConfig::Postgres { .. } | StoreConfig::Jetstream { .. } => None,
        });
        once(piles.chain(crews).chain(fires).chain(balancers).chain(store))
    }

    /// Files and folders of the store, there or not; none of a store that has no files here.
    pub fn store_files(&self) -> Vec<PathBuf> {
        match &self.store {
            #[cfg(feature = "sqlite")]
            Some(StoreConfig::Sqlite { path }) => gopherworks_sqlite::files(path),
            _ => Vec::new(),
        }
    }

    /// True if a run writes books to standard output, which nothing else should then use.
    pub fn writes_to_stdout(&self) -> bool {
        self.writes().iter().any(|path| path.as_os_str() == STANDARD_STREAM)
    }

    /// Resolves a config built in code. Returns the plan and its warnings.
    ///
    /// # Errors
    /// All errors of the config, together with its warnings. Each names a config path.
    pub fn new(
        config: &TopologyConfig,
        catalog: &Catalog,
    ) -> Result<(Self, Diagnostics), Diagnostics> {
        match Self::resolve(config, catalog, |path| Origin::Code(path.join("."))) {
            (Some(plan), warnings) => Ok((plan, warnings)),
            (None, mistakes) => Err(mistakes),
        }
    }

    /// Resolves a config. `locate` returns the origin, such as file and line, of the value at a
    /// config path. Without errors, returns the plan and the warnings; otherwise `None` and all
    /// diagnostics.
    pub fn resolve(
        config: &TopologyConfig,
        catalog: &Catalog,
        locate: impl Fn(&[&str]) -> Origin,
    ) -> (Option<Self>, Diagnostics) {
        crate::config::begin();
        let (plan, found) = resolve(config, catalog, &locate, false);
        (plan, found.sorted())
    }
}

fn once<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> Vec<&'a PathBuf> {
    let mut seen = BTreeSet::new();
    paths.filter(|path| seen.insert(*path)).collect()
}

/// A source. If its pile has n copies, one reader serves them all: book k, counted from 0, goes to
/// copy k mod n.
#[derive(Debug, Clone)]
pub struct SourcePlan {
    /// Name of its pile, without a copy label.
    pub name: String,
    /// Creates the source.
    pub factory: SourceFactory,
    /// Piles that it fills in turn, as indices into [`Plan::piles`].
    pub piles: Vec<usize>,
    /// Total number of books, if its options state it; `None` if unknown.
    pub books: Option<u64>,
}

/// A pile or a dump.
#[derive(Debug, Clone)]
pub struct PilePlan {
    /// Name in reports, with a copy label if it has copies.
    pub name: String,
    /// True for a dump, false for a pile.
    pub dump: bool,
    /// Source that fills it, as an index into [`Plan::sources`].
    pub source: Option<usize>,
    /// Files and folders that the source would read.
    pub reads: Vec<PathBuf>,
    /// Files and folders that the source would write.
    pub writes: Vec<PathBuf>,
    /// Maximum number of books and bytes that it holds.
    pub capacity: Capacity,
    /// Maximum number of concurrent loads and unloads.
    pub exclusive: Exclusive,
    /// Attempts after which a book becomes a dead letter (>= 1).
    pub max_attempts: u32,
    /// Delays between attempts; without it there are none.
    pub retry: Option<RetryConfig>,
    /// True if it is in memory although there is a store.
    pub in_memory: bool,
    /// What other processes do with it; `None` if the plan is not a part of a topology.
    pub elsewhere: Option<PileElsewhere>,
}

/// An incinerator.
#[derive(Debug, Clone)]
pub struct IncineratorPlan {
    /// Name in reports, with a copy label if it has copies.
    pub name: String,
    /// Creates the burn.
    pub burn: BurnFactory,
    /// Files and folders that the burn would read.
    pub reads: Vec<PathBuf>,
    /// Files and folders that the burn would write.
    pub writes: Vec<PathBuf>,
    /// Maximum number of concurrent loads and unloads.
    pub exclusive: Exclusive,
    /// Balancer whose workers burn the books instead, as an index into [`Plan::balancers`].
    pub ask: Option<usize>,
}

/// The node into which a crew unloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Index into [`Plan::piles`].
    Dump(usize),
    /// Index into [`Plan::incinerators`].
    Incinerator(usize),
}

/// A crew, or a relay, which is planned as a crew of one gopher with one cart.
#[derive(Debug, Clone)]
pub struct CrewPlan {
    /// Name in reports, with a copy label if it has copies.
    pub name: String,
    /// True for a relay.
    pub relay: bool,
    /// The pile or dump that it empties, as an index into [`Plan::piles`].
    pub from: usize,
    /// The node into which it unloads.
    pub to: Target,
    /// Duties of each gopher (>= 1 gopher).
    pub gophers: Vec<Duties>,
    /// Number of carts (>= 1).
    pub carts: u32,
    /// Maximum number of books in a cart (>= 1).
    pub cart_books: usize,
    /// Maximum number of bytes in a cart; `None` for no limit.
    pub cart_bytes: Option<u64>,
    /// Creates the work of one gopher; `None` if books are not transformed, or by `ask`.
    pub work: Option<WorkFactory>,
    /// Balancer whose workers do the work instead, as an index into [`Plan::balancers`].
    pub ask: Option<usize>,
    /// Files and folders that the work would read.
    pub reads: Vec<PathBuf>,
    /// Files and folders that the work would write.
    pub writes: Vec<PathBuf>,
    /// Duration of each step.
    pub steps: StepTimes,
}

/// A balancer with its workers.
#[derive(Debug, Clone)]
pub struct BalancerPlan {
    /// Name in reports, with a copy label if it has copies.
    pub name: String,
    /// How the worker for a request is selected.
    pub policy: LoadPolicy,
    /// Number of workers that receive each request: one, several, or a hedge after a delay.
    pub spread: Spread,
    /// Maximum number of requests queued at the balancer and its workers together, if bounded.
    pub queue: Option<u32>,
    /// What happens to a request when the queue is full.
    pub full: WhenFull,
    /// True if a request may be executed again after the death of its worker.
    pub idempotent: bool,
    /// Maximum number of attempts of a request if it is idempotent (>= 1).
    pub max_attempts: u32,
    /// Deadlines, load shedding, retry budget, slow start and ejection of workers.
    pub resilience: Resilience,
    /// Number of workers (>= 1).
    pub workers: u32,
    /// Requests that each worker executes concurrently (>= 1).
    pub concurrency: u32,
    /// Creates the service of a worker.
    pub service: ServiceFactory,
    /// Name of the service's kind.
    pub kind: String,
    /// Files and folders that a worker would read.
    pub reads: Vec<PathBuf>,
    /// Files and folders that a worker would write.
    pub writes: Vec<PathBuf>,
}

/// A requester, which sends requests to a balancer.
#[derive(Debug, Clone)]
pub struct RequesterPlan {
    /// Name in reports, with a copy label if it has copies.
    pub name: String,
    /// The balancer to which it sends, as an index into [`Plan::balancers`].
    pub to: usize,
    /// When it sends requests.
    pub load: Load,
    /// HTTP server settings, if its requests arrive over HTTP; header in lower case, methods in
    /// upper case.
    pub http: Option<HttpConfig>,
    /// Order in which it receives the replies to a batch.
    pub order: load::Order,
    /// Priority of its requests in queues.
    pub priority: Priority,
    /// Number of distinct keys, used in turn by its requests (>= 1); `None` for requests without a
    /// key.
    pub keys: Option<u32>,
}

/// How the topology is executed. Only the seed can change the results of a run.
#[derive(Debug, Clone)]
pub struct ExecutionPlan {
    /// Number of arbiters, and of threads in the blocking pool (>= 1).
    pub cores: usize,
    /// How nodes are assigned to arbiters.
    pub placement: Placement,
    /// Seed of all random streams.
    pub seed: u64,
    /// Folder for bodies of books that are too large for memory.
    pub scratch: PathBuf,
    /// Longest time for a drain; `None` for no limit.
    pub drain_deadline: Option<Duration>,
}

/// Removes copy labels from a path, as a config file has one node for all copies.
fn written<'a>(path: &[&'a str]) -> Vec<&'a str> {
    path.iter().map(|key| base(key)).collect()
}

/// Collects diagnostics and locates the values they refer to.
pub(crate) struct Validator<'a> {
    locate: &'a dyn Fn(&[&str]) -> Origin,
    found: Diagnostics,
}

impl Validator<'_> {
    fn error(&self, code: Code, path: &[&str], message: impl Into<String>) -> Diagnostic {
        let path = written(path);
        Diagnostic::error(code, path.join("."), (self.locate)(&path), message)
    }

    fn warning(&self, code: Code, path: &[&str], message: impl Into<String>) -> Diagnostic {
        let path = written(path);
        Diagnostic::warning(code, path.join("."), (self.locate)(&path), message)
    }

    fn locate(&self, path: &[&str]) -> Origin {
        (self.locate)(&written(path))
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    /// Reports an error unless `holds`.
    fn ensure(&mut self, holds: bool, code: Code, path: &[&str], message: &str) {
        if !holds {
            let mistake = self.error(code, path, message);
            self.report(mistake);
        }
    }
}
