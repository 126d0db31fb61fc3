//! Pure: when the keeper commits, what is unconfirmed, and what a failed commit means.

use std::collections::HashSet;
use std::time::Duration;

use super::batch::Batch;
use super::change::Change;
use crate::book::BookId;
use gopherworks_supervision::clock::Time;

/// Bounds of what is not stored yet, and times of a keeper.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Maximum number of books in unconfirmed changes. A single larger change is accepted alone.
    pub(crate) books: usize,
    /// Maximum number of bytes that unconfirmed changes keep in memory.
    pub(crate) bytes: u64,
    /// How long changes that nothing waits for are put off, to write more of them at once.
    pub(crate) put_off: Duration,
    /// First and longest pause before a failed commit is repeated.
    pub(crate) retry: (Duration, Duration),
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            books: 32 * 1024,
            bytes: 32 << 20,
            put_off: Duration::from_millis(5),
            retry: (Duration::from_millis(50), Duration::from_secs(5)),
        }
    }
}

/// Changes that are not stored yet.
#[derive(Debug, Default)]
pub(crate) struct Core {
    limits: Limits,
    changes: Vec<Change>,
    /// Changes for which the store has no room. They come before all others.
    blocked: Vec<Change>,
    /// A commit that failed; it is repeated unchanged before any other.
    failed: Option<Batch>,
    /// Books and bytes of all changes, those being committed included.
    unconfirmed: (usize, u64),
    /// Books of `blocked`.
    blocked_books: usize,
    /// When the first of `changes` was seen.
    since: Option<Time>,
    /// True if something waits until one of `changes` is stored.
    awaited: bool,
    /// True while a commit is under way.
    committing: bool,
    /// True once no change is put off any more.
    hurries: bool,
    /// Set while the store fails: when that began, when the next attempt is due, and the last
    /// pause.
    down: Option<Down>,
    /// Set while the store has no room: since when, and when the next append is tried.
    full: Option<Down>,
    broken: bool,
}

#[derive(Debug, Clone, Copy)]
struct Down {
    since: Time,
    until: Time,
    pause: Duration,
}

/// What the keeper does next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Waits for a change.
    Wait,
    /// Waits until this time, or for a change.
    Until(Time),
    /// Commits these changes; only those that need no room, if the store has none.
    Commit { changes: Vec<Change>, room: bool },
    /// Repeats a commit.
    Repeat(Batch),
}

/// Meaning of a failed commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setback {
    /// The commit may have been stored, and is repeated after this pause or later.
    Again(Duration),
    /// No repetition can succeed.
    Broken,
}

impl Core {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Adds a change. Once the store is broken, nothing is kept.
    pub(crate) fn push(&mut self, change: Change) {
        if self.broken {
            return;
        }
        let (books, bytes) = change.size();
        self.unconfirmed.0 += books;
        self.unconfirmed.1 += bytes;
        self.awaited |= change.is_awaited();
        self.changes.push(change);
    }

    /// True if new books may be added now.
    pub(crate) fn has_room(&self, books: usize, bytes: u64) -> bool {
        let (held_books, held_bytes) = self.unconfirmed;
        held_books == 0
            || held_books + books <= self.limits.books
                && held_bytes.saturating_add(bytes) <= self.limits.bytes
    }

    /// True if no further book may be handed out, since its outcome would have to wait. What the
    /// store has no room for does not count: only outcomes can make room.
    pub(crate) fn is_full(&self) -> bool {
        self.unconfirmed.0 - self.blocked_books >= self.limits.books
            || self.blocked.is_empty() && self.unconfirmed.1 >= self.limits.bytes
    }

    /// True if everything is stored.
    pub(crate) fn is_idle(&self) -> bool {
        self.changes.is_empty()
            && self.blocked.is_empty()
            && self.failed.is_none()
            && !self.committing
    }

    /// True if a commit has to be repeated before the store can be asked for books.
    pub(crate) fn is_repeating(&self) -> bool {
        self.failed.is_some()
    }

    /// Number of books in unconfirmed changes.
    pub(crate) fn unconfirmed(&self) -> usize {
        self.unconfirmed.0
    }

    /// True while the store fails.
    pub(crate) fn is_down(&self) -> bool {
        self.down.is_some() || self.full.is_some() || self.broken
    }

    /// True once the store can't be used any more.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Stops putting off changes.
    pub(crate) fn hurry(&mut self) {
        self.hurries = true;
    }

