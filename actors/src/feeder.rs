//! The feeder: the actor that reads a pile's source. What it has read stands outside of it, so its death loses nothing.

mod outbox;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, Weak};
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};

use crate::book::{Book, BookId};
use crate::failure::Failure;
use crate::fault::{Deed, Point};
use crate::pile::PileCore;
use crate::pool::{die, guarded};
use crate::source::Source;
use crate::store::{Answer, Full, Store};
use crate::supervision::{Guarded, Port};
use crate::trace::Act;
use crate::works::Works;

use outbox::{Lane, Outbox, Rows, dealt};

/// Most books read at once.
const BATCH: usize = 1024;

/// So many books may lie for one copy while another one waits.
const BEHIND: usize = 4 * BATCH;

/// Looks at a source that somebody else reads just now, before giving up: about as long as reading takes.
const LOOKS: usize = 20_000;

/// Fewest books in a run: a call of the source for each book of a small cart would cost more than it saves.
const LEAST_RUN: usize = 64;

/// How long a source rests that had nothing to give.
const REST: Duration = Duration::from_millis(10);

/// The pile has room: read on. May be lost: every start reads.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct More;

/// Reading failed where the actor was not.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Failed(Failure);

/// What there is of a feeder whether or not its actor lives.
pub struct FeederCore {
    /// Its name, for supervision.
    pub name: String,
    /// How to reach its actor.
    pub port: Port<Feeder>,
    /// One that deals to all piles, or one for each.
    readers: Vec<Mutex<Reader>>,
    /// Ids, where there is a reader for each pile.
    rows: Mutex<Rows>,
    /// By reader: it has come to its end.
    over: Vec<AtomicBool>,
    blocks: bool,
    total: Option<u64>,
    /// So many books of a source that does not wait are asked for at once, for each pile.
    run: OnceLock<usize>,
    outbox: Mutex<Outbox>,
    piles: Vec<OnceLock<Weak<PileCore>>>,
    ended: AtomicBool,
    /// A request for more is on its way: copies that share the feeder would else multiply requests by answers.
    asked: AtomicBool,
    /// Somebody else than the actor has read, and failed: the actor has yet to hear of it.
    failed: AtomicBool,
    works: OnceLock<Weak<Works>>,
}

impl std::fmt::Debug for FeederCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FeederCore")
            .field("name", &self.name)
            .field("ended", &self.ended)
            .finish()
    }
}

/// A source, or the part of it that is one copy's.
struct Reader {
    source: Option<Guarded<Box<dyn Source>>>,
    /// The lane of the next book, where one reader deals to all.
    next: usize,
}

/// How reading there and then went.
enum Here {
    /// Books came.
    Came,
    /// None just now, or none any more.
    Nothing,
    /// Somebody else reads, or has to see to it.
    Busy,
}

impl FeederCore {
    /// A feeder that reads `source` for `piles` (>= 1) piles, which get its books in turn.
    pub fn new(name: impl Into<String>, mut source: Box<dyn Source>, piles: usize) -> Arc<Self> {
        let piles = piles.max(1);
        let (blocks, total) = (source.blocks(), source.total());
        // A split that is none, or panics, is no reason to refuse the source.
        let parts = (piles > 1)
            .then(|| guarded(|| source.split(piles)).ok().flatten())
            .flatten()
            .filter(|parts| parts.len() == piles);
        let readers: Vec<_> = (parts.unwrap_or_else(|| vec![source]).into_iter())
            .map(|source| {
                Mutex::new(Reader {
                    source: Some(Guarded::new(source)),
                    next: 0,
                })
            })
            .collect();
        Arc::new(Self {
            name: name.into(),
            port: Port::new(),
            blocks,
            total,
            run: OnceLock::new(),
            rows: Mutex::new(Rows::new(readers.len())),
            over: readers.iter().map(|_| AtomicBool::new(false)).collect(),
            readers,
            outbox: Mutex::new(Outbox {
                lanes: (0..piles).map(|_| Lane::default()).collect(),
            }),
            piles: (0..piles).map(|_| OnceLock::new()).collect(),
            ended: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            works: OnceLock::new(),
        })
    }

