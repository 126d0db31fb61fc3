//! Names become keys, once; every check of the graph and every warning is here. After a plan no string takes part in wiring.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use gopherworks_actors::balancer::policy::{Full, Policy, Spread};
use gopherworks_actors::balancer::resilience::{Priority, Resilience};
use gopherworks_actors::gopher::steps::{Duties, StepTimes};
use gopherworks_actors::requester::load::{self, Load};

use crate::catalog::{
    BurnFactory, Catalog, STANDARD_STREAM, ServiceFactory, SourceFactory, WorkFactory,
};
use crate::config::label::base;
use crate::config::schema::{
    BackoffConfig, Capacity, Exclusive, ExpectConfig, Placement, StrategyConfig, TopologyConfig,
};
use crate::config::{Diagnostic, Diagnostics, Origin};

mod balancing;
mod bounds;
pub mod faults;
pub mod formula;
mod graph;
mod kinds;
mod limits;
mod memory;
mod resolve;
#[cfg(test)]
mod tests;
mod unfold;

pub(crate) use resolve::RELAYED;
pub(crate) use resolve::resolve;
pub use unfold::unfold;

/// A resolved topology: nodes are keys (positions in these vectors).
#[derive(Debug, Clone)]
pub struct Plan {
    /// What the topology is called.
    pub name: String,
    /// Sources, each with the piles that it fills.
    pub sources: Vec<SourcePlan>,
    /// Piles and dumps, upstream before downstream.
    pub piles: Vec<PilePlan>,
    /// Incinerators.
    pub incinerators: Vec<IncineratorPlan>,
    /// Crews and relays, upstream before downstream.
    pub crews: Vec<CrewPlan>,
    /// Balancers with their workers.
    pub balancers: Vec<BalancerPlan>,
    /// Requesters.
    pub requesters: Vec<RequesterPlan>,
    /// How it runs.
    pub execution: ExecutionPlan,
    /// What happens when an actor fails.
    pub supervision: SupervisionPlan,
    /// One round trip of one gopher without dumps, where the config says so.
    pub t1: Option<Duration>,
    /// What would reach outside of a simulation, in words: programs, and standard input.
    pub outside: Vec<String>,
    /// What goes wrong on purpose.
    pub faults: Vec<faults::FaultPlan>,
    /// What is expected nevertheless.
    pub expect: ExpectConfig,
}

impl Plan {
    /// Files and folders that a run would read, each once.
    pub fn reads(&self) -> Vec<&PathBuf> {
        let piles = self.piles.iter().flat_map(|pile| &pile.reads);
        let crews = self.crews.iter().flat_map(|crew| &crew.reads);
        let fires = self.incinerators.iter().flat_map(|fire| &fire.reads);
        let balancers = self.balancers.iter().flat_map(|balancer| &balancer.reads);
        once(piles.chain(crews).chain(fires).chain(balancers))
    }

    /// Files and folders that a run would write, each once.
    pub fn writes(&self) -> Vec<&PathBuf> {
        let piles = self.piles.iter().flat_map(|pile| &pile.writes);
        let crews = self.crews.iter().flat_map(|crew| &crew.writes);
        let fires = self.incinerators.iter().flat_map(|fire| &fire.writes);
        let balancers = self.balancers.iter().flat_map(|balancer| &balancer.writes);
        once(piles.chain(crews).chain(fires).chain(balancers))
    }

    /// True if books go to standard output, so that nothing else should.
    pub fn writes_to_stdout(&self) -> bool {
        self.writes()
            .iter()
            .any(|path| path.as_os_str() == STANDARD_STREAM)
    }

    /// Resolves a config made in code; mistakes name config paths. The plan comes with its warnings.
    ///
    /// # Errors
    /// Every mistake in the config, and what there is to warn of.
    pub fn new(
        config: &TopologyConfig,
        catalog: &Catalog,
    ) -> Result<(Self, Diagnostics), Diagnostics> {
        match Self::resolve(config, catalog, |path| Origin::Code(path.join("."))) {
            (Some(plan), warnings) => Ok((plan, warnings)),
            (None, mistakes) => Err(mistakes),
        }
    }

