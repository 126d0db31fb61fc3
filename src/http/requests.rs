//! Turns a request into a book. The table in docs/gateway.md lists what is passed on.

use actix_web::HttpRequest;
use actix_web::web::Bytes;
use gopherworks_pipeline::book::{Book, header};

use crate::catalog::http::fields::{Message, take_in};
use crate::catalog::http::{METHOD, PATH, PEER, QUERY};

/// The book of a request. `path` is the part of its path below the served prefix.
pub(super) fn book(request: &HttpRequest, path: &str, body: Bytes) -> Book {
    let mut book = Book::new(body);
    let headers = &mut book.headers;
    headers.set(header::NAME, path.trim_start_matches('/').to_owned());
    headers.set(METHOD, request.method().as_str().to_owned());
    headers.set(PATH, path.to_owned());
    if let Some(query) = request.uri().query() {
        headers.set(QUERY, query.to_owned());
    }
    if let Some(peer) = request.peer_addr() {
        headers.set(PEER, peer.ip().to_string());
    }
    let fields = || {
        let fields = request.headers().iter();
        fields.map(|(name, value)| (name.as_str(), value.as_bytes()))
    };
    take_in(Message::Request, fields, &[], headers);
    book
}
