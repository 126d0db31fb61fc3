//! What one transaction changes, gathered before anything is written.
//!
//! Commits are applied to a copy of what they touch, one after the other; only the difference
//! between the start and the end is written. A book that is passed three times and acked within
//! one transaction costs one deletion.

mod write;

pub(crate) use write::take;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use gopherworks_pipeline::book::{BodyFile, Book, BookId};
use gopherworks_pipeline::store::{
    Act, Append, Appended, Arrival, Arrived, Checkpoint, Commit, Committed, Pass, Passed, PileName,
    Receipt, StoreError, Tries,
};
use rusqlite::OptionalExtension;

use crate::bodies::Staged;
use crate::encode::{StoredBody, encode};
use crate::engine::{Engine, Held, LARGEST_ID, State, Sums};
use crate::error::sqlite;

/// Records of one pack, in bytes; a larger record has a pack of its own.
const PACK: usize = 128 * 1024;

/// Largest record, in bytes: headers and a name, or headers and an inline body.
const LARGEST_RECORD: usize = 64 << 20;

/// A book before and after.
struct Touch {
    was: Option<Held>,
    now: Now,
}

enum Now {
    Held(Held),
    /// On its pile, held no more.
    Free(Held),
    Gone,
}

struct Pack {
    pack: i64,
    data: Vec<u8>,
    n: i64,
}

/// A row of `tries`.
struct Tried {
    pile: i64,
    at: i64,
    tries: Tries,
    due: i64,
}

/// A row of `mark`.
#[derive(Default)]
struct Mark {
    adds: bool,
    position: Vec<u8>,
}

/// A row of `dead`.
struct Dead {
    seq: i64,
    id: u64,
    pile: i64,
    size: u64,
    attempts: u32,
    reason: Arc<str>,
    node: Option<Arc<str>>,
    record: Vec<u8>,
}

pub(crate) struct Change<'e> {
    engine: &'e mut Engine,
    has_room: bool,
    now: i64,
    books: HashMap<u64, Touch>,
    /// Books whose work has ended.
    over: Vec<u64>,
    accepted: HashSet<u64>,
    piles: BTreeMap<usize, Sums>,
    state: State,
    next_pack: i64,
    packs: Vec<Pack>,
    /// Records that are needed no more, by pack.
    freed: HashMap<i64, i64>,
    /// New rows of `tries`; `None` deletes one.
    tries: HashMap<u64, Option<Tried>>,
    /// New rows of `body`, by id; `None` deletes one.
    files: HashMap<u64, Option<(String, u64)>>,
    dead: Vec<Dead>,
    keys: HashMap<(usize, Bytes), BookId>,
    /// New positions, or what is added to the stored ones.
    marks: BTreeMap<(Arc<str>, u32), Mark>,
    /// Dead letters that are tried again.
    revived: Vec<i64>,
    new_files: Vec<Arc<BodyFile>>,
    /// New ones that no row names.
    spare_files: Vec<Arc<BodyFile>>,
    gone_files: Vec<Arc<BodyFile>>,
}

/// What the engine takes over after the transaction.
pub(crate) struct Outcome {
    /// Where held books are; `None` if they are not held.
    pub books: Vec<(u64, Option<Held>)>,
    pub accepted: HashSet<u64>,
    pub piles: BTreeMap<usize, Sums>,
    pub state: State,
    pub next_pack: i64,
    pub new_files: Vec<Arc<BodyFile>>,
    pub spare_files: Vec<Arc<BodyFile>>,
    pub gone_files: Vec<Arc<BodyFile>>,
}

impl<'e> Change<'e> {
    /// `has_room`: false on a full disk, where appends are refused.
    pub fn new(engine: &'e mut Engine, has_room: bool) -> Self {
        let (now, state, next_pack) = (engine.now(), engine.state, engine.next_pack);
        Self {
            engine,
            has_room,
            now,
            books: HashMap::new(),
            over: Vec::new(),
            accepted: HashSet::new(),
            piles: BTreeMap::new(),
            state,
            next_pack,
            packs: Vec::new(),
            freed: HashMap::new(),
            tries: HashMap::new(),
            files: HashMap::new(),
            dead: Vec::new(),
            keys: HashMap::new(),
            marks: BTreeMap::new(),
            revived: Vec::new(),
            new_files: Vec::new(),
            spare_files: Vec::new(),
            gone_files: Vec::new(),
        }
    }

