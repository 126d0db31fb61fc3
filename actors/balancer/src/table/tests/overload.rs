//! Overload, failing workers, retry budgets, slow start and affinity.

use rand::RngExt;

use super::super::*;
use super::model::{Model, UNIT};
use crate::policy::LoadPolicy;
use crate::resilience::{Eject, Resilience, RetryBudget, Shed};
use gopherworks_supervision::clock::{Seed, Time};
use gopherworks_supervision::span::Span;

const EXPONENTIAL: Span = Span::Exponential(UNIT);

fn overloaded(shed: bool) -> Model {
    Model {
        within: Some(20 * UNIT),
        resilience: Resilience {
            shed: shed.then_some(Shed { target: UNIT, interval: 10 * UNIT }),
            ..Resilience::default()
        },
        ..Model::new(LoadPolicy::CENTRAL, 1.5, EXPONENTIAL)
    }
}

#[test]
fn under_overload_what_is_answered_is_answered_in_time() {
    for seed in 1..=3 {
        let with = overloaded(true).run(seed);
        assert!(with.goodput >= 0.95, "{with:?}");
        assert!(with.p99 <= 20.0, "{with:?}");
        // Only the third that exceeds the capacity is refused.
        let share = with.refused as f64 / 100_000.0;
        assert!((0.30..0.37).contains(&share), "{with:?}");
        // With deadlines alone as many are answered, but each has nearly used up its time.
        let without = overloaded(false).run(seed);
        assert!(with.p99 < without.p99 / 2.0, "{without:?} {with:?}");
    }
}

#[test]
fn what_is_no_overload_loses_nothing() {
    let shed = Model {
        resilience: Resilience {
            shed: Some(Shed { target: UNIT, interval: 20 * UNIT }),
            ..Resilience::default()
        },
        ..Model::new(LoadPolicy::CENTRAL, 0.75, EXPONENTIAL)
    };
    let seen = shed.run(1);
    assert!(seen.refused < 10, "{seen:?}");
}

#[test]
fn a_latency_aware_balancer_asks_a_slow_worker_less() {
    let slow = |policy| Model { slow: 5.0, ..Model::new(policy, 0.9, EXPONENTIAL) };
    let aware = LoadPolicy::LatencyAware { decay: 1000 * UNIT };
    let (aware, heap) = (slow(aware).p99(3), slow(LoadPolicy::LeastLoaded).p99(3));
    assert!(aware < heap, "{aware} {heap}");
}

#[test]
fn a_slow_worker_is_left_out_and_tried_again() {
    let ejecting = |slower| Model {
        slow: 20.0,
        resilience: Resilience {
            eject: Some(Eject { failures: None, slower, pause: 2000 * UNIT, at_most: 0.5 }),
            ..Resilience::default()
        },
        ..Model::new(LoadPolicy::LeastLoaded, 0.8, EXPONENTIAL)
    };
    let (with, without) = (ejecting(Some(5.0)).run(1), ejecting(None).run(1));
    assert!(with.p99 < 0.9 * without.p99, "{with:?} {without:?}");
    // More than once: an ejection ends.
    assert!(with.ejected > 1 && without.ejected == 0, "{with:?}");
}

fn table(policy: LoadPolicy, workers: usize, resilience: Resilience) -> RequestTable<u64> {
    let rules =
        Rules { policy, spread: Spread::One, workers, places: 1, max_attempts: 10, resilience };
    let mut table = RequestTable::new(rules, Seed(1).stream("front", "policy"), Time::ZERO);
    for worker in 0..workers {
        table.worker_up(worker, 1, Time::ZERO);
    }
    table
}

const fn at(ms: u64) -> Time {
    Time(ms * 1_000_000)
}

