//! Options of the `http` worker and the `http` burn.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use super::address::Address;
use crate::config::units::{Size, Time, millis, number, size, yes};

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
    #[schemars(range(max = 65536))]
    pub(super) max_idle: u32,
    /// How long a connection may stay idle before it is closed (at most 1d, default 15s). A value
    /// below the server's keep-alive avoids retries.
    #[schemars(extend("x-longest" = "1d"))]
    pub(super) idle_timeout: Time,
}

impl Default for Pool {
    fn default() -> Self {
        Self { max_idle: 64, idle_timeout: Time(Duration::from_secs(15)) }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpOptions {
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
    #[serde(default = "millis::<30_000>")]
    pub(super) timeout: Time,
    /// Timeout of connecting.
    #[serde(default = "millis::<5_000>")]
    pub(super) connect_timeout: Time,
    /// Maximum number of retries (0 to 100) after a failed connection and, for idempotent methods,
    /// after a lost response or a status 408, 425, 429 or 5xx that is not returned. A request with
    /// an idempotency key is also retried after the server closes the connection.
    #[serde(default = "number::<2>")]
    #[schemars(range(max = 100))]
    pub(super) retries: u32,
    /// Delay before the first retry; doubled for each further one, up to 10s.
    #[serde(default = "millis::<100>")]
    pub(super) backoff: Time,
    /// Maximum size of a request body. Default: no limit, since files are streamed.
    #[serde(default)]
    pub(super) max_body: Option<Size>,
    /// Maximum size of a response body; the request fails if it is exceeded.
    #[serde(default = "size::<{ 16 << 20 }>")]
    pub(super) max_response: Size,
    /// Maximum size of a response's header fields; the request fails if it is exceeded.
    #[serde(default = "size::<{ 64 << 10 }>")]
    pub(super) max_headers: Size,
    /// Maximum number of redirects to follow (0 to 100). With 0 a redirect is treated like any
    /// other status.
    #[serde(default)]
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

/// The fields of `headers` in the form in which they are sent.
pub(super) fn header_map(headers: &BTreeMap<String, String>) -> Result<HeaderMap, String> {
    let field = |(name, value): (&String, &String)| {
        let value = HeaderValue::from_str(value).map_err(|_| {
            format!(
                "`{name}`: a header field's value has visible characters of ASCII, spaces and tabs"
            )
        });
        Ok((field_name(name)?, value?))
    };
    headers.iter().map(field).collect()
}

fn field_name(name: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| format!("`{name}` is not a valid name of a header field"))
}

fn sendable<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let headers = BTreeMap::deserialize(deserializer)?;
    header_map(&headers).map_err(D::Error::custom)?;
    Ok(headers)
}

fn named<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    names.iter().try_for_each(|name| field_name(name).map(drop)).map_err(D::Error::custom)?;
    Ok(names)
}
