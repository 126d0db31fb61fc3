//! The handle of a running topology.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::Stream;
use gopherworks_actors::book::Book;
use gopherworks_actors::event::Event;
use gopherworks_actors::fates::Awaited;
use gopherworks_actors::pile::{OfferError, PileCore};
use gopherworks_actors::supervision::{Outcome as Ended, SupervisionEvent, SupervisorHandle};
use gopherworks_actors::works::SinkClosed;
use tokio::sync::broadcast::error::RecvError;

use super::dead::{self, DeadBook};
use super::heard::translated;
use super::inner::Inner;
use crate::plan::Plan;
use crate::report::{Outcome, Report};

/// Why a run is over, or about to be ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// All piles are closed: what was offered is burned, dead or dropped. All requesters have
    /// their answers.
    Drained,
    /// The restart budget is spent; the reason names the child.
    Escalated(String),
    /// A sink can't take a book again in this run.
    SinkClosed(SinkClosed),
    /// It is to be stopped at once.
    Stopped,
    /// The deadline of a drain passed.
    DeadlinePassed,
}

/// A running topology. Clones are handles on the same one; it can be used from any thread.
///
/// Dropping the last handle stops it at once, as [`RunningTopology::stop`] does but without a
/// report.
#[derive(Clone)]
pub struct RunningTopology {
    pub(super) shared: Arc<Handle>,
}

pub(super) struct Handle {
    pub(super) inner: Arc<Inner>,
    pub(super) supervisor: SupervisorHandle,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if !self.inner.end.initialized() {
            self.inner.seal();
            self.inner.works.halt();
            self.supervisor.kill_all();
            self.inner.desks.give_up_all();
            self.inner.works.store.unwatch();
            self.inner.works.store.deaths().notify_one();
        }
    }
}

impl std::fmt::Debug for RunningTopology {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningTopology")
            .field("name", &self.shared.inner.name)
            .field("ledger", &self.shared.inner.works.store.ledger())
            .finish()
    }
}

impl RunningTopology {
    pub(super) fn new(inner: Arc<Inner>, supervisor: SupervisorHandle) -> Self {
        let mut supervision = supervisor.events();
        let works = inner.works.clone();
        actix_rt::spawn(async move {
            loop {
                let event = match supervision.recv().await {
                    Ok(event) => event,
                    Err(RecvError::Lagged(_)) => continue,
                    Err(RecvError::Closed) => return,
                };
                let last = matches!(event, SupervisionEvent::Stopped { .. });
                if let Some(event) = translated(event) {
                    works.tell(event);
                }
                if last {
                    works.change();
                    return;
                }
            }
        });
        let mourner = Arc::downgrade(&inner);
        let works = Arc::downgrade(&inner.works);
        actix_rt::spawn(async move {
            loop {
                // Upgraded for a moment only: a waiting mourner keeps nothing alive.
                let Some(store) = works.upgrade().map(|works| works.store.clone()) else {
                    return;
                };
                store.deaths().notified().await;
                drop(store);
                let Some(inner) = mourner.upgrade() else {
                    return;
                };
                if inner.end.initialized() {
                    return;
                }
                let works = inner.works.clone();
                let _ = works.pool.wait_for(move || dead::collect(&inner)).await;
            }
        });
        Self { shared: Arc::new(Handle { inner, supervisor }) }
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.shared.inner
    }

    fn pile(&self, name: &str) -> Option<&Arc<PileCore>> {
        self.inner().piles.iter().find(|pile| pile.name == name)
    }

    /// Offers books to a pile, all or none, waiting for room. Once this returns `Ok` they are
    /// accounted for whatever dies. Dropping the future takes the offer back.
    ///
    /// # Errors
    /// [`OfferError::Closed`] where the pile is unknown, draining or closed, or a dump (unless the
    /// topology was started without its sources); [`OfferError::TooMany`] where they could never
    /// fit. The books come back.
    pub async fn offer(&self, pile: &str, books: Vec<Book>) -> Result<(), OfferError> {
        match self.pile(pile) {
            Some(pile) => pile.offer(books).await,
            None => Err(OfferError::Closed(books)),
        }
    }

    /// Offers books as [`RunningTopology::offer`] does, and tells of each what becomes of it, in
    /// the order of the books: the future is ready when the book is burned, is a dead letter, or
    /// was dropped on purpose; `None` if the run ends before.
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

    /// Offers books to a pile if there is room now.
    ///
    /// # Errors
    /// As [`RunningTopology::offer`], and [`OfferError::Full`].
    pub fn try_offer(&self, pile: &str, books: Vec<Book>) -> Result<(), OfferError> {
        match self.pile(pile) {
            Some(pile) => pile.try_offer(books),
            None => Err(OfferError::Closed(books)),
        }
    }

    /// Name of the topology.
    pub fn name(&self) -> &str {
        &self.inner().name
    }

    /// True until it has ended, or is about to: it takes offers and requests.
    pub fn is_running(&self) -> bool {
        let inner = self.inner();
        let over = inner.end.initialized()
            || inner.over.load(Ordering::Acquire)
            || inner.works.closed_sink().is_some();
        !over && !inner.works.is_halting() && !inner.all_closed()
    }

    /// Notes that something went wrong besides books: the run goes on, and counts as failed.
    pub fn fail(&self, reason: impl Into<String>) {
        self.inner().works.fail(reason);
    }

