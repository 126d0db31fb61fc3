//! The service `xyz`: the talk's `Work{x, y, z}`, which computes z = x * y and takes z units of
//! time.

use std::time::Duration;

use gopherworks_pipeline::book::Body;
use gopherworks_pipeline::job::{Job, Serve, Service, Serving, WorkerSite};
use gopherworks_supervision::failure::Failure;
use rand::RngExt;
use schemars::JsonSchema;
use serde::Deserialize;

use super::timed::{chance, scaled};
use crate::catalog::Site;
use crate::config::units::{Time, millis};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct XyzOptions {
    /// Smallest and largest x.
    #[serde(default = "digits")]
    x: [u32; 2],
    /// Smallest and largest y.
    #[serde(default = "digits")]
    y: [u32; 2],
    /// Duration of a request per unit of z.
    #[serde(default = "millis::<1>")]
    unit: Time,
}

fn digits() -> [u32; 2] {
    [0, 9]
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Xyz {
    x: [u32; 2],
    y: [u32; 2],
    unit: Duration,
}

pub(super) fn make(options: &XyzOptions, _: &Site) -> Result<Xyz, Failure> {
    for (name, [least, most]) in [("x", options.x), ("y", options.y)] {
        if least > most {
            return Err(Failure::permanent(format!("{name}: the shortest time comes first")));
        }
    }
    Ok(Xyz { x: options.x, y: options.y, unit: options.unit.0 })
}

impl Xyz {
    /// Draws x, y and z of a request. They are the same on every worker.
    fn draw(&self, site: &WorkerSite, job: &Job) -> (u32, u32, u64) {
        let mut chance = chance(site.seed, job, "service");
        let x = chance.random_range(self.x[0]..=self.x[1]);
        let y = chance.random_range(self.y[0]..=self.y[1]);
        (x, y, u64::from(x) * u64::from(y))
    }

    fn time(&self, site: &WorkerSite, z: u64) -> Duration {
        scaled(self.unit, z as f64 * site.time_scale)
    }
}

impl Service for Xyz {
    fn worker(&self, site: &WorkerSite) -> Result<Box<dyn Serve>, Failure> {
        Ok(Box::new(Multiplier { xyz: *self, site: site.clone() }))
    }

    /// Known exactly: z is determined before the work starts.
    fn cost(&self, site: &WorkerSite, job: &Job) -> Option<Duration> {
        Some(self.time(site, self.draw(site, job).2))
    }

    fn mean(&self, _: usize) -> Option<Duration> {
        let mean = |[least, most]: [u32; 2]| (f64::from(least) + f64::from(most)) / 2.0;
        Some(scaled(self.unit, mean(self.x) * mean(self.y)))
    }
}

struct Multiplier {
    xyz: Xyz,
    site: WorkerSite,
}

impl Serve for Multiplier {
    fn serve(&mut self, job: Job) -> Serving<'_> {
        let (x, y, z) = self.xyz.draw(&self.site, &job);
        let time = self.xyz.time(&self.site, z);
        let site = &self.site;
        Box::pin(async move {
            site.clock.sleep_exactly(time).await;
            Ok(job.book.map(|mut book| {
                book.body = Body::from(format!("{x} * {y} = {z}\n"));
                book
            }))
        })
    }
}
