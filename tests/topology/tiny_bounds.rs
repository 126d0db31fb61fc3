//! Real threads with the tightest bounds: carts and dumps of one book, and each node on another
//! arbiter. No run may hang, and every book is in one place and has one end.

use crate::support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use actix_rt::System;
use gopherworks::catalog::Catalog;
use gopherworks::config::elements::TopologyConfig;
use gopherworks::pipeline::book::Book;
use gopherworks::report::{Report, RunOutcome};
use gopherworks::topology::{OfferError, RunningTopology, Topology};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use support::designs::{CrewDesign, Design, kills};
use support::kinds::{Record, catalog, hush};
use support::watchdog::watchdog;

/// Time limit for the runs of one test, in a debug build on a slow and busy machine.
const LIMIT: Duration = Duration::from_secs(100);

/// A design with the smallest capacities.
fn tight(books: u64, dumps: usize, gophers: &[&str], carts: u32) -> Design {
    let crew = CrewDesign {
        gophers: gophers.iter().map(|duties| duties.to_string()).collect(),
        carts,
        ..CrewDesign::plain(1)
    };
    Design {
        capacity: 1,
        dumps: vec![1; dumps],
        stretches: vec![vec![crew]; dumps + 1],
        exclusive: vec![(None, None); dumps + 1],
        ..Design::plain(books, CrewDesign::plain(1))
    }
}

const ROUND: &str = "load push unload return";
const RING: [&str; 4] = ["load", "push", "unload", "return"];

/// All sorts of tight designs.
fn sorts(books: u64) -> Vec<Design> {
    let mut sorts = vec![
        tight(books, 0, &[ROUND], 1),
        tight(books, 0, &RING, 1),
        tight(books, 1, &[ROUND, ROUND], 1),
        tight(books, 1, &RING, 2),
        tight(books, 2, &[ROUND], 2),
        tight(books, 2, &["load push", "unload return"], 1),
    ];
    let mut exclusive = tight(books, 2, &[ROUND, ROUND], 2);
    exclusive.exclusive = vec![(Some(1), Some(1)); 3];
    sorts.push(exclusive);
    let mut lanes = tight(books, 1, &RING, 1);
    lanes.stretches.iter_mut().for_each(|crews| crews.push(crews[0].clone()));
    lanes.exclusive = vec![(Some(1), Some(1)); 2];
    sorts.push(lanes);
    let mut timed = tight(books.min(20), 1, &RING, 2);
    timed.stretches[0][0].times = [(0, false), (300, false), (300, false), (0, false)];
    sorts.push(timed);
    sorts
}

fn spread(mut config: TopologyConfig) -> TopologyConfig {
    Design::spread(&mut config);
    config
}

