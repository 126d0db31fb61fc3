//! kameo's pool: the worker with the fewest requests gets the next.

use kameo::prelude::*;
use kameo_actors::pool::{ActorPool, Dispatch};
use peers_common::{Crowd, Job, Moment, Order};

#[derive(Actor)]
struct Worker(Job);

struct Request(u64);

impl Message<Request> for Worker {
    type Reply = u64;

    async fn handle(&mut self, Request(number): Request, _: &mut Context<Self, u64>) -> u64 {
        self.0.serve(number).await
    }
}

pub async fn run(order: &Order, job: Job) {
    let crowd = Crowd::of(order, job);
    let pool = ActorPool::spawn(ActorPool::new(crowd.workers, move || Worker::spawn(Worker(job))));
    let start = Moment::now();
    let requesters = crowd.requesters().map(|mut requester| {
        let pool = pool.clone();
        tokio::spawn(async move {
            while let Some(number) = requester.next_number() {
                let answer = pool.ask(Dispatch(Request(number))).await;
                requester.answered(answer.expect("every request is answered"));
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
