//! How a balancer ends, and its account.

use super::{BalancerCore, State};
use crate::balancer::call::CallError;
use crate::balancer::figures::{Figures, Tail};
use crate::worker::Work;

impl<W: Work> BalancerCore<W> {
    /// Takes no further request; those under way run to their end.
    pub fn seal(&self) {
        self.lock().closed = true;
        self.changed.notify_waiters();
        if let Some(room) = &self.room {
            room.close();
        }
    }

    /// Takes no further request and gives up all that are under way: their callers hear [`CallError::Closed`].
    pub fn close(&self) {
        self.seal();
        let now = self.clock.now();
        let items = self.lock().desk.clear(now);
        for item in &items {
            item.cell.settle(Err(CallError::Closed));
        }
        let any = !items.is_empty();
        drop(items);
        self.ended(any);
    }

    /// Requests that are not over.
    pub fn open(&self) -> usize {
        self.lock().desk.open()
    }

    /// Waits until no request is under way.
    pub async fn quiet(&self) {
        self.until(|state| state.desk.open() == 0).await;
    }

    /// Waits until every worker has been up once, or the balancer is closed.
    pub async fn ready(&self) {
        self.until(|state| state.closed || state.seen.iter().all(|seen| *seen))
            .await;
    }

    async fn until(&self, holds: impl Fn(&State<W>) -> bool) {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // Listens before it looks.
            changed.as_mut().enable();
            if holds(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    /// What it has done so far.
    pub fn figures(&self) -> Figures {
        let now = self.clock.now();
        let state = self.lock();
        Figures {
            counts: state.desk.counts(),
            open: state.desk.open(),
            waiting: state.desk.waiting(),
            response: Tail::new(&state.response, state.responses),
            waited: Tail::new(&state.waited, state.waits),
            loads: state.desk.loads(now),
            busy: state.busy,
        }
    }
}
