//! Balancers and requesters, made in code.

use std::time::Duration;

use super::{TopologyBuilder, setters};
use crate::config::elements::{
    Arrivals, BalancerConfig, HedgeConfig, HttpConfig, KindConfig, LoadConfig, ReplicateConfig,
    RequesterConfig, Span, WhenFull, WorkersConfig,
};

/// A load of `count` clients in a loop: think, send a request, wait for its reply.
pub fn closed(count: u32) -> LoadConfig {
    LoadConfig::Closed { count, think: Span::Fixed(Duration::ZERO), requests: None }
}

/// A load of `rate` requests per second, however many are in flight.
pub fn open(rate: f64) -> LoadConfig {
    LoadConfig::Open {
        rate: Some(rate),
        utilisation: None,
        arrivals: Arrivals::default(),
        requests: None,
    }
}

/// A load that keeps the workers busy for this share of their time, however many requests are in
/// flight.
pub fn utilisation(share: f64) -> LoadConfig {
    LoadConfig::Open {
        rate: None,
        utilisation: Some(share),
        arrivals: Arrivals::default(),
        requests: None,
    }
}

/// A load of `requests` requests at once.
pub fn batch(requests: u64) -> LoadConfig {
    LoadConfig::Batch { requests }
}

/// A load that arrives over HTTP at this address, such as `127.0.0.1:8080`.
pub fn http(listen: &str) -> LoadConfig {
    LoadConfig::Http(HttpConfig::new(listen))
}

impl LoadConfig {
    /// Sets the think time of clients before each request; only closed loads have it.
    #[must_use]
    pub fn think(mut self, time: Span) -> Self {
        if let Self::Closed { think, .. } = &mut self {
            *think = time;
        }
        self
    }

    /// Sets the number of requests.
    #[must_use]
    pub fn requests(mut self, count: u64) -> Self {
        match &mut self {
            Self::Closed { requests, .. } | Self::Open { requests, .. } => *requests = Some(count),
            Self::Batch { requests } => *requests = count,
            Self::Http(http) => http.requests = Some(count),
        }
        self
    }

    /// Makes the gaps between requests equal; only open loads have them.
    #[must_use]
    pub fn evenly(mut self) -> Self {
        if let Self::Open { arrivals, .. } = &mut self {
            *arrivals = Arrivals::Fixed;
        }
        self
    }
}

impl TopologyBuilder {
    /// Adds a balancer of one worker that does `work`.
    #[must_use]
    pub fn balancer(
        mut self,
        name: &str,
        work: impl Into<KindConfig>,
        make: impl FnOnce(BalancerConfig) -> BalancerConfig,
    ) -> Self {
        let balancer = make(BalancerConfig::new(WorkersConfig::new(work)));
        self.0.balancers.insert(name.into(), balancer);
        self
    }

    /// Adds a requester that sends requests to the balancer `to`.
    #[must_use]
    pub fn requester(
        mut self,
        name: &str,
        to: &str,
        load: LoadConfig,
        make: impl FnOnce(RequesterConfig) -> RequesterConfig,
    ) -> Self {
        let requester = RequesterConfig::new(to, load);
        self.0.requesters.insert(name.into(), make(requester));
        self
    }
}

impl BalancerConfig {
    setters! {
        /// Sets the number of workers.
        workers(count: u32) workers.count = count;
        /// Sets the number of requests that a worker serves at a time.
        concurrency(requests: u32) workers.concurrency = requests;
    }

    /// Sends each request to every worker; the first reply wins.
    #[must_use]
    pub fn replicate_all(self) -> Self {
        self.replicate(ReplicateConfig::All)
    }

    /// Sends a request to a second worker when the first has taken this long, for at most this
    /// share of all requests.
    #[must_use]
    pub fn hedge_after(mut self, time: Duration, budget: f64) -> Self {
        self.hedge = Some(HedgeConfig { after: Some(time), percentile: None, budget });
        self
    }

    /// Sends a request to a second worker when the first has taken longer than this share of all
    /// requests so far, for at most a share of them.
    #[must_use]
    pub fn hedge_percentile(mut self, share: f64, budget: f64) -> Self {
        self.hedge = Some(HedgeConfig { after: None, percentile: Some(share), budget });
        self
    }

    /// Refuses requests when the queue is full.
    #[must_use]
    pub fn reject_when_full(mut self) -> Self {
        self.full = WhenFull::Reject;
        self
    }

    /// Declares that a request may be executed more than once.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.idempotent = Some(true);
        self
    }
}
