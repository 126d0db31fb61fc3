//! Actors that wait under one supervisor. In the end each answers once.

use actix::prelude::*;
use gopherworks_actors::clock::{Clock, Seed};
use gopherworks_actors::supervision::{Child, Policy, Port, Supervisor};
use peers_common::{Answer, Moment, Order, resident};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

struct Gopher(u64);

impl Actor for Gopher {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Ask(u64, UnboundedSender<u64>);

impl Handler<Ask> for Gopher {
    type Result = ();

    fn handle(&mut self, Ask(question, answers): Ask, _: &mut Self::Context) {
        let _ = answers.send(question + self.0);
    }
}

/// Children that are started before the first of them is waited for.
const LOT: u64 = 1024;

pub async fn run(order: &Order) {
    let before = resident();
    let supervisor = Supervisor::start(Policy::default(), Clock::real(), Seed(0), Vec::new());
    let mut gophers = Vec::with_capacity(order.count as usize);
    let start = Moment::now();
    let mut next = 0;
    while next < order.count {
        let lot = next..order.count.min(next + LOT);
        next = lot.end;
        let started: Vec<_> = lot
            .map(|me| {
                let port = Port::new();
                let child = Child::new(format!("gopher/{me}"), &port, move |_| Ok(Gopher(me)));
                gophers.push(port);
                supervisor.start_child(child)
            })
            .collect();
        for child in started {
            child.await.expect("it starts");
        }
    }
    let took = start.elapsed();
    let bytes = (resident() - before) as f64 / order.count as f64;
    let (answers, mut heard) = unbounded_channel();
    let mut sum = 0_u64;
    for gopher in &gophers {
        gopher.send(Ask(1, answers.clone())).expect("it is alive");
        sum = sum.wrapping_add(heard.recv().await.expect("an answer"));
    }
    Answer::new(order, took)
        .answered(order, sum)
        .with("bytes_each", bytes)
        .print();
    // A million actors need not be stopped in order.
    std::process::exit(0);
}
