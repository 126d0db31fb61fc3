//! How a run ends: actors first, then what they left behind, then the account.

use std::sync::atomic::Ordering;
use std::time::Duration;

use gopherworks_actors::event::Event;
use gopherworks_actors::failure::Failure;

use super::running::{Done, RunningTopology};
use super::{HOMECOMING, dead};
use crate::report::{Outcome, Report};

impl RunningTopology {
    /// Ends a run that is done, or is to be stopped: no actor of it lives afterwards, sinks and sources have written what they
    /// have to write, and every book is accounted for. A second call only reports.
    pub async fn finish(&self, done: Done) -> Report {
        let outcome = match done {
            Done::Drained => Outcome::Finished,
            Done::Escalated(reason) => Outcome::Escalated(reason),
            Done::Stopped => Outcome::Stopped,
            Done::DeadlinePassed => Outcome::DeadlinePassed,
        };
        let inner = &self.shared.inner;
        if inner.finished.swap(true, Ordering::AcqRel) {
            return self.report(outcome);
        }
        let supervisor = &self.shared.supervisor;
        if outcome == Outcome::Finished {
            supervisor.stop(inner.shutdown).await;
        } else {
            inner.works.halt();
            supervisor.kill_all();
            supervisor.ended().await;
        }
        self.bring_home().await;
        let ending = inner.clone();
        let ended = inner.works.pool.wait_for(move || {
            dead::collect(&ending);
            let fires = ending
                .incinerators
                .iter()
                .map(|fire| (&*fire.name, fire.finish()));
            let failed: Vec<String> = fires
                .filter_map(|(name, finished)| Some(format!("{name}: {}", finished.err()?)))
                .collect();
            let receipts = ending.works.receipts.iter().filter_map(|receipts| {
                let failure: Failure = receipts.finish().err()?;
                Some(failure.to_string())
            });
            failed.into_iter().chain(receipts).collect::<Vec<String>>()
        });
        for failure in ended.await.unwrap_or_default() {
            inner.works.fail(failure);
        }
        for arbiter in &inner.arbiters {
            arbiter.stop();
        }
        inner.works.tell(Event::Ended);
        // Whoever waits for deaths looks once more, and goes.
        inner.works.store.deaths().notify_one();
        self.report(outcome)
    }

    /// For a start that failed.
    pub(super) async fn abandon(&self) {
        self.shared.inner.finished.store(true, Ordering::Release);
        self.bring_home().await;
        for arbiter in &self.shared.inner.arbiters {
            arbiter.stop();
        }
    }

    /// Lets every cart and book that is still under way go home. Nobody lives any more who could send them out again.
    async fn bring_home(&self) {
        let inner = &self.shared.inner;
        let clock = &inner.works.clock;
        let deadline = clock.now() + HOMECOMING;
        loop {
            inner.piles.iter().for_each(|pile| pile.evict());
            inner.incinerators.iter().for_each(|fire| fire.evict());
            let out: usize = inner
                .crews
                .iter()
                .map(|crew| crew.core.yard.under_way())
                .sum();
            if out == 0 {
                break;
            }
            if clock.now() >= deadline {
                log::error!(
                    "{out} carts are still held by work that does not end; their books count as in flight"
                );
                break;
            }
            // Only work in the pool can still hold a cart; it looks at the halt after each book.
            clock.sleep(Duration::from_millis(2)).await;
        }
        inner.piles.iter().for_each(|pile| pile.evict());
    }
}
