//! Clocks in real and simulated time, and the stability of random streams.

use std::cell::RefCell;
use std::rc::Rc;

use futures_util::FutureExt;
use rand::{Rng, RngExt};

use super::*;

fn us(n: u64) -> Duration {
    Duration::from_micros(n)
}

/// Runs `test` while the driver of its simulated clock runs as another task.
fn simulate<F: Future>(test: impl FnOnce(Clock) -> F) -> F::Output {
    actix_rt::System::new().block_on(async {
        let clock = Clock::simulated();
        actix_rt::spawn(clock.driver());
        test(clock).await
    })
}

#[test]
fn sums_and_differences_saturate() {
    assert_eq!(Time(5) + us(1), Time(1_005));
    assert_eq!(Time::MAX + us(1), Time::MAX);
    assert_eq!(Time::ZERO + Duration::MAX, Time::MAX);
    assert_eq!(Time(5) - Time(2), Duration::from_nanos(3));
    assert_eq!(Time(2) - Time(5), Duration::ZERO);
    assert_eq!(Time(1_500_000_000).to_string(), "1.500000000s");
}

#[test]
fn chained_sleeps_are_exact() {
    simulate(|clock| async move {
        for _ in 0..10_000 {
            clock.sleep(us(500)).await;
        }
        assert_eq!(clock.now(), Time(5_000_000_000));
        clock.sleep(Duration::from_nanos(1)).await;
        assert_eq!(clock.now(), Time(5_000_000_001));
        clock.sleep(Duration::from_secs(3_600 * 24 * 365)).await;
        assert_eq!(clock.now() - Time(5_000_000_001), Duration::from_secs(3_600 * 24 * 365));
    });
}

#[test]
fn sleepers_wake_by_deadline_then_by_turn() {
    simulate(|clock| async move {
        let woken = Rc::new(RefCell::new(vec![]));
        for (name, span) in [("c", 30), ("a", 10), ("b1", 20), ("b2", 20), ("b3", 20)] {
            let (woken, clock) = (woken.clone(), clock.clone());
            actix_rt::spawn(async move {
                clock.sleep(us(span)).await;
                woken.borrow_mut().push((name, clock.now()));
            });
        }
        clock.sleep(us(100)).await;
        let expected = [("a", 10), ("b1", 20), ("b2", 20), ("b3", 20), ("c", 30)];
        assert_eq!(*woken.borrow(), expected.map(|(name, span)| (name, Time::ZERO + us(span))));
    });
}

#[test]
fn time_stands_while_anything_can_run() {
    simulate(|clock| async move {
        // A thousand tasks that yield to each other, far more than one round of the scheduler.
        let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
        let sleeper = actix_rt::spawn(clock.sleep(Duration::from_nanos(1)));
        for _ in 0..1_000 {
            let (send, clock) = (send.clone(), clock.clone());
            actix_rt::spawn(async move {
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                let _ = send.send(clock.now());
            });
        }
        for _ in 0..1_000 {
            assert_eq!(receive.recv().await, Some(Time::ZERO));
        }
        sleeper.await.expect("it wakes");
        assert_eq!(clock.now(), Time(1));
    });
}

#[test]
fn time_stands_while_blocking_work_runs() {
    simulate(|clock| async move {
        let sleeper = actix_rt::spawn(clock.sleep(us(1)));
        let seen = clock.clone();
        let work = tokio::task::spawn_blocking(move || {
            (0..2_000).for_each(|_| std::thread::yield_now());
            seen.now()
        });
        assert_eq!(work.await.expect("it ends"), Time::ZERO);
        sleeper.await.expect("it wakes");
    });
}

#[test]
fn a_dropped_sleep_is_forgotten() {
    simulate(|clock| async move {
        let mut dropped = clock.sleep(us(10));
        assert!((&mut dropped).now_or_never().is_none());
        assert_eq!(clock.sleepers(), 1);
        drop(dropped);
        assert_eq!(clock.sleepers(), 0);
        let unpolled = clock.sleep(us(5));
        clock.sleep(us(20)).await;
        assert_eq!(clock.now(), Time::ZERO + us(20));
        unpolled.await;
        assert_eq!(clock.now(), Time::ZERO + us(20), "past, so ready at once");
        assert_eq!(clock.sleepers(), 0);
    });
}

#[test]
fn a_sleep_that_moves_between_tasks_wakes_the_last_one() {
    simulate(|clock| async move {
        let mut sleep = clock.sleep(us(10));
        assert!((&mut sleep).now_or_never().is_none());
        actix_rt::spawn(sleep).await.expect("it wakes");
        assert_eq!(clock.now(), Time::ZERO + us(10));
    });
}

