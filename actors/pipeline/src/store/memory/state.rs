//! What a store in memory holds, and the laws on it. Pure.

mod admin;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::sources::Sources;
use crate::book::{Body, Book, BookId};
use crate::store::{
    Account, Act, Append, Appended, Arrival, Commit, Cursor, DeadBook, Delivery, Depth, NewBook,
    Pass, Passed, PileName, PileSpec, Receipt, Recovered, StoreError, Tries, Want,
};

/// A lease; it has ended once `until` has passed and another holder has taken the book.
#[derive(Clone, Copy)]
struct Hold {
    token: u64,
    process: u64,
    until: Duration,
    /// True if the holder before did not settle the book: its lease ran out.
    again: bool,
}

#[derive(Clone)]
struct Entry {
    book: Book,
    tries: Tries,
    due: Duration,
    hold: Option<Hold>,
}

#[derive(Clone, Default)]
struct Pile {
    lease: Duration,
    dedupe: Duration,
    /// By arrival.
    entries: BTreeMap<u64, Entry>,
    keys: HashMap<Bytes, (BookId, Duration)>,
    /// True if an opener has named the pile, so it is no orphan.
    opened: bool,
}

#[derive(Clone, Default)]
pub(super) struct State {
    /// True for a store of one process at a time: receipts are ids, and leases last until the
    /// process ends.
    pub exclusive: bool,
    /// The process that has an exclusive store open.
    pub opener: Option<u64>,
    /// True if new contents are refused.
    pub full: bool,
    /// True if a fetch also delivers books that the process holds.
    pub redelivers: bool,
    pub now: Duration,
    pub next_id: u64,
    pub accepted: HashSet<BookId>,
    pub dead: BTreeMap<u64, DeadBook>,
    piles: BTreeMap<PileName, Pile>,
    /// Pile and position for each receipt: in a shared store, by every token ever given out; in an
    /// exclusive one, by the id of every stored book.
    given: HashMap<u64, (PileName, u64)>,
    /// Books that the process has begun.
    begun: BTreeSet<u64>,
    pub sources: Sources,
    account: Account,
    pub processes: u64,
    /// The last number that was given to an arrival, a lease or a dead letter.
    last: u64,
}

impl State {
    pub fn start(&mut self) -> u64 {
        self.processes += 1;
        self.processes
    }

    pub fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// # Errors
    /// `InUse` if another process has an exclusive store open.
    pub fn open(&mut self, specs: &[PileSpec], process: u64) -> Result<Recovered, StoreError> {
        if self.exclusive {
            if let Some(opener) = self.opener {
                let (pid, what) = (u32::try_from(opener).ok(), "the store is in use".into());
                return Err(StoreError::InUse { pid, what });
            }
            self.opener = Some(process);
            self.begin_anew();
        }
        self.next_id = self.next_id.max(1);
        for spec in specs {
            let pile = self.piles.entry(spec.name.clone()).or_default();
            (pile.lease, pile.dedupe, pile.opened) = (spec.lease, spec.dedupe, true);
        }
        let named = |name: &PileName| specs.iter().any(|spec| spec.name == *name);
        let depth = |name: &PileName| self.depth(name).unwrap_or_default();
        let orphans = self.piles.keys().filter(|name| !named(name));
        Ok(Recovered {
            store: "memory".into(),
            piles: specs.iter().map(|spec| depth(&spec.name)).collect(),
            orphans: orphans
                .map(|name| (name.clone(), depth(name)))
                .filter(|(_, depth)| depth.books + depth.dead > 0)
                .collect(),
            positions: self.sources.positions(),
            next_id: self.next_id,
            account: Some(self.account()),
        })
    }

    /// Frees the books that the last process of an exclusive store held, and charges an attempt to
    /// those that it had begun.
    fn begin_anew(&mut self) {
        for id in std::mem::take(&mut self.begun) {
            let place = self.given.get(&id);
            let entry = place.and_then(|(name, at)| {
                self.piles.get_mut(name).and_then(|pile| pile.entries.get_mut(at))
            });
            if let Some(Entry { tries, .. }) = entry {
                tries.attempts += 1;
                tries.deliveries += 1;
                tries.begun = true;
            }
        }
        self.piles.values_mut().flat_map(|pile| pile.entries.values_mut()).for_each(|entry| {
            entry.hold = None;
        });
        self.sources.release_all();
    }

