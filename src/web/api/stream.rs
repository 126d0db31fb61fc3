//! `/api/stream`: server-sent events.
//!
//! All streams share the numbered events of the run and one snapshot for each tick. A stream keeps
//! only the number of the last event that it has sent, and gets the next ones when its client has
//! taken those before: a slow client takes no memory, and is shown how many events it has missed.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use gopherworks_supervision::clock::{Clock, Time};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::super::Operations;
use super::super::operations::Streamed;
use super::super::routes::Answer;
use super::nodes::EventRow;
use super::{Question, Refusal, query, tap};
use crate::report::Ledger;
use crate::topology::{NodeStatus, RunningTopology};

pub(super) const MEDIA: &str = "text/event-stream";

/// Maximum number of open streams.
const MOST: usize = 128;
/// Maximum number of events in one part of a stream.
const MOST_AT_ONCE: usize = 64;
/// Shortest time between two snapshots.
const SHORTEST: Duration = Duration::from_millis(100);

/// What all streams share.
pub(crate) struct Streams {
    places: Arc<Semaphore>,
    /// Places of taps.
    taps: Arc<Semaphore>,
    sample: Duration,
    /// By topology: number of its last tick, with the snapshot taken then.
    snapshots: Mutex<HashMap<String, (u64, Bytes)>>,
    ending: watch::Sender<bool>,
}

impl Streams {
    pub(crate) fn new(sample: Duration) -> Self {
        Self {
            places: Arc::new(Semaphore::new(MOST)),
            taps: Arc::new(Semaphore::new(tap::MOST)),
            sample: sample.max(SHORTEST),
            snapshots: Mutex::default(),
            ending: watch::Sender::new(false),
        }
    }

    /// Ends all streams once they have sent what has happened so far.
    pub(crate) fn end(&self) {
        self.ending.send_replace(true);
    }

    /// A place for a tap; `None` if all are taken.
    pub(super) fn tap(&self) -> Option<OwnedSemaphorePermit> {
        self.taps.clone().try_acquire_owned().ok()
    }

    /// True once streams are to end.
    pub(super) fn ending(&self) -> watch::Receiver<bool> {
        self.ending.subscribe()
    }

    /// Number of the present tick, which is the same for all streams.
    fn tick(&self, now: Time) -> u64 {
        u64::try_from((now - Time::ZERO).as_nanos() / self.sample.as_nanos()).unwrap_or(u64::MAX)
    }

    fn time_of(&self, tick: u64) -> Time {
        Time::ZERO + self.sample.saturating_mul(u32::try_from(tick).unwrap_or(u32::MAX))
    }

    /// The snapshot of this tick, taken once.
    fn snapshot(&self, running: &RunningTopology, tick: u64) -> Bytes {
        let mut snapshots = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = snapshots.get(running.name()).filter(|(at, _)| *at == tick) {
            return known.clone();
        }
        let snapshot = Bytes::from(json(&StreamData::Snapshot(Box::new(Snapshot {
            run: running.run_id(),
            topology: running.name().to_owned(),
            at_s: running.uptime(),
            ready: running.is_ready(),
            ledger: running.ledger(),
            nodes: running.nodes(),
        }))));
        snapshots.insert(running.name().to_owned(), (tick, snapshot.clone()));
        snapshot
    }
}

/// The data of an event of the stream.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum StreamData {
    /// Data of `snapshot`.
    Snapshot(Box<Snapshot>),
    /// Data of `event`.
    Event(EventRow),
    /// Data of `dropped`.
    Dropped {
        /// Events that this client has missed since the last one that it got.
        events: u64,
    },
    /// Data of `end`, the last event of a stream.
    End {},
}

/// The present state of a topology.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Snapshot {
    /// Identity of the run.
    run: String,
    /// Name of the topology.
    topology: String,
    /// Seconds since the start.
    at_s: f64,
    /// True if the topology runs, is not being drained, and its store works.
    ready: bool,
    ledger: Ledger,
    nodes: Vec<NodeStatus>,
}

fn json(data: &StreamData) -> String {
    serde_json::to_string(data).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}

