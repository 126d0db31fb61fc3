//! The feeder: the actor that reads a pile's source. What it has read stands outside of it, so its death loses nothing.

mod outbox;
mod reading;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};

use crate::book::BookId;
use crate::failure::Failure;
use crate::pile::PileCore;
use crate::pool::{die, guarded};
use crate::source::Source;
use crate::store::{Answer, Full, Numbered};
use crate::supervision::{Guarded, Port};
use crate::threads::Apart;
use crate::trace::Act;
use crate::works::Works;

use outbox::{Lane, Numbers, Rows};

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
    readers: Vec<Apart<Mutex<Reader>>>,
    /// Ids, where there is a reader for each pile.
    rows: Mutex<Rows>,
    /// By reader: it has come to its end.
    over: Vec<AtomicBool>,
    blocks: bool,
    /// The source can give again what it gave.
    regains: bool,
    total: Option<u64>,
    /// So many books of a source that does not wait are asked for at once, for each pile.
    run: OnceLock<usize>,
    /// What was read and not yet put, for each pile. Who takes several locks does so in order.
    lanes: Vec<Apart<Mutex<Lane>>>,
    piles: Vec<OnceLock<Weak<PileCore>>>,
    /// Nothing is read before: what is read while other actors are still being started would keep
    /// their threads busy, and the start would take longer the more of them there are.
    open: AtomicBool,
    ended: AtomicBool,
    /// A request for more is on its way: copies that share the feeder would else multiply requests by answers.
    asked: AtomicBool,
    /// A thread of the pool reads the source.
    reading: AtomicBool,
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
    /// Taken for the books to come, where each has a reader of its own.
    numbers: Numbers,
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
        let regains = guarded(|| source.regains()).unwrap_or(false);
        // A split that is none, or panics, is no reason to refuse the source.
        let parts = (piles > 1)
            .then(|| guarded(|| source.split(piles)).ok().flatten())
            .flatten()
            .filter(|parts| parts.len() == piles);
        let readers: Vec<_> = (parts.unwrap_or_else(|| vec![source]).into_iter())
            .map(|source| {
                Apart(Mutex::new(Reader {
                    source: Some(Guarded::new(source)),
                    next: 0,
                    numbers: Numbers::default(),
                }))
            })
            .collect();
        Arc::new(Self {
            name: name.into(),
            port: Port::new(),
            blocks,
            regains,
            total,
            run: OnceLock::new(),
            rows: Mutex::new(Rows::new(readers.len())),
            over: readers.iter().map(|_| AtomicBool::new(false)).collect(),
            readers,
            lanes: (0..piles).map(|_| Apart::default()).collect(),
            piles: (0..piles).map(|_| OnceLock::new()).collect(),
            open: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            reading: AtomicBool::new(false),
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
    fn is_hungry(&self, share: usize) -> bool {
        if self.is_split() {
            return !self.over[share].load(Ordering::Acquire) && self.lane(share).books == 0;
        }
        // What one slow copy leaves lying is bounded.
        let mut any_empty = false;
        let mut lanes = 0..self.lanes.len();
        lanes.all(|lane| {
            let books = self.lane(lane).books;
            any_empty |= books == 0;
            books < BEHIND
        }) && any_empty
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

    /// Lets it read from here on. To be called when all actors have started.
    pub fn open(&self) {
        if !self.open.swap(true, Ordering::AcqRel) {
            self.ring();
            self.ask();
        }
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    fn ring(&self) {
        let piles = self.piles.iter().filter_map(OnceLock::get);
        for pile in piles.filter_map(Weak::upgrade) {
            pile.ring();
        }
    }

    fn lane(&self, share: usize) -> MutexGuard<'_, Lane> {
        let lane = &self.lanes[share].0;
        lane.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many books the source will give in all, if it knows.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// Reads no further. What was read goes back to a source that can give it again, or else is still
    /// put; what a read that is under way brings later is not taken (and said in the log, unless it
    /// can be had again).
    pub fn end(&self) {
        let unread: Vec<Lane> = {
            let mut lanes: Vec<_> = (0..self.lanes.len()).map(|at| self.lane(at)).collect();
            self.ended.store(true, Ordering::Release);
            let back = lanes.iter_mut().filter(|_| self.regains);
            back.map(|lane| std::mem::take(&mut **lane)).collect()
        };
        drop(unread);
        if self.regains {
            let piles = self.piles.iter().filter_map(OnceLock::get);
            piles
                .filter_map(Weak::upgrade)
                .for_each(|pile| pile.recall());
        }
        self.ring();
    }

    /// True once the source has ended, whether or not all it gave was put.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// True while a thread of the pool reads the source.
    pub fn is_reading(&self) -> bool {
        self.reading.load(Ordering::Acquire)
    }

    /// True once nothing more will come from here to the pile that has this share.
    pub(crate) fn is_done(&self, share: usize) -> bool {
        self.has_ended() && self.lane(share).books == 0
    }

    /// Moves what was read for it onto the pile as far as there is room, and sees that more is read. A source that does not wait is read there and then.
    pub(crate) fn fill(&self, share: usize, pile: &PileCore, missing: usize) {
        // The pile's own: a count of all who use the works would wander between the cores.
        let works = &pile.works;
        if pile.is_closed() || !self.is_open() {
            return;
        }
        let move_on = || {
            let mut lane = self.lane(share);
            let behind = lane.books >= BEHIND;
            empty_lane(&mut lane, works, pile);
            let caught_up = behind && lane.books < BEHIND;
            drop(lane);
            let hungry = !self.has_ended() && self.is_hungry(share);
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
        match self.read_here(share, missing, works) {
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
        (0..self.piles.len()).any(|share| self.is_hungry(share))
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
            (works.is_traced()).then(|| some.books().iter().map(|book| book.id).collect());
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

fn put(works: &Works, pile: &PileCore, books: Numbered) -> Result<(), Numbered> {
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
        if self.core.has_ended() || !self.core.is_open() || !self.core.wants_some() {
            return;
        }
        if !self.core.blocks || self.works.clock.is_simulated() {
            let read = self.core.read_locked();
            self.has_read(read, ctx);
            return;
        }
        self.reading = true;
        let core = self.core.clone();
        core.reading.store(true, Ordering::Release);
        let read = self.works.pool.wait_for(move || {
            let read = core.read_locked();
            core.reading.store(false, Ordering::Release);
            read
        });
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
