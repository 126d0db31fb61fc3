//! The end of a run: first the actors, then what they held, then the report.

#[cfg(feature = "http")]
use std::sync::PoisonError;
use std::time::Duration;

use gopherworks_pipeline::Event;
use gopherworks_supervision::__private::guarded;
use gopherworks_supervision::failure::Failure;

use super::inner::Inner;
use super::running::{Done, RunningTopology};
use super::{HOMECOMING, HOMECOMING_LATE, dead};
use crate::report::{Report, RunOutcome};

/// Time for a read to end; longer than a read of an empty stream takes.
const LAST_READ: Duration = Duration::from_millis(300);

impl RunningTopology {
    /// Ends a run that is done or to be stopped: stops all actors, flushes sinks and sources, and
    /// accounts for every book. Concurrent and later calls wait for the first and get its report;
    /// if its future is dropped, the next call continues.
    pub async fn finish(&self, done: Done) -> Report {
        let inner = &self.shared.inner;
        let end = inner.end.get_or_init(|| self.end(done)).await;
        self.report(end.clone())
    }

    /// Sinks that can't accept books at present: node, reason, and number of waiting books.
    pub fn pauses(&self) -> Vec<(String, String, usize)> {
        let inner = self.inner();
        let nodes = inner.nodes();
        let fires = (nodes.incinerators.iter())
            .map(|fire| (format!("incinerator {}", fire.name), fire.pauses()));
        let crews =
            (nodes.crews.iter()).map(|crew| (format!("crew {}", crew.name), crew.core.pauses()));
        let found = fires.chain(crews);
        found
            .filter_map(|(node, pauses)| pauses.map(|(reason, books)| (node, reason, books)))
            .collect()
    }

    async fn end(&self, done: Done) -> RunOutcome {
        let outcome = match done {
            Done::Drained => RunOutcome::Finished,
            Done::Escalated(reason) => RunOutcome::Escalated(reason),
            Done::SinkClosed(sink) => RunOutcome::SinkClosed(sink),
            Done::Stopped => RunOutcome::Stopped,
            Done::DeadlinePassed => RunOutcome::DeadlinePassed,
        };
        let (inner, supervisor) = (&self.shared.inner, &self.shared.supervisor);
        for (node, reason, books) in self.pauses() {
            if !matches!(outcome, RunOutcome::Finished | RunOutcome::SinkClosed(_)) {
                let reason = format!("{node} could not accept {books} books: {reason}");
                inner.context.fail(reason);
            }
        }
        inner.seal();
        inner.balancers.close();
        if outcome == RunOutcome::Finished {
            supervisor.stop(inner.shutdown).await;
        } else {
            inner.context.halt();
            supervisor.kill_all();
            supervisor.ended().await;
        }
        let patience = match outcome {
            RunOutcome::DeadlinePassed => HOMECOMING_LATE,
            _ => HOMECOMING,
        };
        self.bring_home(patience).await;
        let stored = self.flush(patience).await;
        let ending = inner.clone();
        let said = inner.context.pool.wait_for(move || last_words(&ending));
        // A stop does not wait for a file system that hangs.
        let late = (outcome != RunOutcome::Finished).then_some(patience);
        let failures = tokio::select! {
            biased;
            said = said => said.unwrap_or_else(|_| vec!["the end of the run was \
                cancelled".to_owned()]),
            () = inner.context.clock.sleep_if(late) => vec![format!(
                "sinks and sources did not finish within {patience:?}; \
                 their last writes may be lost"
            )],
        };
        for failure in failures.into_iter().chain(stored.err()) {
            inner.context.fail(failure);
        }
        inner.context.custody.close_store();
        tokio::select! {
            biased;
            () = inner.context.custody.store_closed() => {}
            () = inner.context.clock.sleep_if(Some(patience)) => {
                log::warn!("closing the store does not end; its thread is left behind");
            }
        }
        self.leave_readers(patience.min(LAST_READ)).await;
        inner.stop_arbiters();
        inner.context.custody.unwatch();
        inner.context.tell(Event::Ended);
        // Wakes the tasks that wait for these, so that they exit.
        inner.context.custody.deaths().notify_one();
        inner.resized.notify_one();
        #[cfg(feature = "http")]
        self.end_operations().await;
        outcome
    }

