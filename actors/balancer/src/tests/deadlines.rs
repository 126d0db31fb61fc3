//! Deadlines that pass before the queue, in it, and at a worker.

use super::*;
use crate::policy::WhenFull;
use crate::resilience::{CallOptions, Priority, Shed};

fn late(begun: bool) -> Result<Duration, CallError> {
    Err(CallError::DeadlineExceeded { begun })
}

#[test]
fn a_deadline_holds_for_room_for_the_queue_and_for_the_work() {
    virtually(async |clock| {
        let counted = Counted::default();
        let balancer = sleepers(&clock, &counted).queue(1).deadline(10 * MS).start().await.unwrap();
        let began = clock.now();
        let calls = join_all((0..3).map(|_| async {
            let answer = balancer.call(30 * MS).await;
            assert_eq!(clock.now() - began, 10 * MS);
            answer
        }));
        // One runs, one is queued, one waits for a queue permit.
        assert_eq!(calls.await, [late(true), late(false), late(false)]);
        settle().await;
        assert_eq!(counted.read(), (1, 1, 0), "what ran was dropped");
        let figures = balancer.figures();
        assert_eq!((figures.counts.asked, figures.counts.expired), (2, 2));
        assert_eq!((figures.counts.rejected, figures.open), (1, 0));
        // The slot is free again, and a deadline that is met has no effect.
        assert_eq!(balancer.call(9 * MS).await, Ok(9 * MS));
        let own = CallOptions::default().within(50 * MS);
        assert_eq!(balancer.call_with(30 * MS, own).await, Ok(30 * MS));
        let none = CallOptions::default().within(Duration::ZERO);
        assert_eq!(balancer.call_with(MS, none).await, late(false));
    });
}

#[test]
fn deadlines_hold_while_no_worker_is_up_and_across_the_death_of_the_balancers_actor() {
    virtually(async |clock| {
        let balancer = sleepers(&clock, &Counted::default()).name("desk").start().await.unwrap();
        let running = balancer.start(50 * MS).await.unwrap();
        let options = CallOptions::default().within(20 * MS);
        let waiting = balancer.start_with(MS, options).await.unwrap();
        settle().await;
        assert!(balancer.supervisor().kill("desk"));
        let began = clock.now();
        assert_eq!(waiting.await, late(false));
        assert_eq!(clock.now() - began, 20 * MS);
        assert_eq!(running.await, Ok(50 * MS));
    });
}

#[test]
fn what_waits_too_long_under_overload_is_shed() {
    virtually(async |clock| {
        let balancer = sleepers(&clock, &Counted::default())
            .queue(None)
            .shed(Shed { target: 5 * MS, interval: 40 * MS })
            .start()
            .await
            .unwrap();
        // Twice the capacity of one worker, for a second.
        let calls = (0..200u32).map(|number| {
            let (balancer, clock) = (balancer.clone(), clock.clone());
            async move {
                clock.sleep(5 * MS * number).await;
                let began = clock.now();
                (balancer.call(10 * MS).await, clock.now() - began)
            }
        });
        let answers = join_all(calls).await;
        let answered = answers.iter().filter(|(answer, _)| answer.is_ok()).count();
        assert!((95..=110).contains(&answered), "{answered}");
        for (answer, after) in &answers {
            match answer {
                Ok(_) => assert!(*after <= 51 * MS, "{after:?}"),
                Err(CallError::Shed { waited }) => assert_eq!(waited, after),
                other => panic!("{other:?}"),
            }
        }
        let counts = balancer.figures().counts;
        assert_eq!(counts.answered + counts.shed, 200);
        assert!(balancer.retry_after() < 10 * MS, "nothing waits");
    });
}

#[test]
fn high_priorities_overtake_others_in_the_queue() {
    virtually(async |clock| {
        let balancer = sleepers(&clock, &Counted::default()).start().await.unwrap();
        let calls = [Priority::Low, Priority::Normal, Priority::High].map(|priority| {
            let (balancer, clock) = (balancer.clone(), clock.clone());
            async move {
                let options = CallOptions::default().priority(priority);
                balancer.call_with(10 * MS, options).await.unwrap();
                clock.now()
            }
        });
        let first = balancer.start(10 * MS).await.unwrap();
        settle().await;
        let ended = join_all(calls).await;
        assert!(ended[2] < ended[1] && ended[1] < ended[0], "{ended:?}");
        first.await.unwrap();
    });
}

#[test]
fn refusals_say_whether_they_had_an_effect() {
    virtually(async |clock| {
        let balancer = sleepers(&clock, &Counted::default())
            .queue(0)
            .full(WhenFull::Reject)
            .start()
            .await
            .unwrap();
        let running = balancer.start(MS).await.unwrap();
        let refused = balancer.call(MS).await.unwrap_err();
        assert_eq!(refused, CallError::Full);
        assert!(refused.had_no_effect());
        assert_eq!(balancer.figures().counts.rejected, 1);
        assert_eq!(running.await, Ok(MS));
        for (error, none) in [
            (CallError::DeadlineExceeded { begun: true }, false),
            (CallError::DeadlineExceeded { begun: false }, true),
            (CallError::Shed { waited: MS }, true),
            (CallError::Closed, false),
        ] {
            assert_eq!(error.had_no_effect(), none, "{error}");
        }
    });
}
