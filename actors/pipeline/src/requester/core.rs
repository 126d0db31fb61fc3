//! Requester state that outlives its actor: requests in flight and statistics.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use hdrhistogram::Histogram;
use tokio::sync::watch;

use super::actor::Requester;
use super::load::{Load, Order};
use super::outside::Asker;
use super::requests;
use crate::job::{Answer, Job, Served};
use gopherworks_balancer::__private::{BalancerCore, histogram, record};
use gopherworks_balancer::figures::Tail;
use gopherworks_balancer::{CallError, CallOptions, Priority};
use gopherworks_supervision::Port;
use gopherworks_supervision::clock::Time;
use gopherworks_supervision::failure::Failure;

/// What a requester is built from.
pub struct RequesterParts {
    /// The requester's name; together with a request's number it identifies the request.
    pub name: Arc<str>,
    /// The balancer to call.
    pub to: Arc<BalancerCore<Served>>,
    /// When requests are sent. A rate given as utilisation has to be resolved before.
    pub load: Load,
    /// Order in which the replies to a batch are taken.
    pub order: Order,
    /// Priority of its requests.
    pub priority: Priority,
    /// Number of affinity keys that its requests use in turn (>= 1); `None` sets no key.
    pub keys: Option<u32>,
    /// Factor on think times and on the gaps between arrivals.
    pub time_scale: f64,
    /// Called with the number and the reason of each request that fails.
    pub failed: Option<FailureCallback>,
    /// Called when all requests were sent and answered.
    pub ended: Arc<dyn Fn() + Send + Sync>,
}

/// Callback for failed requests.
pub type FailureCallback = Arc<dyn Fn(u64, &Unanswered<'_>) + Send + Sync>;

/// Why a request has no reply.
#[derive(Debug)]
pub enum Unanswered<'a> {
    /// The worker replied with an error.
    Error(&'a Failure),
    /// The call failed.
    Call(&'a CallError),
}

impl fmt::Debug for RequesterParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequesterParts")
            .field("name", &self.name)
            .field("load", &self.load)
            .finish()
    }
}

/// Statistics of a requester.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RequesterFigures {
    /// Requests sent.
    pub asked: u64,
    /// Requests answered without an error.
    pub answered: u64,
    /// Requests that failed: the worker replied with an error or was lost, or the balancer closed.
    pub failed: u64,
    /// Failed requests to which a worker replied with an error; included in `failed`.
    pub errors: u64,
    /// Requests refused by the balancer: queue full, shed, or deadline passed.
    pub rejected: u64,
    /// Requests whose client went away before the reply.
    pub cancelled: u64,
    /// Requests not yet over.
    pub in_flight: u64,
    /// Response times of answered requests, from the call to the reply.
    pub response: Tail,
    /// When the last successful reply arrived.
    pub last: Time,
}

impl RequesterFigures {
    /// asked - answered - failed - rejected - cancelled - in_flight: always 0.
    pub fn lost(&self) -> i64 {
        let over = self.answered + self.failed + self.rejected + self.cancelled;
        self.asked as i64 - over as i64 - self.in_flight as i64
    }
}

/// State shared by the requester's actor and its requests.
pub(super) struct Inner {
    pub(super) parts: RequesterParts,
    pub(super) closing: watch::Sender<bool>,
    state: Mutex<RequesterState>,
}

struct RequesterState {
    heard: RequesterFigures,
    response: Histogram<u64>,
    responses: f64,
    done: bool,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, RequesterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn job(&self, number: u64) -> Job {
        Job { from: self.parts.name.clone(), number, copy: 0, attempt: 1, book: None }
    }

    pub(super) fn options(&self, number: u64) -> CallOptions {
        let options = CallOptions::default().priority(self.parts.priority);
        match self.parts.keys {
            Some(keys) => options.key(&(&*self.parts.name, number % u64::from(keys.max(1)))),
            None => options,
        }
    }

    /// Counts a request; returns how many were counted before.
    pub(super) fn asked(&self) -> u64 {
        let mut state = self.lock();
        let before = state.heard.asked;
        state.heard.asked += 1;
        state.heard.in_flight += 1;
        before
    }

    /// Counts a request as cancelled: its client is gone.
    pub(super) fn gone(&self) {
        let mut state = self.lock();
        state.heard.in_flight -= 1;
        state.heard.cancelled += 1;
    }

