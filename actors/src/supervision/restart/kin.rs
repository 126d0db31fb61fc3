//! The children, in the order of their start, and what has to be found among many of them at once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut, Index};

use super::{ChildId, Kept, Life};
use crate::clock::Time;

/// The children. Whatever changes one of them keeps the indices: a supervisor of a million asks them at every event.
#[derive(Debug, Default)]
pub(super) struct Kin {
    children: BTreeMap<ChildId, Kept>,
    alive: BTreeSet<ChildId>,
    /// To be started at these moments.
    waiting: BTreeSet<(Time, ChildId)>,
    /// To be killed, or given up, then.
    ending: BTreeSet<(Time, ChildId)>,
    /// Those that the queue waits for.
    blocking: usize,
}

/// What the indices know of one child.
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
            Life::Waiting(at) => Self {
                waiting: Some(at),
                ..Self::default()
            },
            Life::Alive { queued, ending, .. } => Self {
                alive: true,
                waiting: None,
                ending: ending.and_then(|ending| ending.kill_at.or(ending.hung_at)),
                blocks: queued || ending.is_some_and(|ending| ending.wanted) && !kept.leaving,
            },
        }
    }
}

/// A child that is being changed.
pub(super) struct Changing<'a> {
    kin: &'a mut Kin,
    child: ChildId,
    before: Marks,
}

impl Deref for Changing<'_> {
    type Target = Kept;

    fn deref(&self) -> &Kept {
        &self.kin[self.child]
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
    }
}

impl Index<ChildId> for Kin {
    type Output = Kept;

    fn index(&self, child: ChildId) -> &Kept {
        &self.children[&child]
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

    pub(super) fn remove(&mut self, child: ChildId) {
        if let Some(kept) = self.children.remove(&child) {
            self.mark(child, &Marks::of(&kept), &Marks::default());
        }
    }

    pub(super) fn get(&self, child: ChildId) -> Option<&Kept> {
        self.children.get(&child)
    }

    pub(super) fn get_mut(&mut self, child: ChildId) -> Option<Changing<'_>> {
        let before = Marks::of(self.get(child)?);
        Some(Changing {
            kin: self,
            child,
            before,
        })
    }

    /// One that is kept.
    pub(super) fn change(&mut self, child: ChildId) -> Changing<'_> {
        let changing = self.get_mut(child);
        changing.expect("ids come from the children that are kept")
    }

    pub(super) fn ids(&self) -> impl DoubleEndedIterator<Item = ChildId> + use<> {
        let ids: Vec<ChildId> = self.children.keys().copied().collect();
        ids.into_iter()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ChildId, &Kept)> {
        self.children.iter().map(|(child, kept)| (*child, kept))
    }

    /// The last in the order of starts that is alive.
    pub(super) fn last_alive(&self) -> Option<ChildId> {
        self.alive.last().copied()
    }

    /// Who is to be started by now, in the order of starts.
    pub(super) fn to_start(&self, now: Time) -> Vec<ChildId> {
        due(&self.waiting, now)
    }

    /// Who is to be killed or given up by now, in the order of starts.
    pub(super) fn to_end(&self, now: Time) -> Vec<ChildId> {
        due(&self.ending, now)
    }

    /// When the first of them is due.
    pub(super) fn next_due(&self) -> Option<Time> {
        let first = [&self.waiting, &self.ending];
        first.iter().filter_map(|set| Some(set.first()?.0)).min()
    }

    /// Those that wait to be started, whenever that is.
    pub(super) fn waiting(&self) -> Vec<ChildId> {
        self.waiting.iter().map(|(_, child)| *child).collect()
    }

    /// True while the queue must wait for a start or for the end of those that were killed for it.
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