    /// Books with changes that are not stored.
    pub(crate) fn pending(&self) -> HashSet<BookId> {
        self.blocked.iter().chain(&self.changes).flat_map(Change::ids).collect()
    }

    /// Notes that these books are no longer in memory, so pending returns of them end their leases.
    pub(crate) fn release(&mut self, gone: &[BookId]) {
        for change in self.blocked.iter_mut().chain(&mut self.changes) {
            if let Change::Returned { id, held, .. } = change {
                *held &= !gone.contains(id);
            }
        }
    }

    /// True if there is no change that could be put off.
    pub(crate) fn has_no_news(&self) -> bool {
        self.changes.is_empty()
    }

    /// True if changes are not put off.
    pub(crate) fn is_urgent(&self) -> bool {
        self.awaited || self.hurries || self.unconfirmed.0 >= self.limits.books / 2
    }

    /// What to do at `now`. After `Commit` and `Repeat`, [`Core::stored`] or [`Core::failed`] is
    /// called before this again.
    pub(crate) fn next(&mut self, now: Time) -> Next {
        if self.broken {
            return Next::Wait;
        }
        if let Some(down) = self.down.filter(|down| down.until > now) {
            return Next::Until(down.until);
        }
        if let Some(batch) = self.failed.take() {
            self.committing = true;
            return Next::Repeat(batch);
        }
        let full = self.full.filter(|full| full.until > now);
        let retries = !self.blocked.is_empty() && full.is_none();
        if self.changes.is_empty() && !retries {
            return full
                .filter(|_| !self.blocked.is_empty())
                .map_or(Next::Wait, |full| Next::Until(full.until));
        }
        let due = *self.since.get_or_insert(now) + self.limits.put_off;
        if !self.is_urgent() && !retries && due > now {
            return Next::Until(due);
        }
        (self.since, self.awaited, self.committing) = (None, false, true);
        self.blocked_books = 0;
        let mut changes = std::mem::take(&mut self.blocked);
        changes.append(&mut self.changes);
        Next::Commit { changes, room: full.is_none() }
    }

    /// A commit is stored, but for changes that come before all others now. If the store is
    /// `full`, those that need room are tried again after a pause. Returns how long the store had
    /// failed, if it did and does no longer.
    pub(crate) fn stored(
        &mut self,
        size: (usize, u64),
        refused: Vec<Change>,
        full: bool,
        now: Time,
    ) -> Option<Duration> {
        self.committing = false;
        let left = refused
            .iter()
            .map(Change::size)
            .fold((0, 0), |left, size| (left.0 + size.0, left.1 + size.1));
        self.unconfirmed.0 -= size.0 - left.0;
        self.unconfirmed.1 -= size.1 - left.1;
        let since = self.down.take().map(|down| down.since);
        if full {
            let (first, longest) = self.limits.retry;
            let pause = self.full.map_or(first, |full| (full.pause * 2).min(longest));
            let since = self.full.map(|full| full.since).or(since).unwrap_or(now);
            self.full = Some(Down { since, until: now + pause, pause });
        }
        if self.full.is_some() && !refused.is_empty() {
            (self.blocked, self.blocked_books) = (refused, left.0);
            return None;
        }
        self.changes.splice(0..0, refused);
        self.awaited |= self.changes.iter().any(Change::is_awaited);
        let since = self.full.take().map(|full| full.since).or(since);
        since.map(|since| now - since)
    }

    /// The store is broken. What is not stored never will be in this run.
    pub(crate) fn give_up(&mut self) {
        self.broken = true;
        self.failed = None;
        self.changes.clear();
        self.blocked.clear();
    }

    /// A commit failed, and is repeated unless the store is broken. Returns the pause before that.
    pub(crate) fn failed(
        &mut self,
        mut batch: Batch,
        setback: Setback,
        now: Time,
    ) -> Option<Duration> {
        self.committing = false;
        batch.repeated = true;
        let Setback::Again(least) = setback else {
            self.give_up();
            return None;
        };
        let (first, longest) = self.limits.retry;
        let pause = self.down.map_or(first, |down| (down.pause * 2).min(longest));
        let since = self.down.map_or(now, |down| down.since);
        self.failed = Some(batch);
        let rest = pause.max(least);
        self.down = Some(Down { since, until: now + rest, pause });
        Some(rest)
    }
}
