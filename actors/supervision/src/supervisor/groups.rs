//! Runs the children of templates on live actors.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::super::policy::derived;
use super::super::ports::Claim;
use super::super::template::{GroupRunner, Template};
use super::super::{ChildId, Strike};
use super::{RestartAction, SupervisorTask};
use crate::clock::Time;

/// The templates, by the id of their first child.
#[derive(Default)]
pub(super) struct TemplateGroups(BTreeMap<ChildId, SupervisedGroup>);

struct SupervisedGroup {
    prefix: Arc<str>,
    count: usize,
    gone: usize,
    runner: Arc<dyn GroupRunner>,
    /// Released when the supervisor ends.
    claim: Option<Claim>,
    /// Receives the first id once all have been started once.
    started: Option<oneshot::Sender<ChildId>>,
    /// True once a batch was started.
    launched: bool,
}

impl TemplateGroups {
    fn find(&self, child: ChildId) -> Option<(&SupervisedGroup, u32)> {
        let (first, group) = self.0.range(..=child).next_back()?;
        let index = child.0 - first.0;
        // The template limits `count` to 32 bits.
        (index < group.count).then_some((group, index as u32))
    }

    pub(super) fn name(&self, child: ChildId) -> Option<Arc<str>> {
        let (group, index) = self.find(child)?;
        Some(derived(&group.prefix, index))
    }

    pub(super) fn launch_batch(&mut self, first: ChildId, count: usize, epoch: u64) {
        if let Some((base, group)) = self.0.range_mut(..=first).next_back() {
            group.launched = true;
            let from = (first.0 - base.0) as u32;
            group.runner.clone().launch_batch(from, count as u32, epoch);
        }
    }

    pub(super) fn launch(&self, child: ChildId, epoch: u64) {
        if let Some((group, index)) = self.find(child) {
            group.runner.clone().launch(index, epoch);
        }
    }

    pub(super) fn strike(&self, child: ChildId, strike: Strike) {
        if let Some((group, index)) = self.find(child) {
            group.runner.strike(index, strike);
        }
    }

    pub(super) fn vacate(&self, child: ChildId, epoch: u64) {
        if let Some((group, index)) = self.find(child) {
            group.runner.vacate(index, epoch);
        }
    }

    /// Closes the port of a child and returns the first id of its template.
    fn forget(&mut self, child: ChildId) -> Option<ChildId> {
        let (first, group) = self.0.range_mut(..=child).next_back()?;
        group.runner.close((child.0 - first.0) as u32);
        group.gone += 1;
        Some(*first)
    }

    /// Called when all remaining children of a template have been started once.
    pub(super) fn confirm_started(&mut self, first: ChildId) {
        let Some(group) = self.0.get_mut(&first) else {
            return;
        };
        // If no batch was started, dropping the sender reports `NotStarted`.
        if let Some(reply) = group.started.take().filter(|_| group.launched) {
            let _ = reply.send(first);
        }
        if group.gone == group.count {
            self.0.remove(&first);
        }
    }

    pub(super) fn kill_all(&self) {
        self.0.values().for_each(|group| group.runner.kill_all());
    }

    pub(super) fn end(&mut self, nested: bool) {
        for group in self.0.values_mut() {
            group.started = None;
            if nested {
                group.runner.rest();
            } else {
                group.runner.close_all();
            }
            // Released before the end is published, so another supervisor can use the ports then.
            group.claim = None;
        }
    }
}

impl SupervisorTask {
    pub(super) fn forget_one(&mut self, child: ChildId) {
        // The child removed may be the last one that was waiting for its first start.
        if let Some(first) = self.groups.forget(child)
            && !self.restarts.is_starting(first)
        {
            self.groups.confirm_started(first);
        }
    }

    pub(super) fn add_many(
        &mut self,
        template: Template,
        reply: oneshot::Sender<ChildId>,
        now: Time,
    ) -> Vec<RestartAction> {
        let (prefix, count) = (template.spec.name.clone(), template.count);
        let Some((claim, spec)) = template.claim() else {
            log::error!("{prefix}: its ports serve another supervisor, or this one already");
            return Vec::new();
        };
        let Some((first, actions)) = self.restarts.add_many(spec, count, now) else {
            return Vec::new();
        };
        if count == 0 {
            let _ = reply.send(first);
            return actions;
        }
        let runner = template.into_runner(first, self.context.clone(), self.reporter.clone());
        let listed = prefix.clone();
        (self.shared).change(|list| list.insert_group(first, listed, count));
        let group = SupervisedGroup {
            prefix,
            count,
            gone: 0,
            runner,
            claim: Some(claim),
            started: Some(reply),
            launched: false,
        };
        self.groups.0.insert(first, group);
        actions
    }
}
