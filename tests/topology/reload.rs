//! Reloads of a running topology: what changes at once, what happens to books, and what a failure
//! leaves behind.

use crate::support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gopherworks::catalog::Catalog;
use gopherworks::config::builder::{kind, wait};
use gopherworks::config::elements::TopologyConfig;
use gopherworks::pipeline::burn::Burn;
use gopherworks::plan::Plan;
use gopherworks::plan::changes::{Moves, nodes};
use gopherworks::supervision::clock::Clock;
use gopherworks::topology::{Options, ReloadError, Topology};
use gopherworks::{Book, Failure, RunningTopology};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use support::kinds::Record;
use support::virtual_time::in_virtual_time;

const ALL: &str = "load push unload return";
const MILLI: Duration = Duration::from_millis(1);

/// A burn that notes ids, fails on some books, and can be made unavailable.
struct Sink {
    burned: Record,
    is_down: Arc<AtomicBool>,
}

impl Burn for Sink {
    fn burn(&self, book: &Book) -> Result<(), Failure> {
        self.burn_attempt(book, 1)
    }

    fn burn_attempt(&self, book: &Book, attempt: u32) -> Result<(), Failure> {
        let id = book.id.0;
        if self.is_down.load(Ordering::Acquire) {
            return Err(Failure::unavailable("the sink is down"));
        }
        if id.is_multiple_of(97) || id.is_multiple_of(11) && attempt == 1 {
            return Err(Failure::transient(format!("no luck with {}", id % 97)));
        }
        self.burned.note(book);
        Ok(())
    }

    fn blocks(&self) -> bool {
        false
    }
}

/// The burn `sink`, and switches: the sink is down, and it can't be made.
struct Sinks {
    catalog: Catalog,
    burned: Record,
    is_down: Arc<AtomicBool>,
    is_broken: Arc<AtomicBool>,
}

fn sinks() -> Sinks {
    let (burned, is_down, is_broken) = (Record::default(), Arc::default(), Arc::default());
    let mut catalog = Catalog::standard();
    let (record, down, broken): (_, Arc<AtomicBool>, Arc<AtomicBool>) =
        (burned.clone(), Arc::clone(&is_down), Arc::clone(&is_broken));
    catalog.add_burn("sink", "Notes ids", move |_: &BTreeMap<String, i64>, _| {
        match broken.load(Ordering::Acquire) {
            true => Err(Failure::permanent("no sink can be made")),
            false => Ok(Sink { burned: record.clone(), is_down: down.clone() }),
        }
    });
    Sinks { catalog, burned, is_down, is_broken }
}

impl Sinks {
    fn plan(&self, config: &TopologyConfig) -> Plan {
        Plan::new(config, &self.catalog).unwrap_or_else(|found| panic!("{found}")).0
    }

    async fn start(&self, config: &TopologyConfig, clock: &Clock) -> RunningTopology {
        let options = Options { clock: Some(clock.clone()), endless: true, ..Options::default() };
        let topology = Topology::from_plan(self.plan(config)).with_options(options);
        let running = topology.start().await.expect("it starts");
        running.close_offers();
        running
    }

    /// Drains, and checks that each offered book was burned once, or died.
    async fn end(&self, running: &RunningTopology) {
        let report = running.drain(None).await;
        assert!(report.balances(), "{:?}", report.ledger);
        assert_eq!(report.ledger.in_flight, 0);
        let burned = self.burned.counts();
        assert_eq!(report.ledger.burned, burned.len() as u64);
        assert!(burned.values().all(|times| *times == 1), "burned twice");
    }
}

/// One crew from the source to the sink; with `staged`, two crews and a dump.
fn design(staged: bool, change: impl FnOnce(&mut TopologyConfig)) -> TopologyConfig {
    let builder = TopologyConfig::builder("reloaded")
        .pile("manuals", |pile| pile.source(kind("generate").option("books", 10)))
        .incinerator("fire", |fire| fire.burn(kind("sink")));
    let crew = |crew: gopherworks::config::elements::CrewConfig| {
        crew.gophers(1, ALL).carts(2).cart_books(5).load(wait(MILLI))
    };
    let builder = match staged {
        true => builder
            .dump("middle", |dump| dump.capacity_books(50))
            .crew("near", "manuals", "middle", crew)
            .crew("far", "middle", "fire", crew),
        false => builder.crew("near", "manuals", "fire", crew),
    };
    let mut config = builder.build();
    change(&mut config);
    config
}

/// Names of all nodes that hold or carry books.
fn present(running: &RunningTopology) -> BTreeSet<String> {
    let of = ["pile", "dump", "crew", "incinerator"];
    let rows = running.nodes().into_iter().filter(|row| of.contains(&row.kind));
    rows.map(|row| row.name).collect()
}

