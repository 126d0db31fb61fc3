//! Children that come and go at run time.

use std::time::Duration;

use super::{ChildId, Do, Ending, Kept, Life, Phase, Restarts};
use crate::ChildSpec;
use crate::clock::Time;

impl Restarts {
    /// Adds a child and starts it, after all that are being started. It is the last in the order of starts. It is forgotten when it
    /// ends and will not come back: a temporary one after any exit, a transient one after a normal exit.
    /// `None` where the machine has begun to end.
    pub fn add(&mut self, spec: ChildSpec, now: Time) -> Option<(ChildId, Vec<Do>)> {
        if self.phase != Phase::Running {
            return None;
        }
        let child = ChildId(self.next_id);
        self.next_id += 1;
        let kept = Kept {
            dynamic: true,
            ..Kept::new(spec)
        };
        self.children.insert(child, kept);
        if self.queue.is_empty() {
            self.gate = now;
        }
        self.queue.insert(child);
        let mut out = Vec::new();
        self.pump(now, &mut out);
        Some((child, out))
    }

    /// Adds so many children of one specification. It gives back the id of the first (nobody's where there are none); those of the others follow.
    /// They are treated like any other, except that up to 256 are started together and not one after the other: see
    /// [`Restarts::on_lot_done`]. `None` where the machine has begun to end.
    ///
    /// The name in `spec` is that of the template; the child `index` is called `name/index`.
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
        // An id of its own even where there is nobody: that of the next child would stop a stranger.
        self.next_id += count.max(1);
        if count == 0 {
            return Some((first, out));
        }
        self.children.insert_row(first, spec, count);
        if self.queue.is_empty() {
            self.gate = now;
        }
        // It stands for all of them, until it is their turn.
        self.queue.insert(first);
        self.pump(now, &mut out);
        Some((first, out))
    }

    /// Each that was started together with others, of those that were added with `first`, has started or ended.
    pub fn on_lot_done(&mut self, first: ChildId, now: Time) -> Vec<Do> {
        let mut out = Vec::new();
        if self.children.lot_done(first) {
            self.queue_unborn(first);
            self.pump(now, &mut out);
        }
        out
    }

    /// True while some of those that were added with `first` are being started for the first time, or are still to be.
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

    /// Stops a child for good, whoever added it: it has its own time to stop, then it is killed. It is forgotten when it is gone.
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
                // It may have stood for others.
                self.queue_unborn(child);
            }
            self.forget(child, &mut out);
            self.pump(now, &mut out);
            return out;
        }
        if kept.ending().is_some() {
            // Its end is on its way.
            if let Life::Alive {
                ending: Some(ending),
                ..
            } = &mut kept.life
            {
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
        kept.set_ending(Ending {
            wanted: true,
            kill_at: Some(kill_at),
            hung_at: None,
        });
        out.push(Do::Stop { child });
        out
    }

    pub(super) fn forget(&mut self, child: ChildId, out: &mut Vec<Do>) {
        self.queue.remove(&child);
        self.children.remove(child);
        out.push(Do::Forget { child });
    }

    /// The children, in the order of their start. Those that were added together have one specification.
    pub fn children(&self) -> impl Iterator<Item = (ChildId, &ChildSpec)> {
        let ids = self.ids();
        ids.filter_map(|child| Some((child, &**self.children.spec(child)?)))
    }
}
