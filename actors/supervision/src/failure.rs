//! The error type of sources, work functions and burns.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// A failure of user work on one book (or of a source).
///
/// [`FailureKind`] says whose failure it is, and whether another attempt can help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    // Boxed to keep results small: one is moved per book or request, and most are `Ok`.
    parts: Box<Parts>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Parts {
    reason: String,
    kind: FailureKind,
    retry_after: Option<Duration>,
    node: Option<Arc<str>>,
    late: bool,
    internal: bool,
}

/// The responsible party, and whether another attempt can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// A failure of the book that may not recur: one attempt is charged, and the book is offered
    /// again.
    Transient,
    /// A failure of the book that would recur at every attempt: the book becomes a dead letter now.
    Permanent,
    /// The sink cannot take any book at present (a full disk, a refused connection). No attempt is
    /// charged.
    Unavailable,
    /// The sink cannot take another book in this run (a closed pipe). No attempt is charged.
    Closed,
}

impl Failure {
    #[cold]
    fn new(reason: String, kind: FailureKind) -> Self {
        let (retry_after, node, late, internal) = (None, None, false, false);
        Self { parts: Box::new(Parts { reason, kind, retry_after, node, late, internal }) }
    }

    /// A failure that another attempt may not meet.
    pub fn transient(reason: impl Into<String>) -> Self {
        Self::new(reason.into(), FailureKind::Transient)
    }

    /// A failure that every attempt would meet: the book goes to the dead letters now.
    pub fn permanent(reason: impl Into<String>) -> Self {
        Self::new(reason.into(), FailureKind::Permanent)
    }

    /// A failure of the sink, not of the book: the sink can't take any book at present.
    ///
    /// No attempt is charged, and the sink is tried again after a pause.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::new(reason.into(), FailureKind::Unavailable)
    }

    /// A failure of the sink, not of the book: it cannot take another book in this run. No attempt
    /// is charged, and the run ends.
    pub fn closed(reason: impl Into<String>) -> Self {
        Self::new(reason.into(), FailureKind::Closed)
    }

    /// An I/O error while doing `what`; permanent if its kind says that trying again is useless.
    pub fn io(what: impl fmt::Display, error: &io::Error) -> Self {
        use io::ErrorKind::*;
        let permanent = matches!(
            error.kind(),
            NotFound
                | PermissionDenied
                | IsADirectory
                | NotADirectory
                | InvalidData
                | InvalidInput
                | InvalidFilename
                | UnexpectedEof
                | Unsupported
                | FileTooLarge
                | ReadOnlyFilesystem
        );
        let kind = match permanent {
            true => FailureKind::Permanent,
            false => FailureKind::Transient,
        };
        Self::new(format!("{what}: {error}"), kind)
    }

    /// An I/O error while writing `what`. A full or read-only disk, an exceeded quota, a broken
    /// device and a shortage of file descriptors or memory make the sink unavailable; a pipe
    /// without a reader is closed. Any other error is classified as in [`Failure::io`].
    pub fn writing(what: impl fmt::Display, error: &io::Error) -> Self {
        use io::ErrorKind::*;
        // EIO, ENFILE, EMFILE: errors without a kind of their own.
        let of_system = matches!(error.raw_os_error(), Some(5 | 23 | 24));
        let kind = match error.kind() {
            BrokenPipe => FailureKind::Closed,
            StorageFull
            | QuotaExceeded
            | ReadOnlyFilesystem
            | ResourceBusy
            | ExecutableFileBusy
            | StaleNetworkFileHandle
            | OutOfMemory
            | TimedOut => FailureKind::Unavailable,
            _ if of_system => FailureKind::Unavailable,
            _ => return Self::io(what, error),
        };
        Self::new(format!("{what}: {error}"), kind)
    }

    /// Delays the next attempt by `delay`. No effect if the failure is permanent.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.parts.retry_after = Some(delay);
        self
    }

    /// Marks the failure as a timeout: an HTTP client gets the status 504 for it.
    #[must_use]
    pub fn late(mut self) -> Self {
        self.parts.late = true;
        self
    }

    /// True if the failure is a timeout.
    pub fn is_late(&self) -> bool {
        self.parts.late
    }

    /// Marks a permanent failure as the worker's own: an HTTP client gets the status 502 for it
    /// rather than one that blames its request.
    #[must_use]
    pub fn internal(mut self) -> Self {
        self.parts.internal = true;
        self
    }

    /// True if the failure is the worker's own.
    pub fn is_internal(&self) -> bool {
        self.parts.internal
    }

    /// How long to wait before the next attempt, if this failure specifies it.
    pub fn retry_after(&self) -> Option<Duration> {
        self.parts.retry_after
    }

    /// Adds the name of the node that failed, unless the failure already has one.
    #[must_use]
    pub fn at(mut self, node: &str) -> Self {
        self.parts.node.get_or_insert_with(|| node.into());
        self
    }

    /// The crew, incinerator or balancer that failed, if known.
    pub fn node(&self) -> Option<&Arc<str>> {
        self.parts.node.as_ref()
    }

    /// The reason, as text.
    pub fn reason(&self) -> &str {
        &self.parts.reason
    }

    /// The responsible party, and whether another attempt can help.
    pub fn kind(&self) -> FailureKind {
        self.parts.kind
    }

    /// True if it is the sink's failure and not the book's: no attempt is charged.
    pub fn is_of_sink(&self) -> bool {
        matches!(self.parts.kind, FailureKind::Unavailable | FailureKind::Closed)
    }

    /// True if another attempt at the book is useless.
    pub fn is_permanent(&self) -> bool {
        self.parts.kind == FailureKind::Permanent
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parts.reason)
    }
}

impl std::error::Error for Failure {}
