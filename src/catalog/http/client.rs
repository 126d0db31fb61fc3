//! Asks somebody over HTTP, with a limit on everything that may come of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gopherworks_actors::book::Book;
use gopherworks_actors::clock::Clock;
use gopherworks_actors::failure::Failure;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, Response, StatusCode, Url, redirect};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use super::TYPE;
use crate::catalog::units::{Size, Time};
use crate::catalog::{RunId, Site, names};

/// Most bytes of a book that are sent.
pub(in crate::catalog) const MOST_SENT: u64 = 64 * 1024 * 1024;

/// An address; `{name}` and `{id}` in it stand for a book's name and id.
#[derive(Debug, Clone)]
pub struct Address(String);

impl Address {
    fn of(&self, book: Option<(&Book, &RunId)>) -> Result<Url, String> {
        let name = book.map(|(book, run)| names::name_of(book, run));
        let name = name.as_deref().unwrap_or_default();
        let id = book.map_or_else(|| "0".to_owned(), |(book, run)| names::key_of(book, run));
        // Everything but what is safe everywhere, so that a name can't leave its place in the address.
        let safe = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(byte);
        let mut quoted = String::new();
        for byte in name {
            if safe(byte) {
                quoted.push(char::from(*byte));
            } else {
                quoted.push_str(&format!("%{byte:02X}"));
            }
        }
        if quoted.split('/').any(|part| part == "..") {
            return Err("a name that leads upwards is not asked for".to_owned());
        }
        let text = self.0.replace("{id}", &id).replace("{name}", &quoted);
        let url = Url::parse(&text).map_err(|error| error.to_string())?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err("an address begins with http:// or https:// and a host".to_owned());
        }
        Ok(url)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let address = Self(String::deserialize(deserializer)?);
        match address.of(None) {
            Ok(_) => Ok(address),
            Err(why) => Err(D::Error::custom(format!("`{}`: {why}", address.0))),
        }
    }
}

impl JsonSchema for Address {
    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^https?://." })
    }
}

/// What is done with the address. `PUT`, `GET` and `DELETE` may be sent again; `GET` and `DELETE` send no body.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
pub enum Verb {
    Post,
    Put,
    Get,
    Patch,
    Delete,
}

impl Verb {
    fn method(self) -> Method {
        match self {
            Verb::Post => Method::POST,
            Verb::Put => Method::PUT,
            Verb::Get => Method::GET,
            Verb::Patch => Method::PATCH,
            Verb::Delete => Method::DELETE,
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Whom to ask, such as "http://127.0.0.1:9000/books/{name}": `{name}` and `{id}` stand for the book's.
    url: Address,
    /// How: POST, PUT, PATCH, GET or DELETE.
    #[serde(default = "post")]
    method: Verb,
    /// Time for one try, from the connection to the last byte of the answer.
    #[serde(default = "half_a_minute")]
    timeout: Time,
    /// Time for the connection alone.
    #[serde(default = "five_seconds")]
    connect_timeout: Time,
    /// Tries besides the first. Methods that may not be sent twice are tried again only if nothing was sent.
    #[serde(default = "two")]
    retries: u32,
    /// Rest before the second try; twice as long before each further one.
    #[serde(default = "a_tenth")]
    backoff: Time,
    /// Most bytes of an answer; with more the request fails.
    #[serde(default = "some")]
    max_response: Size,
    /// Redirects that are followed.
    #[serde(default)]
    redirects: u32,
    /// Headers that are sent along.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Goes through the proxy that the environment names.
    #[serde(default)]
    proxy: bool,
}

fn post() -> Verb {
    Verb::Post
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

/// One client with its connections.
#[derive(Clone)]
pub struct Asking {
    client: Client,
    url: Address,
    method: Method,
    retries: u32,
    backoff: Duration,
    most: u64,
    run: RunId,
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url.0)
    }
}

/// Makes a client of the options.
pub fn make(options: &Options, site: &Site) -> Result<Asking, Failure> {
    // Whoever was first has chosen: an application may have done so.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut headers = HeaderMap::new();
    for (name, value) in &options.headers {
        let wrong = |why: &dyn fmt::Display| Failure::permanent(format!("header `{name}`: {why}"));
        let value = HeaderValue::from_str(value).map_err(|error| wrong(&error))?;
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| wrong(&error))?;
        headers.insert(name, value);
    }
    let redirects = match options.redirects {
        0 => redirect::Policy::none(),
        most => redirect::Policy::limited(most as usize),
    };
    let mut client = Client::builder()
        .timeout(options.timeout.0)
        .connect_timeout(options.connect_timeout.0)
        .redirect(redirects)
        .default_headers(headers)
        // Tries are counted here.
        .retry(reqwest::retry::never())
        .user_agent(concat!("gopherworks/", env!("CARGO_PKG_VERSION")));
    if !options.proxy {
        client = client.no_proxy();
    }
    let client = (client.build()).map_err(|error| Failure::permanent(told("a client", &error)))?;
    Ok(Asking {
        client,
        url: options.url.clone(),
        method: options.method.method(),
        retries: options.retries,
        backoff: options.backoff.0,
        most: options.max_response.0,
        run: site.run.clone(),
    })
}

