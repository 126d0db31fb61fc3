//! Failures that restarts can't fix: the run ends with a reason and exit code 70, and no book is
//! lost.

use crate::support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use actix_rt::System;
use gopherworks::catalog::Catalog;
use gopherworks::pipeline::transform::Transform;
use gopherworks::report::RunOutcome;
use gopherworks::{Book, Failure, Topology, TopologyConfig};
use support::kinds::hush;
use support::virtual_time::{in_virtual_time, topology};

const ALL: &str = "load push unload return";

fn config(name: &str, work: Option<&str>, burn: &str) -> TopologyConfig {
    let mut config = TopologyConfig::builder(name)
        .pile("desk", |pile| pile.max_attempts(100))
        .dump("shelf", |dump| dump.capacity_books(4).max_attempts(100))
        .incinerator("out", |fire| fire.burn(burn))
        .crew("near", "desk", "shelf", |crew| {
            let crew = crew.gophers(2, ALL).carts(2).cart_books(2);
            match work {
                Some(work) => crew.work(work),
                None => crew,
            }
        })
        .crew("far", "shelf", "out", |crew| crew.gophers(1, ALL).cart_books(2))
        .build();
    config.supervision.intensity = 3;
    config
}

fn books(count: usize) -> Vec<Book> {
    (0..count).map(|n| Book::new(n.to_string())).collect()
}

#[test]
fn a_crasher_ends_the_run_with_its_name_and_its_words() {
    hush();
    in_virtual_time(async |clock| {
        let mut catalog = Catalog::standard();
        catalog.add_inline_work_fn("crash", "Panics", |book: Book| match book.id.0 {
            1..=6 => Ok(Some(book)),
            id => panic!("boom at {id}"),
        });
        let config = config("hopeless", Some("crash"), "count");
        let running = topology(&config, &catalog, &clock).start().await.unwrap();
        running.offer("desk", books(20)).await.unwrap();
        let report = running.finish(running.done().await).await;
        let RunOutcome::Escalated(reason) = &report.outcome else {
            panic!("{:?}", report.outcome);
        };
        assert!(reason.contains("near/") && reason.contains("boom at"), "{reason}");
        let ledger = report.ledger;
        assert!(ledger.balances(), "{ledger:?}");
        assert_eq!((ledger.offered, ledger.burned + ledger.in_flight), (20, 20));
        assert!(ledger.burned <= 6);
    });
}

/// A work that panics, and whose factory fails from its third call on.
struct Fragile;

impl Transform for Fragile {
    fn apply(&mut self, _: Book) -> Result<Option<Book>, Failure> {
        panic!("boom")
    }

    fn blocks(&self) -> bool {
        false
    }
}

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct NoOptions {}

#[test]
fn a_factory_that_fails_counts_like_any_failure() {
    hush();
    in_virtual_time(async |clock| {
        let made = Arc::new(AtomicU32::new(0));
        let mut catalog = Catalog::standard();
        catalog.add_work("fragile", "Panics, and can't be made again", move |_: &NoOptions, _| {
            // One call for the check before the start, and one for each of two gophers.
            match made.fetch_add(1, Ordering::Relaxed) {
                0..3 => Ok(Fragile),
                _ => Err(Failure::transient("out of parts")),
            }
        });
        let config = config("parts", Some("fragile"), "count");
        let running = topology(&config, &catalog, &clock).start().await.unwrap();
        running.offer("desk", books(5)).await.unwrap();
        let report = running.finish(running.done().await).await;
        assert!(
            matches!(&report.outcome, RunOutcome::Escalated(reason) if reason.contains("out of \
                parts")),
            "{:?}",
            report.outcome
        );
        assert_eq!((report.ledger.in_flight, report.ledger.lost), (5, 0));
    });
}

/// Panics when it is dropped.
struct Spiteful;

impl Transform for Spiteful {
    fn apply(&mut self, book: Book) -> Result<Option<Book>, Failure> {
        if book.id.0.is_multiple_of(3) { panic!("boom") } else { Ok(Some(book)) }
    }

    fn blocks(&self) -> bool {
        false
    }
}

impl Drop for Spiteful {
    fn drop(&mut self) {
        panic!("boom in drop");
    }
}

#[test]
fn a_drop_that_panics_aborts_nothing() {
    hush();
    in_virtual_time(async |clock| {
        let mut catalog = Catalog::standard();
        catalog.add_work("spiteful", "Panics in work and in drop", |_: &NoOptions, _| Ok(Spiteful));
        let mut config = config("spite", Some("spiteful"), "count");
        config.supervision.intensity = 1_000;
        config.supervision.in_a_row = 1_000;
        config.piles.get_mut("desk").unwrap().max_attempts = 2;
        let running = topology(&config, &catalog, &clock).start().await.unwrap();
        running.offer("desk", books(9)).await.unwrap();
        let report = running.drain(None).await;
        assert_eq!(report.outcome, RunOutcome::Finished);
        assert_eq!((report.ledger.burned, report.ledger.dead), (6, 3));
        assert!(report.ledger.balances());
    });
}

#[test]
fn two_topologies_live_in_one_process_and_one_may_fail() {
    hush();
    let (good, bad) = System::new().block_on(async {
        let mut catalog = Catalog::standard();
        catalog.add_inline_burn_fn("crash", "Panics", |_: &Book| panic!("boom"));
        let good = Topology::from_config(&config("good", None, "count"), &catalog).unwrap();
        let bad = Topology::from_config(&config("bad", None, "crash"), &catalog).unwrap();
        let (good, bad) = (good.start().await.unwrap(), bad.start().await.unwrap());
        bad.offer("desk", books(10)).await.unwrap();
        let bad = bad.finish(bad.done().await).await;
        good.offer("desk", books(100)).await.unwrap();
        (good.drain(None).await, bad)
    });
    assert!(matches!(&bad.outcome, RunOutcome::Escalated(reason) if reason.contains("out")));
    assert_eq!((bad.ledger.in_flight, bad.ledger.lost), (10, 0));
    assert_eq!((good.ledger.burned, good.restarts), (100, 0));
}

#[cfg(target_os = "linux")]
#[test]
fn the_command_says_why_it_gave_up_and_exits_with_70() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mem.toml");
    // The first page of a process can't be read: each attempt fails with an error that a retry
    // might fix.
    let text = r#"
        [piles.manuals]
        source = { kind = "lines", path = "/proc/self/mem" }
        [incinerators.furnace]
        burn = "count"
        [crews.crew]
        from = "manuals"
        to = "furnace"
        gophers = ["load push unload return"]
        [supervision]
        intensity = 3
        backoff = { min = "1ms" }
    "#;
    std::fs::write(&file, text).unwrap();
    assert_cmd::Command::cargo_bin("gopherworks")
        .unwrap()
        .arg("run")
        .arg(&file)
        .assert()
        .code(70)
        .stderr(predicates::str::contains("error: the restart budget is spent: manuals.source"))
        .stderr(predicates::str::contains("failure 4 within 10s"));
}
