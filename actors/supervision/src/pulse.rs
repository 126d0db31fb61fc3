//! An arbiter's sign of life: whether it still runs its tasks, who lives there, and who is being polled.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use actix_rt::ArbiterHandle;
use futures_util::task::AtomicWaker;

use super::report::{News, Office};
use super::switch::Switch;
use super::{ChildId, Exit};
use crate::clock::Clock;

thread_local! {
    /// Of the arbiter that this thread is, if it is watched.
    static PULSE: RefCell<Option<Arc<Pulse>>> = const { RefCell::new(None) };
}

/// A life, as the watchdog of its arbiter knows it.
#[derive(Debug)]
#[doc(hidden)]
pub struct Home {
    pulse: Arc<Pulse>,
    key: u64,
}

impl Home {
    /// Of the life that is being polled on this thread, if its arbiter is watched.
    #[doc(hidden)]
    pub fn of_this_poll() -> Option<Self> {
        let pulse = PULSE.with_borrow(Clone::clone)?;
        let key = pulse.polled.load(Ordering::Relaxed);
        Some(Self { pulse, key })
    }

    /// Runs `work` on that life's own arbiter: if it hangs, that life is the culprit. It must not panic.
    #[doc(hidden)]
    pub fn blamed<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = self.pulse.polled.load(Ordering::Relaxed);
        self.pulse.enter(self.key);
        let done = work();
        self.pulse.enter(before);
        done
    }
}

/// Who lives on an arbiter, as its watchdog has to know it.
#[derive(Clone)]
pub(super) struct Resident {
    pub(super) child: ChildId,
    pub(super) epoch: u64,
    pub(super) office: Arc<Office>,
    pub(super) who: Arc<dyn Doomed>,
}

/// A life that a watchdog may have to give up.
pub(super) trait Doomed: Send + Sync {
    fn name(&self) -> Arc<str>;
    /// Ends it at its next poll, if there is one.
    fn kill(&self);
}

impl Doomed for (Arc<str>, Arc<Switch>) {
    fn name(&self) -> Arc<str> {
        self.0.clone()
    }

    fn kill(&self) {
        self.1.kill();
    }
}

/// One arbiter, from its start to its end.
#[derive(Default)]
pub(super) struct Pulse {
    /// Where it really runs; `None` for an arbiter that is only simulated.
    handle: Option<ArbiterHandle>,
    asked: AtomicU64,
    answered: AtomicU64,
    heart: AtomicWaker,
    /// The key of the life that is being polled; 0 for none.
    polled: AtomicU64,
    lives: Mutex<Lives>,
    /// Nobody comes to live here any more.
    given_up: AtomicBool,
    /// Its death was counted against somebody's budget.
    charged: AtomicBool,
    /// In a simulation: it stands still.
    frozen: AtomicBool,
}

#[derive(Default)]
struct Lives {
    next: u64,
    residents: BTreeMap<u64, Resident>,
    /// In a simulation: to be woken when it moves again.
    parked: Vec<Waker>,
}

impl std::fmt::Debug for Pulse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pulse")
            .field("residents", &self.lock().residents.len())
            .finish()
    }
}

/// A life's place on an arbiter; left when dropped.
#[derive(Debug)]
pub(super) struct Residence {
    pub(super) pulse: Arc<Pulse>,
    pub(super) key: u64,
}

impl Drop for Residence {
    fn drop(&mut self) {
        self.pulse.leave(self.key);
    }
}

