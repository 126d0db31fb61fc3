//! Many runs in virtual time, seeds by schedules, on several threads until the first failure.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gopherworks_supervision::fault::Fired;
use sha2::{Digest, Sha256};

use super::trial::{Trial, TrialOutcome};
use super::{FiredReport, Measure, SUSPECTS, Verdict};
use super::{minimise::minimise, regression};
use crate::catalog::names::hex;
use crate::simulate::TraceLog;
use crate::topology::{Faulting, StartError, Topology};

/// The seeds and schedules of a sweep, and its limits.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// The first seed.
    pub first: u64,
    /// Number of seeds (>= 1).
    pub seeds: u64,
    /// Schedules per seed: the default one, then randomised ones (0 counts as 1).
    pub schedules: u64,
    /// Number of threads that run simulations.
    pub threads: usize,
    /// Virtual time after which sources are closed.
    pub limit: Option<Duration>,
    /// SHA-256 of the resolved config, in hex.
    pub config_sha256: String,
    /// The command that repeats a run, without seed and schedule.
    pub command: String,
}

/// The result of a sweep.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Swept {
    /// Number of runs.
    pub runs: u64,
    /// Number of faults that fired.
    pub faults: u64,
    /// Faults that fired, by kind.
    pub kinds: Vec<(String, u64)>,
    /// SHA-256 over the traces of all runs in the order of their seeds, in hex: repeatable. `None`
    /// if one failed.
    pub traces_sha256: Option<String>,
    /// The verdict on the first failed run.
    pub failure: Option<Verdict>,
    /// The verdict on the last run, if all passed.
    pub last: Option<Verdict>,
}

/// Maximum number of runs of the minimiser.
const MOST_RUNS: usize = 400;

/// Bound on the virtual time of a run: 1,000 times that without faults, plus one hour.
fn patience(calm: Duration) -> Duration {
    calm.saturating_mul(1_000).saturating_add(Duration::from_secs(3_600))
}

/// Duration of a run without faults, and the criteria for verdicts.
///
/// # Errors
/// As [`Topology::start`].
///
/// # Panics
/// Inside another runtime.
pub fn calm(
    topology: &Topology,
    seed: u64,
    limit: Option<Duration>,
) -> Result<(Duration, Measure), StartError> {
    let trial = Trial {
        seed,
        schedule: None,
        faults: Faulting::None,
        limit,
        patience: Duration::from_secs(100 * 365 * 24 * 3_600),
    };
    let calm = trial.run(topology, false)?;
    let last = Duration::from_nanos(calm.audit.last().as_nanos());
    let measure = Measure { expect: topology.plan().expect, calm_per_s: Some(calm.audit.per_s()) };
    Ok((last.max(Duration::from_micros(1)), measure))
}

