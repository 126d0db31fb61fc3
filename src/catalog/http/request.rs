//! Builds the header fields of a request from those received, those in the options, and those that
//! a gateway adds.

use gopherworks_pipeline::book::{Book, Headers};
use gopherworks_supervision::failure::Failure;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::client::Question;
use super::fields::{self, Message};
use super::options::{Forwarded, HttpOptions, header_map};
use super::{ANSWER_FIELD, HOST, METHOD, PEER, REQUEST_FIELD, TYPE};
use crate::catalog::names;

const IDEMPOTENCY_KEY: &str = "idempotency-key";

#[derive(Debug, Clone)]
pub(super) struct Requests {
    sent: HeaderMap,
    dropped: Vec<String>,
    via: bool,
    forwarded: Forwarded,
}

/// True if the book's HTTP client sent an idempotency key.
pub(super) fn has_chosen_key(book: Option<&Book>) -> bool {
    let chosen = format!("{REQUEST_FIELD}{IDEMPOTENCY_KEY}");
    book.is_some_and(|book| book.headers.get(&chosen).is_some())
}

impl Requests {
    /// # Errors
    /// A field that can't be sent.
    pub(super) fn of(options: &HttpOptions) -> Result<Self, Failure> {
        let dropped = options.drop_headers.iter();
        Ok(Self {
            sent: header_map(&options.headers).map_err(Failure::permanent)?,
            dropped: dropped.map(|name| name.to_ascii_lowercase()).collect(),
            via: options.via,
            forwarded: options.forwarded,
        })
    }

    pub(super) fn dropped(&self) -> &[String] {
        &self.dropped
    }

    /// Returns the fields of a request; `None` if `Max-Forwards` forbids forwarding it.
    pub(super) fn fields(
        &self,
        question: &Question<'_>,
        method: &Method,
        bodiless: bool,
    ) -> Option<HeaderMap> {
        let mut map = HeaderMap::new();
        let none = Headers::new();
        let headers = question.book.map_or(&none, |book| &book.headers);
        let mut add = |name: &str, value: &[u8]| {
            let dropped = self.dropped.iter().any(|dropped| dropped == name);
            if dropped || (bodiless && fields::describes_body(name)) {
                return;
            }
            let name = HeaderName::from_bytes(name.as_bytes());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
                map.append(name, value);
            }
        };
        for (name, value) in fields::give_out(Message::Request, headers) {
            add(name, value);
        }
        if let Some(kind) = headers.get(TYPE) {
            add(TYPE, kind);
        }
        // A body that came from another server's response keeps its encoding and language.
        for name in ["content-encoding", "content-language"] {
            let came = headers.get(&format!("{ANSWER_FIELD}{name}"));
            if let Some(value) = came.filter(|_| headers.get(METHOD).is_none()) {
                add(name, value);
            }
        }
        if method == Method::OPTIONS && !pass_further(&mut map) {
            return None;
        }
        let over_http = headers.get(METHOD).is_some();
        if !over_http || !method.is_idempotent() {
            let key = HeaderValue::from_str(question.key)
                .or_else(|_| HeaderValue::from_str(&names::escape(question.key.as_bytes())));
            if let Ok(key) = key {
                map.entry(IDEMPOTENCY_KEY).or_insert(key);
            }
        }
        if over_http {
            self.tell_of_client(headers, &mut map);
        }
        for (name, value) in &self.sent {
            map.insert(name.clone(), value.clone());
        }
        Some(map)
    }

    fn tell_of_client(&self, headers: &Headers, map: &mut HeaderMap) {
        if self.via {
            push(map, "via", "1.1 gopherworks");
        }
        let text = |name: &str| std::str::from_utf8(headers.get(name)?).ok();
        let (peer, host) = (text(PEER), text(HOST));
        match self.forwarded {
            Forwarded::Off => {}
            Forwarded::Standard => {
                let mut element = match peer {
                    Some(peer) if peer.contains(':') => format!("for=\"[{peer}]\""),
                    Some(peer) => format!("for={peer}"),
                    None => "for=unknown".to_owned(),
                };
                if let Some(host) = host.filter(|host| !host.contains(['"', '\\'])) {
                    element.push_str(&format!(";host=\"{host}\""));
                }
                element.push_str(";proto=http");
                push(map, "forwarded", &element);
            }
            Forwarded::Common => {
                push(map, "x-forwarded-for", peer.unwrap_or("unknown"));
                for (name, value) in
                    [("x-forwarded-host", host.unwrap_or_default()), ("x-forwarded-proto", "http")]
                {
                    if let Ok(value) = HeaderValue::from_str(value)
                        && !value.is_empty()
                    {
                        map.entry(name).or_insert(value);
                    }
                }
            }
        }
    }
}

/// Appends an element to a list field.
fn push(map: &mut HeaderMap, name: &'static str, member: &str) {
    let mut list = Vec::new();
    for value in map.get_all(name) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(member.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&list) {
        map.insert(name, value);
    }
}

/// Decrements `Max-Forwards` (RFC 9110, 7.6.2); false if it is 0.
fn pass_further(map: &mut HeaderMap) -> bool {
    let left = map.get("max-forwards").and_then(|left| left.to_str().ok()?.parse::<u64>().ok());
    match left {
        Some(0) => false,
        Some(left) => {
            map.insert("max-forwards", HeaderValue::from(left - 1));
            true
        }
        None => true,
    }
}
