//! The present state of every node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use gopherworks_pipeline::__private::{NodeStats, PileCore};
use gopherworks_pipeline::steps::Step;
use gopherworks_supervision::Port;
use schemars::JsonSchema;
use serde::Serialize;

use super::look::Looks;
use super::running::RunningTopology;
use crate::report::{BalancerReport, RequesterReport};

/// The present state of a node.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct NodeStatus {
    /// Name of the node; a gopher is `crew/number`.
    pub name: String,
    /// `pile`, `dump`, `crew`, `gopher`, `relay`, `incinerator`, `balancer` or `requester`.
    pub kind: &'static str,
    /// `running`; `paused` while its sink is unavailable, or until an operator resumes it or, for a
    /// pile, its source; `down` while its actor is being
    /// restarted; `closed` once no more books or requests can come.
    pub state: &'static str,
    /// Why the node is paused: what its sink says, or `by` and the address of an operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// True if an operator has paused it, or the source of a pile.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// Books that passed through, or requests answered.
    pub books: u64,
    /// Books per second over the last one or two seconds, or since the last sample if that is
    /// older.
    pub per_s: f64,
    /// Carts that passed through.
    pub carts: u64,
    /// Times that a cart had to wait here.
    pub waits: u64,
    /// Number of restarts.
    pub restarts: u64,
    /// Size of a crew: gophers that get carts. Surplus ones finish what they have in hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gophers: Option<usize>,
    /// Seconds spent in steps, works and burns; for a crew, the mean of its gophers.
    pub busy_s: f64,
    /// For a crew: seconds that its carts have waited for books, as a mean over its carts. Sampled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_s: Option<f64>,
    /// For a crew: seconds that its loaded carts have waited for space or for the incinerator, as a
    /// mean over its carts. Sampled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked_s: Option<f64>,
    /// Failed attempts at this node.
    pub failed: u64,
    /// Failures without another attempt: dead letters, and requests that failed or were refused.
    pub dead: u64,
    /// The failure that happened last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<LastFailure>,
    /// The books of a pile or dump.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pile: Option<PileStatus>,
    /// The requests of a balancer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balancer: Option<Box<BalancerReport>>,
    /// The requests of a requester.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requester: Option<Box<RequesterReport>>,
}

/// The books of a pile.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct PileStatus {
    /// Books that may be leased.
    pub ready: usize,
    /// Books that rest before their next attempt.
    pub delayed: usize,
    /// Leased books.
    pub leased: usize,
    /// Books that are in the store only.
    pub stored: usize,
    /// Minimum age of the first book that may be leased, in seconds. Sampled.
    pub oldest_s: Option<f64>,
    /// Maximum number of books that are ready at once; `None` for any number.
    pub capacity: Option<u64>,
    /// True if the books survive the process.
    pub durable: bool,
    /// True if a source fills it.
    pub source: bool,
    /// Carts that wait here for books.
    pub carts_for_books: usize,
    /// Carts that wait here for space.
    pub carts_for_space: usize,
}

/// The failure that happened last at a node.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct LastFailure {
    /// The reason as it was first given; `None` for one beyond the node's first 50.
    pub reason: Option<String>,
    /// The first book or request that failed for this reason.
    pub first: String,
    /// Attempts that failed for this reason.
    pub count: u64,
    /// When the failure happened, in seconds since the start.
    pub at_s: f64,
}

/// Failures of a node.
#[derive(Default)]
struct Failed {
    failed: u64,
    dead: u64,
    last: Option<LastFailure>,
}

/// Figures by node name from which rows are made.
struct Rows {
    restarts: BTreeMap<Arc<str>, u64>,
    failures: BTreeMap<String, Failed>,
    /// By node: the operator that paused it.
    held: BTreeMap<String, String>,
    rows: Vec<NodeStatus>,
}

impl Rows {
    fn restarts(&self, name: &str) -> u64 {
        self.restarts.get(name).copied().unwrap_or(0)
    }

