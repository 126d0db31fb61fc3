//! An account of books and requests from the actors' trace, independent of the store's ledger.

mod kept;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gopherworks_balancer::trace::RequestAct;
use gopherworks_pipeline::__private::IdSet;
use gopherworks_pipeline::Event;
use gopherworks_pipeline::trace::{Act, Record, Tracer};
use gopherworks_supervision::clock::Time;

use super::{Suspect, quantile};
use crate::plan::Plan;
use crate::report::{BalancerReport, Report};
use crate::simulate::StoreEnd;
use kept::Kept;

/// Keeps the account during a run, as the tracer of a topology.
#[derive(Default)]
pub struct Auditor {
    state: Mutex<Audit>,
    /// Another tracer that gets every record.
    also: Option<Arc<dyn Tracer>>,
    /// Keep lines of the trace as evidence.
    keep: bool,
}

impl std::fmt::Debug for Auditor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auditor").finish_non_exhaustive()
    }
}

/// An account of books and requests.
#[derive(Debug, Default)]
pub struct Audit {
    /// Books from sources that have not ended, with their last lines of the trace.
    open: BTreeMap<u64, Vec<String>>,
    /// Burned books.
    ended: IdSet,
    offered: u64,
    burned: u64,
    dead: u64,
    /// Books that were burned again, each with the number of repetitions.
    twice: BTreeMap<u64, u64>,
    /// Open requests, by balancer and number.
    asked: BTreeMap<(Arc<str>, u64), Vec<String>>,
    answered: BTreeMap<Arc<str>, IdSet>,
    answered_twice: BTreeSet<(Arc<str>, u64)>,
    requests: u64,
    answers: u64,
    /// When the last book was burned or request answered.
    last: Time,
    /// Actors that are down, with the time of their exit.
    down: BTreeMap<String, Time>,
    recoveries: Vec<Duration>,
    culprits: BTreeMap<String, u64>,
    /// The account of books on a store, if there is one.
    kept: Kept,
}

/// Lines kept for each book or request.
const LINES: usize = 6;

impl Auditor {
    /// Keeps an account, and passes every record on to `also`.
    pub fn new(also: Option<Arc<dyn Tracer>>) -> Arc<Self> {
        Arc::new(Self { also, ..Self::default() })
    }

    /// Also keeps the last lines of every book and request.
    pub fn keeping() -> Arc<Self> {
        Arc::new(Self { keep: true, ..Self::default() })
    }

    /// Also follows what a store has confirmed, if there is one, over all lives of the process.
    #[must_use]
    pub(crate) fn over_lives(self: Arc<Self>, plan: &Plan) -> Arc<Self> {
        self.lock().kept.on = plan.durable_piles().is_some();
        self
    }

    fn lock(&self) -> MutexGuard<'_, Audit> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the account so far and starts another. `store` is the content of a simulated store.
    pub(crate) fn finish(&self, store: Option<&StoreEnd>) -> Audit {
        let mut audit = std::mem::take(&mut *self.lock());
        if let Some(store) = store {
            audit.close(store);
        }
        audit
    }
}

/// Shortens long lists of books.
fn short(mut line: String) -> String {
    const LONGEST: usize = 120;
    if line.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|at| line.is_char_boundary(*at));
        line.truncate(end.unwrap_or(0));
        line.push_str(" ...");
    }
    line
}

fn note(lines: &mut Vec<String>, line: &str) {
    if lines.len() == LINES {
        lines.remove(0);
    }
    lines.push(line.to_owned());
}

impl Tracer for Auditor {
    fn record(&self, record: &Record<'_>) {
        if let Some(also) = &self.also {
            also.record(record);
        }
        let line = self.keep.then(|| short(record.to_string()));
        let mut audit = self.lock();
        audit.hear(record, line.as_deref());
    }
}

