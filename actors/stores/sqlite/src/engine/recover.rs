//! Opening: what was left by the last process, whatever ended it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use gopherworks_pipeline::store::{Checkpoint, PileName, PileSpec, Recovered, StoreError};
use rusqlite::Connection;

use super::{Engine, Pile, State, Sums, named_files};
use crate::begun::Begun;
use crate::bodies::Bodies;
use crate::error::{at, io, sqlite};
use crate::ids::IdSet;
use crate::lock::{Lock, lock};
use crate::reserve::Reserve;
use crate::{Settings, resolved};
use crate::{range::Range, schema};

impl Engine {
    /// Opens the store.
    ///
    /// # Errors
    /// `InUse`, `Unsupported`, `Corrupt`, `Unavailable`; `Full` if there is no room to begin.
    pub fn open(
        mut settings: Settings,
        specs: &[PileSpec],
        begun: Arc<Begun>,
    ) -> Result<Self, StoreError> {
        if let Some(parent) = settings.path.parent() {
            std::fs::create_dir_all(parent).map_err(|error| io("the folder", parent, &error))?;
        }
        settings.path = resolved(&settings.path);
        let path = settings.path.clone();
        schema::regular(&path)?;
        let lock = Arc::new(lock(&settings.beside("lock"), &path)?);
        let started = match Self::start(&settings, specs, &begun, &lock) {
            // Even opening needs some room.
            Err(StoreError::Full) if std::fs::remove_file(settings.beside("reserve")).is_ok() => {
                Self::start(&settings, specs, &begun, &lock)
            }
            started => started,
        };
        started.map_err(|error| at(&path, error))
    }

    fn start(
        settings: &Settings,
        specs: &[PileSpec],
        begun: &Arc<Begun>,
        lock: &Arc<Lock>,
    ) -> Result<Self, StoreError> {
        let mut reserve = Reserve::new(settings.beside("reserve"), settings.reserve);
        let pages = (settings.reserve / 2 / 4096).clamp(100, 4000) as u32;
        let conn = schema::open(&settings.path, pages)?;
        reserve.keep();
        let stored: i64 =
            conn.query_row("select clock from state", [], |row| row.get(0)).map_err(sqlite)?;
        let time_base = stored.saturating_sub(settings.now()).max(0);
        let mut engine = Self {
            time_base,
            opened: settings.now() + time_base,
            conn,
            _lock: lock.clone(),
            piles: Vec::new(),
            by_name: HashMap::new(),
            held: HashMap::new(),
            accepted: IdSet::default(),
            state: State::default(),
            next_pack: 1,
            bodies: Bodies::new(settings.beside("bodies"), 0),
            begun: begun.clone(),
            reserve,
            reserve_again: 0,
            recovered: Recovered::default(),
            settings: settings.clone(),
        };
        engine.begin(specs)?;
        engine.load(specs).map_err(sqlite)?;
        engine.recover(specs)?;
        Ok(engine)
    }

    /// Starts an epoch: charges what the last process had begun, and creates piles.
    fn begin(&mut self, specs: &[PileSpec]) -> Result<(), StoreError> {
        let marks = self.settings.beside("begun");
        let epoch: i64 = (self.conn)
            .query_row("select epoch from state", [], |row| row.get(0))
            .map_err(sqlite)?;
        let mut begun = Begun::left(&marks, epoch as u64);
        begun.sort_unstable();
        self.within(|conn| {
            charge(conn, &begun)?;
            for PileSpec { name: PileName { works, pile }, .. } in specs {
                let insert = "insert or ignore into pile (works, name, next_at, books, bytes)
                    values (?1, ?2, 1, 0, 0)";
                conn.execute(insert, (&**works, &**pile))?;
            }
            conn.execute("update state set epoch = ?1", [epoch + 1])
        })?;
        // The marks are of an older epoch now: a crash here charges nothing again.
        let started = self.begun.start(&marks, epoch as u64 + 1);
        started.map_err(|error| io("the marks", &marks, &error))
    }