fn named(config: &TopologyConfig) -> BTreeSet<String> {
    nodes(config).into_keys().collect()
}

/// Waits until further books are burned.
async fn goes_on(running: &RunningTopology, clock: &Clock) {
    let before = running.snapshot().ledger.burned;
    for _ in 0..12_000 {
        if running.snapshot().ledger.burned > before {
            return;
        }
        clock.sleep(10 * MILLI).await;
    }
    panic!("nothing is burned any more: {:?}", running.nodes());
}

#[test]
fn bounds_crews_and_nodes_change_while_books_move() {
    in_virtual_time(async |clock| {
        let sinks = sinks();
        let first = design(false, |_| ());
        let running = sinks.start(&first, &clock).await;
        let steps: [TopologyConfig; 6] = [
            design(false, |config| {
                config.piles.get_mut("manuals").unwrap().capacity.books = Some(7);
            }),
            design(true, |_| ()),
            design(true, |config| {
                let far = config.crews.get_mut("far").unwrap();
                far.gophers = vec![vec!["load".into(), "push".into()]; 2];
                far.gophers.push(vec!["unload".into(), "return".into()]);
                far.carts.count = 6;
            }),
            design(true, |config| {
                config.dumps.get_mut("middle").unwrap().exclusive.load = Some(1);
                config.incinerators.get_mut("fire").unwrap().burn = kind("sink").option("n", 2);
            }),
            design(false, |_| ()),
            first.clone(),
        ];
        for config in steps {
            goes_on(&running, &clock).await;
            let before = running.snapshot().ledger;
            let changes = running.reload(sinks.plan(&config), &Moves::new()).await;
            let changes = changes.unwrap_or_else(|why| panic!("{why}"));
            assert_eq!(present(&running), named(&config), "{changes}");
            assert!(running.snapshot().ledger.burned >= before.burned);
        }
        let capacity = |running: &RunningTopology| {
            let rows = running.nodes();
            let manuals = rows.iter().find(|row| row.name == "manuals").expect("it is there");
            manuals.pile.as_ref().expect("a pile").capacity
        };
        assert_eq!(capacity(&running), Some(4096));
        goes_on(&running, &clock).await;
        sinks.end(&running).await;
    });
}

#[test]
fn books_of_a_removed_pile_are_carried_on_or_moved_and_a_stuck_one_stays() {
    for moves in [Moves::new(), Moves::from([("middle".to_owned(), "other".to_owned())])] {
        in_virtual_time(async |clock| {
            let sinks = sinks();
            let running = sinks.start(&design(true, |_| ()), &clock).await;
            goes_on(&running, &clock).await;
            sinks.is_down.store(true, Ordering::Release);
            clock.sleep(1000 * MILLI).await;
            let middle = |running: &RunningTopology| {
                let rows = running.nodes();
                let dump = rows.into_iter().find(|row| row.name == "middle").expect("a dump");
                dump.pile.expect("a pile").ready
            };
            let waiting = middle(&running);
            assert!(waiting > 20, "{waiting} books wait for the sink");
            let now = design(true, |config| {
                let dump = config.dumps.remove("middle").unwrap();
                config.dumps.insert("other".into(), dump);
                config.crews.get_mut("near").unwrap().to = "other".into();
                config.crews.get_mut("far").unwrap().from = "other".into();
            });
            let failed = running.reload(sinks.plan(&now), &moves).await.unwrap_err();
            assert!(matches!(failed, ReloadError::Failed(_)), "{failed}");
            assert_eq!(present(&running), named(&design(true, |_| ())), "{failed}");
            // Carts that had not begun have put theirs back.
            assert!(middle(&running) >= waiting);
            sinks.is_down.store(false, Ordering::Release);
            goes_on(&running, &clock).await;
            let changes = running.reload(sinks.plan(&now), &moves).await;
            let changes = changes.unwrap_or_else(|why| panic!("{why}"));
            assert_eq!(present(&running), named(&now), "{changes}");
            goes_on(&running, &clock).await;
            sinks.end(&running).await;
        });
    }
}

