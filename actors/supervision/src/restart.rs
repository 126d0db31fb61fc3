//! The restart policy as a pure state machine: it receives exits and times, and returns actions. It
//! uses no actor and no runtime.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use rand::rngs::ChaCha8Rng;

use super::{ChildSpec, Exit, RestartPolicy};
use crate::clock::Time;

mod actions;
mod child_state;
mod children;
mod failing;
mod groups;

pub use actions::{ChildId, RestartAction, SupervisorOutcome};

use child_state::{ChildState, Ending, LifeStatus};
use children::Children;

/// The restart state machine of one supervisor, with the state of its children.
///
/// Call `begin` first, then `on_started`, `on_exit` and `on_timer` as events occur, and execute the
/// actions they return. It never starts a life before the previous life of that child was reported
/// ended or fenced, and it ignores reports about lives that are not current.
#[derive(Debug)]
pub struct Restarts {
    policy: RestartPolicy,
    children: Children,
    // Never reused, even after a child is removed.
    next_id: usize,
    rng: ChaCha8Rng,
    // The failures of the last `period` that were answered with a restart, with the child of each.
    failures: VecDeque<(Time, ChildId)>,
    // To be started in sequence, each once the previous one has started.
    queue: BTreeSet<ChildId>,
    // The queue waits until then: the only timer of a group restart.
    gate: Time,
    phase: Phase,
    draining: bool,
    up: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Running,
    // The remaining children have until `deadline`; `None` once all have been killed.
    Ending { outcome: SupervisorOutcome, deadline: Option<Time> },
    Over,
}

impl Restarts {
    /// A state machine with no child started. `rng` is used only for the jitter of the backoff.
    pub fn new(policy: RestartPolicy, children: Vec<ChildSpec>, rng: ChaCha8Rng) -> Self {
        let next_id = children.len();
        let mut all = Children::default();
        for (index, spec) in children.into_iter().enumerate() {
            all.insert(ChildId(index), ChildState::new(spec));
        }
        Self {
            policy,
            children: all,
            next_id,
            rng,
            failures: VecDeque::new(),
            queue: BTreeSet::new(),
            gate: Time::ZERO,
            phase: Phase::Running,
            draining: false,
            up: false,
        }
    }

    /// Starts the children in order, each once the previous one has started. Must be called once,
    /// before any other method.
    pub fn begin(&mut self, now: Time) -> Vec<RestartAction> {
        self.queue = self.ids().collect();
        let mut out = Vec::new();
        self.pump(now, &mut out);
        out
    }

    /// Reports that life `epoch` of `child` has started.
    pub fn on_started(&mut self, child: ChildId, epoch: u64, now: Time) -> Vec<RestartAction> {
        let mut out = Vec::new();
        let Some(mut state) = self.present(child, epoch) else {
            return out;
        };
        if let LifeStatus::Alive { since, queued, .. } = &mut state.life {
            *queued = false;
            since.get_or_insert(now);
        }
        drop(state);
        self.pump(now, &mut out);
        out
    }

    /// Reports that life `epoch` of `child` has ended and everything it held was dropped.
    pub fn on_exit(
        &mut self,
        child: ChildId,
        epoch: u64,
        exit: &Exit,
        now: Time,
    ) -> Vec<RestartAction> {
        let mut out = Vec::new();
        self.exit(child, epoch, exit, now, &mut out);
        out
    }

    /// Performs the actions that are due. Call it at [`Restarts::next_timer`]; a call at any other
    /// time is harmless.
    pub fn on_timer(&mut self, now: Time) -> Vec<RestartAction> {
        let mut out = Vec::new();
        if let Phase::Ending { deadline, .. } = &mut self.phase
            && deadline.is_some_and(|deadline| deadline <= now)
        {
            *deadline = None;
            self.kill_every(now, &mut out);
        }
        for child in self.children.to_end(now).into_iter().rev() {
            // An exit earlier in this loop may have removed it.
            let Some(state) = self.children.get(child) else {
                continue;
            };
            let Some(ending) = state.ending() else {
                continue;
            };
            if ending.kill_at.is_some_and(|at| at <= now) {
                self.kill_one(child, ending.wanted, now, &mut out);
            } else if ending.hung_at.is_some_and(|at| at <= now) {
                let epoch = state.epoch;
                let exit = Exit::Hung;
                out.push(RestartAction::Fence { child, epoch, exit: exit.clone() });
                self.exit(child, epoch, &exit, now, &mut out);
            }
        }
        self.pump(now, &mut out);
        out
    }

