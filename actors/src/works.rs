//! What all actors of one topology share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, watch};

use crate::cart::Cart;
use crate::clock::{Clock, Seed, Time};
use crate::event::Event;
use crate::fault::{Deed, Faults, Point};
use crate::lease::Lease;
use crate::pool::{Pool, die};
use crate::reasons::Reasons;
use crate::source::Receipts;
use crate::store::Store;
use crate::threads::PerThread;
use crate::trace::{Act, Record, Tracer};

/// Counters of one node, kept outside its actor so that they outlive it.
#[derive(Debug, Default)]
pub struct NodeStats {
    books: AtomicU64,
    carts: AtomicU64,
    busy: AtomicU64,
    waits: AtomicU64,
}

impl NodeStats {
    /// Carts with `books` in all passed.
    pub fn carts_with(&self, carts: usize, books: usize) {
        self.books.fetch_add(books as u64, Ordering::Relaxed);
        self.carts.fetch_add(carts as u64, Ordering::Relaxed);
    }

    /// The node was at work for `span`.
    pub fn busy_for(&self, span: Duration) {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        self.busy.fetch_add(nanos, Ordering::Relaxed);
    }

    /// A cart had to wait here.
    pub fn waited(&self) {
        self.waits.fetch_add(1, Ordering::Relaxed);
    }

    /// Books that passed.
    pub fn books(&self) -> u64 {
        self.books.load(Ordering::Relaxed)
    }

    /// Carts that passed.
    pub fn carts(&self) -> u64 {
        self.carts.load(Ordering::Relaxed)
    }

    /// Time spent in steps, work and burns.
    pub fn busy(&self) -> Duration {
        Duration::from_nanos(self.busy.load(Ordering::Relaxed))
    }

    /// Carts that had to wait for books, room or a restart.
    pub fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }
}

/// What all actors of one topology share.
pub struct Works {
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub seed: Seed,
    /// Blocking work.
    pub pool: Arc<Pool>,
    /// The books.
    pub store: Arc<dyn Store>,
    /// Who wants to know what was burned.
    pub receipts: Vec<Arc<dyn Receipts>>,
    tracer: Option<Arc<dyn Tracer>>,
    events: broadcast::Sender<Event>,
    changed: watch::Sender<u64>,
    halting: OnceLock<Halt>,
    draining: AtomicBool,
    last_burn: PerThread<AtomicU64>,
    failures: Mutex<Vec<(String, u64)>>,
    /// Why books and requests failed.
    pub reasons: Arc<Reasons>,
    faults: OnceLock<Arc<Faults>>,
    closed: OnceLock<SinkClosed>,
    on_closed: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// Tells work that may wait for long that the run is being stopped at once. Clones tell the same.
#[derive(Debug, Clone, Default)]
pub struct Halt(Arc<AtomicBool>);

impl Halt {
    /// True once the run is being stopped at once: what waits should give up, its books go back uncharged.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Asks for it.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The sink that can't take a book again, and ends the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkClosed {
    /// The incinerator, or the crew whose work it is.
    pub node: String,
    /// Why.
    pub reason: String,
}

impl std::fmt::Debug for Works {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Works")
            .field("store", &self.store.ledger())
            .finish()
    }
}

/// Failures besides those of books and requests that are told apart.
const MOST_FAILURES: usize = 100;

/// Events that a slow listener may be behind before it misses some.
const EVENTS_KEPT: usize = 1024;