/// Which task woke at which time, in a group of tasks with random sleeps.
fn crowd(seed: u64) -> Vec<(usize, Time)> {
    simulate(|clock| async move {
        let woken = Rc::new(RefCell::new(vec![]));
        let tasks: Vec<_> = (0..20)
            .map(|task| {
                let (woken, clock) = (woken.clone(), clock.clone());
                actix_rt::spawn(async move {
                    let mut chance = Seed(seed).stream(&format!("task{task}"), "naps");
                    for _ in 0..200 {
                        // Short enough to collide.
                        clock.sleep(Duration::from_nanos(chance.random_range(0..50))).await;
                        woken.borrow_mut().push((task, clock.now()));
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("it ends");
        }
        woken.take()
    })
}

#[test]
fn the_same_program_wakes_in_the_same_order() {
    let first = crowd(1);
    assert!(first.is_sorted_by_key(|(_, at)| *at));
    assert_eq!(first, crowd(1));
    assert_ne!(first, crowd(2));
}

#[test]
fn a_real_clock_goes_on_and_is_never_early() {
    actix_rt::System::new().block_on(async {
        let clock = Clock::real();
        let before = clock.now();
        assert!(clock.sleep_until(before).now_or_never().is_some(), "past");
        let deadline = before + us(1_500);
        clock.sleep_until(deadline).await;
        assert!(clock.now() >= deadline);
        assert!(clock.sleep_until(Time::MAX).now_or_never().is_none());
        assert!(clock.driver().now_or_never().is_none(), "nothing to drive");
    });
}

#[test]
fn handles_cross_threads() {
    fn crosses<T: Send + Sync + 'static>() {}
    fn moves<T: Send + 'static>(_: &T) {}
    crosses::<Clock>();
    let clock = Clock::simulated();
    moves(&clock.sleep(us(1)));
    moves(&clock.driver());
}

#[test]
fn streams_are_pinned() {
    // Part of the contract: a seed in a bug report must reproduce the same run in later releases.
    let draw = |seed, node, purpose| Seed(seed).stream(node, purpose).next_u64();
    let draws =
        [draw(0, "", ""), draw(1, "near", "sizes"), draw(u64::MAX, "incinerator[1]", "faults")];
    let pinned = [1_037_692_726_039_624_124, 5_195_171_147_044_170_107, 10_287_716_834_243_053_251];
    assert_eq!(draws, pinned);
}

#[test]
fn streams_differ_by_seed_node_and_purpose() {
    let draws = [
        (1, "ab", "c"),
        (2, "ab", "c"),
        (1, "a", "bc"),
        (1, "abc", ""),
        (1, "", "abc"),
        (1, "c", "ab"),
    ]
    .map(|(seed, node, purpose)| Seed(seed).stream(node, purpose).next_u64());
    let distinct: std::collections::BTreeSet<_> = draws.into_iter().collect();
    assert_eq!(distinct.len(), 6);
    assert_eq!(draws[0], Seed(1).stream("ab", "c").next_u64());
}

#[test]
fn a_simulation_in_which_nothing_will_ever_happen_is_known() {
    simulate(|clock| async move {
        let (hung, end) = tokio::sync::oneshot::channel::<()>();
        let waits = actix_rt::spawn(end);
        clock.sleep(us(5)).await;
        assert_eq!(clock.stuck().await, Stuck::Idle);
        assert_eq!(clock.now(), Time(5_000));
        // The simulation continues when an external event arrives.
        assert!(hung.send(()).is_ok());
        assert!(waits.await.is_ok_and(|end| end.is_ok()));
        clock.sleep(us(5)).await;
        assert_eq!(clock.now(), Time(10_000));
    });
}

#[test]
fn tasks_that_only_keep_each_other_busy_are_known_and_progress_is_not_blamed() {
    for progress in [false, true] {
        let found = simulate(|clock| async move {
            let spinner = clock.clone();
            let spin = actix_rt::spawn(async move {
                for turn in 0..3_000_000u32 {
                    let _ = spinner.now();
                    if progress && turn % 1_000 == 0 {
                        spinner.made_progress();
                    }
                    if turn % 100 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            });
            let stuck = std::pin::pin!(clock.stuck());
            match futures_util::future::select(stuck, spin).await {
                futures_util::future::Either::Left((how, _)) => Some(how),
                futures_util::future::Either::Right(_) => None,
            }
        });
        let wanted = (!progress).then_some(Stuck::Busy);
        assert_eq!(found, wanted);
    }
}
