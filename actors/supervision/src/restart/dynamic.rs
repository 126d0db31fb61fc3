//! Adding and removing children at run time.

use std::time::Duration;

use super::{ChildId, ChildState, Ending, LifeStatus, Phase, RestartAction, Restarts};
use crate::ChildSpec;
use crate::clock::Time;

impl Restarts {
    /// Adds a child, last in the start order, and starts it after all pending starts. It is removed
    /// once it ends and will not be restarted: a temporary child after any exit, a transient one
    /// after a normal exit. `None` if the state machine is ending.
    pub fn add(&mut self, spec: ChildSpec, now: Time) -> Option<(ChildId, Vec<RestartAction>)> {
        if self.phase != Phase::Running {
            return None;
        }
        let child = ChildId(self.next_id);
        self.next_id += 1;
        let state = ChildState { dynamic: true, ..ChildState::new(spec) };
        self.children.insert(child, state);
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
    /// to 256 are started as one batch; see [`Restarts::on_batch_done`]. `None` if the state
    /// machine is ending.
    ///
    /// The name in `spec` is a prefix: child `index` is named `name/index`.
    pub fn add_many(
        &mut self,
        spec: ChildSpec,
        count: usize,
        now: Time,
    ) -> Option<(ChildId, Vec<RestartAction>)> {
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
        self.children.insert_group(first, spec, count);
        if self.queue.is_empty() {
            self.gate = now;
        }
        // Represents the whole group in the queue until its batches are started.
        self.queue.insert(first);
        self.pump(now, &mut out);
        Some((first, out))
    }

    /// Reports that each member of the current batch, of the children added with `first`, has
    /// started or ended.
    pub fn on_batch_done(&mut self, first: ChildId, now: Time) -> Vec<RestartAction> {
        let mut out = Vec::new();
        if self.children.batch_done(first) {
            self.queue_unstarted(first);
            self.pump(now, &mut out);
        }
        out
    }

    /// True while children added with `first` are being started in a batch, or have never been
    /// started.
    pub fn is_starting(&mut self, first: ChildId) -> bool {
        self.children.is_starting(first)
    }

    fn queue_unstarted(&mut self, first: ChildId) {
        if self.phase == Phase::Running
            && let Some(next) = self.children.next_unstarted(first)
        {
            self.queue.insert(next);
        }
    }

    /// Stops a child permanently, whichever way it was added: it has its own shutdown time, then it
    /// is killed. It is removed once it has ended.
    pub fn remove(&mut self, child: ChildId, now: Time) -> Vec<RestartAction> {
        let mut out = Vec::new();
        let queued = self.queue.remove(&child);
        let Some(mut state) = self.children.get_mut(child) else {
            return out;
        };
        state.leaving = true;
        if !state.alive() {
            state.life = LifeStatus::None;
            drop(state);
            if queued {
                // It may have represented the rest of its group.
                self.queue_unstarted(child);
            }
            self.forget(child, &mut out);
            self.pump(now, &mut out);
            return out;
        }
        if state.ending().is_some() {
            // It is already ending.
            if let LifeStatus::Alive { ending: Some(ending), .. } = &mut state.life {
                ending.wanted = true;
            }
            return out;
        }
        if state.spec.shutdown == Duration::ZERO {
            drop(state);
            self.kill_one(child, true, now, &mut out);
            return out;
        }
        let kill_at = now + state.spec.shutdown;
        state.set_ending(Ending { wanted: true, kill_at: Some(kill_at), hung_at: None });
        out.push(RestartAction::Stop { child });
        out
    }

    pub(super) fn forget(&mut self, child: ChildId, out: &mut Vec<RestartAction>) {
        self.queue.remove(&child);
        self.children.remove(child);
        out.push(RestartAction::Forget { child });
    }

    /// The children, in the order of their start. Children that were added together share one
    /// specification.
    pub fn children(&self) -> impl Iterator<Item = (ChildId, &ChildSpec)> {
        let ids = self.ids();
        ids.filter_map(|child| Some((child, &**self.children.spec(child)?)))
    }
}
