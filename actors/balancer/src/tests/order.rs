//! Each reply belongs to its request, in both orders.

use super::*;

#[test]
fn answers_come_as_they_are_ready_or_as_they_were_asked() {
    virtually(async |clock| {
        let balancer = sleepers(&clock, &Counted::default()).workers(3).start().await.unwrap();
        let asked = || [30 * MS, 10 * MS, 20 * MS];
        let numbers = |answers: Vec<(usize, Result<Duration, CallError>)>| -> Vec<usize> {
            for (at, answer) in &answers {
                assert_eq!(answer, &Ok(asked()[*at]));
            }
            answers.into_iter().map(|(at, _)| at).collect()
        };
        let ready: Vec<_> = balancer.call_all(asked()).collect().await;
        assert_eq!(numbers(ready), [1, 2, 0]);
        let sent: Vec<_> = balancer.call_in_order(asked()).collect().await;
        assert_eq!(numbers(sent), [0, 1, 2]);
    });
}

#[test]
fn a_job_has_an_id_and_may_be_left_to_itself() {
    virtually(async |clock| {
        let counted = Counted::default();
        let balancer = sleepers(&clock, &counted).start().await.unwrap();
        let (first, second) =
            (balancer.start(MS).await.unwrap(), balancer.start(2 * MS).await.unwrap());
        assert_eq!((first.id(), second.id()), (0, 1));
        first.detach();
        assert_eq!(second.await, Ok(2 * MS));
        assert_eq!(counted.read(), (2, 0, 2));
        assert_eq!(balancer.figures().counts.answered, 2);
    });
}

#[test]
fn many_callers_on_two_arbiters_get_their_own_answers() {
    real(async {
        let balancer = Balancer::of(|_| from_fn(async |n: usize| 3 * n))
            .workers(4)
            .arbiters(2)
            .queue(8)
            .start()
            .await
            .unwrap();
        let calls = (0..20_000).map(|n| {
            let balancer = balancer.clone();
            async move { assert_eq!(balancer.call(n).await, Ok(3 * n)) }
        });
        join_all(calls).await;
        let counts = balancer.figures().counts;
        assert_eq!((counts.asked, counts.answered), (20_000, 20_000));
        balancer.stop().await;
        assert_eq!(balancer.call(1).await, Err(CallError::Closed));
    });
}

#[test]
fn a_recipient_asks_the_balancer_and_cancels_when_it_is_dropped() {
    virtually(async |clock| {
        let counted = Counted::default();
        let balancer = sleepers(&clock, &counted).start().await.unwrap();
        let door = balancer.recipient();
        assert_eq!(door.send(Ask(MS)).await.unwrap(), Ok(MS));
        let mut asking = Box::pin(door.send(Ask(50 * MS)));
        assert!(futures_util::FutureExt::now_or_never(&mut asking).is_none());
        settle().await;
        assert_eq!(counted.read(), (2, 0, 1));
        drop(asking);
        settle().await;
        assert_eq!(counted.read(), (2, 1, 1));
        door.do_send(Ask(MS));
        clock.sleep(5 * MS).await;
        assert_eq!(counted.read(), (3, 1, 2));
    });
}