    /// True if an operator has paused this node, and why it is paused, if it is: by the operator,
    /// or by its sink.
    fn why(&self, node: &str, sink: Option<(String, usize)>) -> (bool, Option<String>) {
        let held = self.held.get(node).map(|by| format!("by {by}"));
        (held.is_some(), held.or(sink.map(|(reason, _)| reason)))
    }

    /// Adds a row, completed with the figures of its name.
    fn add(&mut self, row: NodeStatus) {
        let Failed { failed, dead, last } = self.failures.remove(&row.name).unwrap_or_default();
        let restarts = self.restarts(&row.name) + row.restarts;
        self.rows.push(NodeStatus { restarts, failed, dead, last_failure: last, ..row });
    }
}

fn row(name: &str, kind: &'static str, state: &'static str, stats: &NodeStats) -> NodeStatus {
    NodeStatus {
        name: name.to_owned(),
        kind,
        state,
        books: stats.books(),
        carts: stats.carts(),
        waits: stats.waits(),
        busy_s: stats.busy().as_secs_f64(),
        ..NodeStatus::default()
    }
}

fn state<A: actix::Actor>(port: &Port<A>, is_closed: bool, is_paused: bool) -> &'static str {
    match (is_closed, is_paused, port.epoch()) {
        (true, ..) => "closed",
        (_, true, _) => "paused",
        (.., None) => "down",
        _ => "running",
    }
}

impl RunningTopology {
    /// The present state of every node: piles, crews and their gophers, incinerators, balancers and
    /// requesters. Counters are read one after the other.
    pub fn nodes(&self) -> Vec<NodeStatus> {
        let inner = self.inner();
        let mut rows = Rows {
            restarts: self.shared.supervisor.all_restarts(),
            failures: self.failures(),
            held: inner.paused(),
            rows: Vec::new(),
        };
        self.looked(|looks| {
            self.piles(looks, &mut rows);
            self.crews(looks, &mut rows);
        });
        for fire in &inner.nodes().incinerators {
            let (held, paused) = rows.why(&fire.name, fire.pauses());
            let state = state(&fire.port, fire.is_closed(), paused.is_some());
            let row = row(&fire.name, "incinerator", state, &fire.stats);
            rows.add(NodeStatus { paused, held, ..row });
        }
        let passed = (inner.context.clock.now() - inner.started).as_secs_f64();
        let restarts = rows.restarts.clone();
        let of = |name: &str| restarts.get(name).copied().unwrap_or(0);
        let ready = inner.balancers.ready();
        for (balancer, is_ready) in
            inner.balancers.balancer_reports(passed, &of).into_iter().zip(ready)
        {
            rows.add(NodeStatus {
                name: balancer.name.clone(),
                kind: "balancer",
                state: if is_ready { "running" } else { "down" },
                books: balancer.answered,
                restarts: balancer.workers.iter().map(|worker| worker.restarts).sum(),
                busy_s: balancer.busy * passed * balancer.workers.len() as f64,
                balancer: Some(Box::new(balancer)),
                ..NodeStatus::default()
            });
        }
        for requester in inner.balancers.requester_reports(passed) {
            rows.add(NodeStatus {
                name: requester.name.clone(),
                kind: "requester",
                state: "running",
                books: requester.answered,
                requester: Some(Box::new(requester)),
                ..NodeStatus::default()
            });
        }
        let mut rows = rows.rows;
        let passed = rows.iter().map(|row| (row.name.clone(), row.books)).collect();
        let rates = self.looked(|looks| looks.rates(inner.started, passed));
        rows.iter_mut().zip(rates).for_each(|(row, per_s)| row.per_s = per_s);
        rows
    }

    fn piles(&self, looks: &Looks, rows: &mut Rows) {
        let mut told = std::collections::BTreeSet::new();
        for pile in &self.inner().nodes().piles {
            // A source that serves several copies is counted with the first.
            let feeder = pile.feeder().filter(|feeder| told.insert(feeder.name.clone()));
            let kind = if pile.dump { "dump" } else { "pile" };
            let source = pile.feeder().map(|feeder| feeder.name.as_str());
            let (held, paused) = source.map_or((false, None), |source| rows.why(source, None));
            let state = state(&pile.port, pile.is_closed(), held);
            rows.add(NodeStatus {
                restarts: feeder.map_or(0, |feeder| rows.restarts(&feeder.name)),
                pile: Some(self.pile_status(pile, looks)),
                paused,
                held,
                ..row(&pile.name, kind, state, &pile.stats)
            });
        }
    }

