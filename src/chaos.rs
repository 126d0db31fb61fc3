//! Faults on real threads in real time, and the verdict on them.
//!
//! [`Sweep`](crate::verdict::sweep::Sweep) runs the same file in virtual time, where a failure can
//! be repeated and minimised. Here threads, blocked arbiters, the operating system's scheduler and
//! the side effects of burns are real.

use std::sync::Arc;
use std::time::Duration;

use gopherworks_supervision::clock::Clock;
use gopherworks_supervision::fault::Fired;

use crate::report::Report;
use crate::topology::{Done, Faulting, Options, RunningTopology, Topology};
use crate::verdict::auditor::Auditor;
use crate::verdict::{FiredReport, Measure, SUSPECTS, Verdict, judge};

/// A topology to be run with its faults.
#[derive(Debug)]
pub struct Chaos {
    /// The topology to start.
    pub topology: Topology,
    auditor: Arc<Auditor>,
}

impl Chaos {
    /// Takes the faults of the file, drawn by `seed`, except those that kill the process. A
    /// simulated store stands in for that of the file. With `limit`, sources that generate books do
    /// not end on their own.
    #[must_use]
    pub fn new(topology: Topology, seed: u64, limit: Option<Duration>) -> Self {
        let auditor = Auditor::new(None);
        let options = Options {
            tracer: Some(auditor.clone()),
            endless: limit.is_some(),
            stand_in: true,
            faults: Faulting::Planned { horizon: limit.unwrap_or(Duration::from_secs(10)) },
            ..topology.options().clone()
        };
        Self { topology: topology.with_seed(seed).with_options(options), auditor }
    }

    /// Runs until everything is drained. At `limit`, sources are closed, faults are disabled, and
    /// work in flight has `patience` to end. Call it inside an actix system on the topology that
    /// was started from this.
    pub async fn until_done(
        &self,
        running: &RunningTopology,
        limit: Option<Duration>,
        patience: Duration,
    ) -> Done {
        let clock = Clock::real();
        running.close_offers();
        let limit = clock.sleep_if(limit);
        tokio::select! {
            biased;
            done = running.done() => return done,
            () = limit => {}
        }
        running.calm();
        running.close();
        tokio::select! {
            biased;
            done = running.done() => done,
            () = clock.sleep(patience) => Done::DeadlinePassed,
        }
    }

    /// The verdict on a finished run.
    pub fn verdict(
        &self,
        (report, done): (&Report, &Done),
        fired: &[Fired],
        calm_per_s: Option<f64>,
        (config_sha256, command): (String, &str),
    ) -> Verdict {
        let audit = self.auditor.finish(None);
        let measure = Measure { expect: self.topology.plan().expect, calm_per_s };
        let checks = judge(&measure, report, &audit, done);
        let pass = checks.iter().all(|check| check.pass);
        Verdict {
            topology: report.topology.clone(),
            mode: "chaos",
            seed: report.seed,
            schedule: None,
            config_sha256,
            trace_sha256: None,
            pass,
            suspects: if pass { Vec::new() } else { audit.suspects(SUSPECTS) },
            checks,
            culprits: audit.culprits(),
            faults: fired.len(),
            fired: fired.iter().take(100).map(FiredReport::from).collect(),
            minimal: None,
            minimal_faults: None,
            replay: Some(format!("{command} --seed {}", report.seed)),
        }
    }
}
