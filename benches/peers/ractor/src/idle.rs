//! Actors that wait. At the end each answers once.

use peers_common::{Answer, Moment, Order, resident};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, call};

struct Gopher;

struct Ask(u64, RpcReplyPort<u64>);

impl Actor for Gopher {
    type Msg = Ask;
    type State = u64;
    type Arguments = u64;

    async fn pre_start(&self, _: ActorRef<Ask>, me: u64) -> Result<u64, ActorProcessingErr> {
        Ok(me)
    }

    async fn handle(
        &self,
        _: ActorRef<Ask>,
        Ask(question, reply): Ask,
        me: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        Ok(reply.send(question + *me)?)
    }
}

pub async fn run(order: &Order) {
    let before = resident();
    let mut gophers = Vec::with_capacity(order.count as usize);
    let start = Moment::now();
    for me in 0..order.count {
        gophers.push(Actor::spawn(None, Gopher, me).await.expect("it starts").0);
    }
    let took = start.elapsed();
    let bytes = (resident() - before) as f64 / order.count as f64;
    let mut sum = 0_u64;
    for gopher in &gophers {
        sum = sum.wrapping_add(call!(gopher, Ask, 1).expect("it is alive"));
    }
    Answer::new(order, took).answered(order, sum).with("bytes_each", bytes).print();
}
