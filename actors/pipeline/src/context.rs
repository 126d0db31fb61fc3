//! Context shared by all actors of a topology.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, watch};

use crate::crew::cart::Cart;
use crate::custody::lease::Lease;
use crate::custody::{Custody, HolderId};
use crate::event::Event;
use crate::event_log::EventLog;
use crate::reasons::Reasons;
use crate::source::Receipts;
use crate::tap::{Passing, Taps};
use crate::trace::{Act, Record, Tracer};
use gopherworks_supervision::__private::{PerThread, die};
use gopherworks_supervision::clock::{Clock, Seed, Time};
use gopherworks_supervision::fault::{FaultAction, FaultEngine, Point};
use gopherworks_supervision::pool::Pool;

/// Context shared by all actors of a topology.
pub struct PipelineContext {
    /// The clock, real or simulated.
    pub clock: Clock,
    /// Seed of all random choices.
    pub seed: Seed,
    /// Thread pool for blocking work.
    pub pool: Arc<Pool>,
    /// Custody of the books of all piles.
    pub custody: Arc<Custody>,
    /// Receivers of notifications about burned books.
    pub receipts: Vec<Arc<dyn Receipts>>,
    tracer: Option<Arc<dyn Tracer>>,
    events: broadcast::Sender<Event>,
    /// The last events; empty in simulations.
    pub log: EventLog,
    /// Observers of the books that pass nodes.
    pub taps: Arc<Taps>,
    changed: watch::Sender<u64>,
    halting: OnceLock<Halt>,
    draining: AtomicBool,
    last_burn: PerThread<AtomicU64>,
    failures: Mutex<Vec<(String, u64)>>,
    /// Failure reasons of books and requests.
    pub reasons: Arc<Reasons>,
    faults: OnceLock<Arc<FaultEngine>>,
    closed: OnceLock<SinkClosed>,
    on_closed: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// Signals blocking work that the run is being stopped immediately. Clones share one signal.
#[derive(Debug, Clone, Default)]
pub struct Halt(Arc<AtomicBool>);

impl Halt {
    /// True once the run is being stopped: blocking work should return early, and its books are
    /// returned without charging an attempt.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Sends the signal.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A sink that will never accept a book again, which ends the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkClosed {
    /// The incinerator, or the crew whose work needs it.
    pub node: String,
    /// The reason the sink gave.
    pub reason: String,
}

impl std::fmt::Debug for PipelineContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PipelineContext").field("custody", &self.custody.ledger()).finish()
    }
}

/// Distinct failures kept, besides those of books and requests.
const MOST_FAILURES: usize = 100;

/// Events that a slow subscriber may lag behind before it misses some.
const EVENTS_KEPT: usize = 1024;

impl PipelineContext {
    /// Creates the context of a topology.
    pub fn new(
        clock: Clock,
        seed: Seed,
        pool: Pool,
        custody: Arc<Custody>,
        receipts: Vec<Arc<dyn Receipts>>,
        tracer: Option<Arc<dyn Tracer>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            tracer,
            clock,
            seed,
            pool: Arc::new(pool),
            custody,
            receipts,
            events: broadcast::channel(EVENTS_KEPT).0,
            log: EventLog::default(),
            taps: Arc::default(),
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

    /// Publishes an event to subscribers and the trace.
    pub fn tell(&self, event: Event) {
        self.record("", &Act::Event(&event));
        if !self.clock.is_simulated() {
            self.log.add(self.clock.now(), &event);
        }
        let _ = self.events.send(event);
    }

    /// Sets the faults to inject. Only the first call, before the start, has an effect.
    pub fn disturb(&self, faults: Arc<FaultEngine>) {
        let _ = self.faults.set(faults);
    }

    /// The faults to inject, if any.
    pub fn faults(&self) -> Option<&Arc<FaultEngine>> {
        self.faults.get()
    }

    /// Visits a fault injection point, with the item at hand if there is one. Returns the fault to
    /// carry out.
    ///
    /// # Panics
    /// If the fault is a panic.
    pub(crate) fn fault(&self, node: &str, point: Point, item: Option<u64>) -> Option<FaultAction> {
        match self.faults.get()?.visit(node, point, item)? {
            FaultAction::Panic(text) => die(text),
            action => Some(action),
        }
    }

    /// Like `fault`, for a message in transit, a wake-up or a settlement.
    pub(crate) fn message_fault(
        &self,
        node: &str,
        point: Point,
        sender: Option<&str>,
    ) -> Option<FaultAction> {
        self.faults.get()?.message(node, point, sender)
    }

    /// Sends a cart to `to` by `send`, subject to faults: immediately, late, or not at all. A lost
    /// cart returns to its crew, and its books to their pile.
    pub(crate) fn pass<T: Send + Sync + 'static>(
        &self,
        (node, point): (&str, Point),
        cart: Cart,
        to: &Arc<T>,
        send: fn(&T, Cart),
    ) {
        match self.message_fault(node, point, Some(cart.queue().name())) {
            None => send(to, cart),
            Some(FaultAction::Delay(by)) => {
                // The sender may hang in the meantime.
                cart.hand_to(HolderId::NONE);
                let (to, late) = (to.clone(), self.clock.sleep(by));
                actix_rt::spawn(async move {
                    late.await;
                    send(&to, cart);
                });
            }
            Some(_) => drop(cart),
        }
    }

