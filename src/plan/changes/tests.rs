//! Tests of differences: hand-made ones, and laws that hold for random ones.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::catalog::Catalog;
use crate::config::builder::{kind, wait};
use crate::config::elements::StoreConfig;

const ALL: &str = "load push unload return";

fn plan(config: &TopologyConfig) -> Plan {
    Plan::new(config, &Catalog::standard()).unwrap_or_else(|found| panic!("{found}")).0
}

fn two(carts: u32, capacity: u64) -> TopologyConfig {
    TopologyConfig::builder("two")
        .pile("manuals", |pile| pile.source(kind("generate").option("books", 10)))
        .dump("middle", |dump| dump.capacity_books(capacity))
        .incinerator("furnace", |fire| fire)
        .crew("near", "manuals", "middle", |crew| crew.gophers(1, ALL).carts(carts))
        .crew("far", "middle", "furnace", |crew| crew.gophers(1, ALL).load(wait(MILLI)))
        .build()
}

const MILLI: Duration = Duration::from_millis(1);

fn said(was: &TopologyConfig, now: &TopologyConfig) -> Vec<String> {
    let changes = Changes::between(&plan(was), &plan(now), &Moves::new()).unwrap();
    changes.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn changed_keys_are_named_with_their_values() {
    assert_eq!(said(&two(1, 100), &two(1, 100)), ["no changes"]);
    let mut now = two(3, 200);
    now.dumps.get_mut("middle").unwrap().max_attempts = 5;
    let far = now.crews.get_mut("far").unwrap();
    far.gophers = vec![vec!["load".into(), "push".into()], vec!["unload".into(), "return".into()]];
    far.steps.load = wait(2 * MILLI);
    assert_eq!(
        said(&two(1, 100), &now),
        [
            "~ crew far: gophers [\"load push unload return\"] -> [\"load push\", \"unload \
             return\"], steps.load.wait 1ms -> 2ms (once its carts are back)",
            "~ crew near: carts.count 1 -> 3 (once its carts are back)",
            "~ dump middle: capacity.books 100 -> 200, max_attempts 3 -> 5 (in place)",
        ]
    );
}

#[test]
fn nodes_come_and_go_and_their_books_are_accounted_for() {
    let mut now = two(1, 100);
    now.dumps.clear();
    now.crews.remove("far");
    now.crews.get_mut("near").unwrap().to = "furnace".into();
    assert_eq!(
        said(&two(1, 100), &now),
        [
            "~ crew near: to middle -> furnace (once its carts are back)",
            "- crew far (once its carts are back)",
            "- dump middle (once its books are carried on)",
        ]
    );
    assert_eq!(said(&now, &two(1, 100))[0], "+ crew far");
    let moves = Moves::from([("middle".to_owned(), "manuals".to_owned())]);
    let changes = Changes::between(&plan(&two(1, 100)), &plan(&now), &moves).unwrap();
    assert!(changes.to_string().ends_with("- dump middle (its books go to manuals)"), "{changes}");
    for (old, new) in [("manuals", "middle"), ("middle", "nowhere"), ("middle", "furnace")] {
        let moves = Moves::from([(old.to_owned(), new.to_owned())]);
        assert!(Changes::between(&plan(&two(1, 100)), &plan(&now), &moves).is_err(), "{old}");
    }
}

#[test]
fn what_needs_a_restart_is_refused_with_its_reason() {
    let mut now = two(1, 100);
    now.piles.get_mut("manuals").unwrap().source = Some(kind("generate").option("books", 11));
    now.execution.seed = 7;
    now.execution.drain_deadline = Some(MILLI);
    now.store = Some(StoreConfig::Sqlite { path: "books.db".into() });
    let changes = Changes::between(&plan(&two(1, 100)), &plan(&now), &Moves::new()).unwrap();
    let refusals = changes.refusals();
    let named = ["pile manuals: ", "store: ", "execution.seed: "];
    for name in named {
        assert!(refusals.iter().any(|why| why.starts_with(name)), "{name}: {refusals:?}");
    }
    assert!(!refusals.iter().any(|why| why.contains("drain_deadline")), "{refusals:?}");
    assert!(changes.to_string().contains("~ execution.drain_deadline none -> 1ms (in place)"));
}

#[test]
fn options_of_kinds_are_named_without_their_values() {
    let with = |path: &str| {
        let mut config = two(1, 100);
        config.incinerators.get_mut("furnace").unwrap().burn =
            kind("lines").option("path", format!("/tmp/{path}"));
        config
    };
    let said = said(&with("a"), &with("secret"));
    assert_eq!(said, ["~ incinerator furnace: burn.path (once its carts are back)"]);
}

/// Any node, by what it says.
fn node() -> impl Strategy<Value = NodeConfig> {
    let bound = prop_oneof![Just(None), (1..4u64).prop_map(Some)];
    (0..6usize, bound, 1..4u32).prop_map(|(of, books, count)| match of {
        0 => NodeConfig::Pile(PileConfig { max_attempts: count, ..PileConfig::default() }),
        1 => {
            let dump = DumpConfig { max_attempts: count, ..DumpConfig::default() };
            NodeConfig::Dump(books.map_or(dump.clone(), |books| dump.capacity_books(books)))
        }
        2 => NodeConfig::Incinerator(IncineratorConfig::new(kind("lines").option("n", count))),
        3 => NodeConfig::Crew(CrewConfig::new("a", "b", Vec::new()).gophers(1, ALL).carts(count)),
        4 => NodeConfig::Relay(RelayConfig { books, ..RelayConfig::new("a", "b") }),
        _ => {
            let workers = kind("xyz").option("n", count);
            NodeConfig::Balancer(BalancerConfig::new(workers))
        }
    })
}

/// Any config: up to 8 nodes along up to 2 copies.
fn config() -> impl Strategy<Value = TopologyConfig> {
    let named = prop::collection::btree_map("[a-h]", node(), 0..8);
    (named, 1..3u32, 0..2u64).prop_map(|(nodes, lanes, seed)| {
        let mut config = TopologyConfig::builder("any").seed(seed).build();
        if lanes > 1 {
            config.copies.insert("lane".into(), lanes);
        }
        for (name, node) in nodes {
            match node {
                NodeConfig::Pile(it) => drop(config.piles.insert(name, it)),
                NodeConfig::Dump(it) => drop(config.dumps.insert(name, it)),
                NodeConfig::Incinerator(it) => drop(config.incinerators.insert(name, it)),
                NodeConfig::Crew(it) => drop(config.crews.insert(name, it)),
                NodeConfig::Relay(it) => drop(config.relays.insert(name, it)),
                NodeConfig::Balancer(it) => drop(config.balancers.insert(name, it)),
                NodeConfig::Requester(it) => drop(config.requesters.insert(name, it)),
            }
        }
        config
    })
}

proptest! {
    #[test]
    fn steps_lead_from_one_plan_to_the_other(was in config(), now in config()) {
        let changes = Changes::between_configs(&was, &now, &Moves::new()).unwrap();
        prop_assert_eq!(apply(nodes(&was), &changes.steps), nodes(&now));
        for step in &changes.steps {
            let is_named = !step.keys.is_empty();
            prop_assert_eq!(is_named, step.change == Change::Changed, "{}", step);
        }
        prop_assert_eq!(changes.is_empty(), nodes(&was) == nodes(&now)
            && was.execution == now.execution);
        let same = Changes::between_configs(&was, &was, &Moves::new()).unwrap();
        prop_assert!(same.is_empty(), "{}", same);
    }
}
