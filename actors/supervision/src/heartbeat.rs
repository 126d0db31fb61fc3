//! The heartbeat of an arbiter: whether it still runs tasks, which lives run on it, and which of
//! them is being polled.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use actix_rt::ArbiterHandle;
use futures_util::task::AtomicWaker;

use super::report::{LifeEvent, Reporter};
use super::switch::Switch;
use super::{ChildId, Exit};
use crate::clock::Clock;

thread_local! {
    /// The heartbeat of this thread's arbiter, if it runs in a slot of
    /// [`Arbiters`](super::Arbiters).
    static HEARTBEAT: RefCell<Option<Arc<Heartbeat>>> = const { RefCell::new(None) };
}

/// Identifies a life to the watchdog of its arbiter.
#[derive(Debug)]
#[doc(hidden)]
pub struct WatchedLife {
    heartbeat: Arc<Heartbeat>,
    key: u64,
}

impl WatchedLife {
    /// The life being polled on this thread, if its arbiter runs in a slot.
    #[doc(hidden)]
    pub fn of_this_poll() -> Option<Self> {
        let heartbeat = HEARTBEAT.with_borrow(Clone::clone)?;
        let key = heartbeat.polled.load(Ordering::Relaxed);
        Some(Self { heartbeat, key })
    }

    /// Runs `work` on the arbiter of that life. If it hangs, the watchdog blames that life. `work`
    /// must not panic.
    #[doc(hidden)]
    pub fn blamed<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = self.heartbeat.polled.load(Ordering::Relaxed);
        self.heartbeat.enter(self.key);
        let done = work();
        self.heartbeat.enter(before);
        done
    }
}

/// A life on an arbiter, with what the watchdog needs to give it up.
#[derive(Clone)]
pub(super) struct RegisteredLife {
    pub(super) child: ChildId,
    pub(super) epoch: u64,
    pub(super) reporter: Arc<Reporter>,
    pub(super) control: Arc<dyn LifeControl>,
}

/// A life that the watchdog may give up.
pub(super) trait LifeControl: Send + Sync {
    fn name(&self) -> Arc<str>;
    /// Ends the life at its next poll, if there is one.
    fn kill(&self);
}

impl LifeControl for (Arc<str>, Arc<Switch>) {
    fn name(&self) -> Arc<str> {
        self.0.clone()
    }

    fn kill(&self) {
        self.1.kill();
    }
}

/// The state of one arbiter, from its start to its end.
#[derive(Default)]
pub(super) struct Heartbeat {
    /// The arbiter; `None` if it is simulated.
    handle: Option<ArbiterHandle>,
    /// How long the arbiter may be blocked, if it is watched.
    hang_after: Option<Duration>,
    asked: AtomicU64,
    answered: AtomicU64,
    waker: AtomicWaker,
    /// The key of the life being polled; 0 if none.
    polled: AtomicU64,
    lives: Mutex<LifeRegistry>,
    /// True once it accepts no more lives.
    given_up: AtomicBool,
    /// True once its death has been counted as a failure.
    charged: AtomicBool,
    /// Simulation only: true while it is stalled.
    frozen: AtomicBool,
}

#[derive(Default)]
struct LifeRegistry {
    next: u64,
    registered: BTreeMap<u64, RegisteredLife>,
    /// Simulation only: woken when the arbiter resumes.
    parked: Vec<Waker>,
}

impl std::fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heartbeat").field("registered", &self.lock().registered.len()).finish()
    }
}

/// The registration of a life on an arbiter, removed on drop.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) heartbeat: Arc<Heartbeat>,
    pub(super) key: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.heartbeat.leave(self.key);
    }
}