impl Audit {
    fn hear(&mut self, record: &Record<'_>, line: Option<&str>) {
        let Record { at, node, act } = *record;
        match act {
            Act::Put { books } => {
                self.offered += books.len() as u64;
                self.kept.put(books);
                for book in *books {
                    self.open.insert(book.0, line.map(str::to_owned).into_iter().collect());
                }
            }
            Act::Offer { books } => self.offered += *books as u64,
            Act::Lease { books, .. } | Act::Pass { books, .. } => {
                self.works(node, at);
                if let Act::Lease { .. } = act {
                    books.iter().for_each(|book| self.leased(book.0));
                }
                if let Some(line) = line {
                    for book in *books {
                        if let Some(lines) = self.open.get_mut(&book.0) {
                            note(lines, line);
                        }
                    }
                }
            }
            Act::Burn { books, .. } => {
                self.works(node, at);
                self.last = at;
                self.burned += books.len() as u64;
                for book in *books {
                    self.open.remove(&book.0);
                    let is_right = match self.kept.on {
                        true => self.kept.burned(node, book.0),
                        false => self.ended.insert(book.0),
                    };
                    if !is_right {
                        *self.twice.entry(book.0).or_default() += 1;
                    }
                }
            }
            Act::Step { .. } | Act::Admit { .. } => self.works(node, at),
            Act::Request(act) => self.request_act(node, *act, at, line),
            Act::Store { stored, ended } => self.kept.confirmed(stored, ended),
            Act::Sync => self.kept.synced(node),
            Act::Crash => self.crash(),
            Act::Fault { .. } => {}
            Act::Event(event) => self.event(event, at),
        }
    }

    fn request_act(&mut self, node: &str, act: RequestAct, at: Time, line: Option<&str>) {
        match act {
            RequestAct::Ask { request } => {
                self.requests += 1;
                let lines = line.map(str::to_owned).into_iter().collect();
                self.asked.insert((node.into(), request), lines);
            }
            RequestAct::Begin { request, .. } | RequestAct::Lose { request, .. } => {
                self.works(node, at);
                self.request(node, request, line);
            }
            RequestAct::Answer { request, wanted, .. } => {
                self.works(node, at);
                if wanted {
                    self.last = at;
                    self.answers += 1;
                    let id = self.of(node, request);
                    self.asked.remove(&id);
                    let (balancer, number) = id.clone();
                    // A set of ids excludes 0.
                    let first = self.answered.entry(balancer).or_default().insert(number + 1);
                    if !first {
                        self.answered_twice.insert(id);
                    }
                } else {
                    self.request(node, request, line);
                }
            }
            RequestAct::Cancel { request }
            | RequestAct::Expire { request }
            | RequestAct::Shed { request } => {
                let id = self.of(node, request);
                self.asked.remove(&id);
            }
        }
    }

    /// The request, for a worker or its balancer.
    fn of(&self, node: &str, request: u64) -> (Arc<str>, u64) {
        let balancer = node.rsplit_once('/').map_or(node, |(balancer, _)| balancer);
        (balancer.into(), request)
    }

    fn request(&mut self, node: &str, request: u64, line: Option<&str>) {
        let id = self.of(node, request);
        if let (Some(lines), Some(line)) = (self.asked.get_mut(&id), line) {
            note(lines, line);
        }
    }

    /// Records that an actor works: if it was down, it has recovered.
    fn works(&mut self, node: &str, at: Time) {
        if self.down.is_empty() {
            return;
        }
        if let Some(since) = self.down.remove(node) {
            self.recoveries.push(at - since);
        }
    }

    fn event(&mut self, event: &Event, at: Time) {
        match event {
            Event::Dead { book, .. } => {
                self.dead += 1;
                self.open.remove(&book.0);
                self.kept.died(book.0);
            }
            Event::Exited { node, exit } => {
                self.down.entry(node.clone()).or_insert(at);
                if exit == "hung" {
                    *self.culprits.entry(node.clone()).or_default() += 1;
                }
            }
            Event::Draining | Event::Ended => self.down.clear(),
            _ => {}
        }
    }

