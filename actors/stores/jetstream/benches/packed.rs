//! Packed carts beside a plain loop of async-nats: `cargo bench -p gopherworks-jetstream`. Prints
//! ratios, in turns. The server is `nats-server` of the PATH, or GOPHERWORKS_NATS_SERVER;
//! GOPHERWORKS_NATS_SYNC is its `sync_interval` (2m, or always).
//!
//! The plain loop publishes the bytes of 64 books as one message, and waits for its ack; it pulls
//! messages, and acks each with a request. Both sides have as many calls under way.

#[path = "../tests/jetstream/server.rs"]
#[allow(dead_code)]
mod server;

use std::time::Duration;

use async_nats::{Client, HeaderMap};
use futures_util::{StreamExt, stream};
use gopherworks_jetstream::Jetstream;
use gopherworks_pipeline::book::{Book, BookId};
use gopherworks_pipeline::store::{Act, Append, Backend, PileName, PileSpec, Want};
use gopherworks_supervision::clock::Stopwatch;
use serde_json::json;
use server::{Server, free_port, program};

const BOOKS: u64 = 64;

/// Bytes of a book, and carts of one turn.
const CASES: [(usize, u64); 2] = [(64, 2000), (1024, 400)];

/// Calls under way at one time, and messages of one pull.
const AT_ONCE: usize = 16;

/// How often each side is measured; the best counts.
const TURNS: usize = 5;

/// Books a second: appended; fetched and settled.
type Rates = [f64; 2];

fn name(pile: &str) -> PileName {
    PileName::new("test", pile)
}

fn rate(watch: &Stopwatch, carts: u64) -> f64 {
    (carts * BOOKS) as f64 / watch.elapsed().as_secs_f64()
}

async fn ours(url: &str, turn: usize, (bytes, carts): (usize, u64)) -> Rates {
    let store = Jetstream::new(url, format!("bench-{bytes}-{turn}"));
    store.open(&[PileSpec::new(name("bench"))]).await.expect("a store");
    store.reserve_ids(carts * BOOKS + 1).await.expect("ids");
    let watch = Stopwatch::start();
    let append = |cart: u64| {
        let store = &store;
        async move {
            let first = cart * BOOKS + 1;
            let book = |id| Book { id: BookId(id), ..Book::new(vec![b'x'; bytes]) };
            let books = (first..first + BOOKS).map(|id| book(id).into()).collect();
            let append = Append { to: name("bench"), hold: false, books, checkpoint: None };
            store.append(&append).await.expect("room");
        }
    };
    stream::iter(0..carts).map(append).buffer_unordered(AT_ONCE).for_each(async |()| {}).await;
    let appended = rate(&watch, carts);
    let watch = Stopwatch::start();
    let want = Want { books: AT_ONCE * BOOKS as usize, bytes: None };
    let mut settled = 0;
    while settled < carts * BOOKS {
        let held = store.fetch(&name("bench"), want, Duration::from_secs(1)).await.expect("books");
        let acts: Vec<_> = held.into_iter().map(|held| (held.receipt, Act::Ack)).collect();
        settled += store.settle(&acts).await.iter().filter(|answer| answer.is_ok()).count() as u64;
    }
    let rates = [appended, rate(&watch, carts)];
    store.close().await.expect("closed");
    rates
}

async fn api(client: &Client, what: &str, request: serde_json::Value) {
    let answer = client.request(format!("$JS.API.{what}"), request.to_string().into()).await;
    let answer = answer.expect("an answer").payload;
    assert!(!answer.windows(8).any(|part| part == b"\"error\":"), "{answer:?}");
}

async fn plain(url: &str, turn: usize, (bytes, carts): (usize, u64)) -> Rates {
    let client = async_nats::connect(url).await.expect("a server");
    let stream = format!("plain-{bytes}-{turn}");
    let config = json!({
        "name": stream, "subjects": [stream], "retention": "workqueue", "storage": "file",
        "discard": "new",
    });
    api(&client, &format!("STREAM.CREATE.{stream}"), config).await;
    let watch = Stopwatch::start();
    let publish = |cart: u64| {
        let (client, stream) = (&client, stream.clone());
        async move {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Msg-Id", cart.to_string());
            let body = vec![b'x'; bytes * BOOKS as usize].into();
            client.request_with_headers(stream, headers, body).await.expect("an ack");
        }
    };
    stream::iter(0..carts).map(publish).buffer_unordered(AT_ONCE).for_each(async |()| {}).await;
    let published = rate(&watch, carts);
    let consumer = json!({
        "stream_name": stream,
        "config": { "durable_name": "c", "ack_policy": "explicit", "max_ack_pending": -1 },
    });
    api(&client, &format!("CONSUMER.DURABLE.CREATE.{stream}.c"), consumer).await;
    let watch = Stopwatch::start();
    let next = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.c");
    let mut acked = 0;
    while acked < carts {
        let inbox = client.new_inbox();
        let mut messages = client.subscribe(inbox.clone()).await.expect("a subscription");
        let pull = json!({ "batch": AT_ONCE, "no_wait": true }).to_string();
        client.publish_with_reply(next.clone(), inbox, pull.into()).await.expect("sent");
        let mut some = Vec::new();
        while some.len() < AT_ONCE && (acked + some.len() as u64) < carts {
            let message = messages.next().await.expect("a message");
            assert!(message.status.is_none(), "{message:?}");
            some.push(message);
        }
        let ack = |message: async_nats::Message| {
            let reply = message.reply.expect("a reply subject");
            client.request(reply, "+ACK".into())
        };
        let acks = stream::iter(some).map(ack).buffer_unordered(AT_ONCE);
        acked += acks.filter(|answer| std::future::ready(answer.is_ok())).count().await as u64;
    }
    [published, rate(&watch, carts)]
}

fn main() {
    let program = program().expect("nats-server");
    let folder = tempfile::tempdir_in(".").expect("a folder");
    let server = Server::start(&program, folder.path(), free_port());
    let url = server.url();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    println!("bytes, what: ours, plain (books/s), ratio");
    for (bytes, carts) in CASES {
        let (mut best, mut beside) = ([0f64; 2], [0f64; 2]);
        for turn in 0..TURNS {
            let plain = runtime.block_on(plain(&url, turn, (bytes, carts)));
            let ours = runtime.block_on(ours(&url, turn, (bytes, carts)));
            for at in 0..2 {
                beside[at] = beside[at].max(plain[at]);
                best[at] = best[at].max(ours[at]);
            }
        }
        for (at, what) in ["append", "fetch and settle"].into_iter().enumerate() {
            let ratio = best[at] / beside[at];
            println!("{bytes}, {what}: {:.0}, {:.0}, {ratio:.2}", best[at], beside[at]);
        }
    }
}
