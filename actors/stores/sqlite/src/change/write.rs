//! Writes the difference that a transaction makes.

use std::collections::BTreeMap;

use gopherworks_pipeline::store::StoreError;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::{Change, Held, Now};
use crate::error::sqlite;
use crate::range::Range;

/// A book that leaves its place; ordered by place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Leaving {
    pile: i64,
    at: i64,
    /// Where its record begins and ends in its pack.
    off: i64,
    end: i64,
}

impl Change<'_> {
    /// Writes all of it in one transaction.
    ///
    /// # Errors
    /// `Full`, `Unavailable` or `Corrupt` if nothing was written; `Unknown` if the last step
    /// failed.
    pub fn write(&mut self) -> Result<(), StoreError> {
        if self.is_empty() {
            return Ok(());
        }
        if !self.new_files.is_empty() {
            self.engine.bodies.sync()?;
        }
        // Marks go first: a crash before the commit then charges nothing to work that has ended.
        self.engine.begun.end(self.over.drain(..));
        let keys: Vec<_> = self.engine.piles.iter().map(|pile| pile.key).collect();
        let tx = Transaction::new_unchecked(&self.engine.conn, TransactionBehavior::Immediate);
        let tx = tx.map_err(sqlite)?;
        self.write_rows(&tx, &keys).map_err(sqlite)?;
        tx.commit().map_err(|error| match sqlite(error) {
            // Known not to be committed: there was no room for it.
            StoreError::Full => StoreError::Full,
            error => StoreError::Unknown(error.to_string().into()),
        })
    }

    /// True if no row changes.
    fn is_empty(&self) -> bool {
        self.books.is_empty() && self.marks.is_empty()
    }

    fn write_rows(&self, conn: &Connection, keys: &[i64]) -> rusqlite::Result<()> {
        let (leaving, coming) = self.difference(keys);
        leave(conn, &leaving)?;
        coming.iter().try_for_each(|run| run.insert(conn))?;
        self.write_packs(conn)?;
        self.write_tries(conn)?;
        for (id, file) in &self.files {
            match file {
                Some((name, size)) => {
                    let insert = "insert or replace into body values (?1, ?2, ?3)";
                    conn.prepare_cached(insert)?.execute((*id as i64, name, *size as i64))?
                }
                None => {
                    conn.prepare_cached("delete from body where id = ?1")?.execute([*id as i64])?
                }
            };
        }
        for seq in &self.revived {
            conn.prepare_cached("delete from dead where seq = ?1")?.execute([seq])?;
        }
        for dead in &self.dead {
            let insert = "insert into dead values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
            conn.prepare_cached(insert)?.execute((
                dead.seq,
                dead.id as i64,
                dead.pile,
                dead.size as i64,
                dead.attempts,
                &*dead.reason,
                dead.node.as_deref(),
                &dead.record,
            ))?;
        }
        self.write_keys(conn, keys)?;
        for ((source, share), mark) in &self.marks {
            if !mark.adds {
                let delete = "delete from mark where source = ?1 and share = ?2";
                conn.prepare_cached(delete)?.execute((&**source, share))?;
            }
            let insert = "insert into mark select ?1, ?2, coalesce(max(part), 0) + 1, ?3
                from mark where source = ?1 and share = ?2";
            conn.prepare_cached(insert)?.execute((&**source, share, &mark.position))?;
        }
        for (pile, sums) in &self.piles {
            sums.save(conn, keys[*pile])?;
        }
        let update = "update state set next_id = ?1, next_dead = ?2, clock = ?3, offered = ?4,
            burned = ?5, dropped = ?6";
        conn.prepare_cached(update)?.execute((
            self.state.next_id as i64,
            self.state.next_dead,
            self.now,
            self.state.offered as i64,
            self.state.burned as i64,
            self.state.dropped as i64,
        ))?;
        Ok(())
    }

    /// Which books leave their places, and which ranges come to new ones.
    fn difference(&self, keys: &[i64]) -> (Vec<Leaving>, Vec<Range>) {
        let place = |held: &Held| (held.pile, held.at, held.pack, held.off);
        let (mut leaving, mut coming) = (Vec::new(), Vec::new());
        for (id, touch) in &self.books {
            let now = match &touch.now {
                Now::Held(held) | Now::Free(held) => Some(held),
                Now::Gone => None,
            };
            if touch.was.as_ref().map(place) == now.map(place) {
                continue;
            }
            if let Some(was) = &touch.was {
                let (pile, off, end) = (keys[was.pile], was.off, was.off + was.len);
                leaving.push(Leaving { pile, at: was.at, off, end });
            }
            if let Some(now) = now {
                coming.push((keys[now.pile], now.at, *id as i64, now));
            }
        }
        leaving.sort_unstable();
        coming.sort_unstable_by_key(|(pile, at, ..)| (*pile, *at));
        let mut runs: Vec<Range> = Vec::new();
        for (pile, at, id, held) in coming {
            let is_next = |run: &&mut Range| {
                let gap = id - (run.first + (run.n - 1) * run.step);
                (run.pile, run.at + run.n) == (pile, at)
                    && (run.pack, run.off + run.len) == (held.pack, held.off)
                    && if run.n == 1 { gap > 0 } else { gap == run.step }
            };
            match runs.last_mut().filter(is_next) {
                Some(run) => {
                    run.step = if run.n == 1 { id - run.first } else { run.step };
                    run.n += 1;
                    run.len += held.len;
                }
                None => {
                    let Held { pack, off, len, .. } = *held;
                    runs.push(Range { pile, at, first: id, step: 1, n: 1, pack, off, len });
                }
            }
        }
        (leaving, runs)
    }

    /// New packs, and what is left of those that lost records.
    fn write_packs(&self, conn: &Connection) -> rusqlite::Result<()> {
        let mut new = BTreeMap::new();
        for pack in &self.packs {
            let freed = self.freed.get(&pack.pack).copied().unwrap_or(0);
            new.insert(pack.pack, pack.n - freed);
            if pack.n > freed {
                let insert = "insert into pack values (?1, ?2, ?3, ?4)";
                conn.prepare_cached(insert)?.execute((pack.pack, pack.n, self.now, &pack.data))?;
            }
            if freed > 0 && pack.n > freed {
                let insert = "insert into live values (?1, ?2)";
                conn.prepare_cached(insert)?.execute((pack.pack, pack.n - freed))?;
            }
        }
        for (pack, freed) in self.freed.iter().filter(|(pack, _)| !new.contains_key(pack)) {
            take(conn, *pack, *freed)?;
        }
        Ok(())
    }

    fn write_tries(&self, conn: &Connection) -> rusqlite::Result<()> {
        for (id, tried) in &self.tries {
            let Some(tried) = tried else {
                let delete = "delete from tries where id = ?1";
                conn.prepare_cached(delete)?.execute([*id as i64])?;
                continue;
            };
            let insert = "insert or replace into tries values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
            conn.prepare_cached(insert)?.execute((
                *id as i64,
                tried.pile,
                tried.at,
                tried.tries.attempts,
                tried.tries.deliveries,
                tried.tries.begun,
                tried.tries.apart,
                tried.due,
            ))?;
        }
        Ok(())
    }

    fn write_keys(&self, conn: &Connection, keys: &[i64]) -> rusqlite::Result<()> {
        if self.keys.is_empty() {
            return Ok(());
        }
        for ((pile, key), id) in &self.keys {
            let insert = "insert or replace into seen values (?1, ?2, ?3, ?4)";
            let until = self.now.saturating_add(self.engine.piles[*pile].dedupe);
            conn.prepare_cached(insert)?.execute((id.0 as i64, keys[*pile], &key[..], until))?;
        }
        // Twice as many as come, so that the expired ones become fewer.
        let purge = "delete from seen where id in
            (select id from seen where until <= ?1 order by until limit ?2)";
        conn.prepare_cached(purge)?.execute((self.now, 2 * self.keys.len() as i64))?;
        Ok(())
    }
}

