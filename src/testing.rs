//! Tests of your own actors and topologies with virtual time, seeds, random schedules and faults.
//!
//! ```
//! use std::time::Duration;
//! use actix::prelude::*;
//! use gopherworks::supervision::{Child, Port, RestartPolicy, Strike};
//! use gopherworks::testing::seeds;
//!
//! struct Counter;
//! impl Actor for Counter { type Context = Context<Self>; }
//!
//! // #[test]
//! fn it_is_back_within_a_second_whatever_happens() {
//!     seeds(0..50).schedules(3).run(async |world| {
//!         let port = Port::<Counter>::new();
//!         let child = Child::new("counter", &port, |_| Ok(Counter));
//!         let policy = RestartPolicy { intensity: u32::MAX, ..RestartPolicy::default() };
//!         let supervisor = world.supervise(policy, vec![child]).await;
//!         world.strike_by_chance(&supervisor, Duration::from_secs(20), 5, &[
//!             Strike::Panic("ouch".into()), Strike::Kill, Strike::Stop,
//!         ]).await;
//!         world.sleep(Duration::from_secs(1)).await;
//!         assert!(port.epoch().is_some());
//!         supervisor.stop(Duration::from_secs(1)).await;
//!     });
//! }
//! it_is_back_within_a_second_whatever_happens();
//! ```
//!
//! A failing run prints its seed and schedule, and the command that repeats only this run:
//! `GOPHERWORKS_SEED=7 GOPHERWORKS_SCHEDULE=2 cargo test name_of_the_test`.
//!
//! Code under test must read time from [`World::clock`], draw from [`World::seed`], and start no
//! threads: then each run of a seed is identical.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use gopherworks_supervision::clock::{Clock, Seed, Time};
use gopherworks_supervision::{
    Arbiters, Child, Fuzz, RestartPolicy, Setup, Strike, Supervisor, SupervisorHandle,
};
use rand::RngExt;

use crate::simulate::{Ended, Lives, in_virtual_time};
use crate::topology::{Faulting, Options, RunningTopology, StartError, Topology};
use crate::verdict::auditor::Auditor;
use crate::verdict::{Measure, judge};

/// Environment variable with the only seed to run.
pub const SEED: &str = "GOPHERWORKS_SEED";

/// Environment variable with the only schedule to run.
pub const SCHEDULE: &str = "GOPHERWORKS_SCHEDULE";

/// Runs with these seeds, in this order.
pub fn seeds(seeds: impl IntoIterator<Item = u64>) -> Runs {
    Runs { seeds: seeds.into_iter().collect(), schedules: 1 }
}

/// Seeds and schedules of a test.
#[derive(Debug, Clone)]
#[must_use = "nothing runs before `run`"]
pub struct Runs {
    seeds: Vec<u64>,
    schedules: u64,
}

impl Runs {
    /// Number of schedules per seed (0 counts as 1): the default schedule, then randomised ones
    /// that delay ready actors.
    pub fn schedules(mut self, schedules: u64) -> Self {
        self.schedules = schedules.max(1);
        self
    }

    /// Runs `test` for each seed and schedule, one after the other, each in an actix system of its
    /// own with simulated time.
    ///
    /// # Panics
    /// If `test` panics, after printing the seed and the schedule; inside another runtime; if
    /// [`SEED`] or [`SCHEDULE`] is not a number.
    pub fn run(&self, test: impl AsyncFn(World)) {
        let only = |name: &str| {
            std::env::var(name).ok().map(|text| match text.parse::<u64>() {
                Ok(number) => number,
                Err(_) => panic!("{name}={text} is not a number"),
            })
        };
        self.run_only(only(SEED), only(SCHEDULE), test);
    }

    fn run_only(&self, seed: Option<u64>, schedule: Option<u64>, test: impl AsyncFn(World)) {
        let all = self.seeds.iter().copied();
        let seeds = seed.map_or_else(|| all.collect(), |seed| vec![seed]);
        for seed in seeds {
            let schedules = match schedule {
                Some(only) => only..=only,
                None => 0..=self.schedules - 1,
            };
            for schedule in schedules {
                let run = || {
                    in_virtual_time(|clock| {
                        test(World {
                            clock,
                            seed: Seed(seed),
                            schedule: (schedule > 0).then_some(schedule),
                        })
                    })
                };
                if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
                    eprintln!(
                        "failed with seed {seed}, schedule {schedule}; again: {SEED}={seed} \
                         {SCHEDULE}={schedule} cargo test ..."
                    );
                    resume_unwind(panic);
                }
            }
        }
    }
}

/// One run: its clock, seed and schedule. Clones share them.
#[derive(Debug, Clone)]
pub struct World {
    clock: Clock,
    seed: Seed,
    schedule: Option<u64>,
}

impl World {
    /// The simulated clock of this run.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The random seed of this run.
    pub fn seed(&self) -> Seed {
        self.seed
    }

