//! The list of a supervisor's children that its handles read.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::policy::derived;
use super::{ChildId, Which};

/// The children in the order of their start, by the id of the first of each group.
#[derive(Debug, Default)]
pub(super) struct ChildList(BTreeMap<ChildId, ListedGroup>);

/// The children of a template, or one child. Stores only what differs between them.
#[derive(Debug)]
struct ListedGroup {
    /// The prefix of the names, or the name of a single child.
    name: Arc<str>,
    is_single: bool,
    count: usize,
    /// One bit per child, up to the last one removed.
    gone: Vec<u64>,
    left: usize,
    restarts: BTreeMap<usize, u64>,
}

impl ChildList {
    fn group(&self, child: ChildId) -> Option<(&ListedGroup, usize)> {
        let (first, group) = self.0.range(..=child).next_back()?;
        let index = child.0 - first.0;
        group.has(index).then_some((group, index))
    }

    fn group_mut(&mut self, child: ChildId) -> Option<(ChildId, &mut ListedGroup, usize)> {
        let (first, group) = self.0.range_mut(..=child).next_back()?;
        let index = child.0 - first.0;
        group.has(index).then_some((*first, group, index))
    }

    pub(super) fn insert(&mut self, child: ChildId, name: Arc<str>) {
        self.insert_any(child, name, true, 1);
    }

    pub(super) fn insert_group(&mut self, first: ChildId, prefix: Arc<str>, count: usize) {
        self.insert_any(first, prefix, false, count);
    }

    fn insert_any(&mut self, first: ChildId, name: Arc<str>, is_single: bool, count: usize) {
        let (gone, restarts) = (Vec::new(), BTreeMap::new());
        let group = ListedGroup { name, is_single, count, gone, left: count, restarts };
        self.0.insert(first, group);
    }

    pub(super) fn remove(&mut self, child: ChildId) {
        if let Some((first, group, index)) = self.group_mut(child) {
            group.restarts.remove(&index);
            group.leave(index);
            if group.left == 0 {
                self.0.remove(&first);
            }
        }
    }

    pub(super) fn set_restarts(&mut self, child: ChildId, restarts: u64) {
        if let Some((_, group, index)) = self.group_mut(child) {
            group.restarts.insert(index, restarts);
        }
    }

    pub(super) fn contains(&self, child: ChildId) -> bool {
        self.group(child).is_some()
    }

    pub(super) fn restarts(&self, child: ChildId) -> u64 {
        let restarts = |(group, index): (&ListedGroup, _)| group.restarts.get(&index).copied();
        self.group(child).and_then(restarts).unwrap_or(0)
    }

    /// By name, for the first child with that name. Children never restarted are omitted.
    pub(super) fn all_restarts(&self) -> BTreeMap<Arc<str>, u64> {
        let groups = self.0.values().rev().flat_map(|group| {
            let again = group.restarts.iter();
            again.map(|(index, restarts)| (group.name(*index), *restarts))
        });
        groups.collect()
    }

    pub(super) fn all(&self) -> Vec<(ChildId, Arc<str>)> {
        let groups = self.0.iter().flat_map(|(first, group)| {
            let indices = (0..group.count).filter(|index| group.has(*index));
            indices.map(|index| (ChildId(first.0 + index), group.name(index)))
        });
        groups.collect()
    }

    pub(super) fn find(&self, which: Which<'_>) -> Option<ChildId> {
        match which {
            Which::Id(id) => self.contains(id).then_some(id),
            Which::Name(name) => self.0.iter().find_map(|(first, group)| {
                let index = group.index_of(name)?;
                Some(ChildId(first.0 + index))
            }),
        }
    }
}

impl ListedGroup {
    fn name(&self, index: usize) -> Arc<str> {
        if self.is_single { self.name.clone() } else { derived(&self.name, index) }
    }

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
        if self.is_single {
            return (*self.name == *name).then_some(0);
        }
        let digits = name.strip_prefix(&*self.name)?.strip_prefix('/')?;
        let index: usize = digits.parse().ok()?;
        // Only the canonical decimal form is a name.
        (self.has(index) && index.to_string() == digits).then_some(index)
    }
}