    /// Number of lost books and requests. Lost books came from a source and are, by the actors'
    /// trace and the store, not burned, dead, dropped, given back or in flight; requests are
    /// compared with the requesters' counts likewise.
    pub fn lost(&self, report: &Report) -> u64 {
        let ledger = &report.ledger;
        let (dead, dropped) = match &self.kept.end {
            Some(end) => (self.dead, end.dropped.max(ledger.dropped)),
            None => (ledger.dead, ledger.dropped),
        };
        let known = (self.burned - self.again())
            .saturating_add(dead)
            .saturating_add(dropped)
            .saturating_add(ledger.given_back)
            .saturating_add(ledger.in_flight);
        let books = self.offered.saturating_sub(known).max(ledger.lost.unsigned_abs());
        let books = books + self.kept.end.as_ref().map_or(0, |end| end.lost);
        let requests: u64 = (report.requesters.iter()).map(|row| row.lost.unsigned_abs()).sum();
        let over = |row: &BalancerReport| {
            // In the trace, an error is an answer.
            row.failed - row.errors + row.cancelled + row.expired + row.shed + row.in_flight
        };
        let over: u64 = report.balancers.iter().map(over).sum();
        let answered = self.answers - self.answered_twice.len() as u64;
        let forgotten = self.requests.saturating_sub(answered + over);
        books + requests.max(forgotten)
    }

    /// Number of burns beyond the first of each book.
    fn again(&self) -> u64 {
        self.twice.values().sum::<u64>() + self.kept.repeated
    }

    /// Number of books that a simulated store still holds, but no pile knows of.
    pub fn left(&self, report: &Report) -> u64 {
        let present = self.kept.end.as_ref().map_or(0, |end| end.present);
        present.saturating_sub(report.ledger.in_flight)
    }

    /// Number of books burned and requests answered more than once, except books whose ends were
    /// not confirmed by the store when the process was killed.
    pub fn duplicates(&self, report: &Report) -> u64 {
        let books = (self.twice.len() as u64).max(report.ledger.duplicates);
        let books = books + self.kept.end.as_ref().map_or(0, |end| end.duplicates);
        books + self.answered_twice.len() as u64
    }

    /// Books burned and requests answered per second, until the last one.
    pub fn per_s(&self) -> f64 {
        let done = (self.burned - self.again() + self.answers) as f64;
        match self.last.as_secs_f64() {
            0.0 => 0.0,
            seconds => done / seconds,
        }
    }

    /// When the last book was burned or request answered.
    pub fn last(&self) -> Time {
        self.last
    }

    /// Number of actors that were restarted and worked again.
    pub fn recoveries(&self) -> usize {
        self.recoveries.len()
    }

    /// Quantile (0 to 1) of the time from an actor's exit to the first work of its next life.
    pub fn recovery(&self, share: f64) -> Option<Duration> {
        let mut spans = self.recoveries.clone();
        spans.sort_unstable();
        quantile(&spans, share)
    }

    /// Actors that blocked an arbiter, with counts.
    pub fn culprits(&self) -> Vec<(String, u64)> {
        (self.culprits.iter()).map(|(who, times)| (who.clone(), *times)).collect()
    }

    /// The first `most` books and requests that are missing or repeated. If `ended`, those that the
    /// store still holds are missing too.
    pub fn suspects(&self, most: usize) -> Vec<Suspect> {
        let twice = self.twice.iter().map(|(id, again)| Suspect {
            id: format!("book {id}"),
            what: format!("burned {} times", again + 1),
            trace: Vec::new(),
        });
        let answered = self.answered_twice.iter().map(|(balancer, request)| Suspect {
            id: format!("request {balancer}#{request}"),
            what: "answered more than once".to_owned(),
            trace: Vec::new(),
        });
        let missing = self.open.iter().map(|(id, lines)| Suspect {
            id: format!("book {id}"),
            what: "neither burned nor dead".to_owned(),
            trace: lines.clone(),
        });
        let waiting = self.asked.iter().map(|((balancer, request), lines)| Suspect {
            id: format!("request {balancer}#{request}"),
            what: "not over".to_owned(),
            trace: lines.clone(),
        });
        twice.chain(answered).chain(missing).chain(waiting).take(most).collect()
    }
}
