//! Replication and hedging.

use super::*;
use crate::policy::{After, Hedge};

/// Each worker has a service time of its own.
fn uneven(clock: &Clock, counted: &Counted) -> Builder<impl Work<Request = (), Reply = usize>> {
    let (own, counted) = (clock.clone(), counted.clone());
    Balancer::of(move |worker| {
        let (clock, counted) = (own.clone(), counted.clone());
        from_fn(move |()| {
            let (clock, counted) = (clock.clone(), counted.clone());
            async move {
                counted.begun.fetch_add(1, Ordering::SeqCst);
                let running = Running(counted.clone());
                clock.sleep([50, 10, 90][worker] * MS).await;
                std::mem::forget(running);
                worker
            }
        })
    })
    .workers(3)
    .clock(clock.clone())
}

#[test]
fn the_first_answer_wins_and_the_others_are_cancelled() {
    virtually(async |clock| {
        let counted = Counted::default();
        let balancer = uneven(&clock, &counted).replicated(None).start().await.unwrap();
        for round in 1..=20u32 {
            assert_eq!(balancer.call(()).await, Ok(1));
            settle().await;
            assert_eq!(clock.now().as_nanos(), u64::from(round) * 10_000_000);
        }
        let counts = balancer.figures().counts;
        assert_eq!((counts.answered, counts.copies), (20, 40));
        let (begun, dropped, _) = counted.read();
        assert_eq!((begun, dropped), (60, 40));
        assert_eq!(balancer.figures().open, 0);
    });
}

#[test]
fn a_second_worker_is_asked_when_the_first_takes_long() {
    virtually(async |clock| {
        let counted = Counted::default();
        let hedge = Hedge { after: After::Delay(20 * MS), budget: 1.0 };
        let balancer = uneven(&clock, &counted).hedged(hedge).start().await.unwrap();
        // The first worker takes 50 ms: after 20 the second gets a copy, and takes 10.
        assert_eq!(balancer.call(()).await, Ok(1));
        assert_eq!(clock.now().as_nanos(), 30_000_000);
        settle().await;
        assert_eq!(counted.read().1, 1);
        assert_eq!(balancer.figures().counts.copies, 1);
    });
}

#[test]
fn a_copy_that_panics_leaves_the_answer_to_the_others() {
    virtually(async |clock| {
        let own = clock.clone();
        let balancer = Balancer::of(move |worker| {
            let clock = own.clone();
            from_fn(move |()| {
                let clock = clock.clone();
                async move {
                    assert!(worker != 0, "not I");
                    clock.sleep(MS).await;
                    worker
                }
            })
        })
        .workers(2)
        .replicated(None)
        .clock(clock.clone())
        .start()
        .await
        .unwrap();
        assert_eq!(balancer.call(()).await, Ok(1));
    });
}
