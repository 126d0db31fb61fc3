//! Why a source, a work function or a burn could not do its part.

use std::fmt;
use std::io;
use std::time::Duration;

/// A failure of user work on one book (or of a source).
///
/// A *transient* failure charges one attempt and the book is offered again;
/// a *permanent* one buries the book at once, since trying again can't help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    reason: String,
    permanent: bool,
    retry_after: Option<Duration>,
}

impl Failure {
    /// A failure that another attempt may not meet.
    pub fn transient(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            permanent: false,
            retry_after: None,
        }
    }

    /// A failure that every attempt would meet: the book goes to the dead letters now.
    pub fn permanent(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            permanent: true,
            retry_after: None,
        }
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
        Self {
            reason: format!("{what}: {error}"),
            permanent,
            retry_after: None,
        }
    }

    /// The same failure, but the book becomes ready again only after `delay`. Says nothing where the failure is permanent.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// How long the book should rest before its next attempt.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The reason, for people.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// True if another attempt is useless.
    pub fn is_permanent(&self) -> bool {
        self.permanent
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Failure {}
