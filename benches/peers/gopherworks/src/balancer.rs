//! A balancer as an application makes it.

use gopherworks_actors::balancer::Balancer;
use gopherworks_actors::balancer::policy::Policy;
use gopherworks_actors::worker::Work;
use peers_common::{Crowd, Job, Moment, Order};

struct Server(Job);

impl Work for Server {
    type Request = u64;
    type Reply = u64;

    async fn work(&mut self, number: u64) -> u64 {
        self.0.serve(number).await
    }
}

/// The default is the central queue.
fn named(policy: &str) -> Option<Policy> {
    Some(match policy {
        "central" => Policy::CENTRAL,
        "central2" => Policy::Central {
            per_worker: 2,
            skip_slow: false,
        },
        "least-loaded" => Policy::LeastLoaded,
        "two-choices" => Policy::TwoChoices,
        "round-robin" => Policy::RoundRobin,
        _ => return None,
    })
}

pub async fn run(order: &Order, job: Job, policy: Option<&str>) {
    let crowd = Crowd::of(order, job);
    let policy = named(policy.unwrap_or("central")).unwrap_or_else(|| order.unknown());
    // With one thread all is here; with more, the workers are on arbiters of their own.
    let arbiters = if order.threads == 1 { 0 } else { order.threads };
    let balancer = Balancer::of(move |_| Server(job))
        .workers(crowd.workers)
        .arbiters(arbiters)
        .policy(policy);
    let balancer = balancer.start().await.expect("it starts");
    let start = Moment::now();
    let requesters = crowd.requesters().map(|mut requester| {
        let balancer = balancer.clone();
        actix_rt::spawn(async move {
            while let Some(number) = requester.next_number() {
                requester.answered(
                    balancer
                        .call(number)
                        .await
                        .expect("every request is answered"),
                );
            }
            requester
        })
    });
    let mut over = Vec::new();
    for requester in requesters.collect::<Vec<_>>() {
        over.push(requester.await.expect("no task panics"));
    }
    let took = start.elapsed();
    assert_eq!(balancer.restarts(), 0);
    balancer.stop().await;
    crowd.answer(order, took, over).print();
}
