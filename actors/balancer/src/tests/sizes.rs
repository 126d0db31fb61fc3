//! Resizing under load, and shutdown.

use super::*;

#[test]
fn workers_come_and_go_while_requests_are_under_way() {
    virtually(async |clock| {
        let counted = Counted::default();
        let (made, own) = (Arc::new(AtomicUsize::new(0)), clock.clone());
        let (making, begun) = (made.clone(), counted.clone());
        let balancer = Balancer::of(move |_| {
            making.fetch_add(1, Ordering::SeqCst);
            Sleeper { clock: own.clone(), counted: begun.clone() }
        })
        .clock(clock.clone())
        .concurrency(2)
        .at_most(4)
        .start()
        .await
        .unwrap();
        // One is a trial at the start; two are the slots of the one worker.
        assert_eq!(made.load(Ordering::SeqCst), 3);
        let calls: Vec<_> = (0..16).map(|_| balancer.try_start(10 * MS).unwrap()).collect();
        settle().await;
        assert_eq!(counted.read().0, 2);
        assert_eq!(balancer.resize(9), 4);
        settle().await;
        assert_eq!(counted.read().0, 8, "the new ones are at work");
        assert_eq!(made.load(Ordering::SeqCst), 9);
        assert_eq!(balancer.resize(0), 1);
        settle().await;
        let began = clock.now();
        assert!(join_all(calls).await.iter().all(Result::is_ok));
        // Eight at once, then two at a time.
        assert_eq!(clock.now() - began, 50 * MS);
        assert_eq!(counted.read(), (16, 0, 16));
        let figures = balancer.figures();
        assert_eq!((figures.workers, figures.open), (1, 0));
        // Parked workers come back with new work.
        balancer.resize(2);
        settle().await;
        assert_eq!(made.load(Ordering::SeqCst), 11);
        let answers = join_all((0..4).map(|_| balancer.call(10 * MS))).await;
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(balancer.restarts(), 0);
    });
}

#[test]
fn a_worker_wanted_again_before_its_end_continues() {
    virtually(async |clock| {
        let counted = Counted::default();
        let balancer = sleepers(&clock, &counted).workers(2).concurrency(2).start().await.unwrap();
        let long: Vec<_> = (0..4).map(|at| balancer.try_start((10 + at) * MS).unwrap()).collect();
        settle().await;
        balancer.resize(1);
        // By now one slot of the second worker is idle, the other still busy.
        clock.sleep(12 * MS + MS / 2).await;
        balancer.resize(2);
        settle().await;
        assert!(join_all(long).await.iter().all(Result::is_ok));
        let began = clock.now();
        let answers = join_all((0..4).map(|_| balancer.call(10 * MS))).await;
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(clock.now() - began, 10 * MS, "all four places are there");
    });
}

#[test]
fn shutting_down_ends_what_can_be_ended_in_time() {
    virtually(async |clock| {
        let balancer = sleepers(&clock, &Counted::default()).workers(2).start().await.unwrap();
        assert!(balancer.is_ready());
        let calls =
            [10 * MS, 10 * MS, 10 * MS, 500 * MS].map(|span| balancer.try_start(span).unwrap());
        let (figures, answers) = tokio::join!(balancer.shut_down(100 * MS), join_all(calls));
        let answered = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!((answered, &answers[3]), (3, &Err(CallError::Closed)));
        assert_eq!((figures.open, figures.counts.answered, figures.counts.failed), (0, 3, 1));
        assert!(!balancer.is_ready());
        assert_eq!(balancer.call(MS).await, Err(CallError::Closed));
    });
}
