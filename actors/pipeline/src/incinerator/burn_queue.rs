//! Bounded concurrency in the thread pool for burns that wait.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gopherworks_supervision::__private::guarded;
use gopherworks_supervision::pool::Pool;

type PoolJob = Box<dyn FnOnce() + Send>;

/// Runs a bounded number of jobs at once; the others wait in order, without occupying a thread.
#[derive(Default)]
pub(super) struct BurnQueue(Mutex<BurnQueueState>);

#[derive(Default)]
struct BurnQueueState {
    running: usize,
    waiting: VecDeque<PoolJob>,
}

impl BurnQueue {
    fn lock(&self) -> MutexGuard<'_, BurnQueueState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `job` in the pool, after one of `most` (>= 1) running jobs has ended if there are as
    /// many.
    pub fn start(self: &Arc<Self>, pool: &Pool, most: usize, job: impl FnOnce() + Send + 'static) {
        let mut state = self.lock();
        if state.running >= most.max(1) {
            state.waiting.push_back(Box::new(job));
            return;
        }
        state.running += 1;
        drop(state);
        let burn_queue = self.clone();
        pool.start_waiting(move || {
            let mut next: Option<PoolJob> = Some(Box::new(job));
            while let Some(job) = next {
                // A panic must not lose the place: the next job takes it.
                let _ = guarded(job);
                next = burn_queue.next();
            }
        });
    }

    /// The next job, to take the place of one that has ended; without one the place is free.
    fn next(&self) -> Option<PoolJob> {
        let mut state = self.lock();
        let next = state.waiting.pop_front();
        if next.is_none() {
            state.running -= 1;
        }
        next
    }

    /// Drops waiting jobs.
    pub fn clear(&self) {
        let waiting = std::mem::take(&mut self.lock().waiting);
        // Outside the lock: their carts return to their crews.
        drop(waiting);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use gopherworks_supervision::clock::Clock;

    #[test]
    fn a_fixed_number_runs_at_once_on_any_cores_and_the_others_in_order() {
        let pool = Pool::new(Clock::real(), 1).expect("threads");
        let burn_queue = Arc::new(BurnQueue::default());
        let (told, news) = mpsc::channel();
        let mut gates = Vec::new();
        for number in 0..6 {
            let (open, gate) = mpsc::channel::<()>();
            let told = told.clone();
            gates.push(Some(open));
            burn_queue.start(&pool, 3, move || {
                told.send(number).expect("the test listens");
                // A dropped sender opens the gate.
                let _ = gate.recv();
                assert_ne!(number, 1, "its place is for the next one all the same");
            });
        }
        let mut begun: Vec<i32> = news.iter().take(3).collect();
        begun.sort_unstable();
        assert_eq!(begun, [0, 1, 2]);
        let counts = |state: &BurnQueueState| (state.running, state.waiting.len());
        assert_eq!(counts(&burn_queue.lock()), (3, 3));
        for next in 3..6 {
            gates[next - 3] = None;
            assert_eq!(news.recv().expect("the next begins"), next as i32);
        }
    }

    #[test]
    fn a_place_is_free_between_the_last_job_and_a_new_one() {
        let pool = Pool::none();
        let burn_queue = Arc::new(BurnQueue::default());
        let ran = Arc::new(Mutex::new(Vec::new()));
        for number in 0..3 {
            let ran = ran.clone();
            burn_queue.start(&pool, 1, move || ran.lock().expect("no panic").push(number));
        }
        assert_eq!(*ran.lock().expect("no panic"), [0, 1, 2]);
        assert_eq!(burn_queue.lock().running, 0);
    }
}
