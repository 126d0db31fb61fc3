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
