//! The handle of a running topology.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
#[cfg(feature = "http")]
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::Stream;
use gopherworks_pipeline::__private::PileCore;
use gopherworks_pipeline::book::Book;
use gopherworks_pipeline::{Awaited, Event, OfferError, SinkClosed};
use gopherworks_supervision::{SupervisionEvent, SupervisorHandle, SupervisorOutcome};
use tokio::sync::broadcast::error::RecvError;

use super::crews;
use super::dead::{self, DeadBook};
use super::inner::Inner;
use super::store::FoundStore;
use super::supervision_events::translated;
#[cfg(feature = "http")]
use crate::http::OperationsServer;
#[cfg(feature = "simulate")]
use crate::plan::Plan;
use crate::report::{Report, RunOutcome};

/// Why a run is over or about to be ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// All piles are closed, every offered book is burned, dead or dropped, and all requests are
    /// answered.
    Drained,
    /// The restart budget is spent; the reason names the child.
    Escalated(String),
    /// A sink can't accept books again in this run.
    SinkClosed(SinkClosed),
    /// Stopped without a drain.
    Stopped,
    /// The deadline of a drain passed.
    DeadlinePassed,
}

/// A running topology. Clones are handles to the same one, for any thread.
///
/// Dropping the last handle stops it as [`RunningTopology::stop`] does, without a report.
#[derive(Clone)]
pub struct RunningTopology {
    pub(super) shared: Arc<Handle>,
}

pub(super) struct Handle {
    pub(super) inner: Arc<Inner>,
    pub(super) supervisor: SupervisorHandle,
    /// The server for operators, until the end.
    #[cfg(feature = "http")]
    pub(super) operations: Mutex<Option<OperationsServer>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if !self.inner.end.initialized() {
            self.inner.seal();
            self.inner.context.halt();
            self.supervisor.kill_all();
            self.inner.balancers.give_up_all();
            self.inner.context.custody.unwatch();
            self.inner.context.custody.close_store();
            self.inner.context.custody.deaths().notify_one();
            self.inner.resized.notify_one();
        }
    }
}

impl std::fmt::Debug for RunningTopology {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningTopology")
            .field("name", &self.shared.inner.name)
            .field("ledger", &self.shared.inner.context.custody.ledger())
            .finish()
    }
}

impl RunningTopology {
    pub(super) fn new(inner: Arc<Inner>, supervisor: SupervisorHandle) -> Self {
        let mut supervision = supervisor.events();
        let context = inner.context.clone();
        actix_rt::spawn(async move {
            loop {
                let event = match supervision.recv().await {
                    Ok(event) => event,
                    Err(RecvError::Lagged(_)) => continue,
                    Err(RecvError::Closed) => return,
                };
                let last = matches!(event, SupervisionEvent::Stopped { .. });
                if let Some(event) = translated(event) {
                    context.tell(event);
                }
                if last {
                    context.change();
                    return;
                }
            }
        });
        let mourner = Arc::downgrade(&inner);
        let context = Arc::downgrade(&inner.context);
        actix_rt::spawn(async move {
            loop {
                // Upgraded only for a moment, so that the waiting task keeps nothing alive.
                let Some(custody) = context.upgrade().map(|context| context.custody.clone()) else {
                    return;
                };
                custody.deaths().notified().await;
                drop(custody);
                let Some(inner) = mourner.upgrade() else {
                    return;
                };
                if inner.end.initialized() {
                    return;
                }
                let context = inner.context.clone();
                let _ = context.pool.wait_for(move || dead::collect(&inner)).await;
            }
        });
        actix_rt::spawn(crews::keep_sizes(Arc::downgrade(&inner), supervisor.clone()));
        let handle = Handle {
            inner,
            supervisor,
            #[cfg(feature = "http")]
            operations: Mutex::new(None),
        };
        Self { shared: Arc::new(handle) }
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.shared.inner
    }

    fn pile(&self, name: &str) -> Option<Arc<PileCore>> {
        self.inner().nodes().pile(name).cloned()
    }

    /// Offers books to a pile, all or none, and waits for space. After `Ok` they are accounted for,
    /// whichever actor dies. Dropping the future withdraws the offer.
    ///
    /// # Errors
    /// [`OfferError::Closed`] if the pile is unknown, draining, closed, or a dump (unless started
    /// without sources); [`OfferError::TooMany`] if they can never fit. Errors return the books.
    pub async fn offer(&self, pile: &str, books: Vec<Book>) -> Result<(), OfferError> {
        match self.pile(pile) {
            Some(pile) => pile.offer(books).await,
            None => Err(OfferError::Closed(books)),
        }
    }

    /// Offers books as [`RunningTopology::offer`] does, and returns one future per book, in order.
    /// It resolves when the book is burned, dead or dropped, or to `None` if the run ends before.
    ///
    /// # Errors
    /// As [`RunningTopology::offer`].
    pub async fn offer_watched(
        &self,
        pile: &str,
        books: Vec<Book>,
    ) -> Result<Vec<Awaited>, OfferError> {
        match self.pile(pile) {
            Some(pile) => pile.offer_watched(books).await,
            None => Err(OfferError::Closed(books)),
        }
    }