    /// True if each pile has a reader of its own.
    fn is_split(&self) -> bool {
        self.readers.len() > 1
    }

    /// The reader of this share.
    fn reader_of(&self, share: usize) -> usize {
        if self.is_split() { share } else { 0 }
    }

    /// True if this share should have books, and may.
    fn is_hungry(&self, outbox: &Outbox, share: usize) -> bool {
        match self.is_split() {
            true => outbox.lanes[share].books == 0 && !self.over[share].load(Ordering::Acquire),
            false => outbox.is_hungry(),
        }
    }

    /// Says how many books are loaded at once by those who take them: books that come in runs of just that many are not moved one by one. Said
    /// once, before the start.
    pub fn loads(&self, books: usize) {
        let _ = self.run.set(books.clamp(LEAST_RUN, BATCH));
    }

    /// Names the works once they exist.
    pub fn belongs_to(&self, works: &Arc<Works>) {
        let _ = self.works.set(Arc::downgrade(works));
    }

    pub(crate) fn feeds(&self, share: usize, pile: &Arc<PileCore>) {
        let _ = self.piles[share].set(Arc::downgrade(pile));
    }

    fn ring(&self) {
        let piles = self.piles.iter().filter_map(OnceLock::get);
        for pile in piles.filter_map(Weak::upgrade) {
            pile.ring();
        }
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many books the source will give in all, if it knows.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// Reads no further. What was read is still put; what a read that is under way brings later is not taken (and said in the log).
    pub fn end(&self) {
        {
            let _outbox = self.outbox();
            self.ended.store(true, Ordering::Release);
        }
        self.ring();
    }

    /// True once the source has ended, whether or not all it gave was put.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// True once nothing more will come from here to the pile that has this share.
    pub(crate) fn is_done(&self, share: usize) -> bool {
        self.has_ended() && self.outbox().lanes[share].books == 0
    }

    /// Moves what was read for it onto the pile as far as there is room, and sees that more is read. A source that does not wait is read there and then.
    pub(crate) fn fill(&self, share: usize, pile: &PileCore) {
        let Some(works) = self.works.get().and_then(Weak::upgrade) else {
            return;
        };
        if pile.is_closed() {
            return;
        }
        let move_on = || {
            let mut outbox = self.outbox();
            let lane = &mut outbox.lanes[share];
            let behind = lane.books >= BEHIND;
            empty_lane(lane, &works, pile);
            let caught_up = behind && lane.books < BEHIND;
            let hungry = self.is_hungry(&outbox, share) && !self.has_ended();
            drop(outbox);
            if caught_up {
                // Others may have waited for this one, and may read on.
                self.ring_waiting();
            }
            hungry
        };
        if !move_on() {
            return;
        }
        if self.blocks || works.faults().is_some() {
            return self.ask();
        }
        match self.read_here(share) {
            Here::Came => {
                move_on();
            }
            Here::Nothing => self.ask(),
            // Whoever reads rings those who wait.
            Here::Busy => {}
        }
    }

    /// True if somebody should have books, and may.
    fn wants_some(&self) -> bool {
        let outbox = self.outbox();
        (0..self.piles.len()).any(|share| self.is_hungry(&outbox, share))
    }

    fn ask(&self) {
        if !self.has_ended()
            && !self.asked.swap(true, Ordering::AcqRel)
            && self.port.send(More).is_err()
        {
            // Its next life looks by itself.
            self.asked.store(false, Ordering::Release);
        }
    }

    /// Reads on the caller's thread, unless somebody else does so just now or the actor has to look after it.
    fn read_here(&self, share: usize) -> Here {
        let (mut looks, at) = (0, self.reader_of(share));
        let mut reader = loop {
            match self.readers[at].try_lock() {
                Ok(reader) => break reader,
                Err(TryLockError::Poisoned(reader)) => break reader.into_inner(),
                Err(TryLockError::WouldBlock) if looks == LOOKS => return Here::Busy,
                Err(TryLockError::WouldBlock) => {
                    looks += 1;
                    std::hint::spin_loop();
                }
            }
        };
        // Whoever has read meanwhile has read for all.
        if looks > 0 && self.outbox().lanes[share].books > 0 {
            return Here::Came;
        }
        if self.failed.load(Ordering::Acquire) {
            return Here::Busy;
        }
        if reader.source.is_none() {
            // At its end, while others read on.
            return Here::Busy;
        }
        let read = self.read(&mut reader, at);
        drop(reader);
        match read {
            Ok(count) => {
                if self.has_ended() || !self.is_split() && self.piles.len() > 1 {
                    self.ring_waiting();
                }
                match count {
                    0 => Here::Nothing,
                    _ => Here::Came,
                }
            }
            Err(failure) => {
                // The actor has to die of it: until it is back, nobody reads.
                self.failed.store(true, Ordering::Release);
                let _ = self.port.send(Failed(failure));
                Here::Busy
            }
        }
    }

    /// Rings those who may wait for just that.
    fn ring_waiting(&self) {
        let ended = self.has_ended();
        let piles = self.piles.iter().filter_map(OnceLock::get);
        for pile in piles.filter_map(Weak::upgrade) {
            if ended || pile.parked().0 > 0 {
                pile.ring();
            }
        }
    }

    /// Reads a while, and says how many books came; they are in the outbox when this returns, whoever has died meanwhile.
    fn read(&self, reader: &mut Reader, at: usize) -> Result<usize, Failure> {
        let want = match self.run.get().filter(|_| !self.blocks) {
            Some(run) if self.is_split() => *run,
            Some(run) => (run * self.piles.len()).min(BATCH),
            None => BATCH,
        };
        let mut count = 0;
        while count + want <= BATCH {
            let some = self.read_once(reader, at, want)?;
            count += some;
            if some < want {
                break;
            }
        }
        Ok(count)
    }

    fn read_locked(&self) -> Result<usize, Failure> {
        let mut count = 0;
        for (at, reader) in self.readers.iter().enumerate() {
            if self.is_split() && !self.is_hungry(&self.outbox(), at) {
                continue;
            }
            let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            count += self.read(&mut reader, at)?;
        }
        Ok(count)
    }

    fn number(&self, books: &mut [Book], at: usize, store: &dyn Store) {
        if self.is_split() {
            let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
            return rows.number(books, at, |count| store.number(count));
        }
        let first = store.number(books.len() as u64).0;
        for (book, id) in books.iter_mut().zip(first..) {
            book.id = BookId(id);
        }
    }

    fn read_once(&self, reader: &mut Reader, at: usize, want: usize) -> Result<usize, Failure> {
        if self.has_ended() {
            reader.source = None;
            return Ok(0);
        }
        let Some(source) = reader.source.as_mut() else {
            return Ok(0);
        };
        let works = self.works.get().and_then(Weak::upgrade);
        let read = guarded(|| {
            let fault =
                (works.as_ref()).and_then(|works| works.fault(&self.name, Point::Read, None));
            match fault {
                Some(Deed::Error(failure)) => Err(failure),
                _ => source.next(want),
            }
        });
        match read {
            Ok(Ok(Some(mut books))) => {
                let count = books.len();
                if let Some(works) = works {
                    // Before they are dealt, so that who gets which changes no id.
                    self.number(&mut books, at, &*works.store);
                }
                let runs = match self.is_split() {
                    true => vec![books],
                    false => dealt(books, self.piles.len(), &mut reader.next),
                };
                let mut outbox = self.outbox();
                if self.has_ended() {
                    drop(outbox);
                    log::warn!(
                        "{}: closed while it was read: {count} books were not taken",
                        self.name
                    );
                    return Ok(0);
                }
                for (lane, run) in outbox.lanes[at..].iter_mut().zip(runs) {
                    lane.push(run);
                }
                Ok(count)
            }
            Ok(Ok(None)) => {
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
                if let Some(works) = self.works.get().and_then(Weak::upgrade) {
                    works.fail(format!("{}: {failure}", self.name));
                }
                Ok(0)
            }
            Ok(Err(failure)) => Err(failure),
            Err(panic) => Err(Failure::transient(format!("panicked: {panic}"))),
        }
    }
}

fn empty_lane(lane: &mut Lane, works: &Works, pile: &PileCore) {
    // After a refusal for want of bytes: one at a time.
    let mut most = usize::MAX;
    while lane.books > 0 {
        let room = works.store.room(pile.key).min(most);
        if room == 0 {
            return;
        }
        let some = lane.pop(room);
        let ids: Option<Vec<BookId>> =
            (works.is_traced()).then(|| some.iter().map(|book| book.id).collect());
        match put(works, pile, some) {
            Ok(()) => {
                if let Some(ids) = ids {
                    works.record(&pile.name, &Act::Put { books: &ids });
                }
            }
            // A byte bound may refuse what the book bound admits: then one book at a time, and the last of them waits.
            Err(back) => {
                let stuck = back.len() == 1;
                lane.push_front(back);
                if stuck {
                    return;
                }
                most = 1;
            }
        }
    }
}

fn put(works: &Works, pile: &PileCore, books: Vec<Book>) -> Result<(), Vec<Book>> {
    match works.store.put_numbered(pile.key, books) {
        Answer::Ready(Ok(())) => Ok(()),
        Answer::Ready(Err(Full(books))) => Err(books),
        Answer::Later(_) => unreachable!("engines that answer later have a keeper of their own"),
    }
}

/// The actor that reads a source.
#[derive(Debug)]
pub struct Feeder {
    core: Arc<FeederCore>,
    works: Arc<Works>,
    reading: bool,
}

impl Feeder {
    /// The actor over `core`.
    pub fn new(core: Arc<FeederCore>, works: Arc<Works>) -> Self {
        Self {
            core,
            works,
            reading: false,
        }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        self.core.failed.store(false, Ordering::Release);
        self.core.asked.store(false, Ordering::Release);
        if self.reading {
            return;
        }
        // Read in an earlier life, which may not have lived to say so: for one copy, while another one has nothing.
        self.core.ring();
        if self.core.has_ended() || !self.core.wants_some() {
            return;
        }
        if !self.core.blocks || self.works.clock.is_simulated() {
            let read = self.core.read_locked();
            self.has_read(read, ctx);
            return;
        }
        self.reading = true;
        let core = self.core.clone();
        let read = self.works.pool.wait_for(move || core.read_locked());
        ctx.spawn(read.into_actor(self).map(|read, feeder, ctx| {
            feeder.reading = false;
            feeder.has_read(read.unwrap_or(Ok(0)), ctx);
        }));
    }

