//! Runs the children of templates on live actors.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::super::policy::derived;
use super::super::ports::Claim;
use super::super::template::{Row, Template};
use super::super::{ChildId, Strike};
use super::{Do, Task};
use crate::clock::Time;

/// The templates, by the id of their first child.
#[derive(Default)]
pub(super) struct Rows(BTreeMap<ChildId, Kept>);

struct Kept {
    prefix: Arc<str>,
    count: usize,
    gone: usize,
    row: Arc<dyn Row>,
    /// Released when the supervisor ends.
    claim: Option<Claim>,
    /// Receives the first id once all have been started once.
    told: Option<oneshot::Sender<ChildId>>,
    /// True once a batch was started.
    launched: bool,
}

impl Rows {
    fn find(&self, child: ChildId) -> Option<(&Kept, u32)> {
        let (first, kept) = self.0.range(..=child).next_back()?;
        let index = child.0 - first.0;
        // The template limits `count` to 32 bits.
        (index < kept.count).then_some((kept, index as u32))
    }

    pub(super) fn name(&self, child: ChildId) -> Option<Arc<str>> {
        let (kept, index) = self.find(child)?;
        Some(derived(&kept.prefix, index))
    }

    pub(super) fn launch_lot(&mut self, first: ChildId, count: usize, epoch: u64) {
        if let Some((row, kept)) = self.0.range_mut(..=first).next_back() {
            kept.launched = true;
            let from = (first.0 - row.0) as u32;
            kept.row.clone().launch_lot(from, count as u32, epoch);
        }
    }

    pub(super) fn launch(&self, child: ChildId, epoch: u64) {
        if let Some((kept, index)) = self.find(child) {
            kept.row.clone().launch(index, epoch);
        }
    }

    pub(super) fn strike(&self, child: ChildId, strike: Strike) {
        if let Some((kept, index)) = self.find(child) {
            kept.row.strike(index, strike);
        }
    }

    pub(super) fn vacate(&self, child: ChildId, epoch: u64) {
        if let Some((kept, index)) = self.find(child) {
            kept.row.vacate(index, epoch);
        }
    }

    /// Closes the port of a child and returns the first id of its template.
    fn forget(&mut self, child: ChildId) -> Option<ChildId> {
        let (first, kept) = self.0.range_mut(..=child).next_back()?;
        kept.row.close((child.0 - first.0) as u32);
        kept.gone += 1;
        Some(*first)
    }

    /// Called when all remaining children of a template have been started once.
    pub(super) fn tell_started(&mut self, first: ChildId) {
        let Some(kept) = self.0.get_mut(&first) else {
            return;
        };
        // If no batch was started, dropping the sender reports `NotStarted`.
        if let Some(say) = kept.told.take().filter(|_| kept.launched) {
            let _ = say.send(first);
        }
        if kept.gone == kept.count {
            self.0.remove(&first);
        }
    }

    pub(super) fn kill_all(&self) {
        self.0.values().for_each(|kept| kept.row.kill_all());
    }

    pub(super) fn end(&mut self, nested: bool) {
        for kept in self.0.values_mut() {
            kept.told = None;
            if nested {
                kept.row.rest();
            } else {
                kept.row.close_all();
            }
            // Released before the end is published, so another supervisor can use the ports then.
            kept.claim = None;
        }
    }
}

impl Task {
    pub(super) fn forget_one(&mut self, child: ChildId) {
        // The child removed may be the last one that was waiting for its first start.
        if let Some(first) = self.rows.forget(child)
            && !self.restarts.is_starting(first)
        {
            self.rows.tell_started(first);
        }
    }

    pub(super) fn add_many(
        &mut self,
        template: Template,
        say: oneshot::Sender<ChildId>,
        now: Time,
    ) -> Vec<Do> {
        let (prefix, count) = (template.spec.name.clone(), template.count);
        let Some((claim, spec)) = template.claim() else {
            log::error!("{prefix}: its ports serve another supervisor, or this one already");
            return Vec::new();
        };
        let Some((first, wanted)) = self.restarts.add_many(spec, count, now) else {
            return Vec::new();
        };
        if count == 0 {
            let _ = say.send(first);
            return wanted;
        }
        let row = template.seat(first, self.around.clone(), self.office.clone());
        let public = prefix.clone();
        (self.shared).change(|listed| listed.insert_row(first, public, count));
        let kept = Kept {
            prefix,
            count,
            gone: 0,
            row,
            claim: Some(claim),
            told: Some(say),
            launched: false,
        };
        self.rows.0.insert(first, kept);
        wanted
    }
}
