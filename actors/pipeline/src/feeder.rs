//! The feeder actor, which reads a pile's source. Books it has read are stored outside of it, so
//! its death loses none.

mod hold;
mod marks;
mod outbox;
mod owned;
mod position;
mod putting;
mod reading;
mod resume;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};

use crate::context::PipelineContext;
use crate::custody::PileKey;
use crate::source::Source;
use crate::store::Checkpoint;
use gopherworks_supervision::__private::{CachePadded, die, guarded};
use gopherworks_supervision::failure::Failure;
use gopherworks_supervision::{Guarded, Port};

use outbox::{Numbers, Outbox, Rows};
use owned::Claim;
pub use owned::MakeSource;
use resume::Prepared;

/// Maximum number of books read at once.
const BATCH: usize = 1024;

/// Maximum number of bytes in memory read at once, if the next books are as large as the last one.
const BATCH_BYTES: u64 = 8 << 20;

/// Maximum number of books that may accumulate for one copy of a pile while another has none.
const BEHIND: usize = 4 * BATCH;

/// Attempts to lock a source that another thread reads, before giving up: about as long as reading
/// takes.
const LOOKS: usize = 20_000;

/// Smallest run, in books: with small carts, a call of the source per cart would cost more than it
/// saves.
const LEAST_RUN: usize = 64;

/// Pause after a source had nothing to give.
const REST: Duration = Duration::from_millis(10);

/// Wake-up: the pile has space. It may be lost, since every incarnation reads when it starts.
#[derive(Debug, Clone, Copy)]
pub struct More;

impl Message for More {
    type Result = ();
}

/// Reading failed outside the actor.
#[derive(Debug)]
struct Failed(Failure);

impl Message for Failed {
    type Result = ();
}

/// A pile as its feeder sees it.
pub(crate) trait Fed: Send + Sync {
    fn name(&self) -> &str;
    fn key(&self) -> PileKey;
    fn context(&self) -> &Arc<PipelineContext>;
    /// No further books are needed.
    fn is_closed(&self) -> bool;
    /// A cart waits for books.
    fn has_takers(&self) -> bool;
    /// Wakes the pile, so that it takes books.
    fn ring(&self);
    /// Returns books not yet leased to the source.
    fn recall(&self);
}

/// State of a feeder that outlives its actor.
pub struct FeederCore {
    /// The feeder's name.
    pub name: String,
    /// Sends to the feeder's current actor.
    pub port: Port<Feeder>,
    /// One reader that deals to all piles, or one for each pile.
    readers: Vec<CachePadded<Mutex<Reader>>>,
    /// Ids of books, if each pile has its own reader.
    rows: Mutex<Rows>,
    /// By reader: the source has ended.
    over: Vec<AtomicBool>,
    blocks: bool,
    /// True if the source can produce books again that were returned.
    regains: bool,
    /// True if positions of the source are stored with its books.
    keeps_place: bool,
    /// True if marks of the source's books are stored with them.
    keeps_marks: bool,
    /// True if an earlier run has read some of it.
    resumed: bool,
    /// True if a book was put that no earlier run has read.
    has_news: AtomicBool,
    total: Option<u64>,
    /// Books requested at once for each pile, of a source that does not block.
    run: OnceLock<usize>,
    /// By pile: books read but not yet put. Several locks are taken in order.
    outboxes: Vec<CachePadded<Mutex<Outbox>>>,
    piles: Vec<OnceLock<Weak<dyn Fed>>>,
    /// Set if other processes could read the source too; one of them owns it at a time.
    claim: Option<Claim>,
    /// Set once all actors have started. Reading earlier would keep threads busy and delay the
    /// start of the remaining actors.
    open: AtomicBool,
    ended: AtomicBool,
    /// True while an operator pauses the source.
    held: AtomicBool,
    /// True if a `More` is pending: copies that share the feeder would otherwise multiply requests.
    asked: AtomicBool,
    /// True if a pool thread reads the source.
    reading: AtomicBool,
    /// Reading failed outside the actor, which has not yet handled it.
    failed: AtomicBool,
    context: OnceLock<Weak<PipelineContext>>,
}

impl std::fmt::Debug for FeederCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FeederCore").field("name", &self.name).field("ended", &self.ended).finish()
    }
}

/// A source, or one copy's part of it.
struct Reader {
    source: Option<Guarded<Box<dyn Source>>>,
    /// The outbox of the next book, if one reader deals to all.
    next: usize,
    /// Number of books read, those of earlier runs included, if positions are stored.
    read: u64,
    /// Ids reserved for books to come, if each pile has its own reader.
    numbers: Numbers,
    /// Bytes in memory of the last book read.
    last: u64,
}

impl Reader {
    /// A reader that has given `read` books to the piles.
    fn at(source: Box<dyn Source>, read: u64, piles: usize, reads: bool) -> Self {
        let source = Guarded::new(source);
        let next = (read % piles as u64) as usize;
        Self { source: reads.then_some(source), next, read, numbers: Numbers::default(), last: 0 }
    }

