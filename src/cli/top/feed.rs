//! What a run reports: its stream of snapshots, and details of one node.

use serde::Deserialize;
use tokio::sync::mpsc::Sender;

use super::super::Failed;
use super::super::remote::{Events, Remote};

/// The state of a run. Fields that a run of another version lacks are empty.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    pub run: String,
    pub topology: String,
    /// Seconds since the start.
    pub at_s: f64,
    pub ready: bool,
    pub ledger: Ledger,
    pub nodes: Vec<Node>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Ledger {
    pub offered: u64,
    pub burned: u64,
    pub dead: u64,
    pub dropped: u64,
    pub in_flight: u64,
}

/// The state of a node; `NodeStatus` of the API says what the fields mean.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    pub name: String,
    pub kind: String,
    pub state: String,
    pub paused: Option<String>,
    pub books: u64,
    pub per_s: f64,
    pub carts: u64,
    pub waits: u64,
    pub restarts: u64,
    pub busy_s: f64,
    pub idle_s: Option<f64>,
    pub blocked_s: Option<f64>,
    pub failed: u64,
    pub dead: u64,
    pub last_failure: Option<LastFailure>,
    pub pile: Option<Pile>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct LastFailure {
    pub reason: Option<String>,
    pub count: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Pile {
    pub ready: u64,
    pub delayed: u64,
    pub leased: u64,
    pub stored: u64,
    pub oldest_s: Option<f64>,
    pub capacity: Option<u64>,
    pub durable: bool,
    pub carts_for_books: u64,
    pub carts_for_space: u64,
}

/// The state of one node, with its failures and events.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Detail {
    pub at_s: f64,
    #[serde(flatten)]
    pub node: Node,
    pub reasons: Vec<Reason>,
    pub events: Vec<Happened>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Reason {
    pub reason: Option<String>,
    pub count: u64,
    #[serde(rename = "final")]
    pub final_count: u64,
    pub first: String,
    pub last_s: f64,
}

/// An event of the run.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Happened {
    pub at_s: f64,
    pub kind: String,
    pub text: String,
}

/// News for the screen.
pub enum Update {
    Snapshot(Box<Snapshot>),
    Detail(Box<Detail>),
    /// Nothing comes at present, with the reason.
    Broken(String),
}

/// A connected stream.
pub struct Watcher {
    remote: Remote,
    events: Events,
}

impl Watcher {
    /// Connects, and waits for the first snapshot.
    ///
    /// # Errors
    /// Those of the connection, or a stream that ends before.
    pub async fn connect(remote: Remote) -> Result<(Self, Snapshot), Failed> {
        let events = remote.events(&["api", "stream"], &[]).await?;
        let mut watcher = Self { remote, events };
        let first = watcher.next().await?;
        Ok((watcher, first))
    }

    pub fn remote(&self) -> Remote {
        self.remote.clone()
    }

    /// The next snapshot.
    async fn next(&mut self) -> Result<Snapshot, Failed> {
        while let Some(event) = self.events.next().await? {
            match event.name.as_str() {
                "snapshot" => return event.data(),
                "end" => break,
                _ => {}
            }
        }
        Err(Failed::new("error: the run has ended"))
    }

    /// Sends every snapshot to the screen, and connects again whenever the stream breaks.
    pub async fn run(mut self, say: Sender<Update>) {
        loop {
            let why = loop {
                let update = match self.next().await {
                    Ok(now) => Update::Snapshot(Box::new(now)),
                    Err(failed) => break failed,
                };
                if say.send(update).await.is_err() {
                    return;
                }
            };
            let mut why = Some(why);
            while let Some(failed) = why.take() {
                if say.send(Update::Broken(in_a_line(&failed))).await.is_err() {
                    return;
                }
                super::pause().await;
                match Self::connect(self.remote.clone()).await {
                    Ok((again, first)) => {
                        self = again;
                        if say.send(Update::Snapshot(Box::new(first))).await.is_err() {
                            return;
                        }
                    }
                    Err(failed) => why = Some(failed),
                }
            }
        }
    }
}

/// The first line of a message, without the word `error`.
fn in_a_line(failed: &Failed) -> String {
    let line = failed.message.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

/// Sends the details of a node to the screen. A failure is that of the stream as well, which says
/// so.
pub async fn detail(remote: Remote, node: String, say: Sender<Update>) {
    if let Ok(detail) = remote.get(&["api", "nodes", &node], &[]).await {
        let _ = say.send(Update::Detail(Box::new(detail))).await;
    }
}