    /// Marks held books as begun. In a shared store, charges an attempt in advance to those that
    /// an earlier holder did not settle.
    pub fn begin(&mut self, receipts: &[Receipt]) {
        for receipt in receipts.iter().filter(|_| !self.exclusive) {
            let Ok((name, at)) = self.held_by(receipt) else {
                continue;
            };
            let entry = self.piles.get_mut(&name).and_then(|pile| pile.entries.get_mut(&at));
            if let Some(Entry { tries, hold: Some(Hold { again: true, .. }), .. }) = entry {
                tries.attempts += 1;
                tries.begun = true;
            }
        }
        for id in receipts.iter().filter_map(Receipt::id) {
            if self.exclusive && self.given.contains_key(&id.0) {
                self.begun.insert(id.0);
            }
        }
    }

    /// Removes the marks of begun books.
    pub fn end(&mut self, receipts: &[Receipt]) {
        receipts.iter().filter_map(Receipt::id).for_each(|id| _ = self.begun.remove(&id.0));
    }

    pub fn account(&self) -> Account {
        let present = self.piles.values().map(|pile| pile.entries.len() as u64).sum();
        Account { present, dead: self.dead.len() as u64, ..self.account }
    }

    pub fn depth(&self, name: &PileName) -> Option<Depth> {
        let entries = &self.piles.get(name)?.entries;
        let held = |entry: &&Entry| self.is_held(entry);
        let due = entries.values().filter(|entry| !self.is_held(entry)).map(|entry| entry.due);
        Some(Depth {
            books: entries.len() as u64,
            bytes: entries.values().map(|entry| entry.book.size()).sum(),
            held: entries.values().filter(held).count() as u64,
            dead: self.dead.values().filter(|dead| dead.pile == *name).count() as u64,
            next_due: due.filter(|due| *due > self.now).min().map(|due| due - self.now),
            exact: true,
        })
    }

    fn is_held(&self, entry: &Entry) -> bool {
        entry.hold.is_some_and(|hold| hold.until > self.now)
    }

    pub fn append(&mut self, books: &Append, process: u64) -> Result<Vec<Appended>, StoreError> {
        let pile = self.piles.get(&books.to).ok_or(StoreError::Gone)?;
        let dedupe = pile.dedupe;
        if self.full && !books.books.is_empty() {
            return Err(StoreError::Full);
        }
        // Bodies that are files are copied, before anything changes.
        let mut copies = Vec::with_capacity(books.books.len());
        for new in &books.books {
            copies.push(copied(&new.book)?);
        }
        let is_repeated = |new: &NewBook| self.accepted.contains(&new.book.id);
        let is_repeated = !copies.is_empty() && books.books.iter().all(is_repeated);
        if let Some(checkpoint) = &books.checkpoint {
            self.sources.check_in(checkpoint, is_repeated)?;
        }
        let mut answers = Vec::with_capacity(copies.len());
        for (new, book) in books.books.iter().zip(copies) {
            let (id, now) = (book.id, self.now);
            if self.accepted.contains(&id) {
                let receipt = books.hold.then(|| self.hold_again(&books.to, id, process)).flatten();
                answers.push(Appended::Stored(receipt));
                continue;
            }
            let pile = self.piles.get_mut(&books.to).ok_or(StoreError::Gone)?;
            if let Some(key) = &new.key {
                match pile.keys.get(key) {
                    Some((first, until)) if *until > now => {
                        answers.push(Appended::Duplicate(*first));
                        continue;
                    }
                    _ => _ = pile.keys.insert(key.clone(), (id, now.saturating_add(dedupe))),
                }
            }
            self.accepted.insert(id);
            self.next_id = self.next_id.max(id.0 + 1);
            self.account.offered += 1;
            let receipt = self.put(&books.to, book, books.hold.then_some(process));
            answers.push(Appended::Stored(receipt));
        }
        Ok(answers)
    }

    /// Adds a book at the end of a pile; answers its receipt if it is held.
    fn put(&mut self, name: &PileName, book: Book, holder: Option<u64>) -> Option<Receipt> {
        let (at, id) = (self.number(), book.id);
        let entry = Entry { book, tries: Tries::default(), due: Duration::ZERO, hold: None };
        self.piles.get_mut(name)?.entries.insert(at, entry);
        if self.exclusive {
            self.given.insert(id.0, (name.clone(), at));
        }
        let process = holder?;
        self.take(name, at, process).map(|token| self.receipt(token, id))
    }

    fn receipt(&self, token: u64, id: BookId) -> Receipt {
        match self.exclusive {
            true => Receipt::of(id),
            false => Receipt([token.to_be_bytes(), id.0.to_be_bytes()].concat().into()),
        }
    }

