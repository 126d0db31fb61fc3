//! Options of the `http` worker and the `http` burn.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use super::address::Address;
use crate::catalog::units::{Size, Time};

/// HTTP method.
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

/// Which response statuses count as success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Statuses {
    /// `any` for a request received over HTTP, otherwise `success`.
    #[default]
    Auto,
    /// A response with any status is returned unchanged.
    Any,
    /// A response whose status is not 2xx is a failure.
    Success,
}

/// Which header fields describe the original client to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Forwarded {
    /// No header field.
    #[default]
    Off,
    /// `Forwarded: for=...;host=...;proto=http` (RFC 7239).
    #[serde(rename = "forwarded")]
    Standard,
    /// `X-Forwarded-For`, `X-Forwarded-Host` and `X-Forwarded-Proto`.
    #[serde(rename = "x-forwarded")]
    Common,
}

/// Pool of idle connections.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct Pool {
    /// Most idle connections per host (0 to 65536, default 64); 0 disables reuse.
    #[serde(deserialize_with = "at_most::<_, 65536>")]
    #[schemars(range(max = 65536))]
    pub(super) max_idle: u32,
    /// How long a connection may stay idle before it is closed (at most 1d, default 15s). A value
    /// below the server's keep-alive avoids retries.
    #[serde(deserialize_with = "at_most_a_day")]
    pub(super) idle_timeout: Time,
}

impl Default for Pool {
    fn default() -> Self {
        Self { max_idle: 64, idle_timeout: Time(Duration::from_secs(15)) }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// URL, such as "http://127.0.0.1:9000/books/{name}". `{name}` is replaced by the book's name,
    /// or by the path of a request received over HTTP, still encoded; `{id}` by the book's key,
    /// unique across runs; `{query}` by the query of the request.
    pub(super) url: Address,
    /// HTTP method. Default: the method of a request received over HTTP, otherwise POST. GET, HEAD
    /// and DELETE, if set here, send no body.
    #[serde(default)]
    pub(super) method: Option<Verb>,
    /// Appends the query of a request received over HTTP, unless `url` contains `{query}`.
    #[serde(default = "yes")]
    pub(super) pass_query: bool,
    /// Which responses are returned: `any` status; only `success` (2xx), all others being failures;
    /// or `auto`: `any` for a request received over HTTP, otherwise `success`.
    #[serde(default)]
    pub(super) statuses: Statuses,
    /// Timeout of one try, from connecting to the last byte of the response.
    #[serde(default = "half_a_minute")]
    pub(super) timeout: Time,
    /// Timeout of connecting.
    #[serde(default = "five_seconds")]
    pub(super) connect_timeout: Time,
    /// Maximum number of retries (0 to 100) after a failed connection and, for idempotent methods,
    /// after a lost response or a status 408, 425, 429 or 5xx that is not returned. A request with
    /// an idempotency key is also retried after the server closes the connection.
    #[serde(default = "two", deserialize_with = "at_most::<_, 100>")]
    #[schemars(range(max = 100))]
    pub(super) retries: u32,
    /// Delay before the first retry; doubled for each further one, up to 10s.
    #[serde(default = "a_tenth")]
    pub(super) backoff: Time,
    /// Maximum size of a request body. Default: no limit, since files are streamed.
    #[serde(default)]
    pub(super) max_body: Option<Size>,
    /// Maximum size of a response body; the request fails if it is exceeded.
    #[serde(default = "some")]
    pub(super) max_response: Size,
    /// Maximum size of a response's header fields; the request fails if it is exceeded.
    #[serde(default = "fields")]
    pub(super) max_headers: Size,
    /// Maximum number of redirects to follow (0 to 100). With 0 a redirect is treated like any
    /// other status.
    #[serde(default, deserialize_with = "at_most::<_, 100>")]
    #[schemars(range(max = 100))]
    pub(super) redirects: u32,
    /// Header fields to send; they replace fields of the same name from the request.
    #[serde(default, deserialize_with = "sendable")]
    pub(super) headers: BTreeMap<String, String>,
    /// Names of header fields that are forwarded neither from requests nor from responses.
    #[serde(default, deserialize_with = "named")]
    pub(super) drop_headers: Vec<String>,
    /// Adds `Via` to requests received over HTTP, as RFC 9110 requires of gateways.
    #[serde(default = "yes")]
    pub(super) via: bool,
    /// Describes the original client to the server: `forwarded` adds `Forwarded`; `x-forwarded`
    /// adds `X-Forwarded-For`, `X-Forwarded-Host` and `X-Forwarded-Proto`.
    #[serde(default)]
    pub(super) forwarded: Forwarded,
    /// Pool of idle connections.
    #[serde(default)]
    pub(super) pool: Pool,
    /// Uses the proxy set in the environment.
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
    names.iter().try_for_each(|name| is_name(name)).map_err(D::Error::custom)?;
    Ok(names)
}

fn is_name(name: &str) -> Result<(), String> {
    let right = HeaderName::from_bytes(name.as_bytes()).is_ok();
    right.then_some(()).ok_or_else(|| format!("`{name}` is not a valid name of a header field"))
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
