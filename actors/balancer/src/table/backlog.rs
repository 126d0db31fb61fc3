//! Pure: the backlog, requests that wait in the balancer in the policy's order.

use std::collections::{BTreeMap, VecDeque};

use super::FEW;
use crate::resilience::Priority;

/// One copy of a request: its key in the request table, and its number, which is never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ref {
    pub(super) key: usize,
    /// Number of the request, from 0.
    pub number: u64,
    /// 0 for the original, counted up for retries and further copies.
    pub copy: u32,
}

/// A queue ordered by `(order, number)`. Pushing in that order costs O(1).
#[derive(Debug, Default)]
struct OrderedQueue {
    fifo: VecDeque<(u64, Ref)>,
    /// Pushed out of order: returned requests, and those ordered by cost.
    tree: BTreeMap<(u64, u64, u32), Ref>,
}

impl OrderedQueue {
    fn push(&mut self, order: u64, item: Ref) {
        let behind = |last: &(u64, Ref)| (last.0, last.1.number) <= (order, item.number);
        if self.fifo.back().is_none_or(behind) {
            self.fifo.push_back((order, item));
        } else {
            self.tree.insert((order, item.number, item.copy), item);
        }
    }

    fn first(&self) -> Option<(u64, Ref, bool)> {
        let fifo = self.fifo.front().map(|(order, item)| (*order, *item, true));
        let tree = (self.tree.first_key_value()).map(|(key, item)| (key.0, *item, false));
        match (fifo, tree) {
            (Some(a), Some(b)) => Some(if (b.0, b.1.number) < (a.0, a.1.number) { b } else { a }),
            (a, b) => a.or(b),
        }
    }

    fn pop(&mut self) -> Option<Ref> {
        let (_, item, fifo) = self.first()?;
        if fifo {
            self.fifo.pop_front();
        } else {
            self.tree.pop_first();
        }
        Some(item)
    }

    fn len(&self) -> usize {
        self.fifo.len() + self.tree.len()
    }

    fn retain(&mut self, live: &impl Fn(Ref) -> bool) {
        self.fifo.retain(|(_, item)| live(*item));
        self.tree.retain(|_, item| live(*item));
    }
}

/// Which requests a worker may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    All,
    ShortOnly,
}

/// Requests of one priority.
#[derive(Debug, Default)]
struct Level {
    short: OrderedQueue,
    long: OrderedQueue,
}

impl Level {
    fn pop(&mut self, takes: Takes) -> Option<Ref> {
        match takes {
            Takes::ShortOnly => self.short.pop(),
            Takes::All => match (self.short.first(), self.long.first()) {
                (Some(short), Some(long)) if long.0 < short.0 => self.long.pop(),
                (Some(_), _) => self.short.pop(),
                (None, _) => self.long.pop(),
            },
        }
    }

    fn len(&self) -> usize {
        self.short.len() + self.long.len()
    }
}

/// The backlog. Cancelled requests leave tombstones, which are removed when popped or when they
/// outnumber live requests.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// By priority, lowest first.
    levels: [Level; Priority::ALL.len()],
    tombstones: usize,
}

impl Backlog {
    /// Queues a request. Higher priorities come out first; within a priority and length class, by
    /// `order`, then by number.
    pub(super) fn push(&mut self, item: Ref, order: u64, short: bool, priority: Priority) {
        let level = &mut self.levels[priority as usize];
        if short {
            level.short.push(order, item);
        } else {
            level.long.push(order, item);
        }
    }

    /// Removes the first live request, and tombstones before it.
    pub(super) fn pop(&mut self, takes: Takes, live: impl Fn(Ref) -> bool) -> Option<Ref> {
        loop {
            let item = (self.levels.iter_mut().rev()).find_map(|level| level.pop(takes))?;
            if live(item) {
                return Some(item);
            }
            self.tombstones = self.tombstones.saturating_sub(1);
        }
    }

    /// Number of live requests.
    pub(super) fn len(&self) -> usize {
        self.all().saturating_sub(self.tombstones)
    }

    /// Length including tombstones, a measure of memory.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.all()
    }

    fn all(&self) -> usize {
        self.levels.iter().map(Level::len).sum()
    }

    /// A request in the backlog is over: counts a tombstone, and sweeps if there are many.
    pub(super) fn forget(&mut self, live: impl Fn(Ref) -> bool) {
        self.tombstones += 1;
        if self.tombstones > FEW && self.tombstones > self.len() {
            for level in &mut self.levels {
                level.short.retain(&live);
                level.long.retain(&live);
            }
            self.tombstones = 0;
        }
    }
}
