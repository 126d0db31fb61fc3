//! The account of a run, for people and for programs.

use gopherworks_actors::clock::Time;
use gopherworks_actors::ledger::LedgerReport;
use gopherworks_actors::reasons::ReasonCount;
pub use gopherworks_actors::works::SinkClosed;
use serde::{Serialize, Serializer};

/// The account of a run. What does not apply is `None` (`null` in JSON).
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Name of the topology.
    pub topology: String,
    /// Mode of the run: `run` or `simulate`.
    pub mode: String,
    /// Seed of every random stream.
    pub seed: u64,
    /// Cores that it was given.
    pub cores: usize,
    /// Real seconds from the start to the end of the run.
    pub wall_s: f64,
    /// Simulated seconds from the start to the end of a simulation.
    pub virtual_s: Option<f64>,
    /// Seconds from the start to the last burn.
    pub makespan_s: Option<f64>,
    /// Makespan in seconds, as predicted by the formula.
    pub makespan_formula_s: Option<f64>,
    /// Speed-up over one gopher.
    pub speed_up: Option<f64>,
    /// Speed-up as predicted by the formula.
    pub speed_up_formula: Option<f64>,
    /// What limits the design.
    pub bottleneck: Option<String>,
    /// Books burned in a second of `virtual_s`, or of `wall_s` where that is `None`.
    pub books_per_s: f64,
    /// Restarts of all actors.
    pub restarts: u64,
    /// The account of all books.
    pub ledger: Ledger,
    /// A row for each pile, crew, gopher and incinerator.
    pub nodes: Vec<NodeReport>,
    /// A row for each balancer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub balancers: Vec<BalancerReport>,
    /// A row for each requester.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requesters: Vec<RequesterReport>,
    /// Why books and requests failed, by node and reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<ReasonReport>,
    /// SHA-256 of a simulation's trace, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_sha256: Option<String>,
    /// Why the formulas say nothing, where they don't, in words.
    #[serde(skip)]
    pub unsaid: Vec<String>,
    /// What went wrong besides books and requests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<String>,
    /// How it ended.
    #[serde(serialize_with = "worded")]
    pub outcome: Outcome,
}

mod balancing;

pub use balancing::{BalancerReport, RequesterReport, TailReport, WorkerReport};

impl Report {
    /// Books and requests that have ended, and not as they should: dead letters, and requests that
    /// failed.
    pub fn left_undone(&self) -> u64 {
        let requests = self.requesters.iter().map(RequesterReport::left_undone);
        self.ledger.dead + requests.sum::<u64>()
    }

    /// True if every book is accounted for, once, and so is every request.
    pub fn balances(&self) -> bool {
        let requests = |asked: &RequesterReport| asked.lost == 0;
        self.ledger.balances() && self.requesters.iter().all(requests)
    }
}

fn worded<S: Serializer>(outcome: &Outcome, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(outcome.word())
}

/// Failures at one node for one reason.
#[derive(Debug, Clone, Serialize)]
pub struct ReasonReport {
    /// The crew, incinerator, pile or balancer; `pile.source` for a source.
    pub node: String,
    /// The reason as it was given the first time; `None` for all reasons beyond the first 50 of
    /// the node.
    pub reason: Option<String>,
    /// Failed attempts.
    pub count: u64,
    /// Those without another attempt: dead letters, and requests that failed or were refused.
    #[serde(rename = "final")]
    pub final_count: u64,
    /// The first book or request that failed so; `a read` for a source.
    pub first: String,
    /// When the last one failed: seconds from the start.
    pub last_s: f64,
}

impl ReasonReport {
    pub(crate) fn new(reason: ReasonCount, started: Time) -> Self {
        Self {
            node: reason.node,
            reason: reason.reason,
            count: reason.count,
            final_count: reason.final_count,
            first: reason.first,
            last_s: (reason.last - started).as_secs_f64(),
        }
    }
}

impl Outcome {
    /// The outcome as one word.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Running => "running",
            Outcome::Finished => "finished",
            Outcome::Stopped => "stopped",
            Outcome::Escalated(_) => "escalated",
            Outcome::SinkClosed(_) => "sink_closed",
            Outcome::DeadlinePassed => "deadline_passed",
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It still runs: the report is a snapshot.
    Running,
    /// The sources ended (or were closed) and everything was drained.
    Finished,
    /// It was stopped at once; books that were under way are back on their piles.
    Stopped,
    /// The restart budget is spent.
    Escalated(String),
    /// A sink can't take a book again: the run was stopped, and what was under way is back on its
    /// piles.
    SinkClosed(SinkClosed),
    /// The deadline of a drain passed.
    DeadlinePassed,
}

/// The ledger as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Books that piles took, without those given back.
    pub offered: u64,
    /// Books that a drain gave back to sources that can give them again.
    pub given_back: u64,
    /// Books burned.
    pub burned: u64,
    /// Dead letters.
    pub dead: u64,
    /// Dropped on purpose by work.
    pub dropped: u64,
    /// On piles, in carts, in fires; after a stop: unfinished.
    pub in_flight: u64,
    /// offered - burned - dead - dropped - in_flight: always 0.
    pub lost: i64,
    /// Ids that ended twice: always 0.
    pub duplicates: u64,
    /// Bodies whose burn was begun again.
    pub reburned: u64,
}

impl From<LedgerReport> for Ledger {
    fn from(ledger: LedgerReport) -> Self {
        let LedgerReport {
            offered,
            given_back,
            burned,
            dead,
            dropped,
            in_flight,
            lost,
            duplicates,
            reburned,
        } = ledger;
        Self { offered, given_back, burned, dead, dropped, in_flight, lost, duplicates, reburned }
    }
}

impl Ledger {
    /// True if every book is accounted for, once.
    pub fn balances(&self) -> bool {
        self.lost == 0 && self.duplicates == 0
    }
}

/// One node's row.
#[derive(Debug, Clone, Serialize)]
pub struct NodeReport {
    /// Name of the node; a gopher is `crew/number`.
    pub name: String,
    /// `pile`, `dump`, `crew`, `gopher`, `relay` or `incinerator`.
    pub kind: &'static str,
    /// Books that passed.
    pub books: u64,
    /// Carts that passed.
    pub carts: u64,
    /// Share of the run spent in steps, work and burns, 0 to 1 (a crew's is the mean of its
    /// gophers').
    pub busy: f64,
    /// 1 - busy.
    pub idle: f64,
    /// Restarts.
    pub restarts: u64,
    /// Times that a cart had to wait here.
    #[serde(skip)]
    pub waits: u64,
}
