//! Requesters that send a new request as soon as they are answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::{Answer, Job, Order, Took};

/// All requesters, and the number of workers that serve them.
#[derive(Debug)]
pub struct Crowd {
    /// Workers of the balancer.
    pub workers: usize,
    /// The cost of a request.
    pub job: Job,
    size: u64,
    count: u64,
    sample: u64,
    asked: Arc<AtomicU64>,
}

/// One requester: sends requests with its numbers, one after the other.
#[derive(Debug)]
pub struct Requester {
    numbers: Numbers,
    sample: u64,
    asked: u64,
    start: Option<Instant>,
    sum: u64,
    times: Vec<Duration>,
}

/// The source of a requester's numbers.
#[derive(Debug)]
enum Numbers {
    /// Every `step`-th up to `last`.
    Own { next: u64, step: u64, last: u64 },
    /// The next number of all requesters, up to `last`. All stay busy until the end, also with long
    /// jobs.
    Shared { asked: Arc<AtomicU64>, last: u64 },
}

impl Iterator for Numbers {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let (number, last) = match self {
            Numbers::Own { next, step, last } => {
                let number = *next;
                *next += *step;
                (number, *last)
            }
            Numbers::Shared { asked, last } => (asked.fetch_add(1, Ordering::Relaxed) + 1, *last),
        };
        (number <= last).then_some(number)
    }
}

impl Crowd {
    /// 64 requesters and 8 workers; 24 and 16 where the job sleeps.
    pub fn of(order: &Order, job: Job) -> Self {
        let (workers, size) = if job.sleeps() { (16, 24) } else { (8, 64) };
        Self {
            workers,
            job,
            size,
            count: order.count,
            // Reading the clock costs as much as an empty job.
            sample: if job == Job::Empty { 16 } else { 1 },
            asked: Arc::default(),
        }
    }

    /// The largest number of requests at a time.
    pub fn size(&self) -> usize {
        self.size as usize
    }

    /// All requesters.
    pub fn requesters(&self) -> impl Iterator<Item = Requester> {
        (0..self.size).map(|me| Requester {
            numbers: if self.job.sleeps() {
                Numbers::Shared { asked: self.asked.clone(), last: self.count }
            } else {
                Numbers::Own { next: me + 1, step: self.size, last: self.count }
            },
            sample: self.sample,
            asked: 0,
            start: None,
            sum: 0,
            times: Vec::with_capacity((self.count / self.size / self.sample) as usize + 2),
        })
    }

    /// The result, with response times. Ends the process if an answer is missing or wrong.
    pub fn answer(self, order: &Order, took: Took, requesters: Vec<Requester>) -> Answer {
        let sum = requesters.iter().fold(0_u64, |sum, one| sum.wrapping_add(one.sum));
        let mut times: Vec<Duration> = requesters.into_iter().flat_map(|one| one.times).collect();
        times.sort_unstable();
        let at = |share: f64| {
            let rank = (share * times.len() as f64).ceil() as usize;
            times[rank.saturating_sub(1)].as_nanos() as u64
        };
        let mean = times.iter().sum::<Duration>().as_nanos() as f64 / times.len() as f64;
        let answer = Answer::new(order, took).answered(order, sum).with("mean_ns", mean);
        answer.with("p50_ns", at(0.5)).with("p99_ns", at(0.99))
    }
}

impl Requester {
    /// The next number to request; `None` after the last.
    #[inline]
    pub fn next_number(&mut self) -> Option<u64> {
        let number = self.numbers.next()?;
        self.start = self.asked.is_multiple_of(self.sample).then(Instant::now);
        self.asked += 1;
        Some(number)
    }

    /// Records an answer.
    #[inline]
    pub fn answered(&mut self, answer: u64) {
        self.sum = self.sum.wrapping_add(answer);
        if let Some(start) = self.start {
            self.times.push(start.elapsed());
        }
    }
}
