//! Pure: one worker as the desk sees it.

use std::collections::VecDeque;
use std::time::Duration;

use super::Ref;
use crate::clock::Time;

/// Weight of the latest request in a worker's moving average.
const SMOOTHING: f64 = 0.05;

#[derive(Debug, Default)]
pub(super) struct Worker {
    /// The epoch of the life that is there.
    pub(super) up: Option<u64>,
    /// The latest that ever was.
    pub(super) last: u64,
    pub(super) queue: VecDeque<Ref>,
    /// In the queue and not wanted any more.
    pub(super) husks: usize,
    pub(super) running: usize,
    /// Moving average of what a request takes here, in seconds.
    pub(super) usual: Option<f64>,
    /// When it last answered.
    pub(super) answered: Time,
    /// It has been up before.
    pub(super) known: bool,
    /// Since when it begins slowly.
    pub(super) warming: Option<Time>,
    /// Left out until then.
    pub(super) out: Option<Time>,
    /// Beyond the workers that are wanted.
    pub(super) parked: bool,
    pub(super) ejections: u32,
    pub(super) readmitted: Option<Time>,
    /// Failures one after the other, and answers since it was last let in.
    pub(super) in_a_row: u32,
    pub(super) answers: u32,
    /// What of its queue is counted in the desk's sum.
    pub(super) counted: usize,
}

impl Worker {
    pub(super) fn queued(&self) -> usize {
        self.queue.len() - self.husks
    }

    pub(super) fn pending(&self) -> usize {
        self.queued() + self.running
    }

    /// A request took so long here.
    pub(super) fn took(&mut self, span: Duration, now: Time) {
        let seconds = span.as_secs_f64();
        let usual = self.usual.unwrap_or(seconds);
        self.usual = Some(usual + SMOOTHING * (seconds - usual));
        self.answered = now;
    }

    /// What a request takes here, in seconds; the less the longer nobody has answered: who is left out for being slow is tried again.
    pub(super) fn expected(&self, decay: Duration, now: Time) -> f64 {
        let passed = (now - self.answered).as_secs_f64();
        self.usual.unwrap_or(0.0) * (-passed / decay.as_secs_f64()).exp()
    }
}