    /// Ends the server for operators, which has served until now.
    #[cfg(feature = "http")]
    async fn end_operations(&self) {
        let server = self.shared.operations.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(server) = server {
            server.end().await;
        }
    }

    /// Waits until the store has confirmed what has changed, the sinks synced before.
    async fn flush(&self, patience: Duration) -> Result<(), String> {
        let context = &self.shared.inner.context;
        let stored = tokio::select! {
            biased;
            stored = context.custody.flush() => stored,
            () = context.clock.sleep_if(Some(patience)) => false,
        };
        match (stored, context.custody.unconfirmed()) {
            (true, _) | (_, 0) => Ok(()),
            (false, books) => Err(format!(
                "the store has not confirmed the last changes of {books} books; the next run \
                 repeats them"
            )),
        }
    }

    /// Warns of sources that are still being read: a read can't be cancelled, so its thread stays.
    async fn leave_readers(&self, patience: Duration) {
        let inner = &self.shared.inner;
        let clock = &inner.context.clock;
        let deadline = clock.now() + patience;
        let nodes = inner.nodes();
        let feeders = nodes.piles.iter().filter_map(|pile| pile.feeder());
        for feeder in feeders {
            while feeder.is_reading() && clock.now() < deadline {
                clock.sleep(Duration::from_millis(2)).await;
            }
            if feeder.is_reading() {
                let name = &feeder.name;
                log::warn!("{name}: a read does not end; its thread is left behind");
            }
        }
    }

    /// Cleans up after a failed start.
    pub(super) async fn abandon(&self) {
        let inner = &self.shared.inner;
        self.bring_home(HOMECOMING).await;
        inner.context.custody.close_store();
        inner.stop_arbiters();
        inner.context.custody.deaths().notify_one();
        inner.resized.notify_one();
    }

    /// Returns every cart and book in flight; no actor is left to send them out again.
    async fn bring_home(&self, patience: Duration) {
        let inner = &self.shared.inner;
        // No worker is left to run requests, and no caller waits for their answers.
        inner.balancers.give_up_all();
        let clock = &inner.context.clock;
        let deadline = clock.now() + patience;
        let nodes = inner.nodes();
        let evict = || {
            nodes.incinerators.iter().for_each(|fire| fire.evict());
            nodes.crews.iter().for_each(|crew| crew.core.queue.evict());
            nodes.piles.iter().for_each(|pile| pile.evict());
        };
        loop {
            evict();
            let out: usize = nodes.crews.iter().map(|crew| crew.core.queue.under_way()).sum();
            if out == 0 {
                break;
            }
            if clock.now() >= deadline {
                log::error!(
                    "{out} carts are still held by work that does not end; \
                     their books count as in flight"
                );
                break;
            }
            // Only pooled work can still hold a cart; it checks the halt after each book.
            clock.sleep(Duration::from_millis(2)).await;
        }
        evict();
    }
}

/// Final calls to sinks, sources and the keeper of dead letters. Returns their failures.
fn last_words(inner: &std::sync::Arc<Inner>) -> Vec<String> {
    dead::collect(inner);
    let mut failed = Vec::new();
    for fire in &inner.nodes().incinerators {
        if let Err(failure) = fire.finish() {
            failed.push(format!("{}: {failure}", fire.name));
        }
    }
    for receipts in &inner.context.receipts {
        let finished = guarded(|| receipts.finish())
            .unwrap_or_else(|text| Err(Failure::permanent(format!("panicked: {text}"))));
        if let Err(failure) = finished {
            failed.push(failure.to_string());
        }
    }
    failed
}
