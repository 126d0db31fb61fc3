//! A request in flight, as its caller sees it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::BalancerCore;
use super::reply_slot::ReplySlot;
use crate::table::Ref;
use crate::worker::Work;

/// Why a call has no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// The worker that ran it is lost, and the request is not retried: it is not idempotent, its
    /// attempts are used up, or the retry budget is. It may have had its effect.
    WorkerLost {
        /// How the worker was lost.
        reason: String,
    },
    /// The balancer is stopped or draining. A request that had not started has had no effect.
    Closed,
    /// The balancer's queue is full. The request has had no effect.
    Full,
    /// Shed under overload. The request has had no effect.
    Shed {
        /// How long the request had been queued.
        waited: Duration,
    },
    /// The deadline passed before there was a reply.
    DeadlineExceeded {
        /// True if a worker had started it: it may have had its effect.
        begun: bool,
    },
}

impl CallError {
    /// True if certainly no worker had started the request, so that calling again is safe.
    pub fn had_no_effect(&self) -> bool {
        match self {
            CallError::WorkerLost { .. } => false,
            CallError::DeadlineExceeded { begun } => !begun,
            // Running requests get this error as well when the balancer stops.
            CallError::Closed => false,
            CallError::Full | CallError::Shed { .. } => true,
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::WorkerLost { reason } => write!(f, "the worker was lost: {reason}"),
            CallError::Closed => f.write_str("the balancer is closed"),
            CallError::Full => f.write_str("the balancer's queue is full"),
            CallError::Shed { waited } => {
                let ms = waited.as_millis();
                write!(f, "shed after waiting {ms} ms: the balancer is overloaded")
            }
            CallError::DeadlineExceeded { begun } => f.write_str(match begun {
                true => "the deadline has passed while it was worked on",
                false => "the deadline has passed before a worker was free",
            }),
        }
    }
}

impl std::error::Error for CallError {}

/// A request that the balancer has accepted. Awaiting it gives the reply; dropping it cancels the
/// request, queued or running.
///
/// A running request is cancelled at the next `await` of the worker's future, which is dropped
/// there. Blocking work runs to completion and its reply is dropped.
#[must_use = "dropping a call cancels its request; `detach` lets it run"]
pub struct Call<W: Work> {
    pub(crate) core: Arc<BalancerCore<W>>,
    pub(crate) reply_slot: Arc<ReplySlot<W::Reply>>,
    pub(crate) which: Ref,
    pub(crate) open: bool,
}

impl<W: Work> Call<W> {
    /// The request's number in its balancer, from 0; never reused.
    pub fn id(&self) -> u64 {
        self.which.number
    }

    /// Lets the request run to completion; its reply is dropped.
    pub fn detach(mut self) {
        self.open = false;
    }
}

impl<W: Work> fmt::Debug for Call<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("id", &self.id()).finish()
    }
}

impl<W: Work> Future for Call<W> {
    type Output = Result<W::Reply, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let result = std::task::ready!(this.reply_slot.poll(cx));
        this.open = false;
        Poll::Ready(result)
    }
}

impl<W: Work> Drop for Call<W> {
    fn drop(&mut self) {
        if self.open {
            self.core.cancel(self.which);
            self.reply_slot.abandon();
        }
    }
}
