//! The balancer rows by `Balancer::of`, as an application uses it.

use actix_rt::Arbiter;
use gopherworks_balancer::Balancer;
use gopherworks_balancer::policy::LoadPolicy;
use gopherworks_balancer::worker::Work;
use gopherworks_supervision::clock::Clock;
use peers_common::{Crowd, Job, Moment, Order};
use tokio::sync::oneshot;

/// Sleeps by the clock of gopherworks, as work that is also simulated does.
struct Server(Job, Clock);

impl Work for Server {
    type Request = u64;
    type Reply = u64;

    async fn work(&mut self, number: u64) -> u64 {
        match self.0.slept(number) {
            Some(span) => {
                self.1.sleep_exactly(span).await;
                number
            }
            None => self.0.work(number),
        }
    }
}

/// The default is the central queue.
fn named(policy: &str) -> Option<LoadPolicy> {
    Some(match policy {
        "central" => LoadPolicy::CENTRAL,
        "central2" => LoadPolicy::Central { per_worker: 2, skip_slow: false },
        "least-loaded" => LoadPolicy::LeastLoaded,
        "two-choices" => LoadPolicy::TwoChoices,
        "round-robin" => LoadPolicy::RoundRobin,
        _ => return None,
    })
}

pub async fn run(order: &Order, job: Job, policy: Option<&str>) {
    let crowd = Crowd::of(order, job);
    let policy = named(policy.unwrap_or("central")).unwrap_or_else(|| order.unknown());
    // With one thread everything runs here; with more, workers and requesters share the
    // application's arbiters, as the handlers of a web server do.
    let threads = if order.threads == 1 { 0 } else { order.threads };
    let arbiters: Vec<Arbiter> = (0..threads).map(|_| Arbiter::new()).collect();
    let clock = Clock::real();
    let balancer = Balancer::of(move |_| Server(job, clock.clone()))
        .workers(crowd.workers)
        .on(arbiters.iter().map(Arbiter::handle))
        .policy(policy);
    let balancer = balancer.start().await.expect("it starts");
    let start = Moment::now();
    let requesters = crowd.requesters().enumerate().map(|(me, mut requester)| {
        let balancer = balancer.clone();
        let asking = async move {
            while let Some(number) = requester.next_number() {
                requester.answered(balancer.call(number).await.expect("every request is answered"));
            }
            requester
        };
        match arbiters.len() {
            0 => actix_rt::spawn(asking),
            count => {
                let (over, requester) = oneshot::channel();
                arbiters[me % count].spawn(async move {
                    let _ = over.send(asking.await);
                });
                actix_rt::spawn(async move { requester.await.expect("its arbiter lives") })
            }
        }
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
