//! Balancers and requesters, made in code.

use std::time::Duration;

use super::TopologyBuilder;
use crate::config::schema::{
    ArrivalsConfig, BalancerConfig, FullConfig, HedgeConfig, HttpConfig, KindConfig, LoadConfig,
    OrderConfig, PolicyConfig, PriorityConfig, ReplicateConfig, RequesterConfig, ResilienceConfig,
    SpanConfig,
};

/// A load of `count` clients: each thinks, asks and waits for its answer, again and again.
pub fn closed(count: u32) -> LoadConfig {
    LoadConfig::Closed { count, think: SpanConfig::Fixed(Duration::ZERO), requests: None }
}

/// A load of so many requests a second, however many are under way.
pub fn open(rate: f64) -> LoadConfig {
    LoadConfig::Open {
        rate: Some(rate),
        utilisation: None,
        arrivals: ArrivalsConfig::default(),
        requests: None,
    }
}

/// A load that keeps the workers busy for this share of their time, however many requests are under way.
pub fn utilisation(share: f64) -> LoadConfig {
    LoadConfig::Open {
        rate: None,
        utilisation: Some(share),
        arrivals: ArrivalsConfig::default(),
        requests: None,
    }
}

/// A load of so many requests at once.
pub fn batch(requests: u64) -> LoadConfig {
    LoadConfig::Batch { requests }
}

/// A load that comes over HTTP: it listens at this address, such as `127.0.0.1:8080`.
pub fn http(listen: &str) -> LoadConfig {
    LoadConfig::Http(HttpConfig::new(listen))
}

impl LoadConfig {
    /// Sets what a client of a closed load thinks before each request; other loads don't think.
    #[must_use]
    pub fn think(mut self, time: SpanConfig) -> Self {
        if let Self::Closed { think, .. } = &mut self {
            *think = time;
        }
        self
    }

    /// Sets how many requests there are.
    #[must_use]
    pub fn requests(mut self, count: u64) -> Self {
        match &mut self {
            Self::Closed { requests, .. } | Self::Open { requests, .. } => *requests = Some(count),
            Self::Batch { requests } => *requests = count,
            Self::Http(http) => http.requests = Some(count),
        }
        self
    }

    /// Makes the gaps of an open load equal; other loads have none.
    #[must_use]
    pub fn evenly(mut self) -> Self {
        if let Self::Open { arrivals, .. } = &mut self {
            *arrivals = ArrivalsConfig::Fixed;
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
        let balancer = make(BalancerConfig::new(work.into()));
        self.0.balancers.insert(name.into(), balancer);
        self
    }

    /// Adds a requester that asks the balancer `to`.
    #[must_use]
    pub fn requester(
        mut self,
        name: &str,
        to: &str,
        load: LoadConfig,
        make: impl FnOnce(RequesterConfig) -> RequesterConfig,
    ) -> Self {
        let requester = RequesterConfig {
            to: to.into(),
            load,
            order: OrderConfig::default(),
            priority: PriorityConfig::default(),
            keys: None,
        };
        self.0.requesters.insert(name.into(), make(requester));
        self
    }
}

impl BalancerConfig {
    /// Sets how many workers there are.
    #[must_use]
    pub fn workers(mut self, count: u32) -> Self {
        self.workers.count = count;
        self
    }

    /// Sets how many requests a worker does at a time.
    #[must_use]
    pub fn concurrency(mut self, requests: u32) -> Self {
        self.workers.concurrency = requests;
        self
    }

    /// Sets who gets a request.
    #[must_use]
    pub fn policy(mut self, policy: PolicyConfig) -> Self {
        self.policy = policy;
        self
    }

    /// Asks every worker the same; the first answer wins.
    #[must_use]
    pub fn replicate_all(mut self) -> Self {
        self.replicate = Some(ReplicateConfig::All);
        self
    }

    /// Asks so many workers the same; the first answer wins.
    #[must_use]
    pub fn replicate(mut self, workers: u32) -> Self {
        self.replicate = Some(ReplicateConfig::Some(workers));
        self
    }

    /// Asks a second worker when the first has been at it so long, for at most this share of all requests.
    #[must_use]
    pub fn hedge_after(mut self, time: Duration, budget: f64) -> Self {
        self.hedge = Some(HedgeConfig { after: Some(time), percentile: None, budget });
        self
    }

    /// Asks a second worker when the first has been at it longer than this share of all requests took so far, for at most a
    /// share of them.
    #[must_use]
    pub fn hedge_percentile(mut self, share: f64, budget: f64) -> Self {
        self.hedge = Some(HedgeConfig { after: None, percentile: Some(share), budget });
        self
    }

    /// Bounds the requests that wait; `None` does not.
    #[must_use]
    pub fn queue(mut self, requests: Option<u32>) -> Self {
        self.queue = requests;
        self
    }

    /// Refuses requests that find the queue full.
    #[must_use]
    pub fn reject_when_full(mut self) -> Self {
        self.full = FullConfig::Reject;
        self
    }

    /// Says that a request may be executed more than once.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.idempotent = Some(true);
        self
    }

    /// Sets the attempts of a request whose worker died of it.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// Sets what protects its callers, under overload and from ill workers.
    #[must_use]
    pub fn resilience(mut self, resilience: ResilienceConfig) -> Self {
        self.resilience = resilience;
        self
    }
}

impl RequesterConfig {
    /// Sets the order in which it takes the answers to a batch.
    #[must_use]
    pub fn order(mut self, order: OrderConfig) -> Self {
        self.order = order;
        self
    }

    /// Sets which requests go first where they wait.
    #[must_use]
    pub fn priority(mut self, priority: PriorityConfig) -> Self {
        self.priority = priority;
        self
    }

    /// Makes its requests be about so many things in turn, each with a key of its own.
    #[must_use]
    pub fn keys(mut self, things: u32) -> Self {
        self.keys = Some(things);
        self
    }
}
