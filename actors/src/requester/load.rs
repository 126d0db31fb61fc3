//! Pure: when a requester asks.

use crate::span::Span;

/// How a requester asks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Load {
    /// `count` clients in a loop: think, ask, wait for the answer. At most one request of each is under way.
    Closed {
        /// Clients (>= 1).
        count: u32,
        /// What a client thinks before each request.
        think: Span,
        /// Requests of all clients together, after which they are done; `None`: until they are closed.
        requests: Option<u64>,
    },
    /// Requests come when they come, however many are under way.
    Open {
        /// How often.
        rate: Rate,
        /// With which spread.
        arrivals: Arrivals,
        /// Requests after which it is done; `None`: until it is closed.
        requests: Option<u64>,
    },
    /// All at once at the start: the document's `sendLotsOfWork`.
    Batch {
        /// How many.
        requests: u64,
    },
    /// Requests come from outside, by [`super::RequesterCore::outside`].
    Outside {
        /// Requests after which it is done; `None`: until it is closed.
        requests: Option<u64>,
    },
}

impl Load {
    /// The word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Load::Closed { .. } => "closed",
            Load::Open { .. } => "open",
            Load::Batch { .. } => "batch",
            Load::Outside { .. } => "outside",
        }
    }
}

/// How often requests come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// So many a second (> 0).
    PerSecond(f64),
    /// So much of what the balancer's workers can do when none of them is ever idle (> 0; below 1 it can be kept up).
    Utilisation(f64),
}

/// The spread of arrivals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Arrivals {
    /// Independent of each other: exponential gaps.
    #[default]
    Poisson,
    /// Equal gaps.
    Fixed,
}

/// In which order a requester takes the answers to a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// As they come.
    #[default]
    Completion,
    /// As the requests were sent: an early answer waits for those before it.
    Input,
}
