//! A simulated queueing system without actors: arrivals, workers and a request table.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::super::*;
use rand::RngExt;

use crate::resilience::Resilience;
use gopherworks_supervision::clock::{Seed, Time};
use gopherworks_supervision::span::Span;

/// Parameters of a simulation. Times are in units of the mean service time.
#[derive(Clone, Copy)]
pub struct Model {
    pub policy: LoadPolicy,
    pub spread: Spread,
    /// Share of the actual capacity.
    pub load: f64,
    pub service: Span,
    pub requests: u64,
    /// The first worker takes this many times as long.
    pub slow: f64,
    /// Share of executions that take 20 times as long.
    pub stragglers: f64,
    pub resilience: Resilience,
    /// Deadline of a request.
    pub within: Option<Duration>,
}

pub const UNIT: Duration = Duration::from_millis(1);
const WORKERS: usize = 10;

#[derive(Debug, Clone, Copy)]
struct Running {
    which: Ref,
    since: Time,
    turn: u64,
}

#[derive(Debug, Clone, Copy)]
pub struct Seen {
    pub p99: f64,
    pub copies: f64,
    pub variance: f64,
    /// Requests answered, per unit of time and worker.
    pub goodput: f64,
    pub refused: u64,
    pub ejected: u64,
}

impl Model {
    pub fn new(policy: LoadPolicy, load: f64, service: Span) -> Self {
        Self {
            policy,
            spread: Spread::One,
            load,
            service,
            requests: 100_000,
            slow: 1.0,
            stragglers: 0.0,
            resilience: Resilience::default(),
            within: None,
        }
    }

    /// Mean of the p99 over seeds 1 to `seeds`.
    pub fn p99(self, seeds: u64) -> f64 {
        (1..=seeds).map(|seed| self.run(seed).p99).sum::<f64>() / seeds as f64
    }

    pub fn run(self, seed: u64) -> Seen {
        let seed = Seed(seed);
        let mut table = RequestTable::new(
            Rules {
                policy: self.policy,
                spread: self.spread,
                workers: WORKERS,
                places: 1,
                max_attempts: 3,
                resilience: self.resilience,
            },
            seed.stream("front", "policy"),
            Time::ZERO,
        );
        for worker in 0..WORKERS {
            table.worker_up(worker, 1, Time::ZERO);
        }
        let capacity = (WORKERS as f64 - 1.0 + 1.0 / self.slow) / (1.0 + 19.0 * self.stragglers);
        let gap = Span::Exponential(UNIT.div_f64(capacity * self.load));
        let mut arrivals = seed.stream("users", "arrivals");
        let mut next_arrival = Some(Time::ZERO + gap.draw(&mut arrivals));
        let (mut turn, mut came) = (0u64, 0u64);
        let mut running: Vec<Option<Running>> = vec![None; WORKERS];
        let mut ends: BinaryHeap<Reverse<(Time, u64, usize)>> = BinaryHeap::new();
        let mut over: Vec<f64> = Vec::new();
        let mut last = Time::ZERO;
        let mut refused = 0u64;
        loop {
            let end = ends.peek().map(|Reverse((at, ..))| *at);
            let due = table.next_turn();
            let Some(now) = [next_arrival, end, due].into_iter().flatten().min() else {
                break;
            };
            last = now;
            if due == Some(now) {
                table.turn(now);
            } else if next_arrival == Some(now) {
                let mut size = seed.stream("users", "service");
                size.set_stream(came);
                let size = self.service.draw(&mut size);
                let terms = Terms {
                    cost: Some(size),
                    due: self.within.map(|span| now + span),
                    ..Terms::default()
                };
                table.submit((size, now), terms, now);
                came += 1;
                next_arrival = (came < self.requests).then(|| now + gap.draw(&mut arrivals));
            } else if let Some(Reverse((_, turn, worker))) = ends.pop() {
                // The end of a run that was cancelled meanwhile is ignored.
                let Some(one) = running[worker].take_if(|one| one.turn == turn) else {
                    continue;
                };
                match table.answered(one.which, worker, 1, now - one.since, false, now) {
                    RequestVerdict::Over((_, came)) => {
                        over.push((now - came).as_secs_f64() / UNIT.as_secs_f64());
                    }
                    _ => unreachable!("losers are stopped at once"),
                }
                for (worker, place) in running.iter_mut().enumerate() {
                    let loser = place.take_if(|other| other.which.number == one.which.number);
                    if let Some(loser) = loser {
                        table.lost(loser.which, worker, 1, false, false, now);
                    }
                }
            }
            table.turn(now);
            table.wakes();
            for (number, ..) in table.refused() {
                refused += 1;
                // Workers running it stop at once.
                for (worker, place) in running.iter_mut().enumerate() {
                    let stopped = place.take_if(|one| one.which.number == number);
                    if let Some(one) = stopped {
                        table.lost(one.which, worker, 1, false, false, now);
                    }
                }
            }
            table.turn(now);
            for (worker, place) in running.iter_mut().enumerate() {
                if place.is_some() {
                    continue;
                }
                let Some(begun) = table.take(worker, 1, now, |(size, _)| *size) else {
                    continue;
                };
                let mut time = begun.item;
                if worker == 0 {
                    time = time.mul_f64(self.slow);
                }
                let mut chance = seed.stream("users", "straggler");
                chance.set_stream(begun.which.number * 16 + u64::from(begun.which.copy));
                if chance.random::<f64>() < self.stragglers {
                    time *= 20;
                }
                turn += 1;
                *place = Some(Running { which: begun.which, since: now, turn });
                ends.push(Reverse((now + time, turn, worker)));
            }
        }
        assert_eq!((table.open(), table.waiting()), (0, 0));
        over.sort_by(f64::total_cmp);
        let loads = table.loads(last);
        Seen {
            p99: over[over.len() * 99 / 100],
            copies: table.counts().copies as f64 / self.requests as f64,
            variance: loads.variance,
            goodput: over.len() as f64 / (last.as_secs_f64() / UNIT.as_secs_f64()) / WORKERS as f64,
            refused,
            ejected: table.counts().ejected,
        }
    }
}
