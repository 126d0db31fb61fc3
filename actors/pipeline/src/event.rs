//! Events of a running topology, for subscribers.

use std::fmt;
use std::time::Duration;

use crate::book::BookId;
use crate::control::ControlAct;
use gopherworks_supervision::clock::Time;

/// An event of a running topology.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A node's actor has started.
    Started {
        /// Name of the node.
        node: String,
        /// Number of its incarnation, from 1.
        epoch: u64,
    },
    /// A node's actor has ended.
    Exited {
        /// Name of the node.
        node: String,
        /// How the actor ended, as text.
        exit: String,
    },
    /// A node's actor will be restarted.
    Restarting {
        /// Name of the node.
        node: String,
    },
    /// A book became a dead letter.
    Dead {
        /// Id of the book.
        book: BookId,
        /// Name of the pile where it died.
        pile: String,
        /// Reason of the failure.
        reason: String,
    },
    /// A pile has closed: no further books can arrive and none are left.
    Closed {
        /// Name of the pile.
        node: String,
        /// When the pile closed.
        at: Time,
    },
    /// The sink of a node is unavailable: its books wait without charged attempts, and the sink is
    /// probed repeatedly.
    Unavailable {
        /// Name of the incinerator, or of the crew whose work needs the sink.
        node: String,
        /// The reason the sink gave.
        reason: String,
        /// Time until the first probe; later pauses are longer.
        retry: Duration,
    },
    /// The sink of a node, reported unavailable before, is available again.
    Available {
        /// Name of the incinerator or crew.
        node: String,
        /// How long the sink was unavailable.
        after: Duration,
    },
    /// The sink of a node will never accept a book again: the run ends.
    SinkClosed {
        /// Name of the incinerator or crew.
        node: String,
        /// The reason the sink gave.
        reason: String,
    },
    /// The store of durable piles fails: changes are kept in memory, up to a bound, and written
    /// once the store works again.
    StoreDown {
        /// What failed.
        reason: String,
        /// Time until the next attempt; `None` if there is none, which ends the run.
        retry: Option<Duration>,
    },
    /// The store, reported down before, works again.
    StoreUp {
        /// How long the store failed.
        after: Duration,
    },
    /// Leases in a shared store were lost, or changes came after they had expired: other processes
    /// may work on these books.
    LeasesLost {
        /// Number of books.
        books: usize,
    },
    /// An operator has changed a node.
    Control {
        /// Name of the node; of a killed one, of its actor.
        node: String,
        /// What was done.
        act: ControlAct,
        /// The operator, such as the address of a client.
        by: String,
    },
    /// The run goes on with another plan.
    Reloaded {
        /// Number of changes.
        changes: usize,
    },
    /// Another plan could not take the place of the present one, which goes on.
    ReloadFailed {
        /// Why it could not, as text.
        reason: String,
    },
    /// The sources are closed; books and requests in flight are completed.
    Draining,
    /// The run is over and all books are accounted for; later events are only explanations.
    Ended,
    /// The supervisor's restart limit was exceeded: the run ends.
    Escalated {
        /// The child that failed, how, and how often.
        reason: String,
    },
}

impl Event {
    /// The node concerned, if there is one.
    pub fn node(&self) -> Option<&str> {
        match self {
            Event::Started { node, .. }
            | Event::Exited { node, .. }
            | Event::Restarting { node }
            | Event::Closed { node, .. }
            | Event::Unavailable { node, .. }
            | Event::Available { node, .. }
            | Event::SinkClosed { node, .. }
            | Event::Control { node, .. } => Some(node),
            Event::Dead { pile, .. } => Some(pile),
            Event::StoreDown { .. }
            | Event::StoreUp { .. }
            | Event::LeasesLost { .. }
            | Event::Reloaded { .. }
            | Event::ReloadFailed { .. }
            | Event::Draining
            | Event::Ended
            | Event::Escalated { .. } => None,
        }
    }
}

impl Event {
    /// The variant's name in lower case.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Event::Started { .. } => "started",
            Event::Exited { .. } => "exited",
            Event::Restarting { .. } => "restarting",
            Event::Dead { .. } => "dead",
            Event::Closed { .. } => "closed",
            Event::Unavailable { .. } => "unavailable",
            Event::Available { .. } => "available",
            Event::SinkClosed { .. } => "sink_closed",
            Event::StoreDown { .. } => "store_down",
            Event::StoreUp { .. } => "store_up",
            Event::LeasesLost { .. } => "leases_lost",
            Event::Control { act, .. } => act.event(),
            Event::Reloaded { .. } => "reloaded",
            Event::ReloadFailed { .. } => "reload_failed",
            Event::Draining => "draining",
            Event::Ended => "ended",
            Event::Escalated { .. } => "escalated",
        }
    }

    /// The details besides kind and node, as text; text from outside is not escaped.
    pub(crate) fn details(&self) -> String {
        match self {
            Event::Started { epoch, .. } => format!("life {epoch}"),
            Event::Exited { exit, .. } => exit.clone(),
            Event::Dead { book, reason, .. } => format!("book {book}: {reason}"),
            Event::Unavailable { reason, .. }
            | Event::SinkClosed { reason, .. }
            | Event::StoreDown { reason, .. }
            | Event::ReloadFailed { reason }
            | Event::Escalated { reason } => reason.clone(),
            Event::Available { after, .. } | Event::StoreUp { after } => {
                format!("after {:.3} s", after.as_secs_f64())
            }
            Event::LeasesLost { books } => format!("{books} books"),
            Event::Control { act: ControlAct::Scale(gophers), by, .. } => {
                format!("to {gophers} gophers, by {by}")
            }
            Event::Control { by, .. } => format!("by {by}"),
            Event::Reloaded { changes } => format!("{changes} changes"),
            Event::Restarting { .. } | Event::Closed { .. } | Event::Draining | Event::Ended => {
                String::new()
            }
        }
    }
}

/// One line without the node's name; external text is quoted.
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
            Event::StoreDown { reason, retry: Some(retry) } => {
                write!(f, "store down {} {reason:?}", Time::ZERO + *retry)
            }
            Event::StoreDown { reason, retry: None } => write!(f, "store broken {reason:?}"),
            Event::LeasesLost { books } => write!(f, "leases lost {books}"),
            Event::StoreUp { after } => write!(f, "store up {}", Time::ZERO + *after),
            Event::SinkClosed { reason, .. } => write!(f, "sink closed {reason:?}"),
            Event::Control { act, by, .. } => write!(f, "control {act} {by:?}"),
            Event::Reloaded { changes } => write!(f, "reloaded {changes}"),
            Event::ReloadFailed { reason } => write!(f, "reload failed {reason:?}"),
            Event::Draining => f.write_str("draining"),
            Event::Ended => f.write_str("ended"),
            Event::Escalated { reason } => write!(f, "escalated {reason:?}"),
        }
    }
}
