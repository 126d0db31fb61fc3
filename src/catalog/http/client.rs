//! HTTP client that sends requests with retries, and with limits on time and sizes.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use gopherworks_pipeline::book::{Body, Book, header};
use gopherworks_supervision::clock::Clock;
use gopherworks_supervision::failure::Failure;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, StatusCode, Url, redirect};

use super::METHOD;
use super::address::Address;
use super::answered::{Answered, Limits, Unread, judged};
use super::options::{HttpOptions, Statuses};
use super::request::{Requests, has_chosen_key};
use super::sending::{Blocking, Sent};

/// Longest backoff between two tries.
const MOST_REST: Duration = Duration::from_secs(10);

/// An HTTP client with its connection pool; clones share it.
#[derive(Clone)]
pub struct HttpClient {
    client: Client,
    url: Address,
    method: Option<Method>,
    pass_query: bool,
    statuses: Statuses,
    retries: u32,
    backoff: Duration,
    max_body: Option<u64>,
    limits: Limits,
    requests: Requests,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url.place())
    }
}

/// Creates a client from the options.
///
/// # Errors
/// A header field that can't be sent, or a client that can't be built.
pub fn make(options: &HttpOptions) -> Result<HttpClient, Failure> {
    // Fails if the process has a provider already: the application's choice is kept.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let redirects = match options.redirects {
        0 => redirect::Policy::none(),
        most => redirect::Policy::limited(most as usize),
    };
    let mut client = Client::builder()
        .timeout(options.timeout.0)
        .connect_timeout(options.connect_timeout.0)
        .redirect(redirects)
        .pool_max_idle_per_host(options.pool.max_idle as usize)
        .pool_idle_timeout(options.pool.idle_timeout.0)
        // Retries are done here.
        .retry(reqwest::retry::never())
        .user_agent(concat!("gopherworks/", env!("CARGO_PKG_VERSION")));
    if !options.proxy {
        client = client.no_proxy();
    }
    let client = (client.build()).map_err(|error| Failure::permanent(told("a client", &error)))?;
    Ok(HttpClient {
        client,
        url: options.url.clone(),
        method: options.method.map(|verb| verb.method()),
        pass_query: options.pass_query,
        statuses: options.statuses,
        retries: options.retries,
        backoff: options.backoff.0,
        max_body: options.max_body.map(|most| most.0),
        limits: Limits { body: options.max_response.0, fields: options.max_headers.0 },
        requests: Requests::of(options)?,
    })
}

/// Input of one request.
pub struct Question<'a> {
    /// The book whose body is sent, if there is one.
    pub book: Option<&'a Book>,
    /// Key of the request, unique across runs.
    pub key: &'a str,
    pub blocking: Blocking,
}

impl Question<'_> {
    /// The method of the HTTP request that the book was made from.
    fn came_with(&self) -> Option<&[u8]> {
        self.book?.headers.get(METHOD).map(|method| &method[..])
    }
}

struct Ready<'a> {
    url: Url,
    method: Method,
    fields: HeaderMap,
    body: Option<&'a Body>,
    blocking: &'a Blocking,
    /// True if responses with any status are returned.
    any: bool,
    /// True if the request may be sent again if its response was lost.
    repeatable: bool,
}

struct Trouble {
    failure: Failure,
    again: Again,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    Never,
    /// The server closed the connection, most likely an idle one.
    AtOnce,
    AfterRest,
}

impl HttpClient {
    /// Sends the body of the question's book and reads the response, with retries.
    ///
    /// # Errors
    /// `Unavailable`: no connection. `Transient`: timeout, lost connection, or status 408, 425, 429
    /// or 5xx, with the delay from `Retry-After`. `Permanent`: any other status that is not 2xx, or
    /// a response over a limit. If responses with any status are returned, no status is an error,
    /// and failures of the exchange are `Transient`.
    pub async fn ask(&self, question: Question<'_>) -> Result<Answered, Failure> {
        let ready = match self.ready(&question)? {
            Ok(ready) => ready,
            Err(answered) => return Ok(answered),
        };
        let mut rest = self.backoff;
        let (mut tries, mut at_once) = (0, false);
        loop {
            let Trouble { failure, again } = match self.once(&ready).await {
                Ok(answered) => return Ok(answered),
                Err(trouble) => trouble,
            };
            let after = failure.retry_after().unwrap_or_default();
            if again == Again::AtOnce && !at_once {
                at_once = true;
                log::debug!("{self:?} is retried: {failure}");
                continue;
            }
            if again == Again::Never || tries >= self.retries || after > MOST_REST.max(rest) {
                return Err(failure);
            }
            tries += 1;
            log::debug!("{self:?} is retried: {failure}");
            Clock::real().sleep(after.max(rest)).await;
            rest = rest.saturating_mul(2).min(MOST_REST.max(self.backoff));
        }
    }

    /// Names of fields that are not forwarded.
    pub fn dropped(&self) -> &[String] {
        self.requests.dropped()
    }

