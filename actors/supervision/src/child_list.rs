//! The list of a supervisor's children that its handles read.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::policy::derived;
use super::{ChildId, Which};

/// The children, in the order of their start.
#[derive(Debug, Default)]
pub(super) struct ChildList {
    single: BTreeMap<ChildId, ListedChild>,
    /// The children of templates, by the id of the first.
    groups: BTreeMap<ChildId, ListedGroup>,
}

#[derive(Debug)]
pub(super) struct ListedChild {
    pub(super) name: Arc<str>,
    pub(super) restarts: u64,
}

/// Stores only what differs from the template for each child.
#[derive(Debug)]
struct ListedGroup {
    prefix: Arc<str>,
    count: usize,
    /// One bit per child, up to the last one removed.
    gone: Vec<u64>,
    left: usize,
    restarts: BTreeMap<usize, u64>,
}

impl ChildList {
    pub(super) fn new(single: BTreeMap<ChildId, ListedChild>) -> Self {
        Self { single, ..Self::default() }
    }

    fn group(&self, child: ChildId) -> Option<(&ListedGroup, usize)> {
        let (first, group) = self.groups.range(..=child).next_back()?;
        let index = child.0 - first.0;
        group.has(index).then_some((group, index))
    }

    pub(super) fn insert(&mut self, child: ChildId, listed: ListedChild) {
        self.single.insert(child, listed);
    }

    pub(super) fn insert_group(&mut self, first: ChildId, prefix: Arc<str>, count: usize) {
        let group =
            ListedGroup { prefix, count, gone: Vec::new(), left: count, restarts: BTreeMap::new() };
        self.groups.insert(first, group);
    }

    pub(super) fn remove(&mut self, child: ChildId) {
        if self.single.remove(&child).is_some() {
            return;
        }
        let Some((first, group)) = self.groups.range_mut(..=child).next_back() else {
            return;
        };
        let index = child.0 - first.0;
        if !group.has(index) {
            return;
        }
        let first = *first;
        group.restarts.remove(&index);
        group.leave(index);
        if group.left == 0 {
            self.groups.remove(&first);
        }
    }

    pub(super) fn set_restarts(&mut self, child: ChildId, restarts: u64) {
        if let Some(listed) = self.single.get_mut(&child) {
            listed.restarts = restarts;
        } else if let Some((first, group)) = self.groups.range_mut(..=child).next_back() {
            let index = child.0 - first.0;
            if group.has(index) {
                group.restarts.insert(index, restarts);
            }
        }
    }

    pub(super) fn contains(&self, child: ChildId) -> bool {
        self.single.contains_key(&child) || self.group(child).is_some()
    }

    pub(super) fn restarts(&self, child: ChildId) -> u64 {
        let single = self.single.get(&child).map(|one| one.restarts);
        let many = || {
            let (group, index) = self.group(child)?;
            group.restarts.get(&index).copied()
        };
        single.or_else(many).unwrap_or(0)
    }

    /// By name, for the first child with that name. Children never restarted are omitted.
    pub(super) fn all_restarts(&self) -> BTreeMap<Arc<str>, u64> {
        let groups = self.groups.values().flat_map(|group| {
            let again = group.restarts.iter();
            again.map(|(index, restarts)| (derived(&group.prefix, *index), *restarts))
        });
        let mut all: BTreeMap<_, _> = groups.collect();
        for one in self.single.values().rev().filter(|one| one.restarts > 0) {
            all.insert(one.name.clone(), one.restarts);
        }
        all
    }

    pub(super) fn all(&self) -> Vec<(ChildId, Arc<str>)> {
        let single = self.single.iter().map(|(id, one)| (*id, one.name.clone()));
        let mut all: Vec<(ChildId, Arc<str>)> = single.collect();
        if !self.groups.is_empty() {
            for (first, group) in &self.groups {
                let indices = (0..group.count).filter(|index| group.has(*index));
                all.extend(
                    indices.map(|index| (ChildId(first.0 + index), derived(&group.prefix, index))),
                );
            }
            all.sort_unstable_by_key(|(id, _)| *id);
        }
        all
    }

    pub(super) fn find(&self, which: Which<'_>) -> Option<ChildId> {
        match which {
            Which::Id(id) => self.contains(id).then_some(id),
            Which::Name(name) => {
                let mut single = self.single.iter();
                let single = single.find(|(_, known)| *known.name == *name);
                let mut groups = self.groups.iter();
                let many = groups.find_map(|(first, group)| {
                    let index = group.index_of(name)?;
                    Some(ChildId(first.0 + index))
                });
                single.map(|(id, _)| *id).into_iter().chain(many).min()
            }
        }
    }
}

impl ListedGroup {
    fn has(&self, index: usize) -> bool {
        let word = self.gone.get(index / 64).copied().unwrap_or(0);
        index < self.count && word >> (index % 64) & 1 == 0
    }

    /// Removes a child that is present.
    fn leave(&mut self, index: usize) {
        let words = self.gone.len().max(index / 64 + 1);
        self.gone.resize(words, 0);
        self.gone[index / 64] |= 1 << (index % 64);
        self.left -= 1;
    }

    fn index_of(&self, name: &str) -> Option<usize> {
        let digits = name.strip_prefix(&*self.prefix)?.strip_prefix('/')?;
        let index: usize = digits.parse().ok()?;
        // Only the canonical decimal form is a name.
        (self.has(index) && index.to_string() == digits).then_some(index)
    }
}
