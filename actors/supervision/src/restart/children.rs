//! The children in the order of their start, with indices for the queries of the restart policy.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::groups::{MemberState, RestartGroup};
use super::{ChildId, ChildSpec, ChildState, LifeStatus};
use crate::clock::Time;

/// The children. Every change keeps the indices up to date, because a supervisor of a million
/// children queries them at every event.
#[derive(Debug, Default)]
pub(super) struct Children {
    /// The children that need more state than a group stores.
    detailed: BTreeMap<ChildId, ChildState>,
    /// Children that share one specification, by the id of the first.
    groups: BTreeMap<ChildId, RestartGroup>,
    /// `Some` once no child is restarted any more: groups that begin after this id have no
    /// child in its first life.
    over: Option<ChildId>,
    /// The living children in `detailed`.
    alive: BTreeSet<ChildId>,
    /// The children to be started, by time.
    waiting: BTreeSet<(Time, ChildId)>,
    /// The children to be killed or given up, by time.
    ending: BTreeSet<(Time, ChildId)>,
    /// Number of children that the queue waits for.
    blocking: usize,
}

/// The index entries of one child.
#[derive(Debug, Default, PartialEq, Eq)]
struct Marks {
    alive: bool,
    waiting: Option<Time>,
    ending: Option<Time>,
    blocks: bool,
}

impl Marks {
    fn of(state: &ChildState) -> Self {
        match state.life {
            LifeStatus::None => Self::default(),
            LifeStatus::Waiting(at) => Self { waiting: Some(at), ..Self::default() },
            LifeStatus::Alive { queued, ending, .. } => Self {
                alive: true,
                waiting: None,
                ending: ending.and_then(|ending| ending.kill_at.or(ending.hung_at)),
                blocks: queued || ending.is_some_and(|ending| ending.wanted) && !state.leaving,
            },
        }
    }
}

/// Mutable access to a child; updates the indices on drop.
pub(super) struct ChildMut<'a> {
    children: &'a mut Children,
    child: ChildId,
    before: Marks,
}

impl Deref for ChildMut<'_> {
    type Target = ChildState;

    fn deref(&self) -> &ChildState {
        &self.children.detailed[&self.child]
    }
}

impl DerefMut for ChildMut<'_> {
    fn deref_mut(&mut self) -> &mut ChildState {
        let state = self.children.detailed.get_mut(&self.child);
        state.expect("it is kept while it is changed")
    }
}

impl Drop for ChildMut<'_> {
    fn drop(&mut self) {
        let after = Marks::of(self);
        let before = std::mem::take(&mut self.before);
        self.children.mark(self.child, &before, &after);
        self.children.compact(self.child);
    }
}

impl Children {
    fn mark(&mut self, child: ChildId, before: &Marks, after: &Marks) {
        if before == after {
            return;
        }
        match (before.alive, after.alive) {
            (false, true) => _ = self.alive.insert(child),
            (true, false) => _ = self.alive.remove(&child),
            _ => {}
        }
        let sets = [
            (&mut self.waiting, before.waiting, after.waiting),
            (&mut self.ending, before.ending, after.ending),
        ];
        for (set, before, after) in sets {
            if before != after {
                before.map(|at| set.remove(&(at, child)));
                after.map(|at| set.insert((at, child)));
            }
        }
        self.blocking = self.blocking - usize::from(before.blocks) + usize::from(after.blocks);
    }

    pub(super) fn insert(&mut self, child: ChildId, state: ChildState) {
        let after = Marks::of(&state);
        self.detailed.insert(child, state);
        self.mark(child, &Marks::default(), &after);
    }

    /// Inserts `count` children with one specification, starting at id `child`.
    pub(super) fn insert_group(&mut self, child: ChildId, spec: ChildSpec, count: usize) {
        self.groups.insert(child, RestartGroup::new(spec, count));
    }

    fn group(&self, child: ChildId) -> Option<(&RestartGroup, usize)> {
        let (first, group) = self.groups.range(..=child).next_back()?;
        let index = child.0 - first.0;
        (index < group.len()).then_some((group, index))
    }

    fn group_mut(&mut self, child: ChildId) -> Option<(ChildId, &mut RestartGroup, usize)> {
        let (first, group) = self.groups.range_mut(..=child).next_back()?;
        let index = child.0 - first.0;
        (index < group.len()).then_some((*first, group, index))
    }

    pub(super) fn remove(&mut self, child: ChildId) {
        if let Some(state) = self.detailed.remove(&child) {
            self.mark(child, &Marks::of(&state), &Marks::default());
        }
        if let Some((first, group, index)) = self.group_mut(child) {
            group.set(index, MemberState::Gone);
            if group.is_gone() {
                self.groups.remove(&first);
            }
        }
    }

