//! Goroutines are cheap, and so are actors: a million gophers run under one supervisor in one
//! process, and each of them answers.
//!
//! `cargo run --release --example million_gophers -- 1000000`

use actix::{Actor, Context, Handler, Message};
use gopherworks::supervision::clock::{Clock, Seed};
use gopherworks::supervision::{Ports, RestartPolicy, Supervisor, Template};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

struct Gopher(u64);

impl Actor for Gopher {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct WhoAreYou(UnboundedSender<u64>);

impl Handler<WhoAreYou> for Gopher {
    type Result = ();

    fn handle(&mut self, WhoAreYou(answers): WhoAreYou, _: &mut Self::Context) {
        // Fails only if the receiver has been dropped.
        let _ = answers.send(self.0);
    }
}

/// Resident memory of this process in bytes; `None` without `/proc`.
fn resident() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

#[actix::main]
async fn main() {
    let count: u64 = match std::env::args().nth(1) {
        None => 1_000_000,
        Some(text) => text.parse().expect("a number of gophers"),
    };
    let before = resident();
    let supervisor =
        Supervisor::start(RestartPolicy::default(), Clock::real(), Seed(0), Vec::new());
    let gophers = Ports::new(usize::try_from(count).expect("as many as fit"));
    let template = Template::new("gopher", &gophers, |number| Ok(Gopher(number as u64)));
    // All actors run before the first question, and each would be restarted if it failed.
    supervisor.start_many(template).await.expect("nothing hinders them");
    let alive = supervisor.lives();
    let after = resident();
    let (answers, mut heard) = unbounded_channel();
    let mut sum = 0;
    for gopher in 0..gophers.len() {
        let question = WhoAreYou(answers.clone());
        gophers.send(gopher, question).expect("it is alive");
        // Yields regularly so that answers are sent, and a million questions are never queued at
        // once.
        if gopher % 1024 == 1023 {
            tokio::task::yield_now().await;
        }
    }
    drop(answers);
    while let Some(answer) = heard.recv().await {
        sum += answer;
    }
    assert_eq!(sum, count * count.saturating_sub(1) / 2, "each has answered for itself");
    println!("{alive} gophers alive, each has answered");
    match before.zip(after) {
        Some((before, after)) => {
            println!("{} bytes for each", after.saturating_sub(before) / count.max(1));
        }
        None => println!("this system does not tell how much memory they take"),
    }
}
