//! Actors that wait. At the end each answers once.

use actix::prelude::*;
use peers_common::{Answer, Moment, Order, resident};

struct Gopher(u64);

impl Actor for Gopher {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "u64")]
struct Ask(u64);

impl Handler<Ask> for Gopher {
    type Result = u64;

    fn handle(&mut self, Ask(question): Ask, _: &mut Self::Context) -> u64 {
        question + self.0
    }
}

pub async fn run(order: &Order) {
    let before = resident();
    let mut gophers = Vec::with_capacity(order.count as usize);
    let start = Moment::now();
    for me in 0..order.count {
        gophers.push(Gopher(me).start());
    }
    // Every actor gets a turn before this task continues.
    tokio::task::yield_now().await;
    let took = start.elapsed();
    let bytes = (resident() - before) as f64 / order.count as f64;
    let mut sum = 0_u64;
    for gopher in &gophers {
        sum = sum.wrapping_add(gopher.send(Ask(1)).await.expect("it is alive"));
    }
    Answer::new(order, took).answered(order, sum).with("bytes_each", bytes).print();
}
