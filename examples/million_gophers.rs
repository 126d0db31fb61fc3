//! Goroutines are cheap, and so are actors: a million gophers alive in one process, and each of them answers.
//!
//! `cargo run --release --example million_gophers -- 1000000`

use actix::{Actor, Addr, Context, Handler, Message};
use futures_util::StreamExt;
use futures_util::stream::iter;

struct Gopher(u64);

impl Actor for Gopher {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "u64")]
struct WhoAreYou;

impl Handler<WhoAreYou> for Gopher {
    type Result = u64;

    fn handle(&mut self, _: WhoAreYou, _: &mut Self::Context) -> u64 {
        self.0
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
    let gophers: Vec<Addr<Gopher>> = (0..count).map(|number| Gopher(number).start()).collect();
    // All are alive before the first is asked.
    tokio::task::yield_now().await;
    let alive = gophers.iter().filter(|gopher| gopher.connected()).count();
    let after = resident();
    let answers = iter(&gophers).map(|gopher| gopher.send(WhoAreYou));
    let sum = answers
        .buffer_unordered(1024)
        .fold(0, |sum, answer| async move {
            sum + answer.expect("it is alive")
        });
    let sum = sum.await;
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
