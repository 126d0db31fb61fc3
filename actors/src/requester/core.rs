//! What there is of a requester whether or not its actor lives.

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
use super::way;
use crate::balancer::desk::times::{histogram, record};
use crate::balancer::figures::Tail;
use crate::balancer::{BalancerCore, CallError, CallOptions, Priority};
use crate::clock::Time;
use crate::failure::Failure;
use crate::job::{Answer, Job, Served};
use crate::supervision::Port;

/// What a requester is made of.
pub struct RequesterParts {
    /// Its name; with a request's number it names the request.
    pub name: Arc<str>,
    /// Whom it asks.
    pub to: Arc<BalancerCore<Served>>,
    /// When it asks. A rate as a utilisation has to be resolved before.
    pub load: Load,
    /// In which order it takes the answers to a batch.
    pub order: Order,
    /// Which requests go first where they wait.
    pub priority: Priority,
    /// Its requests are about so many things in turn (>= 1), each with a key of its own.
    pub keys: Option<u32>,
    /// Factor on thinking times and on the gaps between arrivals.
    pub time_scale: f64,
    /// Called with the number of each request that fails, and why.
    pub failed: Option<Told>,
    /// Called when it has asked for everything and has all answers.
    pub ended: Arc<dyn Fn() + Send + Sync>,
}

/// Hears why requests fail.
pub type Told = Arc<dyn Fn(u64, &Unanswered<'_>) + Send + Sync>;

/// Why a request has no answer.
#[derive(Debug)]
pub enum Unanswered<'a> {
    /// Its worker answered with an error.
    Error(&'a Failure),
    /// It was not answered.
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

/// What a requester has asked and heard so far.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Asked {
    /// Requests made.
    pub asked: u64,
    /// Answered.
    pub answered: u64,
    /// Failed: their worker answered with an error or was lost, or the balancer was closed.
    pub failed: u64,
    /// Those of `failed` that a worker answered with an error.
    pub errors: u64,
    /// Refused by the balancer: its queue was full, it was overloaded, or the deadline passed.
    pub rejected: u64,
    /// Who asked has gone away before the answer.
    pub cancelled: u64,
    /// Not over.
    pub in_flight: u64,
    /// Of those that were answered, from asking to the answer.
    pub response: Tail,
    /// When the last answer came.
    pub last: Time,
}

impl Asked {
    /// asked - answered - failed - rejected - cancelled - in flight: always 0.
    pub fn lost(&self) -> i64 {
        let over = self.answered + self.failed + self.rejected + self.cancelled;
        self.asked as i64 - over as i64 - self.in_flight as i64
    }
}

/// What the requester's actor and its requests share.
pub(super) struct Inner {
    pub(super) parts: RequesterParts,
    pub(super) closing: watch::Sender<bool>,
    state: Mutex<State>,
}

struct State {
    heard: Asked,
    response: Histogram<u64>,
    responses: f64,
    done: bool,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn job(&self, number: u64) -> Job {
        Job {
            from: self.parts.name.clone(),
            number,
            copy: 0,
            book: None,
        }
    }

    pub(super) fn options(&self, number: u64) -> CallOptions {
        let options = CallOptions::default().priority(self.parts.priority);
        match self.parts.keys {
            Some(keys) => options.key(&(&*self.parts.name, number % u64::from(keys.max(1)))),
            None => options,
        }
    }

    /// A request is made; gives how many were made before.
    pub(super) fn asked(&self) -> u64 {
        let mut state = self.lock();
        let before = state.heard.asked;
        state.heard.asked += 1;
        state.heard.in_flight += 1;
        before
    }

    /// Nobody waits for a request any more.
    pub(super) fn gone(&self) {
        let mut state = self.lock();
        state.heard.in_flight -= 1;
        state.heard.cancelled += 1;
    }

    /// What came of the request of this number, which was asked at `asked`.
    pub(super) fn heard(&self, number: u64, asked: Time, result: &Result<Answer, CallError>) {
        if let Some(told) = &self.parts.failed {
            match result {
                Ok(Ok(_)) => {}
                Ok(Err(failure)) => told(number, &Unanswered::Error(failure)),
                Err(error) => told(number, &Unanswered::Call(error)),
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

/// What there is of a requester whether or not its actor lives.
pub struct RequesterCore {
    /// How to reach its actor.
    pub port: Port<Requester>,
    inner: Arc<Inner>,
    /// All that is under way, polled by the present life.
    way: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl fmt::Debug for RequesterCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.parts.fmt(f)
    }
}

impl RequesterCore {
    /// A requester that begins with its actor's first life.
    pub fn new(parts: RequesterParts) -> Arc<Self> {
        Self::made(parts, |inner| Box::pin(way::go(inner)))
    }

    /// A requester for requests from outside: `listen` runs in its actor, begun with the first life and gone on with by the later ones, until
    /// it is closed ([`Asker::closing`]) and everything that it has accepted is answered.
    pub fn outside(
        parts: RequesterParts,
        listen: impl FnOnce(Asker) -> BoxFuture<'static, ()>,
    ) -> Arc<Self> {
        Self::made(parts, |inner| listen(Asker { inner }))
    }

    fn made(
        parts: RequesterParts,
        way: impl FnOnce(Arc<Inner>) -> BoxFuture<'static, ()>,
    ) -> Arc<Self> {
        let inner = Arc::new(Inner {
            parts,
            closing: watch::Sender::new(false),
            state: Mutex::new(State {
                heard: Asked::default(),
                response: histogram(),
                responses: 0.0,
                done: false,
            }),
        });
        let way = way(inner.clone());
        Arc::new(Self {
            port: Port::new(),
            inner,
            way: Mutex::new(Some(way)),
        })
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.inner.parts.name
    }

    /// When it asks.
    pub fn load(&self) -> &Load {
        &self.inner.parts.load
    }

    /// Goes on with all that is under way; ready when everything was asked and answered.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        // One life at a time: a hung one would hold this, and there is no user code under it.
        let mut way = self.way.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(going) = way.as_mut() else {
            return Poll::Ready(());
        };
        std::task::ready!(going.as_mut().poll(cx));
        *way = None;
        drop(way);
        self.inner.lock().done = true;
        (self.inner.parts.ended)();
        Poll::Ready(())
    }

    /// It asks nothing more; what was asked runs to its end.
    pub fn close(&self) {
        self.inner.closing.send_replace(true);
    }

    /// Gives up what is under way: for the end of a run whose actors are gone.
    pub fn give_up(&self) {
        let way = (self.way.lock().unwrap_or_else(PoisonError::into_inner)).take();
        // Its calls cancel themselves.
        drop(way);
    }

    /// True once everything was asked and answered.
    pub fn is_done(&self) -> bool {
        self.inner.lock().done
    }

    /// How many requests it will make, where that is known.
    pub fn total(&self) -> Option<u64> {
        match self.inner.parts.load {
            Load::Closed { requests, .. } | Load::Open { requests, .. } => requests,
            Load::Batch { requests } => Some(requests),
            Load::Outside { requests } => requests,
        }
    }

    /// What it has asked and heard so far.
    pub fn figures(&self) -> Asked {
        let state = self.inner.lock();
        Asked {
            response: Tail::new(&state.response, state.responses),
            ..state.heard
        }
    }
}

/// `span` times `factor`.
pub(super) fn scaled(span: Duration, factor: f64) -> Duration {
    if factor == 1.0 {
        span
    } else {
        crate::span::times(span, factor)
    }
}
