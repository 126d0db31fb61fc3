//! HTTP out: what the worker and the burn `http` have in common, and the headers that carry a request's and an answer's parts.

#[cfg(feature = "http")]
mod client;

#[cfg(feature = "http")]
pub(super) use client::{Asking, MOST_SENT, Options, make};

/// Header of a book: the method of the request that it came with.
pub const METHOD: &str = "http.method";
/// Header of a book: the query of the request that it came with, without the question mark.
pub const QUERY: &str = "http.query";
/// Header of a book: the status of the answer that it is, in decimal digits.
pub const STATUS: &str = "http.status";
/// Header of a book: what its body is, as a media type.
pub const TYPE: &str = "content-type";