    /// Resolves a config; `locate` tells who wrote the value at a config path. `None` if there is an error.
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

/// A source. Where its pile has copies, one reader deals its books: the n-th goes to copy n mod copies.
#[derive(Debug, Clone)]
pub struct SourcePlan {
    /// The pile's name, without a label.
    pub name: String,
    /// Makes it.
    pub factory: SourceFactory,
    /// The piles that it fills in turn: positions in [`Plan::piles`].
    pub piles: Vec<usize>,
    /// How many books it gives in all, where its options say so.
    pub books: Option<u64>,
}

/// A pile or a dump.
#[derive(Debug, Clone)]
pub struct PilePlan {
    /// Its name, for reports.
    pub name: String,
    /// True for a staging dump.
    pub dump: bool,
    /// Its source: a position in [`Plan::sources`].
    pub source: Option<usize>,
    /// Files and folders that the source would read.
    pub reads: Vec<PathBuf>,
    /// Files and folders that the source would write.
    pub writes: Vec<PathBuf>,
    /// Bound of admission.
    pub capacity: Capacity,
    /// Slots.
    pub exclusive: Exclusive,
    /// Attempts before a book is a dead letter.
    pub max_attempts: u32,
}

/// An incinerator.
#[derive(Debug, Clone)]
pub struct IncineratorPlan {
    /// Its name, for reports.
    pub name: String,
    /// Makes its burn.
    pub burn: BurnFactory,
    /// Files and folders that the burn would read.
    pub reads: Vec<PathBuf>,
    /// Files and folders that the burn would write.
    pub writes: Vec<PathBuf>,
    /// Slots.
    pub exclusive: Exclusive,
    /// The balancer whose workers burn instead: a position in [`Plan::balancers`].
    pub ask: Option<usize>,
}

/// Where a crew unloads: a position in [`Plan::piles`] or [`Plan::incinerators`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A dump.
    Dump(usize),
    /// An incinerator.
    Incinerator(usize),
}

/// A crew, or a relay: a crew of one gopher with one cart.
#[derive(Debug, Clone)]
pub struct CrewPlan {
    /// Its name, for reports.
    pub name: String,
    /// True for a relay.
    pub relay: bool,
    /// The pile that it empties: a position in [`Plan::piles`].
    pub from: usize,
    /// Where it unloads.
    pub to: Target,
    /// Its gophers' duties.
    pub gophers: Vec<Duties>,
    /// Carts in circulation.
    pub carts: u32,
    /// Most books in a cart.
    pub cart_books: usize,
    /// Most bytes in a cart.
    pub cart_bytes: Option<u64>,
    /// Makes the work of one gopher; `None` where books pass as they are.
    pub work: Option<WorkFactory>,
    /// The balancer whose workers do the work instead: a position in [`Plan::balancers`].
    pub ask: Option<usize>,
    /// Files and folders that the work would read.
    pub reads: Vec<PathBuf>,
    /// Files and folders that the work would write.
    pub writes: Vec<PathBuf>,
    /// What the steps cost.
    pub steps: StepTimes,
}

/// A balancer with its workers.
#[derive(Debug, Clone)]
pub struct BalancerPlan {
    /// Its name, for reports.
    pub name: String,
    /// Who gets a request.
    pub policy: Policy,
    /// How many workers are asked the same.
    pub spread: Spread,
    /// Most requests that wait, in the balancer or at workers; `None` does not bound.
    pub queue: Option<u32>,
    /// What becomes of a request that finds the queue full.
    pub full: Full,
    /// True if a request may be begun again after its worker died of it.
    pub idempotent: bool,
    /// Attempts of an idempotent request (>= 1).
    pub max_attempts: u32,
    /// Deadlines, shedding, budgets, care for workers.
    pub resilience: Resilience,
    /// Workers (>= 1).
    pub workers: u32,
    /// Requests that one worker does at a time (>= 1).
    pub concurrency: u32,
    /// Makes the kind of worker.
    pub service: ServiceFactory,
    /// The kind's name.
    pub kind: String,
    /// Files and folders that it would read.
    pub reads: Vec<PathBuf>,
    /// Files and folders that it would write.
    pub writes: Vec<PathBuf>,
}

