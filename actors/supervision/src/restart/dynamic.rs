//! Adding and removing children at run time.

use std::time::Duration;

use super::{ChildId, Do, Ending, Kept, Life, Phase, Restarts};
use crate::ChildSpec;
use crate::clock::Time;

impl Restarts {
    /// Adds a child, last in the start order, and starts it after all pending starts. It is removed
    /// once it ends and will not be restarted: a temporary child after any exit, a transient one
    /// after a normal exit. `None` if the state machine is ending.
    pub fn add(&mut self, spec: ChildSpec, now: Time) -> Option<(ChildId, Vec<Do>)> {
        if self.phase != Phase::Running {
            return None;
        }
        let child = ChildId(self.next_id);
        self.next_id += 1;
        let kept = Kept { dynamic: true, ..Kept::new(spec) };
        self.children.insert(child, kept);
        if self.queue.is_empty() {
            self.gate = now;
        }
        self.queue.insert(child);
        let mut out = Vec::new();
        self.pump(now, &mut out);
        Some((child, out))
    }

    /// Adds `count` children with one specification. Returns the id of the first (an unused id if
    /// `count` is 0); the ids of the others follow. They behave like other children, except that up
    /// to 256 are started as one batch; see [`Restarts::on_lot_done`]. `None` if the state machine
    /// is ending.
    ///
    /// The name in `spec` is a prefix: child `index` is named `name/index`.
    pub fn add_many(
        &mut self,
        spec: ChildSpec,
        count: usize,
        now: Time,
    ) -> Option<(ChildId, Vec<Do>)> {
        if self.phase != Phase::Running {
            return None;
        }
        let first = ChildId(self.next_id);
        let mut out = Vec::new();
        // An id is used up even for 0 children; otherwise stopping it would stop the next child
        // added.
        self.next_id += count.max(1);
        if count == 0 {
            return Some((first, out));
        }
        self.children.insert_row(first, spec, count);
        if self.queue.is_empty() {
            self.gate = now;
        }
        // Represents the whole row in the queue until its batches are started.
        self.queue.insert(first);
        self.pump(now, &mut out);
        Some((first, out))
    }

    /// Reports that each member of the current batch, of the children added with `first`, has
    /// started or ended.
    pub fn on_lot_done(&mut self, first: ChildId, now: Time) -> Vec<Do> {
        let mut out = Vec::new();
        if self.children.lot_done(first) {
            self.queue_unborn(first);
            self.pump(now, &mut out);
        }
        out
    }

    /// True while children added with `first` are being started in a batch, or have never been
    /// started.
    pub fn is_starting(&mut self, first: ChildId) -> bool {
        self.children.is_starting(first)
    }

    fn queue_unborn(&mut self, first: ChildId) {
        if self.phase == Phase::Running
            && let Some(next) = self.children.next_unborn(first)
        {
            self.queue.insert(next);
        }
    }

    /// Stops a child permanently, whichever way it was added: it has its own shutdown time, then it
    /// is killed. It is removed once it has ended.
    pub fn remove(&mut self, child: ChildId, now: Time) -> Vec<Do> {
        let mut out = Vec::new();
        let queued = self.queue.remove(&child);
        let Some(mut kept) = self.children.get_mut(child) else {
            return out;
        };
        kept.leaving = true;
        if !kept.alive() {
            kept.life = Life::None;
            drop(kept);
            if queued {
                // It may have represented the rest of its row.
                self.queue_unborn(child);
            }
            self.forget(child, &mut out);
            self.pump(now, &mut out);
            return out;
        }
        if kept.ending().is_some() {
            // It is already ending.
            if let Life::Alive { ending: Some(ending), .. } = &mut kept.life {
                ending.wanted = true;
            }
            return out;
        }
        if kept.spec.shutdown == Duration::ZERO {
            drop(kept);
            self.kill_one(child, true, now, &mut out);
            return out;
        }
        let kill_at = now + kept.spec.shutdown;
        kept.set_ending(Ending { wanted: true, kill_at: Some(kill_at), hung_at: None });
        out.push(Do::Stop { child });
        out
    }

    pub(super) fn forget(&mut self, child: ChildId, out: &mut Vec<Do>) {
        self.queue.remove(&child);
        self.children.remove(child);
        out.push(Do::Forget { child });
    }

    /// The children, in the order of their start. Children that were added together share one
    /// specification.
    pub fn children(&self) -> impl Iterator<Item = (ChildId, &ChildSpec)> {
        let ids = self.ids();
        ids.filter_map(|child| Some((child, &**self.children.spec(child)?)))
    }
}
