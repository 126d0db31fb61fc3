//! The list of a supervisor's children that its handles read.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::policy::derived;
use super::{ChildId, Which};

/// The children, in the order of their start.
#[derive(Debug, Default)]
pub(super) struct Listed {
    single: BTreeMap<ChildId, Public>,
    /// The children of templates, by the id of the first.
    rows: BTreeMap<ChildId, Row>,
}

#[derive(Debug)]
pub(super) struct Public {
    pub(super) name: Arc<str>,
    pub(super) restarts: u64,
}

/// Stores only what differs from the template for each child.
#[derive(Debug)]
struct Row {
    prefix: Arc<str>,
    count: usize,
    /// One bit per child, up to the last one removed.
    gone: Vec<u64>,
    left: usize,
    restarts: BTreeMap<usize, u64>,
}

impl Listed {
    pub(super) fn new(single: BTreeMap<ChildId, Public>) -> Self {
        Self { single, ..Self::default() }
    }

    fn row(&self, child: ChildId) -> Option<(&Row, usize)> {
        let (first, row) = self.rows.range(..=child).next_back()?;
        let index = child.0 - first.0;
        row.has(index).then_some((row, index))
    }

    pub(super) fn insert(&mut self, child: ChildId, public: Public) {
        self.single.insert(child, public);
    }

    pub(super) fn insert_row(&mut self, first: ChildId, prefix: Arc<str>, count: usize) {
        let row = Row { prefix, count, gone: Vec::new(), left: count, restarts: BTreeMap::new() };
        self.rows.insert(first, row);
    }

    pub(super) fn remove(&mut self, child: ChildId) {
        if self.single.remove(&child).is_some() {
            return;
        }
        let Some((first, row)) = self.rows.range_mut(..=child).next_back() else {
            return;
        };
        let index = child.0 - first.0;
        if !row.has(index) {
            return;
        }
        let first = *first;
        row.restarts.remove(&index);
        row.leave(index);
        if row.left == 0 {
            self.rows.remove(&first);
        }
    }

    pub(super) fn set_restarts(&mut self, child: ChildId, restarts: u64) {
        if let Some(public) = self.single.get_mut(&child) {
            public.restarts = restarts;
        } else if let Some((first, row)) = self.rows.range_mut(..=child).next_back() {
            let index = child.0 - first.0;
            if row.has(index) {
                row.restarts.insert(index, restarts);
            }
        }
    }

    pub(super) fn contains(&self, child: ChildId) -> bool {
        self.single.contains_key(&child) || self.row(child).is_some()
    }

    pub(super) fn restarts(&self, child: ChildId) -> u64 {
        let single = self.single.get(&child).map(|one| one.restarts);
        let many = || {
            let (row, index) = self.row(child)?;
            row.restarts.get(&index).copied()
        };
        single.or_else(many).unwrap_or(0)
    }

    /// By name, for the first child with that name. Children never restarted are omitted.
    pub(super) fn all_restarts(&self) -> BTreeMap<Arc<str>, u64> {
        let rows = self.rows.values().flat_map(|row| {
            let again = row.restarts.iter();
            again.map(|(index, restarts)| (derived(&row.prefix, *index), *restarts))
        });
        let mut all: BTreeMap<_, _> = rows.collect();
        for one in self.single.values().rev().filter(|one| one.restarts > 0) {
            all.insert(one.name.clone(), one.restarts);
        }
        all
    }

    pub(super) fn all(&self) -> Vec<(ChildId, Arc<str>)> {
        let single = self.single.iter().map(|(id, one)| (*id, one.name.clone()));
        let mut all: Vec<(ChildId, Arc<str>)> = single.collect();
        if !self.rows.is_empty() {
            for (first, row) in &self.rows {
                let indices = (0..row.count).filter(|index| row.has(*index));
                all.extend(
                    indices.map(|index| (ChildId(first.0 + index), derived(&row.prefix, index))),
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
                let mut rows = self.rows.iter();
                let many = rows.find_map(|(first, row)| {
                    let index = row.index_of(name)?;
                    Some(ChildId(first.0 + index))
                });
                single.map(|(id, _)| *id).into_iter().chain(many).min()
            }
        }
    }
}

impl Row {
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
