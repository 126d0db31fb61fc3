//! Pure: load of the workers, integrated over time.

use gopherworks_supervision::clock::Time;

/// Integrals over time of the workers' pending requests.
#[derive(Debug, Clone)]
pub(crate) struct LoadMeter {
    since: Time,
    last: Time,
    pending: Vec<Pending>,
    /// Number of workers wanted; the others do not count.
    size: usize,
    sum: f64,
    squares: f64,
    /// Integrals of the mean over the workers, and of the variance between them.
    mean: f64,
    variance: f64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Pending {
    now: usize,
    last: Time,
    area: f64,
    squares: f64,
}

/// Load of one worker.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct WorkerLoad {
    /// Requests pending now, running ones included.
    pub pending: usize,
    /// Mean over time of the pending requests.
    pub mean: f64,
    /// Variance over time of the pending requests.
    pub variance: f64,
}

/// Load of all workers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Loads {
    /// Mean over time of the workers' mean pending requests.
    pub mean: f64,
    /// Mean over time of the variance between the workers at one moment: 0 if all always had
    /// equally many.
    pub variance: f64,
    /// One entry for each worker.
    pub workers: Vec<WorkerLoad>,
}

impl LoadMeter {
    pub(crate) fn new(workers: usize, now: Time) -> Self {
        let idle = Pending { last: now, ..Pending::default() };
        Self {
            since: now,
            last: now,
            pending: vec![idle; workers],
            size: workers,
            sum: 0.0,
            squares: 0.0,
            mean: 0.0,
            variance: 0.0,
        }
    }

    pub(crate) fn set(&mut self, worker: usize, pending: usize, now: Time) {
        self.pass(now);
        let one = &mut self.pending[worker];
        let (before, after) = (one.now as f64, pending as f64);
        let span = (now - one.last).as_secs_f64();
        one.area += before * span;
        one.squares += before * before * span;
        one.last = one.last.max(now);
        one.now = pending;
        self.sum += after - before;
        self.squares += after * after - before * before;
    }

    pub(crate) fn resize(&mut self, size: usize, now: Time) {
        self.pass(now);
        self.size = size;
    }

    fn pass(&mut self, now: Time) {
        let span = (now - self.last).as_secs_f64();
        if span > 0.0 {
            let count = self.size as f64;
            let mean = self.sum / count;
            self.mean += mean * span;
            self.variance += (self.squares / count - mean * mean).max(0.0) * span;
            self.last = now;
        }
    }

    pub(crate) fn loads(&self, now: Time) -> Loads {
        let mut copy = self.clone();
        copy.pass(now);
        let span = (copy.last - copy.since).as_secs_f64();
        let over = |area: f64| if span > 0.0 { area / span } else { 0.0 };
        let workers = copy.pending.iter().map(|one| {
            let (pending, rest) = (one.now as f64, (now - one.last).as_secs_f64());
            let mean = over(one.area + pending * rest);
            let squares = over(one.squares + pending * pending * rest);
            WorkerLoad { pending: one.now, mean, variance: (squares - mean * mean).max(0.0) }
        });
        Loads { mean: over(copy.mean), variance: over(copy.variance), workers: workers.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_variance_are_taken_over_time() {
        let second = |s: u64| Time(s * 1_000_000_000);
        let mut meter = LoadMeter::new(2, second(1));
        meter.set(0, 4, second(2));
        meter.set(0, 0, second(4));
        let loads = meter.loads(second(5));
        assert_eq!((loads.mean, loads.variance), (1.0, 2.0));
        assert_eq!(loads.workers[0].mean, 2.0);
        assert_eq!(loads.workers[0].variance, 4.0);
        assert_eq!(loads.workers[1], WorkerLoad::default());
        assert_eq!(LoadMeter::new(2, second(1)).loads(second(1)).mean, 0.0);
    }
}
