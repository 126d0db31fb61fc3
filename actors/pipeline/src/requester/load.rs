//! Pure: the load of a requester: when it sends requests.

use gopherworks_supervision::span::Span;

/// When a requester sends requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Load {
    /// `count` clients in a loop: think, call, wait for the reply. Each has at most one request in
    /// flight.
    Closed {
        /// Number of clients (>= 1).
        count: u32,
        /// Think time of a client before each request.
        think: Span,
        /// Total requests of all clients; `None` continues until closed.
        requests: Option<u64>,
    },
    /// Requests arrive at a rate, however many are in flight.
    Open {
        /// Mean rate.
        rate: Rate,
        /// Distribution of the gaps.
        arrivals: Arrivals,
        /// Total requests; `None` continues until closed.
        requests: Option<u64>,
    },
    /// All requests at once at the start: the talk's `sendLotsOfWork`.
    Batch {
        /// Total requests.
        requests: u64,
    },
    /// Requests come from outside, through [`super::RequesterCore::outside`].
    Outside {
        /// Requests after which it ends; `None` continues until closed.
        requests: Option<u64>,
    },
}

impl Load {
    /// The load's name in configuration files.
    pub fn name(&self) -> &'static str {
        match self {
            Load::Closed { .. } => "closed",
            Load::Open { .. } => "open",
            Load::Batch { .. } => "batch",
            Load::Outside { .. } => "outside",
        }
    }
}

/// Mean arrival rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// Requests per second (> 0).
    PerSecond(f64),
    /// Share of the workers' total capacity (> 0; sustainable below 1).
    Utilisation(f64),
}

/// Distribution of the gaps between arrivals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Arrivals {
    /// Exponential gaps: independent arrivals.
    #[default]
    Poisson,
    /// Equal gaps.
    Fixed,
}

/// Order in which a requester takes the replies to a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Replies are taken as they arrive.
    #[default]
    Completion,
    /// Replies are taken in the order of the requests: an early reply waits for those before it.
    Input,
}
