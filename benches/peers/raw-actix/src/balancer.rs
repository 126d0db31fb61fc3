//! The talk's balancer as an actor: it orders the workers by their pending requests.

use std::collections::BTreeSet;

use actix::prelude::*;
use peers_common::{Crowd, Job, Moment, Order};
use tokio::sync::oneshot;

/// A request: a number, and the channel for its result.
#[derive(Message)]
#[rtype(result = "()")]
struct Request {
    number: u64,
    reply: oneshot::Sender<u64>,
}

/// The worker of this number has completed a request.
#[derive(Message)]
#[rtype(result = "()")]
struct Done(usize);

struct Worker {
    me: usize,
    job: Job,
    balancer: Addr<Balancer>,
}

impl Actor for Worker {
    type Context = Context<Self>;
}

impl Handler<Request> for Worker {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, request: Request, _: &mut Self::Context) -> Self::Result {
        let job = self.job;
        let served = async move {
            let _ = request.reply.send(job.serve(request.number).await);
        };
        let told =
            served.into_actor(self).map(|(), worker, _| worker.balancer.do_send(Done(worker.me)));
        AtomicResponse::new(Box::pin(told))
    }
}

/// Work that does not wait needs no future.
struct BusyWorker(Worker);

impl Actor for BusyWorker {
    type Context = Context<Self>;
}

impl Handler<Request> for BusyWorker {
    type Result = ();

    fn handle(&mut self, request: Request, _: &mut Self::Context) {
        let _ = request.reply.send(self.0.job.work(request.number));
        self.0.balancer.do_send(Done(self.0.me));
    }
}

#[derive(Default)]
struct Balancer {
    workers: Vec<Recipient<Request>>,
    pending: Vec<usize>,
    pool: BTreeSet<(usize, usize)>,
}

impl Actor for Balancer {
    type Context = Context<Self>;
}

/// The balancer's workers.
#[derive(Message)]
#[rtype(result = "()")]
struct Workers(Vec<Recipient<Request>>);

impl Handler<Workers> for Balancer {
    type Result = ();

    fn handle(&mut self, Workers(workers): Workers, _: &mut Self::Context) {
        self.pending = vec![0; workers.len()];
        self.pool = (0..workers.len()).map(|worker| (0, worker)).collect();
        self.workers = workers;
    }
}

impl Handler<Request> for Balancer {
    type Result = ();

    fn handle(&mut self, request: Request, _: &mut Self::Context) {
        let (_, worker) = self.pool.pop_first().expect("there are workers");
        self.workers[worker].do_send(request);
        self.pending[worker] += 1;
        self.pool.insert((self.pending[worker], worker));
    }
}

impl Handler<Done> for Balancer {
    type Result = ();

    fn handle(&mut self, Done(worker): Done, _: &mut Self::Context) {
        self.pool.remove(&(self.pending[worker], worker));
        self.pending[worker] -= 1;
        self.pool.insert((self.pending[worker], worker));
    }
}

pub async fn run(order: &Order, job: Job) {
    let crowd = Crowd::of(order, job);
    // With one thread everything runs here; with more, the workers are on arbiters of their own.
    let arbiters: Vec<Arbiter> = match order.threads {
        1 => Vec::new(),
        threads => (0..threads).map(|_| Arbiter::new()).collect(),
    };
    let here = Arbiter::current();
    let balancer = Balancer::default().start();
    let mut workers = Vec::new();
    for me in 0..crowd.workers {
        let place =
            if arbiters.is_empty() { here.clone() } else { arbiters[me % arbiters.len()].handle() };
        let worker = Worker { me, job, balancer: balancer.clone() };
        workers.push(if job.sleeps() {
            Worker::start_in_arbiter(&place, |_| worker).recipient()
        } else {
            BusyWorker::start_in_arbiter(&place, |_| BusyWorker(worker)).recipient()
        });
    }
    balancer.do_send(Workers(workers));
    let start = Moment::now();
    let requesters = crowd.requesters().map(|mut requester| {
        let balancer = balancer.clone();
        actix_rt::spawn(async move {
            while let Some(number) = requester.next_number() {
                let (reply, answer) = oneshot::channel();
                balancer.do_send(Request { number, reply });
                requester.answered(answer.await.expect("every request is answered"));
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
