//! Clocks, real and simulated, and the seed of all randomness. No other module reads the time.
//!
//! Actors read the time and sleep through a [`Clock`], so the same actor runs in real time and in a
//! simulation. [`Clock::real`] is the machine's monotonic clock; its sleeps use tokio's timers,
//! which tick in milliseconds and round up. [`Clock::simulated`] has a resolution of one nanosecond
//! and advances only while no task can run.

use std::fmt;
use std::future::Future;
use std::ops::{Add, Sub};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

mod exact;
mod seed;
mod simulated;

pub use seed::Seed;

use exact::Exact;
use simulated::{Simulation, Sleeper};

/// A point in time, in nanoseconds since the start of its clock. Spans 584 years.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// The start of the clock.
    pub const ZERO: Time = Time(0);
    /// The latest representable time; additions saturate here.
    pub const MAX: Time = Time(u64::MAX);

    /// Nanoseconds since the start of the clock.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Seconds since the start of the clock, for reports.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    /// Saturates at [`Time::MAX`].
    #[inline]
    fn add(self, span: Duration) -> Time {
        Time(self.0.saturating_add(nanos(span)))
    }
}

impl Sub for Time {
    type Output = Duration;

    /// Zero if `earlier` is later than `self`.
    #[inline]
    fn sub(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

#[inline]
fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Measures elapsed real time even when the run uses a simulated clock; for reports only.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Starts a stopwatch.
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// Real time since [`Stopwatch::start`].
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Why a simulation makes no progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stuck {
    /// Deadlock: no task is ready and no task sleeps, apart from background sleeps.
    Idle,
    /// Livelock: the clock was read 1,000,000 times without time moving or [`Clock::made_progress`]
    /// being called.
    Busy,
    /// The clock was read more often in one instant than [`Clock::never_ends`] allows: there may be
    /// progress, but time does not move although the run must reach a later time.
    Timeless,
}

/// A source of time and sleeps. Clones share the same clock.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    Real(tokio::time::Instant),
    Simulated(Arc<Simulation>),
}

impl Clock {
    /// The machine's monotonic clock, starting at [`Time::ZERO`] now.
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn real() -> Self {
        Self(Source::Real(tokio::time::Instant::now()))
    }

    /// A simulated clock, at [`Time::ZERO`] until its [`Clock::driver`] runs.
    #[cfg(feature = "simulate")]
    pub fn simulated() -> Self {
        Self::stopped()
    }

    /// A clock that never advances, without a driver.
    pub(crate) fn stopped() -> Self {
        Self(Source::Simulated(Arc::new(Simulation::default())))
    }

    /// True if this clock is simulated.
    #[inline]
    pub fn is_simulated(&self) -> bool {
        matches!(self.0, Source::Simulated(_))
    }

    /// The current time.
    #[inline]
    pub fn now(&self) -> Time {
        match &self.0 {
            Source::Real(start) => Time(nanos(start.elapsed())),
            Source::Simulated(simulation) => simulation.now(),
        }
    }

    /// Sleeps until `deadline`; ready immediately if it has passed.
    ///
    /// In real time the sleep ends up to 2 ms late, never early. In simulated time it ends at
    /// exactly `deadline`; sleeps with equal deadlines end in the order in which they were first
    /// polled. Dropping the future cancels the sleep.
    ///
    /// # Panics
    /// When polled outside a tokio runtime with timers (real time only).
    pub fn sleep_until(&self, deadline: Time) -> Sleep {
        Sleep(match &self.0 {
            Source::Real(start) => Sleeping::Real { start: *start, deadline, timer: None },
            Source::Simulated(simulation) => {
                Sleeping::Simulated(Sleeper::new(simulation.clone(), deadline))
            }
        })
    }

    /// Sleeps for `span` from now; see [`Clock::sleep_until`].
    pub fn sleep(&self, span: Duration) -> Sleep {
        self.sleep_until(self.now() + span)
    }

    /// Sleeps for `span` from now without rounding to tokio's millisecond ticks, to model work of
    /// that duration.
    ///
    /// In real time the sleep ends when the operating system wakes a thread: about 0.1 ms late on
    /// an idle machine, never early. Each sleep costs one thread wake-up; no tokio runtime is
    /// needed. In simulated time it equals [`Clock::sleep`].
    pub fn sleep_exactly(&self, span: Duration) -> Sleep {
        let deadline = self.now() + span;
        match &self.0 {
            Source::Real(start) => {
                let until = (start.into_std()).checked_add(Duration::from_nanos(deadline.0));
                match until {
                    Some(until) => Sleep(Sleeping::Exact(deadline, Exact::new(until))),
                    None => self.sleep_until(deadline),
                }
            }
            Source::Simulated(_) => self.sleep_until(deadline),
        }
    }

