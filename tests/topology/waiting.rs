//! Burns that wait for a disk or a network: they occupy no core, and whichever actors die
//! meanwhile, each book has one end.

use crate::support;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use actix_rt::System;
use futures_util::StreamExt;
use gopherworks::catalog::Catalog;
use gopherworks::pipeline::burn::Burn;
use gopherworks::report::{Report, RunOutcome};
use gopherworks::supervision::clock::Stopwatch;
use gopherworks::topology::{Event, RunningTopology};
use gopherworks::{Book, Failure, Topology, TopologyConfig};
use support::kinds::{Record, hush};
use support::watchdog::watchdog;

const ALL: &str = "load push unload return";

/// Counts calls in progress, and holds them until it is opened.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    inside: usize,
    most: usize,
    open: bool,
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.inside += 1;
        state.most = state.most.max(state.inside);
        self.changed.notify_all();
        let mut state = self.changed.wait_while(state, |state| !state.open).unwrap();
        state.inside -= 1;
    }

    /// Waits until `count` calls are inside at once.
    fn meet(&self, count: usize) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| state.inside < count));
    }

    fn open(&self) {
        self.state.lock().unwrap().open = true;
        self.changed.notify_all();
    }

    fn most(&self) -> usize {
        self.state.lock().unwrap().most
    }
}

/// Waits at two gates: before each book, and before it finishes; panics once at each book of
/// `poison`.
struct Waits {
    gate: Arc<Gate>,
    burned: Record,
    poison: Arc<Mutex<Vec<u64>>>,
    last: Arc<Gate>,
    waits: bool,
}

impl Burn for Waits {
    fn burn(&self, book: &Book) -> Result<(), Failure> {
        self.gate.pass();
        let mut poison = self.poison.lock().unwrap();
        if let Some(at) = poison.iter().position(|id| *id == book.id.0) {
            poison.remove(at);
            drop(poison);
            panic!("boom at {}", book.id);
        }
        self.burned.note(book);
        Ok(())
    }

    fn waits(&self) -> bool {
        self.waits
    }

    fn finish(&self) -> Result<(), Failure> {
        self.last.pass();
        Ok(())
    }
}

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct NoOptions {}

/// What a test can observe of its burn.
#[derive(Debug, Clone)]
struct Seen {
    gate: Arc<Gate>,
    burned: Record,
    poison: Arc<Mutex<Vec<u64>>>,
    /// Open, unless a test closes it.
    last: Arc<Gate>,
}

impl Default for Seen {
    fn default() -> Self {
        let last = Arc::<Gate>::default();
        last.open();
        Self { gate: Arc::default(), burned: Record::default(), poison: Arc::default(), last }
    }
}

impl Seen {
    fn catalog(&self, waits: bool) -> Catalog {
        let seen = self.clone();
        let mut catalog = Catalog::standard();
        catalog.add_burn("waits", "Waits at a gate", move |_: &NoOptions, _| {
            Ok(Waits {
                gate: seen.gate.clone(),
                burned: seen.burned.clone(),
                poison: seen.poison.clone(),
                last: seen.last.clone(),
                waits,
            })
        });
        catalog
    }
}

/// One core, carts of one book, `carts` carts.
fn config(carts: u32) -> TopologyConfig {
    let mut config = TopologyConfig::builder("waiting")
        .pile("desk", |pile| pile.max_attempts(5))
        .incinerator("out", |fire| fire.burn("waits"))
        .crew("crew", "desk", "out", |crew| crew.gophers(1, ALL).carts(carts).cart_books(1))
        .cores(1)
        .build();
    config.supervision.intensity = 1_000;
    config.supervision.in_a_row = 1_000;
    config.supervision.backoff.min = Duration::from_millis(1);
    config.supervision.backoff.max = Duration::from_millis(1);
    config
}

fn books(count: usize) -> Vec<Book> {
    (0..count).map(|n| Book::new(n.to_string())).collect()
}

