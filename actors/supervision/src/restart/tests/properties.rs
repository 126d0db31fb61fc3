//! Properties of the restart policy under arbitrary events.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::{
    Just, ProptestConfig, TestCaseError, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::strategy::Strategy as Generate;

use super::*;

#[derive(Debug, Clone)]
enum Op {
    Exit(usize, Exit),
    Started(usize),
    Stale(usize, u64),
    Kill(usize),
    Wait(u64),
    Drain,
    Stop(u64),
    KillAll,
}

fn exits() -> impl Generate<Value = Exit> {
    prop_oneof![
        Just(Exit::Normal),
        Just(boom()),
        Just(Exit::Killed),
        Just(Exit::ArbiterDead),
        Just(Exit::Failed("no".into())),
    ]
}

fn ops() -> impl Generate<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (0..5usize, exits()).prop_map(|(child, exit)| Op::Exit(child, exit)),
        8 => (0..5usize).prop_map(Op::Started),
        2 => (0..5usize, 1..9u64).prop_map(|(child, back)| Op::Stale(child, back)),
        2 => (0..5usize).prop_map(Op::Kill),
        8 => (0..3_000u64).prop_map(Op::Wait),
        1 => Just(Op::Drain),
    ];
    let last = prop_oneof![
        2 => Just(vec![]),
        1 => (0..500u64).prop_map(|within| vec![Op::Stop(within)]),
        1 => Just(vec![Op::KillAll]),
    ];
    (proptest::collection::vec(op, 0..120), last)
        .prop_map(|(ops, last)| ops.into_iter().chain(last).collect())
}

fn policies() -> impl Generate<Value = RestartPolicy> {
    (
        prop_oneof![
            Just(Strategy::OneForOne),
            Just(Strategy::OneForAll),
            Just(Strategy::RestForOne)
        ],
        (0..8u32, 1..5_000u64, 1..12u32),
        (0..200u64, 0..2_000u64, 0.0..=1.0f64, 0..3_000u64),
        0..1_000u64,
    )
        .prop_map(
            |(strategy, (intensity, period, in_a_row), (min, max, jitter, reset), deadline)| {
                RestartPolicy {
                    strategy,
                    intensity,
                    period: ms(period),
                    in_a_row,
                    backoff: Backoff { min: ms(min), max: ms(max), jitter, reset: ms(reset) },
                    kill_deadline: ms(deadline),
                }
            },
        )
}

fn kinds() -> impl Generate<Value = Vec<Restart>> {
    proptest::collection::vec(prop_oneof![3 => Just(P), 1 => Just(TR), 1 => Just(TE)], 1..5)
}

/// Executes the actions of the state machine, and checks the rules it must keep.
struct World {
    machine: Restarts,
    policy: RestartPolicy,
    now: Time,
    // Epoch, and whether it has started.
    alive: BTreeMap<usize, (u64, bool)>,
    last_epoch: BTreeMap<usize, u64>,
    answered: VecDeque<Time>,
    draining: bool,
    no_more_starts: bool,
    ended: bool,
}

impl World {
    fn new(policy: RestartPolicy, kinds: &[Restart]) -> Self {
        let mut world = World {
            machine: machine(policy, kinds),
            policy,
            now: Time::ZERO,
            alive: BTreeMap::new(),
            last_epoch: BTreeMap::new(),
            answered: VecDeque::new(),
            draining: false,
            no_more_starts: false,
            ended: false,
        };
        let wanted = world.machine.begin(world.now);
        world.obey(wanted);
        world
    }

