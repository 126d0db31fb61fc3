//! Tests of predictions against known designs, and of properties of all designs.

use std::time::Duration;

use super::*;
use crate::catalog::Catalog;
use crate::config::builder::{TopologyBuilder, cpu, kind, wait};
use crate::config::elements::{CrewConfig, Span, StepTime, TopologyConfig};

mod chance;
mod designs;
mod odd;
mod properties;

const ALL: &str = "load push unload return";
const MS: Duration = Duration::from_millis(1);

/// The plan of a valid design.
#[track_caller]
fn plan(builder: TopologyBuilder) -> Plan {
    match Plan::new(&builder.build(), &Catalog::standard()) {
        Ok((plan, _)) => plan,
        Err(mistakes) => panic!("{mistakes}"),
    }
}

/// A pile of 10,000 books and an incinerator.
fn ends(name: &str) -> TopologyBuilder {
    TopologyConfig::builder(name)
        .pile("manuals", |pile| pile.source(kind("generate").option("books", 10_000)))
        .incinerator("furnace", |fire| fire)
        .cores(64)
}

/// Ten books per cart, and step times in milliseconds.
fn timed(crew: CrewConfig, times: [f64; 4]) -> CrewConfig {
    stepped(crew, times.map(|time| wait(MS.mul_f64(time))))
}

fn stepped(crew: CrewConfig, [load, push, unload, back]: [StepTime; 4]) -> CrewConfig {
    (crew.cart_books(10).load(load).push(push).unload(unload)).return_(back)
}

fn singles(crew: CrewConfig) -> CrewConfig {
    ["load", "push", "unload", "return"].into_iter().fold(crew, |crew, duty| crew.gophers(1, duty))
}

/// A design with one crew from the pile to the incinerator.
fn solo(name: &str, make: impl FnOnce(CrewConfig) -> CrewConfig) -> TopologyBuilder {
    ends(name).crew("haul", "manuals", "furnace", make)
}

/// A design with two equal crews around a dump of 80 books.
fn staged(name: &str, make: impl Fn(CrewConfig) -> CrewConfig) -> TopologyBuilder {
    ends(name)
        .dump("middle", |dump| dump.capacity_books(80))
        .crew("near", "manuals", "middle", &make)
        .crew("far", "middle", "furnace", &make)
}

fn exponential(mean: f64) -> StepTime {
    StepTime { wait: Span::Exponential(MS.mul_f64(mean)), cpu: Span::Zero }
}

#[track_caller]
fn close(found: Option<f64>, wanted: f64) {
    let found = found.unwrap_or(f64::NAN);
    assert!((found - wanted).abs() <= 1e-9 * wanted.abs(), "{found} is not {wanted}");
}

/// Expects this speed-up, with nothing left unsaid.
#[track_caller]
fn speeds(builder: TopologyBuilder, wanted: f64) -> Prediction {
    let prediction = plan(builder).predict(1.0);
    assert!(prediction.unsaid.is_empty(), "{:?}", prediction.unsaid);
    close(prediction.speed_up, wanted);
    prediction
}
