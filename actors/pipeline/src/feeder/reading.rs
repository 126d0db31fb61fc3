//! Reading a source: by the actor, or by a thread that runs out of books.

use std::sync::atomic::Ordering;
use std::sync::{OnceLock, PoisonError, TryLockError, Weak};

use smallvec::SmallVec;

use super::outbox::{Numbers, dealt};
use super::{BATCH, Failed, FeederCore, InlineRead, LEAST_RUN, LOOKS, Reader};
use crate::book::{Body, Book};
use crate::context::PipelineContext;
use crate::custody::{Custody, Numbered};
use crate::reasons::Then;
use gopherworks_supervision::__private::guarded;
use gopherworks_supervision::failure::Failure;
use gopherworks_supervision::fault::{FaultAction, Point};

/// Ids that a copy's reader reserves at once, since all reserve them under one lock.
const AHEAD: usize = 4 * BATCH;

/// Books read, by outbox.
type Runs = SmallVec<[Numbered; 1]>;

impl FeederCore {
    /// Reads on the caller's thread, unless another thread is reading or the actor has to handle a
    /// failure.
    pub(super) fn read_here(
        &self,
        share: usize,
        missing: usize,
        context: &PipelineContext,
    ) -> InlineRead {
        let (mut looks, at) = (0, self.reader_of(share));
        let mut reader = loop {
            match self.readers[at].try_lock() {
                Ok(reader) => break reader,
                Err(TryLockError::Poisoned(reader)) => break reader.into_inner(),
                Err(TryLockError::WouldBlock) if looks == LOOKS => return InlineRead::Busy,
                Err(TryLockError::WouldBlock) => {
                    looks += 1;
                    std::hint::spin_loop();
                }
            }
        };
        // The thread that read meanwhile has read for all.
        if looks > 0 && self.outbox(share).books > 0 {
            return InlineRead::Came;
        }
        if self.failed.load(Ordering::Acquire) {
            return InlineRead::Busy;
        }
        if reader.source.is_none() {
            // This part has ended, while others read on.
            return InlineRead::Busy;
        }
        let read = self.read(&mut reader, at, missing, Some(context));
        drop(reader);
        match read {
            Ok(count) => {
                if self.has_ended() || !self.is_split() && self.piles.len() > 1 {
                    self.ring_waiting();
                }
                match count {
                    0 => InlineRead::Nothing,
                    _ => InlineRead::Came,
                }
            }
            Err(failure) => {
                // The actor has to fail with it; no thread reads until it has restarted.
                self.failed.store(true, Ordering::Release);
                let _ = self.port.send(Failed(failure));
                InlineRead::Busy
            }
        }
    }

    /// Wakes piles with carts parked for books, or all if the source has ended.
    pub(super) fn ring_waiting(&self) {
        let ended = self.has_ended();
        let piles = self.piles.iter().filter_map(OnceLock::get);
        for pile in piles.filter_map(Weak::upgrade) {
            if ended || pile.has_takers() {
                pile.ring();
            }
        }
    }

    /// Reads up to a batch, and returns how many books were read; they are in the outboxes when
    /// this returns, even if the actor died meanwhile. The part of `missing` that makes no whole
    /// run is read first, so that later loads are whole runs and need not be copied. A batch of
    /// large books is smaller.
    fn read(
        &self,
        reader: &mut Reader,
        at: usize,
        missing: usize,
        context: Option<&PipelineContext>,
    ) -> Result<usize, Failure> {
        let want = match self.run.get().filter(|_| !self.blocks) {
            Some(run) if self.is_split() => *run,
            Some(run) => (run * self.piles.len()).min(BATCH),
            None => BATCH,
        }
        .min(reader.most());
        let mut next = match missing % want {
            part if part > 0 && (self.is_split() || self.piles.len() == 1) => {
                // A call for a few books would cost more than it saves.
                match want + part <= reader.most() {
                    true => want + part,
                    false if part >= LEAST_RUN => part,
                    false => want,
                }
            }
            _ => want,
        };
        let mut count = 0;
        while count == 0 || count + next <= reader.most() {
            let some = self.read_once(reader, at, next, context)?;
            count += some;
            if some < next {
                break;
            }
            next = want;
        }
        Ok(count)
    }

    pub(super) fn read_locked(&self) -> Result<usize, Failure> {
        let context = self.context.get().and_then(Weak::upgrade);
        let mut count = 0;
        for (at, reader) in self.readers.iter().enumerate() {
            if self.is_split() && !self.is_hungry(at) {
                continue;
            }
            let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            count += self.read(&mut reader, at, 0, context.as_deref())?;
        }
        Ok(count)
    }

    fn number(
        &self,
        books: Vec<Book>,
        at: usize,
        ahead: &mut Numbers,
        custody: &Custody,
    ) -> Numbered {
        if self.is_split() {
            if ahead.len() < books.len() {
                let more = (books.len() - ahead.len()).max(AHEAD);
                let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
                ahead.add(rows.take(more, at, |count| custody.number(count)));
            }
            return ahead.give(books);
        }
        let first = custody.number(books.len() as u64);
        Numbered::from(books, first)
    }

