//! Dead letters, orphaned piles, owners of sources.

use bytes::Bytes;
use gopherworks_pipeline::store::{Cursor, DeadBook, Holder, Ownership, PileName, StoreError};
use rusqlite::{Connection, OptionalExtension};

use super::{Engine, Sums};
use crate::bodies::Bodies;
use crate::change::{Change, take};
use crate::error::sqlite;
use crate::range::Range;
use crate::view;

/// A row of `dead` that is to be removed.
struct Letter {
    seq: i64,
    id: u64,
    pile: usize,
    size: u64,
    record: Vec<u8>,
}

impl Engine {
    pub fn dead(&self, from: Cursor, most: usize) -> Result<Vec<DeadBook>, StoreError> {
        view::dead(&self.conn, &self.bodies, from, most)
    }

    /// The rows of these dead letters, each once.
    fn letters(&self, at: &[Cursor]) -> Result<Vec<Letter>, StoreError> {
        let select = "select id, pile, size, record from dead where seq = ?1";
        let mut select = self.conn.prepare_cached(select).map_err(sqlite)?;
        let mut at: Vec<i64> = at.iter().filter_map(|at| i64::try_from(at.0).ok()).collect();
        at.sort_unstable();
        at.dedup();
        let mut letters = Vec::new();
        for seq in at {
            let row = select.query_row([seq], |row| {
                let (id, pile, size): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok((id as u64, pile, size as u64, row.get(3)?))
            });
            if let Some((id, key, size, record)) = row.optional().map_err(sqlite)? {
                let pile = self.piles.iter().position(|known| known.key == key);
                let pile =
                    pile.ok_or_else(|| StoreError::Corrupt("a dead letter's pile".into()))?;
                letters.push(Letter { seq, id, pile, size, record });
            }
        }
        Ok(letters)
    }

    pub fn forget_dead(&mut self, at: &[Cursor]) -> Result<u64, StoreError> {
        let letters = self.letters(at)?;
        let dropped = self.state.dropped + letters.len() as u64;
        let files = self.within(|conn| {
            let mut files = Vec::new();
            for letter in &letters {
                conn.execute("delete from dead where seq = ?1", [letter.seq])?;
                files.extend(unname(conn, letter.id)?);
            }
            conn.execute("update state set dropped = ?1", [dropped as i64])?;
            Ok(files)
        })?;
        self.state.dropped = dropped;
        letters.iter().for_each(|letter| self.piles[letter.pile].sums.dead -= 1);
        delete(&self.bodies, files);
        Ok(letters.len() as u64)
    }

    pub fn replay(&mut self, at: &[Cursor]) -> Result<u64, StoreError> {
        let letters = self.letters(at)?;
        let count = letters.len() as u64;
        let mut change = Change::new(self, true);
        for Letter { seq, id, pile, size, record } in letters {
            change.revive(seq, id, pile, record, size);
        }
        change.write()?;
        let outcome = change.finish();
        self.accept(outcome);
        Ok(count)
    }

    /// The index of a pile that the opener did not name.
    fn orphan(&self, name: &PileName) -> Result<usize, StoreError> {
        let index = *self.by_name.get(name).ok_or(StoreError::Gone)?;
        match self.piles[index].is_open {
            true => Err(StoreError::Other(format!("the pile {name} is in use").into())),
            false => Ok(index),
        }
    }

    pub fn move_pile(&mut self, from: &PileName, to: &PileName) -> Result<u64, StoreError> {
        let (to, from) = (self.pile(to)?, self.orphan(from)?);
        let (source, target) = (self.piles[from].key, self.piles[to].key);
        let (before, mut after) = (self.piles[from].sums, self.piles[to].sums);
        let (emptied, after) = self.within(|conn| {
            for range in ranges(conn, source)? {
                Range { pile: target, at: after.next_at, ..range }.insert(conn)?;
                after.next_at += range.n;
            }
            conn.execute("delete from place where pile = ?1", [source])?;
            conn.execute("delete from tries where pile = ?1", [source])?;
            after.books += before.books;
            after.bytes += before.bytes;
            after.save(conn, target)?;
            let emptied = Sums { books: 0, bytes: 0, ..before };
            emptied.save(conn, source)?;
            Ok((emptied, after))
        })?;
        (self.piles[from].sums, self.piles[to].sums) = (emptied, after);
        Ok(before.books)
    }

