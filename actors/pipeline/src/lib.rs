//! Pipelines of gopherworks: books, their custody, and the actors that move and burn them.
//!
//! It knows no configuration files, command line or formats; the crate `gopherworks` wires it up.

mod asking;
pub mod book;
pub mod burn;
mod context;
mod control;
mod crew;
mod custody;
mod event;
mod event_log;
mod feeder;
mod gopher;
mod incinerator;
pub mod job;
mod pause;
mod pile;
mod reasons;
mod requester;
pub mod source;
mod stats;
pub mod store;
mod tap;
pub mod trace;
pub mod transform;

pub use context::{Halt, SinkClosed};
pub use control::ControlAct;
pub use crew::steps;
pub use custody::ledger::{BookOutcome, LedgerReport};
pub use custody::outcomes::Awaited;
pub use event::Event;
pub use pile::OfferError;
pub use reasons::ReasonCount;
pub use requester::load;
pub use store::Promises;

/// Internals for the crate `gopherworks`, which wires pipelines up; exempt from semantic
/// versioning.
#[doc(hidden)]
pub mod __private {
    pub use crate::asking::Asking;
    pub use crate::context::PipelineContext;
    pub use crate::crew::GopherCore;
    pub use crate::crew::queue::{CrewMember, CrewQueue};
    pub use crate::custody::keeper::{KeeperHooks, Kept, Opened};
    pub use crate::custody::ledger::IdSet;
    pub use crate::custody::shelf::{Retry, SeenBook, SeenState};
    pub use crate::custody::slots::Slots;
    pub use crate::custody::{Bound, Charges, Custody, HolderId, PileKey, Want};
    pub use crate::event_log::{EventLog, LoggedEvent};
    pub use crate::feeder::{Feeder, FeederCore, MakeSource};
    pub use crate::gopher::{CrewCore, Destination, Gopher, MakeWork};
    pub use crate::incinerator::{Incinerator, IncineratorCore, MakeBurn};
    pub use crate::job::Served;
    pub use crate::pile::{Look, Pile, PileCore, PileParts};
    pub use crate::reasons::{Reasons, Then, printable};
    pub use crate::requester::{
        Asker, FailureCallback, Requester, RequesterCore, RequesterParts, Unanswered,
    };
    pub use crate::stats::NodeStats;
    pub use crate::tap::{LARGEST_SAMPLED, PassedBook, TapReader};
    pub use crate::trace::BalancerTracer;
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
