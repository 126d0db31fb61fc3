//! The reply slot: carries the reply to the caller, and cancellation to the workers.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use smallvec::SmallVec;

use super::call::CallError;
use gopherworks_supervision::__private::guarded;
use gopherworks_supervision::Guarded;

/// Shared by the caller and all copies of one request. The request table decides which reply
/// counts.
pub(crate) struct ReplySlot<R>(Mutex<ReplyState<R>>);

enum ReplyState<R> {
    Open {
        caller: Option<Waker>,
        runners: SmallVec<[Waker; 1]>,
    },
    /// `Guarded`: a panic in the drop of the user's value is caught.
    Done(Result<Guarded<R>, CallError>),
    Over,
}

impl<R> ReplySlot<R> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(ReplyState::Open { caller: None, runners: SmallVec::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, ReplyState<R>> {
        // Nothing panics under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores the result and wakes the caller and the running copies. Dropped if the call was
    /// abandoned.
    pub(crate) fn settle(&self, result: Result<Guarded<R>, CallError>) {
        let mut state = self.lock();
        let ReplyState::Open { caller, runners } = &mut *state else {
            drop(state);
            drop(result);
            return;
        };
        let (caller, runners) = (caller.take(), std::mem::take(runners));
        *state = ReplyState::Done(result);
        drop(state);
        caller.into_iter().chain(runners).for_each(wake);
    }

    /// The caller is gone: wakes the running copies, so that they stop.
    pub(crate) fn abandon(&self) {
        let before = std::mem::replace(&mut *self.lock(), ReplyState::Over);
        if let ReplyState::Open { runners, .. } = before {
            runners.into_iter().for_each(wake);
        }
    }

    /// Returns the result, once; otherwise registers the caller's waker.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<Result<R, CallError>> {
        let mut state = self.lock();
        if let ReplyState::Open { caller, .. } = &mut *state {
            let before = match caller {
                Some(known) if known.will_wake(cx.waker()) => None,
                _ => caller.replace(cx.waker().clone()),
            };
            drop(state);
            drop(before);
            return Poll::Pending;
        }
        match std::mem::replace(&mut *state, ReplyState::Over) {
            ReplyState::Done(result) => Poll::Ready(result.map(Guarded::into_inner)),
            ReplyState::Open { .. } | ReplyState::Over => Poll::Ready(Err(CallError::Closed)),
        }
    }

    /// True if no further reply is wanted.
    pub(crate) fn is_over(&self) -> bool {
        !matches!(&*self.lock(), ReplyState::Open { .. })
    }

    /// Like `is_over`; if false, registers a running copy's waker.
    pub(crate) fn poll_over(&self, cx: &Context<'_>) -> bool {
        match &mut *self.lock() {
            ReplyState::Open { runners, .. } => {
                if !runners.iter().any(|known| known.will_wake(cx.waker())) {
                    runners.push(cx.waker().clone());
                }
                false
            }
            _ => true,
        }
    }
}

/// Wakes a task and catches its panics. Never called under a lock, since a waker may run any code.
pub(crate) fn wake(waker: Waker) {
    if let Err(text) = guarded(|| waker.wake()) {
        log::error!("a waker panicked: {text}");
    }
}
