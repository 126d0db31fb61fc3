//! Handle of a running balancer.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use actix::{Actor, Addr, Recipient};
use futures_core::Stream;
use futures_util::StreamExt;

use crate::core::{BalancerCore, Call, CallError};
use crate::figures::{Buckets, Figures};
use crate::recipient::{Ask, RecipientActor};
use crate::resilience::CallOptions;
use crate::worker::Work;
use gopherworks_supervision::{Arbiters, SupervisorHandle};

/// Handle of a running balancer. Clones refer to the same balancer and can be used from any
/// thread.
///
/// Dropping the last handle stops the balancer immediately: pending calls get
/// [`CallError::Closed`].
pub struct BalancerHandle<W: Work> {
    shared: Arc<BalancerShared<W>>,
}

struct BalancerShared<W: Work> {
    core: Arc<BalancerCore<W>>,
    supervisor: SupervisorHandle,
    _arbiters: Arbiters,
    shutdown: Duration,
    recipient: Mutex<Option<Addr<RecipientActor<W>>>>,
}

/// Closes the balancer when its supervisor ends, even with its arbiter, so that no caller waits
/// forever.
struct Closing<W: Work>(Weak<BalancerCore<W>>);

impl<W: Work> Drop for Closing<W> {
    fn drop(&mut self) {
        if let Some(core) = self.0.upgrade() {
            core.close();
        }
    }
}

impl<W: Work> Drop for BalancerShared<W> {
    fn drop(&mut self) {
        self.core.close();
        // Dropping the arbiters ends their threads.
        self.supervisor.kill_all();
    }
}

