//! Delivers books in the order of their arrival, without any row in memory for those not held.

use std::collections::HashMap;

use gopherworks_pipeline::book::{Book, BookId};
use gopherworks_pipeline::store::{Delivery, PileName, Receipt, StoreError, Tries, Want};
use rusqlite::{Connection, OptionalExtension};

use super::{Engine, Held};
use crate::encode::{StoredBody, decode, skip};
use crate::error::sqlite;
use crate::range::{Range, read};

/// Maximum number of ended delays that are kept in memory; with more, the pile is read again from
/// the first.
const MOST_RIPE: i64 = 10_000;

/// What a fetch has found so far.
struct Found {
    want: Want,
    bytes: u64,
    books: Vec<Delivery>,
}

impl Found {
    /// True if another book of `size` bytes is wanted.
    fn wants(&self, size: u64) -> bool {
        let fits = |most: u64| self.bytes.saturating_add(size) <= most;
        self.books.is_empty()
            || self.books.len() < self.want.books && self.want.bytes.is_none_or(fits)
    }
}

impl Engine {
    pub fn fetch(&mut self, name: &PileName, want: Want) -> Result<Vec<Delivery>, StoreError> {
        let pile = self.pile(name)?;
        let now = self.now();
        self.ripen(pile, now)?;
        let mut found = Found { want, bytes: 0, books: Vec::new() };
        let read = self.find(pile, now, &mut found);
        if found.books.is_empty() {
            read?;
        }
        Ok(found.books)
    }

    /// Finds books whose delays have ended since the last fetch.
    fn ripen(&mut self, pile: usize, now: i64) -> Result<(), StoreError> {
        let span = [self.piles[pile].key, self.piles[pile].ripe_until, now, MOST_RIPE + 1];
        let ended = "select at from tries where pile = ?1 and due > ?2 and due <= ?3 limit ?4";
        let mut ended = self.conn.prepare_cached(ended).map_err(sqlite)?;
        let rows = ended.query_map(span, |row| row.get::<_, i64>(0)).map_err(sqlite)?;
        let ripe: Vec<_> = rows.collect::<Result<_, _>>().map_err(sqlite)?;
        let pile = &mut self.piles[pile];
        if ripe.len() as i64 > MOST_RIPE {
            pile.sums.cursor = 0;
            pile.ripe.clear();
        } else {
            pile.ripe.extend(ripe.into_iter().filter(|at| *at < pile.sums.cursor));
        }
        pile.ripe_until = now;
        Ok(())
    }

    fn find(&mut self, pile: usize, now: i64, found: &mut Found) -> Result<(), StoreError> {
        let key = self.piles[pile].key;
        // A return may have moved the cursor back: it finds those behind it, in their order.
        while let Some(at) = self.piles[pile].ripe.first().copied()
            && at < self.piles[pile].sums.cursor
        {
            let range = self.range_at(key, at)?;
            if let Some(range) = range
                && !self.search(pile, range, at..at + 1, now, found)?
            {
                return Ok(());
            }
            self.piles[pile].ripe.remove(&at);
        }
        loop {
            let cursor = self.piles[pile].sums.cursor;
            let range = match self.range_at(key, cursor)? {
                Some(range) => Some(range),
                None => self.range_after(key, cursor)?,
            };
            let Some(range) = range else {
                return Ok(());
            };
            let end = range.at + range.n;
            if !self.search(pile, range, cursor..end, now, found)? {
                return Ok(());
            }
            self.piles[pile].sums.cursor = end;
        }
    }

    /// The range that contains a place.
    fn range_at(&self, pile: i64, at: i64) -> Result<Option<Range>, StoreError> {
        let select = "select at, first, step, n, pack, off, len from place
            where pile = ?1 and at <= ?2 order by at desc limit 1";
        let range = one(&self.conn, select, pile, at)?;
        Ok(range.filter(|range| at < range.at + range.n))
    }

    fn range_after(&self, pile: i64, at: i64) -> Result<Option<Range>, StoreError> {
        let select = "select at, first, step, n, pack, off, len from place
            where pile = ?1 and at > ?2 order by at limit 1";
        one(&self.conn, select, pile, at)
    }

    /// Looks for books to deliver in a part of a range. False if no more are wanted; the cursor
    /// is then where the next fetch begins.
    fn search(
        &mut self,
        pile: usize,
        range: Range,
        places: std::ops::Range<i64>,
        now: i64,
        found: &mut Found,
    ) -> Result<bool, StoreError> {
        let id_at = |at: i64| (range.first + (at - range.at) * range.step) as u64;
        let first = places.start.max(range.at);
        if (first..places.end).all(|at| self.held.contains_key(&id_at(at))) {
            return Ok(true);
        }
        if !found.wants(0) {
            self.stop(pile, first);
            return Ok(false);
        }
        let tried = self.tried(range)?;
        let data = read(&self.conn, range.pack, range.off, range.len)?;
        let mut off = 0;
        for at in range.at..places.end {
            let id = id_at(at);
            let rest = &data[off..];
            let (tries, due) = tried.get(&id).copied().unwrap_or_default();
            if at < first || due > now || self.held.contains_key(&id) {
                off += skip(rest)?;
                continue;
            }
            let record = decode(rest)?;
            let size = match &record.body {
                StoredBody::Inline(bytes) => bytes.len() as u64,
                StoredBody::File { size, .. } => *size,
            };
            if !found.wants(size) {
                self.stop(pile, at);
                return Ok(false);
            }
            found.bytes += size;
            let (body, file) = self.bodies.body(record.body);
            let book = Book { id: BookId(id), headers: record.headers, body };
            let receipt = Receipt::of(book.id);
            let held = Held {
                pile,
                at,
                pack: range.pack,
                off: range.off + off as i64,
                len: record.len as i64,
                size,
                file,
                is_tried: tried.contains_key(&id),
            };
            off += record.len;
            self.piles[pile].held += 1;
            self.held.insert(id, held);
            found.books.push(Delivery { book, receipt, tries, lease: None });
        }
        Ok(true)
    }

    /// The next fetch begins here, unless it is before the cursor anyway.
    fn stop(&mut self, pile: usize, at: i64) {
        let sums = &mut self.piles[pile].sums;
        sums.cursor = sums.cursor.max(at);
    }

    /// Tries and due times of the books of a range that were tried before.
    fn tried(&self, range: Range) -> Result<HashMap<u64, (Tries, i64)>, StoreError> {
        let select = "select id, attempts, deliveries, begun, apart, due from tries
            where id between ?1 and ?2";
        let mut select = self.conn.prepare_cached(select).map_err(sqlite)?;
        let rows = select.query_map([range.first, range.last()], |row| {
            let (attempts, deliveries) = (row.get(1)?, row.get(2)?);
            let tries = Tries { attempts, deliveries, begun: row.get(3)?, apart: row.get(4)? };
            Ok((row.get::<_, i64>(0)? as u64, (tries, row.get(5)?)))
        });
        rows.map_err(sqlite)?.collect::<Result<_, _>>().map_err(sqlite)
    }
}

/// The first range that a query finds.
fn one(conn: &Connection, select: &str, pile: i64, at: i64) -> Result<Option<Range>, StoreError> {
    let mut select = conn.prepare_cached(select).map_err(sqlite)?;
    let range = select.query_row([pile, at], |row| Range::read(pile, row)).optional();
    match range.map_err(sqlite)? {
        Some(range) if !range.is_sound() => {
            Err(StoreError::Corrupt(format!("the range at {} of a pile", range.at).into()))
        }
        range => Ok(range),
    }
}
