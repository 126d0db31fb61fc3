//! The children in the order of their start, with indices for the queries of the restart policy.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::rows::{Row, Seat};
use super::{ChildId, ChildSpec, Kept, Life};
use crate::clock::Time;

/// The children. Every change keeps the indices up to date, because a supervisor of a million
/// children queries them at every event.
#[derive(Debug, Default)]
pub(super) struct Kin {
    /// The children that need more state than a row stores.
    children: BTreeMap<ChildId, Kept>,
    /// Children that share one specification, by the id of the first.
    rows: BTreeMap<ChildId, Row>,
    /// `Some` once no child is restarted any more: rows that begin after this id have no calm child
    /// left.
    over: Option<ChildId>,
    /// The living children in `children`.
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
    fn of(kept: &Kept) -> Self {
        match kept.life {
            Life::None => Self::default(),
            Life::Waiting(at) => Self { waiting: Some(at), ..Self::default() },
            Life::Alive { queued, ending, .. } => Self {
                alive: true,
                waiting: None,
                ending: ending.and_then(|ending| ending.kill_at.or(ending.hung_at)),
                blocks: queued || ending.is_some_and(|ending| ending.wanted) && !kept.leaving,
            },
        }
    }
}

/// Mutable access to a child; updates the indices on drop.
pub(super) struct Changing<'a> {
    kin: &'a mut Kin,
    child: ChildId,
    before: Marks,
}

impl Deref for Changing<'_> {
    type Target = Kept;

    fn deref(&self) -> &Kept {
        &self.kin.children[&self.child]
    }
}

impl DerefMut for Changing<'_> {
    fn deref_mut(&mut self) -> &mut Kept {
        let kept = self.kin.children.get_mut(&self.child);
        kept.expect("it is kept while it is changed")
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        let after = Marks::of(self);
        let before = std::mem::take(&mut self.before);
        self.kin.mark(self.child, &before, &after);
        self.kin.settle(self.child);
    }
}

impl Kin {
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

    pub(super) fn insert(&mut self, child: ChildId, kept: Kept) {
        let after = Marks::of(&kept);
        self.children.insert(child, kept);
        self.mark(child, &Marks::default(), &after);
    }

    /// Inserts `count` children with one specification, starting at id `child`.
    pub(super) fn insert_row(&mut self, child: ChildId, spec: ChildSpec, count: usize) {
        self.rows.insert(child, Row::new(spec, count));
    }

    fn row(&self, child: ChildId) -> Option<(&Row, usize)> {
        let (first, row) = self.rows.range(..=child).next_back()?;
        let index = child.0 - first.0;
        (index < row.len()).then_some((row, index))
    }

    fn row_mut(&mut self, child: ChildId) -> Option<(ChildId, &mut Row, usize)> {
        let (first, row) = self.rows.range_mut(..=child).next_back()?;
        let index = child.0 - first.0;
        (index < row.len()).then_some((*first, row, index))
    }

    pub(super) fn remove(&mut self, child: ChildId) {
        if let Some(kept) = self.children.remove(&child) {
            self.mark(child, &Marks::of(&kept), &Marks::default());
        }
        if let Some((first, row, index)) = self.row_mut(child) {
            row.set(index, Seat::Gone);
            if row.is_gone() {
                self.rows.remove(&first);
            }
        }
    }