    pub(super) fn get(&self, child: ChildId) -> Option<Cow<'_, ChildState>> {
        if let Some(state) = self.detailed.get(&child) {
            return Some(Cow::Borrowed(state));
        }
        let (group, index) = self.group(child)?;
        group.state(index).map(Cow::Owned)
    }

    /// Like `get`, for a child known to exist.
    pub(super) fn of(&self, child: ChildId) -> Cow<'_, ChildState> {
        let state = self.get(child);
        state.expect("ids come from the children that are kept")
    }

    pub(super) fn get_mut(&mut self, child: ChildId) -> Option<ChildMut<'_>> {
        if !self.detailed.contains_key(&child) {
            let (_, group, index) = self.group_mut(child)?;
            let state = group.state(index)?;
            group.set(index, MemberState::Detailed);
            self.insert(child, state);
        }
        let before = Marks::of(&self.detailed[&child]);
        Some(ChildMut { children: self, child, before })
    }

    /// Moves the state of a child back into its group, if the group can represent it.
    fn compact(&mut self, child: ChildId) {
        let state = &self.detailed[&child];
        if state.index.is_none() {
            return;
        }
        let member = if state.is_first_life() {
            MemberState::FirstLife
        } else if self.over.is_some() && state.life == LifeStatus::None && !state.leaving {
            MemberState::Ended
        } else {
            return;
        };
        let marks = Marks::of(state);
        self.mark(child, &marks, &Marks::default());
        self.detailed.remove(&child);
        if member == MemberState::FirstLife {
            self.over = self.over.map(|top| top.max(child));
        }
        if let Some((_, group, index)) = self.group_mut(child) {
            group.set(index, member);
        }
    }

    /// Like `get_mut`, for a child known to exist.
    pub(super) fn change(&mut self, child: ChildId) -> ChildMut<'_> {
        let changing = self.get_mut(child);
        changing.expect("ids come from the children that are kept")
    }

    /// Records that no child is restarted any more.
    pub(super) fn set_over(&mut self) {
        self.over = Some(ChildId(usize::MAX));
    }

    pub(super) fn ids(&self) -> impl DoubleEndedIterator<Item = ChildId> + use<> {
        let mut ids: Vec<ChildId> = self.detailed.keys().copied().collect();
        if !self.groups.is_empty() {
            for (first, group) in &self.groups {
                ids.extend(group.compact_members().map(|index| ChildId(first.0 + index)));
            }
            ids.sort_unstable();
        }
        ids.into_iter()
    }

    pub(super) fn spec(&self, child: ChildId) -> Option<&Arc<ChildSpec>> {
        let single = self.detailed.get(&child).map(|state| &state.spec);
        single.or_else(|| self.group(child).map(|(group, _)| &group.spec))
    }

    /// The last living child in the start order.
    pub(super) fn last_alive(&mut self) -> Option<ChildId> {
        let top = self.over.unwrap_or(ChildId(usize::MAX));
        let mut groups = self.groups.range_mut(..=top).rev();
        let last =
            groups.find_map(|(first, group)| Some((*first, first.0 + group.last_first_life()?)));
        if self.over.is_some() {
            // Groups without a child in its first life are not searched again.
            self.over = Some(last.map_or(ChildId(0), |(first, _)| first));
        }
        let last = last.map(|(_, child)| ChildId(child));
        last.into_iter().chain(self.alive.last().copied()).max()
    }

    /// Starts a batch of never-started children of a group, from `child` on; returns their number
    /// and epoch, or `None` if `child` is not one of them. The queue waits for the batch.
    pub(super) fn start_batch(&mut self, child: ChildId) -> Option<(usize, u64)> {
        let (_, group, index) = self.group_mut(child)?;
        let batch = group.start_batch(index)?;
        self.blocking += 1;
        Some(batch)
    }

    /// The batch of the group that begins with `first` is up; returns whether one was starting.
    pub(super) fn batch_done(&mut self, first: ChildId) -> bool {
        let Some(group) = self.groups.get_mut(&first) else {
            return false;
        };
        let done = std::mem::take(&mut group.batch);
        if group.is_gone() {
            self.groups.remove(&first);
        }
        self.blocking -= usize::from(done);
        done
    }

    /// True while children of the group that begins with `first` are being started in a batch, or
    /// have never been started.
    pub(super) fn is_starting(&mut self, first: ChildId) -> bool {
        (self.groups.get_mut(&first))
            .is_some_and(|group| group.batch || group.next_unstarted().is_some())
    }

    /// The first never-started child in the group of `child`.
    pub(super) fn next_unstarted(&mut self, child: ChildId) -> Option<ChildId> {
        let (first, group, _) = self.group_mut(child)?;
        Some(ChildId(first.0 + group.next_unstarted()?))
    }

    /// The children to be started by `now`, in the start order.
    pub(super) fn to_start(&self, now: Time) -> Vec<ChildId> {
        due(&self.waiting, now)
    }

    /// The children to be killed or given up by `now`, in the start order.
    pub(super) fn to_end(&self, now: Time) -> Vec<ChildId> {
        due(&self.ending, now)
    }

    /// The earliest time at which a child must be started, killed or given up.
    pub(super) fn next_due(&self) -> Option<Time> {
        let first = [&self.waiting, &self.ending];
        first.iter().filter_map(|set| Some(set.first()?.0)).min()
    }

    /// The children waiting for a restart, due or not.
    pub(super) fn waiting(&self) -> Vec<ChildId> {
        self.waiting.iter().map(|(_, child)| *child).collect()
    }

    /// True while the queue must wait for a start, or for the end of children killed for a group
    /// restart.
    pub(super) fn blocks(&self) -> bool {
        self.blocking > 0
    }
}

fn due(set: &BTreeSet<(Time, ChildId)>, now: Time) -> Vec<ChildId> {
    let due = set.range(..=(now, ChildId(usize::MAX)));
    let mut due: Vec<ChildId> = due.map(|(_, child)| *child).collect();
    due.sort_unstable();
    due
}
