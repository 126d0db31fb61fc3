//! Children of a template at odd moments: owners that follow each other, and what comes before a first life or after a last.

use super::*;

/// What `work` gives, which takes less than the backoff of [`held_up`].
async fn in_time<T>(clock: &Clock, work: impl Future<Output = T>) -> T {
    tokio::select! {
        done = work => done,
        () = clock.sleep(ms(500)) => panic!("nobody is told"),
    }
}

#[test]
fn a_template_made_before_its_ports_served_another_starts_all_the_same() {
    in_virtual_time(|clock| async move {
        let (trace, ports) = (Trace::default(), Ports::new(3));
        let [early, late] = [(); 2].map(|()| template(&ports, &trace));
        let handle = supervise(soon(), &clock, vec![]);
        handle.start_many(early).await.expect("they start");
        handle.stop(ms(1_000)).await;
        let handle = supervise(soon(), &clock, vec![]);
        let started = in_time(&clock, handle.start_many(late)).await;
        started.expect("they start");
        assert!((0..3).all(|index| ports.epoch(index) == Some(2)));
        handle.stop(ms(1_000)).await;
        handle.buried().await;
    });
}

#[test]
fn ports_that_serve_a_supervisor_are_refused_to_another() {
    in_virtual_time(|clock| async move {
        let many = many(&clock, 2, |template| template).await;
        let other = supervise(soon(), &clock, vec![]);
        for owner in [&other, &many.handle] {
            let again = owner.start_many(template(&many.ports, &many.trace));
            assert!(in_time(&clock, again).await.is_err());
        }
        assert!(other.children().is_empty());
        other.stop(ms(1_000)).await;
        assert_eq!(many.epochs(), [Some(1), Some(1)]);
        many.handle.stop(ms(1_000)).await;
    });
}

#[test]
fn ports_are_free_when_all_who_lived_there_are_buried() {
    in_virtual_time(|clock| async move {
        // More than a task may hear of in one go.
        let (trace, ports) = (Trace::default(), Ports::new(1_000));
        for epoch in 1..=3 {
            let handle = supervise(soon(), &clock, vec![]);
            let started = handle.start_many(template(&ports, &trace)).await;
            started.expect("they start");
            assert_eq!(ports.epoch(999), Some(epoch));
            handle.kill_all();
            handle.buried().await;
        }
    });
}

#[test]
fn ports_are_free_when_all_their_children_are_gone() {
    in_virtual_time(|clock| async move {
        let many = many(&clock, 2, |template| template.restart(Restart::Temporary)).await;
        many.handle.kill("probe/0");
        assert!(many.handle.stop_child(Which::Name("probe/1")).await);
        many.handle.buried().await;
        let other = supervise(soon(), &clock, vec![]);
        let again = other.start_many(template(&many.ports, &many.trace)).await;
        again.expect("they start");
        // Its end is no business of theirs.
        many.handle.stop(ms(1_000)).await;
        assert_eq!(many.epochs(), [Some(2), Some(2)]);
        other.stop(ms(1_000)).await;
    });
}
