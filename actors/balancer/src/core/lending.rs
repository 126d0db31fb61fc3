//! Which workers lend their idle concurrency slots to callers, and whether they may.

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use super::inline_slots::{Account, InlineSlots};
use crate::worker::Work;

/// Queued requests that must finish without having been pending before slots are lent.
const TRIED: i32 = 8;
/// Like `TRIED`, after an inline run became pending.
const DISTRUST: i32 = 1024;

/// Whether the work is known to finish without pending: only then is it run inline. A negative
/// value counts the requests to go.
#[derive(Debug)]
pub(crate) struct Trust(AtomicI32);

impl Default for Trust {
    fn default() -> Self {
        Self(AtomicI32::new(-TRIED))
    }
}

impl Trust {
    /// True if slots may be lent.
    pub(crate) fn is_won(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= 0
    }

    /// A queued request is done; `at_once` if its future never returned pending.
    fn saw(&self, at_once: bool) {
        let before = self.0.load(Ordering::Relaxed);
        match at_once {
            // A racing store may lose a count, which only delays lending.
            true if before < 0 => self.0.store(before + 1, Ordering::Relaxed),
            true => {}
            false => self.0.store(before.min(-TRIED), Ordering::Relaxed),
        }
    }

    /// An inline run became pending.
    pub(crate) fn is_lost(&self) {
        self.0.store(-DISTRUST, Ordering::Relaxed);
    }
}

/// The slots that the workers of one balancer lend.
pub(crate) struct Lending<W: Work> {
    /// Whether idle workers may run requests inline on the caller's thread.
    pub(super) allowed: bool,
    pub(super) trust: Trust,
    /// By worker: number of the thread on which it lends; 0 if it does not.
    threads: Vec<AtomicU64>,
    pub(super) slots: Vec<InlineSlots<W>>,
}

impl<W: Work> Lending<W> {
    pub(crate) fn new(allowed: bool, workers: usize) -> Self {
        Self {
            allowed,
            trust: Trust::default(),
            threads: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            slots: (0..workers).map(|_| InlineSlots::default()).collect(),
        }
    }

    /// The workers that lend on thread `here`, from number `first` on.
    #[inline]
    pub(crate) fn at(&self, here: u64, first: usize) -> impl Iterator<Item = usize> {
        let rest = self.threads.iter().enumerate().skip(first);
        let there = rest.filter(move |(_, thread)| thread.load(Ordering::Relaxed) == here);
        there.map(|(worker, _)| worker)
    }

    /// A queued request is done; `at_once` if its future never returned pending.
    pub(crate) fn saw(&self, at_once: bool) {
        if self.allowed {
            self.trust.saw(at_once);
        }
    }

    /// Incarnation `epoch` of a worker starts on this thread.
    pub(crate) fn open(&self, worker: usize, epoch: u64) {
        if self.allowed {
            self.slots[worker].open(epoch, &self.threads[worker]);
        }
    }

    /// Incarnation `epoch` of a worker (or the current one, with `None`) is over.
    pub(crate) fn shut(&self, worker: usize, epoch: Option<u64>) {
        if self.allowed {
            self.slots[worker].shut(epoch, &self.threads[worker]);
        }
    }

    /// Statistics of all workers.
    pub(crate) fn account(&self) -> Account {
        let mut all = Account::default();
        self.slots.iter().for_each(|slots| all.add(slots.account()));
        all
    }
}
