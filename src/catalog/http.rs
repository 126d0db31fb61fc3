//! HTTP out: the client of the worker and the burn `http`, and the headers of a book that carry a request and its answer.
//!
//! A requester that serves HTTP makes a book of each request: [`METHOD`], [`PATH`], [`QUERY`], [`HOST`], [`PEER`], [`TYPE`] and a header
//! [`REQUEST_FIELD`]`<name>` for each field that is passed on. A worker answers with a book that has [`STATUS`], [`TYPE`] and
//! headers [`ANSWER_FIELD`]`<name>`. docs/gateway.md tells what is passed on and what is not.

#[cfg(feature = "http")]
mod address;
#[cfg(feature = "http")]
mod answered;
#[cfg(feature = "http")]
mod client;
#[cfg(feature = "http")]
pub(crate) mod fields;
#[cfg(feature = "http")]
mod options;
#[cfg(feature = "http")]
mod request;
#[cfg(feature = "http")]
pub(crate) mod sending;

#[cfg(feature = "http")]
pub(super) use client::{Asking, Question, make};
#[cfg(feature = "http")]
pub(super) use options::Options;
#[cfg(feature = "http")]
pub(crate) use sending::Blocking;

/// Header of a book: the method of the request that it came with.
pub const METHOD: &str = "http.method";
/// Header of a book: the path of the request that it came with, below the path that is served; its percent-encoding is kept.
pub const PATH: &str = "http.path";
/// Header of a book: the query of the request that it came with, without the question mark; its encoding is kept.
pub const QUERY: &str = "http.query";
/// Header of a book: the host that the request was sent to, with its port if the client named one.
pub const HOST: &str = "http.host";
/// Header of a book: the IP address of the client.
pub const PEER: &str = "http.peer";
/// Header of a book: the status of the answer that it is, in decimal digits.
pub const STATUS: &str = "http.status";
/// Header of a book: the media type of its body, of a request's as of an answer's.
pub const TYPE: &str = "content-type";
/// A header of a book that begins so is a field of the request that it came with; the rest is the field's name in lower case.
/// Several fields of one name are one header, with a line feed between their values.
pub const REQUEST_FIELD: &str = "http.request.";
/// A header of a book that begins so is a field of the answer that it is, written like those of a request.
pub const ANSWER_FIELD: &str = "http.answer.";

/// True where `book` is the answer of an HTTP server that says that it failed (5xx).
pub(crate) fn says_failed(book: &gopherworks_actors::book::Book) -> bool {
    let status = book.headers.get(STATUS);
    status.is_some_and(|status| status.len() == 3 && status[0] == b'5')
}
