//! Checks a store for consistency, and repairs what follows from the rest.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use gopherworks_pipeline::store::{Finding, StoreError};
use rusqlite::{Connection, OptionalExtension};

use crate::bodies::Bodies;
use crate::encode::{StoredBody, decode};
use crate::engine::named_files;
use crate::error::sqlite;
use crate::ids::IdSet;
use crate::range::{self, Range};
use crate::{beside, lock, resolved, schema};

/// Checks the store at `path`, record by record; answers what is wrong. Blocks.
///
/// With `repair`, locks the store and corrects what follows from the rest: sums, numbers, rows and
/// files that nothing names. Lost or damaged records are reported; no book is removed. Without it,
/// the store may be in use.
///
/// # Errors
/// `InUse` if it is to be repaired and is in use; `Gone` if there is no store; `Unavailable`.
pub fn check(path: &Path, repair: bool) -> Result<Vec<Finding>, StoreError> {
    if !path.exists() {
        return Err(StoreError::Gone);
    }
    let path = &resolved(path);
    schema::regular(path)?;
    let _lock = repair.then(|| lock::lock(&beside(path, "lock"), path)).transpose()?;
    let conn = match repair {
        true => schema::open(path, 1_000)?,
        false => schema::open_to_read(path)?,
    };
    let tx = conn.unchecked_transaction().map_err(sqlite)?;
    let bodies = Bodies::new(beside(path, "bodies"), 0);
    let mut check = Check {
        conn: &tx,
        bodies,
        repair,
        found: Vec::new(),
        ids: IdSet::default(),
        read: IdSet::default(),
        is_incomplete: false,
        last_id: 0,
        packs: HashMap::new(),
        sums: BTreeMap::new(),
        files: HashMap::new(),
        named: HashSet::new(),
    };
    check.all()?;
    let Check { mut found, bodies, named: mut in_records, is_incomplete, .. } = check;
    let mut named = named_files(&tx).map_err(sqlite)?;
    named.extend(in_records.drain());
    tx.commit().map_err(sqlite)?;
    let is_repaired = repair && !is_incomplete;
    match bodies.collect(&named, is_repaired) {
        0 => {}
        spare => {
            let what = format!("{spare} files of bodies belong to no book");
            found.push(Finding { what, is_repaired });
        }
    }
    Ok(found)
}

/// Sums over the ranges of a pile.
#[derive(Default)]
struct Sums {
    books: i64,
    bytes: i64,
    next_at: i64,
    /// True if some records can't be read: the bytes are not known.
    is_unread: bool,
}

struct Check<'c> {
    conn: &'c Connection,
    bodies: Bodies,
    repair: bool,
    found: Vec<Finding>,
    /// Ids of all stored books, and of those whose records can be read.
    ids: IdSet,
    read: IdSet,
    /// True if some ids are not known: no file may be removed.
    is_incomplete: bool,
    last_id: i64,
    /// Number of stored books by pack.
    packs: HashMap<i64, i64>,
    sums: BTreeMap<i64, Sums>,
    /// Name and size of the large bodies, by id.
    files: HashMap<i64, (String, u64)>,
    /// Names of the files that readable records refer to.
    named: HashSet<String>,
}

