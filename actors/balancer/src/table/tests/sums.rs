//! Property tests: in any history no request is lost or answered twice, and tombstones stay
//! bounded.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::*;
use crate::policy::After;
use crate::resilience::{Eject, Resilience, RetryBudget, Shed};
use gopherworks_supervision::clock::{Seed, Time};

#[derive(Debug, Clone)]
enum TableStep {
    Submit(Terms, u64),
    Up(usize),
    Down(usize),
    Take(usize),
    /// The nth running copy.
    Answer(usize, bool),
    Lose(usize, bool, bool),
    /// The nth open request.
    Cancel(usize),
    Later(u64),
    Resize(usize),
}

/// Options of a request, and its timeout in ticks (0 is none).
fn terms() -> impl Strategy<Value = (Terms, u64)> {
    let priority = prop::sample::select(Priority::ALL.to_vec());
    (0..50u64, priority, prop::option::of(0..5u64), prop_oneof![2 => Just(0), 1 => 1..60u64])
        .prop_map(|(cost, priority, key, within)| {
            let terms = Terms { cost: Some(Duration::from_nanos(cost)), due: None, priority, key };
            (terms, within)
        })
}

fn resiliences() -> impl Strategy<Value = Resilience> {
    let ns = Duration::from_nanos;
    let shed = Shed { target: ns(20), interval: ns(50) };
    let retries = RetryBudget { share: 0.2, per_second: 0.0 };
    let eject = Eject { failures: Some(2), slower: Some(1.5), pause: ns(30), at_most: 0.7 };
    (
        prop::option::weighted(0.3, Just(shed)),
        prop::option::weighted(0.3, Just(retries)),
        prop::option::weighted(0.3, Just(ns(40))),
        prop::option::weighted(0.5, Just(eject)),
    )
        .prop_map(|(shed, retries, slow_start, eject)| Resilience {
            deadline: None,
            shed,
            retries,
            slow_start,
            eject,
        })
}

fn steps() -> impl Strategy<Value = Vec<TableStep>> {
    let worker = 0..4usize;
    prop::collection::vec(
        prop_oneof![
            5 => terms().prop_map(|(terms, within)| TableStep::Submit(terms, within)),
            2 => worker.clone().prop_map(TableStep::Up),
            1 => worker.clone().prop_map(TableStep::Down),
            6 => worker.prop_map(TableStep::Take),
            4 => (0..9usize, any::<bool>()).prop_map(|(n, f)| TableStep::Answer(n, f)),
            2 => (0..9usize, any::<bool>(), any::<bool>())
                .prop_map(|(n, c, a)| TableStep::Lose(n, c, a)),
            2 => (0..30usize).prop_map(TableStep::Cancel),
            2 => (0..40u64).prop_map(TableStep::Later),
            1 => (0..5usize).prop_map(TableStep::Resize),
        ],
        0..300,
    )
}

fn policies() -> impl Strategy<Value = LoadPolicy> {
    prop_oneof![
        (1..3u32, any::<bool>())
            .prop_map(|(per_worker, skip_slow)| LoadPolicy::Central { per_worker, skip_slow }),
        Just(LoadPolicy::LeastLoaded),
        Just(LoadPolicy::TwoChoices),
        Just(LoadPolicy::RoundRobin),
        Just(LoadPolicy::Random),
        Just(LoadPolicy::ShortFirst { ageing: 0.1 }),
        Just(LoadPolicy::LatencyAware { decay: Duration::from_nanos(100) }),
        Just(LoadPolicy::Affinity { bound: 1.25 }),
        Just(LoadPolicy::Reserve { workers: 2, short: Duration::from_nanos(20), ageing: 0.1 }),
    ]
}

fn spreads() -> impl Strategy<Value = Spread> {
    prop_oneof![
        3 => Just(Spread::One),
        1 => prop::option::of(1..4u32).prop_map(Spread::Replicated),
        1 => Just(Spread::Hedged(Hedge {
            after: After::Delay(Duration::from_nanos(10)), budget: 0.5
        })),
    ]
}

/// A running copy: request, worker, epoch.
type Running = (Ref, usize, u64);

struct World {
    table: RequestTable<u64>,
    now: Time,
    epochs: [u64; 4],
    up: [bool; 4],
    running: Vec<Running>,
    open: BTreeMap<u64, Ref>,
    submitted: u64,
}

impl World {
    fn over(&mut self, verdict: RequestVerdict<u64>) -> Result<(), TestCaseError> {
        if let RequestVerdict::Over(number) = verdict {
            prop_assert!(self.open.remove(&number).is_some(), "{number} was over before");
        }
        Ok(())
    }

