//! Errors of storage engines.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Why a storage engine did not do what it was asked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum StoreError {
    /// No room: nothing was stored. Acts still take effect.
    Full,
    /// The lease or the ownership was lost; nothing was changed.
    Stale,
    /// The book is not there any more, because it was settled before or lost, or there is no such
    /// pile; nothing was changed.
    Gone,
    /// A book is larger than the engine can store.
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The engine can't be reached, or can't work, at present; nothing was changed.
    Unavailable {
        /// When to try again, from now.
        retry_after: Duration,
        /// What failed.
        reason: Arc<str>,
    },
    /// The engine did not answer: the call took effect, or it did not. Resolved by repeating the
    /// same call, or by [`Backend::resolve`](super::Backend::resolve).
    Unknown(Arc<str>),
    /// Another process has it: an exclusive store, or a source.
    InUse {
        /// The process, if it is known and runs on this host.
        pid: Option<u32>,
        /// What is in use, and by what.
        what: Arc<str>,
    },
    /// Stored data can't be read.
    Corrupt(Arc<str>),
    /// The engine, or this version of it, can't do that.
    Unsupported(Arc<str>),
    /// The store was closed, or is not open yet.
    Closed,
    /// Any other error; trying again is useless.
    Other(Arc<str>),
}

impl StoreError {
    /// `Unavailable`, to be tried again after `retry_after`.
    pub fn unavailable(reason: impl fmt::Display, retry_after: Duration) -> Self {
        Self::Unavailable { retry_after, reason: reason.to_string().into() }
    }

    /// True if the error concerns a single book or append, and others may succeed.
    pub fn is_single(&self) -> bool {
        matches!(self, Self::Full | Self::Stale | Self::Gone | Self::TooLarge { .. })
    }

    /// True if the call can't have changed anything.
    pub fn changed_nothing(&self) -> bool {
        !matches!(self, Self::Unknown(_))
    }

    /// True if the caller's lease has ended, so that the book is no longer its business.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Stale | Self::Gone)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the store is full"),
            Self::Stale => f.write_str("the lease was lost"),
            Self::Gone => f.write_str("it is not in the store any more"),
            Self::TooLarge { limit } => write!(f, "a book has more than {limit} bytes"),
            Self::Unavailable { reason, .. } => write!(f, "the store is unavailable: {reason}"),
            Self::Unknown(reason) => write!(f, "the outcome is not known: {reason}"),
            Self::InUse { pid: Some(pid), what } => write!(f, "{what} (process {pid})"),
            Self::InUse { pid: None, what } => f.write_str(what),
            Self::Corrupt(reason) => write!(f, "the store is damaged: {reason}"),
            Self::Unsupported(what) => write!(f, "not supported: {what}"),
            Self::Closed => f.write_str("the store is not open"),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for StoreError {}
