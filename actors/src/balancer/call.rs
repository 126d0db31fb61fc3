//! A request under way, as its caller sees it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::BalancerCore;
use super::cell::Cell;
use super::desk::Ref;
use crate::worker::Work;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The worker that had begun it is lost, and it may not be begun again: it is not declared idempotent, or was the end of as many
    /// workers as it has attempts. It may have had its effect.
    #[error("the worker was lost: {reason}")]
    WorkerLost {
        /// What the worker died of.
        reason: String,
    },
    /// The balancer is stopped, or draining. What had not begun has had no effect.
    #[error("the balancer is closed")]
    Closed,
    /// There is no room in the balancer's queue. It has had no effect.
    #[error("the balancer's queue is full")]
    Full,
    /// It would have waited too long for a worker while the balancer is overloaded. It has had no effect.
    #[error("shed after waiting {} ms: the balancer is overloaded", waited.as_millis())]
    Shed {
        /// How long it had waited.
        waited: Duration,
    },
    /// Its time was over before there was an answer.
    #[error("the deadline has passed {}", if *.begun { "while it was worked on" } else { "before a worker was free" })]
    DeadlineExceeded {
        /// True if a worker had begun it: it may have had its effect.
        begun: bool,
    },
}

impl CallError {
    /// True if no worker had begun it: asking again, or somebody else, does no harm.
    pub fn had_no_effect(&self) -> bool {
        match self {
            CallError::WorkerLost { .. } => false,
            CallError::DeadlineExceeded { begun } => !begun,
            // What had begun when the balancer was stopped is told so as well.
            CallError::Closed => false,
            CallError::Full | CallError::Shed { .. } => true,
        }
    }
}

/// A request that the balancer has taken. Awaiting it gives the answer; dropping it cancels the request, queued or running.
///
/// A running request is cancelled at the next `await` of its worker's future, which is dropped there; blocking work runs on and
/// its answer is dropped.
#[must_use = "dropping a call cancels its request; `detach` lets it run"]
pub struct Call<W: Work> {
    pub(super) core: Arc<BalancerCore<W>>,
    pub(super) cell: Arc<Cell<W::Reply>>,
    pub(super) which: Ref,
    pub(super) open: bool,
}

impl<W: Work> Call<W> {
    /// The request's number at its balancer, from 0; no other request of it has the same.
    pub fn id(&self) -> u64 {
        self.which.number
    }

    /// Lets the request run to its end with nobody waiting for the answer.
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
        let result = std::task::ready!(this.cell.poll(cx));
        this.open = false;
        Poll::Ready(result)
    }
}

impl<W: Work> Drop for Call<W> {
    fn drop(&mut self) {
        if self.open {
            self.core.cancel(self.which);
            self.cell.abandon();
        }
    }
}