    pub fn finish(self) -> Outcome {
        let held = |(id, touch): (u64, Touch)| match touch.now {
            Now::Held(held) => (id, Some(held)),
            Now::Free(_) | Now::Gone => (id, None),
        };
        Outcome {
            books: self.books.into_iter().map(held).collect(),
            accepted: self.accepted,
            piles: self.piles,
            state: self.state,
            next_pack: self.next_pack,
            new_files: self.new_files,
            spare_files: self.spare_files,
            gone_files: self.gone_files,
        }
    }

    /// Applies one commit.
    ///
    /// # Errors
    /// Errors of the engine, not of single books: nothing may be written then.
    pub fn stage(&mut self, commit: &Commit) -> Result<Committed, StoreError> {
        let mut done = Committed::default();
        let mut full: Vec<&PileName> = Vec::new();
        for arrival in &commit.arrivals {
            done.arrivals.push(match arrival {
                Arrival::Append(books) if full.contains(&&books.to) => {
                    Arrived::Appended(Err(StoreError::Full))
                }
                Arrival::Append(books) => {
                    let files = self.new_files.len();
                    let answer = single(self.append(books))?;
                    if answer.is_err() {
                        self.spare_files.extend_from_slice(&self.new_files[files..]);
                    }
                    if matches!(answer, Err(StoreError::Full)) {
                        full.push(&books.to);
                    }
                    Arrived::Appended(answer)
                }
                Arrival::Pass(books) => Arrived::Passed(self.pass(books)?),
            });
        }
        for (receipt, act) in &commit.acts {
            done.acts.push(single(self.act(receipt, act))?);
        }
        Ok(done)
    }

    fn sums(&mut self, pile: usize) -> &mut Sums {
        self.piles.entry(pile).or_insert(self.engine.piles[pile].sums)
    }

    /// The held book of a receipt.
    fn find(&self, receipt: &Receipt) -> Result<(u64, Held), StoreError> {
        let id = receipt.id().ok_or(StoreError::Gone)?.0;
        let held = match self.books.get(&id) {
            Some(Touch { now: Now::Held(held), .. }) => Some(held),
            Some(_) => None,
            None => self.engine.held.get(&id),
        };
        Ok((id, held.ok_or(StoreError::Gone)?.clone()))
    }

    fn set(&mut self, id: u64, now: Now) {
        let was = || self.engine.held.get(&id).cloned();
        self.books.entry(id).or_insert_with(|| Touch { was: was(), now: Now::Gone }).now = now;
    }

    /// Copies a body and encodes the record.
    fn encode(&mut self, book: &Book) -> Result<(Vec<u8>, Staged), StoreError> {
        let staged = self.engine.bodies.stage(&book.body)?;
        self.new_files.extend(staged.file.clone());
        let mut record = Vec::new();
        encode(&mut record, &book.headers, &staged.body);
        if record.len() > LARGEST_RECORD {
            return Err(StoreError::TooLarge { limit: LARGEST_RECORD as u64 });
        }
        Ok((record, staged))
    }

    /// Stores a new record of a book at the end of a pile, or at `at`.
    fn store(
        &mut self,
        id: u64,
        (record, staged): (Vec<u8>, Staged),
        pile: usize,
        at: Option<i64>,
    ) -> Held {
        let fits = |pack: &Pack| pack.data.len() + record.len() <= PACK;
        if !self.packs.last().is_some_and(fits) {
            self.packs.push(Pack { pack: self.next_pack, data: Vec::new(), n: 0 });
            self.next_pack += 1;
        }
        let at = at.unwrap_or_else(|| self.next_at(pile));
        let pack = self.packs.last_mut().expect("one was pushed");
        let off = pack.data.len() as i64;
        pack.data.extend_from_slice(&record);
        pack.n += 1;
        let (pack, len) = (pack.pack, record.len() as i64);
        if let StoredBody::File { name, size } = staged.body {
            self.files.insert(id, Some((name, size)));
        }
        let sums = self.sums(pile);
        sums.books += 1;
        sums.bytes += staged.size;
        Held { pile, at, pack, off, len, size: staged.size, file: staged.file, is_tried: false }
    }

    fn next_at(&mut self, pile: usize) -> i64 {
        let sums = self.sums(pile);
        sums.next_at += 1;
        sums.next_at - 1
    }

    /// The record of a book is needed no more.
    fn free(&mut self, id: u64, held: &Held, with_file: bool) {
        *self.freed.entry(held.pack).or_default() += 1;
        let sums = self.sums(held.pile);
        sums.books -= 1;
        sums.bytes -= held.size;
        if let Some(file) = held.file.as_ref().filter(|_| with_file) {
            self.gone_files.push(file.clone());
            self.files.insert(id, None);
        }
        if held.is_tried {
            self.tries.insert(id, None);
        }
    }

