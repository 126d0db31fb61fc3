//! Responses: the book of an answer, or the reason why there is none.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody, None as NoBody};
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use actix_web::http::{Method, StatusCode};
use actix_web::web::Bytes;
use actix_web::{HttpResponse, ResponseError};
use gopherworks_balancer::__private::BalancerCore;
use gopherworks_balancer::CallError;
use gopherworks_pipeline::__private::Served;
use gopherworks_pipeline::book::Book;
use gopherworks_pipeline::job::Answer;
use gopherworks_supervision::failure::Failure;
use gopherworks_supervision::pool::Pool;
use hyper::body::Body as _;

use crate::catalog::http::fields::{Message, give_out};
use crate::catalog::http::sending::{FileBody, Sent};
use crate::catalog::http::{ANSWER_FIELD, Blocking, STATUS, TYPE};
use crate::web::Refused;

const TEXT: &str = "text/plain; charset=utf-8";

/// A refusal before the balancer is called.
pub(super) fn plain(status: StatusCode, text: &'static str) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    // The rest of the request is not read, so the connection can't be used again.
    response.force_close().content_type(TEXT);
    response.body(format!("{text}\n"))
}

/// The response for an `answer`; `usual` is the status of a success. While the server is `closing`,
/// a lost worker is no fault of its own: the request gets 503, as all that come late.
pub(super) async fn response(
    to: &BalancerCore<Served>,
    pool: &Arc<Pool>,
    method: &Method,
    answer: Result<Answer, CallError>,
    usual: StatusCode,
    closing: bool,
) -> HttpResponse {
    match answer {
        // 200 would announce a body.
        Ok(Ok(None)) if usual == StatusCode::OK => HttpResponse::NoContent().finish(),
        Ok(Ok(None)) => HttpResponse::build(usual).finish(),
        Ok(Ok(Some(book))) => sent(pool, method, book, usual).await,
        Ok(Err(failure)) => failed(&failure),
        // Like a server that breaks the connection to a proxy: the request may have had its effect,
        // so there is no `Retry-After`.
        Err(CallError::WorkerLost { reason }) if !closing => failed(&Failure::transient(reason)),
        Err(error) => Refused::new(error, to.retry_after()).error_response(),
    }
}

/// The response to a failed request: 504 for a timeout, 422 for a permanent failure that is not the
/// worker's own, else 502. The reason may name files and hosts, so it is only in the run's report.
fn failed(failure: &Failure) -> HttpResponse {
    let (status, text) = if failure.is_late() {
        (StatusCode::GATEWAY_TIMEOUT, "no answer came in time\n")
    } else if failure.is_permanent() && !failure.is_internal() {
        (StatusCode::UNPROCESSABLE_ENTITY, "the request can't be served\n")
    } else {
        (StatusCode::BAD_GATEWAY, "the request has failed\n")
    };
    let mut response = HttpResponse::build(status);
    if let Some(after) = failure.retry_after() {
        let seconds = after.as_secs_f64().ceil().clamp(1.0, 3600.0) as u64;
        response.insert_header((RETRY_AFTER, seconds));
    }
    response.content_type(TEXT).body(text)
}

async fn sent(pool: &Arc<Pool>, method: &Method, book: Book, usual: StatusCode) -> HttpResponse {
    let said = |name: &str| std::str::from_utf8(book.headers.get(name)?).ok();
    let status = said(STATUS)
        .and_then(|status| status.parse().ok())
        .and_then(|status| StatusCode::from_u16(status).ok())
        .filter(|status| !status.is_informational());
    let mut response = HttpResponse::build(status.unwrap_or(usual));
    for (name, value) in give_out(Message::Answer, &book.headers) {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            response.append_header((name, value));
        }
    }
    let kind = book.headers.get(TYPE);
    let kind = kind.and_then(|kind| HeaderValue::from_bytes(kind).ok());
    // An answer with a status came over HTTP, where a type is missing if there is no body.
    let unknown = status.is_none().then_some(HeaderValue::from_static("application/octet-stream"));
    if let Some(kind) = kind.or(unknown) {
        response.insert_header((CONTENT_TYPE, kind));
    }
    let length = said(&format!("{ANSWER_FIELD}content-length"));
    let length: Option<u64> = length.and_then(|length| length.parse().ok());
    let status = status.unwrap_or(usual);
    if status == StatusCode::NOT_MODIFIED || status == StatusCode::NO_CONTENT {
        if let Some(length) = length {
            response.insert_header((CONTENT_LENGTH, length));
        }
        return response.finish().set_body(BoxBody::new(NoBody::new()));
    }
    let body = match Sent::open(&book.body, None, &Blocking::Pool(pool.clone())).await {
        Ok(body) => body,
        Err(failure) => {
            log::warn!("an answer can't be sent: {failure}");
            return failed(&failure.internal());
        }
    };
    let body = match body {
        // The response to HEAD has the length that the response to GET would have.
        Sent::Bytes(bytes)
            if bytes.is_empty() && *method == Method::HEAD && said(STATUS).is_some() =>
        {
            match length {
                Some(length) => BoxBody::new(Unsent(length)),
                None => BoxBody::new(NoBody::new()),
            }
        }
        Sent::Bytes(bytes) => BoxBody::new(bytes),
        Sent::File(file) => BoxBody::new(Streamed(file)),
    };
    response.finish().set_body(body)
}

/// An empty body that announces this length.
struct Unsent(u64);

impl MessageBody for Unsent {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0)
    }

    fn poll_next(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Poll::Ready(None)
    }
}

/// A file as the body of a response.
struct Streamed(FileBody);

impl MessageBody for Streamed {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        self.0.size_hint().exact().map_or(BodySize::Stream, BodySize::Sized)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let frame = Pin::new(&mut self.0).poll_frame(context);
        frame.map_ok(|frame| frame.into_data().unwrap_or_default())
    }
}