#[test]
fn repeated_ejections_last_longer() {
    let eject =
        Eject { failures: Some(3), slower: None, pause: Duration::from_millis(100), at_most: 0.5 };
    let resilience = Resilience { eject: Some(eject), ..Resilience::default() };
    let mut table = table(LoadPolicy::RoundRobin, 2, resilience);
    let mut outs = Vec::new();
    for ms in 0..1500 {
        let now = at(ms);
        table.submit(ms, Terms::default(), now);
        table.turn(now);
        for worker in 0..2 {
            while let Some(begun) = table.take(worker, 1, now, |number| *number) {
                table.answered(begun.which, worker, 1, UNIT, worker == 1, now);
            }
        }
        let out = table.workers[1].out.is_some();
        if out != (outs.len() % 2 == 1) {
            outs.push(ms);
        }
        assert!(table.workers[0].out.is_none());
    }
    let spans: Vec<u64> = outs.chunks_exact(2).map(|out| out[1] - out[0]).collect();
    assert_eq!(spans[..3], [100, 200, 300], "{outs:?}");
    assert_eq!(table.counts().failed, 0);
}

#[test]
fn the_last_worker_is_never_left_out() {
    let resilience = Resilience {
        eject: Some(Eject { failures: Some(1), at_most: 1.0, ..Eject::default() }),
        ..Resilience::default()
    };
    let mut table = table(LoadPolicy::CENTRAL, 2, resilience);
    for number in 0..10 {
        table.submit(number, Terms::default(), at(1));
        table.turn(at(1));
        let begun = (0..2).find_map(|worker| {
            let begun = table.take(worker, 1, at(1), |number| *number)?;
            Some((worker, begun))
        });
        let (worker, begun) = begun.expect("somebody takes it");
        table.answered(begun.which, worker, 1, UNIT, true, at(1));
    }
    assert_eq!(table.ejected(), 1);
    // The available worker dies: the ejected one is readmitted early.
    let left = (0..2).find(|worker| table.workers[*worker].out.is_none());
    table.worker_down(left.expect("one is in"), 1, at(2));
    table.turn(at(2));
    assert!(table.is_any_up());
    assert_eq!(table.ejected(), 0);
}

#[test]
fn a_restarted_worker_starts_slowly() {
    let resilience =
        Resilience { slow_start: Some(Duration::from_millis(1000)), ..Resilience::default() };
    for policy in [
        LoadPolicy::Random,
        LoadPolicy::RoundRobin,
        LoadPolicy::TwoChoices,
        LoadPolicy::LeastLoaded,
    ] {
        let mut table = table(policy, 4, resilience);
        table.worker_down(0, 1, Time::ZERO);
        table.worker_up(0, 2, Time::ZERO);
        // In each of five periods of 0.4 s: its share of the work.
        let mut shares = Vec::new();
        for part in 0..5 {
            let mut own = 0;
            for step in 0..400 {
                let now = at(part * 400 + step);
                for number in 0..8 {
                    table.submit(number, Terms::default(), now);
                }
                table.turn(now);
                for (worker, epoch) in [(0, 2), (1, 1), (2, 1), (3, 1)] {
                    while let Some(begun) = table.take(worker, epoch, now, |number| *number) {
                        own += u32::from(worker == 0);
                        table.answered(begun.which, worker, epoch, UNIT, false, now);
                    }
                }
            }
            shares.push(f64::from(own) / 3200.0);
        }
        assert!(shares[0] < 0.15, "{policy:?} {shares:?}");
        assert!((0.2..0.3).contains(&shares[4]), "{policy:?} {shares:?}");
        assert!(shares[0] < shares[1], "{policy:?} {shares:?}");
    }
}

#[test]
fn a_worker_that_begins_slowly_is_not_left_idle_while_others_wait() {
    let resilience =
        Resilience { slow_start: Some(Duration::from_secs(1)), ..Resilience::default() };
    let mut table = table(LoadPolicy::CENTRAL, 2, resilience);
    table.worker_down(0, 1, Time::ZERO);
    table.worker_up(0, 2, Time::ZERO);
    table.submit(0, Terms::default(), at(1));
    table.submit(1, Terms::default(), at(1));
    table.turn(at(1));
    // The other worker comes first, but each gets one.
    assert_eq!(table.take(1, 1, at(1), |number| *number).map(|one| one.item), Some(0));
    assert_eq!(table.take(0, 2, at(1), |number| *number).map(|one| one.item), Some(1));
}

