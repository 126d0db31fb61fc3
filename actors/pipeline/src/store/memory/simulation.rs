//! Time and faults of a simulated store.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use crate::book::BookId;
use crate::store::{Act, Arrival, Arrived, Commit, Committed, Receipt, StoreError};
use crate::trace::{self, Record, Tracer};
use gopherworks_supervision::clock::{Clock, Seed, Time};
use gopherworks_supervision::fault::{FaultAction, FaultEngine, Point};

/// The store's name as a target of faults and in traces.
pub const STORE: &str = "store";

/// Shortest and longest time of a call that is synced to a disk, and of one that is not.
const SYNCED: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(4));
const READ: (Duration, Duration) = (Duration::from_micros(50), Duration::from_micros(500));

/// Time and faults of a simulated store: each call takes a time that is drawn from the seed, and
/// takes effect at a drawn moment of it.
pub struct Simulation {
    clock: Clock,
    draws: Mutex<ChaCha8Rng>,
    faults: Option<Arc<FaultEngine>>,
    tracer: Option<Arc<dyn Tracer>>,
}

/// A call under way.
pub(super) struct Call {
    pub(super) takes_effect: bool,
    pub(super) is_synced: bool,
    /// The share of a commit that is written before a crash, if it is torn.
    pub(super) torn: Option<f64>,
    pub(super) redelivers: bool,
    pub(super) loses_leases: bool,
    is_answered: bool,
    crash: Option<Duration>,
    rest: Duration,
}

impl Simulation {
    /// A simulation with the time of `clock`, and the faults of the node [`STORE`].
    pub fn new(clock: Clock, seed: Seed, faults: Option<Arc<FaultEngine>>) -> Self {
        let draws = Mutex::new(seed.stream(STORE, "times"));
        Self { clock, draws, faults, tracer: None }
    }

    /// Records commits when they are answered.
    #[must_use]
    pub fn traced(self, tracer: Option<Arc<dyn Tracer>>) -> Self {
        Self { tracer, ..self }
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.now() - Time::ZERO
    }

    pub(super) fn is_full(&self) -> bool {
        self.faults.as_ref().is_some_and(|faults| faults.is_full(STORE))
    }

    /// Waits until the call takes effect.
    ///
    /// # Errors A fault prevents the effect.
    pub(super) async fn begin(&self, point: Option<Point>) -> Result<Call, StoreError> {
        let (least, most) = if point == Some(Point::Commit) { SYNCED } else { READ };
        let action = (self.faults.as_ref().zip(point))
            .and_then(|(faults, point)| faults.visit(STORE, point, None));
        let (span, until) = {
            let mut draws = self.draws.lock().unwrap_or_else(PoisonError::into_inner);
            let span = least + (most - least).mul_f64(draws.random::<f64>());
            (span, draws.random::<f64>())
        };
        let mut call = Call {
            takes_effect: true,
            is_synced: true,
            torn: None,
            redelivers: false,
            loses_leases: false,
            is_answered: true,
            crash: None,
            rest: span.mul_f64(1.0 - until),
        };
        let mut before = span.mul_f64(until);
        let mut failed = None;
        match action {
            Some(FaultAction::Slow(by)) => before += by,
            Some(FaultAction::LoseAnswer { stored }) => {
                (call.takes_effect, call.is_answered) = (stored, false);
            }
            Some(FaultAction::Crash { span, stored }) => {
                (call.takes_effect, call.crash) = (stored, Some(span));
            }
            Some(FaultAction::SkipSync) => call.is_synced = false,
            Some(FaultAction::Tear { span }) => {
                (call.takes_effect, call.torn, call.crash) = (false, Some(until), Some(span));
            }
            Some(FaultAction::Redeliver) => call.redelivers = true,
            Some(FaultAction::LoseLeases) => call.loses_leases = true,
            Some(FaultAction::Error(failure)) => {
                failed = Some(match failure.is_permanent() {
                    true => StoreError::Other(failure.reason().into()),
                    false => StoreError::unavailable(failure.reason(), Duration::ZERO),
                });
            }
            _ => {}
        }
        self.clock.sleep(before).await;
        let is_away = self.faults.as_ref().is_some_and(|faults| faults.is_unavailable(STORE));
        match failed {
            Some(error) => Err(error),
            None if is_away => Err(StoreError::unavailable("a fault", Duration::ZERO)),
            None => Ok(call),
        }
    }

    /// Waits until the call is answered.
    ///
    /// # Errors A fault loses the answer.
    pub(super) async fn end(&self, call: Call) -> Result<(), StoreError> {
        if let (Some(span), Some(faults)) = (call.crash, &self.faults) {
            faults.crash(span);
            return std::future::pending().await;
        }
        self.clock.sleep(call.rest).await;
        match call.is_answered {
            true => Ok(()),
            false => Err(StoreError::Unknown("a fault".into())),
        }
    }

    /// Records the books that an answer confirms as stored or ended.
    pub(super) fn trace(&self, commit: &Commit, done: &Committed) {
        let Some(tracer) = &self.tracer else {
            return;
        };
        let mut stored: Vec<BookId> = Vec::new();
        for (arrival, arrived) in commit.arrivals.iter().zip(&done.arrivals) {
            if let (Arrival::Append(books), Arrived::Appended(Ok(_))) = (arrival, arrived) {
                stored.extend(books.books.iter().map(|new| new.book.id));
            }
        }
        let mut ended: Vec<BookId> = Vec::new();
        for ((receipt, act), result) in commit.acts.iter().zip(&done.acts) {
            // In an exclusive store a book that is gone has ended before.
            let is_over = match result {
                Ok(()) => !matches!(act, Act::Return { .. }),
                Err(error) => matches!(error, StoreError::Gone) && receipt.id().is_some(),
            };
            ended.extend(book_of(receipt).filter(|_| is_over));
        }
        let act = trace::Act::Store { stored: &stored, ended: &ended };
        tracer.record(&Record { at: self.clock.now(), node: STORE, act: &act });
    }
}

/// The book of a receipt: its last eight bytes.
fn book_of(receipt: &Receipt) -> Option<BookId> {
    receipt.0.last_chunk::<8>().map(|id| BookId(u64::from_be_bytes(*id)))
}
