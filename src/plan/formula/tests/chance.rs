//! Tests with random step times: designs with an exact formula, and designs without.

use super::*;

fn uniform(least: f64, most: f64) -> StepTime {
    StepTime { wait: Span::Uniform(MS.mul_f64(least), MS.mul_f64(most)), cpu: Span::Zero }
}

/// Expects no exact speed-up, for a reason that contains `words`.
#[track_caller]
fn unknown(builder: TopologyBuilder, words: &str) -> Prediction {
    let found = plan(builder).predict(1.0);
    assert_eq!(found.speed_up, None);
    assert_eq!(found.cartloads_per_s, None);
    assert!(found.bottleneck.is_some());
    let [why] = &found.unsaid[..] else { panic!("{:?}", found.unsaid) };
    assert!(why.contains(words), "{why}");
    found
}

#[test]
fn four_exponential_steps_need_carts_without_end() {
    let four = |carts| {
        solo("four", move |crew| stepped(singles(crew).carts(carts), [exponential(1.0); 4]))
    };
    for carts in [1, 2, 4, 8, 16] {
        let of = f64::from(carts) / f64::from(carts + 3);
        speeds(four(carts), 4.0 * of);
        speeds(four(carts).copies("lane", 2), 8.0 * of);
    }
}

#[test]
fn steps_without_time_drop_out() {
    let times = [exponential(1.0), exponential(1.0), wait(Duration::ZERO), wait(Duration::ZERO)];
    let crew = |crew: CrewConfig| crew.gophers(1, "load unload").gophers(1, "push return");
    speeds(solo("two", |it| stepped(crew(it).carts(3), times)), 2.0 * 3.0 / 4.0);
}

#[test]
fn several_gophers_at_a_step() {
    // Two carts and two gophers that load: carts queue only at the gopher that pushes.
    let times = [exponential(1.0), exponential(1.0), wait(Duration::ZERO), wait(Duration::ZERO)];
    let crew = |crew: CrewConfig| crew.gophers(2, "load").gophers(1, "push unload return");
    // With 2, 1 or 0 carts at the push, the states have weights 1, 1 and 1/2.
    speeds(solo("three", |it| stepped(crew(it).carts(2), times)), 2.0 * 2.0 / 2.5);
}

#[test]
fn single_carts_and_gophers_with_all_steps_never_wait() {
    let drawn = [exponential(1.0), uniform(0.0, 2.0), wait(MS), exponential(1.0)];
    speeds(solo("cart", |crew| stepped(singles(crew).carts(1), drawn)), 1.0);
    speeds(solo("one", |crew| stepped(crew.gophers(1, ALL).carts(5), drawn)), 1.0);
    speeds(solo("two", |crew| stepped(crew.gophers(2, ALL).carts(5), drawn)), 2.0);
    speeds(solo("few", |crew| stepped(crew.gophers(9, ALL).carts(5), drawn)), 5.0);
}

#[test]
fn two_stretches_around_a_dump() {
    let push = |mean| {
        let none = wait(Duration::ZERO);
        [none, exponential(mean), none, none]
    };
    let design = |books, near, far| {
        ends("two")
            .dump("middle", |dump| dump.capacity_books(books))
            .crew("near", "manuals", "middle", |crew| stepped(crew.gophers(1, ALL), push(near)))
            .crew("far", "middle", "furnace", |crew| stepped(crew.gophers(1, ALL), push(far)))
    };
    for (room, wanted) in [(1, 0.75), (2, 0.8), (4, 6.0 / 7.0), (8, 10.0 / 11.0), (16, 18.0 / 19.0)]
    {
        let found = speeds(design(room * 10, 1.0, 1.0), 2.0 * wanted);
        close(found.cartloads_per_s, 1000.0 * wanted);
        speeds(design(room * 10, 1.0, 1.0).copies("lane", 3), 6.0 * wanted);
    }
    // Rates 1 and 1/2, three states and a fourth in which the near side is blocked: weights 1, 2,
    // 4, 8.
    let found = speeds(design(10, 1.0, 2.0), 3.0 * (1.0 - 8.0 / 15.0));
    assert_eq!(found.bottleneck.as_deref(), Some("crew `far`: push (1 gopher) and 1 cart"));
}

#[test]
fn without_a_formula_the_bound_is_reported() {
    let drawn = [exponential(1.0); 4];
    let found = unknown(
        solo("mixed", |crew| {
            let crew = crew.gophers(1, "load").gophers(1, "push return");
            stepped(crew.gophers(1, "unload").carts(3), drawn)
        }),
        "its gophers share steps",
    );
    assert!(found.unsaid[0].contains("at most 2.000 by mean times"), "{:?}", found.unsaid);
    assert_eq!(found.t1, Some(4 * MS));
    let some = [exponential(1.0), wait(MS), wait(MS), wait(MS)];
    unknown(solo("half", |crew| stepped(singles(crew).carts(4), some)), "not all exponential");
    let evenly = [uniform(0.5, 1.5), wait(MS), wait(MS), wait(MS)];
    unknown(solo("even", |crew| stepped(singles(crew).carts(4), evenly)), "not all exponential");
    unknown(staged("staged", |crew| stepped(crew.gophers(1, ALL), drawn)), "shares a dump");
    let on_core = StepTime { wait: Span::Zero, cpu: Span::Exponential(MS) };
    unknown(
        solo("cores", |crew| stepped(singles(crew).carts(4), [on_core; 4])).cores(3),
        "shares the cores",
    );
    speeds(
        solo("cores", |crew| stepped(singles(crew).carts(4), [on_core; 4])).cores(4),
        16.0 / 7.0,
    );
    let narrow = TopologyConfig::builder("narrow")
        .pile("manuals", |pile| {
            pile.source(kind("generate").option("books", 100)).exclusive_load(1)
        })
        .incinerator("furnace", |fire| fire)
        .crew("haul", "manuals", "furnace", |crew| stepped(crew.gophers(2, ALL).carts(2), drawn));
    unknown(narrow, "queues at `manuals`");
}

#[test]
fn a_uniform_time_without_width_is_fixed() {
    speeds(solo("even", |crew| stepped(singles(crew).carts(4), [uniform(1.0, 1.0); 4])), 4.0);
}
