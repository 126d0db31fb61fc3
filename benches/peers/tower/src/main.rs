//! The balancer with tower's middleware: of two workers drawn at random, the one with fewer
//! requests gets the next (p2c).

use std::convert::Infallible;

use peers_common::{Crowd, Job, Moment, Order, Row, runtime};
use tower::balance::p2c::Balance;
use tower::buffer::Buffer;
use tower::discover::ServiceList;
use tower::limit::ConcurrencyLimit;
use tower::load::{CompleteOnResponse, PendingRequests};
use tower::{Service, ServiceExt, service_fn};

fn main() {
    let order = Order::read("tower");
    match order.row.clone() {
        Row::Balancer(job) => runtime(order.threads).block_on(run(&order, job)),
        _ => order.unknown(),
    }
}

async fn run(order: &Order, job: Job) {
    let crowd = Crowd::of(order, job);
    let workers = (0..crowd.workers).map(|_| {
        let worker =
            service_fn(
                move |number: u64| async move { Ok::<u64, Infallible>(job.serve(number).await) },
            );
        // A worker serves one request at a time.
        PendingRequests::new(ConcurrencyLimit::new(worker, 1), CompleteOnResponse::default())
    });
    let workers: ServiceList<Vec<_>> = ServiceList::new(workers.collect());
    let balancer = Buffer::new(Balance::new(workers), crowd.size());
    let start = Moment::now();
    let requesters = crowd.requesters().map(|mut requester| {
        let mut balancer = balancer.clone();
        tokio::spawn(async move {
            while let Some(number) = requester.next_number() {
                let ready = balancer.ready().await.expect("it lives");
                requester.answered(ready.call(number).await.expect("every request is answered"));
            }
            requester
        })
    });
    let mut over = Vec::new();
    for requester in requesters.collect::<Vec<_>>() {
        over.push(requester.await.expect("no task panics"));
    }
    crowd.answer(order, start.elapsed(), over).print();
}