    fn obey(&mut self, wanted: Vec<RestartAction>) {
        for action in wanted {
            assert!(!self.ended, "{action:?} after the end");
            match action {
                RestartAction::Start { child: ChildId(child), epoch, .. } => {
                    assert!(!self.no_more_starts, "a start after stop or escalation");
                    let before = self.last_epoch.insert(child, epoch).unwrap_or(0);
                    assert!(epoch > before, "epoch {epoch} after {before}");
                    if self.policy.strategy != Strategy::OneForOne {
                        assert!(self.alive.keys().all(|other| *other < child), "not in order");
                        assert!(self.alive.values().all(|(_, started)| *started), "too early");
                    }
                    assert_eq!(self.alive.insert(child, (epoch, false)), None, "two lives");
                }
                RestartAction::Stop { child } | RestartAction::Kill { child } => {
                    assert!(self.alive.contains_key(&child.0), "a dead one can't be told");
                }
                RestartAction::Forget { .. } | RestartAction::StartBatch { .. } => {
                    unreachable!("children are fixed here")
                }
                RestartAction::Fence { child, epoch, .. } => {
                    assert_eq!(self.alive.remove(&child.0).map(|life| life.0), Some(epoch));
                }
                RestartAction::Restarting { after, .. } => {
                    let Backoff { min, max, .. } = self.policy.backoff;
                    assert!(after >= min && after <= max.max(min), "backoff {after:?}");
                    assert!(!self.draining || after == min, "draining waits {after:?}");
                    self.answered.push_back(self.now);
                    let (now, period) = (self.now, self.policy.period);
                    self.answered.retain(|at| now - *at < period);
                    assert!(
                        self.answered.len() <= self.policy.intensity as usize,
                        "over the intensity"
                    );
                }
                RestartAction::Up => {}
                RestartAction::Escalate { reason } => {
                    assert!(reason.contains("child"), "{reason}");
                    self.no_more_starts = true;
                }
                RestartAction::End(_) => {
                    assert!(self.alive.is_empty(), "ended with somebody alive");
                    self.ended = true;
                }
            }
        }
    }

    fn run_to(&mut self, until: Time) {
        let mut still = 0;
        while let Some(at) = self.machine.next_timer().filter(|at| *at <= until) {
            still = if at > self.now { 0 } else { still + 1 };
            assert!(still < 20, "the timer stands still: {:?}", self.machine);
            self.now = self.now.max(at);
            let wanted = self.machine.on_timer(self.now);
            self.obey(wanted);
        }
        self.now = self.now.max(until);
    }

