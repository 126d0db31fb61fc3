//! Tests with forks, several sources and extreme numbers.

use gopherworks_pipeline::steps::Duties;
use gopherworks_supervision::clock::Clock;
use gopherworks_supervision::span::Span;

use super::*;

const ONES: [f64; 4] = [1.0; 4];

fn one() -> Plan {
    plan(solo("one", |crew| timed(crew.gophers(1, ALL), ONES)))
}

/// Expects a single reason, which contains `words`, and no speed-up.
#[track_caller]
fn because(found: &Prediction, words: &str) {
    let [why] = &found.unsaid[..] else { panic!("{:?}", found.unsaid) };
    assert!(why.contains(words), "{why}");
    assert_eq!(found.speed_up, None);
}

#[test]
fn without_time_there_is_no_speed_up() {
    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let found = one().predict(scale);
        because(&found, "no step takes time");
        assert_eq!((found.t1, found.cartloads_per_s, found.bottleneck.clone()), (None, None, None));
        assert_eq!(found.latency, Some(Duration::ZERO));
        assert_eq!(found.makespan_s(&one(), 10), None);
        assert_eq!(found.measured(&one(), 10, 1.0), None);
    }
    let idle = plan(solo("idle", |crew| timed(crew.gophers(1, ALL), [0.0; 4])));
    because(&idle.predict(1.0), "no step takes time");
}

#[test]
fn handling_alone_is_no_round_trip() {
    let handled = ends("handled")
        .dump("middle", |dump| dump.capacity_books(80))
        .crew("near", "manuals", "middle", |crew| timed(crew.gophers(1, ALL), [0.0, 0.0, 1.0, 0.0]))
        .crew("far", "middle", "furnace", |crew| timed(crew.gophers(1, ALL), [1.0, 0.0, 0.0, 0.0]));
    let found = plan(handled).predict(1.0);
    because(&found, "takes no time without dumps");
    close(found.cartloads_per_s, 1000.0);
}

#[test]
fn a_round_trip_can_be_configured() {
    let mut plan = one();
    plan.t1 = Some(8 * MS);
    let found = plan.predict(0.5);
    assert_eq!(found.t1, Some(4 * MS));
    close(found.speed_up, 2.0);
}

#[test]
fn unequal_paths_need_a_configured_round_trip() {
    let fork = || {
        solo("fork", |crew| timed(crew.gophers(1, ALL), ONES)).crew(
            "slow",
            "manuals",
            "furnace",
            |crew| timed(crew.gophers(1, ALL), [1.0, 5.0, 1.0, 1.0]),
        )
    };
    let found = plan(fork()).predict(1.0);
    because(&found, "set [model] t1");
    assert_eq!(found.t1, None);
    assert_eq!(found.latency, Some(3 * MS));
    close(found.cartloads_per_s, 250.0 + 125.0);
    // The two ways are independent, so both limit the throughput.
    let text = found.bottleneck.unwrap();
    assert!(text.contains("crew `haul`") && text.contains("crew `slow`"), "{text}");
    close(plan(fork().t1(4 * MS)).predict(1.0).speed_up, 1.5);
    // Equally long paths, but one has one crew more.
    let hops = solo("hops", |crew| timed(crew.gophers(1, ALL), ONES))
        .dump("middle", |dump| dump.capacity_books(100))
        .crew("near", "manuals", "middle", |crew| timed(crew.gophers(1, ALL), [1.0, 0.5, 1.0, 0.5]))
        .crew("far", "middle", "furnace", |crew| timed(crew.gophers(1, ALL), [1.0, 0.5, 1.0, 0.5]));
    assert_eq!(plan(hops).predict(1.0).t1, None);
    // Equal crews with different names.
    let alike = solo("alike", |crew| timed(crew.gophers(1, ALL), ONES)).crew(
        "other",
        "manuals",
        "furnace",
        |crew| timed(crew.gophers(1, ALL), ONES),
    );
    close(plan(alike).predict(1.0).speed_up, 2.0);
}

