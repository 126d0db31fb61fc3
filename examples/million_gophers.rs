//! Goroutines are cheap, and so are actors: a million gophers under one supervisor, alive in one process, and each of them answers.
//!
//! `cargo run --release --example million_gophers -- 1000000`

use actix::{Actor, Context, Handler, Message};
use gopherworks::actors::clock::{Clock, Seed};
use gopherworks::supervision::{Policy, Ports, Supervisor, Template};
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
        // Refused only where nobody waits for the answer any more.
        let _ = answers.send(self.0);
    }
}

/// Bytes of memory that the process has, where the system tells.
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
    let supervisor = Supervisor::start(Policy::default(), Clock::real(), Seed(0), Vec::new());
    let gophers = Ports::new(usize::try_from(count).expect("as many as fit"));
    let template = Template::new("gopher", &gophers, |number| Ok(Gopher(number as u64)));
    // All are alive before the first is asked, and each would be started again if it failed.
    supervisor
        .start_many(template)
        .await
        .expect("nothing hinders them");
    let alive = supervisor.lives();
    let after = resident();
    let (answers, mut heard) = unbounded_channel();
    let mut sum = 0;
    for gopher in 0..gophers.len() {
        let question = WhoAreYou(answers.clone());
        gophers.send(gopher, question).expect("it is alive");
        // They answer now and then, so that a million questions never wait at once.
        if gopher % 1024 == 1023 {
            tokio::task::yield_now().await;
        }
    }
    drop(answers);
    while let Some(answer) = heard.recv().await {
        sum += answer;
    }
    assert_eq!(
        sum,
        count * count.saturating_sub(1) / 2,
        "each has answered for itself"
    );
    println!("{alive} gophers alive, each has answered");
    match before.zip(after) {
        Some((before, after)) => {
            println!(
                "{} bytes for each",
                after.saturating_sub(before) / count.max(1)
            );
        }
        None => println!("this system does not tell how much memory they take"),
    }
}