    /// Offers books to a pile if there is space now.
    ///
    /// # Errors
    /// As [`RunningTopology::offer`], and [`OfferError::Full`].
    pub fn try_offer(&self, pile: &str, books: Vec<Book>) -> Result<(), OfferError> {
        match self.pile(pile) {
            Some(pile) => pile.try_offer(books),
            None => Err(OfferError::Closed(books)),
        }
    }

    /// What was in the store at the start; `None` if all piles are in memory.
    pub fn found_store(&self) -> Option<&FoundStore> {
        self.inner().found.as_ref()
    }

    /// Names of the sources that have ended, and that earlier runs on the store had read to their
    /// ends.
    pub fn sources_read_before(&self) -> Vec<String> {
        let nodes = self.inner().nodes();
        let feeders = nodes.feeders.iter().filter(|feeder| feeder.was_read_before());
        let sources = feeders.map(|feeder| feeder.name.trim_end_matches(".source").to_owned());
        sources.collect()
    }

    /// True while the store of the durable piles fails.
    pub fn is_store_down(&self) -> bool {
        self.inner().context.custody.is_store_down()
    }

    /// Name of the topology.
    pub fn name(&self) -> &str {
        &self.inner().name
    }

    /// True while it runs, is not being drained, and its store works.
    #[cfg(feature = "actix-web")]
    pub(crate) fn is_ready(&self) -> bool {
        let inner = self.inner();
        let leaves = inner.leaving.load(Ordering::Acquire) || inner.context.is_draining();
        self.is_running() && !leaves && !self.is_store_down()
    }

    /// True while it accepts offers and requests.
    pub fn is_running(&self) -> bool {
        let inner = self.inner();
        let over = inner.end.initialized()
            || inner.over.load(Ordering::Acquire)
            || inner.context.closed_sink().is_some();
        !over && !inner.context.is_halting() && !inner.all_closed()
    }

    /// Records a failure that concerns no book: the run continues, and counts as failed.
    pub fn fail(&self, reason: impl Into<String>) {
        self.inner().context.fail(reason);
    }

    /// Ends the offers of the application: the run ends when the sources are done and all is
    /// drained.
    pub fn close_offers(&self) {
        self.inner().seal();
    }