    /// Sleeps for `span` from now, or never returns if `span` is `None`: an optional time limit.
    pub async fn sleep_if(&self, span: Option<Duration>) {
        match span {
            Some(span) => self.sleep(span).await,
            None => std::future::pending().await,
        }
    }

    /// Like [`Clock::sleep_until`], but does not count as activity: a simulation in which only
    /// background sleeps remain is [`Stuck::Idle`]. For tasks that only disturb the run, such as
    /// fault injection.
    pub fn sleep_in_background(&self, deadline: Time) -> Sleep {
        Sleep(match &self.0 {
            Source::Simulated(simulation) => {
                Sleeping::Simulated(Sleeper::new(simulation.clone(), deadline).in_background())
            }
            Source::Real(_) => return self.sleep_until(deadline),
        })
    }

    /// The future that advances a simulated clock: spawn it locally, once, on the thread that runs
    /// the simulation.
    ///
    /// It pauses tokio's clock, and advances this one to the earliest deadline whenever no task of
    /// the runtime is ready and no `spawn_blocking` closure is running. Other threads do not hold
    /// it back. It never returns; for a real clock it does nothing.
    ///
    /// # Panics
    /// When polled outside a current-thread tokio runtime (an actix arbiter or system is one).
    pub fn driver(&self) -> impl Future<Output = ()> + Send + 'static {
        let source = self.0.clone();
        async move {
            match source {
                Source::Real(_) => std::future::pending().await,
                Source::Simulated(simulation) => simulated::drive(simulation).await,
            }
        }
    }

    /// Records progress made without time passing, which resets the count for [`Stuck::Busy`]. No
    /// effect on a real clock.
    pub fn made_progress(&self) {
        if let Source::Simulated(simulation) = &self.0 {
            simulation.made_progress();
        }
    }

    /// Declares that the run ends only at a later time. A simulated clock that is then read more
    /// than `most` times (at least 1) in one instant is [`Stuck::Timeless`], even if there is
    /// progress.
    pub fn never_ends(&self, most: u64) {
        if let Source::Simulated(simulation) = &self.0 {
            simulation.never_ends(most.max(1));
        }
    }

    /// Waits until the simulation is found to be stuck; never returns for a real clock.
    ///
    /// Activity of other threads is not visible here, so end a simulation on this result only if it
    /// uses no other threads.
    pub async fn stuck(&self) -> Stuck {
        match &self.0 {
            Source::Real(_) => std::future::pending().await,
            Source::Simulated(simulation) => simulation.stuck().await,
        }
    }

    /// Number of pending sleeps of a simulated clock; 0 for a real one.
    pub fn sleepers(&self) -> usize {
        match &self.0 {
            Source::Real(_) => 0,
            Source::Simulated(simulation) => simulation.sleepers(),
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_simulated() { "simulated" } else { "real" };
        write!(f, "Clock({kind}, {})", self.now())
    }
}

/// A sleep; see [`Clock::sleep_until`].
#[must_use = "a sleep does nothing unless it is awaited"]
pub struct Sleep(Sleeping);

enum Sleeping {
    Real {
        start: tokio::time::Instant,
        deadline: Time,
        // Created at the first poll that has to wait, so an expired deadline costs no timer.
        timer: Option<Pin<Box<tokio::time::Sleep>>>,
    },
    Exact(Time, Exact),
    Simulated(Sleeper),
}

impl Sleep {
    /// The time at which the sleep ends.
    pub fn deadline(&self) -> Time {
        match &self.0 {
            Sleeping::Real { deadline, .. } | Sleeping::Exact(deadline, _) => *deadline,
            Sleeping::Simulated(sleeper) => sleeper.deadline(),
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sleep(until {})", self.deadline())
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.get_mut().0 {
            Sleeping::Real { start, deadline, timer } => {
                if timer.is_none() {
                    if nanos(start.elapsed()) >= deadline.0 {
                        return Poll::Ready(());
                    }
                    *timer = Some(Box::pin(real_sleep(*start, *deadline)));
                }
                timer.as_mut().map_or(Poll::Ready(()), |timer| timer.as_mut().poll(cx))
            }
            Sleeping::Exact(_, exact) => exact.poll(cx),
            Sleeping::Simulated(sleeper) => sleeper.poll(cx),
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the clock")]
fn real_sleep(start: tokio::time::Instant, deadline: Time) -> tokio::time::Sleep {
    match start.checked_add(Duration::from_nanos(deadline.0)) {
        Some(at) => tokio::time::sleep_until(at),
        // Too far ahead for tokio's `Instant`: tokio replaces this with its own far future.
        None => tokio::time::sleep(Duration::MAX),
    }
}

#[cfg(test)]
mod tests;
