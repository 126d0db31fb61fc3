//! The engine: one connection, on one thread, and what it keeps in memory.
//!
//! In memory are the piles' sums, and of each *held* book where it is stored. Of all other books
//! nothing is in memory, so that a deep pile needs no more than a shallow one.

mod admin;
mod fetch;
mod recover;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use gopherworks_pipeline::book::{BodyFile, BookId};
use gopherworks_pipeline::store::{
    Account, Commit, Committed, Depth, PileName, Receipt, Recovered, StoreError,
};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use crate::Settings;
use crate::begun::Begun;
use crate::bodies::Bodies;
use crate::change::Change;
use crate::error::sqlite;
use crate::ids::IdSet;
use crate::lock::Lock;
use crate::reserve::Reserve;

/// Ids are stored as signed numbers, and steps are added to them.
pub(crate) const LARGEST_ID: u64 = 1 << 62;

/// Minimum number of milliseconds between attempts to put a reserve by again.
const RESERVE_RETRY: i64 = 1_000;

/// Where a held book is stored.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    /// Index of its pile.
    pub pile: usize,
    /// Its arrival number there.
    pub at: i64,
    pub pack: i64,
    pub off: i64,
    pub len: i64,
    /// Bytes of its body.
    pub size: u64,
    /// The file of a large body.
    pub file: Option<Arc<BodyFile>>,
    /// True if the book has a row in `tries`.
    pub is_tried: bool,
}

/// Sums of a pile that a transaction changes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sums {
    pub next_at: i64,
    pub books: u64,
    pub bytes: u64,
    pub dead: u64,
    /// All books before it are held, delayed or in [`Pile::ripe`].
    pub cursor: i64,
}

impl Sums {
    /// Writes the sums to the pile's row.
    pub fn save(&self, conn: &Connection, key: i64) -> rusqlite::Result<()> {
        let update = "update pile set next_at = ?2, books = ?3, bytes = ?4 where key = ?1";
        let (books, bytes) = (self.books as i64, self.bytes as i64);
        conn.prepare_cached(update)?.execute([key, self.next_at, books, bytes])?;
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct Pile {
    pub key: i64,
    pub name: PileName,
    pub sums: Sums,
    pub held: u64,
    /// Books before `cursor` whose delay has ended.
    pub ripe: BTreeSet<i64>,
    /// Delays that ended before are in `ripe`, or `cursor` was set back.
    pub ripe_until: i64,
    /// Milliseconds for which keys are remembered.
    pub dedupe: i64,
    /// True if the opener has named the pile.
    pub is_open: bool,
}

/// The row `state`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct State {
    pub epoch: i64,
    pub next_id: u64,
    pub next_dead: i64,
    pub offered: u64,
    pub burned: u64,
    pub dropped: u64,
}

pub(crate) struct Engine {
    pub settings: Settings,
    pub conn: Connection,
    /// Unlocked last.
    _lock: Arc<Lock>,
    pub piles: Vec<Pile>,
    pub by_name: HashMap<PileName, usize>,
    pub held: HashMap<u64, Held>,
    /// Ids that were appended since the store was opened.
    pub accepted: IdSet,
    pub state: State,
    pub next_pack: i64,
    pub bodies: Bodies,
    pub begun: Arc<Begun>,
    reserve: Reserve,
    /// When to put the reserve by again.
    reserve_again: i64,
    /// Wall time at the start less the engine's time.
    time_base: i64,
    /// When the store was opened.
    opened: i64,
    pub recovered: Recovered,
}

/// A commit, with the way back to its caller.
pub(crate) type Waiting = (Arc<Commit>, crate::Answer<Result<Committed, StoreError>>);

impl Engine {
    /// Milliseconds that never go back, not even over restarts, so that a delay can't grow.
    pub fn now(&self) -> i64 {
        self.settings.now().saturating_add(self.time_base)
    }

    /// The token of this opener; greater than that of all earlier ones.
    pub fn token(&self) -> u64 {
        self.state.epoch as u64 + 1
    }

