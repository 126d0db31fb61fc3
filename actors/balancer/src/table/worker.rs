//! Pure: the table's record of one worker.

use std::collections::VecDeque;
use std::time::Duration;

use super::Ref;
use gopherworks_supervision::clock::Time;

/// Weight of the latest request in a worker's moving average of service times.
const SMOOTHING: f64 = 0.05;

#[derive(Debug, Default)]
pub(super) struct WorkerRecord {
    /// Epoch of the current incarnation.
    pub(super) up: Option<u64>,
    /// The highest epoch seen.
    pub(super) last: u64,
    pub(super) queue: VecDeque<Ref>,
    /// Tombstones in the queue.
    pub(super) tombstones: usize,
    pub(super) running: usize,
    /// Moving average of service times, in seconds.
    pub(super) usual: Option<f64>,
    pub(super) answered: Time,
    /// True if the worker was up before, so its next start is a restart.
    pub(super) known: bool,
    /// When its slow start began; `None` if it is warm.
    pub(super) warming: Option<Time>,
    /// The end of its ejection; `None` if it is not ejected.
    pub(super) out: Option<Time>,
    /// True if the worker exceeds the wanted number of workers.
    pub(super) parked: bool,
    pub(super) ejections: u32,
    pub(super) readmitted: Option<Time>,
    /// Consecutive failures, and replies since it was last readmitted.
    pub(super) in_a_row: u32,
    pub(super) answers: u32,
    /// How much of its queue is included in `at_workers`.
    pub(super) counted: usize,
}

impl WorkerRecord {
    pub(super) fn queued(&self) -> usize {
        self.queue.len() - self.tombstones
    }

    pub(super) fn pending(&self) -> usize {
        self.queued() + self.running
    }

    /// Records a service time.
    pub(super) fn took(&mut self, span: Duration, now: Time) {
        let seconds = span.as_secs_f64();
        let usual = self.usual.unwrap_or(seconds);
        self.usual = Some(usual + SMOOTHING * (seconds - usual));
        self.answered = now;
    }

    /// Expected service time in seconds. Decays while there are no replies, so that a worker
    /// avoided for being slow is tried again.
    pub(super) fn expected(&self, decay: Duration, now: Time) -> f64 {
        let passed = (now - self.answered).as_secs_f64();
        self.usual.unwrap_or(0.0) * (-passed / decay.as_secs_f64()).exp()
    }
}
