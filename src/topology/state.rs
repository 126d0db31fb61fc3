//! The state of a running topology, for its metrics.

use super::running::RunningTopology;
use crate::report::Ledger;
use crate::web::{BalancerState, StoreState, TopologyState};

impl RunningTopology {
    /// Totals of all books at present.
    pub(crate) fn ledger(&self) -> Ledger {
        let custody = &self.inner().context.custody;
        Ledger { kept: custody.kept_books() as u64, ..custody.ledger().into() }
    }

    /// The present state. The ledger is consistent; other counters are read one after the other.
    pub(crate) fn state(&self) -> TopologyState {
        let inner = self.inner();
        let custody = &inner.context.custody;
        let store = custody.commit_times().map(|commits| StoreState {
            up: !custody.is_store_down(),
            unconfirmed: custody.unconfirmed(),
            commits,
        });
        TopologyState {
            name: inner.name.clone(),
            ready: self.is_ready(),
            ledger: self.ledger(),
            restarts: self.shared.supervisor.all_restarts().values().sum(),
            nodes: self.nodes(),
            balancers: inner.balancers.all().iter().map(|core| BalancerState::of(core)).collect(),
            store,
        }
    }
}
