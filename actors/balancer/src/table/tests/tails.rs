//! Known tail latencies of the policies: ten workers, times in units of the mean service time.

use super::model::{Model, UNIT};
use crate::policy::{After, Hedge, LoadPolicy, Spread};
use gopherworks_supervision::span::Span;

const EXP: Span = Span::Exponential(UNIT);
const SHORT_FIRST: LoadPolicy = LoadPolicy::ShortFirst { ageing: LoadPolicy::AGEING };

fn bimodal() -> Span {
    Span::Bimodal { short: UNIT / 2, long: 100 * UNIT + UNIT / 2, share: 0.005 }
}

fn reserve(short: f64) -> LoadPolicy {
    LoadPolicy::Reserve { workers: 3, short: UNIT.mul_f64(short), ageing: LoadPolicy::AGEING }
}

fn central(per_worker: u32) -> LoadPolicy {
    LoadPolicy::Central { per_worker, skip_slow: false }
}

/// Debug builds simulate fewer requests, and get more tolerance.
const SEEDS: u64 = if cfg!(debug_assertions) { 2 } else { 5 };
const SLACK: f64 = if cfg!(debug_assertions) { 1.15 } else { 1.0 };

#[test]
fn p99_of_exponential_service_is_what_is_known() {
    let known = [
        (central(1), [4.8, 6.4, 10.2], 0.10),
        (central(2), [5.5, 7.3, 10.8], 0.15),
        (LoadPolicy::LeastLoaded, [5.5, 8.0, 12.2], 0.15),
        (LoadPolicy::TwoChoices, [7.4, 10.6, 14.8], 0.15),
        (SHORT_FIRST, [5.1, 7.5, 11.3], 0.15),
        (reserve(5.0), [4.8, 5.7, 7.4], 0.15),
    ];
    for (policy, tails, within) in known {
        for (load, tail) in [0.75, 0.9, 0.95].into_iter().zip(tails) {
            let mut model = Model::new(policy, load, EXP);
            if load > 0.9 {
                model.requests *= 3;
            }
            let p99 = model.p99(SEEDS);
            let off = (p99 / tail - 1.0).abs();
            assert!(off <= within * SLACK, "{policy:?} at {load}: {p99}, known: {tail}");
        }
    }
    for (policy, tail) in [(LoadPolicy::Random, 18.5), (LoadPolicy::RoundRobin, 11.0)] {
        let p99 = Model::new(policy, 0.75, EXP).p99(SEEDS);
        assert!((p99 / tail - 1.0).abs() <= 0.15, "{policy:?}: {p99}");
    }
}

#[test]
fn under_the_same_arrivals_the_policies_keep_their_order() {
    let heavy = Span::LogNormal { mean: UNIT, cv2: 10.0 };
    let order = [central(1), central(2), LoadPolicy::LeastLoaded, LoadPolicy::TwoChoices];
    for (service, load) in
        [(EXP, 0.75), (EXP, 0.9), (EXP, 0.95), (heavy, 0.9), (bimodal(), 0.75), (bimodal(), 0.9)]
    {
        let p99 = |policy| Model::new(policy, load, service).p99(3);
        let tails = order.map(p99);
        assert!(tails.is_sorted(), "{service:?} at {load}: {tails:?}");
        if service == EXP {
            let rest =
                [LoadPolicy::TwoChoices, LoadPolicy::RoundRobin, LoadPolicy::Random].map(p99);
            assert!(rest.is_sorted(), "{load}: {rest:?}");
        }
    }
}

#[test]
fn long_requests_do_not_hold_up_short_ones_where_workers_are_reserved() {
    let p99 = Model::new(reserve(1.0), 0.9, bimodal()).p99(5);
    assert!(p99 <= 34.0, "{p99}");
}

#[test]
fn a_slow_worker_spoils_little_and_less_if_it_is_skipped() {
    let tail = |skip_slow| {
        let policy = LoadPolicy::Central { per_worker: 1, skip_slow };
        let mut model = Model::new(policy, 0.9, EXP);
        model.slow = 5.0;
        model.p99(5)
    };
    let (plain, skipping) = (tail(false), tail(true));
    assert!(plain <= 8.0 && skipping < plain, "{plain} {skipping}");
}

#[test]
fn a_hedge_takes_stragglers_away_for_few_copies() {
    for policy in [central(1), LoadPolicy::LeastLoaded] {
        let mut model = Model::new(policy, 0.9, Span::Fixed(UNIT));
        model.stragglers = 0.01;
        let without = model.p99(3);
        for after in [After::Delay(3 * UNIT), After::Percentile(0.985)] {
            model.spread = Spread::Hedged(Hedge { after, budget: 0.02 });
            let p99 = model.p99(3);
            let copies = model.run(1).copies;
            assert!(without > 15.0 && p99 <= 4.4, "{policy:?} {after:?}: {without} {p99}");
            assert!(copies <= 0.02, "{policy:?} {after:?}: {copies}");
        }
    }
}

#[test]
fn taking_turns_loads_workers_less_evenly_than_looking_at_them() {
    let variance = |policy| Model::new(policy, 0.9, EXP).run(1).variance;
    let (looking, turns) = (variance(LoadPolicy::LeastLoaded), variance(LoadPolicy::RoundRobin));
    assert!(looking < turns / 2.0, "{looking} {turns}");
}
