//! Children that come and go at run time.

use std::time::Duration;

use super::{ChildId, Do, Ending, Kept, Life, Phase, Restarts};
use crate::clock::Time;
use crate::supervision::ChildSpec;

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

    /// Stops a child for good, whoever added it: it has its own time to stop, then it is killed. It is forgotten when it is gone.
    pub fn remove(&mut self, child: ChildId, now: Time) -> Vec<Do> {
        let mut out = Vec::new();
        self.queue.remove(&child);
        let Some(mut kept) = self.children.get_mut(child) else {
            return out;
        };
        kept.leaving = true;
        if !kept.alive() {
            kept.life = Life::None;
            drop(kept);
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

    /// The children, in the order of their start.
    pub fn children(&self) -> impl Iterator<Item = (ChildId, &ChildSpec)> {
        (self.children.iter()).map(|(child, kept)| (child, &kept.spec))
    }
}