    fn read_once(
        &self,
        reader: &mut Reader,
        at: usize,
        want: usize,
        context: Option<&PipelineContext>,
    ) -> Result<usize, Failure> {
        if self.has_ended() {
            reader.source = None;
            return Ok(0);
        }
        let Some(source) = reader.source.as_mut().filter(|_| self.is_owned()) else {
            return Ok(0);
        };
        let (keeps_place, keeps_marks) = (self.keeps_place, self.keeps_marks);
        let read = guarded(|| {
            let anchor = if keeps_place { source.position() } else { None };
            let fault = context.and_then(|context| context.fault(&self.name, Point::Read, None));
            match fault {
                Some(FaultAction::Error(failure)) => Err(failure),
                _ => source.next(want).map(|books| {
                    let books = books?;
                    let marked = books.iter().filter(|_| keeps_marks);
                    let marks: Vec<_> = marked.map(|book| source.mark(book)).collect();
                    Some((books, anchor, marks))
                }),
            }
        });
        match read {
            Ok(Ok(Some((mut books, anchor, marks)))) => {
                let count = books.len();
                reader.last = match books.last().map(|book| &book.body) {
                    Some(Body::Bytes(bytes)) => bytes.len() as u64,
                    Some(Body::File { .. }) => 0,
                    None => reader.last,
                };
                let index = reader.read;
                reader.read += count as u64;
                if keeps_place && (self.is_split() || self.piles.len() == 1) {
                    self.outbox(at).skip(&mut books);
                    if books.is_empty() && count > 0 {
                        return self.read_once(reader, at, want, context);
                    }
                }
                // Numbered before they are dealt, so that dealing does not affect ids.
                let books = match context {
                    Some(context) => self.number(books, at, &mut reader.numbers, &context.custody),
                    None => Numbered::of(books),
                };
                let (outboxes, runs) = match self.is_split() {
                    true => (at..at + 1, Runs::from_buf([books])),
                    false if self.piles.len() == 1 => (0..1, Runs::from_buf([books])),
                    false => {
                        let (books, ..) = books.into_parts();
                        let mut runs = dealt(books, self.piles.len(), &mut reader.next);
                        for (share, run) in runs.iter_mut().enumerate().filter(|_| keeps_place) {
                            self.outbox(share).skip(run);
                        }
                        let runs = runs.into_iter().map(Numbered::of);
                        (0..self.outboxes.len(), runs.collect())
                    }
                };
                let mut outboxes: SmallVec<[_; 1]> =
                    outboxes.map(|outbox| self.outbox(outbox)).collect();
                if !self.is_owned() {
                    return Ok(0);
                }
                if self.has_ended() {
                    drop(outboxes);
                    if !self.regains && !keeps_place {
                        // No loss: they were never offered, and the run does not end well anyway.
                        log::info!(
                            "{}: closed while it was read: {count} books were not taken",
                            self.name
                        );
                    }
                    return Ok(0);
                }
                // Dealt as the books are.
                let (first, shares) = (index as usize % outboxes.len(), outboxes.len());
                for (at, mark) in (first..).zip(marks) {
                    outboxes[at % shares].marks.push_back(mark);
                }
                let none = runs.iter().all(Numbered::is_empty);
                for (outbox, run) in outboxes.iter_mut().zip(runs) {
                    if let (Some(progress), Some(anchor)) = (&mut outbox.progress, &anchor) {
                        progress.add(run.len(), index, anchor.clone());
                    }
                    outbox.push(run);
                }
                drop(outboxes);
                match none && count > 0 {
                    // All were stored in earlier runs.
                    true => self.read_once(reader, at, want, context),
                    false => Ok(count),
                }
            }
            Ok(Ok(None)) => {
                let _outbox = self.outbox(at.min(self.outboxes.len() - 1));
                if !self.is_owned() {
                    return Ok(0);
                }
                reader.source = None;
                self.over[at].store(true, Ordering::Release);
                if self.over.iter().all(|over| over.load(Ordering::Acquire)) {
                    self.ended.store(true, Ordering::Release);
                }
                Ok(0)
            }
            // Here and not in the actor, which may be dead by now.
            Ok(Err(failure)) if failure.is_permanent() => {
                reader.source = None;
                self.ended.store(true, Ordering::Release);
                if let Some(context) = self.context.get().and_then(Weak::upgrade) {
                    context.fail(format!("{}: {failure}", self.name));
                }
                Ok(0)
            }
            Ok(Err(failure)) => Err(self.noted(failure, context)),
            Err(panic) => {
                let failure = Failure::transient(format!("panicked: {panic}"));
                Err(self.noted(failure, context))
            }
        }
    }

    /// Adds a failed read that will be repeated to the reasons. The reader does it, since the actor
    /// may be dead by now.
    fn noted(&self, failure: Failure, context: Option<&PipelineContext>) -> Failure {
        if let Some(context) = context {
            let now = context.clock.now();
            let reason = failure.reason();
            (context.reasons).note(&self.name, ("a read", None), reason, Then::Again, now);
        }
        failure
    }
}