    fn append(&mut self, books: &Append) -> Result<Vec<Appended>, StoreError> {
        let pile = self.engine.pile(&books.to)?;
        if !self.has_room && !books.books.is_empty() {
            return Err(StoreError::Full);
        }
        if let Some(Checkpoint { owner, .. }) = &books.checkpoint
            && ![0, self.engine.token()].contains(owner)
        {
            return Err(StoreError::Stale);
        }
        // All that can fail comes first, so that an append is whole.
        let mut records = Vec::with_capacity(books.books.len());
        for new in &books.books {
            if new.book.id == BookId::UNASSIGNED || new.book.id.0 >= LARGEST_ID {
                return Err(StoreError::Other(format!("no id: {}", new.book.id).into()));
            }
            let is_new = !self.is_known(new.book.id.0)?;
            records.push(if is_new { Some(self.encode(&new.book)?) } else { None });
        }
        let is_repeated = !records.is_empty() && records.iter().all(Option::is_none);
        let mut answers = Vec::with_capacity(records.len());
        for (new, record) in books.books.iter().zip(records) {
            let id = new.book.id;
            // The second of two equal ids in one append is known by now.
            let record = record.filter(|_| !self.accepted.contains(&id.0));
            let Some(record) = record else {
                let receipt = Receipt::of(id);
                let is_held = books.hold && self.find(&receipt).is_ok();
                answers.push(Appended::Stored(is_held.then_some(receipt)));
                continue;
            };
            if let Some(key) = &new.key {
                if let Some(first) = self.seen(pile, key)? {
                    self.spare_files.extend(record.1.file);
                    answers.push(Appended::Duplicate(first));
                    continue;
                }
                self.keys.insert((pile, key.clone()), id);
            }
            let held = self.store(id.0, record, pile, None);
            self.set(id.0, if books.hold { Now::Held(held) } else { Now::Free(held) });
            self.accepted.insert(id.0);
            self.state.offered += 1;
            self.state.next_id = self.state.next_id.max(id.0 + 1);
            answers.push(Appended::Stored(books.hold.then(|| Receipt::of(id))));
        }
        if let Some(Checkpoint { source, share, position, adds, .. }) = &books.checkpoint
            && !(*adds && is_repeated)
        {
            let new = || Mark { adds: *adds, position: Vec::new() };
            let mark = self.marks.entry((source.clone(), *share)).or_insert_with(new);
            if !adds {
                *mark = new();
            }
            mark.position.extend_from_slice(position);
        }
        Ok(answers)
    }

    /// True if a book with this id was stored before.
    fn is_known(&self, id: u64) -> Result<bool, StoreError> {
        if self.accepted.contains(&id) || self.engine.accepted.contains(id) {
            return Ok(true);
        }
        // Ids of earlier runs are looked for; a caller hardly ever has them.
        Ok(id < self.engine.recovered.next_id && self.engine.resolve(&[BookId(id)])? == [true])
    }

    fn seen(&self, pile: usize, key: &Bytes) -> Result<Option<BookId>, StoreError> {
        if let Some(first) = self.keys.get(&(pile, key.clone())) {
            return Ok(Some(*first));
        }
        let seen = "select id from seen where pile = ?1 and key = ?2 and until > ?3";
        let mut seen = self.engine.conn.prepare_cached(seen).map_err(sqlite)?;
        let pile = self.engine.piles[pile].key;
        let id = seen.query_row((pile, &key[..], self.now), |row| row.get::<_, i64>(0));
        Ok(id.optional().map_err(sqlite)?.map(|id| BookId(id as u64)))
    }

    fn pass(&mut self, books: &Pass) -> Result<Vec<Result<Passed, StoreError>>, StoreError> {
        let to = self.engine.pile(&books.to);
        let mut answers = Vec::with_capacity(books.books.len());
        for (receipt, changed) in &books.books {
            let passed = to.clone().and_then(|to| {
                let (id, held) = self.find(receipt)?;
                self.pass_one(id, held, to, changed.as_ref(), books.hold)
            });
            answers.push(single(passed)?);
        }
        Ok(answers)
    }

