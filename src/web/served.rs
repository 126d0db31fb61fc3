//! Counters of a requester's HTTP server, besides those of its requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Counts of one server, for its metrics.
#[derive(Debug, Default)]
pub(crate) struct ServerCounts {
    connections: AtomicI64,
    malformed: AtomicU64,
    slow: AtomicU64,
}

/// A snapshot of the counters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Served {
    pub(super) connections: i64,
    pub(super) malformed: u64,
    pub(super) slow: u64,
}

impl ServerCounts {
    /// Counts an open connection until the returned guard is dropped.
    pub(crate) fn connection(self: &Arc<Self>) -> Open {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Open(self.clone())
    }

    /// Counts a request that is not HTTP.
    pub(crate) fn malformed(&self) {
        self.malformed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that was cut because its client was too slow.
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
