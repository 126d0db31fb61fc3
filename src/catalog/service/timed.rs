//! Services whose requests only take time: `sleep` waits, `spin` keeps a core busy.

use std::time::Duration;

use gopherworks_pipeline::job::{Job, Serve, Service, Serving, WorkerSite};
use gopherworks_supervision::clock::Seed;
use gopherworks_supervision::failure::Failure;
use gopherworks_supervision::span::Span;
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use schemars::JsonSchema;
use serde::Deserialize;

use super::span::SpanOption;
use crate::catalog::Site;

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TimedOptions {
    /// Duration of a request: a fixed time or a distribution.
    time: SpanOption,
    /// Workers that are slower than the others.
    slow: Option<Slow>,
    /// Executions that take much longer than usual.
    stragglers: Option<Stragglers>,
}

/// Makes the first workers of the balancer slower than the others.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct Slow {
    /// Number of slow workers, counted from the first.
    #[schemars(range(max = 100_000))]
    workers: usize,
    /// Factor by which their requests take longer.
    #[schemars(range(max = 1e9), extend("exclusiveMinimum" = 0))]
    factor: f64,
}

/// Executions that take much longer than usual.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct Stragglers {
    /// Share of all executions, from 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    share: f64,
    /// Factor by which they take longer.
    #[schemars(range(max = 1e9), extend("exclusiveMinimum" = 0))]
    factor: f64,
}

pub(super) fn sleep(options: &TimedOptions, _: &Site) -> Result<Timed, Failure> {
    Ok(Timed { times: *options, spins: false })
}

pub(super) fn spin(options: &TimedOptions, _: &Site) -> Result<Timed, Failure> {
    Ok(Timed { times: *options, spins: true })
}

/// Random numbers for a request, derived from its requester and number, so that they are equal
/// under every policy and on every worker.
pub(super) fn chance(seed: Seed, job: &Job, purpose: &str) -> ChaCha8Rng {
    let mut chance = seed.stream(&job.from, purpose);
    chance.set_stream(job.number);
    chance
}

pub(super) fn scaled(time: Duration, factor: f64) -> Duration {
    // Scaling by 1 may round.
    if factor == 1.0 { time } else { Span::Fixed(time).scaled(factor).mean() }
}

impl TimedOptions {
    /// Duration of the request on a worker of normal speed, if it does not straggle.
    fn usual(&self, seed: Seed, scale: f64, job: &Job) -> Duration {
        let time = self.time.0;
        if time.is_fixed() {
            return scaled(time.mean(), scale);
        }
        let mut chance = chance(seed, job, "service");
        // Each copy is a separate execution with its own draw.
        for _ in 0..job.copy {
            time.draw(&mut chance);
        }
        scaled(time.draw(&mut chance), scale)
    }

    /// Duration of this execution on the worker of `site`.
    fn of(&self, site: &WorkerSite, job: &Job) -> Duration {
        let mut factor = site.time_scale * self.slowness(site.worker);
        if let Some(Stragglers { share, factor: more }) = self.stragglers {
            let mut chance = chance(site.seed, job, "stragglers");
            // Each copy is a separate execution with its own draw.
            let draw = (0..=job.copy).map(|_| chance.random::<f64>()).last();
            if draw.is_some_and(|draw| draw < share) {
                factor *= more;
            }
        }
        self.usual(site.seed, factor, job)
    }

    fn slowness(&self, worker: usize) -> f64 {
        self.slow.filter(|slow| worker < slow.workers).map_or(1.0, |slow| slow.factor)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Timed {
    times: TimedOptions,
    spins: bool,
}

impl Service for Timed {
    fn worker(&self, site: &WorkerSite) -> Result<Box<dyn Serve>, Failure> {
        Ok(Box::new(TimedWorker { timed: *self, site: site.clone() }))
    }

    fn cost(&self, site: &WorkerSite, job: &Job) -> Option<Duration> {
        Some(self.times.usual(site.seed, site.time_scale, job))
    }

    fn mean(&self, worker: usize) -> Option<Duration> {
        let times = &self.times;
        let straggling =
            times.stragglers.map_or(1.0, |some| 1.0 + some.share * (some.factor - 1.0));
        Some(scaled(times.time.0.mean(), times.slowness(worker) * straggling))
    }
}

struct TimedWorker {
    timed: Timed,
    site: WorkerSite,
}

impl Serve for TimedWorker {
    fn serve(&mut self, job: Job) -> Serving<'_> {
        let Self { timed, site } = self;
        let time = timed.times.of(site, &job);
        Box::pin(async move {
            if timed.spins {
                // On the pool's threads, so that the arbiter is not blocked.
                site.pool.use_core(time).await;
            } else {
                site.clock.sleep_exactly(time).await;
            }
            Ok(job.book)
        })
    }
}
