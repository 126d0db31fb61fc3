//! The restart policy as a pure state machine: exits and moments go in, what to do comes out. No actor and no runtime in it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use super::{ChildSpec, Exit, Policy, Restart, Strategy};
use crate::clock::Time;

mod orders;

pub use orders::{ChildId, Do, Outcome};

/// The restart policy of one supervisor, and what it knows of its children.
///
/// Feed it `begin`, then `on_started`, `on_exit` and `on_timer`; carry out what they give back. It never starts a life before
/// the last one of the same child was reported over or fenced, and it ignores reports of lives that are not the present one.
#[derive(Debug)]
pub struct Restarts {
    policy: Policy,
    children: Vec<Kept>,
    rng: ChaCha8Rng,
    // The failures of the last period that were answered with a restart, and whose they were.
    failures: VecDeque<(Time, ChildId)>,
    // To be started one after the other, each when the one before has started.
    queue: BTreeSet<ChildId>,
    // The queue rests until then: the one timer of a group restart.
    gate: Time,
    phase: Phase,
    draining: bool,
    up: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Running,
    // What is left may take until `deadline`; `None` where all have been killed.
    Ending {
        outcome: Outcome,
        deadline: Option<Time>,
    },
    Over,
}

#[derive(Debug)]
struct Kept {
    spec: ChildSpec,
    epoch: u64,
    starts: u64,
    streak: u32,
    life: Life,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    None,
    // To be started by itself at this moment.
    Waiting(Time),
    Alive {
        // When `started` returned.
        since: Option<Time>,
        // Others wait in the queue until it has started.
        queued: bool,
        ending: Option<Ending>,
    },
}

/// A life that was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ending {
    // It ends because the supervisor wants it, so its exit is no failure.
    wanted: bool,
    // It was asked to stop, and is killed then.
    kill_at: Option<Time>,
    // It was killed, and hangs if it is not gone by then.
    hung_at: Option<Time>,
}

impl Kept {
    fn alive(&self) -> bool {
        matches!(self.life, Life::Alive { .. })
    }

    fn ending(&self) -> Option<Ending> {
        match self.life {
            Life::Alive { ending, .. } => ending,
            _ => None,
        }
    }

    fn set_ending(&mut self, to: Ending) {
        if let Life::Alive { ending, .. } = &mut self.life {
            *ending = Some(to);
        }
    }
}

impl Restarts {
    /// A machine at rest. `rng` is used for the jitter of the backoff only.
    pub fn new(policy: Policy, children: Vec<ChildSpec>, rng: ChaCha8Rng) -> Self {
        let children = children.into_iter().map(|spec| Kept {
            epoch: 0,
            starts: 0,
            streak: 0,
            life: Life::None,
            spec,
        });
        Self {
            policy,
            children: children.collect(),
            rng,
            failures: VecDeque::new(),
            queue: BTreeSet::new(),
            gate: Time::ZERO,
            phase: Phase::Running,
            draining: false,
            up: false,
        }
    }

    /// Starts the children in order, each when the one before has started. To be called once, first.
    pub fn begin(&mut self, now: Time) -> Vec<Do> {
        self.queue = self.ids().collect();
        let mut out = Vec::new();
        self.pump(now, &mut out);
        out
    }

    /// The life `epoch` of `child` has started.
    pub fn on_started(&mut self, child: ChildId, epoch: u64, now: Time) -> Vec<Do> {
        let mut out = Vec::new();
        let Some(kept) = self.present(child, epoch) else {
            return out;
        };
        if let Life::Alive { since, queued, .. } = &mut kept.life {
            *queued = false;
            since.get_or_insert(now);
        }
        self.pump(now, &mut out);
        out
    }

    /// The life `epoch` of `child` is over, and all that it held is gone.
    pub fn on_exit(&mut self, child: ChildId, epoch: u64, exit: &Exit, now: Time) -> Vec<Do> {
        let mut out = Vec::new();
        self.exit(child, epoch, exit, now, &mut out);
        out
    }

