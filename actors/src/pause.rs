//! The pause of a node whose sink can't take anything: when the sink is tried again, and what is logged.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::clock::Time;
use crate::event::Event;
use crate::failure::{Failure, FailureKind};
use crate::works::Works;

/// The first pause; each further one is twice as long.
const SHORTEST: Duration = Duration::from_millis(100);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);

/// Share of a pause that chance takes off, so that nodes with one sink do not all try at once.
const JITTER: f64 = 0.25;

/// Least time between two messages about one sink that fails and recovers repeatedly.
const QUIET: Duration = Duration::from_secs(10);

/// Attempts in a row after which a simulation takes a sink for closed: nothing outside changes while simulated time passes.
const SIMULATED_TRIES: u32 = 32;

/// The pause of one node.
#[derive(Debug)]
pub(crate) struct Pause {
    /// Its node, as messages call it, such as ``incinerator `f` ``.
    what: &'static str,
    name: String,
    on: AtomicBool,
    /// Counts everything that changes the pause: what was begun in an earlier round no longer does. Written under the lock of the state.
    round: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Failures in a row.
    tries: u32,
    until: Time,
    since: Time,
    /// The life that lets one load through to see whether the sink is back.
    trying: Option<u64>,
    /// The sink never takes anything again.
    closed: bool,
    reason: String,
    /// When it was told last, and of what.
    last: Option<(Time, String)>,
    /// This pause was told.
    told: bool,
    chance: Option<ChaCha8Rng>,
}

/// Whether a node may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// The node may try one load, in this round.
    Try(u64),
    /// Not before this time.
    Wait(Time),
    /// Not before a try that is under way has ended, or never.
    Shut,
}

impl Pause {
    /// No pause. `what` is the sort of node: `incinerator` or `crew`.
    pub(crate) fn new(what: &'static str, name: &str) -> Self {
        Self {
            what,
            name: name.to_owned(),
            on: AtomicBool::new(false),
            round: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True while the node pauses.
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }

    /// The round in which a load is begun.
    pub(crate) fn round(&self) -> u64 {
        self.round.load(Ordering::Acquire)
    }

    /// Whether what was begun in `round` may still be carried out.
    pub(crate) fn is_current(&self, round: u64) -> bool {
        !self.is_on() || self.round() == round
    }

    /// Whether the node may try a load now, in the life `life` of its actor. Without a life several loads may try at once.
    pub(crate) fn gate(&self, now: Time, life: Option<u64>) -> Gate {
        // Nearly always; no lock then.
        if !self.is_on() {
            return Gate::Try(self.round());
        }
        let mut state = self.lock();
        if !self.is_on() {
            return Gate::Try(self.round());
        }
        if state.closed || (life.is_some() && state.trying == life) {
            return Gate::Shut;
        }
        if now < state.until {
            return Gate::Wait(state.until);
        }
        state.trying = life;
        Gate::Try(self.round())
    }

    /// The try of `round` found nothing to try with.
    pub(crate) fn untried(&self, round: u64) {
        if self.is_on() {
            let mut state = self.lock();
            if self.round() == round {
                state.trying = None;
            }
        }
    }

    /// The next try is due at once.
    pub(crate) fn hurry(&self) {
        self.lock().until = Time::ZERO;
    }

    /// What keeps the node waiting, if it pauses.
    pub(crate) fn reason(&self) -> Option<String> {
        self.is_on().then(|| self.lock().reason.clone())
    }

    /// What was begun in `round` got through, or a part of it where a `condition` of the sink kept the rest back: then `waiting` books wait.
    /// True if the pause has begun, ended or grown, so that the node has to look at what waits.
    pub(crate) fn weigh(
        &self,
        works: &Works,
        round: u64,
        condition: Option<&Failure>,
        waiting: impl FnOnce() -> usize,
    ) -> bool {
        match condition {
            None => self.passed(works, round),
            Some(failure) => self.failed(works, round, failure, waiting),
        }
    }

    fn passed(&self, works: &Works, round: u64) -> bool {
        if !self.is_on() {
            return false;
        }
        let (told, since) = {
            let mut state = self.lock();
            if self.round() != round || state.closed {
                return false;
            }
            self.round.fetch_add(1, Ordering::AcqRel);
            state.tries = 0;
            state.trying = None;
            self.on.store(false, Ordering::Release);
            (state.told, state.since)
        };
        if told {
            let after = works.clock.now() - since;
            works.tell(Event::Available {
                node: self.name.clone(),
                after,
            });
            log::warn!(
                "{} {} goes on after {}",
                self.what,
                self.name,
                seconds(after)
            );
        }
        true
    }

    fn failed(
        &self,
        works: &Works,
        round: u64,
        failure: &Failure,
        waiting: impl FnOnce() -> usize,
    ) -> bool {
        let now = works.clock.now();
        let mut state = self.lock();
        if state.closed || (self.is_on() && self.round() != round) {
            return false;
        }
        let first = !self.is_on();
        self.round.fetch_add(1, Ordering::AcqRel);
        state.tries = state.tries.saturating_add(1);
        state.trying = None;
        state.reason = failure.reason().to_owned();
        let hopeless = works.clock.is_simulated() && state.tries >= SIMULATED_TRIES;
        state.closed = failure.kind() == FailureKind::Closed || hopeless;
        let rest = state.rest(|| works.seed.stream(&self.name, "pause"));
        state.until = now + rest;
        if first {
            state.since = now;
            let known = state
                .last
                .as_ref()
                .is_some_and(|(at, reason)| now - *at < QUIET && *reason == state.reason);
            state.told = !known;
            state.last = Some((now, state.reason.clone()));
        }
        self.on.store(true, Ordering::Release);
        let (tell, closed) = (first && state.told, state.closed);
        drop(state);
        if closed {
            works.shut(&self.name, failure.reason());
        } else if tell {
            self.tell(works, failure, rest, waiting());
        }
        true
    }

    fn tell(&self, works: &Works, failure: &Failure, retry: Duration, waiting: usize) {
        works.tell(Event::Unavailable {
            node: self.name.clone(),
            reason: failure.reason().to_owned(),
            retry,
        });
        // An error, so that a quiet run says it as well: work stands still.
        log::error!(
            "{} {} can't take anything: {}; trying again in {}, then less often (up to every {}), {waiting} books wait",
            self.what,
            self.name,
            failure.reason(),
            seconds(retry),
            seconds(LONGEST),
        );
    }
}

impl State {
    fn rest(&mut self, chance: impl FnOnce() -> ChaCha8Rng) -> Duration {
        let doubled = SHORTEST.saturating_mul(1 << (self.tries - 1).min(16));
        let off: f64 = self.chance.get_or_insert_with(chance).random();
        let rest = doubled.min(LONGEST).mul_f64(1.0 - JITTER * off);
        rest.max(SHORTEST)
    }
}

/// A span for people, such as `0.1 s`.
pub(crate) fn seconds(span: Duration) -> String {
    let tenths = (span.as_secs_f64() * 10.0).round() / 10.0;
    format!("{tenths} s")
}

#[cfg(test)]
mod tests;
