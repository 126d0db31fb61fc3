//! What the endpoints observe: balancers of any work, and running topologies.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use gopherworks_balancer::__private::BalancerCore;
use gopherworks_balancer::BalancerHandle;
use gopherworks_balancer::figures::{Buckets, Figures};
use gopherworks_balancer::worker::Work;
use gopherworks_pipeline::__private::Served;

use super::shutdown::Account;
use crate::report::Ledger;
use crate::topology::{NodeStatus, RunningTopology};

/// A future that is not `Send`.
pub(super) type Ending<'a> = Pin<Box<dyn Future<Output = Account> + 'a>>;

/// A balancer of any work, or a topology.
pub(super) trait Watched: Send + Sync {
    fn name(&self) -> String;

    fn is_ready(&self) -> bool;

    /// A snapshot; `None` before the start and after the end.
    fn observe(&self) -> Option<Observation>;

    /// True for a topology, whose name may equal that of a balancer.
    fn is_topology(&self) -> bool {
        false
    }

    /// The topology, while it runs.
    fn topology(&self) -> Option<RunningTopology> {
        None
    }

    /// Counters of the HTTP server in front of it, with the requester's name.
    #[cfg(feature = "http")]
    fn served(&self) -> Option<(String, super::served::Served)> {
        None
    }

    /// Drains the balancer or topology; `None` if its owner does.
    fn end(&self, _within: Duration) -> Option<Ending<'_>> {
        None
    }
}

/// A snapshot of a balancer or a topology.
pub(super) enum Observation {
    Balancer(Box<BalancerState>),
    Topology(Box<TopologyState>),
}

/// A balancer's state, for its metrics.
pub(crate) struct BalancerState {
    pub(crate) name: String,
    pub(crate) ready: bool,
    pub(crate) figures: Figures,
    pub(crate) restarts: u64,
    /// Histograms of the response and the waiting time.
    pub(crate) times: [Buckets; 2],
}

impl BalancerState {
    pub(crate) fn of(core: &BalancerCore<Served>) -> Self {
        Self {
            name: core.name.to_string(),
            ready: core.is_ready(),
            figures: core.figures(),
            restarts: core.restarts(),
            times: core.buckets(),
        }
    }
}

/// A topology's state, for its metrics.
pub(crate) struct TopologyState {
    pub(crate) name: String,
    pub(crate) ready: bool,
    pub(crate) ledger: Ledger,
    pub(crate) restarts: u64,
    pub(crate) nodes: Vec<NodeStatus>,
    pub(crate) balancers: Vec<BalancerState>,
    /// The store of durable piles, if there is one.
    pub(crate) store: Option<StoreState>,
}

/// A store's state, for its metrics.
pub(crate) struct StoreState {
    pub(crate) up: bool,
    pub(crate) unconfirmed: usize,
    pub(crate) commits: Buckets,
}

impl<W: Work> Watched for BalancerHandle<W> {
    fn name(&self) -> String {
        self.name().to_owned()
    }

    fn is_ready(&self) -> bool {
        self.is_ready()
    }

    fn observe(&self) -> Option<Observation> {
        Some(Observation::Balancer(Box::new(BalancerState {
            name: self.name().to_owned(),
            ready: self.is_ready(),
            figures: self.figures(),
            restarts: self.restarts(),
            times: self.buckets(),
        })))
    }

    fn end(&self, within: Duration) -> Option<Ending<'_>> {
        Some(Box::pin(async move {
            let figures = self.shut_down(within).await;
            Account::Balancer { name: self.name().to_owned(), counts: figures.counts }
        }))
    }
}

/// A balancer of a topology, with the server of the requester in front of it. It ends with the
/// topology.
#[cfg(feature = "http")]
pub(super) struct ServedBalancer(
    pub(super) gopherworks_pipeline::__private::Asker,
    pub(super) std::sync::Arc<super::served::ServerCounts>,
);

#[cfg(feature = "http")]
impl Watched for ServedBalancer {
    fn name(&self) -> String {
        self.0.to().name.to_string()
    }

    fn is_ready(&self) -> bool {
        !self.0.is_closing() && self.0.to().is_ready()
    }

    fn observe(&self) -> Option<Observation> {
        Some(Observation::Balancer(Box::new(BalancerState::of(self.0.to()))))
    }

    fn served(&self) -> Option<(String, super::served::Served)> {
        Some((self.0.name().to_string(), self.1.now()))
    }
}

/// A topology whose own server observes it.
#[cfg(feature = "http")]
impl Watched for std::sync::Arc<crate::topology::TopologyLink> {
    fn name(&self) -> String {
        crate::topology::TopologyLink::name(self).to_owned()
    }

    fn is_ready(&self) -> bool {
        self.get().is_some_and(|running| running.is_ready())
    }

    fn observe(&self) -> Option<Observation> {
        Some(Observation::Topology(Box::new(self.get()?.state())))
    }

    fn is_topology(&self) -> bool {
        true
    }

    fn topology(&self) -> Option<RunningTopology> {
        self.get()
    }
}

impl Watched for RunningTopology {
    fn name(&self) -> String {
        self.name().to_owned()
    }

    fn is_ready(&self) -> bool {
        self.is_ready()
    }

    fn observe(&self) -> Option<Observation> {
        Some(Observation::Topology(Box::new(self.state())))
    }

    fn is_topology(&self) -> bool {
        true
    }

    fn topology(&self) -> Option<RunningTopology> {
        Some(self.clone())
    }

    fn end(&self, within: Duration) -> Option<Ending<'_>> {
        Some(Box::pin(async move { Account::Topology(Box::new(self.drain(Some(within)).await)) }))
    }
}
