//! The API of a running topology, for commands that watch or steer it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url, redirect};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Failed, code};

/// Longest time to connect.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Longest time for a response that is no stream.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Largest event of a stream, in bytes.
const LARGEST_EVENT: usize = 64 << 20;

#[cfg(feature = "top")]
#[derive(Debug, Args)]
pub struct RemoteArgs {
    /// Address of the run's operations, as the run prints it
    #[arg(default_value = "http://127.0.0.1:9400/")]
    pub url: String,
    #[command(flatten)]
    pub access: Access,
}

/// How a run is asked.
#[derive(Debug, Args)]
pub struct Access {
    /// Name of the topology, if an application runs several
    #[arg(long, value_name = "NAME", global = true)]
    topology: Option<String>,
    /// Send the token in FILE, that of `[operations]` [default: the variable GOPHERWORKS_TOKEN, or
    /// none]
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
}

impl Access {
    /// The token; no error and no output shows it.
    fn token(&self) -> Result<Option<String>, Failed> {
        let Some(path) = &self.token_file else {
            return match std::env::var("GOPHERWORKS_TOKEN") {
                Ok(token) => Ok(Some(token.trim().to_owned()).filter(|token| !token.is_empty())),
                Err(std::env::VarError::NotPresent) => Ok(None),
                Err(_) => Err(Failed::new("error: the variable GOPHERWORKS_TOKEN is not UTF-8")),
            };
        };
        let read = std::fs::read_to_string(path).map_err(|error| {
            Failed::new(format!("error: the token {} can't be read: {error}", path.display()))
        })?;
        match read.trim() {
            "" => Err(Failed::new(format!("error: the token {} is empty", path.display()))),
            token => Ok(Some(token.to_owned())),
        }
    }
}

/// Runs a command that asks a run.
///
/// # Errors
/// Those of the command, or no runtime.
pub fn in_runtime<T>(command: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failed::new(format!("error: no runtime: {error}")))?;
    runtime.block_on(command)
}

/// A client of one run.
#[derive(Clone)]
pub struct Remote {
    client: Client,
    base: Url,
    topology: Option<String>,
    token: Option<String>,
}

/// The body of a refusal.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

impl Remote {
    /// Prepares requests to the run at `url`.
    ///
    /// # Errors
    /// An address that is no URL, or a token that can't be read or sent.
    pub fn new(url: &str, access: &Access) -> Result<Self, Failed> {
        let whole = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let base = Url::parse(&whole)
            .ok()
            .filter(|base| matches!(base.scheme(), "http" | "https") && base.host().is_some());
        let Some(mut base) = base else {
            return Err(Failed {
                code: code::USAGE,
                message: format!(
                    "error: `{url}` is no address of a run\n  help: the run prints its own, such \
                     as http://127.0.0.1:9400/"
                ),
            });
        };
        if !base.username().is_empty() || base.password().is_some() {
            return Err(Failed {
                code: code::USAGE,
                message: "error: the address has a password\n  help: give the token by \
                          --token-file or the variable GOPHERWORKS_TOKEN"
                    .to_owned(),
            });
        }
        base.set_query(None);
        base.set_fragment(None);
        let token = access.token()?;
        // Fails if it was done before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Neither a redirect nor a proxy gets the token.
        let client = Client::builder()
            .connect_timeout(CONNECT_WITHIN)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("gopherworks/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Failed::new(format!("error: no HTTP client: {error}")))?;
        Ok(Self { client, base, topology: access.topology.clone(), token })
    }

    /// The URL of a route, whose parts are percent-encoded.
    fn url(&self, route: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(route);
        }
        let topology = self.topology.iter().map(|name| ("topology", name.as_str()));
        let all: Vec<_> = query.iter().copied().chain(topology).collect();
        if !all.is_empty() {
            url.query_pairs_mut().extend_pairs(all);
        }
        url
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.client.request(method, url);
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }

    async fn sent(&self, request: RequestBuilder) -> Result<Response, Failed> {
        let response = request.send().await.map_err(|error| self.lost(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refused(response).await)
    }

    /// The JSON that a route answers.
    ///
    /// # Errors
    /// No answer (exit code 75), a refusal, or an answer that this version does not understand.
    #[cfg(feature = "top")]
    pub async fn get<T: DeserializeOwned>(
        &self,
        route: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, Failed> {
        let request = self.request(Method::GET, self.url(route, query));
        let response = self.sent(request.timeout(ANSWER_WITHIN)).await?;
        self.json(response).await
    }

    /// Has the run do something, and gives what it answers.
    ///
    /// # Errors
    /// As [`Remote::get`].
    pub async fn post<T: DeserializeOwned>(
        &self,
        route: &[&str],
        body: &serde_json::Value,
    ) -> Result<T, Failed> {
        let request = self.request(Method::POST, self.url(route, &[]));
        let request = request.timeout(ANSWER_WITHIN).header(CONTENT_TYPE, "application/json");
        let response = self.sent(request.body(body.to_string())).await?;
        self.json(response).await
    }

    async fn json<T: DeserializeOwned>(&self, response: Response) -> Result<T, Failed> {
        let body = response.bytes().await.map_err(|error| self.lost(&error))?;
        serde_json::from_slice(&body).map_err(|error| self.strange(&error))
    }

    /// The server-sent events of a route.
    ///
    /// # Errors
    /// As [`Remote::get`].
    pub async fn events(&self, route: &[&str], query: &[(&str, &str)]) -> Result<Events, Failed> {
        let response = self.sent(self.request(Method::GET, self.url(route, query))).await?;
        Ok(Events { of: self.clone(), response, read: EventReader::default() })
    }

    /// The run did not answer.
    fn lost(&self, error: &reqwest::Error) -> Failed {
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let help = match error.is_connect() {
            true => "\n  help: `gopherworks run FILE --operations` listens, and prints its address",
            false => "",
        };
        let message = format!("error: no answer from {}: {cause}{help}", self.base);
        Failed { code: code::LATE, message }
    }

    async fn refused(&self, response: Response) -> Failed {
        let status = response.status();
        let text = response.text().await.unwrap_or_default();
        let said = serde_json::from_str(&text).map_or_else(
            |_| text.lines().next().unwrap_or_default().chars().take(200).collect(),
            |Refusal { error }| error,
        );
        let help = match (status, &self.token) {
            (StatusCode::UNAUTHORIZED, None) => {
                "\n  help: give the token of `[operations]` by --token-file FILE, or in the \
                 variable GOPHERWORKS_TOKEN"
            }
            (StatusCode::UNAUTHORIZED, Some(_)) => {
                "\n  help: the token that was sent is not that of `[operations]`"
            }
            _ => "",
        };
        let code = match status {
            StatusCode::SERVICE_UNAVAILABLE => code::LATE,
            _ => code::FAILED,
        };
        Failed { code, message: format!("error: {} refused ({status}): {said}{help}", self.base) }
    }

    fn strange(&self, error: &serde_json::Error) -> Failed {
        Failed::new(format!(
            "error: {} does not answer as a run of this version: {error}",
            self.base
        ))
    }
}

/// An open stream of server-sent events.
pub struct Events {
    of: Remote,
    response: Response,
    read: EventReader,
}

/// An event of a stream.
pub struct ServerEvent {
    pub name: String,
    data: String,
    of: Remote,
}

impl ServerEvent {
    /// The data, read from its JSON.
    ///
    /// # Errors
    /// Data that this version does not understand.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, Failed> {
        serde_json::from_str(&self.data).map_err(|error| self.of.strange(&error))
    }
}

impl Events {
    /// The next event; `None` at the end.
    ///
    /// # Errors
    /// A lost connection, or no event in 64 MiB.
    pub async fn next(&mut self) -> Result<Option<ServerEvent>, Failed> {
        loop {
            if let Some((name, data)) = self.read.next() {
                return Ok(Some(ServerEvent { name, data, of: self.of.clone() }));
            }
            if self.read.bytes.len() > LARGEST_EVENT {
                return Err(Failed::new(format!("error: {} sends no events", self.of.base)));
            }
            match self.response.chunk().await.map_err(|error| self.of.lost(&error))? {
                Some(chunk) => self.read.bytes.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}

/// Splits a stream into events.
#[derive(Default)]
struct EventReader {
    /// What has been read beyond the last event.
    bytes: Vec<u8>,
    /// Bytes of these in which no event ends.
    searched: usize,
}

impl EventReader {
    /// Name and data of the next complete event that has a name.
    fn next(&mut self) -> Option<(String, String)> {
        loop {
            let from = self.searched.saturating_sub(1);
            let end = self.bytes[from..].windows(2).position(|pair| pair == b"\n\n");
            let Some(end) = end.map(|at| from + at) else {
                self.searched = self.bytes.len();
                return None;
            };
            let event: Vec<u8> = self.bytes.drain(..end + 2).collect();
            self.searched = 0;
            let (mut name, mut data) = (String::new(), String::new());
            for line in String::from_utf8_lossy(&event).lines() {
                match line.split_once(": ") {
                    Some(("event", value)) => name = value.to_owned(),
                    Some(("data", value)) => data.push_str(value),
                    _ => {}
                }
            }
            if !name.is_empty() {
                return Some((name, data));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_however_the_stream_is_cut() {
        let sent = "retry: 1000\n\nid: a-1\nevent: one\ndata: {\"é\":1}\n\n: idle\n\n\
                    event: two\ndata: {}\n\nevent: three";
        for size in 1..sent.len() {
            let (mut reader, mut found) = (EventReader::default(), Vec::new());
            for chunk in sent.as_bytes().chunks(size) {
                reader.bytes.extend_from_slice(chunk);
                found.extend(std::iter::from_fn(|| reader.next()));
            }
            let pairs = [("one", "{\"é\":1}"), ("two", "{}")];
            let pairs = pairs.map(|(name, data)| (name.to_owned(), data.to_owned()));
            assert_eq!(found, pairs, "{size}");
        }
    }

    #[test]
    fn names_of_nodes_are_encoded_and_the_base_is_kept() {
        let access = Access { topology: Some("a b".to_owned()), token_file: None };
        let url = |base: &str| {
            let remote = Remote::new(base, &access).unwrap_or_else(|no| panic!("{}", no.message));
            remote.url(&["api", "nodes", "haul[lane=1]/2?"], &[]).to_string()
        };
        let node = "api/nodes/haul[lane=1]%2F2%3F?topology=a+b";
        assert_eq!(url("127.0.0.1:9400"), format!("http://127.0.0.1:9400/{node}"));
        assert_eq!(url("https://ops.example/admin/"), format!("https://ops.example/admin/{node}"));
        for wrong in ["ftp://x", "http://", "http://user:secret@x", "a b"] {
            let refused = Remote::new(wrong, &access).err().expect("a mistake");
            assert!(refused.code == code::USAGE && !refused.message.contains("secret"), "{wrong}");
        }
    }
}