impl Heartbeat {
    pub(super) fn new(handle: Option<ArbiterHandle>, hang_after: Option<Duration>) -> Self {
        Self { handle, hang_after, ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, LifeRegistry> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if the arbiter is simulated.
    pub(super) fn is_simulated(&self) -> bool {
        self.handle.is_none()
    }

    /// Registers all lives, or none: `None` if the arbiter was given up.
    pub(super) fn register_all(
        self: &Arc<Self>,
        registered: impl Iterator<Item = RegisteredLife>,
    ) -> Option<Vec<Registration>> {
        let mut lives = self.lock();
        if self.is_given_up() {
            return None;
        }
        let register = |life| {
            lives.next += 1;
            let key = lives.next;
            lives.registered.insert(key, life);
            Registration { heartbeat: self.clone(), key }
        };
        Some(registered.map(register).collect())
    }

    fn leave(&self, key: u64) {
        // The life's sender and switch are dropped outside the lock.
        let left = self.lock().registered.remove(&key);
        drop(left);
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    /// True for the first caller only: the death of an arbiter counts as one failure, however many
    /// lives ran on it.
    pub(super) fn charge(&self) -> bool {
        !self.charged.swap(true, Ordering::AcqRel)
    }

    /// Marks the life `key` as being polled.
    #[inline]
    pub(super) fn enter(&self, key: u64) {
        self.polled.store(key, Ordering::Relaxed);
    }

    /// Marks that no life is being polled.
    #[inline]
    pub(super) fn exit(&self) {
        self.polled.store(0, Ordering::Relaxed);
    }

    /// The key of the life being polled; 0 if none.
    pub(super) fn polled(&self) -> u64 {
        self.polled.load(Ordering::Relaxed)
    }

    /// Sends a heartbeat request.
    pub(super) fn ask(&self) {
        self.asked.fetch_add(1, Ordering::AcqRel);
        self.waker.wake();
    }

    /// True if all heartbeat requests have been answered.
    pub(super) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Acquire) == self.asked.load(Ordering::Acquire)
    }

    /// Answers in place of the heartbeat task: starting a life proves that the arbiter runs.
    pub(super) fn answer(&self) {
        let asked = self.asked.load(Ordering::Acquire);
        self.answered.store(asked, Ordering::Release);
    }

    /// The heartbeat task. It completes when the arbiter is given up or ends.
    pub(super) async fn beat(self: Arc<Self>) {
        HEARTBEAT.set(Some(self.clone()));
        poll_fn(|cx| {
            self.waker.register(cx.waker());
            self.answer();
            if self.is_given_up() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Gives up the arbiter, which has not answered for `after`, and reports to the supervisor of
    /// each life on it, the culprit last. Its thread ends by itself if it ever resumes. Returns the
    /// name of what blocks it; `None` if no life runs on it or it was given up before.
    pub(super) fn give_up(&self, after: Duration) -> Option<String> {
        let registered: Vec<(u64, RegisteredLife)> = {
            let lives = self.lock();
            if self.given_up.swap(true, Ordering::AcqRel) {
                return None;
            }
            // The lives unregister themselves.
            let registered = lives.registered.iter();
            registered.map(|(key, one)| (*key, one.clone())).collect()
        };
        self.waker.wake();
        if let Some(handle) = &self.handle {
            handle.stop();
        }
        let polled = self.polled.load(Ordering::Relaxed);
        let known = registered.iter().position(|(key, _)| *key == polled);
        let by = match known {
            Some(at) => registered[at].1.control.name().to_string(),
            None => "something that is not supervised".to_owned(),
        };
        log::error!(
            "an arbiter has been blocked for {after:?} by {by}; its {} actors are restarted \
             elsewhere",
            registered.len()
        );
        // One life is always charged, or an arbiter that blocks repeatedly would never escalate.
        let charged = known.or(if registered.is_empty() { None } else { Some(0) });
        let (mut last, mut others) = (None, Vec::new());
        for (at, (_, life)) in registered.into_iter().enumerate() {
            if charged == Some(at) {
                last = Some(life);
            } else {
                others.push(life);
            }
        }
        let tell = |life: RegisteredLife, exit: Exit, charged: bool| {
            // If its thread resumes, the life ends at its next poll.
            life.control.kill();
            let event = LifeEvent::Lost { exit, charged };
            life.reporter.tell(life.child, life.epoch, event);
        };
        for life in others {
            tell(life, Exit::Blocked(by.clone()), false);
        }
        let last = last?;
        let exit = match known {
            Some(_) => Exit::Hung,
            None => Exit::Blocked(by.clone()),
        };
        tell(last, exit, true);
        Some(by)
    }

    /// Simulation only: true while the arbiter is stalled; `waker` is woken when it resumes.
    pub(super) fn is_frozen(&self, waker: &Waker) -> bool {
        if !self.frozen.load(Ordering::Acquire) {
            return false;
        }
        self.lock().parked.push(waker.clone());
        true
    }

    /// Simulation only: stalls the arbiter for `span`.
    pub(super) fn freeze(self: &Arc<Self>, clock: &Clock, span: Duration) {
        self.frozen.store(true, Ordering::Release);
        let until = clock.now() + span;
        let (heartbeat, sleeper) = (self.clone(), clock.clone());
        actix_rt::spawn(async move {
            if let Some(after) = heartbeat.hang_after.filter(|after| *after < span) {
                sleeper.sleep(after).await;
                heartbeat.give_up(after);
                // Never resumes, so no timer is needed.
                if span == Duration::MAX {
                    return;
                }
            }
            sleeper.sleep_until(until).await;
            heartbeat.frozen.store(false, Ordering::Release);
            heartbeat.exit();
            let parked = std::mem::take(&mut heartbeat.lock().parked);
            parked.into_iter().for_each(Waker::wake);
        });
    }
}
