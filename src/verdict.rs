//! The verdict on a run with faults: each expectation with PASS or FAIL, and the evidence.

pub mod auditor;
pub mod minimise;
pub mod regression;
pub mod sweep;
pub mod trial;

use std::fmt;
use std::time::Duration;

use gopherworks_supervision::fault::Fired;
use serde::Serialize;

use crate::config::elements::ExpectConfig;
use crate::report::{Report, RunOutcome};
use crate::topology::Done;
use auditor::Audit;

/// An expectation and the finding.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// The key of `[expect]`.
    pub name: &'static str,
    /// The expectation, in words.
    pub expected: String,
    /// The finding, in words.
    pub found: String,
    /// True if the expectation holds.
    pub pass: bool,
}

/// A book or request that is missing, or was burned or answered more than once.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Suspect {
    /// Id of the book; `balancer#number` for a request.
    pub id: String,
    /// What is wrong with the book or request, as text.
    pub what: String,
    /// The last lines of the trace about it.
    pub trace: Vec<String>,
}

/// A fault that fired, as text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FiredReport {
    /// Seconds since the start.
    pub at_s: f64,
    /// Name of the rule.
    pub rule: String,
    /// Kind of the fault.
    pub kind: &'static str,
    /// The actor that was hit.
    pub node: String,
    /// The point in the actor's work.
    pub point: Option<&'static str>,
    /// The book or request in hand.
    pub item: Option<u64>,
}

impl From<&Fired> for FiredReport {
    fn from(fired: &Fired) -> Self {
        Self {
            at_s: fired.at.as_secs_f64(),
            rule: fired.rule.to_string(),
            kind: fired.kind.name(),
            node: fired.site.node.to_string(),
            point: fired.site.point.map(|point| point.name()),
            item: fired.item,
        }
    }
}

/// The verdict on one run.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// Name of the topology.
    pub topology: String,
    /// `chaos` or `simulate`.
    pub mode: &'static str,
    /// Seed of the run.
    pub seed: u64,
    /// Number of the schedule, if one was drawn.
    pub schedule: Option<u64>,
    /// SHA-256 of the resolved config, in hex.
    pub config_sha256: String,
    /// SHA-256 of the trace, in hex, if the run can be repeated.
    pub trace_sha256: Option<String>,
    /// True if every check passes.
    pub pass: bool,
    /// All expectations.
    pub checks: Vec<Check>,
    /// The first ten missing or repeated books and requests.
    pub suspects: Vec<Suspect>,
    /// Actors that blocked an arbiter, with counts.
    pub culprits: Vec<(String, u64)>,
    /// Number of faults that fired.
    pub faults: usize,
    /// The first 100 faults that fired.
    pub fired: Vec<FiredReport>,
    /// The smallest set of faults that reproduces the failure, as TOML.
    pub minimal: Option<String>,
    /// Number of faults in `minimal`.
    pub minimal_faults: Option<usize>,
    /// The command that repeats the run.
    pub replay: Option<String>,
}

/// The criteria of a verdict.
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    /// Expectations of the file.
    pub expect: ExpectConfig,
    /// Books and answers per second without faults, if known.
    pub calm_per_s: Option<f64>,
}

/// Maximum number of suspects in a verdict.
pub const SUSPECTS: usize = 10;