/// Cuts leaving books, in order, out of their ranges.
fn leave(conn: &Connection, leaving: &[Leaving]) -> rusqlite::Result<()> {
    let is_next = |one: &Leaving, next: &Leaving| (one.pile, one.at + 1) == (next.pile, next.at);
    leaving.chunk_by(is_next).try_for_each(|run| cut(conn, run))
}

/// Cuts books of adjacent places out of the ranges that they are in.
fn cut(conn: &Connection, mut run: &[Leaving]) -> rusqlite::Result<()> {
    while let Some(&Leaving { pile, at: from, off: cut_from, .. }) = run.first() {
        let find = "select at, first, step, n, pack, off, len from place
            where pile = ?1 and at <= ?2 order by at desc limit 1";
        let mut find = conn.prepare_cached(find)?;
        let range = find.query_row([pile, from], |row| Range::read(pile, row))?;
        let end = range.at + range.n;
        if end <= from {
            // The range of a held book is missing.
            return Err(rusqlite::Error::QueryReturnedNoRows);
        }
        let here = run.len().min((end - from) as usize);
        let before = from - range.at;
        let skipped = before + here as i64;
        let cut_to = run[here - 1].end;
        if before > 0 {
            let update = "update place set n = ?3, len = ?4 where pile = ?1 and at = ?2";
            let len = cut_from - range.off;
            conn.prepare_cached(update)?.execute([pile, range.at, before, len])?;
        } else {
            let delete = "delete from place where pile = ?1 and at = ?2";
            conn.prepare_cached(delete)?.execute([pile, range.at])?;
        }
        if skipped < range.n {
            let (at, first) = (range.at + skipped, range.first + skipped * range.step);
            let (n, len) = (range.n - skipped, range.off + range.len - cut_to);
            Range { at, first, n, off: cut_to, len, ..range }.insert(conn)?;
        }
        run = &run[here..];
    }
    Ok(())
}

/// Takes records out of a pack that was stored before; the last ones take the pack along.
pub(crate) fn take(conn: &Connection, pack: i64, freed: i64) -> rusqlite::Result<()> {
    let known = conn
        .prepare_cached("select n from live where pack = ?1")?
        .query_row([pack], |row| row.get::<_, i64>(0))
        .optional()?;
    let left = match known {
        Some(left) => left,
        None => conn
            .prepare_cached("select n from pack where pack = ?1")?
            .query_row([pack], |row| row.get(0))?,
    } - freed;
    if left > 0 {
        let insert = "insert or replace into live values (?1, ?2)";
        conn.prepare_cached(insert)?.execute([pack, left])?;
        return Ok(());
    }
    conn.prepare_cached("delete from pack where pack = ?1")?.execute([pack])?;
    if known.is_some() {
        conn.prepare_cached("delete from live where pack = ?1")?.execute([pack])?;
    }
    Ok(())
}
