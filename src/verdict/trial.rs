//! One run in virtual time with a seed, a schedule and faults.

use std::sync::Arc;
use std::time::Duration;

use gopherworks_supervision::fault::Fired;

use super::auditor::{Audit, Auditor};
use super::{Check, Measure, judge};
use crate::report::Report;
use crate::simulate::{Ended, Lives, TraceLog, in_virtual_time};
use crate::topology::{Done, Faulting, Options, StartError, Topology};

/// Seed, schedule, faults and limits of one simulated run.
#[derive(Debug, Clone)]
pub struct Trial {
    /// Seed of every random stream.
    pub seed: u64,
    /// Number of the schedule, if one is drawn.
    pub schedule: Option<u64>,
    /// The faults of the run.
    pub faults: Faulting,
    /// Virtual time after which sources are closed.
    pub limit: Option<Duration>,
    /// Longest virtual time of a run; a longer one hangs.
    pub patience: Duration,
}

/// Result of a trial.
#[derive(Debug)]
pub struct TrialOutcome {
    /// Report of the run.
    pub report: Report,
    /// The account from the actors' trace.
    pub audit: Audit,
    /// Why it ended.
    pub done: Done,
    /// The faults that fired.
    pub fired: Vec<Fired>,
    /// SHA-256 of the trace, in hex.
    pub trace_sha256: String,
}

impl TrialOutcome {
    /// Checks the expectations.
    pub fn checks(&self, measure: &Measure) -> Vec<Check> {
        judge(measure, &self.report, &self.audit, &self.done)
    }

    /// True if all expectations hold.
    pub fn passes(&self, measure: &Measure) -> bool {
        self.checks(measure).iter().all(|check| check.pass)
    }
}

impl Trial {
    /// Runs it on this thread. With `keep`, the account has the last lines of the trace of each
    /// book.
    ///
    /// # Errors
    /// As [`Topology::start`], but an escalation during the start is an outcome.
    ///
    /// # Panics
    /// Inside another runtime.
    pub fn run(&self, topology: &Topology, keep: bool) -> Result<TrialOutcome, StartError> {
        self.traced(topology, keep, Arc::new(TraceLog::hashing()))
    }

    /// Like [`Trial::run`]; without `keep`, each record also goes to `log`. With `keep`, `log` gets
    /// none.
    ///
    /// # Errors
    /// As [`Trial::run`].
    ///
    /// # Panics
    /// Inside another runtime.
    pub fn traced(
        &self,
        topology: &Topology,
        keep: bool,
        log: Arc<TraceLog>,
    ) -> Result<TrialOutcome, StartError> {
        let auditor = if keep { Auditor::keeping() } else { Auditor::new(Some(log.clone())) };
        let auditor = auditor.over_lives(topology.plan());
        let options = Options {
            tracer: Some(auditor.clone()),
            faults: self.faults.clone(),
            schedule: self.schedule,
            ..topology.options().clone()
        };
        let topology = topology.clone().with_seed(self.seed).with_options(options);
        in_virtual_time(async |clock| {
            let late = clock.now() + self.patience;
            let why = format!("it has not ended after {:?} of virtual time", self.patience);
            let mut lives = Lives::start(&topology, &clock, self.limit).await?;
            let Ended { report, done, store } = lives.end((late, why)).await?;
            Ok(TrialOutcome {
                report,
                audit: auditor.finish(store.as_ref()),
                done,
                fired: lives.fired(),
                trace_sha256: log.finish().unwrap_or_default(),
            })
        })
    }
}
