//! What a server of a file counts besides the requests that it asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Counts of one server, for its metrics.
#[derive(Debug, Default)]
pub(crate) struct ServerCounts {
    connections: AtomicI64,
    malformed: AtomicU64,
    slow: AtomicU64,
}

/// What a server has counted so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Served {
    pub(super) connections: i64,
    pub(super) malformed: u64,
    pub(super) slow: u64,
}

impl ServerCounts {
    /// A connection is open until what this gives is dropped.
    pub(crate) fn connection(self: &Arc<Self>) -> Open {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Open(self.clone())
    }

    /// A client has sent what is no HTTP request.
    pub(crate) fn malformed(&self) {
        self.malformed.fetch_add(1, Ordering::Relaxed);
    }

    /// A client was too slow, so its connection was cut.
    pub(crate) fn slow(&self) {
        self.slow.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> Served {
        Served {
            connections: self.connections.load(Ordering::Relaxed),
            malformed: self.malformed.load(Ordering::Relaxed),
            slow: self.slow.load(Ordering::Relaxed),
        }
    }
}

/// An open connection.
pub(crate) struct Open(Arc<ServerCounts>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