    /// Prepares a request, or answers it here if it must not be forwarded.
    fn ready<'a>(
        &self,
        question: &'a Question<'_>,
    ) -> Result<Result<Ready<'a>, Answered>, Failure> {
        let came_with = question.came_with();
        let method = match (&self.method, came_with) {
            (Some(method), _) => method.clone(),
            (None, None) => Method::POST,
            (None, Some(came)) => match Method::from_bytes(came) {
                // These can't be forwarded from a book (RFC 9110, 9.3.6 and 9.3.8).
                Ok(Method::CONNECT | Method::TRACE) | Err(_) => {
                    let text = "the method is not forwarded\n";
                    return Ok(Err(Answered::here(StatusCode::NOT_IMPLEMENTED, text)));
                }
                Ok(method) => method,
            },
        };
        let any = match self.statuses {
            Statuses::Auto => came_with.is_some(),
            Statuses::Any => true,
            Statuses::Success => false,
        };
        let book = question.book;
        let name = match book.map(|book| book.headers.get(header::NAME)) {
            Some(Some(name)) => name.to_vec(),
            Some(None) => format!("book-{}", question.key).into_bytes(),
            None => Vec::new(),
        };
        let url = self.url.of(book, question.key, &name, self.pass_query);
        let url = match url {
            Ok(url) => url,
            // The HTTP client sent an invalid path.
            Err(_) if any && came_with.is_some() => {
                let text = "the path is not requested\n";
                return Ok(Err(Answered::here(StatusCode::BAD_REQUEST, text)));
            }
            Err(why) => return Err(Failure::permanent(why)),
        };
        let without = [Method::GET, Method::HEAD, Method::DELETE];
        let bodiless = !(self.method.is_none() && came_with.is_some()) && without.contains(&method);
        let Some(fields) = self.requests.fields(question, &method, bodiless) else {
            return Ok(Err(Answered::here(StatusCode::OK, "")));
        };
        // With a stable idempotency key the server can recognise a repeated request.
        let keyed = came_with.is_none() && book.is_some();
        let keyed = keyed || has_chosen_key(book);
        Ok(Ok(Ready {
            url,
            repeatable: method.is_idempotent() || keyed,
            method,
            fields,
            body: book.map(|book| &book.body).filter(|_| !bodiless),
            blocking: &question.blocking,
            any,
        }))
    }

    async fn once(&self, ready: &Ready<'_>) -> Result<Answered, Trouble> {
        let mut request = self.client.request(ready.method.clone(), ready.url.clone());
        request = request.headers(ready.fields.clone());
        let never = |failure| Trouble { failure, again: Again::Never };
        let sends = [Method::POST, Method::PUT, Method::PATCH].contains(&ready.method);
        let body = match ready.body {
            Some(body) => Sent::open(body, self.max_body, ready.blocking).await.map(Some),
            None => Ok(None),
        };
        match body.map_err(never)?.filter(|body| !body.is_empty()) {
            Some(body) => request = request.body(body.into_body()),
            None if sends => request = request.header("content-length", "0"),
            None => {}
        }
        let response = request.send().await.map_err(|error| self.trouble(ready, error))?;
        if !ready.any && !response.status().is_success() {
            let (failure, again) = judged(response).await;
            let again = again && ready.method.is_idempotent();
            let again = if again { Again::AfterRest } else { Again::Never };
            return Err(Trouble { failure, again });
        }
        let head = ready.method == Method::HEAD;
        let read = Answered::read(response, head, ready.any, self.limits).await;
        read.map_err(|unread| match unread {
            Unread::Lost(error) => self.trouble(ready, error),
            Unread::TooLarge(what) => {
                let text = format!("{}: {what}", self.url.place());
                never(match ready.any {
                    true => Failure::transient(text),
                    false => Failure::permanent(text).internal(),
                })
            }
        })
    }

    fn trouble(&self, ready: &Ready<'_>, error: reqwest::Error) -> Trouble {
        let (unsent, late) = (error.is_connect(), error.is_timeout());
        let closed = !unsent && !late && is_closed(&error);
        let text = told(&self.url.place(), &error.without_url());
        let failure = match unsent && !ready.any {
            true => Failure::unavailable(text),
            false => Failure::transient(text),
        };
        let again = if closed && ready.repeatable {
            Again::AtOnce
        } else if unsent || ready.method.is_idempotent() {
            Again::AfterRest
        } else {
            Again::Never
        };
        Trouble { failure: if late { failure.late() } else { failure }, again }
    }
}

/// True if the server closed the connection before the response was complete.
fn is_closed(error: &reqwest::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    const CLOSED: [io::ErrorKind; 4] =
        [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof];
    sources(error).any(|error| {
        let of_hyper = error.downcast_ref::<hyper::Error>().is_some_and(|error| {
            error.is_incomplete_message() || error.is_canceled() || error.is_closed()
        });
        let of_system = error.downcast_ref::<io::Error>();
        of_hyper || of_system.is_some_and(|error| CLOSED.contains(&error.kind()))
    })
}

/// The error, what it was caused by, and so on.
fn sources<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// Formats an error with its sources, which reqwest's own messages leave out.
fn told(what: &str, error: &(dyn Error + 'static)) -> String {
    sources(error).fold(what.to_owned(), |out, error| format!("{out}: {error}"))
}
