//! Options of the kinds that ask over HTTP.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use super::address::Address;
use crate::catalog::units::{Size, Time};

/// What is done with the address.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
pub enum Verb {
    Post,
    Put,
    Get,
    Patch,
    Delete,
    Head,
    Options,
}

impl Verb {
    pub(super) fn method(self) -> Method {
        match self {
            Verb::Post => Method::POST,
            Verb::Put => Method::PUT,
            Verb::Get => Method::GET,
            Verb::Patch => Method::PATCH,
            Verb::Delete => Method::DELETE,
            Verb::Head => Method::HEAD,
            Verb::Options => Method::OPTIONS,
        }
    }
}

/// Which answers are answers, and which are failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Statuses {
    /// As `any` for a request that came over HTTP, else as `success`.
    #[default]
    Auto,
    /// An answer of any status is passed back as it is.
    Any,
    /// An answer whose status is not 2xx is a failure.
    Success,
}

/// What tells the other side of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Forwarded {
    /// Nothing is added.
    #[default]
    Off,
    /// `Forwarded: for=...;host=...;proto=http` (RFC 7239).
    #[serde(rename = "forwarded")]
    Standard,
    /// `X-Forwarded-For`, `X-Forwarded-Host` and `X-Forwarded-Proto`.
    #[serde(rename = "x-forwarded")]
    Common,
}

/// Connections that are kept for later requests.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct Pool {
    /// Most idle connections to one host (0 to 65536); 0 keeps none.
    #[serde(deserialize_with = "at_most::<_, 65536>")]
    #[schemars(range(max = 65536))]
    pub(super) max_idle: u32,
    /// An idle connection is closed after this time (at most 1d). Less than the server's own keep-alive saves retries.
    #[serde(deserialize_with = "at_most_a_day")]
    pub(super) idle_timeout: Time,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            max_idle: 64,
            idle_timeout: Time(Duration::from_secs(15)),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Whom to ask, such as "http://127.0.0.1:9000/books/{name}". `{name}` stands for the book's name, or the path of a request
    /// that came over HTTP, with its encoding kept; `{id}` for the book's key, which no other run has; `{query}` for the query.
    pub(super) url: Address,
    /// The method. Without it: that of the request that came over HTTP, else POST. GET, HEAD and DELETE send no body where they
    /// are given here.
    #[serde(default)]
    pub(super) method: Option<Verb>,
    /// Appends the query of a request that came over HTTP, where `url` has no `{query}`.
    #[serde(default = "yes")]
    pub(super) pass_query: bool,
    /// Which answers are passed back: those of `any` status; only `success`, others being failures; or `auto`: any to a client of
    /// HTTP, success for books of piles.
    #[serde(default)]
    pub(super) statuses: Statuses,
    /// Time for one try, from the connection to the last byte of the answer.
    #[serde(default = "half_a_minute")]
    pub(super) timeout: Time,
    /// Time for the connection alone.
    #[serde(default = "five_seconds")]
    pub(super) connect_timeout: Time,
    /// Tries besides the first (0 to 100): after a failed connection, and, where the method is idempotent, after a lost answer or
    /// one of 408, 425, 429 and 5xx that is not passed back.
    #[serde(default = "two", deserialize_with = "at_most::<_, 100>")]
    #[schemars(range(max = 100))]
    pub(super) retries: u32,
    /// Rest before the second try; twice as long before each further one, up to 10s.
    #[serde(default = "a_tenth")]
    pub(super) backoff: Time,
    /// Most bytes of a body that are sent; without it there is no limit, since a file is streamed.
    #[serde(default)]
    pub(super) max_body: Option<Size>,
    /// Most bytes of an answer's body; with more the request fails.
    #[serde(default = "some")]
    pub(super) max_response: Size,
    /// Most bytes of an answer's header fields that are passed back; with more the request fails.
    #[serde(default = "fields")]
    pub(super) max_headers: Size,
    /// Redirects that are followed (0 to 100); else the answer is as it is.
    #[serde(default, deserialize_with = "at_most::<_, 100>")]
    #[schemars(range(max = 100))]
    pub(super) redirects: u32,
    /// Header fields that are sent along; they replace those of the request.
    #[serde(default, deserialize_with = "sendable")]
    pub(super) headers: BTreeMap<String, String>,
    /// Names of header fields that are not passed on, neither from a request nor from an answer.
    #[serde(default, deserialize_with = "named")]
    pub(super) drop_headers: Vec<String>,
    /// Adds `Via` to requests that came over HTTP, as RFC 9110 wants of gateways.
    #[serde(default = "yes")]
    pub(super) via: bool,
    /// Tells of the client: `forwarded` adds `Forwarded`, `x-forwarded` adds `X-Forwarded-For`, `-Host` and `-Proto`.
    #[serde(default)]
    pub(super) forwarded: Forwarded,
    /// Connections that are kept for later requests.
    #[serde(default)]
    pub(super) pool: Pool,
    /// Goes through the proxy that the environment names.
    #[serde(default)]
    pub(super) proxy: bool,
}

fn at_most<'de, D: Deserializer<'de>, const MOST: u32>(deserializer: D) -> Result<u32, D::Error> {
    let number = u32::deserialize(deserializer)?;
    let within = number <= MOST;
    within
        .then_some(number)
        .ok_or_else(|| D::Error::custom(format!("{number} is too many: at most {MOST}")))
}

fn at_most_a_day<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
    let time = Time::deserialize(deserializer)?;
    let within = time.0 <= Duration::from_secs(86_400);
    within
        .then_some(time)
        .ok_or_else(|| D::Error::custom(format!("{time} is too long: at most 1d")))
}

fn sendable<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let fields = BTreeMap::<String, String>::deserialize(deserializer)?;
    for (name, value) in &fields {
        is_name(name).map_err(D::Error::custom)?;
        HeaderValue::from_str(value).map_err(|_| {
            D::Error::custom(format!(
                "`{name}`: a header field's value has visible characters of ASCII, spaces and tabs"
            ))
        })?;
    }
    Ok(fields)
}

fn named<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    names
        .iter()
        .try_for_each(|name| is_name(name))
        .map_err(D::Error::custom)?;
    Ok(names)
}

fn is_name(name: &str) -> Result<(), String> {
    let right = HeaderName::from_bytes(name.as_bytes()).is_ok();
    right
        .then_some(())
        .ok_or_else(|| format!("`{name}` is no name of a header field"))
}

fn yes() -> bool {
    true
}

fn half_a_minute() -> Time {
    Time(Duration::from_secs(30))
}

fn five_seconds() -> Time {
    Time(Duration::from_secs(5))
}

fn a_tenth() -> Time {
    Time(Duration::from_millis(100))
}

fn two() -> u32 {
    2
}

fn some() -> Size {
    Size(16 * 1024 * 1024)
}

fn fields() -> Size {
    Size(64 * 1024)
}