fn topology(config: &TopologyConfig, catalog: &Catalog) -> Topology {
    Topology::from_config(config, catalog).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

fn assert_once(books: u64, report: &Report, record: &Record) {
    assert_eq!(report.outcome, RunOutcome::Finished);
    let ledger = &report.ledger;
    assert!(ledger.balances(), "{ledger:?}");
    assert_eq!((ledger.offered, ledger.burned, ledger.in_flight), (books, books, 0), "{ledger:?}");
    let all: Vec<u64> = (1..=books).collect();
    assert_eq!(record.sorted(), all);
}

/// Asserts what must hold when a run has ended early.
fn assert_parked(report: &Report, record: &Record) {
    let ledger = &report.ledger;
    assert!(ledger.balances(), "{ledger:?}");
    assert_eq!(
        ledger.in_flight,
        ledger.offered - ledger.burned - ledger.dead - ledger.dropped,
        "{ledger:?}"
    );
    assert_eq!(record.all().len() as u64, ledger.burned, "{ledger:?}");
    assert!(record.counts().values().all(|times| *times == 1));
}

/// The smallest bounds reveal missed wake-ups: hundreds of short runs, and some long ones.
#[test]
fn nothing_hangs_where_everything_is_tight() {
    for (books, rounds) in [(1, 8), (3, 12), (40, 6), (600, 1)] {
        for _ in 0..rounds {
            for design in sorts(books) {
                let _watchdog = watchdog(format!("{design:?}"), LIMIT);
                let record = Record::default();
                let catalog = catalog(design.books, &record);
                let config = spread(design.config(Some("numbers"), "record", &[]));
                let report =
                    System::new().block_on(topology(&config, &catalog).run()).expect("it starts");
                assert_once(design.books, &report, &record);
            }
        }
    }
}

/// Works and burns run in the pool, so that carts also cross its threads.
#[test]
fn nothing_hangs_where_the_pool_works_and_burns() {
    for design in (0..4).flat_map(|_| sorts(60)) {
        let _watchdog = watchdog(format!("{design:?}"), LIMIT);
        let (record, burned) = (Record::default(), Record::default());
        let mut catalog = catalog(design.books, &record);
        catalog.add_work_fn("look", "", |book| Ok(Some(book)));
        let noted = burned.clone();
        catalog.add_burn_fn("pooled", "", move |book| {
            noted.note(book);
            Ok(())
        });
        let works = vec![Some("look"); design.stretches.len()];
        let config = spread(design.config(Some("numbers"), "pooled", &works));
        let report = System::new().block_on(topology(&config, &catalog).run()).expect("it starts");
        assert_once(design.books, &report, &burned);
    }
}

/// Kills actors of `running` by `plan`, repeatedly, until `over` is set.
async fn kill_until(running: &RunningTopology, plan: &[(u64, usize)], over: &AtomicBool) {
    let actors = running.actors();
    for (gap, victim) in plan.iter().cycle() {
        for _ in 0..=*gap {
            tokio::task::yield_now().await;
        }
        if over.load(Ordering::Acquire) {
            return;
        }
        assert!(running.kill(&actors[victim % actors.len()]));
        let ledger = running.snapshot().ledger;
        assert!(ledger.balances(), "{ledger:?}");
    }
}

#[test]
fn kills_in_real_threads_lose_and_double_nothing() {
    hush();
    let mut chance = TestRunner::deterministic();
    for (round, design) in (0..6).flat_map(|round| sorts(120).into_iter().map(move |d| (round, d)))
    {
        let _watchdog = watchdog(format!("{design:?}"), LIMIT);
        let plan = kills(40).new_tree(&mut chance).unwrap().current();
        let plan: Vec<_> =
            plan.into_iter().map(|(gap, victim)| (gap % 40, victim)).take(40).collect();
        let record = Record::default();
        let mut catalog = catalog(design.books, &record);
        catalog.add_work_fn("look", "", |book| Ok(Some(book)));
        let burned = Record::default();
        let noted = burned.clone();
        catalog.add_burn_fn("pooled", "", move |book| {
            noted.note(book);
            Ok(())
        });
        let work = (round % 2 == 0).then_some("look");
        let works = vec![work; design.stretches.len()];
        let burn = if round % 3 == 0 { "pooled" } else { "record" };
        let config = spread(design.config(Some("numbers"), burn, &works));
        let report = System::new().block_on(async {
            let running = topology(&config, &catalog).start().await.expect("it starts");
            running.close_offers();
            // The kills end after a time, since otherwise the run might make no progress; then
            // everything must drain.
            let over = Arc::new(AtomicBool::new(false));
            let (killed, ended) = (running.clone(), over.clone());
            let killing = actix_rt::spawn(async move {
                let most: usize = plan.len();
                for pair in plan.chunks(1).take(most) {
                    if ended.load(Ordering::Acquire) {
                        return;
                    }
                    let once = AtomicBool::new(false);
                    let step = kill_until(&killed, pair, &once);
                    let stop = async {
                        tokio::task::yield_now().await;
                        once.store(true, Ordering::Release);
                    };
                    tokio::join!(step, stop);
                }
            });
            let done = running.done().await;
            over.store(true, Ordering::Release);
            killing.await.expect("the killer does not fail");
            running.finish(done).await
        });
        let record = if burn == "pooled" { &burned } else { &record };
        assert_once(design.books, &report, record);
    }
}

/// A stop at a random moment: books in flight are back on their piles, and nothing moves any more.
#[test]
fn a_stop_puts_everything_back() {
    let mut chance = TestRunner::deterministic();
    for design in (0..12).flat_map(|_| sorts(400)) {
        let _watchdog = watchdog(format!("{design:?}"), LIMIT);
        let (record, burned) = (Record::default(), Record::default());
        let mut catalog = catalog(design.books, &record);
        let noted = burned.clone();
        catalog.add_burn_fn("pooled", "", move |book| {
            noted.note(book);
            Ok(())
        });
        let moments = (0usize..400).new_tree(&mut chance).unwrap().current();
        let config = spread(design.config(Some("numbers"), "pooled", &[]));
        let (report, later) = System::new().block_on(async {
            let running = topology(&config, &catalog).start().await.expect("it starts");
            for _ in 0..moments {
                tokio::task::yield_now().await;
            }
            let report = running.stop().await;
            tokio::task::yield_now().await;
            (report, running.snapshot())
        });
        assert_eq!(report.outcome, RunOutcome::Stopped);
        assert_eq!(report.ledger, later.ledger, "nothing moves after a stop");
        assert_parked(&report, &burned);
    }
}

/// A drain ends by itself, or at its deadline.
#[test]
fn a_drain_ends_by_itself_or_by_its_deadline() {
    let mut late = 0;
    for (nth, design) in (0..3).flat_map(|_| sorts(3_000)).enumerate() {
        let _watchdog = watchdog(format!("{design:?}"), LIMIT);
        let record = Record::default();
        let catalog = catalog(design.books, &record);
        let config = spread(design.config(Some("numbers"), "record", &[]));
        let deadline = Duration::from_millis([0, 5, 60_000][nth % 3]);
        let report = System::new().block_on(async {
            let running = topology(&config, &catalog).start().await.expect("it starts");
            running.drain(Some(deadline)).await
        });
        match report.outcome {
            RunOutcome::Finished => assert_eq!(report.ledger.in_flight, 0),
            RunOutcome::DeadlinePassed => late += 1,
            ref other => panic!("{other:?}"),
        }
        assert_parked(&report, &record);
    }
    assert!(late > 0, "no drain met its deadline: the test looks at half of it only");
}

/// Offers from several threads wait for space; the pile never exceeds its capacity.
#[test]
fn offers_wait_for_room() {
    const OFFERERS: u64 = 3;
    const BOOKS: u64 = 400;
    for design in sorts(0) {
        let _watchdog = watchdog(format!("{design:?}"), LIMIT);
        let record = Record::default();
        let catalog = catalog(0, &record);
        let config = spread(design.config(None, "record", &[]));
        let most = Arc::new(AtomicU64::new(0));
        let report = System::new().block_on(async {
            let running = topology(&config, &catalog).start().await.expect("it starts");
            let threads: Vec<_> = (0..OFFERERS)
                .map(|_| {
                    let (running, most) = (running.clone(), most.clone());
                    std::thread::spawn(move || {
                        let runtime =
                            tokio::runtime::Builder::new_current_thread().build().unwrap();
                        runtime.block_on(async move {
                            for n in 0..BOOKS {
                                running
                                    .offer("manuals", vec![Book::new(n.to_string())])
                                    .await
                                    .expect("taken");
                                most.fetch_max(
                                    running.snapshot().ledger.in_flight,
                                    Ordering::AcqRel,
                                );
                            }
                        });
                    })
                })
                .collect();
            while !threads.iter().all(|thread| thread.is_finished()) {
                tokio::task::yield_now().await;
            }
            for thread in threads {
                thread.join().expect("an offerer does not fail");
            }
            running.drain(None).await
        });
        assert_once(OFFERERS * BOOKS, &report, &record);
        let most = most.load(Ordering::Acquire);
        // Books that a cart returned are counted until the pile has processed them, and it may have
        // leased the cart its next book by then.
        assert!(most <= 2 * design.room(), "{most} in flight, room for {}", design.room());
    }
}

/// A dropped offer adds no book, and does not block other offers.
#[test]
fn a_dropped_offer_takes_nothing() {
    let design = tight(0, 1, &[ROUND], 1);
    let _watchdog = watchdog("a dropped offer", LIMIT);
    let record = Record::default();
    let catalog = catalog(0, &record);
    let config = spread(design.config(None, "record", &[]));
    let (given, report) = System::new().block_on(async {
        let running = topology(&config, &catalog).start().await.expect("it starts");
        let mut given = 0;
        for nth in 0..600u64 {
            let offer = running.offer("manuals", vec![Book::new(nth.to_string())]);
            tokio::select! {
                biased;
                taken = offer => { taken.expect("taken"); given += 1; }
                () = async { for _ in 0..nth % 4 { tokio::task::yield_now().await; } } => {}
            }
        }
        running.offer("manuals", vec![Book::new("last")]).await.expect("there is space");
        (given + 1, running.drain(None).await)
    });
    assert_once(given, &report, &record);
    assert!(given < 601, "some offers were dropped");
}

/// Offers that wait when the run is stopped get their books back, and so do later ones.
#[test]
fn a_stop_answers_offers_that_wait() {
    let _watchdog = watchdog("an offer that waits while the run is stopped", LIMIT);
    let design = tight(0, 0, &[ROUND], 1);
    let hold = Arc::new(std::sync::Barrier::new(2));
    let record = Record::default();
    let mut catalog = catalog(0, &record);
    let at = hold.clone();
    catalog.add_burn_fn("held", "", move |_| {
        at.wait();
        Ok(())
    });
    let config = spread(design.config(None, "held", &[]));
    System::new().block_on(async {
        let running = topology(&config, &catalog).start().await.expect("it starts");
        // The first book is held in its burn; the second fills the pile; the third waits.
        for _ in 0..2 {
            running.offer("manuals", vec![Book::new("x")]).await.expect("taken");
        }
        let waiting = running.clone();
        let third =
            actix_rt::spawn(
                async move { waiting.offer("manuals", vec![Book::new("third")]).await },
            );
        tokio::task::yield_now().await;
        std::thread::spawn(move || hold.wait());
        let report = running.stop().await;
        assert!(report.ledger.balances(), "{:?}", report.ledger);
        let late = running.try_offer("manuals", vec![Book::new("late")]);
        assert!(
            matches!(&late, Err(OfferError::Closed(books)) if books.len() == 1),
            "a stopped run took a book: {late:?}"
        );
        let third = third.await.expect("no panic");
        assert!(matches!(&third, Err(OfferError::Closed(books)) if books.len() == 1), "{third:?}");
    });
}

/// Dropping the handle without a stop ends all threads of the run.
#[test]
fn a_dropped_handle_ends_the_run() {
    let _watchdog = watchdog("a handle dropped without a stop", LIMIT);
    struct Alive(Arc<AtomicU64>);
    impl Drop for Alive {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::AcqRel);
        }
    }
    let alive = Arc::new(AtomicU64::new(0));
    for _ in 0..20 {
        let design = tight(1_000_000, 1, &[ROUND, ROUND], 2);
        let record = Record::default();
        let mut catalog = catalog(design.books, &record);
        let living = alive.clone();
        catalog.add_source_iter("endless", "", move || {
            living.fetch_add(1, Ordering::AcqRel);
            let me = Alive(living.clone());
            std::iter::repeat_with(move || {
                let _ = &me;
                Book::new("x")
            })
        });
        let config = spread(design.config(Some("endless"), "record", &[]));
        System::new().block_on(async {
            let running = topology(&config, &catalog).start().await.expect("it starts");
            while running.snapshot().ledger.burned < 20 {
                tokio::task::yield_now().await;
            }
            drop(running);
            // The arbiters end and drop everything, including the source.
            while alive.load(Ordering::Acquire) > 0 {
                tokio::task::yield_now().await;
            }
        });
    }
}
