//! Balancers and requesters as plain data.

use std::time::Duration;

pub use gopherworks_actors::balancer::policy::{Full, Policy, Spread};
pub use gopherworks_actors::requester::load::{Arrivals, Order, Rate};
use gopherworks_actors::span::Span;

use super::{KindConfig, SpanConfig};

/// A balancer with its workers.
#[derive(Debug, Clone, PartialEq)]
pub struct BalancerConfig {
    /// Who gets a request.
    pub policy: Policy,
    /// How many workers are asked the same: `replicate`, `hedge`, or neither.
    pub spread: Spread,
    /// Requests that wait at most, besides one for each place of a worker; `None` does not bound.
    pub queue: Option<u32>,
    /// What becomes of a request that finds the queue full.
    pub full: Full,
    /// True if a request may be begun again after its worker was lost.
    pub idempotent: bool,
    /// How often an idempotent request may be the end of a worker (>= 1).
    pub max_attempts: u32,
    /// The workers.
    pub workers: WorkersConfig,
}

/// The workers of a balancer.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkersConfig {
    /// How many (>= 1).
    pub count: u32,
    /// Requests that one does at a time (>= 1).
    pub concurrency: u32,
    /// What they do.
    pub work: KindConfig,
}

/// A requester.
#[derive(Debug, Clone, PartialEq)]
pub struct RequesterConfig {
    /// The balancer that it asks.
    pub to: String,
    /// When it asks; `None` where the file did not say it right.
    pub load: Option<LoadConfig>,
    /// In which order it takes the answers to a batch.
    pub order: Order,
}

/// When a requester asks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LoadConfig {
    /// Clients in a loop: think, ask, wait for the answer.
    Closed {
        /// Clients (>= 1).
        count: u32,
        /// What a client thinks before each request.
        think: SpanConfig,
        /// Requests of all clients together; `None` does not end by itself.
        requests: Option<u64>,
    },
    /// Requests come when they come.
    Open {
        /// How often.
        rate: Rate,
        /// With which spread.
        arrivals: Arrivals,
        /// How many; `None` does not end by itself.
        requests: Option<u64>,
    },
    /// All at once.
    Batch {
        /// How many.
        requests: u64,
    },
}

impl BalancerConfig {
    /// Requests that wait at most, where nothing is said.
    pub const QUEUE: u32 = 1024;
    /// Attempts, where nothing is said.
    pub const ATTEMPTS: u32 = 3;
    /// Most copies of a hedged request as a share of all requests, where nothing is said.
    pub const BUDGET: f64 = 0.02;

    /// A balancer by the defaults, with workers of one kind.
    pub fn new(count: u32, work: KindConfig) -> Self {
        Self {
            policy: Policy::CENTRAL,
            spread: Spread::One,
            queue: Some(Self::QUEUE),
            full: Full::Wait,
            idempotent: false,
            max_attempts: Self::ATTEMPTS,
            workers: WorkersConfig {
                count,
                concurrency: 1,
                work,
            },
        }
    }
}

impl From<SpanConfig> for Span {
    fn from(span: SpanConfig) -> Self {
        match span {
            SpanConfig::Fixed(Duration::ZERO) => Span::Zero,
            SpanConfig::Fixed(time) => Span::Fixed(time),
            SpanConfig::Uniform(least, most) => Span::Uniform(least, most),
            SpanConfig::Exponential(mean) => Span::Exponential(mean),
            SpanConfig::LogNormal { mean, cv2 } => Span::LogNormal { mean, cv2 },
            SpanConfig::Bimodal { short, long, share } => Span::Bimodal { short, long, share },
        }
    }
}
