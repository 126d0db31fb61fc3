//! The server for operators of a running topology.
#![cfg(feature = "http")]

mod api;
mod control;
mod page;
mod security;
mod stream;
mod tap;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use gopherworks::Loaded;
use gopherworks::config::Overrides;
use gopherworks::supervision::clock::Clock;
use gopherworks::web::metrics_reference;
use gopherworks::{Book, Catalog, Failure, RunningTopology, Topology};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A response.
#[derive(Debug)]
struct Said {
    status: u16,
    head: String,
    body: String,
}

/// Sends a head of these lines after the request line, and reads the response to its end.
async fn ask(address: SocketAddr, request: &str, lines: &str) -> Said {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let head = format!("{request} HTTP/1.1\r\nconnection: close\r\n{lines}\r\n");
    stream.write_all(head.as_bytes()).await.expect("it listens");
    let mut said = String::new();
    stream.read_to_string(&mut said).await.expect("a response");
    let (head, body) = said.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Said { status: status.expect("a status"), head: head.to_owned(), body: body.to_owned() }
}

async fn get(address: SocketAddr, path: &str) -> Said {
    ask(address, &format!("GET {path}"), "host: localhost\r\n").await
}

/// A pipeline, a balancer and a requester, with these lines in `[operations]`.
fn design(operations: &str) -> String {
    format!(
        r#"[operations]
listen = "127.0.0.1:0"
{operations}
[piles.inbox]
[incinerators.fire]
burn = "count"
[crews.haul]
from = "inbox"
to = "fire"
gophers = ["load push unload return"]
[balancers.desk]
workers = {{ count = 2, work = {{ kind = "sleep", time = "1ms" }} }}
[requesters.users]
to = "desk"
load = {{ kind = "batch", requests = 3 }}
"#
    )
}

/// The shipped catalog with a work `odd`, which fails for odd numbers.
fn catalog() -> Catalog {
    let mut catalog = Catalog::standard();
    catalog.add_inline_work_fn("odd", "Fails", |book: Book| match book.id.0 % 2 {
        1 => Err(Failure::permanent(format!("{} is odd", book.id))),
        _ => Ok(Some(book)),
    });
    catalog
}

async fn start(text: &str) -> (RunningTopology, SocketAddr) {
    let catalog = catalog();
    let loaded = Loaded::parse("works.toml", text.to_owned(), &catalog, &Overrides::default());
    let plan = loaded.unwrap_or_else(|mistakes| panic!("{mistakes}")).plan;
    let running = Topology::from_plan(plan).start().await.expect("it starts");
    let address = running.operations().expect("a server");
    (running, address)
}

async fn burned(running: &RunningTopology, books: usize) {
    let books = (0..books).map(|_| Book::default()).collect();
    for book in running.offer_watched("inbox", books).await.expect("room") {
        assert!(book.await.is_some());
    }
}

#[actix_web::test]
async fn a_pipeline_says_how_it_is_until_it_ends() {
    let (running, address) = start(&design("")).await;
    burned(&running, 5).await;
    assert_eq!(get(address, "/health/live").await.status, 200);
    assert_eq!(get(address, "/health/ready").await.status, 200);
    let metrics = get(address, "/metrics").await;
    for line in [
        r#"gopherworks_books_total{topology="works",outcome="burned"} 5"#,
        r#"gopherworks_node_books_total{topology="works",node="fire",kind="incinerator"} 5"#,
        r#"gopherworks_pile_books{topology="works",node="inbox",kind="pile",state="ready"} 0.0"#,
        r#"gopherworks_balancer_workers{topology="works",balancer="desk"} 2.0"#,
        "# EOF",
    ] {
        assert!(metrics.body.lines().any(|have| have == line), "{line}\n{}", metrics.body);
    }
    let snapshot = get(address, "/snapshot").await;
    assert!(snapshot.body.contains(r#""burned":5"#), "{}", snapshot.body);
    // An idle connection is open during the drain, and does not delay the end.
    let idle = TcpStream::connect(address).await.expect("it listens");
    running.close();
    assert_eq!(get(address, "/health/ready").await.status, 503);
    assert_eq!(get(address, "/health/live").await.status, 200);
    let clock = Clock::real();
    let began = clock.now();
    assert!(running.drain(None).await.balances());
    assert!(clock.now() - began < Duration::from_secs(1), "{:?}", clock.now() - began);
    assert!(TcpStream::connect(address).await.is_err(), "the port is closed");
    assert_eq!(running.operations(), None);
    drop(idle);
}

#[actix_web::test]
async fn foreign_hosts_and_origins_and_every_change_are_refused() {
    let (running, address) = start(&design("hosts = [\"ops.example\"]")).await;
    for path in ["/health/live", "/health/ready", "/metrics", "/snapshot"] {
        for (lines, wanted) in [
            ("host: localhost\r\n", 200),
            ("host: 127.0.0.1:9400\r\n", 200),
            ("host: ops.example\r\n", 200),
            ("host: evil.example\r\n", 421),
            ("host: 10.0.0.1\r\n", 421),
            ("host: localhost\r\norigin: http://localhost:1\r\n", 200),
            ("host: localhost\r\norigin: http://evil.example\r\n", 403),
            ("host: localhost\r\norigin: null\r\n", 403),
        ] {
            let said = ask(address, &format!("GET {path}"), lines).await;
            assert_eq!(said.status, wanted, "{path} {lines}");
        }
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let lines = "host: localhost\r\ncontent-length: 0\r\n";
            let said = ask(address, &format!("{method} {path}"), lines).await;
            assert_eq!(said.status, 405, "{method} {path}");
        }
    }
    assert_eq!(get(address, "/nothing").await.status, 404);
    running.stop().await;
}

#[actix_web::test]
async fn on_a_public_address_all_but_health_requires_the_token() {
    let token = "correct-horse-battery";
    let text = design(&format!("public = true\ntoken = {token:?}"));
    let (running, address) = start(&text).await;
    assert_eq!(get(address, "/health/ready").await.status, 200);
    assert_eq!(get(address, "/api/nodes/x/health/live").await.status, 401);
    for path in ["/metrics", "/snapshot", "/api/stream"] {
        let refused = get(address, path).await;
        assert_eq!(refused.status, 401, "{path}");
        assert!(refused.head.contains("www-authenticate: Bearer"), "{}", refused.head);
        for (sent, wanted) in [
            (format!("Bearer {token}"), 200),
            (format!("bearer {token}"), 200),
            (format!("Bearer {token}x"), 401),
            (format!("Basic {token}"), 401),
            (token.to_owned(), 401),
            ("Bearer".to_owned(), 401),
        ] {
            let lines = format!("host: localhost\r\nauthorization: {sent}\r\n");
            // The body of a stream has no end.
            let said = ask(address, &format!("HEAD {path}"), &lines).await;
            assert_eq!(said.status, wanted, "{path} {sent}");
            assert!(!said.body.contains(token), "{}", said.body);
        }
    }
    running.stop().await;
}

/// Names and labels of all samples, without the parts of histograms.
fn families(metrics: &str) -> BTreeSet<(String, String)> {
    let mut types = Vec::new();
    let mut found = BTreeSet::new();
    for line in metrics.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            types.push(rest.split(' ').next().expect("a name").to_owned());
        } else if let Some((name, rest)) = line.split_once('{') {
            let family = types.iter().rev().find(|family| name.starts_with(family.as_str()));
            let total = if name.ends_with("_total") { "_total" } else { "" };
            let name = format!("{}{total}", family.expect("a type before its samples"));
            let labels = rest.split_once('}').expect("an end").0.split("\",");
            let labels = labels.map(|label| label.split('=').next().expect("a label"));
            let own = labels.filter(|label| !matches!(*label, "topology" | "le"));
            found.insert((name, own.collect::<Vec<_>>().join(", ")));
        }
    }
    found
}

