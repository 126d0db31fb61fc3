//! Full queues.

use super::*;
use crate::policy::WhenFull;

#[test]
fn no_more_wait_than_the_queue_holds() {
    virtually(async |clock| {
        for queue in [0u32, 1, 5] {
            let balancer = sleepers(&clock, &Counted::default())
                .workers(2)
                .queue(queue)
                .start()
                .await
                .unwrap();
            let most = Rc::new(Cell::new(0));
            let calls = (0..50).map(|_| {
                let (balancer, most) = (balancer.clone(), most.clone());
                async move {
                    let call = balancer.start(MS).await.unwrap();
                    most.set(most.get().max(balancer.figures().open));
                    call.await
                }
            });
            assert!(join_all(calls).await.iter().all(Result::is_ok));
            assert_eq!(most.get(), queue as usize + 2);
        }
    });
}

#[test]
fn a_full_queue_refuses_where_it_is_told_to() {
    virtually(async |clock| {
        let balancer = sleepers(&clock, &Counted::default())
            .queue(1)
            .full(WhenFull::Reject)
            .start()
            .await
            .unwrap();
        let answers = join_all((0..4).map(|_| balancer.call(MS))).await;
        let full = answers.iter().filter(|answer| **answer == Err(CallError::Full));
        assert_eq!(full.count(), 2);
        assert_eq!(balancer.figures().counts.answered, 2);
    });
}

#[test]
fn slots_are_all_used_and_never_more() {
    virtually(async |clock| {
        let counted = Counted::default();
        let balancer = sleepers(&clock, &counted).workers(2).concurrency(3).start().await.unwrap();
        let calls = join_all((0..12).map(|_| balancer.call(10 * MS)));
        let (answers, ()) = tokio::join!(calls, async {
            clock.sleep(5 * MS).await;
            assert_eq!(counted.read(), (6, 0, 0));
        });
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(clock.now(), gopherworks_supervision::clock::Time::ZERO + 20 * MS);
    });
}
