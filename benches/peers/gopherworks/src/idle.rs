//! Actors that wait under one supervisor. At the end each answers once.

use actix::prelude::*;
use gopherworks_supervision::clock::{Clock, Seed};
use gopherworks_supervision::{Ports, RestartPolicy, Supervisor, Template};
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

pub async fn run(order: &Order) {
    let before = resident();
    let supervisor =
        Supervisor::start(RestartPolicy::default(), Clock::real(), Seed(0), Vec::new());
    let start = Moment::now();
    let gophers = Ports::new(order.count as usize);
    let template = Template::new("gopher", &gophers, |me| Ok(Gopher(me as u64)));
    let started = supervisor.start_many(template).await;
    started.expect("they start");
    let took = start.elapsed();
    let bytes = (resident() - before) as f64 / order.count as f64;
    let (answers, mut heard) = unbounded_channel();
    let mut sum = 0_u64;
    for gopher in 0..gophers.len() {
        let ask = Ask(1, answers.clone());
        gophers.send(gopher, ask).expect("it is alive");
        sum = sum.wrapping_add(heard.recv().await.expect("an answer"));
    }
    Answer::new(order, took).answered(order, sum).with("bytes_each", bytes).print();
    // A million actors need not be stopped in order.
    std::process::exit(0);
}