    /// Does what is due. To be called at [`Restarts::next_timer`]; at any other time it does no harm.
    pub fn on_timer(&mut self, now: Time) -> Vec<Do> {
        let mut out = Vec::new();
        if let Phase::Ending { deadline, .. } = &mut self.phase
            && deadline.is_some_and(|deadline| deadline <= now)
        {
            *deadline = None;
            self.kill_every(now, &mut out);
        }
        for child in self.ids().rev() {
            let kept = &mut self.children[child.0];
            let Some(ending) = kept.ending() else {
                continue;
            };
            if ending.kill_at.is_some_and(|at| at <= now) {
                self.kill_one(child, ending.wanted, now, &mut out);
            } else if ending.hung_at.is_some_and(|at| at <= now) {
                let epoch = kept.epoch;
                out.push(Do::Fence { child, epoch });
                self.exit(child, epoch, &Exit::Hung, now, &mut out);
            }
        }
        self.pump(now, &mut out);
        out
    }

    /// When [`Restarts::on_timer`] has something to do, if nothing happens before.
    pub fn next_timer(&self) -> Option<Time> {
        let lives = self.children.iter().filter_map(|kept| match kept.life {
            Life::None => None,
            Life::Waiting(at) => Some(at),
            Life::Alive { ending, .. } => {
                ending.and_then(|ending| ending.kill_at.or(ending.hung_at))
            }
        });
        let gate = (!self.queue.is_empty() && !self.queue_blocked()).then_some(self.gate);
        let deadline = match self.phase {
            Phase::Ending { deadline, .. } => deadline,
            _ => None,
        };
        lives.chain(gate).chain(deadline).min()
    }

    /// Kills `child` as a fault would: its policy decides what follows. Nothing where it is not alive.
    pub fn kill(&mut self, child: ChildId, now: Time) -> Vec<Do> {
        let mut out = Vec::new();
        if self.children.get(child.0).is_some_and(Kept::alive) {
            self.kill_one(child, false, now, &mut out);
        }
        out
    }

    /// Gives up the life `epoch` of `child`, which a watchdog found hung. Nothing where that life is not the present one.
    pub fn give_up(&mut self, child: ChildId, epoch: u64, now: Time) -> Vec<Do> {
        let mut out = Vec::new();
        if self.present(child, epoch).is_some() {
            out.push(Do::Fence { child, epoch });
            self.exit(child, epoch, &Exit::Hung, now, &mut out);
        }
        out
    }

    /// Stops the children in the reverse order of their start, each with the time it has to stop, all within `deadline`.
    /// There are no restarts any more.
    pub fn stop(&mut self, within: Duration, now: Time) -> Vec<Do> {
        let mut out = Vec::new();
        let until = now + within;
        match &mut self.phase {
            Phase::Running => {
                self.end(Outcome::Stopped, Some(until));
                self.wind_down(now, &mut out);
            }
            Phase::Ending {
                deadline: Some(deadline),
                ..
            } => *deadline = until.min(*deadline),
            Phase::Ending { deadline: None, .. } | Phase::Over => {}
        }
        out
    }

    /// Kills all children at once. There are no restarts any more.
    pub fn kill_all(&mut self, now: Time) -> Vec<Do> {
        let mut out = Vec::new();
        match &mut self.phase {
            Phase::Running => self.end(Outcome::Stopped, None),
            Phase::Ending { deadline, .. } => *deadline = None,
            Phase::Over => return out,
        }
        self.kill_every(now, &mut out);
        self.wind_down(now, &mut out);
        out
    }

    /// While draining, restarts continue with the least backoff; those that wait already are brought forward.
    pub fn set_draining(&mut self, draining: bool, now: Time) -> Vec<Do> {
        let mut out = Vec::new();
        self.draining = draining;
        if draining {
            let soon = now + self.policy.backoff.min;
            self.gate = self.gate.min(soon);
            for kept in &mut self.children {
                if let Life::Waiting(at) = &mut kept.life {
                    *at = soon.min(*at);
                }
            }
            self.pump(now, &mut out);
        }
        out
    }

