//! How calls run inline, and how requests are accepted.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::BalancerCore;
use super::call::{Call, CallError};
use super::inline::InlineRun;
use super::nested::{NESTED_WITHIN, serving, warn};
use super::permits::{NoPermit, Permit};
use super::reply_slot::ReplySlot;
use super::state::{RequestBody, RequestPayload};
use crate::policy::WhenFull;
use crate::resilience::CallOptions;
use crate::table::{Terms, due};
use crate::trace::RequestAct;
use crate::worker::Work;
use gopherworks_supervision::__private::guarded;
use gopherworks_supervision::Guarded;
use gopherworks_supervision::clock::Time;

const LATE: CallError = CallError::DeadlineExceeded { begun: false };

impl<W: Work> BalancerCore<W> {
    /// Calls and waits for the reply: inline in a slot of an idle worker on this arbiter,
    /// otherwise through the queue. Dropping the future cancels the request.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(self: &Arc<Self>, request: W::Request) -> Result<W::Reply, CallError> {
        let mut asked = None;
        // Used in place: moving it would cost a tenth of a short request.
        if let Some(mut run) = InlineRun::borrow(self, &mut asked).await {
            return run.serve(request).await;
        }
        let asked = asked.unwrap_or_else(|| self.clock.now());
        let call = self.start_at(request, asked, CallOptions::default());
        call.await?.await
    }

    /// Takes a queue permit, waiting for one if the queue is full and [`WhenFull::Wait`] is set.
    /// `None` if the queue is unbounded.
    async fn permit(&self, due: Option<Time>) -> Result<Option<Permit>, CallError> {
        let Some(permits) = &self.permits else {
            return Ok(None);
        };
        match (self.settings.full, permits.try_take()) {
            (_, Ok(permit)) => Ok(Some(permit)),
            (_, Err(NoPermit::Closed)) => Err(CallError::Closed),
            (WhenFull::Reject, Err(NoPermit::Full)) => Err(self.rejected(CallError::Full)),
            (WhenFull::Wait, Err(NoPermit::Full)) => {
                let permit = match due {
                    None => permits.take().await,
                    Some(due) => tokio::select! {
                        biased;
                        permit = permits.take() => permit,
                        () = self.clock.sleep_until(due) => return Err(self.rejected(LATE)),
                    },
                };
                permit.map(Some).map_err(|_| CallError::Closed)
            }
        }
    }

    /// Counts a request that was not accepted.
    fn rejected(&self, why: CallError) -> CallError {
        self.lock().table.rejected();
        why
    }

    /// The deadline of a request. One that the balancer's own workers wait for always has one.
    fn due(&self, asked: Time, options: &CallOptions) -> Option<Time> {
        let said = due(asked, options.within, self.settings.resilience.deadline);
        let behalf = serving();
        if behalf & self.mark.bit() == 0 {
            return said;
        }
        if !self.warned.swap(true, Ordering::Relaxed) {
            warn(&self.name, behalf, self.settings.workers);
        }
        said.or(Some(asked + NESTED_WITHIN))
    }

    /// Submits a request, waiting for a queue permit if the queue is full and [`WhenFull::Wait`] is
    /// set. Once this returns, the balancer is responsible for the request. Response time counts
    /// from `asked`.
    ///
    /// # Errors
    /// [`CallError::Full`], [`CallError::Closed`], or [`CallError::DeadlineExceeded`] if the queue
    /// stayed full until the deadline; the request is dropped.
    pub async fn start_at(
        self: &Arc<Self>,
        request: W::Request,
        asked: Time,
        options: CallOptions,
    ) -> Result<Call<W>, CallError> {
        let due = self.due(asked, &options);
        let permit = self.permit(due).await?;
        self.submit(request, permit, asked, options)
    }

    /// Submits a request without waiting.
    ///
    /// # Errors
    /// Like [`BalancerCore::start_at`], with [`CallError::Full`] if the queue is full, whatever
    /// [`Settings::full`](super::Settings::full) says.
    pub fn try_start(
        self: &Arc<Self>,
        request: W::Request,
        options: CallOptions,
    ) -> Result<Call<W>, CallError> {
        let permit = self.permits.as_ref().map(|permits| {
            permits.try_take().map_err(|why| match why {
                NoPermit::Closed => CallError::Closed,
                NoPermit::Full => self.rejected(CallError::Full),
            })
        });
        let permit = permit.transpose()?;
        self.submit(request, permit, self.clock.now(), options)
    }

    fn submit(
        self: &Arc<Self>,
        request: W::Request,
        permit: Option<Permit>,
        asked: Time,
        options: CallOptions,
    ) -> Result<Call<W>, CallError> {
        // If the user's code panics, the request has no cost hint.
        let cost = (self.cost.as_ref()).and_then(|cost| guarded(|| cost(&request)).ok().flatten());
        let body = match self.again {
            Some(_) => RequestBody::Shared(Arc::new(Mutex::new(Guarded::new(request)))),
            None => RequestBody::Once(Some(Guarded::new(request))),
        };
        let reply_slot = Arc::new(ReplySlot::new());
        let item = RequestPayload {
            body,
            reply_slot: reply_slot.clone(),
            asked,
            behalf: serving(),
            _permit: permit,
        };
        let now = self.clock.now();
        let due = self.due(asked, &options);
        if due.is_some_and(|due| due <= now) {
            return Err(self.rejected(LATE));
        }
        let terms = Terms { cost, due, priority: options.priority, key: options.key };
        let (which, effects, ring) = {
            let mut state = self.lock();
            if state.closed {
                drop(state);
                drop(item);
                return Err(CallError::Closed);
            }
            let which = state.table.submit(item, terms, now);
            // Dispatched here, so that the request need not wait for the balancer's actor and
            // whatever else runs on its thread.
            state.table.turn(now);
            let ring = self.is_early(&mut state) || !state.table.is_any_up();
            (which, state.effects(), ring)
        };
        let call = Call { core: self.clone(), reply_slot, which, open: true };
        self.record(&self.name, now, RequestAct::Ask { request: which.number });
        effects.apply(self, None);
        if ring {
            self.ring();
        }
        Ok(call)
    }
}
