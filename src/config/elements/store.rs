//! `[store]`: where piles are kept, so that they survive the process.

use std::path::PathBuf;
use std::time::Duration;

use super::{Secret, Text, Url};
use crate::config::element::Element;

/// An engine that keeps piles.
#[derive(Debug, Clone, PartialEq, Eq, Element)]
#[element(by_kind = store)]
pub enum StoreConfig {
    /// An SQLite database of one process at a time. Books survive `kill -9` and power loss.
    Sqlite {
        /// The database; a path that starts at the folder of this file. Missing parent folders are
        /// created.
        path: PathBuf,
    },
    /// A PostgreSQL database that many processes share. Books survive `kill -9` and power loss.
    Postgres {
        /// The database, such as `"postgres://user@host/works"` or `"${env.DATABASE_URL}"`. On
        /// another host TLS is required, and verified. Messages never contain it.
        #[key(as = Url)]
        url: Secret,
        /// The schema that has the tables; it is created. Stores in different schemas share
        /// nothing.
        #[key(as = Text, default = "gopherworks".to_owned())]
        schema: String,
        /// How long books are held for a process that does not answer.
        #[key(
            default = Duration::from_secs(30), min = 1, max = 3600,
            because = "leases are 1 second to 1 hour long"
        )]
        lease: Duration,
        /// The name of the works. Piles of works with other names in the schema are theirs.
        #[key(as = Text)]
        works: String,
    },
    /// A stream of NATS JetStream that many processes share. Books survive `kill -9`; a loss of
    /// power only with `synced`.
    Jetstream {
        /// The servers, such as `"nats://user:password@host:4222"`, several separated by commas.
        /// Beyond this host TLS is required, and verified. Messages never contain it.
        #[key(as = Url)]
        url: Secret,
        /// How many servers keep the books: by default as many as before, and 1 at first.
        #[key(min = 1, max = 5, because = "1 to 5 servers keep a stream")]
        replicas: Option<u32>,
        /// How long books are held for a process that does not answer.
        #[key(
            default = Duration::from_secs(30), min = 1, max = 3600,
            because = "leases are 1 second to 1 hour long"
        )]
        lease: Duration,
        /// True if all servers have `sync_interval: always`, which no client can see: then books
        /// survive a loss of power.
        #[key(default)]
        synced: bool,
        /// The name of the works, of which each has a stream.
        #[key(as = Text)]
        works: String,
    },
}

impl StoreConfig {
    /// True if several processes may use the store at a time.
    pub fn is_shared(&self) -> bool {
        !matches!(self, Self::Sqlite { .. })
    }
}

/// Where the books of one pile are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Element)]
#[element(words)]
pub enum PileStore {
    /// In memory, so that the books are lost with the process.
    Memory,
}
