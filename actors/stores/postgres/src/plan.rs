//! Plans a commit in as few statements as possible: books of one row that undergo the same change
//! are one unit. Does not read the database. Blocks if bodies are files.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use gopherworks_pipeline::book::{Body, Book};
use gopherworks_pipeline::store::{
    Act, Append, Arrival, Checkpoint, Commit, NewBook, Pass, Receipt, StoreError, Tries,
};

use crate::cart::{FULL, Held, Key, MOST, Packed, encode};
use crate::core::{Core, micros};

/// Where the answer for a book goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    Pass { arrival: usize, book: usize },
    Act(usize),
}

/// A row of new books.
#[derive(Debug)]
pub(crate) struct NewRow {
    pub pile: i32,
    /// Lease time in microseconds if the row is held.
    pub lease: Option<i64>,
    pub token: i64,
    /// Index of the row's arrival number among those of the commit.
    pub seq: usize,
    pub packed: Packed,
    pub live: i64,
}

/// A new book, in a row.
#[derive(Debug)]
pub(crate) struct NewOne {
    pub id: i64,
    pub key: Option<Bytes>,
    pub row: usize,
    pub pos: u8,
    pub size: u32,
}

/// An append that has not failed yet.
#[derive(Debug)]
pub(crate) struct Planned {
    pub arrival: usize,
    pub pile: i32,
    /// In microseconds.
    pub dedupe: i64,
    pub books: Vec<NewOne>,
    pub checkpoint: Option<Checkpoint>,
}

/// Held books of one row that go to another pile together.
#[derive(Debug)]
pub(crate) struct Moved {
    pub key: Key,
    pub mask: i64,
    /// True if these are all books that the row had when it was delivered.
    pub whole: bool,
    pub to: i32,
    /// Lease time in microseconds if the books stay held.
    pub lease: Option<i64>,
    pub seq: usize,
    /// Bytes of their bodies in the source row.
    pub size: i64,
    /// Their new content, if all of them changed.
    pub new: Option<Packed>,
    pub books: Vec<(Place, Held, Option<u32>)>,
}

/// Held books of one row that end.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    pub mask: i64,
    pub size: i64,
    pub burned: i64,
    pub dropped: i64,
    pub books: Vec<(Place, Held, bool)>,
}

/// Values that a return stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Stay {
    /// In microseconds.
    pub delay: i64,
    pub tries: (i32, i32, i16),
    pub hold: bool,
}

/// A record, and the size of its body.
pub(crate) type Content = (Vec<u8>, u32);

/// A change of a single book, independent of the other books in its row.
#[derive(Debug, Clone)]
pub(crate) enum Fate {
    Pass {
        to: i32,
        lease: Option<i64>,
        seq: usize,
        content: Option<(Vec<u8>, u32)>,
    },
    /// The book is passed to the pile where it is.
    Same {
        hold: bool,
    },
    End {
        burned: bool,
    },
    Stay(Stay),
    Bury {
        reason: Arc<str>,
        node: Option<Arc<str>>,
        attempts: u32,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// How many arrival numbers are needed.
    pub seqs: usize,
    pub rows: Vec<NewRow>,
    pub appends: Vec<Planned>,
    /// Appends that can't take effect.
    pub failed: Vec<(usize, StoreError)>,
    /// True if books have keys, or ids occur twice: some books may then not be stored.
    pub careful: bool,
    /// No lower id than any of the new ones.
    pub highest: i64,
    pub moved: Vec<Moved>,
    /// Rows that `moved` moves books of.
    sources: HashSet<Key>,
    pub ended: HashMap<Key, Ended>,
    pub stays: HashMap<(Key, Stay), Vec<(Place, Held)>>,
    pub singles: Vec<(Place, Held, Fate)>,
    /// Receipts that are not this engine's.
    pub foreign: Vec<Place>,
    /// Passes whose new content can't be stored.
    pub refused: Vec<(Place, StoreError)>,
    /// The token of everything that is passed and held.
    pub token: i64,
}

/// True if planning it reads files.
pub(crate) fn reads_files(commit: &Commit) -> bool {
    let is_file = |book: &Book| matches!(book.body, Body::File { .. });
    commit.arrivals.iter().any(|arrival| match arrival {
        Arrival::Append(append) => append.books.iter().any(|new| is_file(&new.book)),
        Arrival::Pass(pass) => pass.books.iter().filter_map(|(_, book)| book.as_ref()).any(is_file),
    })
}

/// The numbers that a row stores of tries.
fn stored(tries: &Tries) -> (i32, i32, i16) {
    let count = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    (count(tries.attempts), count(tries.deliveries), crate::fetch::marks(tries))
}

impl Plan {
    pub fn of(core: &Core, commit: &Commit) -> Self {
        let mut plan = Self { token: core.token(), ..Self::default() };
        let mut ids = HashSet::new();
        // The row that the next append may go on with.
        let mut open = None;
        for (at, arrival) in commit.arrivals.iter().enumerate() {
            match arrival {
                Arrival::Append(append) => {
                    if let Err(error) = plan.append(core, at, append, &mut open, &mut ids) {
                        plan.failed.push((at, error));
                    }
                }
                Arrival::Pass(pass) => {
                    open = None;
                    plan.pass(core, at, pass);
                }
            }
        }
        for (at, (receipt, act)) in commit.acts.iter().enumerate() {
            plan.act(Place::Act(at), receipt, act);
        }
        plan
    }

