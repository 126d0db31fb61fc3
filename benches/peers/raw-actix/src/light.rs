//! One value is passed around four actors.

use actix::prelude::*;
use peers_common::{Answer, Moment, Order};
use tokio::sync::oneshot;

#[derive(Message)]
#[rtype(result = "()")]
struct Value(u64);

struct Hand(Recipient<Value>);

impl Actor for Hand {
    type Context = Context<Self>;
}

impl Handler<Value> for Hand {
    type Result = ();

    fn handle(&mut self, value: Value, _: &mut Self::Context) {
        self.0.do_send(value);
    }
}

/// Counts the trips.
struct First {
    to: Option<Recipient<Value>>,
    left: u64,
    sum: u64,
    out: Option<oneshot::Sender<u64>>,
}

impl Actor for First {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Begin(Recipient<Value>);

impl Handler<Begin> for First {
    type Result = ();

    fn handle(&mut self, Begin(to): Begin, _: &mut Self::Context) {
        to.do_send(Value(1));
        self.to = Some(to);
    }
}

impl Handler<Value> for First {
    type Result = ();

    fn handle(&mut self, Value(round): Value, _: &mut Self::Context) {
        self.sum = self.sum.wrapping_add(round);
        self.left -= 1;
        match (&self.to, self.left) {
            (Some(to), 1..) => to.do_send(Value(round + 1)),
            _ => {
                let _ = self.out.take().map(|out| out.send(self.sum));
            }
        }
    }
}

pub async fn run(order: &Order) {
    let (out, over) = oneshot::channel();
    let first = First { to: None, left: order.count, sum: 0, out: Some(out) }.start();
    let fourth = Hand(first.clone().recipient()).start();
    let third = Hand(fourth.recipient()).start();
    let second = Hand(third.recipient()).start();
    let start = Moment::now();
    first.do_send(Begin(second.recipient()));
    let sum = over.await.expect("the first lives");
    Answer::new(order, start.elapsed()).answered(order, sum).print();
}