    pub fn pile(&self, name: &PileName) -> Result<usize, StoreError> {
        let index = self.by_name.get(name).copied();
        index.filter(|index| self.piles[*index].is_open).ok_or(StoreError::Gone)
    }

    /// Applies commits in one transaction, and answers them after it.
    pub fn commit(&mut self, group: Vec<Waiting>) {
        let commits: Vec<_> = group.iter().map(|(commit, _)| commit.clone()).collect();
        let answers = self.apply(&commits);
        for ((_, answer), result) in group.into_iter().zip(answers) {
            // A caller that is gone needs no answer.
            let _ = answer.send(result);
        }
    }

    fn apply(&mut self, commits: &[Arc<Commit>]) -> Vec<Result<Committed, StoreError>> {
        let has_room = self.reserve.is_kept() || self.restore_reserve();
        let mut done = self.transact(commits, has_room);
        if matches!(done, Err(StoreError::Full)) && has_room {
            log::warn!("{}: the disk is full", self.settings.path.display());
            self.reserve.give_up();
            self.reserve_again = self.now() + RESERVE_RETRY;
            self.checkpoint();
            done = self.transact(commits, false);
        }
        match done {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            // Not even for acks, although the reserve was given up.
            Err(StoreError::Full) => {
                let error = StoreError::unavailable("the disk is full", Duration::from_secs(1));
                commits.iter().map(|_| Err(error.clone())).collect()
            }
            Err(error) => commits.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    /// After a full disk, puts the reserve by again if there is space, so that appends go on.
    fn restore_reserve(&mut self) -> bool {
        if self.now() < self.reserve_again {
            return false;
        }
        self.reserve_again = self.now() + RESERVE_RETRY;
        self.checkpoint();
        // Freed pages at the end of the file are given back.
        let _ = self.conn.execute_batch("pragma incremental_vacuum(4096)");
        self.checkpoint();
        let is_kept = self.reserve.keep();
        if is_kept {
            log::info!("{}: there is room again", self.settings.path.display());
        }
        is_kept
    }

    /// Moves the log into the database and empties it; a failure leaves it as it is.
    fn checkpoint(&self) {
        let _ = self.conn.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()));
    }

    fn transact(
        &mut self,
        commits: &[Arc<Commit>],
        has_room: bool,
    ) -> Result<Vec<Committed>, StoreError> {
        let mut change = Change::new(self, has_room);
        let staged: Result<Vec<_>, _> = commits.iter().map(|commit| change.stage(commit)).collect();
        let written = staged.and_then(|answers| change.write().map(|()| answers));
        let outcome = change.finish();
        match written {
            Ok(answers) => {
                self.accept(outcome);
                Ok(answers)
            }
            Err(error) => {
                // The transaction was rolled back, and so are the files.
                drop(outcome.spare_files);
                self.bodies.condemn(outcome.new_files);
                Err(error)
            }
        }
    }

    /// Takes over what a transaction changed, after it.
    fn accept(&mut self, outcome: crate::change::Outcome) {
        for (id, held) in outcome.books {
            let before = match held {
                Some(held) => {
                    self.piles[held.pile].held += 1;
                    self.held.insert(id, held)
                }
                None => self.held.remove(&id),
            };
            if let Some(before) = before {
                self.piles[before.pile].held -= 1;
            }
        }
        outcome.accepted.into_iter().for_each(|id| self.accepted.insert(id));
        for (pile, sums) in outcome.piles {
            self.piles[pile].sums = sums;
        }
        self.state = outcome.state;
        self.next_pack = outcome.next_pack;
        drop(outcome.new_files);
        self.bodies.condemn(outcome.gone_files.into_iter().chain(outcome.spare_files));
    }

    /// Runs statements in a transaction of their own.
    pub fn within<T>(
        &mut self,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate);
        let tx = tx.map_err(sqlite)?;
        let value = run(&tx).map_err(sqlite)?;
        // Whether the log reached the disk is not known after an error here.
        tx.commit().map_err(|error| StoreError::Unknown(error.to_string().into()))?;
        Ok(value)
    }

