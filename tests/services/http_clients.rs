//! Clients that are slow, greedy or gone: each is answered or disconnected, and no resource leaks.
#![cfg(feature = "http")]
// The clients run in real time.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod ends;
mod heads;
mod slow;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::load::read;
use gopherworks::Loaded;
use gopherworks::config::Overrides;
use gopherworks::report::RequesterReport;
use gopherworks::{Catalog, RunningTopology, Topology};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MS: Duration = Duration::from_millis(1);

/// A service with tight limits, whose workers take the time `time`.
fn config(time: &str) -> String {
    format!(
        r#"[balancers.desk]
workers = {{ count = 4, work = {{ kind = "sleep", time = "{time}" }} }}
[requesters.web]
to = "desk"
[requesters.web.load]
kind = "http"
listen = "127.0.0.1:0"
path = "/books"
admin = "/admin"
body = "1KiB"
headers = 8
connections = 8
read_timeout = "1s"
keep_alive = "60s"
"#
    )
}

struct Service {
    address: SocketAddr,
    running: RunningTopology,
}

impl Service {
    fn heard(&self) -> RequesterReport {
        self.running.snapshot().requesters[0].clone()
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("it listens")
    }

    /// Sends `what`; returns the answer's status, and whether the connection stays open.
    async fn say(&self, what: &[u8]) -> Option<(u16, bool)> {
        let mut stream = self.connect().await;
        // The server may refuse before it has read everything.
        let _ = stream.write_all(what).await;
        read(&mut stream).await.map(|(status, _, keep)| (status, keep))
    }

    /// Connections that the service holds open. Those of the other tests of this process are at
    /// other ports.
    fn connections(&self) -> usize {
        let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap_or_default();
        let port = format!(":{:04X}", self.address.port());
        let held = table.lines().skip(1).filter(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // Local address, state (0A listens), and inode, which is 0 once the socket is closed.
            fields[1].ends_with(&port) && fields[3] != "0A" && fields[9] != "0"
        });
        held.count()
    }

    /// Asserts that the service still answers.
    async fn is_well(&self) {
        let answer =
            self.say(b"POST /books/a HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi").await;
        assert_eq!(answer, Some((200, true)));
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(20), "never: {what}");
        tokio::time::sleep(5 * MS).await;
    }
}

/// Runs `clients` against a service, then asserts that no requests or connections are left.
fn against(time: &str, clients: impl AsyncFnOnce(&Service)) -> RequesterReport {
    serving(config(time), clients)
}

/// [`config`] with these lines at the end of the load, in place of those with the same keys.
fn config_with(time: &str, lines: &str) -> String {
    let key = |line: &str| line.split_once(" = ").map(|(key, _)| key.to_owned());
    let new: Vec<_> = lines.lines().filter_map(key).collect();
    let usual = config(time);
    let kept = usual.lines().filter(|line| !key(line).is_some_and(|key| new.contains(&key)));
    kept.chain(lines.lines()).map(|line| format!("{line}\n")).collect()
}

/// Starts the service of a config.
async fn start(text: String) -> Service {
    let catalog = Catalog::standard();
    let loaded = Loaded::parse("service.toml", text, &catalog, &Overrides::default());
    let plan = loaded.expect("a right file").plan;
    let running = Topology::from_plan(plan).start().await.expect("it starts");
    running.close_offers();
    let address = running.addresses()[0].1;
    Service { address, running }
}

/// As [`against`], for the service of a config.
fn serving(text: String, clients: impl AsyncFnOnce(&Service)) -> RequesterReport {
    actix_rt::System::new().block_on(async {
        let service = start(text).await;
        service.is_well().await;
        let open = service.connect().await;
        until("a connection is counted", || service.connections() > 0).await;
        drop(open);
        clients(&service).await;
        until("nothing is under way", || service.heard().in_flight == 0).await;
        until("all connections are closed", || service.connections() == 0).await;
        service.is_well().await;
        let report = service.running.drain(Some(Duration::from_secs(20))).await;
        let heard = report.requesters[0].clone();
        assert_eq!((heard.lost, heard.in_flight), (0, 0), "{heard:?}");
        let desk = &report.balancers[0];
        let over = desk.answered + desk.failed + desk.cancelled + desk.expired + desk.shed;
        assert_eq!((desk.asked, desk.in_flight), (over, 0), "{desk:?}");
        heard
    })
}