    fn seq(&mut self) -> usize {
        self.seqs += 1;
        self.seqs - 1
    }

    fn append(
        &mut self,
        core: &Core,
        arrival: usize,
        append: &Append,
        open: &mut Option<usize>,
        ids: &mut HashSet<i64>,
    ) -> Result<(), StoreError> {
        let pile = core.pile(&append.to)?;
        let lease = append.hold.then_some(pile.lease);
        let mut records = Vec::with_capacity(append.books.len());
        for NewBook { book, key } in &append.books {
            let wrong = |_| StoreError::Other(format!("the id {} is too large", book.id).into());
            let id = i64::try_from(book.id.0).map_err(wrong)?;
            let mut record = Vec::new();
            let size = encode(&mut record, book)?;
            records.push((id, key.clone(), record, size));
        }
        let mut books = Vec::with_capacity(records.len());
        for (id, key, record, size) in records {
            self.careful |= key.is_some() || !ids.insert(id);
            self.highest = self.highest.max(id);
            let fits = |row: &usize| {
                let row = &self.rows[*row];
                row.pile == pile.id && row.lease == lease && row.packed.has_room()
            };
            let row = match open.filter(fits) {
                Some(row) => row,
                None => {
                    let seq = self.seq();
                    let token = lease.map_or(0, |_| core.token_of_new(id));
                    let (packed, pile) = (Packed::default(), pile.id);
                    self.rows.push(NewRow { pile, lease, token, seq, packed, live: 0 });
                    self.rows.len() - 1
                }
            };
            *open = Some(row);
            let new = &mut self.rows[row];
            let pos = new.packed.add(&record, size);
            new.live |= 1 << pos;
            books.push(NewOne { id, key, row, pos, size });
        }
        let (pile, dedupe, checkpoint) = (pile.id, pile.dedupe, append.checkpoint.clone());
        self.appends.push(Planned { arrival, pile, dedupe, books, checkpoint });
        Ok(())
    }

    fn pass(&mut self, core: &Core, arrival: usize, pass: &Pass) {
        let places = (0..pass.books.len()).map(|book| Place::Pass { arrival, book });
        let Ok(to) = core.pile(&pass.to) else {
            self.foreign.extend(places);
            return;
        };
        let lease = pass.hold.then_some(to.lease);
        // Neighbours of one row.
        let mut run: Vec<(Place, Held, Option<&Book>)> = Vec::new();
        for (place, (receipt, book)) in places.zip(&pass.books) {
            let Some(held) = Held::of(receipt) else {
                self.foreign.push(place);
                continue;
            };
            let joins = run.last().is_some_and(|(_, last, changed)| {
                last.key == held.key && last.pos < held.pos && changed.is_some() == book.is_some()
            });
            if !joins {
                self.move_run(std::mem::take(&mut run), to.id, lease);
            }
            run.push((place, held, book.as_ref()));
        }
        self.move_run(run, to.id, lease);
    }