#[test]
fn retries_stay_within_their_budget() {
    let resilience = Resilience {
        retries: Some(RetryBudget { share: 0.1, per_second: 0.0 }),
        ..Resilience::default()
    };
    let mut table = table(LoadPolicy::CENTRAL, 1, resilience);
    for number in 0..1000 {
        table.submit(number, Terms::default(), at(number));
        table.turn(at(number));
        // Every request that starts makes its worker fail.
        while let Some(begun) = table.take(0, 1, at(number), |number| *number) {
            table.lost(begun.which, 0, 1, true, true, at(number));
            table.turn(at(number));
        }
    }
    let counts = table.counts();
    assert_eq!((counts.failed, table.open()), (1000, 0));
    assert!((95..=100).contains(&counts.retried), "{counts:?}");
}

#[test]
fn high_priorities_go_first_and_no_request_starves() {
    for policy in [LoadPolicy::CENTRAL, LoadPolicy::LeastLoaded] {
        let mut table = table(policy, 1, Resilience::default());
        let priorities = [Priority::Low, Priority::Normal, Priority::High];
        for number in 0..9 {
            let terms = Terms { priority: priorities[number as usize % 3], ..Terms::default() };
            table.submit(number, terms, at(1));
        }
        table.turn(at(1));
        let order: Vec<u64> = std::iter::from_fn(|| {
            let begun = table.take(0, 1, at(2), |number| *number)?;
            table.answered(begun.which, 0, 1, UNIT, false, at(2));
            table.turn(at(2));
            Some(begun.item)
        })
        .collect();
        assert_eq!(order, [2, 5, 8, 1, 4, 7, 0, 3, 6], "{policy:?}");
    }
}

#[test]
fn keys_stay_with_their_workers_and_no_worker_gets_much_more_than_its_share() {
    const WORKERS: usize = 8;
    let policy = LoadPolicy::Affinity { bound: 1.25 };
    let home = |table: &mut RequestTable<u64>, key: u64| {
        let terms = Terms { key: Some(key), ..Terms::default() };
        let which = table.submit(key, terms, at(1));
        table.turn(at(1));
        let worker = table.entries[which.key].at[0].worker;
        (which, worker)
    };
    // One at a time, no worker is busy: each key goes to its first worker.
    let homes = |without: Option<usize>| -> Vec<usize> {
        let mut table = table(policy, WORKERS, Resilience::default());
        if let Some(worker) = without {
            table.worker_down(worker, 1, at(0));
        }
        (0..2000)
            .map(|key| {
                let (which, worker) = home(&mut table, key);
                table.cancel(which, at(1));
                worker
            })
            .collect()
    };
    let (all, less) = (homes(None), homes(Some(3)));
    for worker in 0..WORKERS {
        let own = all.iter().filter(|at| **at == worker).count();
        assert!((180..320).contains(&own), "{worker} has {own} of 2000");
    }
    for (before, after) in all.iter().zip(&less) {
        // Only the keys of the worker that left have moved.
        assert!(*before == 3 || before == after);
        assert!(*after != 3);
    }
    // All requests have one key: it spills over once its worker has its share.
    let mut table = table(policy, WORKERS, Resilience::default());
    let mut at_workers = [0u32; WORKERS];
    for _ in 0..800 {
        at_workers[home(&mut table, 7).1] += 1;
    }
    assert!(at_workers.iter().all(|own| *own <= 127), "{at_workers:?}");
}

#[test]
fn the_table_shrinks_and_grows_while_it_is_busy() {
    let mut table = table(LoadPolicy::LeastLoaded, 4, Resilience::default());
    let mut chance = Seed(5).stream("test", "sizes");
    let mut done = 0;
    for number in 0..2000 {
        let now = at(number);
        table.submit(number, Terms::default(), now);
        if number % 7 == 0 {
            table.resize(chance.random_range(0..6), now);
        }
        table.turn(now);
        for worker in 0..4 {
            if let Some(begun) = table.take(worker, 1, now, |number| *number) {
                assert!(worker < table.size());
                table.answered(begun.which, worker, 1, UNIT, false, now);
                done += 1;
            }
        }
    }
    table.resize(4, at(3000));
    table.turn(at(3000));
    while table.open() > 0 {
        for worker in 0..4 {
            if let Some(begun) = table.take(worker, 1, at(3000), |number| *number) {
                table.answered(begun.which, worker, 1, UNIT, false, at(3000));
                done += 1;
            }
        }
    }
    assert_eq!(done, 2000);
}