    fn has_read(&mut self, read: Result<usize, Failure>, ctx: &mut Context<Self>) {
        match read {
            Ok(0) if !self.core.has_ended() => {
                // Nothing just now: a source that has to wait should wait in `next`, so this is a pause and no poll.
                self.reading = true;
                let rest = self.works.clock.sleep(REST);
                ctx.spawn(rest.into_actor(self).map(|(), feeder, ctx| {
                    feeder.reading = false;
                    feeder.look(ctx);
                }));
                return;
            }
            Ok(_) => {}
            // The supervisor's backoff is the pause before the next try; its budget is the limit.
            Err(failure) => die(format!("{}: {failure}", self.core.name)),
        }
        self.core.ring();
    }
}

impl Actor for Feeder {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // After the port is bound, so that no request for more is lost between.
        ctx.spawn(
            tokio::task::yield_now()
                .into_actor(self)
                .map(|(), feeder, ctx| feeder.look(ctx)),
        );
    }
}

impl Handler<More> for Feeder {
    type Result = ();

    fn handle(&mut self, _: More, ctx: &mut Self::Context) {
        self.look(ctx);
    }
}

impl Handler<Failed> for Feeder {
    type Result = ();

    fn handle(&mut self, Failed(failure): Failed, _: &mut Self::Context) {
        die(format!("{}: {failure}", self.core.name));
    }
}