    fn step(&mut self, step: TableStep) -> Result<(), TestCaseError> {
        let now = self.now;
        match step {
            TableStep::Submit(terms, within) => {
                let number = self.submitted;
                let due = (within > 0).then(|| now + Duration::from_nanos(within));
                let which = self.table.submit(number, Terms { due, ..terms }, now);
                self.submitted += 1;
                self.open.insert(number, which);
            }
            TableStep::Up(worker) if !self.up[worker] => {
                self.epochs[worker] += 1;
                self.up[worker] = true;
                self.table.worker_up(worker, self.epochs[worker], now);
            }
            TableStep::Down(worker) if self.up[worker] => {
                self.up[worker] = false;
                self.table.worker_down(worker, self.epochs[worker], now);
            }
            TableStep::Up(_) | TableStep::Down(_) => {}
            TableStep::Take(worker) => {
                let epoch = self.epochs[worker];
                let begun = self.table.take(worker, epoch, now, |number| *number);
                if let Some(begun) = begun {
                    prop_assert!(self.up[worker]);
                    prop_assert_eq!(begun.item, begun.which.number);
                    self.running.push((begun.which, worker, epoch));
                }
            }
            TableStep::Answer(nth, failed) if nth < self.running.len() => {
                let (which, worker, epoch) = self.running.swap_remove(nth);
                let took = Duration::from_nanos(5 + 9 * worker as u64);
                let verdict = self.table.answered(which, worker, epoch, took, failed, now);
                let was_open = self.open.contains_key(&which.number);
                prop_assert_eq!(was_open, matches!(verdict, RequestVerdict::Over(_)));
                self.over(verdict)?;
            }
            TableStep::Lose(nth, charged, again) if nth < self.running.len() => {
                let (which, worker, epoch) = self.running.swap_remove(nth);
                let verdict = self.table.lost(which, worker, epoch, charged, again, now);
                self.over(verdict)?;
            }
            TableStep::Answer(..) | TableStep::Lose(..) => {}
            TableStep::Cancel(nth) => {
                if let Some(which) = self.open.values().nth(nth).copied() {
                    prop_assert_eq!(self.table.cancel(which, now), Some(which.number));
                    prop_assert_eq!(self.table.cancel(which, now), None);
                    self.open.remove(&which.number);
                }
            }
            TableStep::Later(span) => {
                self.now = now + Duration::from_nanos(span);
            }
            TableStep::Resize(workers) => self.table.resize(workers, now),
        }
        self.table.turn(self.now);
        for (request, number, _) in self.table.refused() {
            prop_assert_eq!(request, number);
            self.over(RequestVerdict::Over(number))?;
        }
        // Everything due by now has happened.
        prop_assert!(self.table.next_turn().is_none_or(|next| next > self.now));
        self.check()
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.table.open(), self.open.len());
        let table = &self.table;
        table.heaps.iter().for_each(Heap::check);
        let counts = table.counts();
        prop_assert_eq!(counts.asked, counts.over() + table.open() as u64);
        let loads = table.loads(self.now);
        for (at, worker) in table.workers.iter().enumerate() {
            let running = (self.running.iter())
                .filter(|(_, of, epoch)| *of == at && self.up[at] && *epoch == self.epochs[at]);
            prop_assert_eq!(worker.running, running.count());
            let wanted = |which: &&Ref| {
                (table.entries.get(which.key)).is_some_and(|entry| entry.number == which.number)
            };
            let queued = worker.queue.iter().filter(wanted).count();
            prop_assert_eq!(worker.pending(), queued + worker.running);
            prop_assert_eq!(loads.workers[at].pending, worker.pending());
            let waits = worker.queue.len() - worker.tombstones;
            prop_assert_eq!((worker.counted, queued), (waits, waits));
            // Exactly the available workers are in a heap.
            let takes = worker.up.is_some() && worker.out.is_none() && !worker.parked;
            prop_assert_eq!(table.heaps.iter().any(|heap| heap.has(at)), takes);
            prop_assert!(takes || queued == 0, "requests wait without a reason");
            prop_assert_eq!(worker.out.is_some(), table.out.contains(&at));
            if let LoadPolicy::Central { per_worker, .. } = table.rules.policy
                && table.rules.spread == Spread::One
            {
                prop_assert!(worker.pending() <= per_worker as usize * table.rules.places);
            }
            // Tombstones are swept before they are many.
            prop_assert!(worker.queue.len() <= 2 * (queued + FEW));
        }
        let queued: usize = table.workers.iter().map(WorkerRecord::queued).sum();
        prop_assert_eq!(queued, table.at_workers);
        let dues = table.entries.iter().filter(|(_, entry)| entry.due).count();
        prop_assert!(table.deadlines.held() <= 2 * (dues + FEW));
        let left = table.workers.iter().filter(|one| one.up.is_some() && !one.parked);
        prop_assert!(
            left.clone().count() == 0 || table.heaps.iter().any(|heap| !heap.workers().is_empty())
        );
        for (_, entry) in &table.entries {
            prop_assert!(entry.waiting > 0 || !entry.at.is_empty(), "a request is nowhere");
        }
        let waits = table.entries.iter().map(|(_, entry)| entry.waiting as usize).sum::<usize>();
        prop_assert_eq!(waits, table.backlog.len() + table.spare.len());
        prop_assert!(table.backlog.held() <= 2 * (table.backlog.len() + FEW));
        Ok(())
    }
}

proptest! {
    #[test]
    fn nothing_is_lost_or_answered_twice(
        policy in policies(),
        spread in spreads(),
        places in 1..3usize,
        resilience in resiliences(),
        steps in steps(),
    ) {
        let rules = Rules { policy, spread, workers: 4, places, max_attempts: 2, resilience };
        let mut world = World {
            table: RequestTable::new(rules, Seed(3).stream("front", "policy"), Time::ZERO),
            now: Time(1),
            epochs: [0; 4],
            up: [false; 4],
            running: Vec::new(),
            open: BTreeMap::new(),
            submitted: 0,
        };
        for step in steps {
            world.step(step)?;
        }
        world.step(TableStep::Resize(4))?;
        // All workers come back and serve what is left.
        for worker in 0..4 {
            world.step(TableStep::Up(worker))?;
        }
        while !world.running.is_empty() {
            world.step(TableStep::Answer(0, false))?;
        }
        for _ in 0..10_000 {
            for worker in 0..4 {
                world.step(TableStep::Take(worker))?;
            }
            if world.running.is_empty() {
                break;
            }
            while !world.running.is_empty() {
                world.step(TableStep::Answer(0, false))?;
            }
        }
        prop_assert_eq!(world.table.open(), 0, "a request waits forever");
        let pending: usize = world.table.workers.iter().map(WorkerRecord::pending).sum();
        prop_assert_eq!(pending, 0);
    }
}