#[test]
fn what_is_too_large_is_refused_before_anybody_works_on_it() {
    let heard = against("5ms", async |service| {
        let body = "x".repeat(4096);
        let large =
            format!("POST /books/a HTTP/1.1\r\nhost: x\r\ncontent-length: 4096\r\n\r\n{body}");
        assert_eq!(service.say(large.as_bytes()).await, Some((413, false)));
        let mut chunked =
            "POST /books/a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
        for _ in 0..8 {
            chunked.push_str(&format!("200\r\n{}\r\n", "y".repeat(512)));
        }
        assert_eq!(service.say(chunked.as_bytes()).await, Some((413, false)));
        let many: String = (0..8).map(|n| format!("h{n}: v\r\n")).collect();
        let many = format!("GET /books/a HTTP/1.1\r\nhost: x\r\n{many}\r\n");
        assert_eq!(service.say(many.as_bytes()).await, Some((431, false)));
        // A head without an end is not kept in memory.
        let endless = format!("GET /books/a HTTP/1.1\r\nh: {}", "z".repeat(1 << 20));
        let answer = service.say(endless.as_bytes()).await;
        assert!(answer.is_none_or(|(status, keep)| status >= 400 && !keep), "{answer:?}");
        assert_eq!(
            service.say(b"GET /elsewhere HTTP/1.1\r\nhost: x\r\n\r\n").await,
            Some((404, false))
        );
        assert_eq!(
            service.say(b"GET /booksellers HTTP/1.1\r\nhost: x\r\n\r\n").await,
            Some((404, false))
        );
        let answer = service.say(b"what is this\r\n\r\n").await;
        assert!(answer.is_none_or(|(status, _)| status == 400), "{answer:?}");
    });
    assert_eq!(heard.asked, 2, "only those that were well");
}

#[test]
fn slow_clients_are_not_waited_for() {
    let heard = against("5ms", async |service| {
        for start in [
            // A head that never ends, and a body that never ends.
            "GET /books/a HTTP/1.1\r\n",
            "POST /books/a HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n",
        ] {
            let mut stream = service.connect().await;
            stream.write_all(start.as_bytes()).await.expect("it listens");
            let (mut reading, mut writing) = stream.split();
            let began = Instant::now();
            let trickle = async {
                loop {
                    tokio::time::sleep(50 * MS).await;
                    if writing.write_all(b"a").await.is_err() {
                        return std::future::pending::<()>().await;
                    }
                }
            };
            let mut said = Vec::new();
            tokio::select! {
                // The connection is over, reset or closed.
                _ = reading.read_to_end(&mut said) => {}
                () = trickle => {}
            }
            let took = began.elapsed();
            assert!(took < 10 * 1000 * MS, "{took:?}");
            let said = String::from_utf8_lossy(&said);
            assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
        }
    });
    assert_eq!(heard.asked, 2);
}

#[test]
fn requests_of_disconnected_clients_are_cancelled() {
    let request = b"POST /books/a HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi";
    let heard = against("2s", async |service| {
        // The client sends half a body and disconnects.
        let mut stream = service.connect().await;
        stream.write_all(&request[..request.len() - 1]).await.expect("it listens");
        drop(stream);
        // The client disconnects while a worker has its request: it is cancelled long before it
        // would be answered.
        let mut gone = Vec::new();
        for _ in 0..3 {
            let mut stream = service.connect().await;
            stream.write_all(request).await.expect("it listens");
            gone.push(stream);
        }
        until("they are worked on", || service.heard().in_flight == 3).await;
        let began = Instant::now();
        drop(gone);
        until("they are cancelled", || service.heard().cancelled == 3).await;
        assert!(began.elapsed() < 1500 * MS, "{:?}", began.elapsed());
        until("workers are free", || service.running.snapshot().balancers[0].in_flight == 0).await;
    });
    assert_eq!((heard.cancelled, heard.answered), (3, 2));
}