impl Check<'_> {
    fn report(&mut self, what: String) {
        self.found.push(Finding { what, is_repaired: false });
    }

    /// Reports what the statement corrects, and corrects it if asked to.
    fn correct(
        &mut self,
        what: String,
        statement: &str,
        values: impl rusqlite::Params,
    ) -> Result<(), StoreError> {
        if self.repair {
            self.conn.execute(statement, values).map_err(sqlite)?;
        }
        self.found.push(Finding { what, is_repaired: self.repair });
        Ok(())
    }

    fn rows<T>(
        &self,
        select: &str,
        read: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut select = self.conn.prepare(select).map_err(sqlite)?;
        let rows = select.query_map([], read).map_err(sqlite)?;
        rows.collect::<Result<_, _>>().map_err(sqlite)
    }

    fn all(&mut self) -> Result<(), StoreError> {
        for problem in self.rows("pragma integrity_check(20)", |row| row.get::<_, String>(0))? {
            if problem != "ok" {
                self.report(format!("SQLite: {problem}"));
            }
        }
        self.ranges()?;
        self.dead_letters()?;
        self.packs()?;
        self.piles()?;
        self.numbers()?;
        self.tries()?;
        self.files()
    }

    fn ranges(&mut self) -> Result<(), StoreError> {
        let select = "select at, first, step, n, pack, off, len, pile from place order by pile, at";
        let (conn, mut last) = (self.conn, (0, 0));
        let mut select = conn.prepare(select).map_err(sqlite)?;
        let mut rows = select.query([]).map_err(sqlite)?;
        while let Some(row) = rows.next().map_err(sqlite)? {
            let range = Range::read(row.get(7).map_err(sqlite)?, row).map_err(sqlite)?;
            let Range { pile, at, n, .. } = range;
            if !range.is_sound() {
                self.report(format!("the range at {at} of pile {pile} has impossible numbers"));
                self.is_incomplete = true;
                continue;
            }
            if last.0 == pile && at < last.1 {
                self.report(format!("the range at {at} of pile {pile} overlaps the one before it"));
            }
            last = (pile, at + n);
            let bytes = self.range(range)?;
            let is_read = (range.first..=range.last())
                .step_by(range.step as usize)
                .all(|id| self.read.contains(id as u64));
            *self.packs.entry(range.pack).or_default() += n;
            let sums = self.sums.entry(pile).or_default();
            sums.books += n;
            sums.bytes += bytes;
            sums.is_unread |= !is_read;
            sums.next_at = sums.next_at.max(at + n);
        }
        Ok(())
    }

    /// Reads all records of a range; answers the bytes of the bodies.
    fn range(&mut self, range: Range) -> Result<i64, StoreError> {
        let mut bytes = 0;
        let data = match range::read(self.conn, range.pack, range.off, range.len) {
            Ok(data) => data,
            Err(StoreError::Corrupt(reason)) => {
                let Range { n, first, .. } = range;
                self.report(format!("{n} books from {first} on are lost: {reason}"));
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        let (mut off, mut is_readable) = (0, !data.is_empty());
        for id in (range.first..=range.last()).step_by(range.step as usize) {
            self.note_id(id);
            if !is_readable {
                continue;
            }
            match decode(&data[off..]) {
                Ok(record) => {
                    off += record.len;
                    bytes += self.note_body(id, record.body);
                }
                Err(_) => {
                    self.report(format!("the record of book {id} is damaged"));
                    is_readable = false;
                }
            }
        }
        if is_readable && off != data.len() {
            self.report(format!("the records of books from {} on have odd lengths", range.first));
        }
        Ok(bytes)
    }

    fn note_id(&mut self, id: i64) {
        if self.ids.contains(id as u64) {
            self.report(format!("book {id} is stored twice"));
        }
        self.ids.insert(id as u64);
        self.last_id = self.last_id.max(id);
    }

    fn note_body(&mut self, id: i64, body: StoredBody) -> i64 {
        self.read.insert(id as u64);
        match body {
            StoredBody::Inline(bytes) => bytes.len() as i64,
            StoredBody::File { name, size } => {
                self.named.insert(name.clone());
                self.files.insert(id, (name, size));
                size as i64
            }
        }
    }

    fn dead_letters(&mut self) -> Result<(), StoreError> {
        let conn = self.conn;
        let mut select =
            conn.prepare("select id, record from dead order by seq").map_err(sqlite)?;
        let mut rows = select.query([]).map_err(sqlite)?;
        while let Some(row) = rows.next().map_err(sqlite)? {
            let id: i64 = row.get(0).map_err(sqlite)?;
            let record: Vec<u8> = row.get(1).map_err(sqlite)?;
            self.note_id(id);
            match decode(&record) {
                Ok(record) => _ = self.note_body(id, record.body),
                Err(_) => self.report(format!("the record of dead letter {id} is damaged")),
            }
        }
        Ok(())
    }

    fn packs(&mut self) -> Result<(), StoreError> {
        let select = "select pack.pack, pack.n, live.n from pack left join live using (pack)";
        let packs = self.rows(select, |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, Option<i64>>(2)?))
        })?;
        for (pack, n, live) in packs {
            let used = self.packs.get(&pack).copied().unwrap_or(0);
            if used == 0 {
                self.correct(
                    format!("no book is in pack {pack}"),
                    "delete from pack where pack = ?1",
                    [pack],
                )?;
            } else if used != live.unwrap_or(n) {
                self.correct(
                    format!("pack {pack} has {used} books, not {}", live.unwrap_or(n)),
                    "insert or replace into live values (?1, ?2)",
                    [pack, used],
                )?;
            }
        }
        let spare = "select count(*) from live where pack not in (select pack from pack)";
        let spare = self.rows(spare, |row| row.get::<_, i64>(0))?.pop().unwrap_or(0);
        if spare > 0 {
            self.correct(
                format!("{spare} counts of packs that are gone"),
                "delete from live where pack not in (select pack from pack)",
                [],
            )?;
        }
        Ok(())
    }

    fn piles(&mut self) -> Result<(), StoreError> {
        let select = "select key, name, books, bytes, next_at from pile";
        let piles = self.rows(select, |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, [2, 3, 4].map(|at| row.get(at))))
        })?;
        for (key, name, numbers) in piles {
            let [books, bytes, next_at] = numbers.map(|number| number.map_err(sqlite));
            let (books, bytes, next_at): (i64, i64, i64) = (books?, bytes?, next_at?);
            let mut sums = self.sums.remove(&key).unwrap_or_default();
            if sums.is_unread {
                sums.bytes = bytes;
            }
            if (books, bytes) != (sums.books, sums.bytes) {
                self.correct(
                    format!(
                        "pile {name} has {} books of {} bytes, not {books} of {bytes}",
                        sums.books, sums.bytes
                    ),
                    "update pile set books = ?2, bytes = ?3 where key = ?1",
                    [key, sums.books, sums.bytes],
                )?;
            }
            if next_at < sums.next_at {
                self.correct(
                    format!("pile {name} would give the place {next_at} again"),
                    "update pile set next_at = ?2 where key = ?1",
                    [key, sums.next_at],
                )?;
            }
        }
        for (pile, sums) in std::mem::take(&mut self.sums) {
            let name = format!("recovered {pile}");
            self.correct(
                format!("{} books are on a pile without a name: {name}", sums.books),
                "insert into pile values (?1, '', ?2, ?3, ?4, ?5)",
                (pile, name, sums.next_at, sums.books, sums.bytes),
            )?;
        }
        Ok(())
    }

    fn numbers(&mut self) -> Result<(), StoreError> {
        let select = "select next_id, next_dead, offered, burned + dropped from state";
        let state = self.rows(select, |row| {
            let (next_id, next_dead): (i64, i64) = (row.get(0)?, row.get(1)?);
            Ok((next_id, next_dead, row.get::<_, i64>(2)?, row.get::<_, i64>(3)?))
        })?;
        let [(next_id, next_dead, offered, ended)] = state[..] else {
            self.report("the row of what is next is missing".to_owned());
            return Ok(());
        };
        if next_id <= self.last_id {
            self.correct(
                format!("the id {next_id} would be given again"),
                "update state set next_id = ?1",
                [self.last_id + 1],
            )?;
        }
        let count = "select coalesce(max(seq), 0), count(*) from dead";
        let dead = self.rows(count, |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
        let (last_dead, dead) = dead.first().copied().unwrap_or_default();
        if next_dead <= last_dead {
            self.correct(
                format!("the dead letter {next_dead} would be overwritten"),
                "update state set next_dead = ?1",
                [last_dead + 1],
            )?;
        }
        let present: i64 = self.packs.values().sum();
        if offered != ended + dead + present {
            self.report(format!(
                "{offered} books were offered, but {ended} ended, {dead} are dead, {present} here"
            ));
        }
        Ok(())
    }

    fn tries(&mut self) -> Result<(), StoreError> {
        let tries = self.rows("select id, pile, at from tries", |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        })?;
        let find = "select first + (?2 - at) * step from place
            where pile = ?1 and at <= ?2 and at + n > ?2 order by at desc limit 1";
        for (id, pile, at) in tries {
            let stored = self.conn.prepare_cached(find).map_err(sqlite)?;
            let mut stored = stored;
            let there = stored.query_row([pile, at], |row| row.get::<_, i64>(0)).optional();
            if there.map_err(sqlite)? != Some(id) {
                self.correct(
                    format!("attempts at book {id}, which is not at its place"),
                    "delete from tries where id = ?1",
                    [id],
                )?;
            }
        }
        Ok(())
    }

    fn files(&mut self) -> Result<(), StoreError> {
        let rows = self.rows("select id, name from body", |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        })?;
        let mut files = std::mem::take(&mut self.files);
        for (id, name) in rows {
            let stored = files.remove(&id);
            if let Some((name, size)) = &stored {
                self.check_file(id, name, *size);
            }
            let is_named = stored.is_some_and(|(stored, _)| stored == name);
            // A record that can't be read may name it.
            let is_unread = self.ids.contains(id as u64) && !self.read.contains(id as u64)
                || self.is_incomplete;
            if !is_named && !is_unread {
                self.correct(
                    format!("book {id} has no body in the file {name}"),
                    "delete from body where id = ?1",
                    [id],
                )?;
            }
        }
        for (id, (name, size)) in files {
            self.check_file(id, &name, size);
            self.correct(
                format!("the body of book {id} in the file {name} is not listed"),
                "insert into body values (?1, ?2, ?3)",
                (id, name, size as i64),
            )?;
        }
        Ok(())
    }

    fn check_file(&mut self, id: i64, name: &str, size: u64) {
        let path: PathBuf = self.bodies.path(name);
        match std::fs::metadata(&path) {
            Ok(there) if there.len() == size => {}
            Ok(there) => {
                let there = there.len();
                self.report(format!("the body of book {id} has {there} bytes, not {size}: {name}"));
            }
            Err(error) => self.report(format!("the body of book {id} is lost: {name}: {error}")),
        }
    }
}
