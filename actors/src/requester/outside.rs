//! Requests that come from outside: somebody else listens, and asks here.

use std::fmt;
use std::sync::Arc;

use super::core::Inner;
use crate::balancer::{BalancerCore, CallError, CallOptions};
use crate::book::Book;
use crate::clock::Time;
use crate::job::{Answer, Job, Served};

/// Asks for whoever comes from outside, and keeps the account of it. Clones ask for the same requester, from any thread.
#[derive(Clone)]
pub struct Asker {
    pub(super) inner: Arc<Inner>,
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Asker")
            .field(&self.inner.parts.name)
            .finish()
    }
}

/// A request under way. Dropped before its end, nobody waits for the answer any more.
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
    /// Asks for `book`. Dropping the future cancels the request, wherever it is.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn ask(&self, book: Book, options: CallOptions) -> Result<Answer, CallError> {
        let inner = &self.inner;
        let asked: Time = inner.parts.to.clock().now();
        let number = inner.asked();
        let job = Job {
            book: Some(book),
            ..inner.job(number)
        };
        let mut under_way = UnderWay {
            asker: self,
            open: true,
        };
        let answer = match inner.parts.to.start_at(job, asked, options).await {
            Ok(call) => call.await,
            Err(error) => Err(error),
        };
        under_way.open = false;
        inner.heard(number, asked, &answer);
        answer
    }

    /// What is special about its requests: what the requester says.
    pub fn options(&self) -> CallOptions {
        CallOptions::default().priority(self.inner.parts.priority)
    }

    /// Whom it asks.
    pub fn to(&self) -> &Arc<BalancerCore<Served>> {
        &self.inner.parts.to
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.inner.parts.name
    }

    /// True once it is to ask nothing more.
    pub fn is_closing(&self) -> bool {
        self.inner.is_closing()
    }

    /// Waits until it is to ask nothing more.
    pub async fn closing(&self) {
        let mut closing = self.inner.closing.subscribe();
        // The sender is kept in `inner`.
        let _ = closing.wait_for(|closing| *closing).await;
    }
}
