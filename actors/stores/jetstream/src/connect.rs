//! Connecting to a server: what may travel unencrypted, and which servers are new enough.

use std::net::IpAddr;

use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use gopherworks_pipeline::store::StoreError;
use percent_encoding::percent_decode_str;
use tokio::sync::watch;

use crate::Settings;
use crate::server::ANSWER;

/// The first version with `Nats-Msg-Id` and expected sequences in atomic batches.
const OLDEST: (u64, u64, u64) = (2, 12, 1);

/// The addresses of a URL, which may name several servers separated by commas.
fn addresses(url: &str) -> Result<Vec<ServerAddr>, StoreError> {
    let read = |one: &str| {
        let address: ServerAddr =
            one.trim().parse().map_err(|_| wrong("not the URL of a server"))?;
        if address.is_websocket() {
            return Err(wrong("websockets are not supported"));
        }
        Ok(address)
    };
    url.split(',').map(read).collect()
}

/// The URL may have a password: it is not repeated.
fn wrong(what: &str) -> StoreError {
    StoreError::Other(format!("the store's `url` is wrong: {what}").into())
}

/// User and password of a URL; a token has no password.
fn credentials(address: &ServerAddr) -> Option<(String, Option<String>)> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    Some((decode(address.username()?), address.password().map(decode)))
}

fn is_loopback(address: &ServerAddr) -> bool {
    let host = address.host();
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// How the connection to these servers is protected.
#[derive(Debug, PartialEq, Eq)]
enum Protection {
    /// A certificate that names the host, or no connection.
    Verified,
    /// None; other servers that the first one advertises are not used.
    Plain,
}

fn protection(addresses: &[ServerAddr], plaintext: bool) -> Protection {
    let may_be_plain =
        |address: &ServerAddr| !address.tls_required() && (plaintext || is_loopback(address));
    match addresses.iter().all(may_be_plain) {
        true => Protection::Plain,
        false => Protection::Verified,
    }
}

/// Connects to one of the servers; answers a count of the times that the connection is lost too.
///
/// # Errors
/// `Unavailable`; `Unsupported` if the server is too old.
pub(crate) async fn connect(
    settings: &Settings,
) -> Result<(Client, watch::Receiver<u64>), StoreError> {
    let addresses = addresses(&settings.url)?;
    let (lost, losses) = watch::channel(0);
    let mut options = ConnectOptions::new()
        .name("gopherworks")
        .request_timeout(Some(ANSWER))
        .connection_timeout(ANSWER)
        .max_reconnects(None)
        .event_callback(move |event| {
            if matches!(event, Event::Disconnected) {
                lost.send_modify(|count| *count += 1);
            }
            async move { log::debug!("nats: {event}") }
        });
    options = match protection(&addresses, settings.plaintext) {
        Protection::Verified => options.require_tls(true),
        Protection::Plain => options.ignore_discovered_servers(),
    };
    if let Some((user, password)) = addresses.iter().find_map(credentials) {
        options = match password {
            Some(password) => options.user_and_password(user, password),
            None => options.token(user),
        };
    }
    if let Some(path) = &settings.certificates {
        options = options.add_root_certificates(path.clone());
    }
    let retry = std::time::Duration::from_secs(1);
    let client = options.connect(addresses).await;
    let client = client.map_err(|error| StoreError::unavailable(error, retry))?;
    let version = client.server_info().version;
    if !is_new_enough(&version) {
        let (major, minor, patch) = OLDEST;
        let what = format!(
            "the NATS server has version {version}; {major}.{minor}.{patch} is the first with \
             all of atomic batches"
        );
        return Err(StoreError::Unsupported(what.into()));
    }
    Ok((client, losses))
}

fn is_new_enough(version: &str) -> bool {
    let numbers = version.trim_start_matches('v').split(['-', '+']).next().unwrap_or_default();
    let mut numbers = numbers.split('.').map(str::parse::<u64>);
    let mut next = || numbers.next().and_then(Result::ok);
    let (Some(major), Some(minor), Some(patch)) = (next(), next(), next()) else { return false };
    (major, minor, patch) >= OLDEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_may_be_plain_unless_it_is_said() {
        let of = |url: &str, plaintext| protection(&addresses(url).unwrap(), plaintext);
        for near in ["nats://127.0.0.1:4222", "localhost", "nats://[::1]:4222", "nats://127.9.9.9"]
        {
            assert_eq!(of(near, false), Protection::Plain, "{near}");
        }
        for far in ["nats://10.0.0.1", "nats.example.com", "tls://127.0.0.1", "[2001:db8::1]"] {
            assert_eq!(of(far, false), Protection::Verified, "{far}");
        }
        assert_eq!(of("nats://127.0.0.1,nats://10.0.0.1", false), Protection::Verified);
        assert_eq!(of("nats://10.0.0.1", true), Protection::Plain);
        assert_eq!(of("tls://10.0.0.1", true), Protection::Verified, "what is asked for is kept");
    }

    #[test]
    fn a_wrong_url_is_refused_without_its_password() {
        for url in ["http://u:secret@a", "ws://u:secret@a", "nats://u:secret@[a"] {
            let error = addresses(url).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn credentials_are_decoded() {
        let of = |url: &str| credentials(&addresses(url).unwrap()[0]);
        assert_eq!(of("nats://u:p%40%25@a"), Some(("u".to_owned(), Some("p@%".to_owned()))));
        assert_eq!(of("nats://token@a"), Some(("token".to_owned(), None)));
        assert_eq!(of("nats://a"), None);
    }

    #[test]
    fn versions_are_compared() {
        for new in ["2.12.1", "2.12.10-RC.1", "v2.15.1", "3.0.0"] {
            assert!(is_new_enough(new), "{new}");
        }
        for old in ["2.12.0", "2.11.99", "1.99.99", "", "2.12", "x.y.z"] {
            assert!(!is_new_enough(old), "{old}");
        }
    }
}