fn run(
    config: &TopologyConfig,
    catalog: &Catalog,
    count: usize,
    meanwhile: impl AsyncFnOnce(&RunningTopology),
) -> Report {
    let _watchdog = watchdog("burns that wait", Duration::from_secs(60));
    System::new().block_on(async {
        let topology = Topology::from_config(config, catalog).expect("a valid config");
        let running = topology.start().await.expect("it starts");
        running.offer("desk", books(count)).await.expect("room");
        meanwhile(&running).await;
        running.drain(None).await
    })
}

/// Waits on another thread, so that the arbiter continues.
async fn aside(wait: impl FnOnce() + Send + 'static) {
    tokio::task::spawn_blocking(wait).await.expect("no panic");
}

#[test]
fn four_that_wait_are_under_way_at_once_on_one_core() {
    let seen = Seen::default();
    let report = run(&config(4), &seen.catalog(true), 40, async |_| {
        let gate = seen.gate.clone();
        aside(move || gate.meet(4)).await;
        seen.gate.open();
    });
    assert_eq!(report.outcome, RunOutcome::Finished);
    assert_eq!((report.ledger.burned, report.ledger.dead), (40, 0));
    assert!(report.ledger.balances());
    assert_eq!(seen.burned.sorted(), (1..=40).collect::<Vec<_>>());
    assert_eq!(seen.gate.most(), 4, "carts bound what is under way");
}

#[test]
fn the_core_works_while_they_wait() {
    let seen = Seen::default();
    let mut catalog = seen.catalog(true);
    let worked = Arc::new(Gate::default());
    let (passed, count) = (worked.clone(), AtomicU32::new(0));
    catalog.add_work_fn("fourth", "Tells of the fourth book", move |book: Book| {
        if count.fetch_add(1, Ordering::Relaxed) == 3 {
            passed.pass();
        }
        Ok(Some(book))
    });
    let mut config = config(4);
    config.crews.get_mut("crew").unwrap().work = vec!["fourth".into()];
    let report = run(&config, &catalog, 4, async |_| {
        // Three wait in the incinerator, and the only core has the fourth book.
        let (fire, core) = (seen.gate.clone(), worked.clone());
        aside(move || {
            core.meet(1);
            fire.meet(3);
        })
        .await;
        worked.open();
        seen.gate.open();
    });
    assert_eq!((report.outcome, report.ledger.burned), (RunOutcome::Finished, 4));
}

#[test]
fn one_that_works_takes_its_core() {
    let seen = Seen::default();
    let report = run(&config(4), &seen.catalog(false), 40, async |_| {
        let gate = seen.gate.clone();
        aside(move || gate.meet(1)).await;
        seen.gate.open();
    });
    assert_eq!((report.outcome, report.ledger.burned), (RunOutcome::Finished, 40));
    assert_eq!(seen.gate.most(), 1);
}

#[test]
fn a_panic_in_one_that_waits_charges_its_book_alone() {
    hush();
    let seen = Seen::default();
    *seen.poison.lock().unwrap() = vec![2, 3, 20];
    let report = run(&config(4), &seen.catalog(true), 40, async |_| {
        let gate = seen.gate.clone();
        // Two panic while two others are in progress.
        aside(move || gate.meet(4)).await;
        seen.gate.open();
    });
    assert_eq!(report.outcome, RunOutcome::Finished);
    assert_eq!((report.ledger.burned, report.ledger.dead), (40, 0));
    assert!(report.ledger.balances());
    assert!(report.restarts >= 1, "the actor dies of it");
    assert_eq!(seen.burned.sorted(), (1..=40).collect::<Vec<_>>());
}