    pub fn reserve_ids(&mut self, count: u64) -> Result<Range<u64>, StoreError> {
        let first = self.state.next_id;
        let end = first.checked_add(count).filter(|end| *end <= LARGEST_ID);
        let end = end.ok_or_else(|| StoreError::Other("no more ids".into()))?;
        self.within(|conn| {
            conn.prepare_cached("update state set next_id = ?1")?.execute([end as i64])
        })?;
        self.state.next_id = end;
        Ok(first..end)
    }

    /// Leases last until the end: only says which are still held.
    pub fn extend(&self, receipts: &[Receipt]) -> Vec<Result<(), StoreError>> {
        let is_held =
            |receipt: &Receipt| receipt.id().filter(|id| self.held.contains_key(&id.0)).map(drop);
        receipts.iter().map(|receipt| is_held(receipt).ok_or(StoreError::Gone)).collect()
    }

    /// Numbers of an open or orphaned pile.
    pub fn depth_of(&self, pile: &Pile) -> Result<Depth, StoreError> {
        let now = self.now();
        let mut due = self
            .conn
            .prepare_cached("select id, due from tries where pile = ?1 and due > ?2 order by due")
            .map_err(sqlite)?;
        let mut rows = due.query([pile.key, now]).map_err(sqlite)?;
        let mut next_due = None;
        while let Some(row) = rows.next().map_err(sqlite)? {
            let (id, due): (i64, i64) = (row.get(0).map_err(sqlite)?, row.get(1).map_err(sqlite)?);
            if !self.held.contains_key(&(id as u64)) {
                next_due = Some(Duration::from_millis((due - now) as u64));
                break;
            }
        }
        let Sums { books, bytes, dead, .. } = pile.sums;
        Ok(Depth { books, bytes, held: pile.held, dead, next_due, exact: true })
    }

    pub fn depth(&self, name: &PileName) -> Result<Depth, StoreError> {
        self.depth_of(&self.piles[self.pile(name)?])
    }

    /// Whether books with these ids are or were stored since the start.
    pub fn resolve(&self, ids: &[BookId]) -> Result<Vec<bool>, StoreError> {
        let stored = "select 1 from place where first <= ?1 and first + (n - 1) * step >= ?1
            and (?1 - first) % step = 0";
        let known = |id: &BookId| {
            if id.0 >= LARGEST_ID || self.accepted.contains(id.0) || self.held.contains_key(&id.0) {
                return Ok(id.0 < LARGEST_ID);
            }
            let mut stored = self.conn.prepare_cached(stored)?;
            Ok(stored.query_row([id.0 as i64], |_| Ok(())).optional()?.is_some())
        };
        ids.iter().map(known).collect::<rusqlite::Result<_>>().map_err(sqlite)
    }

    pub fn account(&self) -> Account {
        let State { offered, burned, dropped, .. } = self.state;
        let present = self.piles.iter().map(|pile| pile.sums.books).sum();
        let dead = self.piles.iter().map(|pile| pile.sums.dead).sum();
        Account { offered, burned, dropped, dead, present }
    }

    /// Gives some freed pages back to the file system, when no caller waits.
    pub fn shrink(&self) {
        let count = |pragma| self.conn.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        let (Ok(free), Ok(all)) = (count("freelist_count"), count("page_count")) else {
            return;
        };
        // Not for a little, which the next books need.
        if free > 4096 && free > all / 2 && self.reserve.is_kept() {
            let _ = self.conn.execute_batch("pragma incremental_vacuum(256)");
        }
    }

    /// Ends all leases and closes the database.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.begun.stop();
        self.bodies.condemn([]);
        self.checkpoint();
        self.conn.close().map_err(|(_, error)| sqlite(error))
    }
}

/// Which files of bodies have rows.
pub(crate) fn named_files(conn: &Connection) -> rusqlite::Result<HashSet<String>> {
    let mut named = conn.prepare("select name from body")?;
    named.query_map([], |row| row.get(0))?.collect()
}