/// Judges a run.
pub fn judge(measure: &Measure, report: &Report, audit: &Audit, done: &Done) -> Vec<Check> {
    let expect = &measure.expect;
    let mut checks = Vec::new();
    let mut at_most = |name, most: u64, found: u64, note: &str| {
        checks.push(Check {
            name,
            expected: if most == 0 { "none".to_owned() } else { format!("at most {most}") },
            found: format!("{found}{note}"),
            pass: found <= most,
        });
    };
    let lost = audit.lost(report);
    at_most("lost", expect.lost, lost, "");
    at_most("duplicates", expect.duplicates, audit.duplicates(report), "");
    let asked: u64 = report.requesters.iter().map(|row| row.in_flight).sum();
    let kept = report.ledger.in_flight.saturating_sub(report.ledger.kept);
    at_most("in flight", expect.in_flight, kept + audit.left(report) + asked, "");
    let escalated = matches!(report.outcome, RunOutcome::Escalated(_));
    let closed = match done {
        Done::SinkClosed(sink) => Some(format!("{} closed: {}", sink.node, sink.reason)),
        _ => None,
    };
    let why = match &report.outcome {
        RunOutcome::Escalated(reason) => format!(": {reason}"),
        _ => String::new(),
    };
    at_most("escalations", expect.escalations, u64::from(escalated), &why);
    let ended = *done == Done::Drained || escalated;
    checks.push(Check {
        name: "end",
        expected: "drained".to_owned(),
        found: match (ended, report.failures.first()) {
            (true, _) => "drained".to_owned(),
            (false, Some(failure)) => failure.clone(),
            (false, None) => closed.unwrap_or_else(|| "it did not end in time".to_owned()),
        },
        pass: ended,
    });
    if let Some(most) = expect.recovery_p99 {
        let found = audit.recovery(0.99);
        checks.push(Check {
            name: "recovery p99",
            expected: format!("<= {most:?}"),
            found: match found {
                Some(found) => format!("{found:?} of {}", audit.recoveries()),
                None => "no actor had to recover".to_owned(),
            },
            pass: found.is_none_or(|found| found <= most),
        });
    }
    if let Some(most) = expect.throughput_dip {
        let dip = measure.calm_per_s.map(|calm| dip(calm, audit.per_s()));
        checks.push(Check {
            name: "throughput dip",
            expected: format!("<= {most}"),
            found: match dip {
                Some(dip) => format!("{dip:.3}"),
                None => "not known: it can't be simulated without faults".to_owned(),
            },
            pass: dip.is_some_and(|dip| dip <= most),
        });
    }
    checks
}

fn dip(calm: f64, found: f64) -> f64 {
    if calm > 0.0 { (1.0 - found / calm).max(0.0) } else { 0.0 }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.pass { "PASS" } else { "FAIL" };
        write!(f, "{word}  {:<15} {:<16} {}", self.name, self.expected, self.found)
    }
}

/// Text without colours.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.pass { "PASS" } else { "FAIL" };
        write!(f, "{word}  {} ({}), seed {}", self.topology, self.mode, self.seed)?;
        if let Some(schedule) = self.schedule {
            write!(f, ", schedule {schedule}")?;
        }
        writeln!(f, ", {} faults", self.faults)?;
        for check in &self.checks {
            writeln!(f, "  {check}")?;
        }
        for (who, times) in &self.culprits {
            writeln!(f, "  blocked its arbiter: {who} ({times} times)")?;
        }
        for suspect in &self.suspects {
            writeln!(f, "  {}: {}", suspect.id, suspect.what)?;
            for line in &suspect.trace {
                writeln!(f, "    {line}")?;
            }
        }
        writeln!(f, "  config {}", self.config_sha256)?;
        if let Some(hash) = &self.trace_sha256 {
            writeln!(f, "  trace  {hash}")?;
        }
        if let (Some(faults), Some(count)) = (&self.minimal, self.minimal_faults) {
            writeln!(f, "  the smallest failing set ({count} faults), for a regression file:")?;
            for line in faults.lines() {
                writeln!(f, "    {line}")?;
            }
        }
        if let Some(replay) = &self.replay {
            writeln!(f, "  again: {replay}")?;
        }
        Ok(())
    }
}

/// The longest of the shortest `share` (0 to 1) of the sorted `spans`.
fn quantile(spans: &[Duration], share: f64) -> Option<Duration> {
    let last = spans.len().checked_sub(1)?;
    let at = (share * spans.len() as f64).ceil() as usize;
    spans.get(at.saturating_sub(1).min(last)).copied()
}