    pub fn drop_pile(&mut self, name: &PileName) -> Result<u64, StoreError> {
        let index = self.orphan(name)?;
        let (key, sums) = (self.piles[index].key, self.piles[index].sums);
        let (dropped, emptied) =
            (self.state.dropped + sums.books, Sums { books: 0, bytes: 0, ..sums });
        let files = self.within(|conn| {
            let mut files = Vec::new();
            for range in ranges(conn, key)? {
                take(conn, range.pack, range.n)?;
                let large = "select id from body where id between ?1 and ?2
                    and (id - ?1) % ?3 = 0";
                let mut large = conn.prepare_cached(large)?;
                let ids =
                    large.query_map([range.first, range.last(), range.step], |row| row.get(0))?;
                for id in ids.collect::<rusqlite::Result<Vec<i64>>>()? {
                    files.extend(unname(conn, id as u64)?);
                }
            }
            conn.execute("delete from place where pile = ?1", [key])?;
            conn.execute("delete from tries where pile = ?1", [key])?;
            conn.execute("delete from seen where pile = ?1", [key])?;
            conn.execute("update state set dropped = ?1", [dropped as i64])?;
            emptied.save(conn, key)?;
            Ok(files)
        })?;
        self.state.dropped = dropped;
        self.piles[index].sums = emptied;
        delete(&self.bodies, files);
        Ok(sums.books)
    }

    /// The only process owns all sources, until another one opens the store.
    pub fn own(
        &self,
        source: &str,
        share: u32,
        token: Option<u64>,
    ) -> Result<Ownership, StoreError> {
        if token.is_some_and(|token| token != self.token()) {
            return Err(StoreError::Stale);
        }
        let select = "select position from mark where source = ?1 and share = ?2 order by part";
        let mut select = self.conn.prepare_cached(select).map_err(sqlite)?;
        let parts = select.query_map((source, share), |row| row.get::<_, Vec<u8>>(0));
        let parts: rusqlite::Result<Vec<_>> = parts.map_err(sqlite)?.collect();
        let parts = parts.map_err(sqlite)?;
        let position = (!parts.is_empty()).then(|| Bytes::from(parts.concat()));
        Ok(Ownership { token: self.token(), position })
    }

    pub fn rewind(&mut self, source: &str) -> Result<(), StoreError> {
        self.within(|conn| conn.execute("delete from mark where source = ?1", [source]).map(drop))
    }

    pub fn disown(&self, token: u64) -> Result<(), StoreError> {
        if token == self.token() { Ok(()) } else { Err(StoreError::Stale) }
    }

    pub fn holders(&self) -> Vec<Holder> {
        let since = std::time::Duration::from_millis((self.now() - self.opened).max(0) as u64);
        vec![view::holder(std::process::id(), Some(self.held.len() as u64), since)]
    }
}

/// All ranges of a pile, in order.
fn ranges(conn: &Connection, pile: i64) -> rusqlite::Result<Vec<Range>> {
    let select = "select at, first, step, n, pack, off, len from place where pile = ?1 order by at";
    let mut select = conn.prepare_cached(select)?;
    select.query_map([pile], |row| Range::read(pile, row))?.collect()
}

/// Removes the row of a large body; answers the name of its file.
fn unname(conn: &Connection, id: u64) -> rusqlite::Result<Option<String>> {
    let delete = "delete from body where id = ?1 returning name";
    conn.prepare_cached(delete)?.query_row([id as i64], |row| row.get(0)).optional()
}

fn delete(bodies: &Bodies, files: Vec<String>) {
    for name in files {
        let _ = std::fs::remove_file(bodies.path(&name));
    }
}
