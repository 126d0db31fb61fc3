//! Books on piles, and dead letters.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gopherworks_pipeline::__private::{SeenState, printable};
use gopherworks_pipeline::book::{Body, Book};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Operations;
use super::super::routes::Answer;
use super::{Refusal, named, page, query};
use crate::topology::{DeadBook, SeenOnPile};

/// Largest body that is shown, in bytes.
const LARGEST_SHOWN: usize = 64 << 10;

/// Usual and greatest number of books in a page, without and with their contents.
const PAGE: (usize, usize) = (100, 1_000);
const PAGE_OF_CONTENTS: (usize, usize) = (20, 100);

/// Parameters of a list of books.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BookQuery {
    /// Name of the topology; required if there are several.
    topology: Option<String>,
    /// Only books that are in this state.
    state: Option<BookState>,
    /// Number of entries to skip, at most 100,000.
    offset: Option<usize>,
    /// Number of entries to return: 1 to 1,000, default 100; with `bodies` 1 to 100, default 20.
    limit: Option<usize>,
    /// True for headers and bodies as well; requires the token.
    bodies: Option<bool>,
}

/// The state of a book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum BookState {
    /// It may be leased.
    Ready,
    /// It waits for its next attempt.
    Delayed,
    /// A gopher, an incinerator or a waiting cart has it.
    Leased,
}

/// A page of the books of a pile.
#[derive(Serialize, JsonSchema)]
pub(crate) struct BookPage {
    books: Vec<BookRow>,
}

/// A book on a pile.
#[derive(Serialize, JsonSchema)]
struct BookRow {
    /// The book's number in the run.
    id: u64,
    /// The book's name, or `book` and its number.
    name: String,
    /// Bytes of the book's body.
    size: u64,
    state: BookState,
    /// Attempts charged on this pile.
    attempts: u32,
    /// The gopher or incinerator that has leased it; absent while its cart waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<String>,
    /// Seconds until it may be leased again.
    #[serde(skip_serializing_if = "Option::is_none")]
    due_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Content>,
}

/// Headers and body of a book.
#[derive(Serialize, JsonSchema)]
pub(super) struct Content {
    /// Values that are not UTF-8 are shown with replacement characters.
    headers: BTreeMap<String, String>,
    /// The body as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// A body that is not UTF-8, in base 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    /// Why the body is not shown: it is in a file, or larger than 64 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<&'static str>,
}

impl Content {
    fn of(book: &Book) -> Self {
        let headers = book.headers.iter();
        let headers = headers
            .map(|(name, value)| (name.to_owned(), String::from_utf8_lossy(value).into_owned()));
        let shown = Self { headers: headers.collect(), text: None, base64: None, left_out: None };
        match &book.body {
            // Reading it could block.
            Body::File { .. } => Self { left_out: Some("it is in a file"), ..shown },
            Body::Bytes(bytes) if bytes.len() > LARGEST_SHOWN => {
                Self { left_out: Some("it is larger than 64 KiB"), ..shown }
            }
            Body::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Self { text: Some(text.to_owned()), ..shown },
                Err(_) => Self { base64: Some(STANDARD.encode(bytes)), ..shown },
            },
        }
    }
}

impl Content {
    /// Contents of a sampled book, whose body was left out unless it has `size` bytes.
    pub(super) fn sampled(book: &Book, size: u64) -> Self {
        match book.size() == size {
            true => Self::of(book),
            false => {
                let left_out = Some("it is in a file, or larger than 64 KiB");
                Self { text: None, left_out, ..Self::of(book) }
            }
        }
    }

    /// Values of headers, and the body as text.
    pub(super) fn texts(&self) -> impl Iterator<Item = &String> {
        self.headers.values().chain(&self.text)
    }
}

/// The sizes of pages; a refusal if contents are wanted without the token.
fn sizes(of: &Operations, request: &HttpRequest, bodies: bool) -> Result<(usize, usize), Refusal> {
    if bodies && !of.trusts(request) {
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "bodies require the token"));
    }
    Ok(if bodies { PAGE_OF_CONTENTS } else { PAGE })
}

