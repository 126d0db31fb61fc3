//! What the endpoints tell of: balancers of any work, and running topologies.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use gopherworks_actors::balancer::BalancerHandle;
use gopherworks_actors::balancer::figures::{Buckets, Figures};
use gopherworks_actors::worker::Work;

use super::shutdown::Account;
use crate::report::Report;
use crate::topology::RunningTopology;

/// A future of this thread.
pub(super) type Ending<'a> = Pin<Box<dyn Future<Output = Account> + 'a>>;

/// A balancer, whatever its work is.
pub(super) trait Watched: Send + Sync {
    fn name(&self) -> String;
    fn is_ready(&self) -> bool;
    fn told(&self) -> Told;
    fn end(&self, within: Duration) -> Ending<'_>;
}

/// What is known of one of them at a moment.
pub(super) enum Told {
    Balancer {
        figures: Box<Figures>,
        restarts: u64,
        times: [Buckets; 2],
    },
    Topology(Box<Report>),
}

impl<W: Work> Watched for BalancerHandle<W> {
    fn name(&self) -> String {
        self.name().to_owned()
    }

    fn is_ready(&self) -> bool {
        self.is_ready()
    }

    fn told(&self) -> Told {
        Told::Balancer {
            figures: Box::new(self.figures()),
            restarts: self.restarts(),
            times: self.buckets(),
        }
    }

    fn end(&self, within: Duration) -> Ending<'_> {
        Box::pin(async move {
            let figures = self.shut_down(within).await;
            Account::Balancer {
                name: self.name().to_owned(),
                counts: figures.counts,
            }
        })
    }
}

impl Watched for RunningTopology {
    fn name(&self) -> String {
        self.name().to_owned()
    }

    fn is_ready(&self) -> bool {
        self.is_running()
    }

    fn told(&self) -> Told {
        Told::Topology(Box::new(self.snapshot()))
    }

    fn end(&self, within: Duration) -> Ending<'_> {
        Box::pin(async move { Account::Topology(Box::new(self.drain(Some(within)).await)) })
    }
}