/// An answer with a status of success.
pub struct Answered {
    pub status: StatusCode,
    pub kind: Option<Bytes>,
    pub body: Bytes,
}

impl Asking {
    /// Sends `body`, which belongs to `book`, and reads the answer.
    ///
    /// # Errors
    /// Transient: nobody is there, it takes too long, 408, 425, 429 and 5xx. Permanent: any other status that is no success, an answer that is too large.
    pub async fn ask(&self, book: Option<&Book>, body: Bytes) -> Result<Answered, Failure> {
        let url = self
            .url
            .of(book.map(|book| (book, &self.run)))
            .map_err(Failure::permanent)?;
        let mut rest = self.backoff;
        let mut tries = 0;
        loop {
            let failure = match self.once(&url, book, body.clone()).await {
                Ok(answered) => return Ok(answered),
                Err((failure, again)) if again && tries < self.retries => failure,
                Err((failure, _)) => return Err(failure),
            };
            tries += 1;
            log::debug!("{self:?} is tried again: {failure}");
            let pause = failure.retry_after().unwrap_or_default();
            let pause = pause.clamp(rest, MOST_REST.max(rest));
            Clock::real().sleep(pause).await;
            rest = rest.saturating_mul(2).min(MOST_REST);
        }
    }

    /// One try; an error says whether another one does no harm.
    async fn once(
        &self,
        url: &Url,
        book: Option<&Book>,
        body: Bytes,
    ) -> Result<Answered, (Failure, bool)> {
        let mut request = self.client.request(self.method.clone(), url.clone());
        let twice = self.method.is_idempotent();
        if !matches!(self.method, Method::GET | Method::DELETE) {
            if let Some(kind) = book.and_then(|book| book.headers.get(TYPE)) {
                request = request.header(CONTENT_TYPE, &kind[..]);
            }
            request = request.body(body);
        }
        if let Some(book) = book
            && book.id.0 > 0
        {
            // Whoever honours it does a book that comes again only once.
            request = request.header("idempotency-key", names::key_of(book, &self.run));
        }
        let trouble = |error: reqwest::Error| {
            let unsent = error.is_connect();
            let failure = told(url.host_str().unwrap_or_default(), &error.without_url());
            (Failure::transient(failure), twice || unsent)
        };
        let mut response = request.send().await.map_err(trouble)?;
        let status = response.status();
        if !status.is_success() {
            let (failure, again) = judged(&response);
            return Err((failure, again && twice));
        }
        let kind = response.headers().get(CONTENT_TYPE);
        let kind = kind.map(|kind| Bytes::copy_from_slice(kind.as_bytes()));
        let mut all = BytesMut::new();
        while let Some(part) = response.chunk().await.map_err(trouble)? {
            if (all.len() + part.len()) as u64 > self.most {
                let most = Size(self.most);
                let failure = Failure::permanent(format!("{self:?}: more than {most} of answer"));
                return Err((failure, false));
            }
            all.extend_from_slice(&part);
        }
        Ok(Answered {
            status,
            kind,
            body: all.freeze(),
        })
    }
}

/// Longest rest between two tries.
const MOST_REST: Duration = Duration::from_secs(10);

/// What a status that is no success means.
fn judged(response: &Response) -> (Failure, bool) {
    let status = response.status();
    let host = response.url().host_str().unwrap_or_default();
    if status.is_redirection() {
        let text = format!("{host} answered {status}: no further redirects are followed");
        return (Failure::permanent(text), false);
    }
    let text = format!("{host} answered {status}");
    let later = matches!(
        status,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
    );
    if !later && !status.is_server_error() {
        return (Failure::permanent(text), false);
    }
    let after = (response.headers().get(RETRY_AFTER))
        .and_then(|after| after.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let failure = Failure::transient(text);
    let failure = match after {
        Some(after) => failure.after(after.min(MOST_REST)),
        None => failure,
    };
    (failure, true)
}

/// An error with what is behind it: reqwest's own texts stop at the first level.
fn told(what: &str, error: &dyn std::error::Error) -> String {
    let mut out = format!("{what}: {error}");
    let mut behind = error.source();
    while let Some(error) = behind {
        out.push_str(&format!(": {error}"));
        behind = error.source();
    }
    out
}