/// A requester.
#[derive(Debug, Clone)]
pub struct RequesterPlan {
    /// Its name, for reports.
    pub name: String,
    /// Whom it asks: a position in [`Plan::balancers`].
    pub to: usize,
    /// When it asks.
    pub load: Load,
    /// Where it listens, if its requests come from outside.
    pub http: Option<HttpPlan>,
    /// In which order it takes the answers to a batch.
    pub order: load::Order,
    /// Which requests go first where they wait.
    pub priority: Priority,
    /// Its requests are about so many things in turn (>= 1).
    pub keys: Option<u32>,
}

/// A requester that serves HTTP.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpPlan {
    /// Where it listens; port 0 is any that is free.
    pub listen: SocketAddr,
    /// Requests whose path begins with it are served.
    pub path: String,
    /// Where health, metrics and a snapshot are, below this path.
    pub admin: Option<String>,
    /// Most bytes of a request's body (>= 1).
    pub body: u64,
    /// Most headers of a request (>= 1).
    pub headers: u32,
    /// Most connections at once (>= 1).
    pub connections: u32,
    /// The header whose value is a request's key, in lower case.
    pub key_header: Option<String>,
    /// Status of successful answers that bring none of their own (200 to 299).
    pub status: u16,
    /// Methods that are served, in upper case; `None` serves all but CONNECT and TRACE.
    pub methods: Option<Vec<String>>,
    /// Hosts that a request for `admin` may name besides those that are listened on; `*` is any.
    pub hosts: Vec<String>,
    /// How long a client may take to send a request's head, and may stall while it sends a body.
    pub read_timeout: Duration,
    /// How long a client may stall while it takes an answer.
    pub write_timeout: Duration,
    /// Bytes a second of a body or an answer that a client has to keep up (>= 1).
    pub min_rate: u64,
    /// How long a connection may be idle between two requests.
    pub keep_alive: Duration,
    /// How long it goes on as before once it is to end.
    pub grace: Duration,
    /// How long requests and answers may take once the port is closed.
    pub shutdown_timeout: Duration,
    /// Requests after which it is done.
    pub requests: Option<u64>,
}

/// How it runs.
#[derive(Debug, Clone)]
pub struct ExecutionPlan {
    /// Arbiters, and threads of the blocking pool.
    pub cores: usize,
    /// How nodes are laid on arbiters.
    pub placement: Placement,
    /// Seed of every random stream.
    pub seed: u64,
    /// Folder for large bodies.
    pub scratch: PathBuf,
    /// How long a drain may take.
    pub drain_deadline: Option<Duration>,
}

/// What happens when an actor fails.
#[derive(Debug, Clone, Copy)]
pub struct SupervisionPlan {
    /// Who is restarted with the failed one.
    pub strategy: StrategyConfig,
    /// Restarts allowed within `period`.
    pub intensity: u32,
    /// Window of `intensity`.
    pub period: Duration,
    /// Failures in a row that end the run.
    pub in_a_row: u32,
    /// Delay before a restart.
    pub backoff: BackoffConfig,
    /// Wait for each actor in an ordered shutdown.
    pub shutdown: Duration,
    /// How long a thread may be blocked.
    pub hang_after: Duration,
}

/// The path that a file has for the one of a copy.
fn written<'a>(path: &[&'a str]) -> Vec<&'a str> {
    path.iter().map(|key| base(key)).collect()
}

/// Collects what is wrong with a config, and knows who wrote what.
pub(crate) struct Judge<'a> {
    locate: &'a dyn Fn(&[&str]) -> Origin,
    found: Diagnostics,
}

impl Judge<'_> {
    fn error(&self, path: &[&str], message: impl Into<String>) -> Diagnostic {
        let path = written(path);
        Diagnostic::error(path.join("."), (self.locate)(&path), message)
    }

    fn warning(&self, path: &[&str], message: impl Into<String>) -> Diagnostic {
        let path = written(path);
        Diagnostic::warning(path.join("."), (self.locate)(&path), message)
    }

    fn locate(&self, path: &[&str]) -> Origin {
        (self.locate)(&written(path))
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    /// Reports an error unless `holds`.
    fn ensure(&mut self, holds: bool, path: &[&str], message: &str) {
        if !holds {
            let mistake = self.error(path, message);
            self.report(mistake);
        }
    }
}
