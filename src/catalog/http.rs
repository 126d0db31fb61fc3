//! HTTP client of the `http` worker and the `http` burn, and the book headers that hold a request
//! or a response.
//!
//! A requester that serves HTTP turns each request into a book with [`METHOD`], [`PATH`],
//! [`QUERY`], [`HOST`], [`PEER`], [`TYPE`] and one header [`REQUEST_FIELD`]`<name>` for each
//! forwarded field. A worker responds with a book that has [`STATUS`], [`TYPE`] and headers
//! [`ANSWER_FIELD`]`<name>`. docs/gateway.md lists the fields that are forwarded.

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
pub(super) use client::{HttpClient, Question, make};
#[cfg(feature = "http")]
pub(super) use options::HttpOptions;
#[cfg(feature = "http")]
pub(crate) use sending::Blocking;

/// Book header: method of the HTTP request that the book was made from.
pub const METHOD: &str = "http.method";
/// Book header: path of the HTTP request, relative to the served path and still percent-encoded.
pub const PATH: &str = "http.path";
/// Book header: query of the HTTP request, without the question mark and still encoded.
pub const QUERY: &str = "http.query";
/// Book header: host that the HTTP request was sent to, with the port if the client gave one.
pub const HOST: &str = "http.host";
/// Book header: IP address of the HTTP client.
pub const PEER: &str = "http.peer";
/// Book header: status code of an HTTP response, in decimal digits.
pub const STATUS: &str = "http.status";
/// Book header: media type of the body, for requests and responses.
pub const TYPE: &str = "content-type";
/// Prefix of book headers that hold a field of the HTTP request; the field's name follows in lower
/// case. Repeated fields are joined in one header, separated by line feeds.
pub const REQUEST_FIELD: &str = "http.request.";
/// Prefix of book headers that hold a field of an HTTP response, in the format of
/// [`REQUEST_FIELD`].
pub const ANSWER_FIELD: &str = "http.answer.";

/// True if `book` is an HTTP response with a 5xx status.
pub(crate) fn says_failed(book: &gopherworks_pipeline::book::Book) -> bool {
    let status = book.headers.get(STATUS);
    status.is_some_and(|status| status.len() == 3 && status[0] == b'5')
}