#[cfg(feature = "sqlite")]
#[actix_web::test]
async fn every_metric_is_on_the_reference_page_with_its_labels() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("works.db");
    let text = format!(
        "[store]\nkind = \"sqlite\"\npath = {store:?}\n{}[requesters.web]\nto = \"desk\"\n\
         load = {{ kind = \"http\", listen = \"127.0.0.1:0\", admin = \"/admin\" }}\n",
        design("")
    );
    let (running, address) = start(&text).await;
    burned(&running, 3).await;
    let own = get(address, "/metrics").await.body;
    let commits = "gopherworks_store_commit_seconds_count{topology=\"works\"} ";
    let count = own.lines().find_map(|line| line.strip_prefix(commits)).expect("commits");
    assert!(count.parse::<u64>().expect("a number") > 0, "{own}");
    // The requester's server has them as well, and those of its connections.
    let admin = get(running.addresses()[0].1, "/admin/metrics").await.body;
    let said = &families(&own) | &families(&admin);
    let page = metrics_reference();
    let rows = page.lines().filter(|line| line.starts_with("| `gopherworks_"));
    let listed: BTreeSet<_> = rows
        .map(|row| {
            let cells: Vec<String> =
                row.split(" | ").map(|cell| cell.replace(['|', '`'], "")).collect();
            (cells[0].trim().to_owned(), cells[2].trim().to_owned())
        })
        .collect();
    assert_eq!(said, listed);
    running.stop().await;
}

#[actix_web::test]
async fn a_requesters_server_shows_the_topology_even_if_a_balancer_bears_its_name() {
    let load = r#"load = { kind = "http", listen = "127.0.0.1:0", admin = "/admin" }"#;
    let text = format!("{}[requesters.web]\nto = \"desk\"\n{load}\n", design(""));
    let loaded = Loaded::parse("desk.toml", text, &Catalog::standard(), &Overrides::default());
    let running = Topology::from_plan(loaded.expect("a right file").plan).start().await;
    let running = running.expect("it starts");
    let web = running.addresses()[0].1;
    burned(&running, 4).await;
    let ledger = get(web, "/admin/api/ledger").await;
    assert!(ledger.status == 200 && ledger.body.contains(r#""burned":4"#), "{ledger:?}");
    let metrics = get(web, "/admin/metrics").await.body;
    // The balancer that it serves is counted once.
    let ready = metrics.lines().filter(|line| line.starts_with("gopherworks_balancer_ready{"));
    assert_eq!(ready.count(), 1, "{metrics}");
    running.stop().await;
}

#[actix_web::test]
async fn a_port_in_use_prevents_the_start() {
    let (running, address) = start(&design("")).await;
    let text = design("").replace("127.0.0.1:0", &address.to_string());
    let loaded = Loaded::parse("works.toml", text, &Catalog::standard(), &Overrides::default());
    let started = Topology::from_plan(loaded.expect("a right file").plan).start().await;
    let said = started.expect_err("the port is taken").to_string();
    assert!(said.contains(&format!("operations: listening at {address}")), "{said}");
    running.stop().await;
}
