//! One value is passed around four actors.

use kameo::prelude::*;
use peers_common::{Answer, Moment, Order};
use tokio::sync::oneshot;

/// One of the four actors; the one that has `out` counts the trips.
#[derive(Actor)]
struct Hand {
    to: Option<ActorRef<Hand>>,
    rounds: u64,
    sum: u64,
    out: Option<oneshot::Sender<u64>>,
}

struct Value(u64);

impl Message<Value> for Hand {
    type Reply = ();

    async fn handle(&mut self, Value(mut round): Value, _: &mut Context<Self, ()>) {
        if self.out.is_some() {
            self.sum = self.sum.wrapping_add(round);
            round += 1;
            if round > self.rounds {
                let _ = self.out.take().map(|out| out.send(self.sum));
                return;
            }
        }
        if let Some(to) = &self.to {
            let _ = to.tell(Value(round)).await;
        }
    }
}

struct To(ActorRef<Hand>);

impl Message<To> for Hand {
    type Reply = ();

    async fn handle(&mut self, To(to): To, _: &mut Context<Self, ()>) {
        self.to = Some(to);
    }
}

pub async fn run(order: &Order) {
    let (out, over) = oneshot::channel();
    let first = Hand::spawn(Hand { to: None, rounds: order.count, sum: 0, out: Some(out) });
    let mut next = first.clone();
    for _ in 0..3 {
        next = Hand::spawn(Hand { to: Some(next), rounds: 0, sum: 0, out: None });
    }
    first.tell(To(next)).await.expect("it lives");
    let start = Moment::now();
    // The trips begin when the first actor has counted an initial one.
    first.tell(Value(0)).await.expect("it lives");
    let sum = over.await.expect("the first lives");
    Answer::new(order, start.elapsed()).answered(order, sum).print();
}
