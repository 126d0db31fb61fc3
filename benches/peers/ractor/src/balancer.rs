//! ractor's factory with its queuer routing: the backlog stays in the factory, and a free worker
//! gets the next job.

use peers_common::{Crowd, Job, Moment, Order};
use ractor::factory::queues::DefaultQueue;
use ractor::factory::routing::QueuerRouting;
use ractor::factory::{
    Factory, FactoryArguments, FactoryMessage, Job as FactoryJob, Worker, WorkerBuilder, WorkerId,
};
use ractor::rpc::CallResult;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

/// A request: a number, and the port for its result.
#[derive(Debug)]
struct Request(u64, RpcReplyPort<u64>);

struct Server(Job);

impl Worker for Server {
    type Key = ();
    type Message = Request;
    type State = ();
    type Arguments = ();

    async fn pre_start(
        &self,
        _: WorkerId,
        _: &ActorRef<FactoryMessage<(), Request>>,
        (): (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: WorkerId,
        _: &ActorRef<FactoryMessage<(), Request>>,
        job: FactoryJob<(), Request>,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let Request(number, reply) = job.msg;
        Ok(reply.send(self.0.serve(number).await)?)
    }
}

struct Servers(Job);

impl WorkerBuilder<Server, ()> for Servers {
    fn build(&mut self, _: WorkerId) -> (Server, ()) {
        (Server(self.0), ())
    }
}

type Queue = DefaultQueue<(), Request>;
type Router = QueuerRouting<(), Request>;

pub async fn run(order: &Order, job: Job) {
    let crowd = Crowd::of(order, job);
    let arguments = FactoryArguments::builder()
        .worker_builder(Box::new(Servers(job)) as Box<dyn WorkerBuilder<Server, ()>>)
        .num_initial_workers(crowd.workers)
        .router(Router::default())
        .queue(Queue::default())
        .build();
    let factory = Factory::<(), Request, (), Server, Router, Queue>::default();
    let (factory, _) = Actor::spawn(None, factory, arguments).await.expect("it starts");
    let start = Moment::now();
    let requesters = crowd.requesters().map(|mut requester| {
        let factory = factory.clone();
        tokio::spawn(async move {
            while let Some(number) = requester.next_number() {
                match factory.call_job((), |reply| Request(number, reply), None).await {
                    Ok(CallResult::Success(answer)) => requester.answered(answer),
                    lost => panic!("a request was not answered: {:?}", lost.is_ok()),
                }
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