impl Pulse {
    pub(super) fn new(handle: Option<ArbiterHandle>) -> Self {
        Self {
            handle,
            ..Self::default()
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lives> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if it is an arbiter in name only.
    pub(super) fn is_simulated(&self) -> bool {
        self.handle.is_none()
    }

    /// All of them move in, or none: `None` where the arbiter was given up.
    pub(super) fn join_all(
        self: &Arc<Self>,
        residents: impl Iterator<Item = Resident>,
    ) -> Option<Vec<Residence>> {
        let mut lives = self.lock();
        if self.is_given_up() {
            return None;
        }
        let move_in = |resident| {
            lives.next += 1;
            let key = lives.next;
            lives.residents.insert(key, resident);
            Residence {
                pulse: self.clone(),
                key,
            }
        };
        Some(residents.map(move_in).collect())
    }

    fn leave(&self, key: u64) {
        // Its senders and switch are dropped after the lock.
        let left = self.lock().residents.remove(&key);
        drop(left);
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    /// True for whoever asks first: one death of an arbiter is one failure, however many lived there.
    pub(super) fn charge(&self) -> bool {
        !self.charged.swap(true, Ordering::AcqRel)
    }

    /// The life `key` is being polled from here on.
    #[inline]
    pub(super) fn enter(&self, key: u64) {
        self.polled.store(key, Ordering::Relaxed);
    }

    /// Nobody is being polled from here on.
    #[inline]
    pub(super) fn exit(&self) {
        self.polled.store(0, Ordering::Relaxed);
    }

    /// The key of the life that is being polled; 0 for none.
    pub(super) fn polled(&self) -> u64 {
        self.polled.load(Ordering::Relaxed)
    }

    /// Asks for a sign of life.
    pub(super) fn ask(&self) {
        self.asked.fetch_add(1, Ordering::AcqRel);
        self.heart.wake();
    }

    /// True if it has answered all that it was asked.
    pub(super) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Acquire) == self.asked.load(Ordering::Acquire)
    }

    /// Answers for the task that does: whoever comes to life here is a sign of life.
    pub(super) fn answer(&self) {
        let asked = self.asked.load(Ordering::Acquire);
        self.answered.store(asked, Ordering::Release);
    }

    /// The task that answers. It ends when the arbiter is given up or ends.
    pub(super) async fn beat(self: Arc<Self>) {
        PULSE.set(Some(self.clone()));
        poll_fn(|cx| {
            self.heart.register(cx.waker());
            self.answer();
            if self.is_given_up() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Gives the arbiter up, which has not answered for `after`: tells the supervisor of each who lives here, the culprit's last. Its
    /// thread ends by itself if it ever gets that far. Says who blocks it; `None` where nobody lives here or it was given up before.
    pub(super) fn give_up(&self, after: Duration) -> Option<String> {
        let residents: Vec<(u64, Resident)> = {
            let lives = self.lock();
            if self.given_up.swap(true, Ordering::AcqRel) {
                return None;
            }
            // They leave by themselves.
            let told = lives.residents.iter();
            told.map(|(key, one)| (*key, one.clone())).collect()
        };
        self.heart.wake();
        if let Some(handle) = &self.handle {
            handle.stop();
        }
        let polled = self.polled.load(Ordering::Relaxed);
        let known = residents.iter().position(|(key, _)| *key == polled);
        let by = match known {
            Some(at) => residents[at].1.who.name().to_string(),
            None => "something that is not supervised".to_owned(),
        };
        log::error!(
            "an arbiter has not moved for {after:?}: it is blocked by {by}; {} that live there are started again elsewhere",
            residents.len()
        );
        // Somebody has to be charged, or an arbiter that blocks again and again would never be too much.
        let charged = known.or(if residents.is_empty() { None } else { Some(0) });
        let (mut last, mut others) = (None, Vec::new());
        for (at, (_, resident)) in residents.into_iter().enumerate() {
            if charged == Some(at) {
                last = Some(resident);
            } else {
                others.push(resident);
            }
        }
        let tell = |resident: Resident, exit: Exit, charged: bool| {
            // Should its thread ever wake, it ends at its next poll.
            resident.who.kill();
            let news = News::Lost { exit, charged };
            resident.office.tell(resident.child, resident.epoch, news);
        };
        for resident in others {
            tell(resident, Exit::Blocked(by.clone()), false);
        }
        let last = last?;
        let exit = match known {
            Some(_) => Exit::Hung,
            None => Exit::Blocked(by.clone()),
        };
        tell(last, exit, true);
        Some(by)
    }

    /// In a simulation: true if it stands still; who asks is woken when it moves again.
    pub(super) fn is_frozen(&self, waker: &Waker) -> bool {
        if !self.frozen.load(Ordering::Acquire) {
            return false;
        }
        self.lock().parked.push(waker.clone());
        true
    }

    /// In a simulation: the life `key` blocks it for `span`.
    pub(super) fn freeze(
        self: &Arc<Self>,
        clock: &Clock,
        span: Duration,
        hang_after: Option<Duration>,
    ) {
        self.frozen.store(true, Ordering::Release);
        let until = clock.now() + span;
        let (pulse, sleeper) = (self.clone(), clock.clone());
        actix_rt::spawn(async move {
            if let Some(after) = hang_after.filter(|after| *after < span) {
                sleeper.sleep(after).await;
                pulse.give_up(after);
                // Of the dead nobody wants to know how long they stay.
                if span == Duration::MAX {
                    return;
                }
            }
            sleeper.sleep_until(until).await;
            pulse.frozen.store(false, Ordering::Release);
            pulse.exit();
            let parked = std::mem::take(&mut pulse.lock().parked);
            parked.into_iter().for_each(Waker::wake);
        });
    }
}
