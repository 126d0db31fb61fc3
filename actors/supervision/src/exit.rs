//! How a life ended.

use std::fmt;

/// How one life of a supervised actor ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// The actor stopped by itself or was asked to.
    Normal,
    /// It panicked: in a handler, in `started`, `stopping` or `stopped`, in a future of its context, in the factory, or in a `Drop`.
    Panic {
        /// The panic's text; a fixed phrase where the payload was not text.
        text: String,
        /// Source file and line, `file:line`; [`Exit::UNKNOWN_PLACE`] where the panic passed by our hook.
        place: String,
    },
    /// The factory gave an error instead of an actor.
    Failed(String),
    /// It was killed: by the supervisor, by its handle, or because its epoch was over before it was started.
    Killed,
    /// Its thread ended, or never ran it.
    ArbiterDead,
    /// It did not end in time after a kill, or a watchdog gave it up. Its thread may still be running it.
    Hung,
    /// It was given up without a fault of its own: what is named here blocked the thread that it lived on.
    Blocked(String),
}

impl Exit {
    /// What [`Exit::Panic`] has for a place where none is known: after `resume_unwind`, or where somebody replaced the panic hook.
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
