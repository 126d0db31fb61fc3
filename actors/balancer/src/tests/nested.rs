//! Workers that call their own balancer, directly and through another one.

use std::sync::OnceLock;

use super::*;
/// Counts down: calls the other balancer with the number below, and replies with the depth
/// reached; `None` if its call failed.
struct Countdown {
    other: Arc<OnceLock<BalancerHandle<Countdown>>>,
    within: Option<Duration>,
}

impl Work for Countdown {
    type Request = u32;
    type Reply = Option<u32>;

    async fn work(&mut self, number: u32) -> Option<u32> {
        if number == 0 {
            return Some(0);
        }
        let other = self.other.get().expect("it is there");
        let options = CallOptions { within: self.within, ..CallOptions::default() };
        let call = other.start_with(number - 1, options).await.ok()?;
        call.await.ok().flatten().map(|depth| depth + 1)
    }
}

async fn balancer(
    clock: &Clock,
    workers: usize,
    within: Option<Duration>,
) -> (BalancerHandle<Countdown>, Arc<OnceLock<BalancerHandle<Countdown>>>) {
    let other = Arc::<OnceLock<BalancerHandle<Countdown>>>::default();
    let asked = other.clone();
    let made = Balancer::of(move |_| Countdown { other: asked.clone(), within });
    let started = made.workers(workers).clock(clock.clone()).start().await;
    (started.expect("it starts"), other)
}

#[test]
fn workers_that_wait_for_each_other_are_told_so_in_time() {
    virtually(|clock| async move {
        for (within, most) in [(None, NESTED_WITHIN), (Some(70 * MS), 70 * MS)] {
            let (pool, own) = balancer(&clock, 3, within).await;
            assert!(own.set(pool.clone()).is_ok());
            // As deep as there are workers.
            let before = clock.now();
            assert_eq!(pool.call(2).await, Ok(Some(2)));
            assert_eq!(clock.now(), before, "nothing had to be waited for");
            // One deeper: the last call finds no free worker.
            assert_eq!(pool.call(3).await, Ok(None));
            assert_eq!(clock.now(), before + most);
            assert_eq!(pool.call(2).await, Ok(Some(2)), "all workers are free again");
            pool.stop().await;
        }
    });
}

#[test]
fn a_ring_of_two_balancers_is_one_as_well_and_a_chain_is_none() {
    virtually(|clock| async move {
        let (first, to_second) = balancer(&clock, 1, None).await;
        let (second, to_first) = balancer(&clock, 1, None).await;
        assert!(to_second.set(second.clone()).is_ok());
        assert!(to_first.set(first.clone()).is_ok());
        let before = clock.now();
        assert_eq!(first.call(1).await, Ok(Some(1)), "a chain");
        assert_eq!(clock.now(), before);
        assert_eq!(first.call(2).await, Ok(None), "a ring");
        assert_eq!(clock.now(), before + NESTED_WITHIN);
        first.stop().await;
        second.stop().await;
    });
}
