//! The size of a crew, which operators change.

use crate::support;

use std::time::Duration;

use gopherworks::RunningTopology;
use gopherworks::catalog::Catalog;
use gopherworks::config::builder::{kind, wait};
use gopherworks::config::elements::TopologyConfig;
use gopherworks::supervision::clock::Clock;
use gopherworks::topology::{ControlAct, ControlError, Done, Topology};
use support::virtual_time::{in_virtual_time, topology};

const SECOND: Duration = Duration::from_secs(1);

/// Eight carts of one book, gophers with these duties in turn, and a second for each step.
fn design(gophers: usize, duties: &[&str]) -> TopologyConfig {
    TopologyConfig::builder("scale")
        .pile("desk", |pile| pile.source(kind("generate").option("books", 100_000)))
        .incinerator("fire", |fire| fire.burn("count"))
        .crew("haul", "desk", "fire", |crew| {
            let crew =
                (0..gophers).fold(crew, |crew, at| crew.gophers(1, duties[at % duties.len()]));
            let crew = crew.carts(8).cart_books(1).load(wait(SECOND)).push(wait(SECOND));
            crew.unload(wait(SECOND)).return_(wait(SECOND))
        })
        .build()
}

fn made(config: &TopologyConfig, clock: &Clock) -> Topology {
    topology(config, &Catalog::standard(), clock)
}

async fn start(config: &TopologyConfig, clock: &Clock) -> RunningTopology {
    let running = made(config, clock).start().await.expect("it starts");
    running.close_offers();
    running
}

fn scale(running: &RunningTopology, gophers: u32) -> bool {
    let done = running.control("haul", ControlAct::Scale(gophers), "a test");
    done.expect("it is possible").changed
}

/// Books burned in the next 400 seconds.
async fn burned(running: &RunningTopology, clock: &Clock) -> u64 {
    let before = running.snapshot().ledger.burned;
    clock.sleep(400 * SECOND).await;
    running.snapshot().ledger.burned - before
}

/// True if a count differs by no more than what the carts hold.
fn near(books: u64, wanted: u64) -> bool {
    books.abs_diff(wanted) <= 8
}

/// Names of the gophers that exist.
fn gophers(running: &RunningTopology) -> Vec<String> {
    let mut actors = running.actors();
    actors.retain(|name| name.starts_with("haul/"));
    actors
}

#[test]
fn twice_the_gophers_carry_twice_the_books_where_the_formula_says_so() {
    let (all, each) = (["load push unload return"], ["load", "push", "unload", "return"]);
    for duties in [&all[..], &each[..]] {
        in_virtual_time(async |clock| {
            let (four, eight) = (design(4, duties), design(8, duties));
            let speed = |config| made(config, &clock).plan().predict(1.0).speed_up.expect("exact");
            assert!((speed(&eight) / speed(&four) - 2.0).abs() < 1e-9);
            let running = start(&four, &clock).await;
            clock.sleep(20 * SECOND).await;
            let before = burned(&running, &clock).await;
            assert!(scale(&running, 8));
            assert!(!scale(&running, 8), "it has that size");
            clock.sleep(20 * SECOND).await;
            let after = burned(&running, &clock).await;
            assert!(near(before, 400) && near(after, 800), "{duties:?}: {before}, {after}");
            assert_eq!(gophers(&running).len(), 8);
            assert!(scale(&running, 4));
            clock.sleep(20 * SECOND).await;
            running.nodes();
            assert!(near(burned(&running, &clock).await, 400), "{duties:?}");
            assert_eq!(gophers(&running), ["haul/1", "haul/2", "haul/3", "haul/4"]);
            let row = running.nodes().into_iter().find(|node| node.name == "haul").unwrap();
            assert_eq!(row.gophers, Some(4));
            assert!((row.per_s - 1.0).abs() < 0.05, "{}", row.per_s);
            // Those that were removed have carried their part.
            assert!(row.books >= running.snapshot().ledger.burned, "{row:?}");
            let report = running.stop().await;
            assert!(report.balances(), "{report:?}");
        });
    }
}