#[test]
fn what_waits_when_its_incinerator_is_killed_is_burned_once() {
    let seen = Seen::default();
    let report = run(&config(4), &seen.catalog(true), 40, async |running| {
        let gate = seen.gate.clone();
        aside(move || gate.meet(4)).await;
        let mut events = Box::pin(running.events());
        assert!(running.kill("out"));
        while !matches!(events.next().await, Some(Event::Exited { .. })) {}
        seen.gate.open();
    });
    assert_eq!(report.outcome, RunOutcome::Finished);
    assert_eq!((report.ledger.burned, report.ledger.dead), (40, 0));
    assert!(report.ledger.balances());
    assert_eq!(seen.burned.sorted(), (1..=40).collect::<Vec<_>>());
}

#[test]
fn a_stop_waits_for_what_waits_and_brings_the_rest_home() {
    let _watchdog = watchdog("a stop", Duration::from_secs(60));
    let seen = Seen::default();
    let report = System::new().block_on(async {
        let topology = Topology::from_config(&config(4), &seen.catalog(true)).unwrap();
        let running = topology.start().await.unwrap();
        running.offer("desk", books(40)).await.unwrap();
        let gate = seen.gate.clone();
        aside(move || gate.meet(4)).await;
        let open = async { seen.gate.open() };
        futures_util::future::join(running.stop(), open).await.0
    });
    let ledger = report.ledger;
    assert!(ledger.balances(), "{ledger:?}");
    assert_eq!((ledger.lost, ledger.burned + ledger.in_flight), (0, 40));
    assert_eq!(seen.burned.all().len() as u64, ledger.burned);
}

/// How long a drain with 40 books and a burn that is stuck takes beyond its deadline.
fn beyond_the_deadline(waits: bool, stuck_at_end: bool) -> Duration {
    let mut seen = Seen::default();
    if stuck_at_end {
        seen.last = Arc::default();
    }
    let deadline = Duration::from_millis(100);
    let (report, late) = System::new().block_on(async {
        let topology = Topology::from_config(&config(4), &seen.catalog(waits)).unwrap();
        let running = topology.start().await.unwrap();
        running.offer("desk", books(40)).await.unwrap();
        let gate = seen.gate.clone();
        aside(move || gate.meet(if waits { 4 } else { 1 })).await;
        let asked = Stopwatch::start();
        let report = running.drain(Some(deadline)).await;
        (report, asked.elapsed().saturating_sub(deadline))
    });
    let ledger = report.ledger;
    assert_eq!(report.outcome, RunOutcome::DeadlinePassed);
    assert!(ledger.balances(), "{ledger:?}");
    assert_eq!((ledger.lost, ledger.burned, ledger.in_flight), (0, 0, 40));
    let cut = report.failures.iter().any(|why| why.contains("did not finish within"));
    assert_eq!(cut, stuck_at_end, "{:?}", report.failures);
    // Its threads end with the test.
    seen.gate.open();
    seen.last.open();
    late
}

#[test]
fn a_drain_ends_within_a_second_of_its_deadline_whatever_is_stuck() {
    let _watchdog = watchdog("a deadline", Duration::from_secs(60));
    for (waits, stuck_at_end) in [(true, false), (false, false), (false, true)] {
        // Other programs may delay one of three.
        let late = (0..3).map(|_| beyond_the_deadline(waits, stuck_at_end));
        let least = late.reduce(Duration::min).unwrap();
        assert!(least < Duration::from_secs(1), "{least:?} {waits} {stuck_at_end}");
    }
}

#[test]
fn threads_that_wait_are_bounded() {
    const MOST: usize = gopherworks::supervision::pool::MOST_WAITING_BURNS;
    let seen = Seen::default();
    let carts = MOST + 6;
    let report = run(&config(carts as u32), &seen.catalog(true), 2 * carts, async |_| {
        let gate = seen.gate.clone();
        aside(move || gate.meet(MOST)).await;
        seen.gate.open();
    });
    assert_eq!(report.ledger.burned, 2 * carts as u64);
    assert_eq!(seen.gate.most(), MOST);
}