    fn pile_status(&self, pile: &PileCore, looks: &Looks) -> PileStatus {
        let (counts, (takers, givers)) = (pile.counts(), pile.parked());
        PileStatus {
            ready: counts.ready - counts.delayed,
            delayed: counts.delayed,
            leased: counts.leased,
            stored: counts.late,
            oldest_s: looks.oldest(pile.key).map(|age| age.as_secs_f64()),
            capacity: pile.capacity_books(),
            durable: self.inner().context.custody.is_durable(pile.key),
            source: pile.feeder().is_some(),
            carts_for_books: takers,
            carts_for_space: givers,
        }
    }

    fn crews(&self, looks: &Looks, rows: &mut Rows) {
        for crew in &self.inner().nodes().crews {
            let (held, paused) = rows.why(&crew.name, crew.core.pauses());
            let is_closed = crew.core.queue.is_done() || held && crew.core.from.is_closed();
            let waits = looks.waits(&crew.name);
            let (idle, blocked) = (waits.idle.as_secs_f64(), waits.blocked.as_secs_f64());
            let waited = NodeStatus {
                paused,
                held,
                idle_s: Some(idle),
                blocked_s: Some(blocked),
                ..NodeStatus::default()
            };
            let is_paused = waited.paused.is_some();
            let gophers: Vec<NodeStatus> = (crew.present().iter())
                .map(|gopher| {
                    let state = state(&gopher.port, is_closed, is_paused);
                    row(&gopher.core.name, "gopher", state, &gopher.core.stats)
                })
                .collect();
            if crew.relay {
                for gopher in gophers {
                    rows.add(NodeStatus {
                        kind: "relay",
                        paused: waited.paused.clone(),
                        held,
                        idle_s: waited.idle_s,
                        blocked_s: waited.blocked_s,
                        ..gopher
                    });
                }
                continue;
            }
            // Each cartload is loaded once, so the crew's figures are the sum of its loaders', also
            // of those that were removed.
            let ever = crew.all();
            let loaders = ever.iter().filter(|gopher| gopher.core.counts == Step::Load);
            let (books, carts) =
                loaders.map(|gopher| &gopher.core.stats).fold((0, 0), |(books, carts), stats| {
                    (books + stats.books(), carts + stats.carts())
                });
            let busy = ever.iter().map(|gopher| gopher.core.stats.busy().as_secs_f64()).sum();
            let all = |state: &str| gophers.iter().all(|row| row.state == state);
            rows.add(NodeStatus {
                name: crew.name.clone(),
                kind: "crew",
                state: ["closed", "paused", "down"]
                    .into_iter()
                    .find(|it| all(it))
                    .unwrap_or("running"),
                books,
                carts,
                busy_s: crew.busy(busy),
                restarts: gophers.iter().map(|row| rows.restarts(&row.name)).sum::<u64>()
                    + crew.past_restarts.load(Ordering::Relaxed),
                gophers: Some(crew.size()),
                ..waited
            });
            gophers.into_iter().for_each(|gopher| rows.add(gopher));
        }
    }

    fn failures(&self) -> BTreeMap<String, Failed> {
        let inner = self.inner();
        let mut failures: BTreeMap<String, Failed> = BTreeMap::new();
        for reason in inner.context.reasons.all() {
            // Failures of a source are shown at its pile.
            let node = reason.node.trim_end_matches(".source").to_owned();
            let of = failures.entry(node).or_default();
            of.failed += reason.count;
            of.dead += reason.final_count;
            let at_s = (reason.last - inner.started).as_secs_f64();
            if of.last.as_ref().is_none_or(|last| last.at_s <= at_s) {
                let (reason, first, count) = (reason.reason, reason.first, reason.count);
                of.last = Some(LastFailure { reason, first, count, at_s });
            }
        }
        failures
    }
}