#[test]
fn what_can_not_be_reloaded_is_refused_before_anything_changes() {
    in_virtual_time(async |clock| {
        let sinks = sinks();
        let running = sinks.start(&design(false, |_| ()), &clock).await;
        let refused = async |change: fn(&mut TopologyConfig)| {
            let mut config = design(true, |_| ());
            change(&mut config);
            match running.reload(sinks.plan(&config), &Moves::new()).await {
                Err(ReloadError::Refused(why)) => why.join("; "),
                other => panic!("{other:?}"),
            }
        };
        let seed = refused(|config| config.execution.seed = 5).await;
        assert!(seed.contains("execution.seed"), "{seed}");
        let source = refused(|config| {
            config.piles.get_mut("manuals").unwrap().source =
                Some(kind("generate").option("books", 3));
        });
        assert!(source.await.contains("pile manuals: its source"));
        sinks.is_broken.store(true, Ordering::Release);
        let other = design(true, |config| {
            config.incinerators.get_mut("fire").unwrap().burn = kind("sink").option("n", 1);
        });
        let failed = running.reload(sinks.plan(&other), &Moves::new()).await.unwrap_err();
        assert!(failed.to_string().contains("no sink can be made"), "{failed}");
        assert_eq!(present(&running), named(&design(false, |_| ())));
        goes_on(&running, &clock).await;
        sinks.end(&running).await;
        let ended = running.reload(sinks.plan(&other), &Moves::new()).await;
        assert!(matches!(ended, Err(ReloadError::Ended)), "{ended:?}");
    });
}

/// A random design over the same source.
fn drawn(draws: &mut ChaCha8Rng) -> TopologyConfig {
    let gophers: &[&[&str]] = &[
        &[ALL],
        &["load push", "unload return"],
        &["load", "push", "unload", "return"],
        &[ALL, ALL],
    ];
    let mut builder = TopologyConfig::builder("reloaded")
        .pile("manuals", |pile| {
            let pile = pile.source(kind("generate").option("books", 10));
            pile.capacity_books(draws.random_range(10..200))
        })
        .incinerator("fire", |fire| fire.burn(kind("sink").option("n", draws.random_range(0..3))));
    let mut ways = vec![("near", "manuals", "fire")];
    if draws.random::<bool>() {
        ways = vec![("near", "manuals", "middle"), ("far", "middle", "fire")];
        builder = builder.dump("middle", |dump| dump.capacity_books(draws.random_range(20..60)));
    }
    if draws.random::<bool>() {
        ways.extend([("out", "manuals", "side"), ("back", "side", "fire")]);
        builder = builder.dump("side", |dump| dump.capacity_books(draws.random_range(20..60)));
    }
    if draws.random::<bool>() {
        ways.push(("second", "manuals", "stove"));
        builder = builder.incinerator("stove", |fire| fire.burn(kind("sink")));
    }
    for (name, from, to) in ways {
        builder = builder.crew(name, from, to, |mut crew| {
            for duties in gophers[draws.random_range(0..gophers.len())] {
                crew = crew.gophers(1, duties);
            }
            let micros = [0, 300, 1000, 2500][draws.random_range(0..4)];
            crew.carts(draws.random_range(1..5))
                .cart_books(draws.random_range(1..8))
                .load(wait(MILLI))
                .push(wait(Duration::from_micros(micros)))
        });
    }
    builder.build()
}

/// Reloads of one run.
const AT_ONCE: u64 = 40;

/// GOPHERWORKS_RELOADS sets the number of reloads.
#[test]
fn many_reloads_under_load_lose_and_double_nothing() {
    let count = std::env::var("GOPHERWORKS_RELOADS").ok().and_then(|count| count.parse().ok());
    let (mut done, mut failed, mut burned) = (0, 0, 0);
    for seed in 0..count.unwrap_or(AT_ONCE).div_ceil(AT_ONCE) {
        in_virtual_time(async |clock| {
            let sinks = sinks();
            let mut draws = ChaCha8Rng::seed_from_u64(seed);
            let mut plan = drawn(&mut draws);
            let running = sinks.start(&plan, &clock).await;
            for number in 0..AT_ONCE {
                clock.sleep(draws.random_range(1..40) * MILLI).await;
                sinks.is_down.store(draws.random_range(0..12) == 0, Ordering::Release);
                sinks.is_broken.store(draws.random_range(0..5) == 0, Ordering::Release);
                let next = drawn(&mut draws);
                match running.reload(sinks.plan(&next), &Moves::new()).await {
                    Ok(_) => {
                        done += 1;
                        plan = next;
                    }
                    Err(ReloadError::Failed(_)) => failed += 1,
                    Err(why) => panic!("seed {seed}, reload {number}: {why}"),
                }
                assert_eq!(present(&running), named(&plan), "seed {seed}, reload {number}");
                sinks.is_down.store(false, Ordering::Release);
                sinks.is_broken.store(false, Ordering::Release);
                goes_on(&running, &clock).await;
            }
            sinks.end(&running).await;
            burned += sinks.burned.all().len();
        });
    }
    assert!(done > 0 && failed > 0, "{done} done, {failed} failed");
    println!("{done} reloads done, {failed} failed, {burned} books burned");
}