    fn pass_one(
        &mut self,
        id: u64,
        mut held: Held,
        to: usize,
        changed: Option<&Book>,
        hold: bool,
    ) -> Result<Passed, StoreError> {
        let stays = held.pile == to;
        if let Some(book) = changed {
            if !self.has_room {
                return Err(StoreError::Full);
            }
            let record = self.encode(book)?;
            let is_tried = stays && held.is_tried;
            self.free(id, &Held { is_tried: held.is_tried && !stays, ..held.clone() }, true);
            let at = stays.then_some(held.at);
            held = Held { is_tried, ..self.store(id, record, to, at) };
        } else if !stays {
            let from = self.sums(held.pile);
            (from.books, from.bytes) = (from.books - 1, from.bytes - held.size);
            if held.is_tried {
                self.tries.insert(id, None);
            }
            let at = self.next_at(to);
            let sums = self.sums(to);
            (sums.books, sums.bytes) = (sums.books + 1, sums.bytes + held.size);
            held = Held { pile: to, at, is_tried: false, ..held };
        }
        self.release(id, held, hold);
        let receipt = hold.then(|| Receipt::of(BookId(id)));
        Ok(Passed { receipt, acked: true })
    }

    /// Goes on holding a book, or lets a fetch find it again.
    fn release(&mut self, id: u64, held: Held, hold: bool) {
        if hold {
            return self.set(id, Now::Held(held));
        }
        let (pile, at) = (held.pile, held.at);
        self.set(id, Now::Free(held));
        let sums = self.sums(pile);
        sums.cursor = sums.cursor.min(at);
    }

    fn act(&mut self, receipt: &Receipt, act: &Act) -> Result<(), StoreError> {
        let (id, mut held) = self.find(receipt)?;
        self.over.extend(act.ends_work().then_some(id));
        match act {
            Act::Ack | Act::Drop => {
                self.free(id, &held, true);
                self.set(id, Now::Gone);
                match act {
                    Act::Ack => self.state.burned += 1,
                    _ => self.state.dropped += 1,
                }
            }
            Act::Return { delay, tries, hold } => {
                let delay = i64::try_from(delay.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX);
                let due = if delay == 0 { 0 } else { self.now.saturating_add(delay) };
                let row = (due > 0 || *tries != Tries::default()).then(|| {
                    let pile = self.engine.piles[held.pile].key;
                    Tried { pile, at: held.at, tries: *tries, due }
                });
                let is_tried = row.is_some();
                if is_tried || held.is_tried {
                    self.tries.insert(id, row);
                }
                held.is_tried = is_tried;
                match due > 0 && !*hold {
                    // Found by its time, not by the cursor.
                    true => self.set(id, Now::Free(held)),
                    false => self.release(id, held, *hold),
                }
            }
            Act::Bury { reason, node, attempts } => {
                let record = self.record(&held)?;
                self.free(id, &held, false);
                let (pile, size) = (held.pile, held.size);
                self.set(id, Now::Gone);
                self.sums(pile).dead += 1;
                let (pile, seq) = (self.engine.piles[pile].key, self.state.next_dead);
                self.state.next_dead += 1;
                let (reason, node, attempts) = (reason.clone(), node.clone(), *attempts);
                self.dead.push(Dead { seq, id, pile, size, attempts, reason, node, record });
            }
            _ => return Err(StoreError::Unsupported(format!("{act:?}").into())),
        }
        Ok(())
    }

    /// Brings a dead letter back to the end of its pile.
    pub fn revive(&mut self, seq: i64, id: u64, pile: usize, record: Vec<u8>, size: u64) {
        // Its file, if it has one, stays named by its row.
        let body = StoredBody::Inline(Bytes::new());
        let held = self.store(id, (record, Staged { body, size, file: None }), pile, None);
        self.set(id, Now::Free(held));
        self.sums(pile).dead -= 1;
        self.revived.push(seq);
    }

    /// The record of a held book, from the disk or from this transaction.
    fn record(&self, held: &Held) -> Result<Vec<u8>, StoreError> {
        if let Some(pack) = self.packs.iter().find(|pack| pack.pack == held.pack) {
            return Ok(pack.data[held.off as usize..(held.off + held.len) as usize].to_vec());
        }
        crate::range::read(&self.engine.conn, held.pack, held.off, held.len)
    }
}

/// Separates answers to one book or append from errors of the engine.
fn single<T>(answer: Result<T, StoreError>) -> Result<Result<T, StoreError>, StoreError> {
    match answer {
        Err(error @ (StoreError::Unavailable { .. } | StoreError::Corrupt(_))) => Err(error),
        answer => Ok(answer),
    }
}
