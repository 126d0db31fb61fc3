//! The pause of a node whose sink is unavailable: when the sink is probed again, and what is
//! logged; and the pause that an operator orders.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use tokio::sync::Notify;

use crate::context::PipelineContext;
use crate::event::Event;
use gopherworks_supervision::clock::{Clock, Sleep, Time};
use gopherworks_supervision::failure::{Failure, FailureKind};

/// Length of the first pause; each further one is twice as long.
const SHORTEST: Duration = Duration::from_millis(100);

/// Upper limit of a pause.
const LONGEST: Duration = Duration::from_secs(30);

/// Largest share randomly taken off a pause, so that nodes with one sink do not probe it
/// simultaneously.
const JITTER: f64 = 0.25;

/// Shortest time between two messages with one reason about a sink that fails and recovers
/// repeatedly.
const QUIET: Duration = Duration::from_secs(10);

/// Consecutive failures after which a simulation declares a sink closed: the outside does not
/// change in simulated time.
const SIMULATED_TRIES: u32 = 32;

/// Bit of [`Pause::on`]: the sink is unavailable.
const SINK: u8 = 1;

/// Bit of [`Pause::on`]: an operator has paused the node.
const HELD: u8 = 2;

/// The pause of one node.
#[derive(Debug)]
pub(crate) struct Pause {
    /// Kind of the node in messages, such as `incinerator`.
    what: &'static str,
    name: String,
    /// Written under the lock of `state`.
    on: AtomicU8,
    /// Counts changes of the pause: outcomes of work begun in an earlier round are ignored.
    /// Written under the lock of `state`.
    round: AtomicU64,
    state: Mutex<PauseState>,
    /// Wakes what sleeps through the pause.
    hurried: Notify,
}

#[derive(Debug, Default)]
struct PauseState {
    /// Consecutive failures.
    tries: u32,
    until: Time,
    since: Time,
    /// Epoch of the incarnation that is probing the sink with one load.
    trying: Option<u64>,
    /// True if the sink will never be available again.
    closed: bool,
    reason: String,
    /// Time and reason of the last message.
    last: Option<(Time, String)>,
    /// True if this pause was logged.
    logged: bool,
    chance: Option<ChaCha8Rng>,
}

/// Whether a node may proceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PauseGate {
    /// One load may be tried, in this round.
    Try(u64),
    /// Paused: the next probe is due at this time.
    Wait(Time),
    /// Not before the probe in progress has ended or the operator resumes the node, or never if the
    /// sink is closed.
    Shut,
}

impl Pause {
    /// Not paused. `what` is the kind of node: `incinerator` or `crew`.
    pub(crate) fn new(what: &'static str, name: &str) -> Self {
        Self {
            what,
            name: name.to_owned(),
            on: AtomicU8::new(0),
            round: AtomicU64::new(0),
            state: Mutex::default(),
            hurried: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, PauseState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire) != 0
    }

    fn is(&self, why: u8) -> bool {
        self.on.load(Ordering::Acquire) & why != 0
    }

    /// True while an operator pauses the node.
    pub(crate) fn is_held(&self) -> bool {
        self.is(HELD)
    }

    /// Begins or ends the pause by an operator; false if nothing changes. Work that was queued and
    /// has not begun is not current afterwards.
    pub(crate) fn hold(&self, held: bool) -> bool {
        let mut state = self.lock();
        if self.is_held() == held {
            return false;
        }
        self.round.fetch_add(1, Ordering::AcqRel);
        state.trying = None;
        match held {
            true => self.on.fetch_or(HELD, Ordering::AcqRel),
            false => self.on.fetch_and(!HELD, Ordering::AcqRel),
        };
        true
    }

    /// The current round, to be kept with the work that is begun.
    pub(crate) fn round(&self) -> u64 {
        self.round.load(Ordering::Acquire)
    }

    /// True if work that was queued in `round` may still start.
    pub(crate) fn is_current(&self, round: u64) -> bool {
        !self.is_on() || self.round() == round
    }

    /// Whether the node may try a load now. With the epoch `life`, only one load at a time probes
    /// the sink.
    pub(crate) fn gate(&self, now: Time, life: Option<u64>) -> PauseGate {
        // The common case, without a lock.
        if !self.is_on() {
            return PauseGate::Try(self.round());
        }
        let mut state = self.lock();
        if !self.is_on() {
            return PauseGate::Try(self.round());
        }
        if self.is_held() || state.closed || (life.is_some() && state.trying == life) {
            return PauseGate::Shut;
        }
        if now < state.until {
            return PauseGate::Wait(state.until);
        }
        state.trying = life;
        PauseGate::Try(self.round())
    }

    /// The probe of `round` had nothing to try.
    pub(crate) fn untried(&self, round: u64) {
        if self.is_on() {
            let mut state = self.lock();
            if self.round() == round {
                state.trying = None;
            }
        }
    }

