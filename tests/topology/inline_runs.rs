//! Steps that run inline for idle gophers of the same thread, on real threads. With every kind of
//! crew and any deaths, every book has one end, no cart is forgotten, and each step is counted for
//! the gopher in whose name it ran.

use crate::support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_rt::System;
use gopherworks::catalog::Catalog;
use gopherworks::config::elements::TopologyConfig;
use gopherworks::pipeline::book::Book;
use gopherworks::pipeline::source::Source;
use gopherworks::report::{NodeReport, Report, RunOutcome};
use gopherworks::supervision::failure::Failure;
use gopherworks::topology::{RunningTopology, Topology};
use proptest::prelude::*;
use support::designs::{CrewDesign, Design, assert_balanced, design};
use support::kinds::{Mood, Moods, Record, cases, catalog, hush, moody};
use support::watchdog::{Watchdog, watchdog};

const RING: [&str; 4] = ["load", "push", "unload", "return"];
const ROUND: [&str; 1] = ["load push unload return"];

/// One crew, on one arbiter with its pile and its incinerator.
fn crew(gophers: &[&str], carts: u32, cart_books: u64, books: u64) -> Design {
    let crew = CrewDesign {
        gophers: gophers.iter().map(|duties| duties.to_string()).collect(),
        carts,
        ..CrewDesign::plain(cart_books)
    };
    Design { capacity: 4 * cart_books, max_attempts: 1_000, ..Design::plain(books, crew) }
}

fn watch(what: &str, design: &Design) -> Watchdog {
    watchdog(format!("{what}: {design:?}"), Duration::from_secs(100))
}

async fn started(config: &TopologyConfig, catalog: &Catalog) -> RunningTopology {
    let topology = Topology::from_config(config, catalog).expect("a good config");
    topology.start().await.expect("it starts")
}

fn run(config: &TopologyConfig, catalog: &Catalog) -> Report {
    System::new().block_on(async {
        let topology = Topology::from_config(config, catalog).expect("a good config");
        topology.run().await.expect("it starts")
    })
}

/// Kills a gopher each time that further books have been burned, from the first to the last.
fn run_with_kills(
    config: &TopologyConfig,
    catalog: &Catalog,
    design: &Design,
    seed: u64,
) -> Report {
    System::new().block_on(async {
        let running = started(config, catalog).await;
        running.close_offers();
        let (killed, design) = (running.clone(), design.clone());
        let killing = actix_rt::spawn(async move {
            let actors = killed.actors();
            let gophers: Vec<_> = actors.iter().filter(|name| name.starts_with("crew")).collect();
            let (mut chance, mut before) = (seed, 0);
            loop {
                let burned = killed.snapshot().ledger.burned;
                if burned > before || burned == 0 {
                    before = burned;
                    chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
                    killed.kill(gophers[(chance >> 33) as usize % gophers.len()]);
                    assert_balanced(&killed, &design);
                }
                tokio::task::yield_now().await;
            }
        });
        let done = running.done().await;
        killing.abort();
        running.finish(done).await
    })
}

fn assert_once(books: u64, report: &Report, record: &Record) {
    assert_eq!(report.outcome, RunOutcome::Finished);
    let ledger = &report.ledger;
    assert!(ledger.balances(), "{ledger:?}");
    assert_eq!((ledger.offered, ledger.burned, ledger.in_flight), (books, books, 0), "{ledger:?}");
    assert_eq!(record.sorted(), (1..=books).collect::<Vec<_>>());
}

fn row(report: &Report, name: &str) -> NodeReport {
    let row = report.nodes.iter().find(|node| node.name == name);
    row.unwrap_or_else(|| panic!("{name} is in {:?}", report.nodes)).clone()
}

/// Inline steps are counted for the idle gopher: each of the four has all trips and all books.
#[test]
fn the_counters_of_all_four_are_the_trips() {
    for (carts, cart_books) in [(1, 1), (3, 1), (16, 1), (1, 64), (6, 64)] {
        let books = 40 * cart_books + 7;
        let design = crew(&RING, carts, cart_books, books);
        let _watchdog = watch("counters", &design);
        let record = Record::default();
        let catalog = catalog(books, &record);
        let config = design.config(Some("numbers"), "record", &[]);
        let report = System::new().block_on(async {
            let running = started(&config, &catalog).await;
            // Wait until the last cart is back: the end of a run does not wait for it.
            loop {
                let so_far = running.snapshot();
                let trips = row(&so_far, "furnace").carts;
                if so_far.ledger.burned == books && row(&so_far, "crew0_0/4").carts >= trips {
                    break;
                }
                tokio::task::yield_now().await;
            }
            running.drain(None).await
        });
        assert_once(books, &report, &record);
        let trips = row(&report, "furnace").carts;
        assert_eq!(row(&report, "manuals").carts, trips);
        for gopher in 1..=4 {
            let row = row(&report, &format!("crew0_0/{gopher}"));
            assert_eq!((row.carts, row.books), (trips, books), "{}: {design:?}", row.name);
        }
    }
}

