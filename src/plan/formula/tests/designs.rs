//! Tests of the speed-ups of the documented designs.

use super::*;

const ONES: [f64; 4] = [1.0; 4];

/// Step times in milliseconds with half the distance on each side of a dump.
const HALVES: [f64; 4] = [1.0, 0.5, 1.0, 0.5];

fn two(carts: u32) -> TopologyBuilder {
    TopologyConfig::builder("two")
        .pile("manuals", |pile| {
            pile.source(kind("generate").option("books", 10_000)).exclusive_load(1)
        })
        .incinerator("furnace", |fire| fire.exclusive_unload(1))
        .cores(64)
        .crew("haul", "manuals", "furnace", |crew| timed(crew.gophers(2, ALL).carts(carts), ONES))
}

fn one() -> TopologyBuilder {
    solo("one", |crew| timed(crew.gophers(1, ALL), ONES))
}

fn four() -> TopologyBuilder {
    solo("four", |crew| timed(singles(crew).carts(4), ONES))
}

fn eight_staged() -> TopologyBuilder {
    staged("eight-staged", |crew| timed(singles(crew).carts(4), HALVES))
}

#[test]
fn one_gopher_is_the_measure() {
    let found = speeds(one(), 1.0);
    assert_eq!(found.t1, Some(4 * MS));
    assert_eq!(found.latency, Some(3 * MS));
    close(found.cartloads_per_s, 250.0);
    assert_eq!(
        found.bottleneck.as_deref(),
        Some("crew `haul`: load, push, unload and return (1 gopher) and 1 cart")
    );
    speeds(one().copies("lane", 2), 2.0);
}

#[test]
fn two_gophers_need_two_carts() {
    let found = speeds(two(1), 1.0);
    assert_eq!(found.bottleneck.as_deref(), Some("crew `haul`: 1 cart"));
    speeds(two(2), 2.0);
}

#[test]
fn three_gophers_wait_for_the_carrier() {
    let found = speeds(
        solo("three", |crew| {
            let crew = crew.gophers(1, "load").gophers(1, "push return");
            timed(crew.gophers(1, "unload").carts(3), ONES)
        }),
        2.0,
    );
    assert_eq!(found.bottleneck.as_deref(), Some("crew `haul`: push and return (1 gopher)"));
}

#[test]
fn four_and_eight_gophers_have_a_step_each() {
    let found = speeds(four(), 4.0);
    assert_eq!(
        found.bottleneck.as_deref(),
        Some("crew `haul`: load, push, unload and return (1 gopher each) and 4 carts")
    );
    let found = speeds(solo("spare", |crew| timed(singles(crew).carts(9), ONES)), 4.0);
    assert_eq!(
        found.bottleneck.as_deref(),
        Some("crew `haul`: load, push, unload and return (1 gopher each)")
    );
    speeds(four().copies("lane", 2), 8.0);
}

#[test]
fn eight_gophers_on_one_core_are_one() {
    let on_core = |crew| stepped(singles(crew).carts(4), [cpu(MS); 4]);
    let eight = solo("eight", on_core).copies("lane", 2).cores(1);
    let found = speeds(eight, 1.0);
    assert_eq!(found.bottleneck.as_deref(), Some("1 core"));
    for cores in 1..=4 {
        speeds(solo("four", on_core).cores(cores), f64::from(cores));
    }
}

#[test]
fn a_dump_costs_its_handling() {
    let two = || staged("two-staged", |crew| timed(crew.gophers(1, ALL), HALVES));
    let found = speeds(two(), 4.0 / 3.0);
    assert_eq!(found.t1, Some(4 * MS));
    assert_eq!(found.latency, Some(5 * MS));
    speeds(two().copies("lane", 2), 8.0 / 3.0);
    speeds(
        staged("four-staged", |crew| {
            let crew = crew.gophers(1, "load push").gophers(1, "unload return");
            timed(crew.carts(2), HALVES)
        }),
        8.0 / 3.0,
    );
    speeds(eight_staged(), 4.0);
    speeds(eight_staged().copies("lane", 2), 8.0);
    let quick = |crew| timed(singles(crew).carts(4), [0.5; 4]);
    let long = ends("quick")
        .dump("middle", |dump| dump.capacity_books(80))
        .crew("near", "manuals", "middle", quick)
        .crew("far", "middle", "furnace", quick);
    speeds(long, 6.0);
}

