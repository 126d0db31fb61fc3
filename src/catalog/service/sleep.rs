//! The service `sleep`: waits for each request's duration, without using a core.

use std::time::Duration;

use gopherworks_pipeline::job::{Job, Serve, Service, Serving, WorkerSite};
use gopherworks_supervision::failure::Failure;
use schemars::JsonSchema;
use serde::Deserialize;

use super::span::{Slow, SpanOption, Stragglers, Times};
use crate::catalog::Site;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Duration of a request: a fixed time or a distribution.
    time: SpanOption,
    /// Workers that are slower than the others.
    slow: Option<Slow>,
    /// Executions that take much longer than usual.
    stragglers: Option<Stragglers>,
}

impl Options {
    pub(super) fn times(&self) -> Result<Times, Failure> {
        Times { time: self.time.0, slow: self.slow, stragglers: self.stragglers }.checked()
    }
}

pub(super) fn make(options: &Options, _: &Site) -> Result<Sleep, Failure> {
    options.times().map(Sleep)
}

pub(super) struct Sleep(Times);

impl Service for Sleep {
    fn worker(&self, site: &WorkerSite) -> Result<Box<dyn Serve>, Failure> {
        Ok(Box::new(Sleeper { times: self.0, site: site.clone() }))
    }

    fn cost(&self, site: &WorkerSite, job: &Job) -> Option<Duration> {
        Some(self.0.usual(site.seed, site.time_scale, job))
    }

    fn mean(&self, worker: usize) -> Option<Duration> {
        Some(self.0.mean(worker))
    }
}

struct Sleeper {
    times: Times,
    site: WorkerSite,
}

impl Serve for Sleeper {
    fn serve(&mut self, job: Job) -> Serving<'_> {
        let site = &self.site;
        let time = self.times.of(site.seed, site.time_scale, &job, site.worker);
        Box::pin(async move {
            site.clock.sleep_exactly(time).await;
            Ok(job.book)
        })
    }
}