#[test]
fn books_are_dealt_as_sources_deal() {
    let two = |a: i64, b: Option<i64>| {
        let source = |books: Option<i64>| match books {
            Some(books) => kind("generate").option("books", books),
            None => kind("lines").option("path", "-"),
        };
        let crew = |crew: CrewConfig| timed(crew.gophers(1, ALL), ONES);
        plan(
            TopologyConfig::builder("two")
                .pile("a", |pile| pile.source(source(Some(a))))
                .pile("b", |pile| pile.source(source(b)))
                .incinerator("furnace", |fire| fire)
                .crew("ca", "a", "furnace", crew)
                .crew("cb", "b", "furnace", crew),
        )
    };
    let even = two(100, Some(100));
    close(even.predict(1.0).speed_up, 2.0);
    let text = even.predict(1.0).bottleneck.unwrap();
    assert!(text.starts_with("crew `ca`: ") && text.contains("; crew `cb`: "), "{text}");
    // Pile `a` takes the whole makespan; pile `b` is done after a quarter of it.
    let uneven = two(800, Some(200));
    let found = uneven.predict(1.0);
    close(found.speed_up, 1.25);
    assert!(found.bottleneck.unwrap().starts_with("crew `ca`: "));
    assert_eq!(network::deal(&uneven, 1000), [(0, 800), (1, 200)]);
    assert_eq!(network::deal(&uneven, 999), [(0, 799), (1, 200)]);
    close(uneven.predict(1.0).makespan_s(&uneven, 1000), 0.003 + 79.0 * 0.004);
    close(two(800, None).predict(1.0).speed_up, 2.0);
    let none = two(0, Some(0));
    close(none.predict(1.0).speed_up, 2.0);
    let all = u64::MAX;
    let dealt: u128 = network::deal(&uneven, all).iter().map(|(_, n)| u128::from(*n)).sum();
    assert_eq!(dealt, u128::from(all));
}

#[test]
fn cartloads_are_counted_pile_by_pile() {
    let three = plan(solo("three", |crew| timed(crew.gophers(1, ALL), ONES)).copies("lane", 3));
    // The copies get 4, 4 and 3 books.
    assert_eq!(three.cartloads(11), Some(3));
    assert_eq!(three.cartloads(0), Some(0));
    assert_eq!(three.cartloads(31), Some(4));
    assert_eq!(three.predict(1.0).makespan_s(&three, 0), Some(0.0));
    assert_eq!(three.predict(1.0).makespan_s(&one(), 10), None);
    assert_eq!(one().cartloads(u64::MAX), Some(u64::MAX.div_ceil(10)));
    let mixed = plan(solo("mixed", |crew| timed(crew.gophers(1, ALL), ONES)).crew(
        "large",
        "manuals",
        "furnace",
        |crew| timed(crew.gophers(1, ALL), ONES).cart_books(30),
    ));
    assert_eq!(mixed.cartloads(100), None);
    let found = mixed.predict(1.0);
    close(found.cartloads_per_s, 500.0);
    // Carts hold 20 books on average.
    close(found.makespan_s(&mixed, 101), 0.003 + 5.0 * 0.002);
    assert_eq!(found.measured(&mixed, 101, 1.0), None);
    assert_eq!(one().predict(1.0).measured(&one(), 10, 0.0), None);
}

#[test]
fn an_application_may_offer_the_books() {
    let offered = TopologyConfig::builder("offered")
        .pile("manuals", |pile| pile)
        .incinerator("furnace", |fire| fire)
        .crew("haul", "manuals", "furnace", |crew| timed(crew.gophers(1, ALL), ONES));
    let offered = plan(offered);
    assert_eq!(offered.cartloads(25), Some(3));
    close(offered.predict(1.0).speed_up, 1.0);
}

#[test]
fn a_dump_for_less_than_both_sides_has_no_formula() {
    let design = |room, near, far| {
        plan(
            ends("small")
                .dump("middle", |dump| dump.capacity_books(room))
                .crew("near", "manuals", "middle", |crew| {
                    timed(crew.gophers(1, ALL), ONES).cart_books(near)
                })
                .crew("far", "middle", "furnace", |crew| {
                    timed(crew.gophers(1, ALL), ONES).cart_books(far)
                }),
        )
    };
    let found = design(12, 10, 7).predict(1.0);
    because(&found, "`middle` holds less than a cartload of each side");
    assert!(found.unsaid[0].contains("at most"), "{:?}", found.unsaid);
    assert!(found.bottleneck.is_some());
    assert!(design(17, 10, 7).predict(1.0).speed_up.is_some());
    // Equal carts stay full, and space is freed before it is needed.
    close(design(10, 10, 10).predict(1.0).cartloads_per_s, 250.0);
    close(design(19, 10, 10).predict(1.0).cartloads_per_s, 250.0);
}

