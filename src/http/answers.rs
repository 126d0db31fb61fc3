//! What a client is told: the answer's book as a response, or why there is none.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use gopherworks_actors::balancer::{BalancerCore, CallError};
use gopherworks_actors::book::{Body, Book};
use gopherworks_actors::failure::Failure;
use gopherworks_actors::job::{Answer, Served};
use gopherworks_actors::pool::Pool;

use crate::catalog::http::{STATUS, TYPE};
use crate::web::Refused;

/// Most bytes of an answer that are sent.
const MOST_ANSWER: u64 = 64 * 1024 * 1024;
const TEXT: &str = "text/plain; charset=utf-8";

/// A refusal before anybody was asked.
pub(super) fn plain(status: StatusCode, text: &'static str) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    // What is left of the request is not read: the connection can't be used again.
    response.force_close().content_type(TEXT);
    response.body(format!("{text}\n"))
}

pub(super) async fn response(
    to: &BalancerCore<Served>,
    pool: &Pool,
    answer: Result<Answer, CallError>,
    usual: StatusCode,
) -> HttpResponse {
    match answer {
        // 200 says that there is a body.
        Ok(Ok(None)) if usual == StatusCode::OK => HttpResponse::NoContent().finish(),
        Ok(Ok(None)) => HttpResponse::build(usual).finish(),
        Ok(Ok(Some(book))) => sent(pool, book, usual).await,
        Ok(Err(failure)) => failed(&failure),
        Err(error) => Refused::new(error, to.retry_after()).error_response(),
    }
}

/// The request's own failure. What it is in particular is for the log: it may name files and hosts.
fn failed(failure: &Failure) -> HttpResponse {
    log::warn!("a request failed: {failure}");
    if failure.is_permanent() {
        let mut response = HttpResponse::UnprocessableEntity();
        return response
            .content_type(TEXT)
            .body("the request can't be done\n");
    }
    let mut response = HttpResponse::BadGateway();
    if let Some(after) = failure.retry_after() {
        let seconds = after.as_secs_f64().ceil().clamp(1.0, 3600.0) as u64;
        response.insert_header((RETRY_AFTER, seconds));
    }
    response.content_type(TEXT).body("the request has failed\n")
}

async fn sent(pool: &Pool, book: Book, usual: StatusCode) -> HttpResponse {
    let said = |name: &str| std::str::from_utf8(book.headers.get(name)?).ok();
    let status = said(STATUS)
        .and_then(|status| status.parse().ok())
        .and_then(|status| StatusCode::from_u16(status).ok())
        .filter(|status| !status.is_informational());
    let kind: Option<HeaderValue> = said(TYPE).and_then(|kind| kind.parse().ok());
    let body = match &book.body {
        Body::Bytes(bytes) => bytes.clone(),
        file @ Body::File { .. } => {
            let file = file.clone();
            match pool.wait_for(move || file.read_all(MOST_ANSWER)).await {
                Ok(Ok(bytes)) => bytes,
                Ok(Err(error)) => return failed(&Failure::io("reading an answer", &error)),
                Err(_) => return failed(&Failure::transient("the run has ended")),
            }
        }
    };
    let kind = kind.unwrap_or(HeaderValue::from_static("application/octet-stream"));
    HttpResponse::build(status.unwrap_or(usual))
        .insert_header((CONTENT_TYPE, kind))
        .body(body)
}
