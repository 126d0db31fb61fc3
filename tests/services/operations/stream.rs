//! The event stream.

use std::pin::Pin;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::{App, test, web};
use futures_util::StreamExt;
use gopherworks::topology::Event;
use gopherworks::web::{Operations, openapi};
use serde_json::Value;

use super::*;

/// An event of the stream.
#[derive(Debug)]
pub(super) struct Sent {
    id: String,
    pub(super) name: String,
    pub(super) data: Value,
}

/// A client that reads only when it is asked for the next event.
pub(super) struct Client {
    body: BoxBody,
    read: String,
}

impl Client {
    async fn connect(operations: &Operations, last: Option<&str>) -> Self {
        let header = last.map(|id| ("last-event-id", id.to_owned()));
        Self::open(operations, "/api/stream", header).await
    }

    /// Opens another stream, with a header.
    pub(super) async fn open(
        operations: &Operations,
        path: &str,
        header: Option<(&str, String)>,
    ) -> Self {
        let scope = web::scope("/ops").configure(operations.routes());
        let app = test::init_service(App::new().service(scope)).await;
        let mut request = test::TestRequest::get().uri(&format!("/ops{path}"));
        if let Some(header) = header {
            request = request.insert_header(header);
        }
        let response = test::call_service(&app, request.to_request()).await;
        assert_eq!(response.status().as_u16(), 200);
        Self { body: response.into_body(), read: String::new() }
    }

    /// The next event; `None` at the end of the stream.
    pub(super) async fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let field = |name: &str| {
                    let mut lines = event.lines();
                    lines.find_map(|line| line.strip_prefix(name)).map(str::to_owned)
                };
                let sent = field("event: ").map(|name| Sent {
                    id: field("id: ").unwrap_or_default(),
                    data: serde_json::from_str(&field("data: ").expect("data")).expect("JSON"),
                    name,
                });
                self.read = rest.to_owned();
                match sent {
                    Some(sent) => return Some(sent),
                    None => continue,
                }
            }
            let part = std::future::poll_fn(|cx| Pin::new(&mut self.body).poll_next(cx)).await?;
            self.read += std::str::from_utf8(&part.expect("a part")).expect("text");
        }
    }

    /// The next event of this name.
    async fn wait_for(&mut self, name: &str) -> Sent {
        loop {
            let sent = self.next().await.expect("an event");
            if sent.name == name {
                return sent;
            }
        }
    }
}

/// A topology whose odd books die, without a server of its own.
pub(super) async fn odd() -> (RunningTopology, Operations) {
    let text = design("").replace("gophers = [", "work = \"odd\"\ngophers = [");
    let text = text.replace("[operations]\nlisten = \"127.0.0.1:0\"\n", "");
    let loaded = Loaded::parse("works.toml", text, &catalog(), &Overrides::default());
    let running = Topology::from_plan(loaded.expect("a right file").plan).start().await;
    let running = running.expect("it starts");
    let operations = Operations::new().topology(&running).sample(Duration::from_millis(100));
    (running, operations)
}

/// Offers books until this many more have died, and waits until all of them are events.
async fn deaths(running: &RunningTopology, count: u64) {
    let mut events = std::pin::pin!(running.events());
    let last = 2 * (running.snapshot().ledger.dead + count) - 1;
    burned(running, 2 * count as usize).await;
    loop {
        let event = events.next().await.expect("a run");
        if matches!(event, Event::Dead { book, .. } if book.0 >= last) {
            break;
        }
    }
}

#[actix_web::test]
async fn snapshots_and_events_come_as_the_document_says() {
    let (running, operations) = odd().await;
    let mut client = Client::connect(&operations, None).await;
    let first = client.next().await.expect("a snapshot");
    assert_eq!((first.name.as_str(), &first.data["topology"]), ("snapshot", &"works".into()));
    deaths(&running, 2).await;
    let dead = client.wait_for("event").await;
    assert_eq!(dead.data["kind"], "dead");
    assert_eq!(dead.data["text"], "book 1: 1 is odd");
    let next = client.wait_for("snapshot").await;
    assert_eq!(next.data["ledger"]["dead"], 2, "{}", next.data);
    let document = openapi();
    let content = &document["paths"]["/api/stream"]["get"]["responses"]["200"]["content"];
    let schema = &content["text/event-stream"]["schema"];
    for sent in [&first, &dead, &next] {
        super::api::conforms(&document, schema, &sent.data);
    }
    // All clients get one snapshot of a tick.
    let mut others =
        [Client::connect(&operations, None).await, Client::connect(&operations, None).await];
    let [one, other] = &mut others;
    let (one, other) = (one.wait_for("snapshot").await, other.wait_for("snapshot").await);
    let (at, then) = (one.data["at_s"].as_f64(), other.data["at_s"].as_f64());
    assert!(
        then.zip(at).is_some_and(|(then, at)| then == at || then - at > 0.05),
        "{at:?} {then:?}"
    );
    running.stop().await;
}