    /// Maximum number of books to read at once.
    fn most(&self) -> usize {
        let fit = BATCH_BYTES.checked_div(self.last).unwrap_or(u64::MAX);
        fit.clamp(1, BATCH as u64) as usize
    }
}

/// Outcome of reading on the caller's thread.
enum InlineRead {
    /// Books were read.
    Came,
    /// None now, or the source has ended.
    Nothing,
    /// Another thread reads, or the actor has to handle a failure.
    Busy,
}

impl FeederCore {
    /// Creates a feeder that deals the books of `source` to `piles` (>= 1) piles in turn. If those
    /// are durable, `stored` has the positions in the store: the source goes on there.
    ///
    /// With `make`, other processes could read the source too. This one reads what `make` gives,
    /// once it has called [`FeederCore::take_over`]; `source` only shows what it is like.
    ///
    /// # Errors
    /// The source can't go on there, or another process could not go on where this one ends.
    pub fn new(
        name: impl Into<String>,
        source: Box<dyn Source>,
        piles: usize,
        stored: Option<&[Checkpoint]>,
        make: Option<MakeSource>,
    ) -> Result<Arc<Self>, Failure> {
        let name = name.into();
        let piles = piles.max(1);
        let blocks = source.blocks();
        let regains = guarded(|| source.regains()).unwrap_or(false);
        let Prepared { keeps_place, keeps_marks, resumed, sources, starts } =
            Prepared::of(&name, source, piles, stored)?;
        if make.is_some() && !keeps_place && !keeps_marks {
            return Err(Failure::permanent(
                "its store is shared, and another process could not go on where this one ends; \
                 give its pile `store = \"memory\"`, and have a crew bring the books to a dump",
            ));
        }
        let shared = make.is_some();
        let totals = sources.iter().map(|source| source.total());
        let total = if shared { None } else { totals.sum() };
        let readers: Vec<_> = sources
            .into_iter()
            .zip(starts.readers)
            .map(|(source, read)| {
                CachePadded::new(Mutex::new(Reader::at(source, read, piles, !shared)))
            })
            .collect();
        let outboxes = starts.shares.into_iter().map(|progress| {
            let progress = progress.filter(|_| keeps_place).map(Box::new);
            CachePadded::new(Mutex::new(Outbox::new(progress, 0)))
        });
        Ok(Arc::new(Self {
            name,
            port: Port::new(),
            blocks,
            regains,
            keeps_place,
            keeps_marks,
            resumed,
            has_news: AtomicBool::new(false),
            total,
            run: OnceLock::new(),
            rows: Mutex::new(Rows::new(readers.len())),
            over: readers.iter().map(|_| AtomicBool::new(false)).collect(),
            readers,
            outboxes: outboxes.collect(),
            piles: (0..piles).map(|_| OnceLock::new()).collect(),
            claim: make.map(Claim::new),
            open: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            held: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            reading: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            context: OnceLock::new(),
        }))
    }

    /// True if each pile has its own reader.
    fn is_split(&self) -> bool {
        self.readers.len() > 1
    }

    fn reader_of(&self, share: usize) -> usize {
        if self.is_split() { share } else { 0 }
    }

    /// True if this share lacks books and reading is allowed.
    fn is_hungry(&self, share: usize) -> bool {
        if self.is_split() {
            return !self.over[share].load(Ordering::Acquire) && self.outbox(share).books == 0;
        }
        // Bounds the books that a slow copy leaves lying.
        let mut any_empty = false;
        let mut outboxes = 0..self.outboxes.len();
        outboxes.all(|outbox| {
            let books = self.outbox(outbox).books;
            any_empty |= books == 0;
            books < BEHIND
        }) && any_empty
    }

    /// Sets how many books are leased at once: books read in runs of that many need not be moved
    /// one by one. Only the first call, before the start, has an effect.
    pub fn loads(&self, books: usize) {
        let _ = self.run.set(books.clamp(LEAST_RUN, BATCH));
    }

    /// Connects it to the pipeline's context, once that exists.
    pub fn belongs_to(&self, context: &Arc<PipelineContext>) {
        let _ = self.context.set(Arc::downgrade(context));
    }

    pub(crate) fn feeds(&self, share: usize, pile: Weak<dyn Fed>) {
        let _ = self.piles[share].set(pile);
    }