    /// Sleeps for `span` of virtual time.
    pub async fn sleep(&self, span: Duration) {
        self.clock.sleep(span).await;
    }

    /// Supervises children under this run's schedule, and waits until they have started or were
    /// given up.
    pub async fn supervise(&self, policy: RestartPolicy, children: Vec<Child>) -> SupervisorHandle {
        let fuzz = self.schedule.map(|number| Fuzz::new(self.seed, number));
        let setup = Setup { fuzz, ..Setup::new(policy, self.clock.clone(), self.seed) };
        let handle = Supervisor::start_with(setup, children);
        // Callers read the result from the handle.
        let _ = handle.wait_started().await;
        handle
    }

    /// Simulated arbiters. If a child hangs, the others on that arbiter stall until the child is
    /// declared hung after `hang_after`.
    pub fn arbiters(&self, count: usize, hang_after: Duration) -> Arbiters {
        Arbiters::start(count, Some(hang_after), &self.clock)
    }

    /// Applies `times` strikes to children of `supervisor` within `span`; the seed draws time,
    /// child and strike. Returns after the last one.
    pub async fn strike_by_chance(
        &self,
        supervisor: &SupervisorHandle,
        span: Duration,
        times: usize,
        strikes: &[Strike],
    ) {
        let mut draws = self.seed.stream("", "strikes");
        let from = self.clock.now();
        let mut moments: Vec<Duration> =
            (0..times).map(|_| span.mul_f64(draws.random::<f64>())).collect();
        moments.sort_unstable();
        for moment in moments {
            self.clock.sleep_until(from + moment).await;
            let children = supervisor.children();
            if children.is_empty() || strikes.is_empty() {
                return;
            }
            let (child, _) = &children[draws.random_range(0..children.len())];
            let strike = strikes[draws.random_range(0..strikes.len())].clone();
            supervisor.strike(*child, strike);
        }
    }

    /// Starts a topology with this run's time, seed and schedule, and with the faults of its file,
    /// except those that kill the process.
    ///
    /// # Errors
    /// As [`Topology::start`].
    pub async fn start(&self, topology: &Topology) -> Result<RunningTopology, StartError> {
        self.prepared(topology, None).start().await
    }

    fn prepared(&self, topology: &Topology, auditor: Option<std::sync::Arc<Auditor>>) -> Topology {
        let options = Options {
            schedule: self.schedule,
            faults: Faulting::Planned { horizon: Duration::from_secs(1) },
            tracer: match auditor {
                Some(auditor) => Some(auditor),
                None => topology.options().tracer.clone(),
            },
            ..topology.options().clone()
        };
        let topology = topology.clone().with_seed(self.seed.0).with_options(options);
        topology.in_time_of(&self.clock, None)
    }

    /// Runs a topology to its end with the faults of its file, and asserts its expectations.
    ///
    /// # Panics
    /// If it does not start, or an expectation fails: with all checks, each with PASS or FAIL.
    pub async fn holds(&self, topology: &Topology) {
        let auditor = Auditor::new(None).over_lives(topology.plan());
        let topology = self.prepared(topology, Some(auditor.clone()));
        let ended = match Lives::start(&topology, &self.clock, None).await {
            Ok(mut lives) => lives.end((Time::MAX, String::new())).await,
            Err(error) => Err(error),
        };
        let Ended { report, done, store } = match ended {
            Ok(ended) => ended,
            Err(error) => panic!("{} does not start: {error}", topology.plan().name),
        };
        let measure = Measure { expect: topology.plan().expect, calm_per_s: None };
        let checks = judge(&measure, &report, &auditor.finish(store.as_ref()), &done);
        if checks.iter().any(|check| !check.pass) {
            let lines: Vec<String> = checks.iter().map(ToString::to_string).collect();
            panic!("{}:\n{}", topology.plan().name, lines.join("\n"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(runs: &Runs, seed: Option<u64>, schedule: Option<u64>) -> Vec<(u64, Option<u64>)> {
        let told = std::cell::RefCell::new(Vec::new());
        runs.run_only(seed, schedule, async |world: World| {
            world.sleep(Duration::from_secs(3_600)).await;
            told.borrow_mut().push((world.seed().0, world.schedule));
        });
        told.into_inner()
    }

    #[test]
    fn every_seed_meets_every_schedule_and_one_of_them_can_be_had_alone() {
        let runs = seeds(3..5).schedules(2);
        let all = [(3, None), (3, Some(1)), (4, None), (4, Some(1))];
        assert_eq!(told(&runs, None, None), all);
        assert_eq!(told(&runs, Some(9), Some(7)), [(9, Some(7))]);
    }

    #[test]
    fn a_failure_comes_out() {
        let failed = catch_unwind(|| {
            seeds([1, 2]).run_only(None, None, async |world: World| {
                assert_ne!(world.seed(), Seed(2), "the second fails");
            });
        });
        assert!(failed.is_err());
    }
}