#[test]
fn on_one_core_a_dump_is_slower_than_none() {
    let halves = HALVES.map(|time| cpu(MS.mul_f64(time)));
    let found = speeds(
        staged("one-core", |crew| stepped(crew.gophers(1, ALL), halves)).cores(1),
        4.0 / 6.0,
    );
    assert_eq!(found.bottleneck.as_deref(), Some("1 core"));
}

#[test]
fn carts_bound_a_ring() {
    for (carts, wanted) in [(1, 1.0), (2, 2.0), (3, 7.0 / 3.0), (4, 7.0 / 3.0)] {
        let found = speeds(
            solo("uneven", |crew| timed(singles(crew).carts(carts), [2.0, 1.0, 3.0, 1.0])),
            wanted,
        );
        let limit = match carts {
            1 => "crew `haul`: 1 cart",
            2 => "crew `haul`: 2 carts",
            _ => "crew `haul`: unload (1 gopher)",
        };
        assert_eq!(found.bottleneck.as_deref(), Some(limit));
    }
    for (carts, wanted) in [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0), (8, 4.0)] {
        speeds(solo("even", |crew| timed(singles(crew).carts(carts), ONES)), wanted);
    }
}

#[test]
fn exclusive_ends_are_shared_by_crews() {
    let two = |slots| {
        let builder = TopologyConfig::builder("ends")
            .pile("manuals", |pile| {
                pile.source(kind("generate").option("books", 100)).exclusive_load(slots)
            })
            .incinerator("furnace", |fire| fire)
            .cores(64);
        ["a", "b", "c"].into_iter().fold(builder, |builder, name| {
            builder
                .crew(name, "manuals", "furnace", |crew| timed(crew.gophers(2, ALL).carts(2), ONES))
        })
    };
    let narrow = plan(two(1)).predict(1.0);
    close(narrow.speed_up, 4.0);
    assert_eq!(narrow.bottleneck.as_deref(), Some("`manuals` serves 1 loader at a time"));
    close(plan(two(2)).predict(1.0).speed_up, 6.0);
}

#[test]
fn a_crew_has_copies_of_its_own() {
    let found =
        speeds(solo("crews", |crew| timed(crew.gophers(1, ALL), ONES).copies("rack", 3)), 3.0);
    close(found.cartloads_per_s, 750.0);
}

#[test]
fn relays_cost_nothing() {
    let found = speeds(
        ends("relayed").pile("desk", |pile| pile).relay("daemon", "manuals", "desk").crew(
            "haul",
            "desk",
            "furnace",
            |crew| timed(crew.gophers(1, ALL), ONES),
        ),
        1.0,
    );
    assert_eq!(found.t1, Some(4 * MS));
    assert_eq!(found.latency, Some(3 * MS));
}

#[test]
fn a_narrow_dump_limits_how_many_unload() {
    // Each crew could carry 6 cartloads per ms; the dump has space for 2 unloads of 1 ms at a time.
    let narrow = |books| {
        ends("narrow")
            .dump("middle", |dump| dump.capacity_books(books))
            .crew("near", "manuals", "middle", |crew| {
                timed(crew.gophers(12, ALL).carts(12), [0.0, 0.0, 1.0, 1.0])
            })
            .crew("far", "middle", "furnace", |crew| {
                timed(crew.gophers(12, ALL).carts(12), [0.0, 0.0, 1.0, 1.0])
            })
            .t1(2 * MS)
    };
    let found = speeds(narrow(25), 4.0);
    assert_eq!(found.bottleneck.as_deref(), Some("`middle` holds 25 books"));
    speeds(narrow(60), 12.0);
}

#[test]
fn makespans_are_a_first_way_and_a_cycle_for_each_more() {
    let one = plan(one());
    let found = one.predict(1.0);
    assert_eq!(one.cartloads(10_000), Some(1000));
    close(found.makespan_s(&one, 10_000), 0.003 + 999.0 * 0.004);
    close(found.measured(&one, 10_000, 4.0), 1.0);
    let eight = plan(four().copies("lane", 2));
    let found = eight.predict(1.0);
    assert_eq!(eight.cartloads(10_001), Some(1001));
    close(found.makespan_s(&eight, 10_001), 0.003 + 500.0 * 0.001);
    close(found.measured(&eight, 10_001, 0.5), 1001.0 * 0.004 / 0.5);
    let staged = plan(eight_staged());
    let found = staged.predict(1.0);
    close(found.makespan_s(&staged, 10_000), 0.005 + 999.0 * 0.001);
}
