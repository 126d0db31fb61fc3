//! Actors that wait. At the end each answers once.

use kameo::prelude::*;
use peers_common::{Answer, Moment, Order, resident};

#[derive(Actor)]
struct Gopher(u64);

struct Ask(u64);

impl Message<Ask> for Gopher {
    type Reply = u64;

    async fn handle(&mut self, Ask(question): Ask, _: &mut Context<Self, u64>) -> u64 {
        question + self.0
    }
}

pub async fn run(order: &Order) {
    let before = resident();
    let mut gophers = Vec::with_capacity(order.count as usize);
    let start = Moment::now();
    for me in 0..order.count {
        gophers.push(Gopher::spawn(Gopher(me)));
    }
    for gopher in &gophers {
        gopher.wait_for_startup().await;
    }
    let took = start.elapsed();
    let bytes = (resident() - before) as f64 / order.count as f64;
    let mut sum = 0_u64;
    for gopher in &gophers {
        sum = sum.wrapping_add(gopher.ask(Ask(1)).await.expect("it is alive"));
    }
    Answer::new(order, took).answered(order, sum).with("bytes_each", bytes).print();
}
