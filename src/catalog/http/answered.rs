//! Reads HTTP responses up to their limits, classifies their status, and stores them in books.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gopherworks_pipeline::book::{Book, Headers};
use gopherworks_supervision::failure::Failure;
use reqwest::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER,
};
use reqwest::{Response, StatusCode};

use super::fields::{self, Message};
use super::{ANSWER_FIELD, STATUS, TYPE};
use crate::catalog::names;
use crate::config::units::Size;

/// Maximum number of bytes of an error response's body that a failure quotes.
const QUOTED: usize = 200;

/// Longest accepted `Retry-After`; a longer one is cut to this.
const MOST_AFTER: Duration = Duration::from_secs(3600);

/// Size limits of a response.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Maximum body size in bytes.
    pub(super) body: u64,
    /// Maximum total size of the header fields in bytes.
    pub(super) fields: u64,
}

/// An HTTP response with its whole body.
pub struct Answered {
    status: StatusCode,
    fields: HeaderMap,
    body: Bytes,
    /// True if the response has no body by definition (`HEAD`, 204 or 304), yet its
    /// `Content-Length` is valid.
    bodiless: bool,
    /// Keep all fields that may be forwarded, not only those that describe the body.
    passed: bool,
}

pub(super) enum Unread {
    Lost(reqwest::Error),
    TooLarge(String),
}

impl Answered {
    /// Creates a response locally, without contacting the server.
    pub(super) fn here(status: StatusCode, text: &'static str) -> Self {
        let mut fields = HeaderMap::new();
        if !text.is_empty() {
            let kind = HeaderValue::from_static("text/plain; charset=utf-8");
            fields.insert(CONTENT_TYPE, kind);
        }
        Self {
            status,
            fields,
            body: Bytes::from_static(text.as_bytes()),
            bodiless: false,
            passed: true,
        }
    }

    pub(super) async fn read(
        mut response: Response,
        head: bool,
        passed: bool,
        limits: Limits,
    ) -> Result<Self, Unread> {
        let status = response.status();
        let fields = std::mem::take(response.headers_mut());
        let size: usize =
            (fields.iter()).map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if size as u64 > limits.fields {
            let most = Size(limits.fields);
            return Err(Unread::TooLarge(format!(
                "more than {most} of header fields (`max_headers`)"
            )));
        }
        let bodiless =
            head || status == StatusCode::NOT_MODIFIED || status == StatusCode::NO_CONTENT;
        let too_large = || {
            let most = Size(limits.body);
            Unread::TooLarge(format!("more than {most} of answer (`max_response`)"))
        };
        let length =
            fields.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: u64| length > limits.body && !bodiless) {
            return Err(too_large());
        }
        let mut all = BytesMut::new();
        while let Some(part) = response.chunk().await.map_err(Unread::Lost)? {
            if (all.len() + part.len()) as u64 > limits.body {
                return Err(too_large());
            }
            all.extend_from_slice(&part);
        }
        Ok(Self { status, fields, body: all.freeze(), bodiless, passed })
    }

    /// Stores the response in `book`. Fields named in `drop` are not forwarded.
    pub fn put(self, drop: &[String], book: &mut Book) {
        let headers = &mut book.headers;
        fields::clear(Message::Answer, headers);
        headers.set(STATUS, self.status.as_u16().to_string());
        headers.remove(TYPE);
        let lines = || {
            let lines = self.fields.iter();
            let lines = lines.map(|(name, value)| (name.as_str(), value.as_bytes()));
            lines.filter(|(name, _)| self.passed || fields::describes_body(name))
        };
        fields::take_in(Message::Answer, lines, drop, headers);
        if let Some(length) = self.fields.get(CONTENT_LENGTH).filter(|_| self.bodiless) {
            set_length(headers, length.as_bytes());
        }
        book.body = self.body.into();
    }
}

/// Stores the length of the body that the response describes but does not contain.
fn set_length(headers: &mut Headers, length: &[u8]) {
    headers.set(format!("{ANSWER_FIELD}content-length"), length.to_vec());
}

/// Turns an error status into a failure; the flag is true if a retry may help.
pub(super) async fn judged(response: Response) -> (Failure, bool) {
    let status = response.status();
    let host = response.url().host_str().unwrap_or_default().to_owned();
    if status.is_redirection() {
        let to = response.headers().get("location");
        let to = to.map(|to| format!(" to {}", names::shown(to.as_bytes()))).unwrap_or_default();
        let text =
            format!("{host} answered {status}{to}: redirects are followed up to `redirects`");
        return (Failure::permanent(text).internal(), false);
    }
    let after = retry_after(response.headers());
    let later = matches!(
        status,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
    );
    let quoted = quoted(response).await;
    let text = format!("{host} answered {status}{quoted}");
    if !later && !status.is_server_error() {
        return (Failure::permanent(text), false);
    }
    let mut failure = Failure::transient(text);
    if let Some(after) = after {
        failure = failure.after(after.min(MOST_AFTER));
    }
    if status == StatusCode::GATEWAY_TIMEOUT {
        failure = failure.late();
    }
    (failure, true)
}

/// Quotes the start of the response's body; empty if it is not text.
async fn quoted(mut response: Response) -> String {
    if response.headers().contains_key(CONTENT_ENCODING) {
        return String::new();
    }
    let mut start = BytesMut::new();
    while start.len() < QUOTED {
        let Ok(Some(part)) = response.chunk().await else {
            break;
        };
        start.extend_from_slice(&part[..part.len().min(QUOTED - start.len())]);
    }
    let text = match std::str::from_utf8(&start) {
        Ok(text) => text,
        // Cut in the middle of a character.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => "",
    };
    let text = text.trim();
    if text.is_empty() {
        return String::new();
    }
    format!(": {}", names::shown(text.as_bytes()))
}

/// Reads `Retry-After`: seconds, or a date relative to the server's `Date`.
fn retry_after(fields: &HeaderMap) -> Option<Duration> {
    let text = fields.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    let now = httpdate::parse_http_date(fields.get(DATE)?.to_str().ok()?).ok()?;
    Some(until.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(fields: &[(&'static str, &'static str)]) -> Option<u64> {
        let fields = fields
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")));
        retry_after(&fields.collect()).map(|after| after.as_secs())
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(after(&[("retry-after", " 120 ")]), Some(120));
        let later = ("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT");
        assert_eq!(after(&[date, later]), Some(60));
        let earlier = ("retry-after", "Sun, 06 Nov 1994 08:40:37 GMT");
        assert_eq!(after(&[date, earlier]), Some(0));
        assert_eq!(after(&[later]), None);
        assert_eq!(after(&[("retry-after", "soon")]), None);
    }
}