    /// Starts reading. To be called when all actors have started.
    pub fn open(&self) {
        if !self.open.swap(true, Ordering::AcqRel) {
            self.ring();
            self.ask();
        }
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire) && self.is_owned()
    }

    fn ring(&self) {
        let piles = self.piles.iter().filter_map(OnceLock::get);
        for pile in piles.filter_map(Weak::upgrade) {
            pile.ring();
        }
    }

    fn outbox(&self, share: usize) -> MutexGuard<'_, Outbox> {
        let outbox = &self.outboxes[share];
        outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Total number of books of the source, if known.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// Stops reading. Books already read go back to a source that can produce them again;
    /// otherwise they are still put. Books of a read in progress are discarded, with a warning
    /// unless the source can produce them again.
    pub fn end(&self) {
        let unread: Vec<Outbox> = {
            let mut outboxes: Vec<_> = (0..self.outboxes.len()).map(|at| self.outbox(at)).collect();
            self.ended.store(true, Ordering::Release);
            self.claim.iter().for_each(Claim::close);
            let back = outboxes.iter_mut().filter(|_| self.regains || self.keeps_place);
            back.map(|outbox| std::mem::take(&mut **outbox)).collect()
        };
        drop(unread);
        if self.regains {
            let piles = self.piles.iter().filter_map(OnceLock::get);
            piles.filter_map(Weak::upgrade).for_each(|pile| pile.recall());
        }
        self.ring();
    }

    /// True once the source has ended, whether or not all its books were put.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// True if it has ended by itself, and earlier runs had read all of it.
    pub fn was_read_before(&self) -> bool {
        let ended = self.over.iter().all(|over| over.load(Ordering::Acquire));
        self.resumed && ended && !self.has_news.load(Ordering::Acquire)
    }

    /// True while a pool thread reads the source.
    pub fn is_reading(&self) -> bool {
        self.reading.load(Ordering::Acquire)
    }

    /// True once no further books will come from here to the pile with this share.
    pub(crate) fn is_done(&self, share: usize) -> bool {
        self.has_ended()
            && self.outbox(share).books == 0
            && self.claim.as_ref().is_none_or(Claim::is_released)
    }

    /// Moves books that were read onto the pile as far as there is space, then reads more: on the
    /// caller's thread if the source does not block, otherwise on the pool.
    pub(crate) fn fill(&self, share: usize, pile: &dyn Fed, missing: usize) {
        // The pile's own reference: the counter of a shared one would move between cores.
        let context = pile.context();
        if pile.is_closed() || !self.is_open() {
            return;
        }
        let move_on = || {
            let mut outbox = self.outbox(share);
            let behind = outbox.books >= BEHIND;
            self.empty_outbox(&mut outbox, share, pile);
            let caught_up = behind && outbox.books < BEHIND;
            drop(outbox);
            let hungry = !self.has_ended() && self.is_hungry(share);
            if caught_up {
                // Others may have waited for this copy, and may read on.
                self.ring_waiting();
            }
            hungry
        };
        if !move_on() || self.is_held() {
            return;
        }
        if self.blocks || context.faults().is_some() {
            return self.ask();
        }
        match self.read_here(share, missing, context) {
            InlineRead::Came => {
                move_on();
            }
            InlineRead::Nothing => self.ask(),
            // The thread that reads wakes waiting piles.
            InlineRead::Busy => {}
        }
    }

    /// True if some share lacks books and reading is allowed.
    fn wants_some(&self) -> bool {
        (0..self.piles.len()).any(|share| self.is_hungry(share))
    }

    fn ask(&self) {
        if !self.has_ended()
            && !self.asked.swap(true, Ordering::AcqRel)
            && self.port.send(More).is_err()
        {
            // The next incarnation reads when it starts.
            self.asked.store(false, Ordering::Release);
        }
    }
}

/// The actor that reads a source.
#[derive(Debug)]
pub struct Feeder {
    core: Arc<FeederCore>,
    context: Arc<PipelineContext>,
    reading: bool,
}

impl Feeder {
    /// Creates the actor over `core`.
    pub fn new(core: Arc<FeederCore>, context: Arc<PipelineContext>) -> Self {
        Self { core, context, reading: false }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        self.core.failed.store(false, Ordering::Release);
        self.core.asked.store(false, Ordering::Release);
        if self.reading {
            return;
        }
        // Books read in an earlier incarnation, which may not have reported them.
        self.core.ring();
        let rests = !self.core.is_open() || self.core.is_held();
        if rests || self.core.has_ended() || !self.core.wants_some() {
            return;
        }
        if !self.core.blocks || self.context.clock.is_simulated() {
            let read = self.core.read_locked();
            self.has_read(read, ctx);
            return;
        }
        self.reading = true;
        let core = self.core.clone();
        core.reading.store(true, Ordering::Release);
        let read = self.context.pool.wait_for(move || {
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
                // The source has nothing now. A source that waits should block in `next`, so this
                // is a pause, not polling.
                self.reading = true;
                let rest = self.context.clock.sleep(REST);
                ctx.spawn(rest.into_actor(self).map(|(), feeder, ctx| {
                    feeder.reading = false;
                    feeder.look(ctx);
                }));
                return;
            }
            Ok(_) => {}
            // The supervisor's backoff is the delay before the retry, its restart limit the limit.
            Err(failure) => die(format!("{}: {failure}", self.core.name)),
        }
        self.core.ring();
    }
}

impl Actor for Feeder {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // Once the port is bound, so that no `More` is lost.
        ctx.spawn(
            tokio::task::yield_now().into_actor(self).map(|(), feeder, ctx| feeder.look(ctx)),
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
