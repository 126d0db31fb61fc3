//! Checks the checker: each planted defect is found by a sweep of at most 200 seeds, and minimised.

use std::sync::{Mutex, PoisonError};

use gopherworks::Catalog;
use gopherworks::Loaded;
use gopherworks::config::Overrides;
use gopherworks::supervision::__private::planted::{Defect, plant};
use gopherworks::topology::Topology;
use gopherworks::verdict::sweep::{Sweep, Swept};

/// A planted defect applies to the whole process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const SEEDS: u64 = 200;

fn sweep(file: &str, defect: Option<Defect>) -> Swept {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let path = format!("{}/config/chaos/{file}.toml", env!("CARGO_MANIFEST_DIR"));
    let overrides = Overrides::default().set("execution.cores=2");
    let loaded = Loaded::read(path, &Catalog::standard(), &overrides).expect("a file of the suite");
    let topology = Topology::from_plan(loaded.plan);
    plant(defect);
    let swept = Sweep {
        first: 1,
        seeds: SEEDS,
        schedules: 1,
        threads: 2,
        limit: None,
        config_sha256: String::new(),
        command: "gopherworks simulate".to_owned(),
    }
    .run(&topology, &|_| ());
    plant(None);
    swept.expect("it starts")
}

/// The names of the checks that failed.
fn found(file: &str, defect: Defect) -> Vec<&'static str> {
    let swept = sweep(file, Some(defect));
    let verdict = swept
        .failure
        .unwrap_or_else(|| panic!("{defect:?} was not found in {file} by {} seeds", swept.runs));
    println!("{defect:?}, run {} of {SEEDS}:\n{verdict}", swept.runs);
    let least = verdict.minimal_faults.expect("the failure can be had again");
    assert!(least <= 2, "{defect:?} in {file}: {least} faults are left\n{verdict}");
    let failed = verdict.checks.iter().filter(|check| !check.pass);
    failed.map(|check| check.name).collect()
}

#[test]
fn a_store_that_acks_early_loses_books() {
    for file in ["one-gopher", "four-gophers-staged"] {
        assert!(found(file, Defect::StoreAcksEarly).contains(&"lost"));
    }
}

#[test]
fn a_gopher_that_forgets_a_cart_is_found_by_the_books_in_it() {
    for file in ["four-gophers", "eight-gophers-staged"] {
        let failed = found(file, Defect::GopherForgetsCart);
        assert!(failed.contains(&"end") && failed.contains(&"in flight"), "{failed:?}");
    }
}

#[test]
fn a_balancer_that_answers_twice_is_found() {
    for file in ["simple-balancer", "hedged"] {
        assert_eq!(found(file, Defect::BalancerAnswersTwice), ["duplicates"]);
    }
}

#[test]
fn a_dump_that_loses_a_wake_up_stands_still() {
    for file in ["two-gophers-staged", "four-gophers-staged"] {
        assert!(found(file, Defect::DumpLosesWakeUp).contains(&"end"));
    }
}

#[test]
fn a_keeper_that_acks_before_the_sink_is_synced_loses_books() {
    assert!(found("durable", Defect::KeeperAcksUnsynced).contains(&"lost"));
}

#[test]
fn a_position_that_is_stored_apart_from_its_books_has_them_read_twice() {
    assert!(found("durable-staged", Defect::KeeperSplitsPositions).contains(&"duplicates"));
}

#[test]
fn a_keeper_that_does_not_fence_carts_has_books_burned_twice() {
    assert!(found("durable-shared", Defect::KeeperFencesNothing).contains(&"duplicates"));
}

#[test]
fn a_keeper_that_forgets_what_is_unconfirmed_leaves_books_behind() {
    let failed = found("durable-staged", Defect::KeeperForgets);
    assert!(failed.contains(&"end") && failed.contains(&"in flight"), "{failed:?}");
}

/// The defect is found, by a failure that faults of this kind alone cause.
fn found_by(kind: &str, file: &str, defect: Defect) {
    let verdict = sweep(file, Some(defect)).failure.expect("it is found");
    println!("{defect:?}:\n{verdict}");
    assert!(verdict.checks.iter().any(|check| !check.pass && check.name == "duplicates"));
    let minimal = verdict.minimal.expect("the failure can be had again");
    assert!(verdict.minimal_faults.is_some_and(|least| (1..=2).contains(&least)), "{minimal}");
    let of_kind = minimal.matches(&format!("kind = \"{kind}\"")).count();
    assert_eq!(Some(of_kind), verdict.minimal_faults, "{minimal}");
}

#[test]
fn a_keeper_that_forgets_what_it_could_not_ack_has_books_burned_twice() {
    found_by("lost_lease", "durable-shared", Defect::KeeperForgetsLost);
}

#[test]
fn a_keeper_that_takes_a_book_that_it_holds_has_books_burned_twice() {
    found_by("redeliver", "durable-shared", Defect::KeeperTakesTwice);
}

#[test]
fn a_store_that_keeps_a_torn_commit_has_a_source_read_twice() {
    found_by("torn_write", "durable", Defect::StoreKeepsTorn);
}

#[test]
fn without_a_defect_the_same_seeds_find_nothing() {
    for file in ["one-gopher", "four-gophers", "four-gophers-staged", "simple-balancer", "hedged"] {
        let swept = sweep(file, None);
        assert!(swept.failure.is_none(), "{}", swept.failure.expect("a verdict"));
        assert_eq!(swept.runs, SEEDS);
        assert!(swept.faults > SEEDS / 2, "{} faults fired", swept.faults);
    }
}
