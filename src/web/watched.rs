//! What the endpoints observe: balancers of any work, and running topologies.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use gopherworks_balancer::BalancerHandle;
use gopherworks_balancer::figures::{Buckets, Figures};
use gopherworks_balancer::worker::Work;

use super::shutdown::Account;
use crate::report::Report;
use crate::topology::RunningTopology;

/// A future that is not `Send`.
pub(super) type Ending<'a> = Pin<Box<dyn Future<Output = Account> + 'a>>;

/// A balancer of any work, or a topology.
pub(super) trait Watched: Send + Sync {
    fn name(&self) -> String;
    fn is_ready(&self) -> bool;
    fn observe(&self) -> Observation;
    /// Counters of the HTTP server in front of it, with the requester's name.
    #[cfg(feature = "http")]
    fn served(&self) -> Option<(String, super::served::Served)> {
        None
    }
    fn end(&self, within: Duration) -> Ending<'_>;
}

/// A snapshot of a balancer or a topology.
pub(super) enum Observation {
    Balancer { figures: Box<Figures>, restarts: u64, times: [Buckets; 2] },
    Topology(Box<Report>),
}

impl<W: Work> Watched for BalancerHandle<W> {
    fn name(&self) -> String {
        self.name().to_owned()
    }

    fn is_ready(&self) -> bool {
        self.is_ready()
    }

    fn observe(&self) -> Observation {
        Observation::Balancer {
            figures: Box::new(self.figures()),
            restarts: self.restarts(),
            times: self.buckets(),
        }
    }

    fn end(&self, within: Duration) -> Ending<'_> {
        Box::pin(async move {
            let figures = self.shut_down(within).await;
            Account::Balancer { name: self.name().to_owned(), counts: figures.counts }
        })
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

    fn observe(&self) -> Observation {
        let core = self.0.to();
        Observation::Balancer {
            figures: Box::new(core.figures()),
            restarts: core.restarts(),
            times: core.buckets(),
        }
    }

    fn served(&self) -> Option<(String, super::served::Served)> {
        Some((self.0.name().to_string(), self.1.now()))
    }

    fn end(&self, _: Duration) -> Ending<'_> {
        let core = self.0.to();
        Box::pin(async move {
            core.quiet().await;
            Account::Balancer { name: core.name.to_string(), counts: core.figures().counts }
        })
    }
}

impl Watched for RunningTopology {
    fn name(&self) -> String {
        self.name().to_owned()
    }

    fn is_ready(&self) -> bool {
        self.is_running() && !self.is_store_down()
    }

    fn observe(&self) -> Observation {
        Observation::Topology(Box::new(self.snapshot()))
    }

    fn end(&self, within: Duration) -> Ending<'_> {
        Box::pin(async move { Account::Topology(Box::new(self.drain(Some(within)).await)) })
    }
}
