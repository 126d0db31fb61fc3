//! The works' clock: the only place that reads time, and the seed of all chance.
//!
//! Actors ask a [`Clock`] for the time and for sleeps, so the same actor runs in real time and in a simulation.
//! [`Clock::real`] is the machine's monotonic clock; its sleeps are tokio's, which tick in milliseconds and round up.
//! [`Clock::simulated`] has a resolution of one nanosecond and moves only while nothing else can run.

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

/// A moment: nanoseconds since the works' start. Spans 584 years.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// The works' start.
    pub const ZERO: Time = Time(0);
    /// The last moment that can be named; sums saturate here.
    pub const MAX: Time = Time(u64::MAX);

    /// Nanoseconds since the works' start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Seconds since the works' start, for reports.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{:09}s",
            self.0 / 1_000_000_000,
            self.0 % 1_000_000_000
        )
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    /// Saturates at [`Time::MAX`].
    fn add(self, span: Duration) -> Time {
        Time(self.0.saturating_add(nanos(span)))
    }
}

impl Sub for Time {
    type Output = Duration;

    /// Zero where `earlier` is the later one.
    fn sub(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Real time that passed, whatever clock the works go by; for reports only.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Starts one.
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// Time since it was started.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// How a simulation came to a standstill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stuck {
    /// No task is ready and nobody sleeps: nothing will ever happen.
    Idle,
    /// A million looks at the clock in one instant, and no book was burned: tasks only keep each other busy.
    Busy,
    /// Too many looks at the clock in one instant of a simulation that has to come to a later one, see
    /// [`Clock::never_ends`]: books are burned, and time does not move.
    Timeless,
}

/// Where actors read the time and sleep. Clones are the same clock.
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

    /// A simulated clock, standing at [`Time::ZERO`] until its [`Clock::driver`] runs.
    pub fn simulated() -> Self {
        Self(Source::Simulated(Arc::new(Simulation::default())))
    }

    /// True if time here is simulated.
    pub fn is_simulated(&self) -> bool {
        matches!(self.0, Source::Simulated(_))
    }

    /// The time now.
    pub fn now(&self) -> Time {
        match &self.0 {
            Source::Real(start) => Time(nanos(start.elapsed())),
            Source::Simulated(simulation) => simulation.now(),
        }
    }

    /// Sleeps until `deadline`; ready at once where that has passed.
    ///
    /// In real time it ends up to 2 ms late, never early. In simulated time it ends at exactly `deadline`, sleepers of one
    /// moment in the order in which they were first polled. Dropping the sleep forgets it.
    ///
    /// # Panics
    /// When polled outside a tokio runtime with timers (real time only).
    pub fn sleep_until(&self, deadline: Time) -> Sleep {
        Sleep(match &self.0 {
            Source::Real(start) => Sleeping::Real {
                start: *start,
                deadline,
                timer: None,
            },
            Source::Simulated(simulation) => {
                Sleeping::Simulated(Sleeper::new(simulation.clone(), deadline))
            }
        })
    }

    /// Sleeps for `span` from now. See [`Clock::sleep_until`].
    pub fn sleep(&self, span: Duration) -> Sleep {
        self.sleep_until(self.now() + span)
    }

    /// Sleeps for `span` from now, not rounded to the milliseconds of tokio's timers: for work that takes so long by itself.
    ///
    /// In real time it ends as soon as the operating system wakes a thread, about 0.1 ms late on an idle machine, never early; it costs
    /// that wake-up, and needs no runtime. In simulated time it is [`Clock::sleep`].
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

    /// Sleeps for `span` from now; for ever where there is none: a limit that may be missing.
    pub async fn sleep_if(&self, span: Option<Duration>) {
        match span {
            Some(span) => self.sleep(span).await,
            None => std::future::pending().await,
        }
    }

    /// Like [`Clock::sleep_until`], but no sign of life: a simulation in which nobody else sleeps any more is [`Stuck::Idle`]. For whoever only
    /// disturbs.
    pub fn sleep_in_background(&self, deadline: Time) -> Sleep {
        Sleep(match &self.0 {
            Source::Simulated(simulation) => {
                Sleeping::Simulated(Sleeper::new(simulation.clone(), deadline).in_background())
            }
            Source::Real(_) => return self.sleep_until(deadline),
        })
    }

    /// What moves a simulated clock: spawn it locally, once, on the thread that runs the simulation.
    ///
    /// It pauses tokio's clock and moves this one to the earliest deadline whenever no task of the runtime is ready and
    /// no `spawn_blocking` is running; what other threads do does not hold it back. It never ends. For a real clock it does nothing, for ever.
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

    /// Something was done that counts as progress, though no time has passed.
    pub fn made_progress(&self) {
        if let Source::Simulated(simulation) = &self.0 {
            simulation.made_progress();
        }
    }

    /// Declares that the run ends only at a later moment, not by itself. A simulated clock that is read
    /// `most` (>= 1) times in one instant is then [`Stuck::Timeless`], even if books are burned.
    pub fn never_ends(&self, most: u64) {
        if let Source::Simulated(simulation) = &self.0 {
            simulation.never_ends(most.max(1));
        }
    }

    /// Waits until the simulation is found to be stuck, if it ever is; for a real clock it never ends.
    ///
    /// What other threads still might do is not known here, so only a simulation that has none should give up then.
    pub async fn stuck(&self) -> Stuck {
        match &self.0 {
            Source::Real(_) => std::future::pending().await,
            Source::Simulated(simulation) => simulation.stuck().await,
        }
    }

    /// Number of sleeps that wait in a simulated clock; 0 for a real one.
    pub fn sleepers(&self) -> usize {
        match &self.0 {
            Source::Real(_) => 0,
            Source::Simulated(simulation) => simulation.sleepers(),
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_simulated() {
            "simulated"
        } else {
            "real"
        };
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
        // Made at the first poll that has to wait, so a deadline already past costs no timer.
        timer: Option<Pin<Box<tokio::time::Sleep>>>,
    },
    Exact(Time, Exact),
    Simulated(Sleeper),
}

impl Sleep {
    /// When it ends.
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
            Sleeping::Real {
                start,
                deadline,
                timer,
            } => {
                if timer.is_none() {
                    if nanos(start.elapsed()) >= deadline.0 {
                        return Poll::Ready(());
                    }
                    *timer = Some(Box::pin(real_sleep(*start, *deadline)));
                }
                timer
                    .as_mut()
                    .map_or(Poll::Ready(()), |timer| timer.as_mut().poll(cx))
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
        // Beyond what the machine can name: tokio's own "far future" serves.
        None => tokio::time::sleep(Duration::MAX),
    }
}

#[cfg(test)]
mod tests;
