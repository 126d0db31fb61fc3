//! What happened, for whoever listens.

use std::fmt;
use std::time::Duration;

use crate::book::BookId;
use crate::clock::Time;

/// Something that happened in a running topology.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A node's actor is up.
    Started {
        /// The node.
        node: String,
        /// The number of its life, from 1.
        epoch: u64,
    },
    /// A node's actor ended.
    Exited {
        /// The node.
        node: String,
        /// How, in words.
        exit: String,
    },
    /// A node's actor is going to be started again.
    Restarting {
        /// The node.
        node: String,
    },
    /// A book went to the dead letters.
    Dead {
        /// The book.
        book: BookId,
        /// The pile where it died.
        pile: String,
        /// Why.
        reason: String,
    },
    /// A pile is closed: nothing will come to it and nothing is left of it.
    Closed {
        /// The pile.
        node: String,
        /// When.
        at: Time,
    },
    /// The sink of a node can't take anything at present: its books wait, uncharged, and it is tried again and again.
    Unavailable {
        /// The incinerator, or the crew whose work it is.
        node: String,
        /// The reason that the sink gave, for people.
        reason: String,
        /// When it is tried again; later pauses are longer.
        retry: Duration,
    },
    /// The sink of a node that was told to be unavailable takes books again.
    Available {
        /// The incinerator or crew.
        node: String,
        /// How long it took nothing.
        after: Duration,
    },
    /// The sink of a node can't take a book again: the run ends.
    SinkClosed {
        /// The incinerator or crew.
        node: String,
        /// The reason that the sink gave, for people.
        reason: String,
    },
    /// The sources are closed; what is under way runs to its end.
    Draining,
    /// The run is over and everything is accounted for; what still follows only explains it.
    Ended,
    /// The restart budget is spent: the run ends.
    Escalated {
        /// Which child failed how, and how often.
        reason: String,
    },
}

impl Event {
    /// The node that it happened to, if it happened to one.
    pub fn node(&self) -> Option<&str> {
        match self {
            Event::Started { node, .. }
            | Event::Exited { node, .. }
            | Event::Restarting { node }
            | Event::Closed { node, .. }
            | Event::Unavailable { node, .. }
            | Event::Available { node, .. }
            | Event::SinkClosed { node, .. } => Some(node),
            Event::Dead { pile, .. } => Some(pile),
            Event::Draining | Event::Ended | Event::Escalated { .. } => None,
        }
    }
}

/// What happened, in a line, without the node's name; a text from outside is quoted.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Started { epoch, .. } => write!(f, "started {epoch}"),
            Event::Exited { exit, .. } => write!(f, "exited {exit:?}"),
            Event::Restarting { .. } => f.write_str("restarting"),
            Event::Dead { book, reason, .. } => write!(f, "dead {book} {reason:?}"),
            Event::Closed { .. } => f.write_str("closed"),
            Event::Unavailable { reason, retry, .. } => {
                write!(f, "unavailable {} {reason:?}", Time::ZERO + *retry)
            }
            Event::Available { after, .. } => write!(f, "available {}", Time::ZERO + *after),
            Event::SinkClosed { reason, .. } => write!(f, "sink closed {reason:?}"),
            Event::Draining => f.write_str("draining"),
            Event::Ended => f.write_str("ended"),
            Event::Escalated { reason } => write!(f, "escalated {reason:?}"),
        }
    }
}