/// A gopher that ran the steps of others until its turn was over still does its own afterwards.
#[test]
fn no_cart_is_forgotten_at_the_end_of_a_turn() {
    let crews: [&[&str]; 8] = [
        &RING,
        &["push", "load unload return"],
        &["push unload", "load return"],
        &["load", "push unload return", "unload"],
        &["unload", "load push return"],
        &["push", "unload", "load return", "load return"],
        &["load push", "load unload return"],
        &["load push", "unload", "load return"],
    ];
    for (gophers, carts) in
        crews.into_iter().flat_map(|crew| (1..9).map(move |carts| (crew, carts)))
    {
        for grind in [0, 60_000] {
            let books = if grind == 0 { 700 } else { 12 };
            let mut design = crew(gophers, carts, 1, books);
            design.capacity = 64;
            let _watchdog = watch("the end of a turn", &design);
            let record = Record::default();
            let mut catalog = catalog(books, &record);
            let (noted, sink) = (record.clone(), AtomicU64::new(0));
            // A turn also ends when burning takes long.
            catalog.add_inline_burn_fn("grinding", "", move |book| {
                noted.note(book);
                let ground = (0..grind)
                    .fold(book.id.0, |sum, n| std::hint::black_box(sum ^ n).rotate_left(7));
                sink.fetch_xor(ground, Ordering::Relaxed);
                Ok(())
            });
            let report = run(&design.config(Some("numbers"), "grinding", &[]), &catalog);
            assert_once(books, &report, &record);
        }
    }
}

/// Gophers are killed continuously, as lenders and as borrowers.
#[test]
fn kills_of_lenders_and_borrowers_lose_and_double_nothing() {
    hush();
    for seed in 0..6 {
        for (carts, cart_books) in [(1, 1), (4, 1), (2, 64)] {
            for gophers in [&RING[..], &["push unload", "load return"]] {
                let books = 60 * cart_books;
                let design = crew(gophers, carts, cart_books, books);
                let _watchdog = watch(&format!("kills, seed {seed}"), &design);
                let record = Record::default();
                let catalog = catalog(books, &record);
                let config = design.config(Some("numbers"), "record", &[]);
                let report = run_with_kills(&config, &catalog, &design, seed);
                assert_once(books, &report, &record);
            }
        }
    }
}

/// A burn that panics inline ends the incinerator, not the gopher that brought the cart.
#[test]
fn a_burn_that_panics_in_an_inline_run_is_the_fires_own() {
    hush();
    for (carts, cart_books) in [(1, 1), (8, 1), (3, 64)] {
        let books = 30 * cart_books;
        let design = crew(&RING, carts, cart_books, books);
        let _watchdog = watch("panics", &design);
        let moods: Moods = (1..=books)
            .filter(|id| id % (4 * cart_books + 3) == 2)
            .map(|id| (id, if id % 2 == 0 { Mood::PanicFirst(2) } else { Mood::FailFirst(1, 0) }))
            .collect();
        let record = Record::default();
        let mut catalog = catalog(books, &record);
        let (noted, mind) = (record.clone(), moody(moods.clone(), Record::default()));
        catalog.add_inline_burn_fn("moody", "", move |book| {
            mind(book.clone())?;
            noted.note(book);
            Ok(())
        });
        let report = run(&design.config(Some("numbers"), "moody", &[]), &catalog);
        assert_once(books, &report, &record);
        assert!(row(&report, "furnace").restarts > 0, "{moods:?}");
        let gophers = report.nodes.iter().filter(|node| node.kind == "gopher");
        assert_eq!(gophers.map(|node| node.restarts).sum::<u64>(), 0);
    }
}

/// Gives any number of books up to the wanted one, and sometimes fails or panics.
struct Fitful {
    left: u64,
    calls: u64,
    errs: bool,
    given: Arc<AtomicU64>,
}

impl Source for Fitful {
    fn next(&mut self, want: usize) -> Result<Option<Vec<Book>>, Failure> {
        self.calls += 1;
        match self.calls % 7 {
            3 if self.errs => return Err(Failure::transient("boom: not now")),
            5 if self.errs => panic!("boom in the source"),
            _ => {}
        }
        if self.left == 0 {
            return Ok(None);
        }
        let most = if self.calls.is_multiple_of(3) { want as u64 } else { self.calls % 50 + 1 };
        let count = most.min(want as u64).min(self.left);
        self.left -= count;
        let first = self.given.fetch_add(count, Ordering::AcqRel);
        Ok(Some((first + 1..=first + count).map(|n| Book::new(n.to_string())).collect()))
    }