#[test]
fn plans_that_cannot_run_are_rejected() {
    let mut idle = one();
    idle.crews[0].gophers = vec![Duties::NONE];
    because(&idle.predict(1.0), "no gopher of the crew `haul` does the step `load`");
    idle.crews[0].gophers.clear();
    because(&idle.predict(1.0), "no gopher of the crew `haul` does the step `load`");
    let mut bare = one();
    bare.crews[0].carts = 0;
    because(&bare.predict(1.0), "the crew `haul` has no carts");
    let mut shut = one();
    shut.piles[0].exclusive.load = Some(0);
    assert_eq!(shut.predict(1.0).cartloads_per_s, None);
    let mut lost = one();
    lost.crews.clear();
    assert_eq!(lost.predict(1.0).cartloads_per_s, None);
    assert_eq!(lost.cartloads(1), None);
    let mut empty = lost.clone();
    empty.piles.clear();
    empty.sources.clear();
    assert_eq!(empty.predict(1.0).cartloads_per_s, None);
    assert_eq!(empty.cartloads(5), Some(0));
}

#[test]
fn huge_numbers_are_numbers() {
    let huge = |carts, books, span: Span| {
        let mut plan = one();
        plan.crews[0].carts = carts;
        plan.crews[0].cart_books = books;
        plan.crews[0].steps.0[1].wait = span;
        plan
    };
    close(huge(u32::MAX, 10, Span::Fixed(MS)).predict(1.0).speed_up, 1.0);
    for carts in [1, u32::MAX] {
        for books in [0, 1, usize::MAX] {
            for span in [
                Span::Fixed(Duration::MAX),
                Span::Uniform(Duration::MAX, Duration::MAX),
                Span::Uniform(Duration::ZERO, Duration::MAX),
                Span::Exponential(Duration::MAX),
                Span::Exponential(Duration::from_nanos(1)),
            ] {
                for scale in [1.0, 1e-300, 5e-324, 1e300, f64::MAX] {
                    let plan = huge(carts, books, span);
                    let found = plan.predict(scale);
                    let _ = found.makespan_s(&plan, u64::MAX);
                    let _ = found.measured(&plan, u64::MAX, 1e-300);
                    assert!(found.speed_up.is_some() || !found.unsaid.is_empty(), "{found:?}");
                }
            }
        }
    }
    // A step of a nanosecond beside one of an hour.
    let far = plan(solo("far", |crew| timed(singles(crew).carts(1000), [1e-6, 3.6e6, 1e-6, 1e-6])));
    close(far.predict(1.0).speed_up, 1.0 + 3e-6 / 3.6e6);
}

#[test]
fn large_designs_are_quick() {
    let clock = Clock::real();
    let quick = |plan: Plan, wanted: f64| {
        let begun = clock.now();
        let found = plan.predict(1.0);
        let took = clock.now() - begun;
        close(found.speed_up, wanted);
        assert!(took < Duration::from_secs(1), "{took:?}");
    };
    let mut chain = ends("chain").t1(4 * MS);
    for at in 0..1000 {
        let from = if at == 0 { "manuals".to_owned() } else { format!("d{at}") };
        let to = if at == 999 { "furnace".to_owned() } else { format!("d{}", at + 1) };
        if at < 999 {
            chain = chain.dump(&to, |dump| dump.capacity_books(80));
        }
        chain =
            chain.crew(&format!("c{at}"), &from, &to, |crew| timed(singles(crew).carts(4), ONES));
    }
    quick(plan(chain), 4.0);
    let lanes = staged("lanes", |crew| timed(singles(crew).carts(4), [1.0, 0.5, 1.0, 0.5]));
    quick(plan(lanes.copies("lane", 1000)), 4000.0);
    let racks = solo("racks", |crew| timed(crew.gophers(1, ALL), ONES).copies("rack", 1000));
    quick(plan(racks), 1000.0);
    let mut fork = ends("fork").t1(4 * MS);
    for at in 0..100 {
        fork = fork.crew(&format!("c{at}"), "manuals", "furnace", |crew| {
            timed(crew.gophers(1, ALL), ONES)
        });
    }
    quick(plan(fork), 100.0);
}

#[test]
fn many_limits_are_cut_short() {
    let mut fork = ends("fork");
    for at in 0..12 {
        fork = fork.crew(&format!("c{at}"), "manuals", "furnace", |crew| {
            timed(crew.gophers(1, ALL), ONES)
        });
    }
    let text = plan(fork).predict(1.0).bottleneck.unwrap();
    assert!(text.ends_with("; and 4 more"), "{text}");
}
