//! Reactions to an exit: restart, group restart or escalation.

use super::{ChildId, LifeStatus, Phase, RestartAction, Restarts};
use crate::clock::Time;
use crate::{Exit, Restart, RestartPolicy, Strategy, SupervisorOutcome};

impl Restarts {
    pub(super) fn exit(
        &mut self,
        child: ChildId,
        epoch: u64,
        exit: &Exit,
        now: Time,
        out: &mut Vec<RestartAction>,
    ) {
        let reset = self.policy.backoff.reset;
        let Some(mut state) = self.present(child, epoch) else {
            return;
        };
        let LifeStatus::Alive { since, queued, ending } =
            std::mem::replace(&mut state.life, LifeStatus::None)
        else {
            return;
        };
        if since.is_some_and(|since| now - since >= reset) {
            state.streak = 0;
        }
        let wanted = ending.is_some_and(|ending| ending.wanted);
        let failed = match state.spec.restart {
            Restart::Permanent => true,
            Restart::Transient => exit.is_abnormal(),
            Restart::Temporary => false,
        };
        let dynamic = state.dynamic;
        drop(state);
        let done = dynamic && !failed && !self.queue.contains(&child);
        let forgotten = self.children.of(child).leaving || done;
        if forgotten {
            self.forget(child, out);
        }
        if self.phase != Phase::Running {
            self.wind_down(now, out);
        } else if failed && !wanted && !forgotten {
            self.fail(child, queued, exit, now, out);
        }
        self.pump(now, out);
    }

    /// Reports that life `epoch` of `child` was lost without a fault of its own, because its thread
    /// was blocked or ended by another. The life is fenced if its thread still exists, and the
    /// child is restarted without delay. No failure is counted.
    pub fn on_lost(
        &mut self,
        child: ChildId,
        epoch: u64,
        exit: &Exit,
        now: Time,
    ) -> Vec<RestartAction> {
        let mut out = Vec::new();
        let running = self.phase == Phase::Running;
        let Some(state) = self.present(child, epoch) else {
            return out;
        };
        let LifeStatus::Alive { queued, ending, .. } = state.life else {
            return out;
        };
        let wanted = ending.is_some_and(|ending| ending.wanted);
        let temporary = state.spec.restart == Restart::Temporary;
        let leaving = state.leaving;
        drop(state);
        if *exit != Exit::ArbiterDead {
            out.push(RestartAction::Fence { child, epoch, exit: exit.clone() });
        }
        if !running || wanted || temporary || leaving {
            self.exit(child, epoch, exit, now, &mut out);
            return out;
        }
        match self.policy.strategy {
            Strategy::OneForOne if !queued => {
                self.children.change(child).life = LifeStatus::Waiting(now);
            }
            // Restarted in order, together with the children that the culprit's failure restarts.
            _ => {
                self.children.change(child).life = LifeStatus::None;
                self.queue.insert(child);
            }
        }
        out.push(RestartAction::Restarting { child, after: std::time::Duration::ZERO });
        self.pump(now, &mut out);
        out
    }

    fn fail(
        &mut self,
        child: ChildId,
        queued: bool,
        exit: &Exit,
        now: Time,
        out: &mut Vec<RestartAction>,
    ) {
        let RestartPolicy { intensity, period, in_a_row, backoff, .. } = self.policy;
        while self.failures.front().is_some_and(|(at, _)| now - *at >= period) {
            self.failures.pop_front();
        }
        if intensity < u32::MAX {
            self.failures.push_back((now, child));
        }
        let mut state = self.children.change(child);
        state.streak = state.streak.saturating_add(1);
        let streak = state.streak;
        drop(state);
        if self.failures.len() > intensity as usize {
            let all = self.failures.len();
            let own = self.failures.iter().filter(|(_, whose)| *whose == child).count();
            let name = self.children.of(child).name();
            let reason = format!(
                "{name} {exit}; that is failure {all} within {period:?} ({own} by {name}), \
                 and {intensity} are allowed"
            );
            return self.escalate(reason, now, out);
        }
        if streak >= in_a_row.max(1) {
            let name = self.children.of(child).name();
            let reason = format!(
                "{name} failed {streak} times in a row, never healthy for {:?} in between; \
                 at last it {exit}",
                backoff.reset
            );
            return self.escalate(reason, now, out);
        }
        // Always drawn, so that draining does not shift later draws.
        let drawn = backoff.delay(streak, &mut self.rng);
        let after = if self.draining { backoff.min } else { drawn };
        let at = now + after;
        out.push(RestartAction::Restarting { child, after });
        let first = match self.policy.strategy {
            Strategy::OneForOne if queued => {
                // It keeps its position: later children wait until it has started.
                self.queue.insert(child);
                self.gate = at;
                return;
            }
            Strategy::OneForOne => {
                self.children.change(child).life = LifeStatus::Waiting(at);
                return;
            }
            Strategy::OneForAll => ChildId(0),
            Strategy::RestForOne => child,
        };
        self.queue.insert(child);
        self.gate = self.gate.max(at);
        for other in self.ids().rev() {
            if other < first || !self.children.of(other).alive() {
                continue;
            }
            if self.children.of(other).spec.restart != Restart::Temporary {
                self.queue.insert(other);
            }
            self.kill_one(other, true, now, out);
        }
    }

    pub(super) fn escalate(&mut self, reason: String, now: Time, out: &mut Vec<RestartAction>) {
        out.push(RestartAction::Escalate { reason: reason.clone() });
        self.end(SupervisorOutcome::Escalated { reason }, None);
        self.kill_every(now, out);
        self.wind_down(now, out);
    }
}
