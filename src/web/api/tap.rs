//! The stream of books that pass a node.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use gopherworks_pipeline::__private::{PassedBook, TapReader, printable};
use gopherworks_supervision::clock::{Clock, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::super::Operations;
use super::super::operations::Streamed;
use super::super::routes::Answer;
use super::books::Content;
use super::stream::MEDIA;
use super::{Refusal, named, query};
use crate::topology::RunningTopology;

/// Maximum number of open taps: each costs the crews a copy of the books that it shows.
pub(super) const MOST: usize = 8;
/// Most books that a tap shows at once, and the time between two reads of it.
const AT_ONCE: usize = 256;
const EVERY: Duration = Duration::from_millis(100);
/// Longest silence, after which a client that is gone is noticed.
const SILENCE: Duration = Duration::from_secs(10);

/// Parameters of a tap.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TapQuery {
    /// Name of the topology; required if there are several.
    topology: Option<String>,
    /// Only books with this text in their name or reason; with `bodies` also in a header or the
    /// text of their body. Other books count neither as shown nor as missed.
    text: Option<String>,
    /// True for headers and bodies as well; requires the token.
    bodies: Option<bool>,
}

/// The data of an event of a tap.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum TapData {
    /// Data of `book`.
    Book(Box<TapRow>),
    /// Data of `missed`.
    Missed {
        /// Books that have passed since the last event `missed`, and are not shown.
        books: u64,
    },
    /// Data of `end`, the last event of a tap.
    End {},
}

/// A book that passed the node.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TapRow {
    /// Seconds since the start.
    at_s: f64,
    /// `leased` from a pile; `brought` by a crew, after its work; `burned`; `failed`; `dropped` or
    /// `split` by a work; `returned` without a charged attempt.
    what: &'static str,
    /// The book's number in the run.
    id: u64,
    /// The book's name, or `book` and its number.
    name: String,
    /// Bytes of the book's body.
    size: u64,
    /// Number of the attempt on the present pile, from 1.
    attempt: u32,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Content>,
}

impl TapRow {
    fn of(book: PassedBook, at_s: f64) -> Self {
        Self {
            at_s,
            what: book.what,
            id: book.id.0,
            name: printable(&book.name),
            size: book.size,
            attempt: book.attempt,
            reason: book.reason.as_deref().map(printable),
            content: book.content.as_ref().map(|content| Content::sampled(content, book.size)),
        }
    }

    fn has(&self, text: &str) -> bool {
        let reason = self.reason.iter();
        let content = self.content.iter().flat_map(Content::texts);
        let mut texts = [&self.name].into_iter().chain(reason).chain(content);
        texts.any(|part| part.contains(text))
    }
}

/// One client's tap.
struct Feed {
    of: Operations,
    topology: String,
    text: Option<String>,
    tap: TapReader,
    /// The time of the next read.
    due: Time,
    ending: watch::Receiver<bool>,
    parts: VecDeque<Bytes>,
    is_over: bool,
    clock: Clock,
    _place: OwnedSemaphorePermit,
}

impl Feed {
    fn add(&mut self, name: &str, data: &TapData) {
        let data = serde_json::to_string(data).unwrap_or_default();
        self.parts.push_back(Bytes::from(format!("event: {name}\ndata: {data}\n\n")));
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(part) = self.parts.pop_front() {
                return Some(part);
            }
            if self.is_over {
                return None;
            }
            let mut books = Vec::new();
            let (clock, due) = (self.clock.clone(), self.due);
            let read = async {
                clock.sleep_until(due).await;
                self.tap.read(&mut books, AT_ONCE).await
            };
            tokio::select! {
                biased;
                ended = self.ending.wait_for(|ending| *ending) => self.is_over = ended.is_ok(),
                _ = read => {}
                () = self.clock.sleep(SILENCE) => {}
            }
            self.due = self.clock.now() + EVERY;
            let running = self.of.chosen(Some(&self.topology)).ok();
            self.is_over |= running.is_none();
            if let Some(running) = running {
                self.show(&running, books);
            }
            let missed = self.tap.missed();
            if missed > 0 {
                self.add("missed", &TapData::Missed { books: missed });
            }
            match self.is_over {
                true => self.add("end", &TapData::End {}),
                false if self.parts.is_empty() => {
                    self.parts.push_back(Bytes::from_static(b": nothing yet\n\n"));
                }
                false => {}
            }
        }
    }

    fn show(&mut self, running: &RunningTopology, books: Vec<PassedBook>) {
        for book in books {
            let at_s = running.seconds(book.at);
            let row = TapRow::of(book, at_s);
            if self.text.as_ref().is_none_or(|text| row.has(text)) {
                self.add("book", &TapData::Book(Box::new(row)));
            }
        }
    }
}

pub(crate) fn tap(of: &Operations, request: &HttpRequest) -> Answer {
    let TapQuery { topology, text, bodies } = query(request)?;
    let (running, node) = (of.chosen(topology.as_deref())?, named(request)?);
    let bodies = bodies.unwrap_or(false);
    if bodies && !of.trusts(request) {
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "bodies require the token"));
    }
    let Some(tap) = running.tap(&node, bodies) else {
        let known = running.nodes().iter().any(|other| other.name == node);
        return Err(match known {
            true => Refusal::new(
                StatusCode::CONFLICT,
                "no tap fits this node; piles, dumps, crews, relays and incinerators have one",
            ),
            false => Refusal::new(StatusCode::NOT_FOUND, "there is no such node"),
        });
    };
    if request.method() == Method::HEAD {
        return Ok(HttpResponse::Ok().content_type(MEDIA).finish());
    }
    let Some(place) = of.streams.tap() else {
        let message = format!("at most {MOST} taps are open at once");
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message));
    };
    let clock = Clock::real();
    let feed = Feed {
        of: of.clone(),
        topology: running.name().to_owned(),
        text,
        tap,
        due: clock.now(),
        ending: of.streams.ending(),
        // Sent at once, so that the client knows that the tap is open.
        parts: VecDeque::from([Bytes::from_static(b": open\n\n")]),
        is_over: false,
        clock,
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