pub(crate) fn books(of: &Operations, request: &HttpRequest) -> Answer {
    let query: BookQuery = query(request)?;
    let bodies = query.bodies.unwrap_or(false);
    let page = page(query.offset, query.limit, sizes(of, request, bodies)?)?;
    let running = of.chosen(query.topology.as_deref())?;
    let wants = |state| query.state.is_none_or(|wanted| wanted == state);
    let wanted = (wants(BookState::Leased), wants(BookState::Ready), wants(BookState::Delayed));
    let Some(books) = running.books(&named(request)?, wanted, page) else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "there is no such pile"));
    };
    let rows = books.into_iter().map(|SeenOnPile { seen, holder, due }| BookRow {
        id: seen.book.id.0,
        name: printable(&seen.book.title()),
        size: seen.book.size(),
        state: match seen.state {
            SeenState::Ready => BookState::Ready,
            SeenState::Delayed(_) => BookState::Delayed,
            SeenState::Leased(_) => BookState::Leased,
        },
        attempts: seen.attempts,
        holder,
        due_s: due.map(|due| due.as_secs_f64()),
        content: bodies.then(|| Content::of(&seen.book)),
    });
    Ok(HttpResponse::Ok().json(BookPage { books: rows.collect() }))
}

/// Parameters of a list of dead letters.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeadQuery {
    /// Name of the topology; required if there are several.
    topology: Option<String>,
    /// Only letters that failed at this node last.
    node: Option<String>,
    /// Only letters of this pile.
    pile: Option<String>,
    /// Only letters whose reason contains this text.
    reason: Option<String>,
    /// Only letters whose name, key or reason contains this text.
    text: Option<String>,
    /// Number of entries to skip, at most 100,000.
    offset: Option<usize>,
    /// Number of entries to return: 1 to 1,000, default 100; with `bodies` 1 to 100, default 20.
    limit: Option<usize>,
    /// True for headers and bodies as well; requires the token.
    bodies: Option<bool>,
}

/// A page of dead letters.
#[derive(Serialize, JsonSchema)]
pub(crate) struct DeadPage {
    /// All dead letters of the run, also those that are no longer in memory.
    dead: u64,
    /// Letters in memory that match the query.
    total: usize,
    letters: Vec<DeadRow>,
}

/// A dead letter.
#[derive(Serialize, JsonSchema)]
struct DeadRow {
    /// The book's number in the run.
    id: u64,
    /// The book's key, which is unique across runs.
    key: String,
    /// The book's name, or `book` and its number.
    name: String,
    /// Bytes of the book's body.
    size: u64,
    /// The pile where it died.
    pile: String,
    /// The node where it failed last, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// Why it died.
    reason: String,
    /// Attempts that were charged.
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Content>,
}

impl DeadQuery {
    fn wants(&self, letter: &DeadBook) -> bool {
        let is = |wanted: &Option<String>, value: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == value)
        };
        let has = |wanted: &Option<String>, texts: &[&str]| {
            wanted.as_deref().is_none_or(|wanted| texts.iter().any(|text| text.contains(wanted)))
        };
        is(&self.node, letter.node.as_deref())
            && is(&self.pile, Some(&letter.pile))
            && has(&self.reason, &[&letter.reason])
            && has(&self.text, &[&letter.book.title(), &letter.key, &letter.reason])
    }
}

pub(crate) fn dead(of: &Operations, request: &HttpRequest) -> Answer {
    let query: DeadQuery = query(request)?;
    let bodies = query.bodies.unwrap_or(false);
    let (offset, limit) = page(query.offset, query.limit, sizes(of, request, bodies)?)?;
    let running = of.chosen(query.topology.as_deref())?;
    let mut letters = running.dead();
    letters.retain(|letter| query.wants(letter));
    let total = letters.len();
    let rows = letters.into_iter().rev().skip(offset).take(limit).map(|letter| DeadRow {
        id: letter.book.id.0,
        name: printable(&letter.book.title()),
        size: letter.book.size(),
        content: bodies.then(|| Content::of(&letter.book)),
        key: letter.key,
        pile: letter.pile,
        node: letter.node,
        reason: printable(&letter.reason),
        attempts: letter.attempts,
    });
    let letters = rows.collect();
    Ok(HttpResponse::Ok().json(DeadPage { dead: running.ledger().dead, total, letters }))
}