#[actix_web::test]
async fn a_slow_client_is_told_how_much_it_missed_and_gets_the_rest() {
    let (running, operations) = odd().await;
    let mut client = Client::connect(&operations, None).await;
    let first = client.wait_for("snapshot").await;
    let before: u64 = first.id.rsplit_once('-').expect("a number").1.parse().expect("a number");
    // Many more events than are kept happen while the client reads nothing.
    for _ in 0..2 {
        deaths(&running, 1_000).await;
    }
    let dropped = client.wait_for("dropped").await;
    let missed = dropped.data["events"].as_u64().expect("a number");
    assert!(missed >= 2_000 - 1_024, "{missed}");
    let mut number = before + missed;
    while number < before + 2_000 {
        let sent = client.next().await.expect("an event");
        match sent.name.as_str() {
            "event" => number += 1,
            other => assert_eq!(other, "snapshot"),
        }
        if sent.name == "event" {
            assert_eq!(sent.data["number"], number, "none is missing, none comes twice");
        }
    }
    running.stop().await;
}

#[actix_web::test]
async fn a_client_that_comes_back_goes_on_where_it_was() {
    let (running, operations) = odd().await;
    let mut client = Client::connect(&operations, None).await;
    deaths(&running, 1).await;
    let seen = client.wait_for("event").await;
    drop(client);
    deaths(&running, 2).await;
    let mut client = Client::connect(&operations, Some(&seen.id)).await;
    for text in ["book 3: 3 is odd", "book 5: 5 is odd"] {
        let sent = client.next().await.expect("an event");
        assert_eq!(sent.data["text"], text, "{sent:?}");
    }
    assert_eq!(client.next().await.map(|sent| sent.name), Some("snapshot".to_owned()));
    // With an id of another run, a future id, or an invalid one the stream begins with a snapshot.
    let (run, _) = seen.id.rsplit_once('-').expect("a number");
    for id in ["0000000000000000-1", &format!("{run}-999999"), run, "", "-"] {
        let mut client = Client::connect(&operations, Some(id)).await;
        let first = client.next().await.expect("an event");
        assert_eq!(first.name, "snapshot", "{id}");
    }
    running.stop().await;
}

/// True for the line with the size of a chunk.
fn is_size(line: &str) -> bool {
    !line.is_empty() && line.chars().all(|c| c.is_ascii_hexdigit())
}

#[actix_web::test]
async fn streams_end_with_the_run_and_do_not_hold_it() {
    let (running, address) = start(&design("sample = \"100ms\"")).await;
    let mut streams = Vec::new();
    for _ in 0..10 {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let head = b"GET /api/stream HTTP/1.1\r\nhost: localhost\r\n\r\n";
        stream.write_all(head).await.expect("it listens");
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.expect("a response");
        assert_eq!(&first, b"HTTP/1.1 200");
        streams.push(stream);
    }
    let clock = Clock::real();
    let began = clock.now();
    assert!(running.drain(None).await.balances());
    assert!(clock.now() - began < Duration::from_secs(1), "{:?}", clock.now() - began);
    for mut stream in streams {
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.expect("its end");
        let rest: String = rest.lines().filter(|line| !is_size(line)).collect();
        let ended = rest.find("\"kind\":\"ended\"").unwrap_or_else(|| panic!("{rest}"));
        assert!(rest[ended..].contains("event: enddata: {}"), "{}", &rest[ended..]);
    }
}

#[actix_web::test]
async fn streams_are_bounded() {
    let (running, operations) = odd().await;
    let scope = web::scope("/ops").configure(operations.routes());
    let app = test::init_service(App::new().service(scope)).await;
    let ask = async || {
        let request = test::TestRequest::get().uri("/ops/api/stream").to_request();
        test::call_service(&app, request).await
    };
    let mut open = Vec::new();
    for _ in 0..128 {
        let response = ask().await;
        assert_eq!(response.status().as_u16(), 200);
        open.push(response);
    }
    let refused = ask().await;
    assert_eq!(refused.status().as_u16(), 503);
    assert_eq!(refused.headers().get("retry-after").map(|after| after.as_bytes()), Some(&b"1"[..]));
    open.pop();
    assert_eq!(ask().await.status().as_u16(), 200, "the place of a client that is gone is free");
    running.stop().await;
}

#[actix_web::test]
async fn several_topologies_are_told_apart_by_name() {
    let (one, _) = odd().await;
    let text = design("").replace("[operations]\nlisten = \"127.0.0.1:0\"\n", "");
    let loaded = Loaded::parse("desk.toml", text, &catalog(), &Overrides::default());
    let other = Topology::from_plan(loaded.expect("a right file").plan).start().await;
    let other = other.expect("it starts");
    let operations = Operations::new().topology(&one).topology(&other);
    let app = test::init_service(App::new().configure(operations.routes())).await;
    for (path, wanted) in [
        ("/api/ledger", 400),
        ("/api/ledger?topology=works", 200),
        ("/api/nodes?topology=desk", 200),
        ("/api/stream?topology=none", 404),
    ] {
        let request = test::TestRequest::get().uri(path).to_request();
        assert_eq!(test::call_service(&app, request).await.status().as_u16(), wanted, "{path}");
    }
    one.stop().await;
    other.stop().await;
}
