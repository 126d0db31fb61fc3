//! Any design under any schedule of kills, in virtual time: every book ends once, and no run hangs.

use crate::support;

use std::time::Duration;

use gopherworks::config::elements::Strategy as Restarts;
use gopherworks::report::{Report, RunOutcome};
use proptest::prelude::*;
use support::designs::{
    CrewDesign, Design, Kills, assert_balanced, design, kill_all_along, kills, use_clock,
};
use support::kinds::{Record, cases, catalog, hush};
use support::virtual_time::{in_virtual_time, topology};

/// Runs `design` while actors are killed; returns the report and the ids in the order of their
/// burns.
fn run(design: &Design, kills: &Kills) -> (Report, Vec<u64>) {
    hush();
    let record = Record::default();
    let catalog = catalog(design.books, &record);
    let config = design.config(Some("numbers"), "record", &[]);
    let report = in_virtual_time(|clock| async move {
        use_clock(&clock);
        let topology = topology(&config, &catalog, &clock);
        let running = topology.start().await.expect("it starts");
        running.close_offers();
        kill_all_along(&running, design, kills).await;
        let done = running.done().await;
        assert_balanced(&running, design);
        running.finish(done).await
    });
    (report, record.all())
}

/// As `run`, with one kill: of `victim`, `at` microseconds after the start.
fn run_killing(design: &Design, victim: &str, at: u64) -> (Report, Vec<u64>) {
    let record = Record::default();
    let catalog = catalog(design.books, &record);
    let config = design.config(Some("numbers"), "record", &[]);
    let report = in_virtual_time(|clock| async move {
        let running = topology(&config, &catalog, &clock).start().await.expect("it starts");
        running.close_offers();
        clock.sleep(Duration::from_micros(at)).await;
        assert!(running.kill(victim));
        let done = running.done().await;
        running.finish(done).await
    });
    (report, record.all())
}

fn assert_all_burned_once(design: &Design, report: &Report, burned: &[u64]) {
    assert_eq!(report.outcome, RunOutcome::Finished);
    assert_eq!(report.failures, Vec::<String>::new());
    let ledger = &report.ledger;
    assert_eq!((ledger.lost, ledger.duplicates), (0, 0), "{ledger:?}");
    assert_eq!(
        (ledger.offered, ledger.burned, ledger.dead, ledger.in_flight),
        (design.books, design.books, 0, 0),
        "{ledger:?}"
    );
    let mut ids = burned.to_vec();
    ids.sort_unstable();
    let all: Vec<u64> = (1..=design.books).collect();
    assert_eq!(ids, all, "each id burns exactly once");
}

/// Asserts that the counters of nodes agree with what was done, and that carts never exceed their
/// capacity.
fn assert_rows(design: &Design, report: &Report) {
    for (at, crews) in design.stretches.iter().enumerate() {
        for (lane, crew) in crews.iter().enumerate() {
            let name = format!("crew{at}_{lane}");
            let row = report.nodes.iter().find(|row| row.name == name);
            let row = row.unwrap_or_else(|| panic!("no row for {name}"));
            assert!(row.books <= row.carts * crew.cart_books, "{row:?}");
        }
    }
}

proptest! {
    #![proptest_config(cases(150))]

    /// Rules 1, 2, 4 and 5 of the designs, without kills.
    #[test]
    fn every_design_burns_every_book_once(design in design(2)) {
        let (report, burned) = run(&design, &Vec::new());
        assert_all_burned_once(&design, &report, &burned);
        assert_rows(&design, &report);
        prop_assert_eq!(report.restarts, 0);
    }
}

proptest! {
    #![proptest_config(cases(250))]

    /// Rule 8 of the designs: kills of any actors at any time.
    #[test]
    fn every_design_survives_kills(design in design(2), kills in kills(60)) {
        let (report, burned) = run(&design, &kills);
        assert_all_burned_once(&design, &report, &burned);
    }

    /// Custody 14: a group restart also restarts siblings, whether they are idle or at work.
    #[test]
    fn every_design_survives_group_restarts(
        mut design in design(1),
        kills in kills(30),
        all in any::<bool>(),
    ) {
        design.strategy = if all { Restarts::OneForAll } else { Restarts::RestForOne };
        let (report, burned) = run(&design, &kills);
        assert_all_burned_once(&design, &report, &burned);
    }
}