    pub(super) fn get(&self, child: ChildId) -> Option<Cow<'_, Kept>> {
        if let Some(kept) = self.children.get(&child) {
            return Some(Cow::Borrowed(kept));
        }
        let (row, index) = self.row(child)?;
        row.kept(index).map(Cow::Owned)
    }

    /// Like `get`, for a child known to exist.
    pub(super) fn of(&self, child: ChildId) -> Cow<'_, Kept> {
        let kept = self.get(child);
        kept.expect("ids come from the children that are kept")
    }

    pub(super) fn get_mut(&mut self, child: ChildId) -> Option<Changing<'_>> {
        if !self.children.contains_key(&child) {
            let (_, row, index) = self.row_mut(child)?;
            let kept = row.kept(index)?;
            row.set(index, Seat::Other);
            self.insert(child, kept);
        }
        let before = Marks::of(&self.children[&child]);
        Some(Changing { kin: self, child, before })
    }

    /// Moves the state of a child back into its row, if the row can represent it.
    fn settle(&mut self, child: ChildId) {
        let kept = &self.children[&child];
        if kept.index.is_none() {
            return;
        }
        let seat = if kept.is_calm() {
            Seat::Calm
        } else if self.over.is_some() && kept.life == Life::None && !kept.leaving {
            Seat::Over
        } else {
            return;
        };
        let marks = Marks::of(kept);
        self.mark(child, &marks, &Marks::default());
        self.children.remove(&child);
        if seat == Seat::Calm {
            self.over = self.over.map(|top| top.max(child));
        }
        if let Some((_, row, index)) = self.row_mut(child) {
            row.set(index, seat);
        }
    }

    /// Like `get_mut`, for a child known to exist.
    pub(super) fn change(&mut self, child: ChildId) -> Changing<'_> {
        let changing = self.get_mut(child);
        changing.expect("ids come from the children that are kept")
    }

    /// Records that no child is restarted any more.
    pub(super) fn set_over(&mut self) {
        self.over = Some(ChildId(usize::MAX));
    }

    pub(super) fn ids(&self) -> impl DoubleEndedIterator<Item = ChildId> + use<> {
        let mut ids: Vec<ChildId> = self.children.keys().copied().collect();
        if !self.rows.is_empty() {
            for (first, row) in &self.rows {
                ids.extend(row.settled().map(|index| ChildId(first.0 + index)));
            }
            ids.sort_unstable();
        }
        ids.into_iter()
    }

    pub(super) fn spec(&self, child: ChildId) -> Option<&Arc<ChildSpec>> {
        let single = self.children.get(&child).map(|kept| &kept.spec);
        single.or_else(|| self.row(child).map(|(row, _)| row.spec()))
    }

    /// The last living child in the start order.
    pub(super) fn last_alive(&mut self) -> Option<ChildId> {
        let top = self.over.unwrap_or(ChildId(usize::MAX));
        let mut rows = self.rows.range_mut(..=top).rev();
        let last = rows.find_map(|(first, row)| Some((*first, first.0 + row.last_calm()?)));
        if self.over.is_some() {
            // Rows without a calm child are not searched again.
            self.over = Some(last.map_or(ChildId(0), |(first, _)| first));
        }
        let last = last.map(|(_, child)| ChildId(child));
        last.into_iter().chain(self.alive.last().copied()).max()
    }

    /// Starts a batch of never-started children of a row, from `child` on; returns their number and
    /// epoch, or `None` if `child` is not one of them. The queue waits for the batch.
    pub(super) fn start_lot(&mut self, child: ChildId) -> Option<(usize, u64)> {
        let (_, row, index) = self.row_mut(child)?;
        let lot = row.start_lot(index)?;
        self.blocking += 1;
        Some(lot)
    }

    /// The batch of the row that begins with `first` is up; returns whether one was starting.
    pub(super) fn lot_done(&mut self, first: ChildId) -> bool {
        let Some(row) = self.rows.get_mut(&first) else {
            return false;
        };
        let done = row.lot_done();
        if row.is_gone() {
            self.rows.remove(&first);
        }
        self.blocking -= usize::from(done);
        done
    }

    /// True while children of the row that begins with `first` are being started in a batch, or
    /// have never been started.
    pub(super) fn is_starting(&mut self, first: ChildId) -> bool {
        (self.rows.get_mut(&first)).is_some_and(|row| row.has_lot() || row.next_unborn().is_some())
    }

    /// The first never-started child in the row of `child`.
    pub(super) fn next_unborn(&mut self, child: ChildId) -> Option<ChildId> {
        let (first, row, _) = self.row_mut(child)?;
        Some(ChildId(first.0 + row.next_unborn()?))
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
