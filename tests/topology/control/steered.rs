//! Any acts of operators at any time, with faults: every book ends once, and a seed gives one
//! trace.

use crate::support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gopherworks::pipeline::Event;
use gopherworks::pipeline::book::BookId;
use gopherworks::pipeline::trace::{Act, Record, Tracer};
use gopherworks::simulate::TraceLog;
use gopherworks::supervision::clock::Seed;
use gopherworks::topology::{ControlAct, Faulting, Options, Topology};
use rand::RngExt;
use support::kinds::hush;
use support::virtual_time::in_virtual_time;

/// Acts of a run, and the time within which they happen.
const ACTS: usize = 40;
const HORIZON: Duration = Duration::from_millis(100);

/// An account of the books, besides the ledger: those put on piles, and those burned or dead.
struct Account {
    log: TraceLog,
    books: Mutex<(BTreeSet<BookId>, BTreeSet<BookId>)>,
}

impl Tracer for Account {
    fn record(&self, record: &Record<'_>) {
        self.log.record(record);
        let mut books = self.books.lock().unwrap();
        match record.act {
            Act::Put { books: put } => books.0.extend(*put),
            Act::Burn { books: burned, .. } => books.1.extend(*burned),
            Act::Event(Event::Dead { book, .. }) => _ = books.1.insert(*book),
            _ => {}
        }
    }
}

/// Number of seeds; `GOPHERWORKS_STEERED` runs more.
fn seeds() -> u64 {
    let said = std::env::var("GOPHERWORKS_STEERED").ok();
    said.map_or(24, |seeds| seeds.parse().expect("GOPHERWORKS_STEERED is a number"))
}

/// Runs a design with the faults and the acts of a seed; checks the account, and returns the
/// trace's digest and how many acts changed something.
fn run(topology: &Topology, seed: u64) -> (String, usize) {
    in_virtual_time(async |clock| {
        let account = Arc::new(Account { log: TraceLog::hashing(), books: Mutex::default() });
        let options = Options {
            clock: Some(clock.clone()),
            tracer: Some(account.clone()),
            faults: Faulting::Planned { horizon: HORIZON },
            ..Options::default()
        };
        let topology = topology.clone().with_seed(seed).with_options(options);
        let running = topology.start().await.expect("it starts");
        running.close_offers();
        let mut draws = Seed(seed).stream("acts", "steered");
        let mut changed = 0;
        for _ in 0..ACTS {
            clock.sleep(HORIZON.mul_f64(draws.random::<f64>() * 2.0 / ACTS as f64)).await;
            let names: Vec<String> = running.nodes().into_iter().map(|node| node.name).collect();
            let node = &names[draws.random_range(0..names.len())];
            let act = match draws.random_range(0..8) {
                0..3 => ControlAct::Pause,
                3..5 => ControlAct::Resume,
                5..7 => ControlAct::Scale(draws.random_range(1..20)),
                _ => ControlAct::Kill,
            };
            let done = running.control(node, act, "a test");
            changed += usize::from(done.is_ok_and(|done| done.changed));
        }
        let report = if seed.is_multiple_of(2) {
            running.drain(None).await
        } else {
            for node in running.paused().into_keys() {
                running.control(&node, ControlAct::Resume, "a test").expect("it is paused");
            }
            let done = running.done().await;
            running.finish(done).await
        };
        let of = &report.ledger;
        assert_eq!((of.lost, of.duplicates, of.in_flight), (0, 0, 0), "seed {seed}: {report:?}");
        // A drain gives back what a pause has kept from being begun.
        let moved = of.burned > 0 || of.given_back > 0;
        assert!(report.balances() && moved, "seed {seed}: {report:?}");
        let (put, ended) = &*account.books.lock().unwrap();
        assert_eq!(ended.len() as u64, of.burned + of.dead, "seed {seed}: {of:?}");
        assert_eq!(put.len() as u64, of.offered + of.given_back, "seed {seed}: {of:?}");
        assert!(ended.is_subset(put), "seed {seed}");
        (account.log.finish().expect("a digest"), changed)
    })
}

#[test]
fn acts_lose_and_double_no_book_and_a_seed_gives_one_trace() {
    hush();
    let mut all = 0;
    for file in ["eight-gophers-staged.toml", "fan-in.toml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/chaos").join(file);
        let topology = Topology::from_file(path).expect("a right file");
        for seed in 0..seeds() {
            let (trace, changed) = run(&topology, seed);
            all += changed;
            if seed < 4 {
                assert_eq!(run(&topology, seed).0, trace, "{file}, seed {seed}");
            }
        }
    }
    assert!(all as u64 > 10 * seeds(), "{all} acts changed something");
}