    /// True if `epoch` is the present life of `child`: reports of any other are ignored.
    pub fn is_present(&self, child: ChildId, epoch: u64) -> bool {
        self.children
            .get(child.0)
            .is_some_and(|kept| kept.epoch == epoch && kept.alive())
    }

    /// True when all is over: stopped or escalated, and nobody lives.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    fn ids(&self) -> impl DoubleEndedIterator<Item = ChildId> + use<> {
        (0..self.children.len()).map(ChildId)
    }

    /// The child, if `epoch` is its present life.
    fn present(&mut self, child: ChildId, epoch: u64) -> Option<&mut Kept> {
        self.children
            .get_mut(child.0)
            .filter(|kept| kept.epoch == epoch && kept.alive())
    }

    fn exit(&mut self, child: ChildId, epoch: u64, exit: &Exit, now: Time, out: &mut Vec<Do>) {
        let reset = self.policy.backoff.reset;
        let Some(kept) = self.present(child, epoch) else {
            return;
        };
        let Life::Alive {
            since,
            queued,
            ending,
        } = std::mem::replace(&mut kept.life, Life::None)
        else {
            return;
        };
        if since.is_some_and(|since| now - since >= reset) {
            kept.streak = 0;
        }
        let failed = match kept.spec.restart {
            Restart::Permanent => true,
            Restart::Transient => exit.is_abnormal(),
            Restart::Temporary => false,
        };
        if self.phase != Phase::Running {
            self.wind_down(now, out);
        } else if failed && !ending.is_some_and(|ending| ending.wanted) {
            self.fail(child, queued, exit, now, out);
        }
        self.pump(now, out);
    }

    fn fail(&mut self, child: ChildId, queued: bool, exit: &Exit, now: Time, out: &mut Vec<Do>) {
        let Policy {
            intensity,
            period,
            in_a_row,
            backoff,
            ..
        } = self.policy;
        while self
            .failures
            .front()
            .is_some_and(|(at, _)| now - *at >= period)
        {
            self.failures.pop_front();
        }
        self.failures.push_back((now, child));
        let kept = &mut self.children[child.0];
        kept.streak = kept.streak.saturating_add(1);
        let streak = kept.streak;
        if self.failures.len() > intensity as usize {
            let all = self.failures.len();
            let own = self
                .failures
                .iter()
                .filter(|(_, whose)| *whose == child)
                .count();
            let name = &self.children[child.0].spec.name;
            let reason = format!(
                "{name} {exit}; that is failure {all} within {period:?} ({own} by {name}), and {intensity} are allowed"
            );
            return self.escalate(reason, now, out);
        }
        if streak >= in_a_row.max(1) {
            let name = &self.children[child.0].spec.name;
            let reason = format!(
                "{name} failed {streak} times in a row, never healthy for {:?} in between; at last it {exit}",
                backoff.reset
            );
            return self.escalate(reason, now, out);
        }
        // Drawn in any case, so that draining does not shift later draws.
        let drawn = backoff.delay(streak, &mut self.rng);
        let after = if self.draining { backoff.min } else { drawn };
        let at = now + after;
        out.push(Do::Restarting { child, after });
        let first = match self.policy.strategy {
            Strategy::OneForOne if queued => {
                // It keeps its turn: those after it wait until it has started.
                self.queue.insert(child);
                self.gate = at;
                return;
            }
            Strategy::OneForOne => {
                self.children[child.0].life = Life::Waiting(at);
                return;
            }
            Strategy::OneForAll => 0,
            Strategy::RestForOne => child.0,
        };
        self.queue.insert(child);
        self.gate = self.gate.max(at);
        for other in self.ids().rev() {
            if other.0 < first || !self.children[other.0].alive() {
                continue;
            }
            if self.children[other.0].spec.restart != Restart::Temporary {
                self.queue.insert(other);
            }
            self.kill_one(other, true, now, out);
        }
    }

    fn escalate(&mut self, reason: String, now: Time, out: &mut Vec<Do>) {
        out.push(Do::Escalate {
            reason: reason.clone(),
        });
        self.end(Outcome::Escalated { reason }, None);
        self.kill_every(now, out);
        self.wind_down(now, out);
    }

    /// Ends all restarts.
    fn end(&mut self, outcome: Outcome, deadline: Option<Time>) {
        self.phase = Phase::Ending { outcome, deadline };
        self.queue.clear();
        for kept in &mut self.children {
            if !kept.alive() {
                kept.life = Life::None;
            }
        }
    }

    /// Asks the last child that lives to stop, if nobody told it to end yet; says `End` where nobody lives.
    fn wind_down(&mut self, now: Time, out: &mut Vec<Do>) {
        let Phase::Ending { outcome, deadline } = &self.phase else {
            return;
        };
        let Some(last) = self.children.iter().rposition(Kept::alive) else {
            out.push(Do::End(outcome.clone()));
            self.phase = Phase::Over;
            return;
        };
        let Some(deadline) = *deadline else {
            return;
        };
        let kept = &mut self.children[last];
        let child = ChildId(last);
        if kept.ending().is_some() {
            return;
        }
        if kept.spec.shutdown.is_zero() {
            return self.kill_one(child, true, now, out);
        }
        let kill_at = deadline.min(now + kept.spec.shutdown);
        kept.set_ending(Ending {
            wanted: true,
            kill_at: Some(kill_at),
            hung_at: None,
        });
        out.push(Do::Stop { child });
    }

    fn kill_every(&mut self, now: Time, out: &mut Vec<Do>) {
        for child in self.ids().rev() {
            if self.children[child.0].alive() {
                self.kill_one(child, true, now, out);
            }
        }
    }

    /// Kills a child that lives; says so only once, and keeps the first deadline.
    fn kill_one(&mut self, child: ChildId, wanted: bool, now: Time, out: &mut Vec<Do>) {
        let hung_at = now + self.policy.kill_deadline;
        let kept = &mut self.children[child.0];
        let before = kept.ending();
        let killed_before = before.and_then(|ending| ending.hung_at);
        kept.set_ending(Ending {
            wanted: wanted || before.is_some_and(|ending| ending.wanted),
            kill_at: None,
            hung_at: Some(killed_before.unwrap_or(hung_at)),
        });
        if killed_before.is_none() {
            out.push(Do::Kill { child });
        }
    }

    /// True while the queue must wait for a start or for the end of those that were killed for it.
    fn queue_blocked(&self) -> bool {
        self.children.iter().any(|kept| {
            matches!(kept.life, Life::Alive { queued: true, .. })
                || kept.ending().is_some_and(|ending| ending.wanted)
        })
    }

    /// Starts what is due.
    fn pump(&mut self, now: Time, out: &mut Vec<Do>) {
        if self.phase != Phase::Running {
            return;
        }
        for child in self.ids() {
            if let Life::Waiting(at) = self.children[child.0].life
                && at <= now
            {
                self.launch(child, false, out);
            }
        }
        if self.queue_blocked() {
            return;
        }
        if self.gate <= now
            && let Some(next) = self.queue.pop_first()
        {
            self.launch(next, true, out);
        } else if self.queue.is_empty() && !self.up {
            self.up = true;
            out.push(Do::Up);
        }
    }

    fn launch(&mut self, child: ChildId, queued: bool, out: &mut Vec<Do>) {
        let kept = &mut self.children[child.0];
        kept.epoch = kept.spec.first_epoch.max(kept.epoch + 1);
        kept.starts += 1;
        kept.life = Life::Alive {
            since: None,
            queued,
            ending: None,
        };
        out.push(Do::Start {
            child,
            epoch: kept.epoch,
            restarts: kept.starts - 1,
        });
    }
}

#[cfg(test)]
mod tests;
