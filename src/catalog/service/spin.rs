//! The service `spin`: keeps a core busy for each request's duration.

use std::time::Duration;

use gopherworks_pipeline::job::{Job, Serve, Service, Serving, WorkerSite};
use gopherworks_supervision::failure::Failure;

use super::sleep::Options;
use super::span::Times;
use crate::catalog::Site;

pub(super) fn make(options: &Options, _: &Site) -> Result<Spin, Failure> {
    options.times().map(Spin)
}

pub(super) struct Spin(Times);

impl Service for Spin {
    fn worker(&self, site: &WorkerSite) -> Result<Box<dyn Serve>, Failure> {
        Ok(Box::new(Spinner { times: self.0, site: site.clone() }))
    }

    fn cost(&self, site: &WorkerSite, job: &Job) -> Option<Duration> {
        Some(self.0.usual(site.seed, site.time_scale, job))
    }

    fn mean(&self, worker: usize) -> Option<Duration> {
        Some(self.0.mean(worker))
    }
}

struct Spinner {
    times: Times,
    site: WorkerSite,
}

impl Serve for Spinner {
    fn serve(&mut self, job: Job) -> Serving<'_> {
        let site = &self.site;
        let time = self.times.of(site.seed, site.time_scale, &job, site.worker);
        Box::pin(async move {
            // On the pool's threads, so that the arbiter is not blocked.
            site.pool.use_core(time).await;
            Ok(job.book)
        })
    }
}