impl Sweep {
    /// Runs all, stops at the first failure and minimises it. `progress` gets the number of runs so
    /// far after each.
    ///
    /// # Errors
    /// As [`Topology::start`].
    ///
    /// # Panics
    /// Inside another runtime.
    pub fn run(
        &self,
        topology: &Topology,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Swept, StartError> {
        let (horizon, measure) = calm(topology, self.first, self.limit)?;
        let schedules = self.schedules.max(1);
        let total = self.seeds.saturating_mul(schedules);
        let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let done = Mutex::new(Vec::new());
        let ended = AtomicU64::new(0);
        let work = || -> Result<(), StartError> {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= total || stop.load(Ordering::Acquire) {
                    return Ok(());
                }
                let trial = self.trial(number / schedules, number % schedules, horizon);
                let outcome = trial.run(topology, false)?;
                let passes = outcome.passes(&measure);
                if !passes {
                    stop.store(true, Ordering::Release);
                }
                let counted: Vec<&'static str> =
                    outcome.fired.iter().map(|fired| fired.kind.name()).collect();
                let hash = outcome.trace_sha256.clone();
                let kept = (!passes || number + 1 == total).then_some((trial, outcome));
                let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                done.push((number, passes, counted, hash, kept));
                drop(done);
                progress(ended.fetch_add(1, Ordering::Relaxed) + 1);
            }
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads.max(1)).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| match thread.join() {
                Ok(worked) => worked,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })?;
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(number, ..)| *number);
        let mut kinds = std::collections::BTreeMap::new();
        let (mut faults, mut traces) = (0, Sha256::new());
        for (_, _, counted, hash, _) in &done {
            faults += counted.len() as u64;
            traces.update(hash);
            for kind in counted {
                *kinds.entry((*kind).to_owned()).or_insert(0) += 1;
            }
        }
        let runs = done.len() as u64;
        let failed = done.iter().position(|(_, passes, ..)| !passes);
        let judged = failed.or(done.len().checked_sub(1));
        let verdict = judged
            .and_then(|at| done.swap_remove(at).4)
            .map(|(trial, outcome)| self.verdict(topology, &measure, &trial, outcome))
            .transpose()?;
        let (failure, last) = match failed {
            Some(_) => (verdict, None),
            None => (None, verdict),
        };
        Ok(Swept {
            runs,
            faults,
            kinds: kinds.into_iter().collect(),
            traces_sha256: failed.is_none().then(|| hex(&traces.finalize())),
            failure,
            last,
        })
    }

    fn trial(&self, seed: u64, schedule: u64, horizon: Duration) -> Trial {
        Trial {
            seed: self.first.wrapping_add(seed),
            schedule: (schedule > 0).then_some(schedule),
            faults: Faulting::Planned { horizon },
            limit: self.limit,
            patience: patience(horizon),
        }
    }

    /// The verdict on a run. A failure is minimised, and suspects get their lines of the trace.
    fn verdict(
        &self,
        topology: &Topology,
        measure: &Measure,
        trial: &Trial,
        outcome: TrialOutcome,
    ) -> Result<Verdict, StartError> {
        let checks = outcome.checks(measure);
        let pass = checks.iter().all(|check| check.pass);
        let mut suspects = Vec::new();
        let mut least: Option<Vec<Fired>> = None;
        if !pass {
            let exactly = |fired: &[Fired]| Trial {
                faults: Faulting::Exactly(regression::rules(fired)),
                ..trial.clone()
            };
            least = minimise(&outcome.fired, MOST_RUNS, |some| {
                let run = exactly(some).run(topology, false);
                run.is_ok_and(|outcome| !outcome.passes(measure))
            });
            // From the original run: a smaller set of faults may lose another book.
            suspects = trial.run(topology, true)?.audit.suspects(SUSPECTS);
        }
        let mut replay = format!("{} --faults --seed {}", self.command, trial.seed);
        if let Some(schedule) = trial.schedule {
            replay += &format!(" --schedule {schedule}");
        }
        Ok(Verdict {
            topology: outcome.report.topology.clone(),
            mode: "simulate",
            seed: trial.seed,
            schedule: trial.schedule,
            config_sha256: self.config_sha256.clone(),
            trace_sha256: Some(outcome.trace_sha256),
            pass,
            checks,
            suspects,
            culprits: outcome.audit.culprits(),
            faults: outcome.fired.len(),
            fired: outcome.fired.iter().take(100).map(FiredReport::from).collect(),
            minimal: least.as_deref().map(regression::toml),
            minimal_faults: least.map(|least| least.len()),
            replay: Some(replay),
        })
    }

    /// Runs only the first seed with this schedule.
    ///
    /// # Errors
    /// As [`Topology::start`].
    pub fn one(
        &self,
        topology: &Topology,
        schedule: Option<u64>,
        trace: Arc<TraceLog>,
    ) -> Result<Verdict, StartError> {
        let (horizon, measure) = calm(topology, self.first, self.limit)?;
        let trial = self.trial(0, schedule.unwrap_or(0), horizon);
        let outcome = trial.traced(topology, false, trace)?;
        self.verdict(topology, &measure, &trial, outcome)
    }
}
