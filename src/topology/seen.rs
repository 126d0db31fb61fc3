//! Reads a running topology for the JSON API: its drawing, its books, and its last events.

use std::time::Duration;

use gopherworks_pipeline::__private::{EventLog, SeenBook, SeenState};
use gopherworks_supervision::clock::Time;

use super::running::RunningTopology;
use crate::diagram::{Copies, Picture};
use crate::report::{ReasonReport, StoreAccount};

/// A book on a pile.
pub(crate) struct SeenOnPile {
    pub(crate) seen: SeenBook,
    /// Name of the gopher or incinerator that has leased the book; `None` while its cart waits.
    pub(crate) holder: Option<String>,
    /// Time until a delayed book may be leased again.
    pub(crate) due: Option<Duration>,
}

impl RunningTopology {
    /// The drawing, with every copy.
    pub(crate) fn picture(&self) -> Picture {
        Picture::new(&self.inner().nodes().plan.config, Copies::Expanded)
    }

    /// Names of durable piles, and what their books survive.
    pub(crate) fn durable(&self) -> Option<(Vec<String>, String)> {
        let found = self.inner().found.as_ref()?;
        Some((found.piles.clone(), found.promises.to_string()))
    }

    /// Identity of this run, unlike that of any other.
    pub(crate) fn run_id(&self) -> String {
        self.inner().run.to_string()
    }

    /// Seconds since the start.
    pub(crate) fn seconds(&self, at: Time) -> f64 {
        (at - self.inner().started).as_secs_f64()
    }

    /// Seconds since the start until now.
    pub(crate) fn uptime(&self) -> f64 {
        self.seconds(self.inner().context.clock.now())
    }

    /// The last events.
    pub(crate) fn log(&self) -> &EventLog {
        &self.inner().context.log
    }

    /// Why books and requests failed at a node, the most frequent reason first.
    pub(crate) fn reasons_at(&self, node: &str) -> Vec<ReasonReport> {
        let inner = self.inner();
        let all = inner.context.reasons.all().into_iter();
        let own = all.filter(|reason| reason.node.trim_end_matches(".source") == node);
        own.map(|reason| ReasonReport::new(reason, inner.started)).collect()
    }

    /// The account of the store over all runs, as far as it is known.
    pub(crate) fn account(&self) -> Option<StoreAccount> {
        let inner = self.inner();
        let known = inner.context.custody.store_account();
        known.or_else(|| inner.found.as_ref().and_then(|found| found.account)).map(Into::into)
    }

    /// A page of the books of a pile in memory: whether leased, ready and delayed ones are wanted,
    /// and how many to skip and to take. `None` if there is no such pile.
    pub(crate) fn books(
        &self,
        pile: &str,
        wanted: (bool, bool, bool),
        page: (usize, usize),
    ) -> Option<Vec<SeenOnPile>> {
        let inner = self.inner();
        let key = inner.nodes().pile(pile)?.key;
        let now = inner.context.clock.now();
        let books = inner.context.custody.look(key, wanted, page).into_iter();
        let books = books.map(|seen| {
            let (holder, due) = match seen.state {
                SeenState::Ready => (None, None),
                SeenState::Delayed(due) => (None, Some(due.max(now) - now)),
                SeenState::Leased(holder) => (self.named(holder.node()), None),
            };
            SeenOnPile { seen, holder, due }
        });
        Some(books.collect())
    }

    /// Name of the node with this number.
    fn named(&self, node: u32) -> Option<String> {
        let nodes = self.inner().nodes();
        let piles = nodes.piles.iter().map(|pile| (pile.node, &pile.name));
        let fires = nodes.incinerators.iter().map(|fire| (fire.node, &fire.name));
        let gophers = nodes.crews.iter().flat_map(|crew| {
            crew.all().into_iter().map(|gopher| (gopher.node, gopher.core.name.clone()))
        });
        let others = piles.chain(fires).map(|(number, name)| (number, name.clone()));
        others.chain(gophers).find_map(|(number, name)| (number == node).then_some(name))
    }
}
