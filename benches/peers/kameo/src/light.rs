//! One value around four actors.

use kameo::prelude::*;
use peers_common::{Answer, Moment, Order};
use tokio::sync::oneshot;

/// One of them. Who has `out` counts the rounds.
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
    let first = Hand::spawn(Hand {
        to: None,
        rounds: order.count,
        sum: 0,
        out: Some(out),
    });
    let mut next = first.clone();
    for _ in 0..3 {
        next = Hand::spawn(Hand {
            to: Some(next),
            rounds: 0,
            sum: 0,
            out: None,
        });
    }
    first.tell(To(next)).await.expect("it lives");
    let start = Moment::now();
    // The rounds begin when the first has counted the round before the first.
    first.tell(Value(0)).await.expect("it lives");
    let sum = over.await.expect("the first lives");
    Answer::new(order, start.elapsed())
        .answered(order, sum)
        .print();
}
