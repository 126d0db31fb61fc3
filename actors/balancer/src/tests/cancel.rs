//! Dropped calls.

use super::*;

#[test]
fn a_dropped_call_is_cancelled_queued_or_running() {
    virtually(async |clock| {
        let counted = Counted::default();
        let balancer = sleepers(&clock, &counted).start().await.unwrap();
        let running = balancer.start(100 * MS).await.unwrap();
        settle().await;
        let queued = balancer.start(100 * MS).await.unwrap();
        let last = balancer.start(MS).await.unwrap();
        settle().await;
        assert_eq!(counted.read(), (1, 0, 0));
        drop(queued);
        drop(running);
        assert_eq!(last.await, Ok(MS));
        // No time was spent on the cancelled request.
        assert_eq!(clock.now(), gopherworks_supervision::clock::Time::ZERO + MS);
        assert_eq!(counted.read(), (2, 1, 1));
        let figures = balancer.figures();
        assert_eq!((figures.counts.cancelled, figures.open), (2, 0));
    });
}

#[test]
fn callers_that_give_up_leave_nothing_behind() {
    virtually(async |clock| {
        let counted = Counted::default();
        let balancer = sleepers(&clock, &counted).workers(3).queue(5).start().await.unwrap();
        for round in 0..500u32 {
            let calls = (0..20).map(|n| {
                let balancer = balancer.clone();
                async move { balancer.call((1 + n % 7) * MS).await }
            });
            tokio::select! {
                biased;
                _ = join_all(calls) => {}
                () = clock.sleep(round % 9 * MS) => {}
            }
        }
        settle().await;
        let figures = balancer.figures();
        let counts = figures.counts;
        assert_eq!(figures.open, 0);
        assert_eq!(counts.asked, counts.answered + counts.cancelled);
        assert!(counts.cancelled > 1000, "{counts:?}");
        let (begun, dropped, done) = counted.read();
        assert_eq!(begun, dropped + done);
        // All permits are free again.
        let calls: Vec<_> = (0..8).map(|_| balancer.try_start(MS).unwrap()).collect();
        assert_eq!(balancer.try_start(MS).unwrap_err(), CallError::Full);
        for answer in join_all(calls).await {
            assert_eq!(answer, Ok(MS));
        }
    });
}

#[test]
fn stopping_answers_every_caller() {
    virtually(async |clock| {
        let balancer = sleepers(&clock, &Counted::default()).queue(1).start().await.unwrap();
        let calls = (0..5).map(|_| balancer.call(10 * MS));
        let (answers, ()) = tokio::join!(join_all(calls), async {
            clock.sleep(15 * MS).await;
            balancer.stop().await;
        });
        let answered = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(answered, 1);
        assert!(answers[1..].iter().all(|answer| answer == &Err(CallError::Closed)));
    });
}

#[test]
fn draining_lets_everything_end() {
    virtually(async |clock| {
        let balancer = sleepers(&clock, &Counted::default()).start().await.unwrap();
        let mut calls = Vec::new();
        for _ in 0..5 {
            calls.push(balancer.start(10 * MS).await.unwrap());
        }
        let (answers, ()) = tokio::join!(join_all(calls), balancer.drain());
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(balancer.call(MS).await, Err(CallError::Closed));
    });
}
