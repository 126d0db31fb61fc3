//! `[requesters.x]`: what sends requests to a balancer, and when.

use std::time::Duration;

pub use gopherworks_pipeline::load::{Arrivals, Order};

use super::{End, HttpConfig, Priority, Span};
use crate::config::element::Element;
use crate::config::limits::{
    LARGEST_FACTOR, MOST_CLIENTS, MOST_IN_BATCH, MOST_KEYS, MOST_RATE, MOST_REQUESTS,
};

/// A requester, which sends requests to a balancer.
#[derive(Debug, Clone, PartialEq, Element)]
#[element(def = requester)]
pub struct RequesterConfig {
    /// The balancer to which it sends; one copy of it is written like front[lane=1].
    #[key(as = End, stand_in)]
    pub to: String,
    /// When it sends requests: a table with `kind` and its options.
    #[key(stand_in = LoadConfig::Batch { requests: 1 })]
    pub load: LoadConfig,
    /// In which order it takes the replies to a batch.
    #[key(default, set)]
    pub order: Order,
    /// Which requests go first in queues.
    #[key(default, set)]
    pub priority: Priority,
    /// Number of distinct keys that its requests have in turn, for the policy `affinity`. Without
    /// it requests have no key.
    #[key(min = 1, most = MOST_KEYS, because = "requests need at least one key", set)]
    pub keys: Option<u32>,
}

/// When a requester sends requests.
// Not the engine's `Load`, which has one rate and no settings of HTTP.
#[derive(Debug, Clone, PartialEq, Element)]
#[element(by_kind = load)]
#[allow(clippy::large_enum_variant, reason = "one for each requester, read once")]
pub enum LoadConfig {
    /// Clients in a loop: each thinks, sends a request and waits for its reply.
    Closed {
        /// Number of clients.
        #[key(
            min = 1, most = MOST_CLIENTS, because = "a closed load has at least one client"
        )]
        count: u32,
        /// Think time of a client before each request: a duration or a distribution.
        #[key(default = Span::Fixed(Duration::ZERO))]
        think: Span,
        /// Requests of all clients after which it is done. Without it there is no end.
        #[key(min = 1, most = MOST_REQUESTS, because = "a requester makes at least one request")]
        requests: Option<u64>,
    },
    /// Requests arrive at a rate, however many are in flight.
    #[element(exactly_one(rate, utilisation))]
    Open {
        /// Requests per second. It excludes `utilisation`.
        #[key(above = 0, most = MOST_RATE, because = "a rate is a number above 0")]
        rate: Option<f64>,
        /// Rate as a share of what the workers can do, such as 0.9. It excludes `rate`.
        #[key(above = 0, most = LARGEST_FACTOR, because = "a utilisation is a number above 0")]
        utilisation: Option<f64>,
        /// Distribution of the gaps between arrivals.
        #[key(default)]
        arrivals: Arrivals,
        /// Requests after which it is done. Without it there is no end.
        #[key(min = 1, most = MOST_REQUESTS, because = "a requester makes at least one request")]
        requests: Option<u64>,
    },
    /// All requests at once, at the start.
    Batch {
        /// Number of requests.
        #[key(min = 1, most = MOST_IN_BATCH, because = "a requester makes at least one request")]
        requests: u64,
    },
    /// Requests arrive over HTTP; the reply's body is the response's.
    Http(HttpConfig),
}

#[derive(Element)]
#[element(words, remote = Arrivals)]
#[allow(dead_code, reason = "it describes another enum")]
enum ArrivalsWord {
    /// Independent of each other: exponential gaps.
    Poisson,
    /// Equal gaps.
    Fixed,
}

#[derive(Element)]
#[element(words, remote = Order)]
#[allow(dead_code, reason = "it describes another enum")]
enum OrderWord {
    /// As they arrive.
    Completion,
    /// In the order of the requests.
    Input,
}