    fn apply(&mut self, op: &Op) {
        let wanted = match op {
            Op::Exit(child, exit) => {
                let Some((epoch, _)) = self.alive.remove(child) else {
                    return;
                };
                self.machine.on_exit(ChildId(*child), epoch, exit, self.now)
            }
            Op::Started(child) => {
                let Some((epoch, started)) = self.alive.get_mut(child) else {
                    return;
                };
                *started = true;
                self.machine.on_started(ChildId(*child), *epoch, self.now)
            }
            Op::Stale(child, back) => {
                let last = self.last_epoch.get(child).copied().unwrap_or(0);
                let stale = last.wrapping_sub(*back);
                let timer = self.machine.next_timer();
                let mut wanted = self.machine.on_exit(ChildId(*child), stale, &boom(), self.now);
                wanted.extend(self.machine.on_started(ChildId(*child), stale, self.now));
                assert_eq!(wanted, [], "a stale report acted");
                assert_eq!(self.machine.next_timer(), timer);
                return;
            }
            Op::Kill(child) => self.machine.kill(ChildId(*child), self.now),
            Op::Wait(span) => return self.run_to(self.now + ms(*span)),
            Op::Drain => {
                self.draining = true;
                self.machine.set_draining(true, self.now)
            }
            Op::Stop(within) => {
                self.no_more_starts = true;
                self.machine.stop(ms(*within), self.now)
            }
            Op::KillAll => {
                self.no_more_starts = true;
                self.machine.kill_all(self.now)
            }
        };
        self.obey(wanted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Under arbitrary events, with children that hang or not, no rule is broken, and a stop ends
    /// the supervisor in bounded time.
    #[test]
    fn no_rule_is_ever_broken(policy in policies(), kinds in kinds(), ops in ops()) {
        let mut world = World::new(policy, &kinds);
        for op in &ops {
            world.apply(op);
        }
        world.apply(&Op::Stop(1_000));
        let deadline = world.now + ms(1_000) + policy.kill_deadline;
        world.run_to(deadline);
        prop_assert!(world.ended, "no child reports, yet the kill deadline ends it: \
                                   {:?}", world.machine);
    }

    /// A child that always fails before it is healthy leads to an escalation under every policy.
    #[test]
    fn a_permanent_crasher_escalates(policy in policies(), lives in 0..3_000u64, kinds in kinds()) {
        let policy = RestartPolicy {
            backoff: Backoff { reset: ms(lives + 1), ..policy.backoff },
            ..policy
        };
        let mut kinds = kinds;
        kinds[0] = P;
        let mut world = World::new(policy, &kinds);
        let mut failures = 0;
        while !world.ended {
            if let Some((epoch, started)) = world.alive.get(&0).copied() {
                if !started {
                    world.apply(&Op::Started(0));
                }
                let healthy = world.now + ms(lives);
                world.run_to(healthy);
                // The other children start and are killed with it, as the actions say.
                for other in 1..kinds.len() {
                    world.apply(&Op::Started(other));
                }
                if world.alive.get(&0).map(|life| life.0) == Some(epoch) {
                    failures += 1;
                    world.apply(&Op::Exit(0, boom()));
                }
            }
            for other in 1..kinds.len() {
                let killed = world.machine.children.of(ChildId(other)).ending().is_some();
                if killed {
                    world.apply(&Op::Exit(other, Exit::Killed));
                }
            }
            if let Some(next) = world.machine.next_timer() {
                world.run_to(next);
            }
            prop_assert!(failures <= policy.in_a_row, "{failures} failures");
        }
        prop_assert!(world.no_more_starts);
    }

    /// After a failure under a group strategy, exactly the members are started, once each and in
    /// order; one failure is counted.
    #[test]
    fn a_group_restart_starts_each_member_once(
        all in any::<bool>(),
        count in 1..7usize,
        culprit in 0..7usize,
        reports in Just((0..7usize).collect::<Vec<_>>()).prop_shuffle(),
        delays in proptest::collection::vec(0..30u64, 7),
    ) {
        let culprit = culprit % count;
        let strategy = if all { Strategy::OneForAll } else { Strategy::RestForOne };
        let first = if all { 0 } else { culprit };
        let mut m = running(policy(strategy), &vec![P; count]);
        let mut now = at(1);
        let mut wanted = m.on_exit(ChildId(culprit), 1, &boom(), now);
        let others = (first..count).rev().filter(|child| *child != culprit);
        let killed: Vec<RestartAction> = others.map(kill).collect();
        prop_assert_eq!(&wanted[0], &restarting(culprit, 10));
        prop_assert_eq!(&wanted[1..], &killed[..]);
        wanted.clear();
        let affected = |child: &usize| (first..count).contains(child) && *child != culprit;
        for child in reports.into_iter().filter(affected) {
            prop_assert_eq!(&wanted, &[], "started before every report was in");
            now = now + ms(delays[child]);
            wanted = m.on_exit(ChildId(child), 1, &Exit::Killed, now);
        }
        let mut started = vec![];
        loop {
            if wanted.is_empty() {
                let Some(next) = m.next_timer() else { break };
                prop_assert!(next >= at(11), "before the backoff was over");
                now = now.max(next);
                wanted = m.on_timer(now);
            }
            prop_assert_eq!(wanted.len(), 1);
            let RestartAction::Start { child, epoch, .. } = wanted[0] else {
                return Err(TestCaseError::fail(format!("{wanted:?}")));
            };
            started.push(child.0);
            wanted = m.on_started(child, epoch, now);
        }
        prop_assert_eq!(started, (first..count).collect::<Vec<_>>());
        prop_assert_eq!(m.failures.len(), 1, "bystanders spend no budget");
    }

    /// Delays stay between their bounds and, without jitter, double up to the upper bound.
    #[test]
    fn backoff_keeps_its_bounds(
        min in 0..10_000u64,
        max in 0..100_000u64,
        jitter in -1.0..2.0f64,
        failures in 0..u32::MAX,
        seed in any::<u64>(),
    ) {
        let backoff = Backoff { min: ms(min), max: ms(max), jitter, reset: ms(1) };
        let delay = backoff.delay(failures, &mut Seed(seed).stream("a", "b"));
        prop_assert!(delay >= ms(min) && delay <= ms(max.max(min)));
        let plain = Backoff { jitter: f64::NAN, ..backoff };
        let doubled = u128::from(min) << failures.saturating_sub(1).min(40);
        let doubled = doubled.min(u128::from(max.max(min)));
        let delay = plain.delay(failures, &mut Seed(seed).stream("a", "b"));
        prop_assert_eq!(delay.as_millis(), doubled);
    }
}
