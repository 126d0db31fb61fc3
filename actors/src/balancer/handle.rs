//! A running balancer, as an application holds it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use actix::{Actor, Addr, Recipient};
use futures_core::Stream;
use futures_util::StreamExt;

use super::figures::{Buckets, Figures};
use super::recipient::{Ask, Doorman};
use super::{BalancerCore, Call, CallError, CallOptions};
use crate::supervision::{Arbiters, SupervisorHandle};
use crate::worker::Work;

/// A running balancer. Clones are the same; it can be used from any thread.
///
/// Dropping the last handle stops it at once: callers that still wait hear [`CallError::Closed`].
pub struct BalancerHandle<W: Work> {
    shared: Arc<Shared<W>>,
}

struct Shared<W: Work> {
    core: Arc<BalancerCore<W>>,
    supervisor: SupervisorHandle,
    _arbiters: Arbiters,
    shutdown: Duration,
    doorman: Mutex<Option<Addr<Doorman<W>>>>,
}

/// Closes a balancer when nobody would work for it any more, be it that its arbiter ended: nobody may wait for it.
struct Closing<W: Work>(Weak<BalancerCore<W>>);

impl<W: Work> Drop for Closing<W> {
    fn drop(&mut self) {
        if let Some(core) = self.0.upgrade() {
            core.close();
        }
    }
}

impl<W: Work> Drop for Shared<W> {
    fn drop(&mut self) {
        self.core.close();
        // The arbiters end with it.
        self.supervisor.kill_all();
    }
}

impl<W: Work> Clone for BalancerHandle<W> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<W: Work> fmt::Debug for BalancerHandle<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.core.fmt(f)
    }
}

impl<W: Work> BalancerHandle<W> {
    pub(super) fn new(
        core: Arc<BalancerCore<W>>,
        supervisor: SupervisorHandle,
        arbiters: Arbiters,
        shutdown: Duration,
    ) -> Self {
        let ended = supervisor.ended();
        let closing = Closing(Arc::downgrade(&core));
        actix_rt::spawn(async move {
            ended.await;
            drop(closing);
        });
        Self {
            shared: Arc::new(Shared {
                core,
                supervisor,
                _arbiters: arbiters,
                shutdown,
                doorman: Mutex::default(),
            }),
        }
    }

    pub(super) async fn ready(&self) {
        self.shared.core.ready().await;
    }