    /// Events from now on, with [`Event::Ended`] at the end; the stream ends with the last handle.
    /// A subscriber that is more than 1,024 events behind misses the oldest.
    pub fn events(&self) -> impl Stream<Item = Event> + Send + use<> {
        futures_util::stream::unfold(self.inner().context.events(), |mut events| async move {
            loop {
                match events.recv().await {
                    Ok(event) => return Some((event, events)),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        })
    }

    /// The present report. Its ledger is consistent; the nodes' counters are read one after the
    /// other.
    pub fn snapshot(&self) -> Report {
        self.report(RunOutcome::Running)
    }

    /// The last dead letters, at most 1,000, each available from its event on.
    pub fn dead(&self) -> Vec<DeadBook> {
        self.inner().dead.all()
    }

    /// Number of books that the sources will give, if all know it, and whether all have ended.
    pub fn expected(&self) -> (Option<u64>, bool) {
        let nodes = self.inner().nodes();
        let feeders = &nodes.feeders;
        if feeders.is_empty() {
            return (None, false);
        }
        let (mut total, mut ended) = (Some(0), true);
        for feeder in feeders {
            total = total.zip(feeder.total()).map(|(sum, more)| sum + more);
            ended &= feeder.has_ended();
        }
        (total, ended)
    }

    /// True if a source or requester does not know its number of books or requests, so that the run
    /// may never end on its own.
    #[cfg(feature = "simulate")]
    pub(crate) fn is_endless(&self) -> bool {
        let inner = self.inner();
        let nodes = inner.nodes();
        nodes.feeders.iter().any(|feeder| feeder.total().is_none()) || inner.balancers.are_endless()
    }

    #[cfg(feature = "simulate")]
    pub(crate) fn plan(&self) -> Arc<Plan> {
        self.inner().nodes().plan.clone()
    }

    /// Number of requests that will be made, if all requesters know it, and of those that are over.
    pub fn expected_answers(&self) -> (Option<u64>, u64) {
        self.inner().balancers.expected()
    }

    /// Listening addresses of requesters of kind `http`, by name.
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        let addresses = self.inner().balancers.addresses();
        addresses.map(|(name, at)| (name.to_owned(), at)).collect()
    }

    /// Address of the server for operators while it runs, if `[operations]` wants one.
    pub fn operations(&self) -> Option<SocketAddr> {
        #[cfg(feature = "http")]
        {
            let server = self.shared.operations.lock().unwrap_or_else(PoisonError::into_inner);
            server.as_ref().map(OperationsServer::address)
        }
        #[cfg(not(feature = "http"))]
        None
    }

    /// Kills the actor with this name (as in reports), as a fault would; the restart policy
    /// applies. False if there is none.
    pub fn kill(&self, node: &str) -> bool {
        self.shared.supervisor.kill(node)
    }

    /// Disables all faults for the rest of the run.
    pub fn calm(&self) {
        if let Some(faults) = self.inner().context.faults() {
            faults.quiet();
        }
    }

    /// The faults that fired so far, in order.
    pub fn fired(&self) -> Vec<gopherworks_supervision::fault::Fired> {
        let faults = self.inner().context.faults();
        faults.map_or_else(Vec::new, |faults| faults.fired())
    }

    /// Names of all actors that can be killed.
    pub fn actors(&self) -> Vec<String> {
        let supervisor = &self.shared.supervisor;
        supervisor.children().into_iter().map(|(_, name)| name.to_string()).collect()
    }

    /// Prepares a stop: pooled work ends after its present book, and later failures are not
    /// charged. [`RunningTopology::finish`] calls it; call it first if you are about to make
    /// running work fail.
    pub fn halt(&self) {
        self.inner().context.halt();
        self.inner().balancers.close();
        self.inner().seal();
    }

    /// Closes the sources and all offers; work in flight continues. Books that were not begun
    /// return to a source that can give them again, and count as never offered.
    pub fn close(&self) {
        let inner = self.inner();
        inner.context.tell(Event::Draining);
        inner.end_pauses(|| inner.context.drain());
        self.shared.supervisor.draining();
        inner.balancers.close();
        inner.close_sources();
        let nodes = inner.nodes();
        for fire in &nodes.incinerators {
            fire.hurry();
        }
        for crew in &nodes.crews {
            crew.core.hurry();
        }
        for (node, reason, books) in self.pauses().into_iter().filter(|(.., books)| *books > 0) {
            log::warn!("draining waits for {node}, where {books} books wait: {reason}");
        }
    }

    /// The file's bound on a drain, plus the longest grace period of its servers, before which
    /// nothing drains.
    pub fn drain_deadline(&self) -> Option<Duration> {
        let inner = self.inner();
        let plan = inner.nodes().plan.clone();
        let servers = (plan.requesters.iter()).filter_map(|asks| asks.http.as_ref());
        let grace = servers.map(|http| http.grace).max().unwrap_or_default();
        plan.execution.drain_deadline.map(|deadline| deadline + grace)
    }

    /// Time between the signal for a drain and the drain, by `[operations]`; `None` if there is no
    /// such time.
    pub fn grace(&self) -> Option<Duration> {
        let nodes = self.inner().nodes();
        let grace = nodes.plan.operations.as_ref().map(|config| config.grace);
        grace.filter(|grace| !grace.is_zero())
    }

    /// Fails readiness, before [`RunningTopology::close`] begins the drain. Nothing else changes.
    pub fn leave(&self) {
        self.inner().leaving.store(true, Ordering::Release);
    }

    /// Waits until a fault kills the process; returns the time until it is started again.
    #[cfg(feature = "simulate")]
    pub(crate) async fn crashed(&self) -> Duration {
        let (span, told) = &self.inner().crash;
        loop {
            if let Some(span) = span.get() {
                return *span;
            }
            told.notified().await;
        }
    }

    /// Ends as a killed process does: nothing further is stored or reported.
    #[cfg(feature = "simulate")]
    pub(crate) async fn crash(&self) {
        let inner = self.inner();
        inner.context.custody.abandon_store();
        inner.seal();
        inner.context.halt();
        self.shared.supervisor.kill_all();
        self.shared.supervisor.ended().await;
        inner.balancers.give_up_all();
        inner.stop_arbiters();
    }

    /// Waits until the run ends on its own: drained after sources and offers were closed,
    /// escalated, or a sink closed.
    pub async fn done(&self) -> Done {
        let mut changes = self.inner().context.changes();
        let ended = self.shared.supervisor.ended();
        let drained = async {
            loop {
                changes.borrow_and_update();
                if let Some(closed) = self.inner().context.closed_sink() {
                    return Done::SinkClosed(closed.clone());
                }
                if self.inner().all_closed() || changes.changed().await.is_err() {
                    return Done::Drained;
                }
            }
        };
        tokio::select! {
            biased;
            done = drained => done,
            ended = ended => match ended {
                SupervisorOutcome::Escalated { reason } => Done::Escalated(reason),
                SupervisorOutcome::Stopped => Done::Stopped,
            },
        }
    }

    /// Closes the sources, completes all work in flight, and ends the topology. After `deadline`
    /// (default: the file's `drain_deadline`, or none) the run ends within a second, and unfinished
    /// books return to their piles; those of a burn or work that does not end count as in flight.
    pub async fn drain(&self, deadline: Option<Duration>) -> Report {
        self.close();
        let late = (self.inner().context.clock).sleep_if(deadline.or(self.drain_deadline()));
        let done = tokio::select! {
            biased;
            done = self.done() => done,
            () = late => Done::DeadlinePassed,
        };
        self.finish(done).await
    }

    /// Stops at once: kills the actors, returns books in flight to their piles, and waits at most 5
    /// seconds for burns and works in progress.
    pub async fn stop(&self) -> Report {
        self.finish(Done::Stopped).await
    }
}
