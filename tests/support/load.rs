//! An open load on a real HTTP service, over connections that are kept.
// The load is in real time.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

/// The outcome of one request.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The request was answered.
    Answered {
        status: u16,
        /// Time from when the request was due.
        took: Duration,
        /// True if the answer has `Retry-After`.
        retry_after: bool,
    },
    /// The connection was not accepted.
    Unconnected,
    /// The connection ended without an answer.
    Broken,
}

/// Requests with random gaps.
#[derive(Debug, Clone)]
pub struct Load {
    pub address: SocketAddr,
    pub path: &'static str,
    /// Requests per second.
    pub rate: f64,
    pub lasts: Duration,
    /// At this interval a request has this body instead.
    pub now_and_then: Option<(Duration, &'static str)>,
}

/// All outcomes of a load.
#[derive(Debug, Default)]
pub struct Seen(pub Vec<Outcome>);

impl Seen {
    pub fn with_status(&self, wanted: u16) -> usize {
        let has =
            |one: &&Outcome| matches!(one, Outcome::Answered { status, .. } if *status == wanted);
        self.0.iter().filter(has).count()
    }

    /// The response time that this share of the good answers did not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        let mut times: Vec<Duration> = (self.0.iter())
            .filter_map(|outcome| match outcome {
                Outcome::Answered { status: 200, took, .. } => Some(*took),
                _ => None,
            })
            .collect();
        assert!(!times.is_empty(), "nothing was answered: {:?}", self.0.first());
        times.sort_unstable();
        times[((times.len() - 1) as f64 * share) as usize]
    }

    /// Asserts that every answer except 200 is a 503 with `Retry-After`.
    #[track_caller]
    pub fn only_declared_refusals(&self) {
        for outcome in &self.0 {
            let right = matches!(
                outcome,
                Outcome::Answered { status: 200, .. }
                    | Outcome::Answered { status: 503, retry_after: true, .. }
            );
            assert!(right, "{outcome:?}");
        }
    }
}

type Idle = Rc<RefCell<Vec<TcpStream>>>;

impl Load {
    /// Runs the load on the calling thread.
    pub fn run(&self) -> Seen {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        LocalSet::new().block_on(&runtime, self.clone().go())
    }

    async fn go(self) -> Seen {
        let mut chance = rand::rngs::ChaCha8Rng::seed_from_u64(7);
        let idle = Idle::default();
        let began = Instant::now();
        let (mut due, mut special) = (Duration::ZERO, Duration::ZERO);
        let mut requests = Vec::new();
        while due < self.lasts {
            tokio::time::sleep_until((began + due).into()).await;
            let mut body = "hello";
            if let Some((every, other)) = self.now_and_then
                && due >= special
            {
                special += every;
                body = other;
            }
            let (idle, at) = (idle.clone(), began + due);
            let (address, path) = (self.address, self.path);
            requests.push(tokio::task::spawn_local(async move {
                tokio::time::timeout(PATIENCE, one(address, path, body, &idle, at))
                    .await
                    .unwrap_or(Outcome::Broken)
            }));
            let gap = -(1.0 - chance.random::<f64>()).ln() / self.rate;
            due += Duration::from_secs_f64(gap);
        }
        let mut seen = Seen::default();
        for request in requests {
            seen.0.push(request.await.expect("not poisoned"));
        }
        seen
    }
}

/// A request without an answer after this time never gets one.
const PATIENCE: Duration = Duration::from_secs(20);

async fn one(address: SocketAddr, path: &str, body: &str, idle: &Idle, due: Instant) -> Outcome {
    let kept = idle.borrow_mut().pop();
    let was_kept = kept.is_some();
    let mut stream = match kept {
        Some(stream) => stream,
        None => match TcpStream::connect(address).await {
            Ok(stream) => stream,
            Err(_) => return Outcome::Unconnected,
        },
    };
    let _ = stream.set_nodelay(true);
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: text/plain\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    if stream.write_all(request.as_bytes()).await.is_err() {
        return if was_kept { Outcome::Unconnected } else { Outcome::Broken };
    }
    match read(&mut stream).await {
        Some((status, retry_after, keep)) => {
            if keep {
                idle.borrow_mut().push(stream);
            }
            Outcome::Answered { status, took: due.elapsed(), retry_after }
        }
        // An idle connection may be closed while the request is written: the server has not read
        // it.
        None if was_kept => Outcome::Unconnected,
        None => Outcome::Broken,
    }
}

/// Status, whether `Retry-After` is present, and whether the connection can be reused; `None` if it
/// ends early.
pub async fn read(stream: &mut TcpStream) -> Option<(u16, bool, bool)> {
    let mut all = Vec::new();
    let mut part = [0; 4096];
    loop {
        if let Some(end) = all.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&all[..end]).to_ascii_lowercase();
            let header = |name: &str| {
                head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            };
            let length: usize =
                header("content-length").map_or(0, |text| text.trim().parse().expect("a length"));
            if all.len() >= end + 4 + length {
                let status = head.split(' ').nth(1)?.parse().ok()?;
                let closes = header("connection").is_some_and(|text| text.contains("close"));
                return Some((status, header("retry-after").is_some(), !closes));
            }
        }
        match stream.read(&mut part).await {
            Ok(read @ 1..) => all.extend_from_slice(&part[..read]),
            _ => return None,
        }
    }
}