    /// Asks, and waits for the answer. Dropping the future cancels the request, wherever it is.
    ///
    /// Exactly one answer comes, whatever dies: the worker's, or why there is none.
    ///
    /// Where a worker on the caller's own arbiter has nothing to do, and its work is known not to wait, it lends its place: the request is
    /// done there and then, without a hand-over. A panic ends the worker as ever. A caller that does so all the time yields to others on
    /// its arbiter after a microsecond of work.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&self, request: W::Request) -> Result<W::Reply, CallError> {
        self.shared.core.call(request).await
    }

    /// Asks and does not wait for the answer, only for room in the queue where it is full: a job with an id, to be awaited, dropped or detached.
    ///
    /// # Errors
    /// [`CallError::Full`] and [`CallError::Closed`]; the request is dropped then.
    pub async fn start(&self, request: W::Request) -> Result<Call<W>, CallError> {
        let core = &self.shared.core;
        core.start_at(request, core.clock().now(), CallOptions::default())
            .await
    }

    /// [`BalancerHandle::call`] with a deadline, a priority or a key of its own.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call_with(
        &self,
        request: W::Request,
        options: CallOptions,
    ) -> Result<W::Reply, CallError> {
        self.start_with(request, options).await?.await
    }

    /// [`BalancerHandle::start`] with a deadline, a priority or a key of its own.
    ///
    /// # Errors
    /// [`CallError::Full`], [`CallError::Closed`], [`CallError::DeadlineExceeded`] if there was no room in time; the request is dropped then.
    pub async fn start_with(
        &self,
        request: W::Request,
        options: CallOptions,
    ) -> Result<Call<W>, CallError> {
        let core = &self.shared.core;
        core.start_at(request, core.clock().now(), options).await
    }

    /// The same without waiting for room.
    ///
    /// # Errors
    /// [`CallError::Full`] and [`CallError::Closed`]; the request is dropped then.
    pub fn try_start(&self, request: W::Request) -> Result<Call<W>, CallError> {
        self.try_start_with(request, CallOptions::default())
    }

    /// [`BalancerHandle::try_start`] with a deadline, a priority or a key of its own.
    ///
    /// # Errors
    /// [`CallError::Full`] and [`CallError::Closed`]; the request is dropped then.
    pub fn try_start_with(
        &self,
        request: W::Request,
        options: CallOptions,
    ) -> Result<Call<W>, CallError> {
        self.shared.core.try_start(request, options)
    }

    /// Asks for all of them; the answers come in the order in which they are ready, each with the number of its request from 0.
    ///
    /// As many are under way as the balancer takes; the rest of the iterator waits. Dropping the stream cancels what is under way.
    pub fn call_all<I>(
        &self,
        requests: I,
    ) -> impl Stream<Item = (usize, Result<W::Reply, CallError>)> + use<I, W>
    where
        I: IntoIterator<Item = W::Request>,
    {
        self.calls(requests).buffer_unordered(self.most())
    }

    /// Asks for all of them; the answers come in the order of the requests: an early one waits for those before it.
    pub fn call_in_order<I>(
        &self,
        requests: I,
    ) -> impl Stream<Item = (usize, Result<W::Reply, CallError>)> + use<I, W>
    where
        I: IntoIterator<Item = W::Request>,
    {
        self.calls(requests).buffered(self.most())
    }

    fn calls<I: IntoIterator<Item = W::Request>>(
        &self,
        requests: I,
    ) -> impl Stream<Item = impl Future<Output = (usize, Result<W::Reply, CallError>)> + use<I, W>>
    + use<I, W> {
        let handle = self.clone();
        futures_util::stream::iter(requests.into_iter().enumerate()).map(move |(at, request)| {
            let handle = handle.clone();
            async move { (at, handle.call(request).await) }
        })
    }

    fn most(&self) -> usize {
        let settings = self.shared.core.settings();
        let waiting = settings.queue.map_or(1024, |queue| queue as usize);
        waiting.saturating_add(settings.workers * settings.places)
    }

    /// For actix users: a recipient of [`Ask`]. It lives on the arbiter of its first caller; its answers are the balancer's own.
    ///
    /// # Panics
    /// Outside an actix system.
    pub fn recipient(&self) -> Recipient<Ask<W>> {
        let mut doorman = (self.shared.doorman.lock()).unwrap_or_else(PoisonError::into_inner);
        let live = doorman.take().filter(Addr::connected);
        let addr = live.unwrap_or_else(|| Doorman::new(self.shared.core.clone()).start());
        *doorman = Some(addr.clone());
        addr.recipient()
    }

    /// What it has done so far.
    pub fn figures(&self) -> Figures {
        self.shared.core.figures()
    }

    /// Response and waiting times as histograms: from asking to the answer, and from the balancer's taking to the first begin.
    pub fn buckets(&self) -> [Buckets; 2] {
        self.shared.core.buckets()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared.core.name
    }

    /// True while it takes requests and at least one worker is up. Answers at once, whatever the workers do.
    pub fn is_ready(&self) -> bool {
        self.shared.core.is_ready()
    }

    /// When asking again is worth it: what waits now should be done by then. An estimate, from what requests have taken so far; zero
    /// while nothing waits or nothing is known.
    pub fn retry_after(&self) -> Duration {
        self.shared.core.retry_after()
    }

    /// Sets how many workers there are, while it runs: at least one, at most what [`super::Builder::at_most`] says. Gives that number.
    ///
    /// More: they are made at once, and take requests when they are up. Fewer: the last ones end what they have begun, then drop their
    /// work; what waits for them goes to others.
    pub fn resize(&self, workers: usize) -> usize {
        self.shared.core.resize(workers)
    }

    /// How often workers, and the balancer's own actor, were started again.
    pub fn restarts(&self) -> u64 {
        let supervisor = &self.shared.supervisor;
        let each = supervisor
            .children()
            .into_iter()
            .map(|(id, _)| supervisor.restarts(id));
        each.sum()
    }

    /// The supervisor of the workers `NAME/1`, `NAME/2`, ... and the balancer `NAME`.
    pub fn supervisor(&self) -> &SupervisorHandle {
        &self.shared.supervisor
    }

    /// Takes no further request, and waits until those under way are over.
    pub async fn drain(&self) {
        self.shared.core.seal();
        self.shared.core.quiet().await;
    }

    /// Drains for at most `within`, then stops it. What is not over by then is given up with [`CallError::Closed`]. Gives the last account:
    /// nothing is open in it.
    pub async fn shut_down(&self, within: Duration) -> Figures {
        let core = &self.shared.core;
        let patience = core.clock().sleep(within);
        tokio::select! {
            () = self.drain() => {}
            () = patience => {}
        }
        self.stop().await;
        self.figures()
    }

    /// Stops it: requests under way are given up with [`CallError::Closed`], workers end.
    pub async fn stop(&self) {
        self.shared.core.close();
        self.shared.supervisor.stop(self.shared.shutdown).await;
    }
}
