//! The report of a run.

use gopherworks_pipeline::LedgerReport;
use gopherworks_pipeline::ReasonCount;
pub use gopherworks_pipeline::SinkClosed;
use gopherworks_pipeline::store::Account;
use gopherworks_supervision::clock::Time;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

/// The report of a run. Fields that do not apply are `None` (`null` in JSON).
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Name of the topology.
    pub topology: String,
    /// Mode of the run: `run` or `simulate`.
    pub mode: String,
    /// Seed of every random stream.
    pub seed: u64,
    /// Number of cores.
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
    /// Books burned per second of `virtual_s`, or of `wall_s` if that is `None`.
    pub books_per_s: f64,
    /// Restarts of all actors.
    pub restarts: u64,
    /// Totals of all books.
    pub ledger: Ledger,
    /// Totals over all runs on the store, if piles are durable; of earlier ones only, while this
    /// one runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<StoreAccount>,
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
    /// Why formulas give no prediction, in words.
    #[serde(skip)]
    pub unsaid: Vec<String>,
    /// Failures that concern no single book or request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<String>,
    /// Outcome of the run.
    #[serde(serialize_with = "worded")]
    pub outcome: RunOutcome,
}

mod balancing;

pub use balancing::{BalancerReport, RequesterReport, TailReport, WorkerReport};

impl Report {
    /// Number of dead letters and failed requests.
    pub fn left_undone(&self) -> u64 {
        let requests = self.requesters.iter().map(RequesterReport::left_undone);
        self.ledger.dead + requests.sum::<u64>()
    }

    /// True if every book and every request is accounted for exactly once.
    pub fn balances(&self) -> bool {
        let requests = |asked: &RequesterReport| asked.lost == 0;
        self.ledger.balances() && self.requesters.iter().all(requests)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn worded<S: Serializer>(outcome: &RunOutcome, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(outcome.word())
}

/// Failures at one node for one reason.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ReasonReport {
    /// The crew, incinerator, pile or balancer; `pile.source` for a source.
    pub node: String,
    /// The reason as first given; `None` for all beyond the node's first 50 reasons.
    pub reason: Option<String>,
    /// Failed attempts.
    pub count: u64,
    /// Failures without another attempt: dead letters, and requests that failed or were refused.
    #[serde(rename = "final")]
    pub final_count: u64,
    /// The first book or request with this failure; `a read` for a source.
    pub first: String,
    /// Time of the last one, in seconds since the start.
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

impl RunOutcome {
    /// The outcome as one word.
    pub fn word(&self) -> &'static str {
        match self {
            RunOutcome::Running => "running",
            RunOutcome::Finished => "finished",
            RunOutcome::Stopped => "stopped",
            RunOutcome::Escalated(_) => "escalated",
            RunOutcome::SinkClosed(_) => "sink_closed",
            RunOutcome::DeadlinePassed => "deadline_passed",
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunOutcome {
    /// Still running: the report is a snapshot.
    Running,
    /// The sources ended (or were closed) and everything was drained.
    Finished,
    /// Stopped without a drain; books in flight are back on their piles.
    Stopped,
    /// The restart budget is spent.
    Escalated(String),
    /// A sink can't accept books again: the run was stopped, and books in flight are back on their
    /// piles.
    SinkClosed(SinkClosed),
    /// The deadline of a drain passed.
    DeadlinePassed,
}

/// Totals of books. `offered = burned + dead + dropped + in_flight`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Ledger {
    /// Books accepted by piles, less `given_back`.
    pub offered: u64,
    /// Books among them that were on durable piles when the run began.
    #[serde(skip_serializing_if = "is_zero")]
    pub recovered: u64,
    /// Books that a drain returned to sources that can give them again.
    pub given_back: u64,
    /// Books burned.
    pub burned: u64,
    /// Dead letters.
    pub dead: u64,
    /// Books dropped by work on purpose.
    pub dropped: u64,
    /// Books among them that did not meet the condition of a work.
    #[serde(skip_serializing_if = "is_zero")]
    pub filtered: u64,
    /// Books among the dropped that others, which count as offered, were put in place of.
    #[serde(skip_serializing_if = "is_zero")]
    pub split: u64,
    /// Books on piles, in carts and at incinerators; after a stop, the unfinished ones.
    pub in_flight: u64,
    /// Books among them that are on durable piles: the next run goes on with them.
    #[serde(skip_serializing_if = "is_zero")]
    pub kept: u64,
    /// offered - burned - dead - dropped - in_flight: always 0.
    pub lost: i64,
    /// Books that ended twice, by id: always 0.
    pub duplicates: u64,
    /// Bodies whose burn was repeated.
    pub reburned: u64,
}

impl From<LedgerReport> for Ledger {
    fn from(ledger: LedgerReport) -> Self {
        let LedgerReport {
            offered,
            recovered,
            given_back,
            burned,
            dead,
            dropped,
            filtered,
            split,
            in_flight,
            lost,
            duplicates,
            reburned,
        } = ledger;
        Self {
            offered,
            recovered,
            given_back,
            burned,
            dead,
            dropped,
            filtered,
            split,
            in_flight,
            kept: 0,
            lost,
            duplicates,
            reburned,
        }
    }
}

impl Ledger {
    /// True if every book is accounted for exactly once.
    pub fn balances(&self) -> bool {
        self.lost == 0 && self.duplicates == 0
    }
}

/// Totals of a store over all its runs. `offered = burned + dead + dropped + present`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StoreAccount {
    /// Books that were stored, each once.
    pub offered: u64,
    /// Books burned.
    pub burned: u64,
    /// Dead letters.
    pub dead: u64,
    /// Books dropped by work on purpose.
    pub dropped: u64,
    /// Books on durable piles.
    pub present: u64,
}

impl From<Account> for StoreAccount {
    fn from(account: Account) -> Self {
        let Account { offered, burned, dropped, dead, present } = account;
        Self { offered, burned, dead, dropped, present }
    }
}

/// One node's row.
#[derive(Debug, Clone, Serialize)]
pub struct NodeReport {
    /// Name of the node; a gopher is `crew/number`.
    pub name: String,
    /// `pile`, `dump`, `crew`, `gopher`, `relay` or `incinerator`.
    pub kind: &'static str,
    /// Books that passed through.
    pub books: u64,
    /// Carts that passed through.
    pub carts: u64,
    /// Share of the run spent in steps, works and burns, 0 to 1; for a crew, the mean of its
    /// gophers.
    pub busy: f64,
    /// 1 - busy.
    pub idle: f64,
    /// Number of restarts.
    pub restarts: u64,
    /// Number of times that a cart had to wait here.
    #[serde(skip)]
    pub waits: u64,
}
