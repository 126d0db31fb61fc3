//! How a server is reached: the address, what it must prove, and names in SQL.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gopherworks_pipeline::store::StoreError;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

/// How a store is opened.
#[derive(Clone)]
pub(crate) struct Settings {
    /// May contain a password: never printed.
    url: Arc<str>,
    pub schema: Arc<str>,
    /// True if a server that does not sync its log is accepted.
    pub unsynced: bool,
    /// Instead of what piles say.
    pub lease: Option<Duration>,
    /// Identity of the run, for other processes.
    pub run: Option<Arc<str>>,
    /// How long the server may take for a statement, and a connection attempt.
    pub timeout: Duration,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("schema", &self.schema).finish_non_exhaustive()
    }
}

fn refused(why: impl fmt::Display) -> StoreError {
    StoreError::Other(format!("the URL of the store: {why}").into())
}

impl Settings {
    pub fn new(url: &str) -> Self {
        let (schema, timeout) = ("gopherworks".into(), Duration::from_secs(30));
        Self { url: url.into(), schema, unsynced: false, lease: None, run: None, timeout }
    }

    /// The schema in SQL, with a point.
    pub fn quoted(&self) -> Result<String, StoreError> {
        let name = &*self.schema;
        // PostgreSQL cuts longer names, so that two of them could become one.
        if name.is_empty() || name.len() > 63 || name.contains('\0') || name.starts_with("pg_") {
            let what = format!("`{}` can't name a schema", name.escape_debug());
            return Err(StoreError::Other(what.into()));
        }
        Ok(format!("\"{}\".", name.replace('"', "\"\"")))
    }

    /// What the driver needs. Beyond this host, TLS is required.
    pub fn config(&self) -> Result<Config, StoreError> {
        let url = &*self.url;
        // Modes of libpq that the driver does not know: it verifies whenever it uses TLS.
        let url = url.replace("sslmode=verify-full", "sslmode=require");
        // The driver's errors name options, not their values.
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            refused(source.unwrap_or_else(|| error.to_string()))
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(refused("it names no host"));
        }
        if !is_local(&config) {
            if config.get_ssl_mode() == SslMode::Disable {
                return Err(refused("`sslmode=disable` is refused for a server on another host"));
            }
            if !cfg!(feature = "tls") {
                return Err(refused("this build has no TLS, which another host needs"));
            }
            config.ssl_mode(SslMode::Require);
        } else if config.get_ssl_mode() == SslMode::Prefer {
            // The certificate of a local server is seldom one that can be verified.
            config.ssl_mode(SslMode::Disable);
        }
        if config.get_application_name().is_none() {
            config.application_name("gopherworks");
        }
        // A peer that is gone is noticed within half a minute, if it does not answer at all.
        config.keepalives(true).keepalives_idle(Duration::from_secs(10));
        config.keepalives_interval(Duration::from_secs(5)).keepalives_retries(3);
        config.tcp_user_timeout(Duration::from_secs(25)).connect_timeout(self.timeout);
        Ok(config)
    }
}

/// True if all addresses are of this host, so that no network carries passwords and books.
fn is_local(config: &Config) -> bool {
    let addresses = config.get_hostaddrs();
    if !addresses.is_empty() {
        return addresses.iter().all(IpAddr::is_loopback);
    }
    config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) if name == "localhost" => true,
        Host::Tcp(name) => name.parse().is_ok_and(|address: IpAddr| address.is_loopback()),
        Host::Unix(folder) => Path::is_absolute(folder),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> Option<String> {
        Settings::new(url).config().err().map(|error| error.to_string())
    }

    #[test]
    fn a_server_on_another_host_needs_tls() {
        for local in [
            "postgres://me:secret@localhost/works",
            "postgres://me@127.0.0.1:5433/works?sslmode=disable",
            "postgres://me@[::1]/works",
            "host=/run/postgresql user=me",
            "host=db.example.org hostaddr=127.0.0.1 user=me",
        ] {
            assert_eq!(refusal(local), None, "{local}");
        }
        for remote in [
            "postgres://me:secret@db.example.org/works?sslmode=disable",
            "postgres://me:secret@127.0.0.1,10.0.0.7/works?sslmode=disable",
            "host=localhost hostaddr=10.0.0.7 user=me password=secret sslmode=disable",
        ] {
            let why = refusal(remote).expect(remote);
            assert!(why.contains("another host"), "{why}");
        }
        let local = |url| Settings::new(url).config().map(|config| config.get_ssl_mode()).ok();
        assert_eq!(local("postgres://localhost/works"), Some(SslMode::Disable));
        let asked = local("postgres://localhost/works?sslmode=require");
        assert_eq!(asked, Some(SslMode::Require));
        let verified = Settings::new("postgres://db.example.org/works?sslmode=verify-full");
        let mode = verified.config().map(|config| config.get_ssl_mode()).ok();
        assert_eq!(mode, cfg!(feature = "tls").then_some(SslMode::Require));
    }

    #[test]
    fn passwords_are_not_printed() {
        for wrong in [
            "postgres://me:secret@localhost/works?secret=secret",
            "postgres://me:secret@localhost:secret/works",
            "postgres://me:secret",
            "password=secret",
            "password=secret sslmode=disable host=example.org",
            "postgres://me:%F1secret@localhost/works?port=secret",
        ] {
            let why = refusal(wrong).expect(wrong).replace("option `secret`", "");
            assert!(!why.contains("secret"), "{why}");
        }
        let settings = Settings::new("postgres://me:secret@localhost/works");
        assert!(!format!("{settings:?}").contains("secret"));
    }

    #[test]
    fn names_of_schemas_are_quoted() {
        let quoted = |schema: &str| {
            let settings = Settings { schema: schema.into(), ..Settings::new("") };
            settings.quoted().ok()
        };
        assert_eq!(quoted("works").as_deref(), Some("\"works\"."));
        assert_eq!(quoted("a\"; drop").as_deref(), Some("\"a\"\"; drop\"."));
        for wrong in ["", "pg_x", "a\0b", &"x".repeat(64)] {
            assert_eq!(quoted(wrong), None, "{wrong:?}");
        }
    }
}