    /// The next time at which [`Restarts::on_timer`] must be called, unless another event comes
    /// first.
    pub fn next_timer(&self) -> Option<Time> {
        let lives = self.children.next_due().into_iter();
        let gate = (!self.queue.is_empty() && !self.queue_blocked()).then_some(self.gate);
        let deadline = match self.phase {
            Phase::Ending { deadline, .. } => deadline,
            _ => None,
        };
        lives.chain(gate).chain(deadline).min()
    }

    /// Kills `child` as a fault would; the policy decides whether it is restarted. No effect if it
    /// is not alive.
    pub fn kill(&mut self, child: ChildId, now: Time) -> Vec<RestartAction> {
        let mut out = Vec::new();
        if self.children.get(child).is_some_and(|state| state.alive()) {
            self.kill_one(child, false, now, &mut out);
        }
        out
    }

    /// Gives up life `epoch` of `child`, which a watchdog found hung. No effect if that life is not
    /// current.
    pub fn give_up(&mut self, child: ChildId, epoch: u64, now: Time) -> Vec<RestartAction> {
        self.give_up_as(child, epoch, &Exit::Hung, now)
    }

    /// Like [`Restarts::give_up`], with the exit to report.
    pub fn give_up_as(
        &mut self,
        child: ChildId,
        epoch: u64,
        exit: &Exit,
        now: Time,
    ) -> Vec<RestartAction> {
        let mut out = Vec::new();
        if self.present(child, epoch).is_some() {
            out.push(RestartAction::Fence { child, epoch, exit: exit.clone() });
            self.exit(child, epoch, exit, now, &mut out);
        }
        out
    }

    /// Stops the children in the reverse order of their start, each within its own shutdown time
    /// and all within `within`. No restarts follow.
    pub fn stop(&mut self, within: Duration, now: Time) -> Vec<RestartAction> {
        let mut out = Vec::new();
        let until = now + within;
        match &mut self.phase {
            Phase::Running => {
                self.end(SupervisorOutcome::Stopped, Some(until));
                self.wind_down(now, &mut out);
            }
            Phase::Ending { deadline: Some(deadline), .. } => *deadline = until.min(*deadline),
            Phase::Ending { deadline: None, .. } | Phase::Over => {}
        }
        out
    }

    /// Kills all children immediately. No restarts follow.
    pub fn kill_all(&mut self, now: Time) -> Vec<RestartAction> {
        let mut out = Vec::new();
        match &mut self.phase {
            Phase::Running => self.end(SupervisorOutcome::Stopped, None),
            Phase::Ending { deadline, .. } => *deadline = None,
            Phase::Over => return out,
        }
        self.kill_every(now, &mut out);
        self.wind_down(now, &mut out);
        out
    }

    /// While draining, restarts use the minimum backoff; pending restarts are brought forward.
    pub fn set_draining(&mut self, draining: bool, now: Time) -> Vec<RestartAction> {
        let mut out = Vec::new();
        self.draining = draining;
        if draining {
            let soon = now + self.policy.backoff.min;
            self.gate = self.gate.min(soon);
            for child in self.children.waiting() {
                if let LifeStatus::Waiting(at) = &mut self.children.change(child).life {
                    *at = soon.min(*at);
                }
            }
            self.pump(now, &mut out);
        }
        out
    }

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

    fn forget(&mut self, child: ChildId, out: &mut Vec<RestartAction>) {
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

    /// True if `epoch` is the current life of `child`; reports about other lives are ignored.
    pub fn is_present(&self, child: ChildId, epoch: u64) -> bool {
        let state = self.children.get(child);
        state.is_some_and(|state| state.epoch == epoch && state.alive())
    }

    /// True once stopped or escalated, with no child alive.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    fn ids(&self) -> impl DoubleEndedIterator<Item = ChildId> + use<> {
        self.children.ids()
    }