proptest! {
    #![proptest_config(cases(60))]

    /// A run is a function of its seed, also with kills.
    #[test]
    fn the_same_seed_burns_in_the_same_order(design in design(2), kills in kills(30)) {
        let (first, burned) = run(&design, &kills);
        let (second, again) = run(&design, &kills);
        prop_assert_eq!(burned, again);
        prop_assert_eq!(first.virtual_s, second.virtual_s);
        prop_assert_eq!(first.restarts, second.restarts);
    }

    /// Custody, "a cart waiting at a dump is progress": a stop at any moment leaves every book on a
    /// pile.
    #[test]
    fn a_stop_at_any_moment_leaves_every_book_on_a_pile(
        design in design(2),
        kills in kills(15),
        at in 0u64..30_000,
    ) {
        let record = Record::default();
        let catalog = catalog(design.books, &record);
        let config = design.config(Some("numbers"), "record", &[]);
        let (report, parked) = in_virtual_time(|clock| async move {
            use_clock(&clock);
            let topology = topology(&config, &catalog, &clock);
            let running = topology.start().await.expect("it starts");
            running.close_offers();
            kill_all_along(&running, &design, &kills).await;
            clock.sleep(Duration::from_micros(at)).await;
            let report = running.stop().await;
            (report, running.snapshot())
        });
        let ledger = report.ledger;
        prop_assert_eq!(ledger, parked.ledger, "nothing moves after a stop");
        prop_assert_eq!((ledger.lost, ledger.duplicates, ledger.dead), (0, 0, 0));
        prop_assert_eq!(ledger.in_flight, ledger.offered - ledger.burned);
        let burned = record.counts();
        prop_assert!(burned.values().all(|times| *times == 1));
        prop_assert_eq!(burned.len() as u64, ledger.burned);
    }
}

/// Found by a property: the dump died while one cart held its reservation and unloaded, and another
/// waited for space. The first returned to a dump that was down and queued behind the second: each
/// waited for the other.
#[test]
fn a_cart_with_room_passes_one_that_waits_for_it_at_an_absent_dump() {
    let crew = |gophers: &[&str], carts, cart_books, times: [u64; 4]| CrewDesign {
        gophers: gophers.iter().map(|duties| duties.to_string()).collect(),
        carts,
        cart_books,
        times: times.map(|time| (time, false)),
    };
    let design = Design {
        capacity: 4,
        dumps: vec![4],
        stretches: vec![
            vec![crew(
                &["load push return", "load push unload", "unload"],
                3,
                4,
                [0, 1000, 1000, 0],
            )],
            vec![crew(&["load push unload return"], 1, 1, [0; 4])],
        ],
        exclusive: vec![(None, None); 2],
        ..Design::plain(5, CrewDesign::plain(1))
    };
    let (report, burned) = run_killing(&design, "dump1", 1000);
    assert_all_burned_once(&design, &report, &burned);
    assert_eq!(report.restarts, 1, "it was killed while it was needed");
}

/// Found by a property: a gopher was sent a cart before it had asked for its first one, and then
/// asked although it was busy. It had two carts at once, ended the first one's step on the second,
/// and a loaded cart went for books.
#[test]
fn a_gopher_that_is_sent_a_cart_at_its_start_takes_no_second() {
    let crew = |gophers: &[&str], carts, cart_books, times: [(u64, bool); 4]| CrewDesign {
        gophers: gophers.iter().map(|duties| duties.to_string()).collect(),
        carts,
        cart_books,
        times,
    };
    let (one, two) = (
        crew(
            &["push unload return", "load return"],
            3,
            2,
            [(0, false), (696, true), (580, false), (1000, false)],
        ),
        crew(
            &["load", "push", "unload", "return"],
            1,
            1,
            [(2122, false), (1000, false), (850, true), (1000, false)],
        ),
    );
    let design = Design {
        capacity: 2,
        stretches: vec![vec![one, two]],
        exclusive: vec![(Some(1), None)],
        seed: 61577,
        strategy: Restarts::OneForAll,
        ..Design::plain(12, CrewDesign::plain(1))
    };
    let kills = vec![(96, 0), (931, 0), (619, 0), (335, 0), (3890, 12)];
    let (report, burned) = run(&design, &kills);
    assert_all_burned_once(&design, &report, &burned);
}
