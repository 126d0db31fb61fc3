//! Reads a store that is not open here, while another process may use it.

use std::time::Duration;

use gopherworks_pipeline::book::{Book, BookId};
use gopherworks_pipeline::store::{
    Account, Cursor, DeadBook, Holder, Peeked, PileName, StoreError, Survey, Surveyed, Tries,
};
use rusqlite::{Connection, OptionalExtension};

use crate::bodies::Bodies;
use crate::encode::{decode, skip};
use crate::error::{io, sqlite};
use crate::range::{self, Range};
use crate::{Settings, lock, schema};

/// A store as it was at one moment.
pub(crate) struct View<'s> {
    settings: &'s Settings,
    conn: Connection,
    bodies: Bodies,
    /// The engine's time, in milliseconds.
    now: i64,
}

impl<'s> View<'s> {
    /// Opens the database to read it.
    ///
    /// # Errors
    /// `Gone` if there is none, `Unsupported` if it has another version.
    pub fn open(settings: &'s Settings) -> Result<Self, StoreError> {
        let conn = schema::open_to_read(&settings.path)?;
        // All that follows is of one moment.
        conn.execute_batch("begin").map_err(sqlite)?;
        let clock = conn.query_row("select clock from state", [], |row| row.get::<_, i64>(0));
        let now = settings.now().max(clock.map_err(sqlite)?);
        let bodies = Bodies::new(settings.beside("bodies"), 0);
        Ok(Self { settings, conn, bodies, now })
    }

    fn since(&self, then: i64) -> Duration {
        Duration::from_millis(self.now.saturating_sub(then).max(0) as u64)
    }

    pub fn survey(&self) -> Result<Survey, StoreError> {
        let path = self.settings.beside("lock");
        let found = lock::holder(&path).map_err(|error| io("the lock", &path, &error))?;
        let holders = found.into_iter().map(|(pid, since)| {
            let now = Duration::from_millis(self.settings.now().max(0) as u64);
            holder(pid, None, now.saturating_sub(since))
        });
        let holders: Vec<Holder> = holders.collect();
        // In use, only the process knows what it holds.
        let held = holders.is_empty().then_some(0);
        let select = "select works, name, books, bytes,
            (select count(*) from tries where tries.pile = pile.key and due > ?1),
            (select time from place join pack using (pack) where place.pile = pile.key
                order by at limit 1),
            (select count(*) from dead where dead.pile = pile.key)
            from pile order by key";
        let read = || -> rusqlite::Result<(Vec<Surveyed>, Account)> {
            let mut select = self.conn.prepare(select)?;
            let piles = select.query_map([self.now], |row| {
                let number = |at| row.get::<_, i64>(at).map(|number| number as u64);
                Ok(Surveyed {
                    name: PileName::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?),
                    books: number(2)?,
                    bytes: number(3)?,
                    held,
                    delayed: Some(number(4)?),
                    oldest: row.get::<_, Option<i64>>(5)?.map(|then| self.since(then)),
                    dead: number(6)?,
                })
            })?;
            let piles: Vec<Surveyed> = piles.collect::<Result<_, _>>()?;
            let select = "select offered, burned, dropped from state";
            let account = self.conn.query_row(select, [], |row| {
                let number = |at| row.get::<_, i64>(at).map(|number| number as u64);
                Ok(Account {
                    offered: number(0)?,
                    burned: number(1)?,
                    dropped: number(2)?,
                    dead: piles.iter().map(|pile| pile.dead).sum(),
                    present: piles.iter().map(|pile| pile.books).sum(),
                })
            })?;
            Ok((piles, account))
        };
        let (piles, account) = read().map_err(sqlite)?;
        let store: Option<String> = schema::meta(&self.conn, "store")?;
        let store = store.unwrap_or_default().into();
        Ok(Survey { store, piles, holders, sources: Vec::new(), account: Some(account) })
    }

    pub fn peek(&self, name: &PileName, most: usize) -> Result<Vec<Peeked>, StoreError> {
        let select = "select key from pile where works = ?1 and name = ?2";
        let key = self.conn.query_row(select, (&*name.works, &*name.pile), |row| row.get(0));
        let key: i64 = key.optional().map_err(sqlite)?.ok_or(StoreError::Gone)?;
        let select = "select at, first, step, n, pack, off, len from place
            where pile = ?1 order by at";
        let mut select = self.conn.prepare(select).map_err(sqlite)?;
        let mut rows = select.query([key]).map_err(sqlite)?;
        let mut peeked = Vec::new();
        while let Some(row) = rows.next().map_err(sqlite)?.filter(|_| peeked.len() < most) {
            let range = Range::read(key, row).map_err(sqlite)?;
            if !range.is_sound() {
                return Err(StoreError::Corrupt("a range of the pile".into()));
            }
            self.read(range, most, &mut peeked)?;
        }
        Ok(peeked)
    }

    fn read(&self, range: Range, most: usize, peeked: &mut Vec<Peeked>) -> Result<(), StoreError> {
        let select = "select attempts, deliveries, begun, apart, due from tries where id = ?1";
        let mut select = self.conn.prepare_cached(select).map_err(sqlite)?;
        let data = range::read(&self.conn, range.pack, range.off, range.len)?;
        let mut rest = &data[..];
        let ids = (range.first..=range.last()).step_by(range.step as usize);
        for id in ids.take(most - peeked.len()) {
            let tried = select.query_row([id], |row| {
                let (attempts, deliveries) = (row.get(0)?, row.get(1)?);
                let tries = Tries { attempts, deliveries, begun: row.get(2)?, apart: row.get(3)? };
                Ok((tries, row.get::<_, i64>(4)?))
            });
            let (tries, due) = tried.optional().map_err(sqlite)?.unwrap_or_default();
            let due = (due > self.now).then(|| Duration::from_millis((due - self.now) as u64));
            peeked.push(Peeked { book: book(&self.bodies, id as u64, rest)?, tries, due });
            rest = &rest[skip(rest)?..];
        }
        Ok(())
    }

    pub fn dead(&self, from: Cursor, most: usize) -> Result<Vec<DeadBook>, StoreError> {
        dead(&self.conn, &self.bodies, from, most)
    }
}

