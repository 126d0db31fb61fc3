//! How requests are accepted.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::{BalancerCore, Body, Item};
use crate::call::{Call, CallError};
use crate::cell::Cell;
use crate::desk::{Terms, due};
use crate::nested::{NESTED_WITHIN, serving, warn};
use crate::policy::Full;
use crate::resilience::CallOptions;
use crate::room::{NoPlace, Place};
use crate::trace::RequestAct;
use crate::worker::Work;
use gopherworks_supervision::Guarded;
use gopherworks_supervision::clock::Time;
use gopherworks_supervision::pool::guarded;

const LATE: CallError = CallError::DeadlineExceeded { begun: false };

impl<W: Work> BalancerCore<W> {
    /// Takes a queue permit, waiting for one if the queue is full and [`Full::Wait`] is set.
    /// `None` if the queue is unbounded.
    async fn room(&self, due: Option<Time>) -> Result<Option<Place>, CallError> {
        let Some(room) = &self.room else {
            return Ok(None);
        };
        match (self.settings.full, room.try_take()) {
            (_, Ok(place)) => Ok(Some(place)),
            (_, Err(NoPlace::Closed)) => Err(CallError::Closed),
            (Full::Reject, Err(NoPlace::Full)) => Err(self.rejected(CallError::Full)),
            (Full::Wait, Err(NoPlace::Full)) => {
                let place = match due {
                    None => room.take().await,
                    Some(due) => tokio::select! {
                        biased;
                        place = room.take() => place,
                        () = self.clock.sleep_until(due) => return Err(self.rejected(LATE)),
                    },
                };
                place.map(Some).map_err(|_| CallError::Closed)
            }
        }
    }

    /// Counts a request that was not accepted.
    fn rejected(&self, why: CallError) -> CallError {
        self.lock().desk.rejected();
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

    /// Submits a request, waiting for a queue permit if the queue is full and [`Full::Wait`] is
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
        let room = self.room(due).await?;
        self.submit(request, room, asked, options)
    }

    /// Submits a request without waiting.
    ///
    /// # Errors
    /// Like [`BalancerCore::start_at`], with [`CallError::Full`] if the queue is full, whatever
    /// [`Settings::full`](crate::Settings::full) says.
    pub fn try_start(
        self: &Arc<Self>,
        request: W::Request,
        options: CallOptions,
    ) -> Result<Call<W>, CallError> {
        let place = self.room.as_ref().map(|room| {
            room.try_take().map_err(|why| match why {
                NoPlace::Closed => CallError::Closed,
                NoPlace::Full => self.rejected(CallError::Full),
            })
        });
        let room = place.transpose()?;
        self.submit(request, room, self.clock.now(), options)
    }

    fn submit(
        self: &Arc<Self>,
        request: W::Request,
        room: Option<Place>,
        asked: Time,
        options: CallOptions,
    ) -> Result<Call<W>, CallError> {
        // If the user's code panics, the request has no cost hint.
        let cost = (self.cost.as_ref()).and_then(|cost| guarded(|| cost(&request)).ok().flatten());
        let body = match self.again {
            Some(_) => Body::Shared(Arc::new(Mutex::new(Guarded::new(request)))),
            None => Body::Once(Some(Guarded::new(request))),
        };
        let cell = Arc::new(Cell::new());
        let item = Item { body, cell: cell.clone(), asked, behalf: serving(), _room: room };
        let now = self.clock.now();
        let due = self.due(asked, &options);
        if due.is_some_and(|due| due <= now) {
            return Err(self.rejected(LATE));
        }
        let terms = Terms { cost, due, priority: options.priority, key: options.key };
        let (which, told, ring) = {
            let mut state = self.lock();
            if state.closed {
                drop(state);
                drop(item);
                return Err(CallError::Closed);
            }
            let which = state.desk.submit(item, terms, now);
            // Dispatched here, so that the request need not wait for the balancer's actor and
            // whatever else runs on its thread.
            state.desk.turn(now);
            let ring = self.is_early(&mut state) || !state.desk.is_any_up();
            (which, state.told(), ring)
        };
        let call = Call { core: self.clone(), cell, which, open: true };
        self.record(&self.name, now, RequestAct::Ask { request: which.number });
        self.tell(told, None);
        if ring {
            self.ring();
        }
        Ok(call)
    }
}