    fn blocks(&self) -> bool {
        false
    }
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct NoOptions {}

fn fitful(catalog: &mut Catalog, books: u64, errs: bool) -> Arc<AtomicU64> {
    let given = Arc::new(AtomicU64::new(0));
    let count = given.clone();
    catalog.add_source("fitful", "", move |_: &NoOptions, _| {
        Ok(Fitful { left: books, calls: 0, errs, given: count.clone() })
    });
    given
}

/// A source that fails while it is read inline ends its feeder's life; the books that it gave are
/// burned.
#[test]
fn a_source_that_errs_in_an_inline_run_loses_nothing() {
    hush();
    for (carts, cart_books) in [(1, 1), (8, 1), (3, 64)] {
        let books = 500 * cart_books;
        let design = crew(&RING, carts, cart_books, books);
        let _watchdog = watch("a source that errs", &design);
        let record = Record::default();
        let mut catalog = catalog(0, &record);
        let given = fitful(&mut catalog, books, true);
        let config = design.config(Some("fitful"), "record", &[]);
        let report = run(&config, &catalog);
        assert_once(books, &report, &record);
        assert_eq!(given.load(Ordering::Acquire), books);
        let gophers = report.nodes.iter().filter(|node| node.kind == "gopher");
        assert_eq!(gophers.map(|node| node.restarts).sum::<u64>(), 0);
    }
}

/// Loads out of step with the runs of the source, and small piles: all books are burned, in order
/// with one cart and nearly in order with several.
#[test]
fn loads_out_of_step_with_the_source_keep_the_order() {
    for capacity in [1u64, 3, 64, 100] {
        for (carts, cart_books) in [(1, 1), (2, 1), (40, 1), (8, 7), (2, 30), (1, 64), (3, 50)] {
            if cart_books > capacity {
                continue;
            }
            let books = 2_111;
            for gophers in [&ROUND[..], &RING] {
                let mut design = crew(gophers, carts, cart_books, books);
                design.capacity = capacity;
                let _watchdog = watch("out of step", &design);
                for source in ["numbers", "fitful"] {
                    let record = Record::default();
                    let mut catalog = catalog(books, &record);
                    fitful(&mut catalog, books, false);
                    let (noted, all_right) = (record.clone(), Arc::new(AtomicU64::new(0)));
                    let right = all_right.clone();
                    catalog.add_inline_burn_fn("checked", "", move |book| {
                        noted.note(book);
                        // The number that the source gave the book.
                        let own = book.body.read_all(99).ok();
                        let same = own.is_some_and(|own| *own == *book.id.0.to_string().as_bytes());
                        right.fetch_add(u64::from(same), Ordering::Relaxed);
                        Ok(())
                    });
                    let report = run(&design.config(Some(source), "checked", &[]), &catalog);
                    assert_once(books, &report, &record);
                    assert_eq!(all_right.load(Ordering::Relaxed), books);
                    let late = |(at, id): (usize, &u64)| (at as u64 + 1).saturating_sub(*id);
                    let latest = record.all().iter().enumerate().map(late).max();
                    // Other carts pass a waiting cart for one turn at most.
                    let most = if carts == 1 { 0 } else { 64 * u64::from(carts) * cart_books };
                    assert!(latest <= Some(most), "{latest:?} behind: {design:?}");
                }
            }
        }
    }
}

/// Most steps take no time, so that most of them run inline; some crews are on other arbiters than
/// their piles.
fn quick() -> impl Strategy<Value = Design> {
    (design(2), any::<bool>(), 0usize..4).prop_map(|(mut design, tight, timed)| {
        for crew in design.stretches.iter_mut().flatten() {
            for (step, time) in crew.times.iter_mut().enumerate() {
                *time = if step == timed { (time.0 / 20, false) } else { (0, false) };
            }
            if timed != 3 {
                crew.times = [(0, false); 4];
            }
            if tight {
                crew.cart_books = 1;
            }
        }
        if tight {
            design.capacity = 1;
            design.dumps.iter_mut().for_each(|dump| *dump = 1);
        }
        design.max_attempts = 1_000;
        design
    })
}

proptest! {
    #![proptest_config(cases(80))]

    /// Any crews over two arbiters, with or without kills.
    #[test]
    fn any_crews_on_two_arbiters_burn_all_once(
        design in quick(),
        spread in any::<bool>(),
        kills in any::<bool>(),
        seed in any::<u64>(),
    ) {
        hush();
        let _watchdog = watch(&format!("spread {spread}, kills {kills}, seed {seed}"), &design);
        let record = Record::default();
        let catalog = catalog(design.books, &record);
        let mut config = design.config(Some("numbers"), "record", &[]);
        if spread {
            Design::spread(&mut config);
        }
        let report = match kills {
            true => run_with_kills(&config, &catalog, &design, seed),
            false => run(&config, &catalog),
        };
        assert_once(design.books, &report, &record);
    }
}
