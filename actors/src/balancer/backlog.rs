//! Pure: requests that wait in the balancer, in the order of the policy.

use std::collections::{BTreeMap, VecDeque};

use super::resilience::Priority;

/// One copy of a request, by its place in the desk's list and its number (which no other request ever has).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ref {
    pub(super) key: usize,
    /// The request's number, from 0.
    pub number: u64,
    /// 0 for the request itself, counted up for further copies.
    pub copy: u32,
}

/// A queue in the order of `(order, number)`. What comes in that order costs no more than a push.
#[derive(Debug, Default)]
struct Lane {
    fifo: VecDeque<(u64, Ref)>,
    /// What came out of order: returned requests, and those that are ordered by cost.
    tree: BTreeMap<(u64, u64, u32), Ref>,
}

impl Lane {
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
            (Some(a), Some(b)) => Some(if (b.0, b.1.number) < (a.0, a.1.number) {
                b
            } else {
                a
            }),
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

/// Which requests somebody takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    All,
    ShortOnly,
}

/// Requests of one priority.
#[derive(Debug, Default)]
struct Level {
    short: Lane,
    long: Lane,
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

/// The backlog. Cancelled requests stay in it as husks until they are met, or until they are many.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// By priority, the lowest first.
    levels: [Level; Priority::ALL.len()],
    husks: usize,
}

/// Husks that are not worth a sweep.
const FEW: usize = 32;

impl Backlog {
    /// Puts a request in. Higher priorities come out first; within one, and `short` (or not), in the order of `order`, then of their numbers.
    pub(super) fn push(&mut self, item: Ref, order: u64, short: bool, priority: Priority) {
        let level = &mut self.levels[priority as usize];
        if short {
            level.short.push(order, item);
        } else {
            level.long.push(order, item);
        }
    }

    /// Takes the first that is still wanted.
    pub(super) fn pop(&mut self, takes: Takes, live: impl Fn(Ref) -> bool) -> Option<Ref> {
        loop {
            let item = (self.levels.iter_mut().rev()).find_map(|level| level.pop(takes))?;
            if live(item) {
                return Some(item);
            }
            self.husks = self.husks.saturating_sub(1);
        }
    }

    /// Requests that are wanted.
    pub(super) fn len(&self) -> usize {
        self.all().saturating_sub(self.husks)
    }

    /// Husks and all: what memory it takes.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.all()
    }

    fn all(&self) -> usize {
        self.levels.iter().map(Level::len).sum()
    }

    /// One that is in here is not wanted any more.
    pub(super) fn forget(&mut self, live: impl Fn(Ref) -> bool) {
        self.husks += 1;
        if self.husks > FEW && self.husks > self.len() {
            for level in &mut self.levels {
                level.short.retain(&live);
                level.long.retain(&live);
            }
            self.husks = 0;
        }
    }
}