    fn load(&mut self, specs: &[PileSpec]) -> rusqlite::Result<()> {
        let columns = "select epoch, next_id, next_dead, offered, burned, dropped from state";
        self.state = self.conn.query_row(columns, [], |row| {
            let number = |at| row.get::<_, i64>(at).map(|number| number as u64);
            Ok(State {
                epoch: row.get(0)?,
                next_id: number(1)?,
                next_dead: row.get(2)?,
                offered: number(3)?,
                burned: number(4)?,
                dropped: number(5)?,
            })
        })?;
        let last = "select coalesce(max(pack), 0) + 1 from pack";
        self.next_pack = self.conn.query_row(last, [], |row| row.get(0))?;
        self.bodies = Bodies::new(self.settings.beside("bodies"), self.state.epoch as u64);
        self.bodies.collect(&named_files(&self.conn)?, true);
        let now = self.now();
        let piles = "select key, works, name, next_at, books, bytes,
            (select count(*) from dead where dead.pile = pile.key) from pile order by key";
        let mut piles = self.conn.prepare(piles)?;
        let mut rows = piles.query([])?;
        while let Some(row) = rows.next()? {
            let (works, pile): (String, String) = (row.get(1)?, row.get(2)?);
            let name = PileName::new(works, pile);
            let spec = specs.iter().find(|spec| spec.name == name);
            let dedupe = spec.map_or(0, |spec| spec.dedupe.as_millis());
            self.by_name.insert(name.clone(), self.piles.len());
            self.piles.push(Pile {
                key: row.get(0)?,
                name,
                sums: Sums {
                    next_at: row.get(3)?,
                    books: row.get::<_, i64>(4)? as u64,
                    bytes: row.get::<_, i64>(5)? as u64,
                    dead: row.get::<_, i64>(6)? as u64,
                    cursor: 0,
                },
                held: 0,
                ripe: BTreeSet::new(),
                ripe_until: now,
                dedupe: i64::try_from(dedupe).unwrap_or(i64::MAX),
                is_open: spec.is_some(),
            });
        }
        Ok(())
    }

    fn recover(&mut self, specs: &[PileSpec]) -> Result<(), StoreError> {
        let mut piles = Vec::with_capacity(specs.len());
        for spec in specs {
            piles.push(self.depth(&spec.name)?);
        }
        let mut orphans = Vec::new();
        for pile in
            self.piles.iter().filter(|pile| !pile.is_open && pile.sums.books + pile.sums.dead > 0)
        {
            orphans.push((pile.name.clone(), self.depth_of(pile)?));
        }
        let (positions, parts) = positions(&self.conn).map_err(sqlite)?;
        if parts > MOST_PARTS {
            self.within(|conn| merge(conn, &positions))?;
        }
        let store: Option<String> = schema::meta(&self.conn, "store")?;
        self.recovered = Recovered {
            store: store.unwrap_or_default().into(),
            piles,
            orphans,
            positions,
            next_id: self.state.next_id,
            account: Some(self.account()),
        };
        Ok(())
    }
}

/// Maximum number of parts of a position that are not merged when the store is opened.
const MOST_PARTS: usize = 64;

/// The position of each share of each source, and the largest number of its parts.
fn positions(conn: &Connection) -> rusqlite::Result<(Vec<Checkpoint>, usize)> {
    let select = "select source, share, position from mark order by source, share, part";
    let mut marks = conn.prepare(select)?;
    let rows = marks.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, u32>(1)?, row.get::<_, Vec<u8>>(2)?))
    })?;
    let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
    let mut most = 0;
    let merged = rows.chunk_by(|a, b| (&a.0, a.1) == (&b.0, b.1)).map(|parts| {
        most = most.max(parts.len());
        let (source, share) = (parts[0].0.as_str().into(), parts[0].1);
        let position: Vec<u8> = parts.iter().flat_map(|part| &part.2).copied().collect();
        Checkpoint { source, share, position: position.into(), adds: false, owner: 0 }
    });
    Ok((merged.collect(), most))
}

/// Makes one part of all parts of each position.
fn merge(conn: &Connection, positions: &[Checkpoint]) -> rusqlite::Result<()> {
    conn.execute("delete from mark", [])?;
    for Checkpoint { source, share, position, .. } in positions {
        let insert = "insert into mark values (?1, ?2, 1, ?3)";
        conn.execute(insert, (&**source, share, &position[..]))?;
    }
    Ok(())
}

/// Charges an attempt to these books, in order, where they are still stored.
fn charge(conn: &Connection, begun: &[u64]) -> rusqlite::Result<()> {
    if begun.is_empty() {
        return Ok(());
    }
    // After a crash only: all ranges are read, since they have no index by id.
    let mut ranges = conn.prepare("select at, first, step, n, pack, off, len, pile from place")?;
    let mut rows = ranges.query([])?;
    let charge = "insert into tries values (?1, ?2, ?3, 1, 1, 1, 0, 0) on conflict (id) do update
        set attempts = attempts + 1, deliveries = deliveries + 1, begun = 1";
    let mut charge = conn.prepare(charge)?;
    while let Some(row) = rows.next()? {
        let range = Range::read(row.get(7)?, row)?;
        if !range.is_sound() {
            continue;
        }
        let (first, last) = (range.first as u64, range.last() as u64);
        let from = begun.partition_point(|id| *id < first);
        for id in begun[from..].iter().take_while(|id| **id <= last) {
            let gaps = (id - first) / range.step as u64;
            if first + gaps * range.step as u64 == *id {
                charge.execute([*id as i64, range.pile, range.at + gaps as i64])?;
            }
        }
    }
    Ok(())
}