#[test]
fn a_client_that_says_no_more_is_answered_or_closed() {
    let heard = against("20ms", async |service| {
        for _ in 0..5 {
            let mut stream = service.connect().await;
            let request = b"POST /books/a HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                            content-length: 2\r\n\r\nhi";
            stream.write_all(request).await.expect("it listens");
            stream.shutdown().await.expect("half of it");
            let mut said = Vec::new();
            let _ = stream.read_to_end(&mut said).await;
            assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 200"));
        }
    });
    assert_eq!(heard.answered + heard.cancelled, heard.asked);
}

#[test]
fn more_connections_than_are_taken_wait_their_turn() {
    let heard = against("5ms", async |service| {
        let mut idle = Vec::new();
        for _ in 0..24 {
            idle.push(service.connect().await);
        }
        // The idle connections are closed in time, so that further ones are accepted.
        service.is_well().await;
        drop(idle);
    });
    assert_eq!(heard.answered, 3);
}

#[test]
fn requests_of_one_key_go_to_one_worker() {
    actix_rt::System::new().block_on(async {
        let text = config("5ms").replace(
            "[balancers.desk]",
            "[balancers.desk]\n\
            policy = \"affinity\"",
        );
        let text = text + "key_header = \"X-Session\"\n";
        let catalog = Catalog::standard();
        let loaded = Loaded::parse("s.toml", text, &catalog, &Overrides::default());
        let plan = loaded.expect("a right file").plan;
        let running = Topology::from_plan(plan).start().await.expect("it starts");
        running.close_offers();
        let address = running.addresses()[0].1;
        let service = Service { address, running };
        // One at a time, so that the key's worker is never too busy for its next request.
        for _ in 0..20 {
            let request = b"POST /books/a HTTP/1.1\r\nhost: x\r\nx-session: anna\r\n\
                            content-length: 2\r\n\r\nhi";
            assert_eq!(service.say(request).await, Some((200, true)));
        }
        let report = service.running.drain(Some(Duration::from_secs(20))).await;
        let busy = report.balancers[0].workers.iter().filter(|one| one.pending_mean > 0.0);
        assert_eq!(busy.count(), 1);
    });
}

#[test]
fn a_server_whose_actor_dies_goes_on() {
    let heard = against("20ms", async |service| {
        for _ in 0..10 {
            let mut stream = service.connect().await;
            let request = b"POST /books/a HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi";
            stream.write_all(request).await.expect("it listens");
            assert!(service.running.kill("web"));
            assert_eq!(read(&mut stream).await.map(|answer| answer.0), Some(200));
            drop(stream);
            until("it is back", || service.running.snapshot().restarts > 0).await;
        }
    });
    assert_eq!((heard.answered, heard.cancelled), (12, 0));
}

#[test]
fn a_run_that_is_stopped_at_once_leaves_no_server() {
    actix_rt::System::new().block_on(async {
        let catalog = Catalog::standard();
        let loaded = Loaded::parse("s.toml", config("10s"), &catalog, &Overrides::default());
        let plan = loaded.expect("a right file").plan;
        let running = Topology::from_plan(plan).start().await.expect("it starts");
        let address = running.addresses()[0].1;
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream
            .write_all(b"POST /books HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
            .await
            .expect("it listens");
        until("it is worked on", || running.snapshot().requesters[0].in_flight == 1).await;
        let report = running.stop().await;
        assert_eq!(report.requesters[0].lost, 0);
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said).await;
        assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 503"), "{said:?}");
        let began = Instant::now();
        while TcpStream::connect(address).await.is_ok() {
            assert!(began.elapsed() < Duration::from_secs(10), "somebody still listens");
            tokio::time::sleep(5 * MS).await;
        }
    });
}