#[test]
fn surplus_gophers_finish_what_they_have_in_hand() {
    in_virtual_time(async |clock| {
        let running = start(&design(8, &["load push unload return"]), &clock).await;
        clock.sleep(SECOND / 2).await;
        assert!(scale(&running, 1));
        clock.sleep(SECOND / 4).await;
        assert_eq!(gophers(&running).len(), 8, "all are within a step");
        // Wanted again before they have left: the same actors go on.
        assert!(scale(&running, 6));
        clock.sleep(SECOND).await;
        assert_eq!(gophers(&running).len(), 6);
        assert!(scale(&running, 1));
        clock.sleep(2 * SECOND).await;
        assert_eq!(gophers(&running), ["haul/1"]);
        assert_eq!(running.snapshot().restarts, 0);
        assert!(near(burned(&running, &clock).await, 100), "one gopher needs 4 s for a trip");
        // A gopher that was removed and is added again is one with a new life.
        assert!(scale(&running, 2));
        assert!(running.control("haul/2", ControlAct::Kill, "a test").is_err(), "not yet there");
        clock.sleep(SECOND).await;
        assert!(running.control("haul/2", ControlAct::Kill, "a test").is_ok());
        clock.sleep(20 * SECOND).await;
        assert!(near(burned(&running, &clock).await, 200));
        let report = running.stop().await;
        assert!(report.balances() && report.reasons.is_empty(), "{report:?}");
        assert_eq!(report.restarts, 1);
    });
}

#[test]
fn a_paused_crew_gets_its_size_and_stays_paused() {
    in_virtual_time(async |clock| {
        let running = start(&design(2, &["load push unload return"]), &clock).await;
        running.control("haul", ControlAct::Pause, "a test").expect("it is possible");
        clock.sleep(20 * SECOND).await;
        assert!(scale(&running, 4));
        assert_eq!(burned(&running, &clock).await, 0);
        running.control("haul", ControlAct::Resume, "a test").expect("it is possible");
        clock.sleep(4 * SECOND).await;
        assert!(near(burned(&running, &clock).await, 400));
        running.control("haul", ControlAct::Pause, "a test").expect("it is possible");
        assert!(scale(&running, 1));
        clock.sleep(20 * SECOND).await;
        assert_eq!(gophers(&running).len(), 1);
        // A drain goes on with what there is, also right after a change of size.
        scale(&running, 5);
        let report = running.drain(None).await;
        assert!(report.balances(), "{report:?}");
    });
}

#[test]
fn sizes_are_bounded_as_in_the_config() {
    in_virtual_time(async |clock| {
        let running = start(&design(4, &["load", "push", "unload", "return"]), &clock).await;
        for (node, size, wanted) in [
            (
                "haul",
                0,
                "`haul` can't have 0 gophers: with fewer than 4 gophers, a step is done by",
            ),
            (
                "haul",
                3,
                "`haul` can't have 3 gophers: with fewer than 4 gophers, a step is done by",
            ),
            ("haul", 100_001, "`haul` can't have 100001 gophers: a crew has at most 100000"),
        ] {
            let refused = running.control(node, ControlAct::Scale(size), "a test");
            let Err(ControlError::OutOfBounds(why)) = refused else {
                panic!("{size}: {refused:?}");
            };
            assert!(why.starts_with(wanted), "{why}");
        }
        for (node, wanted) in [
            ("haul/1", "a gopher has no size; scale its crew `haul`"),
            ("fire", "`fire` has no size that can be changed; crews have one"),
        ] {
            let refused = running.control(node, ControlAct::Scale(2), "a test").expect_err(wanted);
            assert_eq!(refused.to_string(), wanted);
        }
        assert_eq!(gophers(&running).len(), 4);
        assert_eq!(running.finish(Done::Stopped).await.restarts, 0);
    });
}