    /// The receiver of trace records, if any.
    pub fn tracer(&self) -> Option<&Arc<dyn Tracer>> {
        self.tracer.as_ref()
    }

    /// True if a tracer is set: data that only a trace needs is computed only then.
    pub fn is_traced(&self) -> bool {
        self.tracer.is_some()
    }

    /// Shows a cart at `node` to its observers, if there are any.
    #[inline]
    pub(crate) fn show(&self, node: &str, cart: &Cart, passing: Passing) {
        if self.taps.is_open() {
            self.taps.show(node, cart, passing, self.clock.now());
        }
    }

    /// Records an action of `node` in the trace, if there is one.
    pub fn record(&self, node: &str, act: &Act<'_>) {
        if let Some(tracer) = &self.tracer {
            let at = self.clock.now();
            tracer.record(&Record { at, node, act });
        }
    }

    /// Subscribes to events from now on. A subscriber that lags more than 1,024 events misses the
    /// oldest, and gets their number.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Notifies that a condition for the end of the run may have changed.
    pub fn change(&self) {
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Subscribes to [`PipelineContext::change`].
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Stops the run: pooled work ends after the book at hand and returns its carts.
    pub fn halt(&self) {
        self.halting.get_or_init(Halt::default).ask();
    }

    /// Sets the signal by which work is notified of [`PipelineContext::halt`]. Only the first call,
    /// before the start, has an effect.
    pub fn halts_by(&self, halt: Halt) {
        let _ = self.halting.set(halt);
    }

    /// Starts a drain: books that their source can produce again, and that were never tried, are
    /// returned to it instead of being processed. Durable piles keep their books for the next run.
    pub fn drain(&self) {
        self.custody.keep();
        self.draining.store(true, Ordering::Release);
    }

    /// True once [`PipelineContext::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// True if the leased book at `index` should go back to its source, or to a pile that keeps it
    /// for the next run, instead of being started. A source gets no book with an earlier attempt,
    /// since it knows nothing of the attempt.
    pub(crate) fn takes_back(&self, lease: &Lease, index: usize) -> bool {
        self.is_draining()
            && (self.custody.keeps(lease.pile())
                || lease.note(index).is_untouched() && self.custody.recalls(lease.pile()))
    }

    /// True if all books of the lease are to go back to their source.
    pub(crate) fn takes_all_back(&self, lease: &Lease) -> bool {
        (0..lease.len()).all(|at| self.takes_back(lease, at))
    }

    /// True once [`PipelineContext::halt`] was called.
    pub fn is_halting(&self) -> bool {
        self.halting.get().is_some_and(Halt::is_asked)
    }

    /// Notes that books were burned at `now`.
    pub fn note_burn(&self, now: Time) {
        self.clock.made_progress();
        self.last_burn.mine().fetch_max(now.0, Ordering::Relaxed);
    }

    /// When the last book was burned; zero if none was.
    pub fn last_burn(&self) -> Time {
        let burns = self.last_burn.all().map(|at| at.load(Ordering::Relaxed));
        Time(burns.max().unwrap_or(0))
    }

    /// Records a permanent failure that no book caused: the run continues, and fails in the end.
    /// Each reason is logged once; repetitions are counted.
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

    /// Ends the run because the sink of `node` is closed. Only the first closed sink counts.
    pub(crate) fn shut(&self, node: &str, reason: &str) {
        let (node, reason) = (node.to_owned(), reason.to_owned());
        let closed = SinkClosed { node, reason };
        if self.closed.set(closed.clone()).is_err() {
            return;
        }
        let SinkClosed { node, reason } = closed;
        log::info!(node = &*node; "{node}: {reason}");
        self.tell(Event::SinkClosed { node, reason });
        if let Some(act) = self.on_closed.get() {
            act();
        }
        self.change();
    }

    /// Reports that the store fails and is tried again after `retry`; without that, ends the run.
    pub fn store_fails(&self, reason: &str, retry: Option<Duration>) {
        match retry {
            Some(_) => log::warn!("the store fails, and is tried again: {reason}"),
            None => self.fail(format!("the store: {reason}")),
        }
        self.tell(Event::StoreDown { reason: reason.to_owned(), retry });
        if retry.is_none() {
            self.shut("the store", reason);
        }
    }

    /// Reports that the store works again after it failed for this time.
    pub fn store_works(&self, after: Duration) {
        log::warn!("the store works again after {after:.1?}");
        self.tell(Event::StoreUp { after });
    }

    /// Reports books whose leases in a shared store were lost.
    pub fn leases_lost(&self, books: usize) {
        log::warn!("the leases of {books} books were lost; other processes may work on them");
        self.tell(Event::LeasesLost { books });
    }

    /// The closed sink that ended the run, if any.
    pub fn closed_sink(&self) -> Option<&SinkClosed> {
        self.closed.get()
    }

    /// Sets the callback for a closed sink, called on any thread. Only the first call, before the
    /// start, has an effect.
    pub fn on_closed_sink(&self, act: impl Fn() + Send + Sync + 'static) {
        let _ = self.on_closed.set(Box::new(act));
    }

    /// Permanent failures so far.
    pub fn failures(&self) -> Vec<String> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let told = failures.iter().map(|(reason, times)| match times {
            1 => reason.clone(),
            times => format!("{reason} ({times} times)"),
        });
        told.collect()
    }
}
