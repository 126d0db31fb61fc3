//! The ways in which a life of a supervised actor ends.

use std::fmt;

/// How one life of a supervised actor ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// The actor stopped by itself or was asked to.
    Normal,
    /// The actor panicked: in a handler, in `started`, `stopping` or `stopped`, in a future of its
    /// context, in the factory, or in a `Drop`.
    Panic {
        /// The panic message; a fixed phrase if the payload was not text.
        text: String,
        /// The source position, `file:line`; [`Exit::UNKNOWN_PLACE`] if this crate's panic hook did
        /// not see the panic.
        place: String,
    },
    /// The factory returned an error instead of an actor.
    Failed(String),
    /// The actor was killed by the supervisor or its handle, or its epoch ended before it was
    /// bound.
    Killed,
    /// The actor's thread ended, or never ran it.
    ArbiterDead,
    /// The actor did not end in time after a kill, or the watchdog gave it up. Its thread may still
    /// be running it.
    Hung,
    /// The actor was given up without a fault of its own: the named actor blocked their thread.
    Blocked(String),
}

impl Exit {
    /// The place in [`Exit::Panic`] if none is known: after `resume_unwind`, or if the panic hook
    /// was replaced.
    pub const UNKNOWN_PLACE: &'static str = "an unknown place";

    /// False for [`Exit::Normal`] only.
    pub fn is_abnormal(&self) -> bool {
        !matches!(self, Exit::Normal)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Normal => f.write_str("ended normally"),
            Exit::Panic { text, place } if place == Exit::UNKNOWN_PLACE => {
                write!(f, "panicked: {text}")
            }
            Exit::Panic { text, place } => write!(f, "panicked at {place}: {text}"),
            Exit::Failed(reason) => write!(f, "could not be made: {reason}"),
            Exit::Killed => f.write_str("was killed"),
            Exit::ArbiterDead => f.write_str("lost its arbiter"),
            Exit::Hung => f.write_str("hung"),
            Exit::Blocked(by) => write!(f, "lost its thread, which was blocked by {by}"),
        }
    }
}