    /// The application will offer nothing more: the run ends by itself when the sources are done
    /// and all is drained.
    pub fn close_offers(&self) {
        self.inner().seal();
    }

    /// What happens from now on, [`Event::Ended`] at the end; the stream itself ends with the last
    /// handle. A listener more than 1,024 events behind misses the oldest.
    pub fn events(&self) -> impl Stream<Item = Event> + Send + use<> {
        futures_util::stream::unfold(self.inner().works.events(), |mut events| async move {
            loop {
                match events.recv().await {
                    Ok(event) => return Some((event, events)),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        })
    }

    /// The account of this moment: consistent in its ledger, the nodes' counters a moment apart.
    pub fn snapshot(&self) -> Report {
        self.report(Outcome::Running)
    }

    /// The last dead letters, at most 1,000; the very last are there once their event was told.
    pub fn dead(&self) -> Vec<DeadBook> {
        self.inner().dead.all()
    }

    /// How many books the sources will give in all, where every one knows, and whether all of them
    /// have ended.
    pub fn expected(&self) -> (Option<u64>, bool) {
        let feeders = &self.inner().feeders;
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

    /// True if something that gives books or requests does not know how many there will be: it may
    /// never end by itself.
    pub(crate) fn is_endless(&self) -> bool {
        let inner = self.inner();
        inner.feeders.iter().any(|feeder| feeder.total().is_none()) || inner.desks.are_endless()
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.inner().plan
    }

    /// How many requests the requesters will make, where every one knows, and how many are over.
    pub fn expected_answers(&self) -> (Option<u64>, u64) {
        self.inner().desks.expected()
    }

    /// Where requesters of kind `http` listen, by their names.
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        let addresses = self.inner().desks.addresses();
        addresses.map(|(name, at)| (name.to_owned(), at)).collect()
    }

    /// Kills the actor of a node, as a fault would; the supervisor's policy decides what follows.
    /// Names as in reports. False if there is none.
    pub fn kill(&self, node: &str) -> bool {
        self.shared.supervisor.kill(node)
    }

    /// Disables all faults for the rest of the run.
    pub fn calm(&self) {
        if let Some(faults) = self.inner().works.faults() {
            faults.quiet();
        }
    }

    /// The faults that fired so far, in their order.
    pub fn fired(&self) -> Vec<gopherworks_actors::fault::Fired> {
        let faults = self.inner().works.faults();
        faults.map_or_else(Vec::new, |faults| faults.fired())
    }

    /// Names of all actors that can be killed.
    pub fn actors(&self) -> Vec<String> {
        let supervisor = &self.shared.supervisor;
        supervisor.children().into_iter().map(|(_, name)| name.to_string()).collect()
    }

    /// For an end at once: pooled work stops after the book in hand, and what fails from now on
    /// charges nobody. [`RunningTopology::finish`] does it by itself; a caller does it first who
    /// is about to make running work fail.
    pub fn halt(&self) {
        self.inner().works.halt();
        self.inner().desks.close();
        self.inner().seal();
    }

    /// Closes the sources and all offers; what is under way runs to its end. Books that were not
    /// begun go back to a source that can give them again: they count as never offered.
    pub fn close(&self) {
        let inner = self.inner();
        inner.works.tell(Event::Draining);
        inner.works.drain();
        self.shared.supervisor.draining();
        inner.desks.close();
        inner.close_sources();
        for fire in &inner.incinerators {
            fire.hurry();
        }
        for crew in &inner.crews {
            crew.core.hurry();
        }
        for (node, reason, books) in self.pauses() {
            log::warn!("draining waits for {node}, where {books} books wait: {reason}");
        }
    }

    /// The file's bound on a drain, if it has one; with the longest grace of its servers, before
    /// which nothing drains.
    pub fn drain_deadline(&self) -> Option<Duration> {
        let inner = self.inner();
        let servers = (inner.plan.requesters.iter()).filter_map(|asks| asks.http.as_ref());
        let grace = servers.map(|http| http.grace).max().unwrap_or_default();
        inner.drain_deadline.map(|deadline| deadline + grace)
    }

    /// Waits until the run is over by itself: everything drained after the sources ended and
    /// offers were closed, escalated, or a sink closed.
    pub async fn done(&self) -> Done {
        let mut changes = self.inner().works.changes();
        let ended = self.shared.supervisor.ended();
        let drained = async {
            loop {
                changes.borrow_and_update();
                if let Some(closed) = self.inner().works.closed_sink() {
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
                Ended::Escalated { reason } => Done::Escalated(reason),
                Ended::Stopped => Done::Stopped,
            },
        }
    }

    /// Closes the sources, lets everything under way run to its end, and ends the topology.
    /// `deadline` (else the file's `drain_deadline`, else none) bounds the wait: after it, the run
    /// is stopped and what was under way is back on its piles.
    pub async fn drain(&self, deadline: Option<Duration>) -> Report {
        self.close();
        let late = (self.inner().works.clock).sleep_if(deadline.or(self.drain_deadline()));
        let done = tokio::select! {
            biased;
            done = self.done() => done,
            () = late => Done::DeadlinePassed,
        };
        self.finish(done).await
    }

    /// Ends it at once: actors are killed, every book that was under way is back on its pile, a
    /// burn or work that has begun is waited for (5 seconds at most).
    pub async fn stop(&self) -> Report {
        self.finish(Done::Stopped).await
    }
}