    /// Makes the next probe due immediately.
    pub(crate) fn hurry(&self) {
        self.lock().until = Time::ZERO;
        self.hurried.notify_waiters();
    }

    /// Waits until `due`, or until [`Pause::hurry`] makes the next try due.
    pub(crate) async fn over(&self, due: Sleep, clock: &Clock) {
        // Listens before it looks, so that no hurry passes unseen.
        let hurried = self.hurried.notified();
        if matches!(self.gate(clock.now(), None), PauseGate::Wait(_)) {
            tokio::select! {
                biased;
                () = hurried => {}
                () = due => {}
            }
        }
    }

    /// Why the sink is unavailable, if it is.
    pub(crate) fn reason(&self) -> Option<String> {
        self.is(SINK).then(|| self.lock().reason.clone())
    }

    /// Reports the outcome of work begun in `round`: success, or a `condition` of the sink that
    /// kept books back, of which `waiting` now wait. True if the pause began, ended or grew, so
    /// that the node has to look at waiting carts.
    pub(crate) fn weigh(
        &self,
        context: &PipelineContext,
        round: u64,
        condition: Option<&Failure>,
        waiting: impl FnOnce() -> usize,
    ) -> bool {
        match condition {
            None => self.passed(context, round),
            Some(failure) => self.failed(context, round, failure, waiting),
        }
    }

    fn passed(&self, context: &PipelineContext, round: u64) -> bool {
        if !self.is(SINK) {
            return false;
        }
        let (logged, since) = {
            let mut state = self.lock();
            if self.round() != round || state.closed {
                return false;
            }
            self.round.fetch_add(1, Ordering::AcqRel);
            state.tries = 0;
            state.trying = None;
            self.on.fetch_and(!SINK, Ordering::AcqRel);
            (state.logged, state.since)
        };
        if logged {
            let after = context.clock.now() - since;
            context.tell(Event::Available { node: self.name.clone(), after });
            let (what, name) = (self.what, &*self.name);
            log::warn!(node = name; "{what} {name} resumes after {}", seconds(after));
        }
        true
    }

    fn failed(
        &self,
        context: &PipelineContext,
        round: u64,
        failure: &Failure,
        waiting: impl FnOnce() -> usize,
    ) -> bool {
        let now = context.clock.now();
        let mut state = self.lock();
        if state.closed || (self.is(SINK) && self.round() != round) {
            return false;
        }
        let first = !self.is(SINK);
        self.round.fetch_add(1, Ordering::AcqRel);
        state.tries = state.tries.saturating_add(1);
        state.trying = None;
        state.reason = failure.reason().to_owned();
        let hopeless = context.clock.is_simulated() && state.tries >= SIMULATED_TRIES;
        state.closed = failure.kind() == FailureKind::Closed || hopeless;
        let rest = state.rest(|| context.seed.stream(&self.name, "pause"));
        state.until = now + rest;
        if first {
            state.since = now;
            let known = state
                .last
                .as_ref()
                .is_some_and(|(at, reason)| now - *at < QUIET && *reason == state.reason);
            state.logged = !known;
            state.last = Some((now, state.reason.clone()));
        }
        self.on.fetch_or(SINK, Ordering::AcqRel);
        let (tell, closed) = (first && state.logged, state.closed);
        drop(state);
        if closed {
            context.shut(&self.name, failure.reason());
        } else if tell {
            self.tell(context, failure, rest, waiting());
        }
        true
    }

    fn tell(&self, context: &PipelineContext, failure: &Failure, retry: Duration, waiting: usize) {
        context.tell(Event::Unavailable {
            node: self.name.clone(),
            reason: failure.reason().to_owned(),
            retry,
        });
        // Logged as an error, so that quiet runs show it as well: work has stopped.
        log::error!(
            node = &*self.name;
            "{} {} is unavailable: {}; retrying in {}, then less often (up to every {}), \
             {waiting} books wait",
            self.what,
            self.name,
            failure.reason(),
            seconds(retry),
            seconds(LONGEST),
        );
    }
}

impl PauseState {
    fn rest(&mut self, chance: impl FnOnce() -> ChaCha8Rng) -> Duration {
        let doubled = SHORTEST.saturating_mul(1 << (self.tries - 1).min(16));
        let off: f64 = self.chance.get_or_insert_with(chance).random();
        let rest = doubled.min(LONGEST).mul_f64(1.0 - JITTER * off);
        rest.max(SHORTEST)
    }
}

/// Formats a duration, such as `0.1 s`.
pub(crate) fn seconds(span: Duration) -> String {
    let tenths = (span.as_secs_f64() * 10.0).round() / 10.0;
    format!("{tenths} s")
}

#[cfg(test)]
mod tests;
