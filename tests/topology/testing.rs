//! The kit for an application's tests: actors and topologies under seeds, schedules and faults.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::prelude::*;
use gopherworks::config::builder::{kind, wait};
use gopherworks::config::elements::{FaultConfig, FaultKind, FaultWhatConfig, When};
use gopherworks::supervision::{Child, ChildThread, Port, RestartPolicy, Strike};
use gopherworks::testing::seeds;
use gopherworks::{Catalog, Topology, TopologyConfig};

struct Parrot(Arc<AtomicU64>);

impl Actor for Parrot {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Say;

impl Handler<Say> for Parrot {
    type Result = ();

    fn handle(&mut self, _: Say, _: &mut Self::Context) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn unlimited() -> RestartPolicy {
    RestartPolicy { intensity: u32::MAX, in_a_row: u32::MAX, ..RestartPolicy::default() }
}

#[test]
fn an_actor_of_ones_own_comes_back_from_everything() {
    seeds(0..20).schedules(3).run(async |world| {
        let (port, heard) = (Port::new(), Arc::new(AtomicU64::new(0)));
        let arbiters = world.arbiters(1, SECOND / 10);
        let told = heard.clone();
        let child = Child::new("parrot", &port, move |_| Ok(Parrot(told.clone())));
        let slot = arbiters.slot(0).expect("there is one").clone();
        let child = child.place(ChildThread::Slot(slot));
        let supervisor = world.supervise(unlimited(), vec![child]).await;
        let strikes = [
            Strike::Panic("ouch".into()),
            Strike::Kill,
            Strike::Stop,
            Strike::Hang(SECOND * 3_600),
        ];
        world.strike_by_chance(&supervisor, 20 * SECOND, 10, &strikes).await;
        world.sleep(60 * SECOND).await;
        assert!(supervisor.restarts("parrot") > 0);
        port.send(Say).expect("it is back");
        world.sleep(SECOND).await;
        assert_eq!(heard.load(Ordering::Relaxed), 1);
        supervisor.stop(SECOND).await;
    });
}

fn design(fault: FaultConfig) -> TopologyConfig {
    let mut config = TopologyConfig::builder("own")
        .pile("manuals", |pile| pile.source(kind("generate").option("books", 100)))
        .incinerator("furnace", |fire| fire)
        .crew("haul", "manuals", "furnace", |crew| {
            crew.gophers(2, "load push unload return")
                .cart_books(5)
                .load(wait(Duration::from_millis(1)))
        })
        .supervision(|supervision| gopherworks::config::elements::SupervisionConfig {
            intensity: u32::MAX,
            in_a_row: u32::MAX,
            ..supervision
        })
        .build();
    config.faults.insert("own".to_owned(), fault);
    config
}

fn panics(when: When) -> FaultConfig {
    FaultConfig {
        target: "haul.load".to_owned(),
        what: FaultWhatConfig::Kind { kind: FaultKind::Panic { text: "ouch".to_owned() }, when },
        from: Duration::ZERO,
        until: None,
        times: None,
        odds: 1.0,
    }
}

#[test]
fn a_topology_of_ones_own_holds_its_promises() {
    let config = design(panics(When::Chance(0.2)));
    let topology = Topology::from_config(&config, &Catalog::standard()).expect("a design");
    seeds(0..20).schedules(2).run(async |world| world.holds(&topology).await);
}

#[test]
fn what_is_not_as_expected_fails_with_all_checks() {
    let mut config = design(panics(When::Every(Duration::from_millis(3))));
    config.expect.recovery_p99 = Some(Duration::from_nanos(1));
    let topology = Topology::from_config(&config, &Catalog::standard()).expect("a design");
    let failed = catch_unwind(AssertUnwindSafe(|| {
        seeds([7]).run(async |world| world.holds(&topology).await);
    }));
    let panic = failed.expect_err("no restart is that fast");
    let text = panic.downcast_ref::<String>().expect("a text");
    assert!(text.contains("FAIL  recovery p99"), "{text}");
    assert!(text.contains("PASS  lost"), "{text}");
}
