//! Requests that run inline on the caller's thread, using a concurrency slot of an idle worker.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::Poll;

use super::BalancerCore;
use super::call::CallError;
use super::inline_slots::{Ended, IdleSlot, Timed, give_way, turn_is_over};
use super::nested::{enter, leave, serving};
use super::serving::Held;
use crate::worker::Work;
use gopherworks_supervision::__private::{WatchedLife, guarded, threads};
use gopherworks_supervision::clock::Time;

/// A worker's concurrency slot in the caller's hands. Dropping it returns the slot.
pub(crate) struct InlineRun<'a, W: Work> {
    core: &'a BalancerCore<W>,
    worker: u32,
    /// True if the request is pending, and the table counts it as running at the worker.
    occupies: bool,
    /// Key of the caller's waker in the worker's slots.
    key: Option<u32>,
    epoch: u64,
    /// When the call was made and when it began, if it is timed.
    times: Option<(Time, Time)>,
    slot: Option<Box<IdleSlot<W>>>,
}

/// Outcome of an inline run.
enum InlineOutcome<R> {
    Answered(R),
    Panicked(String),
    Over,
}

/// An inline request became pending or ended: its worker counts as busy or free, and requests
/// queued for a busy one go to others.
fn occupy<W: Work>(core: &BalancerCore<W>, worker: usize, epoch: u64, busy: bool) {
    let now = core.clock.now();
    let effects = {
        let mut state = core.lock();
        state.table.occupy(worker, epoch, busy, now);
        state.table.turn(now);
        state.effects()
    };
    effects.apply(core, None);
}

/// Runs `work` such that the watchdog attributes a hang to the worker.
#[inline]
fn at<T>(life: &Option<WatchedLife>, work: impl FnOnce() -> T) -> T {
    match life {
        Some(life) => life.blamed(work),
        None => work(),
    }
}

impl<'a, W: Work> InlineRun<'a, W> {
    /// Borrows a slot of an idle worker on this arbiter. Sets `asked` to the time of the call if
    /// the caller had to yield to others first.
    pub(crate) async fn borrow(
        core: &'a BalancerCore<W>,
        asked: &mut Option<Time>,
    ) -> Option<Self> {
        if !core.lending.allowed || !core.lending.trust.is_won() {
            return None;
        }
        let here = threads::number();
        let first = core.lending.at(here, 0).next()?;
        if turn_is_over() {
            *asked = Some(core.clock.now());
            give_way().await;
        }
        if core.sealed.load(Ordering::Relaxed) {
            return None;
        }
        // A worker with a pending wake-up has queued requests to serve.
        let mut free = (core.lending.at(here, first))
            .filter(|worker| !core.roster.workers[*worker].is_wake_pending());
        free.find_map(|worker| {
            let (epoch, slot, is_due) = core.lending.slots[worker].lend()?;
            Some(Self {
                core,
                worker: worker as u32,
                epoch,
                times: (is_due || asked.is_some()).then(|| {
                    let began = core.clock.now();
                    (asked.unwrap_or(began), began)
                }),
                slot: Some(slot),
                occupies: false,
                key: None,
            })
        })
    }

    /// Runs the request in the slot.
    pub(crate) async fn serve(&mut self, request: W::Request) -> Result<W::Reply, CallError> {
        let ran = self.run(request).await;
        let core = self.core;
        let name = &core.roster.workers[self.worker as usize].name;
        match ran {
            InlineOutcome::Answered(reply) => {
                let timed = self.times.map(|(asked, began)| Timed {
                    waited: began - asked,
                    took: core.clock.now() - began,
                });
                self.end(Ended::Answered(timed));
                Ok(reply)
            }
            InlineOutcome::Panicked(text) => {
                let reason = format!("{name} panicked: {text}");
                self.end(Ended::Panicked(text));
                Err(CallError::WorkerLost { reason })
            }
            InlineOutcome::Over => {
                self.end(Ended::Lost);
                if core.sealed.load(Ordering::SeqCst) {
                    return Err(CallError::Closed);
                }
                let reason = format!("{name} ended before it had answered");
                Err(CallError::WorkerLost { reason })
            }
        }
    }

    async fn run(&mut self, request: W::Request) -> InlineOutcome<W::Reply> {
        let (core, worker, epoch) = (self.core, self.worker as usize, self.epoch);
        let Some(slot) = &mut self.slot else {
            return InlineOutcome::Over;
        };
        let IdleSlot { work, life } = &mut **slot;
        let work: &mut W = work;
        let future = match at(life, || guarded(|| work.work(request))) {
            Ok(future) => future,
            Err(text) => return InlineOutcome::Panicked(text),
        };
        let mut future = pin!(Held::new(future));
        let (occupies, key) = (&mut self.occupies, &mut self.key);
        poll_fn(|cx| {
            if *occupies && core.lending.slots[worker].poll_over(epoch, key, cx) {
                return Poll::Ready(InlineOutcome::Over);
            }
            // Made anew for each poll, which is part of a poll by the caller: captured, it would be
            // moved once more. Polling does not panic: it is guarded.
            let before = enter(serving() | core.mark.bit());
            let polled = at(life, || future.as_mut().poll_guarded(cx));
            leave(before);
            match polled {
                Ok(Poll::Ready(reply)) => Poll::Ready(InlineOutcome::Answered(reply)),
                Err(text) => Poll::Ready(InlineOutcome::Panicked(text)),
                Ok(Poll::Pending) if *occupies => Poll::Pending,
                Ok(Poll::Pending) => {
                    *occupies = true;
                    core.lending.trust.is_lost();
                    occupy(core, worker, epoch, true);
                    match core.lending.slots[worker].poll_over(epoch, key, cx) {
                        true => Poll::Ready(InlineOutcome::Over),
                        false => Poll::Pending,
                    }
                }
            }
        })
        .await
    }

    #[inline]
    fn end(&mut self, ended: Ended) {
        let Some(slot) = self.slot.take() else {
            return;
        };
        let (core, worker) = (self.core, self.worker as usize);
        // Work that has panicked is not reused.
        let (slot, broken) = match ended {
            Ended::Panicked(_) => (None, Some(slot)),
            _ => (Some(slot), None),
        };
        let tell = core.lending.slots[worker].give_back(self.epoch, slot, self.key.take(), ended);
        drop(broken);
        if self.occupies {
            occupy(core, worker, self.epoch, false);
        }
        if tell {
            core.roster.workers[worker].notify();
        }
        if core.sealed.load(Ordering::SeqCst) {
            core.changed.notify_waiters();
        }
    }
}

impl<W: Work> Drop for InlineRun<'_, W> {
    fn drop(&mut self) {
        self.end(Ended::Dropped);
    }
}