impl Works {
    /// Works over `store`.
    pub fn new(
        clock: Clock,
        seed: Seed,
        pool: Pool,
        store: Arc<dyn Store>,
        receipts: Vec<Arc<dyn Receipts>>,
        tracer: Option<Arc<dyn Tracer>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            tracer,
            clock,
            seed,
            pool: Arc::new(pool),
            store,
            receipts,
            events: broadcast::channel(EVENTS_KEPT).0,
            changed: watch::channel(0).0,
            halting: OnceLock::new(),
            draining: AtomicBool::new(false),
            last_burn: PerThread::default(),
            failures: Mutex::default(),
            reasons: Arc::default(),
            faults: OnceLock::new(),
            closed: OnceLock::new(),
            on_closed: OnceLock::new(),
        })
    }

    /// Tells whoever listens; nobody has to.
    pub fn tell(&self, event: Event) {
        self.record("", &Act::Event(&event));
        let _ = self.events.send(event);
    }

    /// Disturbs them from here on. Once, before the start.
    pub fn disturb(&self, faults: Arc<Faults>) {
        let _ = self.faults.set(faults);
    }

    /// The faults, if there are any.
    pub fn faults(&self) -> Option<&Arc<Faults>> {
        self.faults.get()
    }

    /// An actor is at a point of its work, with an item if it has one in hand: what it has to do about a fault.
    ///
    /// # Panics
    /// If that is the fault.
    pub(crate) fn fault(&self, node: &str, point: Point, item: Option<u64>) -> Option<Deed> {
        match self.faults.get()?.visit(node, point, item)? {
            Deed::Panic(text) => die(text),
            deed => Some(deed),
        }
    }

    /// The same of a message on its way, a wake-up or a settlement.
    pub(crate) fn message_fault(
        &self,
        node: &str,
        point: Point,
        sender: Option<&str>,
    ) -> Option<Deed> {
        self.faults.get()?.message(node, point, sender)
    }

    /// Sends a cart to `to` by `send`, as the faults of its way allow: at once, late, or not at all; then it goes home, and its books with it.
    pub(crate) fn pass<T: Send + Sync + 'static>(
        &self,
        (node, point): (&str, Point),
        cart: Cart,
        to: &Arc<T>,
        send: fn(&T, Cart),
    ) {
        match self.message_fault(node, point, Some(cart.yard().name())) {
            None => send(to, cart),
            Some(Deed::Delay(by)) => {
                // Whoever sent it may hang meanwhile.
                cart.hand_to(0);
                let (to, late) = (to.clone(), self.clock.sleep(by));
                actix_rt::spawn(async move {
                    late.await;
                    send(&to, cart);
                });
            }
            Some(_) => drop(cart),
        }
    }

    /// Who keeps the trace, if somebody does.
    pub fn tracer(&self) -> Option<&Arc<dyn Tracer>> {
        self.tracer.as_ref()
    }

    /// True if somebody keeps a trace: what only a trace needs is made only then.
    pub fn is_traced(&self) -> bool {
        self.tracer.is_some()
    }

    /// Tells the trace, if there is one, what `node` has just done.
    pub fn record(&self, node: &str, act: &Act<'_>) {
        if let Some(tracer) = &self.tracer {
            let at = self.clock.now();
            tracer.record(&Record { at, node, act });
        }
    }

    /// Listens from now on. A listener that is more than 1,024 events behind misses the oldest, and is told how many.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Something changed that may end the run.
    pub fn change(&self) {
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Hears of such changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// From now on pooled work stops after the book at hand and lets its carts go home.
    pub fn halt(&self) {
        self.halting.get_or_init(Halt::default).ask();
    }

    /// Says by what work hears of [`Works::halt`]. Once, before the start.
    pub fn halts_by(&self, halt: Halt) {
        let _ = self.halting.set(halt);
    }

    /// From now on carts whose books can be given again by their source are worked off no further
    /// than the book at hand.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// True if the leased book at `index` is to go back to its source instead of being begun. One
    /// that was begun or charged before is worked off: its source knows nothing of that.
    pub(crate) fn takes_back(&self, lease: &Lease, index: usize) -> bool {
        self.draining.load(Ordering::Acquire)
            && lease.note(index).is_untouched()
            && self.store.recalls(lease.pile())
    }

    /// True once [`Works::halt`] was called.
    pub fn is_halting(&self) -> bool {
        self.halting.get().is_some_and(Halt::is_asked)
    }

    /// Books were burned at `now`.
    pub fn note_burn(&self, now: Time) {
        self.clock.made_progress();
        self.last_burn.mine().fetch_max(now.0, Ordering::Relaxed);
    }

    /// When the last book was burned.
    pub fn last_burn(&self) -> Time {
        let burns = self.last_burn.all().map(|at| at.load(Ordering::Relaxed));
        Time(burns.max().unwrap_or(0))
    }

    /// Something that is no book's fault went wrong for good: the run goes on, and fails in the end. What is said again is counted, and not logged again.
    pub fn fail(&self, reason: impl Into<String>) {
        let reason = reason.into();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let known = failures.iter().position(|(said, _)| *said == reason);
        match known.or((failures.len() > MOST_FAILURES).then_some(MOST_FAILURES)) {
            Some(at) => failures[at].1 += 1,
            None if failures.len() == MOST_FAILURES => {
                failures.push(("other failures".to_owned(), 1));
            }
            None => {
                log::error!("{reason}");
                failures.push((reason, 1));
            }
        }
        drop(failures);
        self.change();
    }

    /// The sink of `node` can't take a book again: the run is to end. The first sink that says so is the one that counts.
    pub(crate) fn shut(&self, node: &str, reason: &str) {
        let (node, reason) = (node.to_owned(), reason.to_owned());
        let closed = SinkClosed { node, reason };
        if self.closed.set(closed.clone()).is_err() {
            return;
        }
        let SinkClosed { node, reason } = closed;
        log::info!("{node}: {reason}");
        self.tell(Event::SinkClosed { node, reason });
        if let Some(act) = self.on_closed.get() {
            act();
        }
        self.change();
    }

    /// The sink that ends the run, if there is one.
    pub fn closed_sink(&self) -> Option<&SinkClosed> {
        self.closed.get()
    }

    /// Says what to do when a sink ends the run; called on any thread. Once, before the start.
    pub fn on_closed_sink(&self, act: impl Fn() + Send + Sync + 'static) {
        let _ = self.on_closed.set(Box::new(act));
    }

    /// What went wrong for good so far.
    pub fn failures(&self) -> Vec<String> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let told = failures.iter().map(|(reason, times)| match times {
            1 => reason.clone(),
            times => format!("{reason} ({times} times)"),
        });
        told.collect()
    }
}
