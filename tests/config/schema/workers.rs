//! Kinds of worker for configs that are only checked, not run.

use std::time::Duration;

use gopherworks::Catalog;
use gopherworks::config::units::Time;
use gopherworks::pipeline::job::{Job, Serve, Service, Serving, WorkerSite};
use gopherworks::supervision::failure::Failure;
use schemars::JsonSchema;
use serde::Deserialize;

struct Never;

impl Serve for Never {
    fn serve(&mut self, _: Job) -> Serving<'_> {
        Box::pin(async { Ok(None) })
    }
}

impl Service for Never {
    fn worker(&self, _: &WorkerSite) -> Result<Box<dyn Serve>, Failure> {
        Ok(Box::new(Never))
    }

    fn mean(&self, _: usize) -> Option<Duration> {
        Some(Duration::from_millis(1))
    }
}

/// A kind of worker with an optional and a required option.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "they are only read")]
struct Nap {
    /// How long it sleeps.
    time: Time,
    /// How many dreams there are.
    #[serde(default)]
    dreams: u8,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Idle {}

/// The shipped kinds, and two kinds of worker.
pub fn catalog() -> Catalog {
    let mut catalog = Catalog::standard();
    catalog.add_service("nap", "Sleeps a little", |_: &Nap, _| Ok(Never)).add_service(
        "idle",
        "Answers at once",
        |_: &Idle, _| Ok(Never),
    );
    catalog
}