    /// Holds the book at `at` for `process`; answers the token.
    fn take(&mut self, name: &PileName, at: u64, process: u64) -> Option<u64> {
        let (token, now) = (self.number(), self.now);
        let pile = self.piles.get_mut(name)?;
        let until = if self.exclusive { Duration::MAX } else { now.saturating_add(pile.lease) };
        let entry = pile.entries.get_mut(&at)?;
        entry.hold = Some(Hold { token, process, until, again: entry.hold.is_some() });
        if !self.exclusive {
            self.given.insert(token, (name.clone(), at));
        }
        Some(token)
    }

    /// Holds a book of a repeated append, unless it is gone or another process holds it.
    fn hold_again(&mut self, name: &PileName, id: BookId, process: u64) -> Option<Receipt> {
        let entries = &self.piles.get(name)?.entries;
        let (at, entry) = entries.iter().find(|(_, entry)| entry.book.id == id)?;
        if self.is_held(entry) && entry.hold.is_none_or(|hold| hold.process != process) {
            return None;
        }
        let at = *at;
        self.take(name, at, process).map(|token| self.receipt(token, id))
    }

    pub fn fetch(
        &mut self,
        name: &PileName,
        want: Want,
        process: u64,
    ) -> Result<Vec<Delivery>, StoreError> {
        let pile = self.piles.get(name).ok_or(StoreError::Gone)?;
        let lease = (!self.exclusive).then_some(pile.lease);
        let (mut found, mut bytes) = (Vec::new(), 0);
        for (at, entry) in &pile.entries {
            let is_again = self.redelivers && entry.hold.is_some_and(|old| old.process == process);
            if self.is_held(entry) && !is_again || entry.due > self.now {
                continue;
            }
            bytes += entry.book.size();
            let is_above = want.bytes.is_some_and(|most| bytes > most) && !found.is_empty();
            if is_above || found.len() >= want.books.max(1) {
                break;
            }
            found.push(*at);
        }
        let mut deliveries = Vec::with_capacity(found.len());
        for at in found {
            let token = self.take(name, at, process);
            let entry = self.piles.get_mut(name).and_then(|pile| pile.entries.get_mut(&at));
            let (Some(token), Some(entry)) = (token, entry) else {
                continue;
            };
            let (book, tries) = (entry.book.clone(), entry.tries);
            entry.tries.deliveries += u32::from(lease.is_some());
            let receipt = self.receipt(token, book.id);
            deliveries.push(Delivery { book, receipt, tries, lease });
        }
        Ok(deliveries)
    }

    /// The place of the book that a receipt holds.
    fn held_by(&self, receipt: &Receipt) -> Result<(PileName, u64), StoreError> {
        let key = match self.exclusive {
            true => receipt.id().map(|id| id.0),
            false => token(receipt),
        };
        let key = key.ok_or(StoreError::Gone)?;
        let (name, at) = self.given.get(&key).ok_or(StoreError::Gone)?;
        let entry = self.piles.get(name).and_then(|pile| pile.entries.get(at));
        match entry.ok_or(StoreError::Gone)?.hold {
            Some(hold) if self.exclusive || hold.token == key => Ok((name.clone(), *at)),
            _ => Err(StoreError::Stale),
        }
    }

    fn remove(&mut self, receipt: &Receipt) -> Result<(PileName, Entry), StoreError> {
        let (name, at) = self.held_by(receipt)?;
        let entry = self.piles.get_mut(&name).and_then(|pile| pile.entries.remove(&at));
        let entry = entry.ok_or(StoreError::Gone)?;
        if self.exclusive {
            self.given.remove(&entry.book.id.0);
        }
        Ok((name, entry))
    }

    pub fn settle(&mut self, acts: &[(Receipt, Act)]) -> Vec<Result<(), StoreError>> {
        acts.iter().map(|(receipt, act)| self.act(receipt, act)).collect()
    }