/// The book in a record.
fn book(bodies: &Bodies, id: u64, record: &[u8]) -> Result<Book, StoreError> {
    let record = decode(record)?;
    Ok(Book { id: BookId(id), headers: record.headers, body: bodies.body(record.body).0 })
}

/// Dead letters after `from`.
pub(crate) fn dead(
    conn: &Connection,
    bodies: &Bodies,
    from: Cursor,
    most: usize,
) -> Result<Vec<DeadBook>, StoreError> {
    let select = "select seq, id, works, name, attempts, reason, node, record
        from dead left join pile on pile.key = dead.pile where seq > ?1 order by seq limit ?2";
    let bound = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let mut select = conn.prepare_cached(select).map_err(sqlite)?;
    let rows = select.query_map([bound(from.0), bound(most as u64)], |row| {
        let (works, name): (Option<String>, Option<String>) = (row.get(2)?, row.get(3)?);
        let letter = DeadBook {
            at: Cursor(row.get::<_, i64>(0)? as u64),
            book: Book { id: BookId(row.get::<_, i64>(1)? as u64), ..Book::default() },
            pile: PileName::new(works.unwrap_or_default(), name.unwrap_or_default()),
            attempts: row.get(4)?,
            reason: row.get::<_, String>(5)?.into(),
            node: row.get::<_, Option<String>>(6)?.map(Into::into),
        };
        Ok((letter, row.get::<_, Vec<u8>>(7)?))
    });
    let mut letters = Vec::new();
    for row in rows.map_err(sqlite)? {
        let (letter, record) = row.map_err(sqlite)?;
        if letter.pile.pile.is_empty() {
            return Err(StoreError::Corrupt("a dead letter's pile".into()));
        }
        letters.push(DeadBook { book: book(bodies, letter.book.id.0, &record)?, ..letter });
    }
    Ok(letters)
}

/// A process of this host, where all that use the store run.
pub(crate) fn holder(pid: u32, held: Option<u64>, since: Duration) -> Holder {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let (name, leases) = (format!("{host}:{pid}").into(), Vec::new());
    Holder { name, run: None, held, since, leases }
}
