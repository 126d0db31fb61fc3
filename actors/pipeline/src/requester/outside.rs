//! Requests from outside, such as an HTTP listener's.

use std::fmt;
use std::sync::Arc;

use super::core::Inner;
use crate::book::Book;
use crate::job::{Answer, Job, Served};
use gopherworks_balancer::__private::BalancerCore;
use gopherworks_balancer::{CallError, CallOptions};
use gopherworks_supervision::clock::Time;

/// Sends requests on behalf of external clients, and counts them. Clones share one requester and
/// can be used from any thread.
#[derive(Clone)]
pub struct Asker {
    pub(super) inner: Arc<Inner>,
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Asker").field(&self.inner.parts.name).finish()
    }
}

/// Counts the request as cancelled if dropped before its end.
struct UnderWay<'a> {
    asker: &'a Asker,
    open: bool,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if self.open {
            self.asker.inner.gone();
        }
    }
}

impl Asker {
    /// Sends a request about `book` and waits for the reply. Dropping the future cancels the
    /// request, queued or running.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn ask(&self, book: Book, options: CallOptions) -> Result<Answer, CallError> {
        let inner = &self.inner;
        let asked: Time = inner.parts.to.clock().now();
        let number = inner.asked();
        let job = Job { book: Some(book), ..inner.job(number) };
        let mut under_way = UnderWay { asker: self, open: true };
        let answer = match inner.parts.to.start_at(job, asked, options).await {
            Ok(call) => call.await,
            Err(error) => Err(error),
        };
        under_way.open = false;
        inner.heard(number, asked, &answer);
        answer
    }

    /// Default options of its requests, with the requester's priority.
    pub fn options(&self) -> CallOptions {
        CallOptions::default().priority(self.inner.parts.priority)
    }

    /// The balancer to call.
    pub fn to(&self) -> &Arc<BalancerCore<Served>> {
        &self.inner.parts.to
    }

    /// The requester's name.
    pub fn name(&self) -> &Arc<str> {
        &self.inner.parts.name
    }

    /// True once no further requests should be sent.
    pub fn is_closing(&self) -> bool {
        self.inner.is_closing()
    }

    /// Waits until no further requests should be sent.
    pub async fn closing(&self) {
        let mut closing = self.inner.closing.subscribe();
        // Cannot fail: `inner` keeps the sender.
        let _ = closing.wait_for(|closing| *closing).await;
    }
}