impl<W: Work> Clone for BalancerHandle<W> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
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
            shared: Arc::new(BalancerShared {
                core,
                supervisor,
                _arbiters: arbiters,
                shutdown,
                recipient: Mutex::default(),
            }),
        }
    }

    pub(super) async fn ready(&self) {
        self.shared.core.ready().await;
    }

    /// Calls and waits for the reply. Dropping the future cancels the request, queued or running.
    ///
    /// There is exactly one result, whatever dies: the worker's reply or a [`CallError`].
    ///
    /// If a worker on the caller's own arbiter is idle, and its work is known to finish without
    /// pending, the request runs inline on the caller's thread, without a hand-over. A panic still
    /// fails the worker, not the caller. After about a microsecond of inline work, callers yield
    /// to other tasks on the arbiter.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&self, request: W::Request) -> Result<W::Reply, CallError> {
        self.shared.core.call(request).await
    }

    /// Submits a request, waiting only for the queue if it is full. Returns a [`Call`] to be
    /// awaited, dropped or detached.
    ///
    /// # Errors
    /// [`CallError::Full`] and [`CallError::Closed`]; also [`CallError::DeadlineExceeded`] if the
    /// queue stayed full until the deadline. The request is dropped.
    pub async fn start(&self, request: W::Request) -> Result<Call<W>, CallError> {
        let core = &self.shared.core;
        core.start_at(request, core.clock().now(), CallOptions::default()).await
    }

    /// Like [`BalancerHandle::call`], with a deadline, priority or affinity key. Always goes
    /// through the queue.
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

    /// Like [`BalancerHandle::start`], with a deadline, priority or affinity key.
    ///
    /// # Errors
    /// [`CallError::Full`], [`CallError::Closed`], or [`CallError::DeadlineExceeded`] if the queue
    /// stayed full until the deadline; the request is dropped.
    pub async fn start_with(
        &self,
        request: W::Request,
        options: CallOptions,
    ) -> Result<Call<W>, CallError> {
        let core = &self.shared.core;
        core.start_at(request, core.clock().now(), options).await
    }

    /// Like [`BalancerHandle::start`], without waiting: fails if the queue is full.
    ///
    /// # Errors
    /// [`CallError::Full`] and [`CallError::Closed`]; the request is dropped.
    pub fn try_start(&self, request: W::Request) -> Result<Call<W>, CallError> {
        self.try_start_with(request, CallOptions::default())
    }

    /// Like [`BalancerHandle::try_start`], with a deadline, priority or affinity key.
    ///
    /// # Errors
    /// [`CallError::Full`], [`CallError::Closed`], or [`CallError::DeadlineExceeded`] if the
    /// deadline has already passed; the request is dropped.
    pub fn try_start_with(
        &self,
        request: W::Request,
        options: CallOptions,
    ) -> Result<Call<W>, CallError> {
        self.shared.core.try_start(request, options)
    }

    /// Calls for every request of the iterator. Replies are yielded as they arrive, each with the
    /// index of its request.
    ///
    /// As many requests are in flight as the queue and the workers hold; the iterator is advanced
    /// as others finish. Dropping the stream cancels those in flight.
    pub fn call_all<I>(
        &self,
        requests: I,
    ) -> impl Stream<Item = (usize, Result<W::Reply, CallError>)> + use<I, W>
    where
        I: IntoIterator<Item = W::Request>,
    {
        self.calls(requests).buffer_unordered(self.most())
    }

    /// Like [`BalancerHandle::call_all`], but replies are yielded in the order of the requests.
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

    /// An actix recipient of [`Ask`], for actix users. Its actor runs on the arbiter that first
    /// calls this method.
    ///
    /// # Panics
    /// If called outside an actix system.
    pub fn recipient(&self) -> Recipient<Ask<W>> {
        let mut recipient = (self.shared.recipient.lock()).unwrap_or_else(PoisonError::into_inner);
        let live = recipient.take().filter(Addr::connected);
        let addr = live.unwrap_or_else(|| RecipientActor::new(self.shared.core.clone()).start());
        *recipient = Some(addr.clone());
        addr.recipient()
    }

    /// Statistics since the start.
    pub fn figures(&self) -> Figures {
        self.shared.core.figures()
    }

    /// Histograms of the response time (from the call to the reply) and the waiting time (from
    /// acceptance to the first start).
    pub fn buckets(&self) -> [Buckets; 2] {
        self.shared.core.buckets()
    }

    /// The balancer's name.
    pub fn name(&self) -> &str {
        &self.shared.core.name
    }

    /// True while requests are accepted and at least one worker is up. Does not wait for the
    /// workers.
    pub fn is_ready(&self) -> bool {
        self.shared.core.is_ready()
    }

    /// When a retry is worthwhile: the estimated time until the requests queued now have been
    /// served, from past service times; zero if nothing is queued or there is no data.
    pub fn retry_after(&self) -> Duration {
        self.shared.core.retry_after()
    }

    /// Sets the number of workers, clamped to 1..=[`super::Builder::at_most`]. Returns it.
    ///
    /// Added workers are made immediately and take requests once they are up. Removed ones (the
    /// last) finish what they run, then drop their work; requests queued for them go to others.
    pub fn resize(&self, workers: usize) -> usize {
        self.shared.core.resize(workers)
    }

    /// Number of restarts of workers and of the balancer's own actor.
    pub fn restarts(&self) -> u64 {
        let supervisor = &self.shared.supervisor;
        let each = supervisor.children().into_iter().map(|(id, _)| supervisor.restarts(id));
        each.sum()
    }

    /// The supervisor of the workers `NAME/1`, `NAME/2`, ... and of the balancer `NAME`.
    pub fn supervisor(&self) -> &SupervisorHandle {
        &self.shared.supervisor
    }

    /// Accepts no further requests, and waits until those in flight are over.
    pub async fn drain(&self) {
        self.shared.core.seal();
        self.shared.core.quiet().await;
    }

    /// Drains for at most `within`, then stops; requests not over by then get
    /// [`CallError::Closed`]. Returns the final statistics, in which nothing is open.
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

    /// Stops the balancer: requests in flight get [`CallError::Closed`], and the workers end.
    pub async fn stop(&self) {
        self.shared.core.close();
        self.shared.supervisor.stop(self.shared.shutdown).await;
    }
}
