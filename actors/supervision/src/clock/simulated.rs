//! Simulated time: a queue of sleepers, found_stuck when the runtime is idle.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

use super::{Stuck, Time};

/// A sleeper's position in the queue: its deadline, then its order of registration.
type Turn = (Time, u64);

#[derive(Default)]
pub(super) struct Simulation {
    now: AtomicU64,
    queue: Mutex<Queue>,
    // Woken when the queue gets its first non-background sleeper.
    driver: AtomicWaker,
    /// Clock reads since time last moved.
    looks: AtomicU64,
    /// The value of `looks` at the last recorded progress.
    progress: AtomicU64,
    /// Bound on clock reads in one instant, regardless of progress; 0 if the run may end by itself.
    most_in_an_instant: AtomicU64,
    stuck: OnceLock<Stuck>,
    found_stuck: Notify,
}

/// Clock reads in one instant without progress that count as [`Stuck::Busy`].
const MOST_LOOKS: u64 = 1_000_000;

#[derive(Default)]
struct Queue {
    sleepers: BTreeMap<Turn, Waker>,
    next: u64,
    /// Number of background sleepers, which do not count as activity.
    background: usize,
}

impl Simulation {
    pub(super) fn now(&self) -> Time {
        let looks = self.looks.fetch_add(1, Ordering::Relaxed);
        if looks - self.progress.load(Ordering::Relaxed) == MOST_LOOKS {
            self.is_stuck(Stuck::Busy);
        }
        if looks > 0 && looks == self.most_in_an_instant.load(Ordering::Relaxed) {
            self.is_stuck(Stuck::Timeless);
        }
        self.time()
    }

    fn time(&self) -> Time {
        Time(self.now.load(Ordering::Acquire))
    }

    pub(super) fn made_progress(&self) {
        let looks = self.looks.load(Ordering::Relaxed);
        self.progress.store(looks, Ordering::Relaxed);
    }

    pub(super) fn never_ends(&self, most: u64) {
        self.most_in_an_instant.store(most, Ordering::Relaxed);
    }

    fn is_stuck(&self, how: Stuck) {
        let _ = self.stuck.set(how);
        self.found_stuck.notify_waiters();
    }

    pub(super) async fn stuck(&self) -> Stuck {
        loop {
            let found_stuck = self.found_stuck.notified();
            let mut found_stuck = std::pin::pin!(found_stuck);
            // Registers before checking, so no notification is missed.
            found_stuck.as_mut().enable();
            if let Some(stuck) = self.stuck.get() {
                return *stuck;
            }
            found_stuck.await;
        }
    }

    pub(super) fn sleepers(&self) -> usize {
        self.queue().sleepers.len()
    }

    /// Number of sleepers that are not background sleepers.
    fn alive(&self) -> usize {
        let queue = self.queue();
        queue.sleepers.len().saturating_sub(queue.background)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // No code under this lock panics, so a poisoned queue is still consistent.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves to the earliest deadline and wakes every sleeper due then, in order of registration.
    fn advance(&self) {
        let mut due = Vec::new();
        {
            let mut queue = self.queue();
            let Some((&(deadline, _), _)) = queue.sleepers.first_key_value() else {
                return;
            };
            self.now.fetch_max(deadline.0, Ordering::AcqRel);
            self.looks.store(0, Ordering::Relaxed);
            self.progress.store(0, Ordering::Relaxed);
            while let Some(first) = queue.sleepers.first_entry() {
                if first.key().0 > deadline {
                    break;
                }
                due.push(first.remove());
            }
        }
        // Wakers run arbitrary code, so they run outside the lock.
        due.into_iter().for_each(Waker::wake);
    }
}

pub(super) struct Sleeper {
    simulation: Arc<Simulation>,
    deadline: Time,
    turn: Option<Turn>,
    background: bool,
}

impl Sleeper {
    pub(super) fn new(simulation: Arc<Simulation>, deadline: Time) -> Self {
        Self { simulation, deadline, turn: None, background: false }
    }

    pub(super) fn in_background(mut self) -> Self {
        self.background = true;
        self
    }

    pub(super) fn deadline(&self) -> Time {
        self.deadline
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut queue = self.simulation.queue();
        // Read under the lock, or the clock could pass the deadline between this check and the
        // registration.
        if self.simulation.time() >= self.deadline {
            if let Some(turn) = self.turn.take() {
                queue.sleepers.remove(&turn);
                queue.background -= usize::from(self.background);
            }
            return Poll::Ready(());
        }
        let first = queue.sleepers.len() <= queue.background;
        let turn = match self.turn {
            Some(turn) => turn,
            None => {
                queue.next += 1;
                queue.background += usize::from(self.background);
                *self.turn.insert((self.deadline, queue.next))
            }
        };
        queue
            .sleepers
            .entry(turn)
            .and_modify(|waker| waker.clone_from(cx.waker()))
            .or_insert_with(|| cx.waker().clone());
        drop(queue);
        if first && !self.background {
            self.simulation.driver.wake();
        }
        Poll::Pending
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        if let Some(turn) = self.turn.take() {
            let mut queue = self.simulation.queue();
            queue.background -= usize::from(self.background);
            let forgotten = queue.sleepers.remove(&turn);
            drop(queue);
            // Dropping a waker may drop a task, so it happens outside the lock.
            drop(forgotten);
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "tokio's paused timer is how idleness is seen; its time is never read"
)]
pub(super) async fn drive(simulation: Arc<Simulation>) {
    #[cfg(feature = "simulate")]
    if !tokio_clock_stands() {
        tokio::time::pause();
    }
    let idle = tokio::time::sleep(Duration::ZERO);
    let mut idle = std::pin::pin!(idle);
    loop {
        // A paused tokio clock moves only when no task is ready, so this timer fires only when
        // idle.
        let tick = tokio::time::Instant::now() + Duration::from_millis(1);
        idle.as_mut().reset(tick);
        idle.as_mut().await;
        if simulation.alive() > 0 {
            simulation.advance();
            continue;
        }
        // No task is ready, and none will be unless another thread acts.
        simulation.is_stuck(Stuck::Idle);
        poll_fn(|cx| {
            simulation.driver.register(cx.waker());
            if simulation.alive() == 0 { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }
}

/// True if tokio's clock is already paused. Pausing twice would panic, and tokio cannot be asked.
#[cfg(feature = "simulate")]
#[allow(
    clippy::disallowed_methods,
    reason = "compares tokio's clock with the machine's; no result depends on either"
)]
fn tokio_clock_stands() -> bool {
    let tokio = tokio::time::Instant::now();
    let machine = std::time::Instant::now();
    while machine.elapsed() < Duration::from_micros(2) {
        std::hint::spin_loop();
    }
    tokio.elapsed() == Duration::ZERO
}
