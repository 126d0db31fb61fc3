//! Checks of a request's head, before its body is read.

use actix_http::{RequestHead, Version};
use actix_web::HttpResponse;
use actix_web::http::header::{ALLOW, CONTENT_LENGTH, EXPECT, HeaderName, HeaderValue, UPGRADE};
use actix_web::http::{Method, StatusCode};

use super::answers::plain;
use crate::config::elements::HttpConfig;

/// The methods of RFC 9110 and 5789 that a handler can serve.
const USUAL: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Limits on a request's head.
#[derive(Debug)]
pub(super) struct RequestGate {
    prefix: String,
    admin: Option<String>,
    body: u64,
    headers: usize,
    /// `None` allows all methods except CONNECT and TRACE.
    methods: Option<Vec<String>>,
    allow: HeaderValue,
}

impl RequestGate {
    pub(super) fn new(plan: &HttpConfig) -> Self {
        let mut methods = plan.methods.clone();
        if let Some(methods) = &mut methods
            && methods.iter().any(|method| method == "GET")
            && !methods.iter().any(|method| method == "HEAD")
        {
            methods.push("HEAD".to_owned());
        }
        let mut allow: Vec<&str> = match &methods {
            Some(methods) => methods.iter().map(String::as_str).collect(),
            None => USUAL.to_vec(),
        };
        if !allow.contains(&"OPTIONS") {
            // This gate answers OPTIONS requests.
            allow.push("OPTIONS");
        }
        let allow = HeaderValue::from_str(&allow.join(", "));
        Self {
            prefix: plan.path.trim_end_matches('/').to_owned(),
            admin: (plan.admin.as_deref()).map(|admin| admin.trim_end_matches('/').to_owned()),
            body: plan.body,
            headers: plan.headers as usize,
            methods,
            allow: allow.unwrap_or(HeaderValue::from_static("GET")),
        }
    }

    /// The part of `path` below the prefix.
    pub(super) fn below<'a>(&self, path: &'a str) -> Option<&'a str> {
        below(&self.prefix, path)
    }

    /// The response to a rejected request; `None` lets it pass.
    pub(super) fn refusal(&self, head: &RequestHead) -> Option<HttpResponse> {
        let path = head.uri.path();
        if head.method == Method::CONNECT || head.method == Method::TRACE {
            return Some(self.not_allowed());
        }
        if path == "*" {
            return Some(match head.method {
                Method::OPTIONS => self.options(),
                _ => plain(StatusCode::BAD_REQUEST, "only OPTIONS may request *"),
            });
        }
        if !path.starts_with('/') {
            return Some(plain(StatusCode::BAD_REQUEST, "there is no path"));
        }
        // Bytes after such a head would count as its body, so it can't be ignored (RFC 9110, 7.8).
        if members(head, UPGRADE).any(|protocol| protocol.eq_ignore_ascii_case("websocket")) {
            let status = StatusCode::NOT_IMPLEMENTED;
            return Some(plain(status, "connections are not upgraded"));
        }
        let unknown = |member: &str| !member.eq_ignore_ascii_case("100-continue");
        if head.version == Version::HTTP_11 && members(head, EXPECT).any(unknown) {
            let status = StatusCode::EXPECTATION_FAILED;
            return Some(plain(status, "only 100-continue can be expected"));
        }
        if head.headers.len() > self.headers {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return Some(plain(status, "too many headers"));
        }
        let length = head.headers.get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.trim().parse::<u64>().ok());
        if length.is_some_and(|length| length > self.body) {
            return Some(too_large());
        }
        if (self.admin.as_deref()).is_some_and(|admin| below(admin, path).is_some()) {
            return None;
        }
        if self.below(path).is_none() {
            return Some(plain(StatusCode::NOT_FOUND, "not found"));
        }
        let methods = self.methods.as_ref()?;
        if methods.iter().any(|method| method == head.method.as_str()) {
            return None;
        }
        Some(match head.method {
            Method::OPTIONS => self.options(),
            _ => self.not_allowed(),
        })
    }

    fn not_allowed(&self) -> HttpResponse {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "the method is not allowed");
        response.headers_mut().insert(ALLOW, self.allow.clone());
        response
    }

    fn options(&self) -> HttpResponse {
        let mut response = HttpResponse::NoContent();
        response.insert_header((ALLOW, self.allow.clone())).finish()
    }
}

/// The response to a body beyond the limit.
pub(super) fn too_large() -> HttpResponse {
    plain(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large")
}

/// The members of a list header.
fn members(head: &RequestHead, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = head.headers.get_all(name);
    // A value that is not text counts as an unknown member.
    let members = values.flat_map(|value| value.to_str().unwrap_or("?").split(','));
    members.map(str::trim).filter(|member| !member.is_empty())
}

fn below<'a>(prefix: &str, path: &'a str) -> Option<&'a str> {
    let rest = path.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}