    fn act(&mut self, receipt: &Receipt, act: &Act) -> Result<(), StoreError> {
        if act.ends_work() {
            self.end(std::slice::from_ref(receipt));
        }
        match act {
            Act::Ack => {
                self.remove(receipt)?;
                self.account.burned += 1;
            }
            Act::Drop => {
                self.remove(receipt)?;
                self.account.dropped += 1;
            }
            Act::Return { delay, tries, hold } => {
                let (name, at) = self.held_by(receipt)?;
                let due = self.now.saturating_add(*delay);
                let pile = self.piles.get_mut(&name);
                let entry = pile.and_then(|pile| pile.entries.get_mut(&at));
                let entry = entry.ok_or(StoreError::Gone)?;
                (entry.due, entry.tries) = (due, *tries);
                entry.hold = entry.hold.filter(|_| *hold);
            }
            Act::Bury { reason, node, attempts } => {
                let (pile, entry) = self.remove(receipt)?;
                let at = Cursor(self.number());
                let (reason, node) = (reason.clone(), node.clone());
                let (book, attempts) = (entry.book, *attempts);
                self.dead.insert(at.0, DeadBook { at, book, pile, reason, node, attempts });
            }
        }
        Ok(())
    }

    pub fn pass(&mut self, books: &Pass, process: u64) -> Vec<Result<Passed, StoreError>> {
        let holder = books.hold.then_some(process);
        let pass = |(old, changed): &(Receipt, Option<Book>)| {
            if !self.piles.contains_key(&books.to) {
                return Err(StoreError::Gone);
            }
            if self.full && changed.is_some() {
                return Err(StoreError::Full);
            }
            let changed = changed.as_ref().map(copied).transpose()?;
            let (from, _) = self.held_by(old)?;
            if from == books.to {
                return Ok(Passed { receipt: books.hold.then(|| old.clone()), acked: true });
            }
            let (_, entry) = self.remove(old)?;
            let book = changed.unwrap_or(entry.book);
            Ok(Passed { receipt: self.put(&books.to, book, holder), acked: true })
        };
        books.books.iter().map(pass).collect()
    }

    /// Applies the first changes of a commit, fewer than all: that share of its books. A source's
    /// position comes after the books of its append.
    pub fn tear(&mut self, commit: &Commit, share: f64, process: u64) {
        let books = commit.arrivals.iter().map(|arrival| match arrival {
            Arrival::Append(append) => append.books.len() + 1,
            Arrival::Pass(pass) => pass.books.len(),
        });
        let all = books.sum::<usize>() + commit.acts.len();
        let mut left = (all as f64 * share) as usize;
        for arrival in &commit.arrivals {
            match arrival {
                Arrival::Append(append) => {
                    let mut part = append.clone();
                    part.books.truncate(left);
                    part.checkpoint = part.checkpoint.filter(|_| left > append.books.len());
                    // A refused part changes nothing.
                    let _ = self.append(&part, process);
                    left = left.saturating_sub(append.books.len() + 1);
                }
                Arrival::Pass(pass) => {
                    let mut part = pass.clone();
                    part.books.truncate(left);
                    self.pass(&part, process);
                    left -= part.books.len();
                }
            }
        }
        self.settle(&commit.acts[..left.min(commit.acts.len())]);
    }

    pub fn extend(&mut self, receipts: &[Receipt], by: Duration) -> Vec<Result<(), StoreError>> {
        let until = self.now.saturating_add(by);
        let extend = |receipt| {
            let (name, at) = self.held_by(receipt)?;
            let entry = self.piles.get_mut(&name).and_then(|pile| pile.entries.get_mut(&at));
            if let Some(hold) = entry.and_then(|entry| entry.hold.as_mut())
                && hold.until < Duration::MAX
            {
                hold.until = until;
            }
            Ok(())
        };
        receipts.iter().map(extend).collect()
    }

    /// Ends all leases of a process.
    pub fn release(&mut self, process: u64) {
        self.opener = self.opener.filter(|opener| *opener != process);
        self.lose_leases(process);
        self.sources.release(process);
    }

    /// Ends the leases of all books that a process holds.
    pub fn lose_leases(&mut self, process: u64) {
        for entry in self.piles.values_mut().flat_map(|pile| pile.entries.values_mut()) {
            entry.hold = entry.hold.filter(|hold| hold.process != process);
        }
    }
}

pub(super) fn process_name(process: u64) -> Arc<str> {
    format!("process {process}").into()
}

/// The book with its body in memory.
fn copied(book: &Book) -> Result<Book, StoreError> {
    let body = book.body.read_all(u64::MAX);
    let body = body.map_err(|error| StoreError::Other(format!("a body: {error}").into()))?;
    Ok(Book { body: Body::Bytes(body), ..book.clone() })
}

fn token(receipt: &Receipt) -> Option<u64> {
    let bytes = receipt.0.first_chunk::<8>()?;
    (receipt.0.len() == 16).then(|| u64::from_be_bytes(*bytes))
}