    /// The child, if `epoch` is its current life.
    fn present(&mut self, child: ChildId, epoch: u64) -> Option<children::ChildMut<'_>> {
        // Checked first: access for a change moves a child out of its group.
        if !self.is_present(child, epoch) {
            return None;
        }
        self.children.get_mut(child)
    }

    /// Prevents all further restarts.
    fn end(&mut self, outcome: SupervisorOutcome, deadline: Option<Time>) {
        self.phase = Phase::Ending { outcome, deadline };
        self.queue.clear();
        self.children.set_over();
        for child in self.children.waiting() {
            self.children.change(child).life = LifeStatus::None;
        }
    }

    /// Asks the last living child to stop, unless it is already ending; emits `End` if no child is
    /// alive.
    fn wind_down(&mut self, now: Time, out: &mut Vec<RestartAction>) {
        let Phase::Ending { outcome, deadline } = &self.phase else {
            return;
        };
        let Some(child) = self.children.last_alive() else {
            out.push(RestartAction::End(outcome.clone()));
            self.phase = Phase::Over;
            return;
        };
        let Some(deadline) = *deadline else {
            return;
        };
        let mut state = self.children.change(child);
        if state.ending().is_some() {
            return;
        }
        if state.spec.shutdown.is_zero() {
            drop(state);
            return self.kill_one(child, true, now, out);
        }
        let kill_at = deadline.min(now + state.spec.shutdown);
        state.set_ending(Ending { wanted: true, kill_at: Some(kill_at), hung_at: None });
        out.push(RestartAction::Stop { child });
    }

    fn kill_every(&mut self, now: Time, out: &mut Vec<RestartAction>) {
        for child in self.ids().rev() {
            if self.children.of(child).alive() {
                self.kill_one(child, true, now, out);
            }
        }
    }

    /// Kills a living child. Emits the kill only once and keeps the first deadline.
    fn kill_one(&mut self, child: ChildId, wanted: bool, now: Time, out: &mut Vec<RestartAction>) {
        let hung_at = now + self.policy.kill_deadline;
        let mut state = self.children.change(child);
        let before = state.ending();
        let killed_before = before.and_then(|ending| ending.hung_at);
        state.set_ending(Ending {
            wanted: wanted || before.is_some_and(|ending| ending.wanted),
            kill_at: None,
            hung_at: Some(killed_before.unwrap_or(hung_at)),
        });
        if killed_before.is_none() {
            out.push(RestartAction::Kill { child });
        }
    }

    /// True while the queue must wait for a start, or for the end of children killed for a group
    /// restart.
    fn queue_blocked(&self) -> bool {
        self.children.blocks()
    }

    /// Starts the children that are due.
    fn pump(&mut self, now: Time, out: &mut Vec<RestartAction>) {
        if self.phase != Phase::Running {
            return;
        }
        for child in self.children.to_start(now) {
            self.launch(child, false, out);
        }
        if self.queue_blocked() {
            return;
        }
        if self.gate <= now
            && let Some(next) = self.queue.pop_first()
        {
            match self.children.start_batch(next) {
                Some((count, epoch)) => {
                    out.push(RestartAction::StartBatch { first: next, count, epoch })
                }
                None => self.launch(next, true, out),
            }
        } else if self.queue.is_empty() && !self.up {
            self.up = true;
            out.push(RestartAction::Up);
        }
    }

    fn launch(&mut self, child: ChildId, queued: bool, out: &mut Vec<RestartAction>) {
        let mut state = self.children.change(child);
        state.epoch = state.spec.first_epoch.max(state.epoch + 1);
        state.starts += 1;
        state.life = LifeStatus::Alive { since: None, queued, ending: None };
        out.push(RestartAction::Start { child, epoch: state.epoch, restarts: state.starts - 1 });
    }
}

#[cfg(test)]
mod tests;