    fn move_run(&mut self, run: Vec<(Place, Held, Option<&Book>)>, to: i32, lease: Option<i64>) {
        let Some((_, first, _)) = run.first().copied() else { return };
        if first.key.pile == to {
            let hold = lease.is_some();
            self.singles
                .extend(run.into_iter().map(|(place, held, _)| (place, held, Fate::Same { hold })));
            return;
        }
        let mut contents = Vec::with_capacity(run.len());
        for (place, held, book) in run {
            let mut record = Vec::new();
            match book.map(|book| encode(&mut record, book)).transpose() {
                Ok(size) => contents.push((place, held, size.map(|size| (record, size)))),
                // The book stays where it is.
                Err(error) => self.refused.push((place, error)),
            }
        }
        let whole = contents.len() == usize::from(first.of);
        let bytes: usize = contents.iter().flat_map(|(.., new)| new).map(|(r, _)| r.len()).sum();
        let known = !self.sources.insert(first.key);
        let changed = contents.iter().all(|(.., new)| new.is_some());
        // Rows of which books go to several places are read, and rows that grow too much.
        if known || bytes >= FULL || contents.is_empty() {
            self.single_run(contents, to, lease);
            return;
        }
        let mut new = changed.then(Packed::default);
        let seq = self.seq();
        let mut moved = Moved {
            key: first.key,
            mask: 0,
            whole,
            to,
            lease,
            seq,
            size: 0,
            new: None,
            books: Vec::with_capacity(contents.len()),
        };
        for (place, held, content) in contents {
            moved.mask |= held.bit();
            moved.size += i64::from(held.size);
            let size = content.as_ref().map(|(_, size)| *size);
            if let (Some(packed), Some((record, size))) = (&mut new, content) {
                packed.add(&record, size);
            }
            moved.books.push((place, held, size));
        }
        moved.new = new;
        self.moved.push(moved);
    }

    /// Books that are passed one by one. Those with one number come into one row.
    fn single_run(
        &mut self,
        run: Vec<(Place, Held, Option<Content>)>,
        to: i32,
        lease: Option<i64>,
    ) {
        let (mut seq, mut books, mut bytes) = (self.seq(), 0, 0);
        for (place, held, content) in run {
            if books == MOST || bytes >= FULL {
                (seq, books, bytes) = (self.seq(), 0, 0);
            }
            books += 1;
            bytes += content.as_ref().map_or(held.size as usize, |(record, _)| record.len());
            self.singles.push((place, held, Fate::Pass { to, lease, seq, content }));
        }
    }

    fn act(&mut self, place: Place, receipt: &Receipt, act: &Act) {
        let Some(held) = Held::of(receipt) else {
            self.foreign.push(place);
            return;
        };
        match act {
            Act::Ack | Act::Drop => {
                let burned = *act == Act::Ack;
                let ended = self.ended.entry(held.key).or_default();
                ended.mask |= held.bit();
                ended.size += i64::from(held.size);
                ended.burned += i64::from(burned);
                ended.dropped += i64::from(!burned);
                ended.books.push((place, held, burned));
            }
            Act::Return { delay, tries, hold } => {
                let stay = Stay { delay: micros(*delay), tries: stored(tries), hold: *hold };
                self.stays.entry((held.key, stay)).or_default().push((place, held));
            }
            Act::Bury { reason, node, attempts } => {
                let (reason, node) = (reason.clone(), node.clone());
                let fate = Fate::Bury { reason, node, attempts: *attempts };
                self.singles.push((place, held, fate));
            }
            _ => self.foreign.push(place),
        }
    }
}