/// One client's stream.
struct Feed {
    of: Operations,
    topology: String,
    run: String,
    /// Number of the last event that was sent.
    sent: u64,
    /// The tick whose snapshot is next.
    tick: u64,
    last: watch::Receiver<u64>,
    ending: watch::Receiver<bool>,
    /// Parts that are to be sent before anything else.
    parts: VecDeque<Bytes>,
    is_over: bool,
    clock: Clock,
    _place: OwnedSemaphorePermit,
}

impl Feed {
    /// Adds an event of the stream. Its id is that of the run, and the number of the last event.
    fn add(&mut self, name: &str, data: Bytes) {
        let head = format!("id: {}-{}\nevent: {name}\ndata: ", self.run, self.sent);
        self.parts.extend([Bytes::from(head), data, Bytes::from_static(b"\n\n")]);
    }

    /// Adds at most `most` events that have happened since the last ones, or the snapshot that is
    /// due. False if there is nothing to send, `None` if the topology is gone.
    fn fill(&mut self, most: usize) -> Option<bool> {
        let running = self.of.chosen(Some(&self.topology)).ok()?;
        let (events, missed) = running.log().since(self.sent, most);
        if missed > 0 {
            self.sent += missed;
            self.add("dropped", json(&StreamData::Dropped { events: missed }).into());
        }
        for event in events {
            self.sent = event.number;
            let row = EventRow::of(&running, event);
            self.add("event", json(&StreamData::Event(row)).into());
        }
        let now = self.of.streams.tick(self.clock.now());
        if self.parts.is_empty() && now >= self.tick {
            self.tick = now + 1;
            let snapshot = self.of.streams.snapshot(&running, now);
            self.add("snapshot", snapshot);
        }
        Some(!self.parts.is_empty())
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(part) = self.parts.pop_front() {
                return Some(part);
            }
            if self.is_over {
                return None;
            }
            if self.fill(MOST_AT_ONCE)? {
                continue;
            }
            let due = self.of.streams.time_of(self.tick);
            let ends = tokio::select! {
                biased;
                ended = self.ending.wait_for(|ending| *ending) => ended.is_ok(),
                changed = self.last.changed() => {
                    changed.ok()?;
                    false
                }
                () = self.clock.sleep_until(due) => false,
            };
            if ends {
                self.is_over = true;
                // Events from just before the end are sent as well.
                self.fill(usize::MAX);
                self.add("end", json(&StreamData::End {}).into());
            }
        }
    }
}

pub(crate) fn stream(of: &Operations, request: &HttpRequest) -> Answer {
    let running = of.chosen(query::<Question>(request)?.topology.as_deref())?;
    if request.method() == Method::HEAD {
        // Otherwise it would hold a place without an end.
        return Ok(HttpResponse::Ok().content_type(MEDIA).finish());
    }
    let Ok(place) = of.streams.places.clone().try_acquire_owned() else {
        let message = format!("at most {MOST} streams are served at once");
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message));
    };
    let (run, last) = (running.run_id(), running.log().last());
    // An id of another run, or later than all events, does not say where to continue.
    let known = *last.borrow();
    let header = request.headers().get("last-event-id").and_then(|id| id.to_str().ok());
    let resumed = header.and_then(|id| id.strip_prefix(run.as_str())?.strip_prefix('-'));
    let resumed = resumed.and_then(|number| number.parse().ok()).filter(|number| *number <= known);
    let feed = Feed {
        of: of.clone(),
        topology: running.name().to_owned(),
        run,
        sent: resumed.unwrap_or(known),
        tick: 0,
        last,
        ending: of.streams.ending.subscribe(),
        parts: VecDeque::from([Bytes::from_static(b"retry: 1000\n\n")]),
        is_over: false,
        clock: Clock::real(),
        _place: place,
    };
    let parts = futures_util::stream::unfold(feed, |mut feed| async move {
        let part = feed.next().await?;
        Some((Ok::<_, Infallible>(part), feed))
    });
    let mut response = HttpResponse::Ok().content_type(MEDIA).streaming(parts);
    response.extensions_mut().insert(Streamed);
    Ok(response)
}