    /// Counts the outcome of request `number`, which was sent at `asked`.
    pub(super) fn heard(&self, number: u64, asked: Time, result: &Result<Answer, CallError>) {
        if let Some(failed) = &self.parts.failed {
            match result {
                Ok(Ok(_)) => {}
                Ok(Err(failure)) => failed(number, &Unanswered::Error(failure)),
                Err(error) => failed(number, &Unanswered::Call(error)),
            }
        }
        let now = self.parts.to.clock().now();
        let mut state = self.lock();
        state.heard.in_flight -= 1;
        let heard = &mut state.heard;
        match result {
            Ok(Ok(_)) => heard.answered += 1,
            Ok(Err(_)) => {
                heard.failed += 1;
                heard.errors += 1;
            }
            Err(CallError::Full | CallError::Shed { .. } | CallError::DeadlineExceeded { .. }) => {
                heard.rejected += 1
            }
            Err(_) => heard.failed += 1,
        }
        if let Ok(Ok(_)) = result {
            heard.last = now;
            record(&mut state.response, now - asked);
            state.responses += (now - asked).as_secs_f64();
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }
}

/// State of a requester that outlives its actor.
pub struct RequesterCore {
    /// Sends to the requester's current actor.
    pub port: Port<Requester>,
    inner: Arc<Inner>,
    /// All requests in flight, polled by the current incarnation.
    requests: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl fmt::Debug for RequesterCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.parts.fmt(f)
    }
}

impl RequesterCore {
    /// A requester that starts sending with its actor's first incarnation.
    pub fn new(parts: RequesterParts) -> Arc<Self> {
        Self::made(parts, |inner| Box::pin(requests::run(inner)))
    }

    /// A requester for requests from outside. The future made by `listen` runs in its actor, and
    /// later incarnations continue it. It should end once the requester is closed
    /// ([`Asker::closing`]) and everything accepted is answered.
    pub fn outside(
        parts: RequesterParts,
        listen: impl FnOnce(Asker) -> BoxFuture<'static, ()>,
    ) -> Arc<Self> {
        Self::made(parts, |inner| listen(Asker { inner }))
    }

    fn made(
        parts: RequesterParts,
        requests: impl FnOnce(Arc<Inner>) -> BoxFuture<'static, ()>,
    ) -> Arc<Self> {
        let inner = Arc::new(Inner {
            parts,
            closing: watch::Sender::new(false),
            state: Mutex::new(RequesterState {
                heard: RequesterFigures::default(),
                response: histogram(),
                responses: 0.0,
                done: false,
            }),
        });
        let requests = requests(inner.clone());
        Arc::new(Self { port: Port::new(), inner, requests: Mutex::new(Some(requests)) })
    }

    /// The requester's name.
    pub fn name(&self) -> &Arc<str> {
        &self.inner.parts.name
    }

    /// When requests are sent.
    pub fn load(&self) -> &Load {
        &self.inner.parts.load
    }

    /// Polls what is in flight; ready when all requests were sent and answered.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        // One incarnation at a time. A hung one cannot hold this lock, since no user code runs
        // under it.
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(going) = requests.as_mut() else {
            return Poll::Ready(());
        };
        std::task::ready!(going.as_mut().poll(cx));
        *requests = None;
        drop(requests);
        self.inner.lock().done = true;
        (self.inner.parts.ended)();
        Poll::Ready(())
    }

    /// Stops sending; requests in flight run to completion.
    pub fn close(&self) {
        self.inner.closing.send_replace(true);
    }

    /// Drops the requests in flight: for the end of a run whose actors are gone.
    pub fn give_up(&self) {
        let requests = (self.requests.lock().unwrap_or_else(PoisonError::into_inner)).take();
        // Dropping the calls cancels them.
        drop(requests);
    }

    /// True once all requests were sent and answered.
    pub fn is_done(&self) -> bool {
        self.inner.lock().done
    }

    /// Total number of requests, if known.
    pub fn total(&self) -> Option<u64> {
        match self.inner.parts.load {
            Load::Closed { requests, .. } | Load::Open { requests, .. } => requests,
            Load::Batch { requests } => Some(requests),
            Load::Outside { requests } => requests,
        }
    }

    /// Statistics since the start.
    pub fn figures(&self) -> RequesterFigures {
        let state = self.inner.lock();
        RequesterFigures { response: Tail::new(&state.response, state.responses), ..state.heard }
    }
}

pub(super) fn scaled(span: Duration, factor: f64) -> Duration {
    if factor == 1.0 { span } else { gopherworks_supervision::span::times(span, factor) }
}
