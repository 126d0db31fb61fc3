//! Children that share a specification: started in batches, then treated like any other child.

use proptest::prelude::{Just, ProptestConfig, any, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Generate;

use super::super::groups::MAX_BATCH;
use super::*;

fn batch(first: usize, count: usize) -> RestartAction {
    RestartAction::StartBatch { first: ChildId(first), count, epoch: 1 }
}

fn spec(restart: Restart) -> ChildSpec {
    ChildSpec { name: "child".into(), restart, shutdown: ms(100), first_epoch: 1 }
}

#[test]
fn lots_start_one_after_the_other_and_those_added_later_after_them() {
    let mut m = running(policy(Strategy::OneForOne), &[P]);
    let (first, wanted) = m.add_many(spec(P), 2 * MAX_BATCH + 10, at(0)).expect("it runs");
    assert_eq!((first, wanted), (ChildId(1), vec![batch(1, MAX_BATCH)]));
    let (late, wanted) = m.add(spec(P), at(0)).expect("it runs");
    assert_eq!((late, wanted), (ChildId(2 * MAX_BATCH + 11), vec![]));
    assert_eq!(m.on_timer(at(1)), []);
    assert_eq!(m.on_batch_done(first, at(2)), [batch(1 + MAX_BATCH, MAX_BATCH)]);
    assert_eq!(m.on_batch_done(first, at(3)), [batch(1 + 2 * MAX_BATCH, 10)]);
    assert!(m.is_starting(first));
    assert_eq!(m.on_batch_done(first, at(4)), [start(2 * MAX_BATCH + 11, 1)]);
    assert!(!m.is_starting(first));
    assert_eq!(m.on_batch_done(first, at(4)), [], "told twice");
    assert_eq!(m.children().count(), 2 * MAX_BATCH + 12);
}

#[test]
fn a_child_removed_before_its_start_delays_no_other() {
    let mut m = machine(policy(Strategy::OneForOne), &[P]);
    m.begin(at(0));
    let (first, _) = m.add_many(spec(P), 5, at(0)).expect("it runs");
    let gone = |child| RestartAction::Forget { child: ChildId(child) };
    assert_eq!(m.remove(ChildId(3), at(0)), [gone(3)]);
    assert_eq!(m.remove(first, at(0)), [gone(1)]);
    assert_eq!(m.on_started(ChildId(0), 1, at(0)), [batch(2, 1)]);
    assert_eq!(m.on_batch_done(first, at(0)), [batch(4, 2)]);
    assert_eq!(m.on_batch_done(first, at(0)), [RestartAction::Up]);
}

#[test]
fn giving_up_a_life_that_was_never_begun_changes_nothing() {
    let mut m = machine(policy(Strategy::OneForOne), &[P]);
    m.begin(at(0));
    let (first, _) = m.add_many(spec(P), 3, at(0)).expect("it runs");
    for epoch in [0, 1] {
        assert_eq!(m.give_up(first, epoch, at(0)), []);
        assert_eq!(m.on_lost(first, epoch, &Exit::ArbiterDead, at(0)), []);
        assert_eq!(m.on_exit(ChildId(2), epoch, &boom(), at(0)), []);
        assert_eq!(m.on_started(ChildId(3), epoch, at(0)), []);
    }
    assert_eq!(m.on_started(ChildId(0), 1, at(0)), [batch(1, 3)]);
    assert_eq!(m.on_batch_done(first, at(0)), [RestartAction::Up]);
}

#[test]
fn an_empty_template_has_an_id_of_its_own() {
    let mut m = running(policy(Strategy::OneForOne), &[]);
    let (none, wanted) = m.add_many(spec(P), 0, at(0)).expect("it runs");
    assert_eq!(wanted, []);
    let (next, _) = m.add(spec(P), at(0)).expect("it runs");
    assert_ne!(none, next);
    assert_eq!(m.remove(none, at(0)), []);
}

#[test]
fn they_end_in_the_reverse_order_of_all_templates() {
    let mut m = running(policy(Strategy::OneForOne), &[]);
    for first in [0, 2, 4] {
        m.add_many(spec(P), 2, at(0)).expect("it runs");
        m.on_batch_done(ChildId(first), at(0));
    }
    let mut wanted = m.stop(ms(1_000), at(0));
    for child in (1..6).rev() {
        assert_eq!(wanted, [stop(child)]);
        wanted = m.on_exit(ChildId(child), 1, &Exit::Normal, at(0));
    }
    assert_eq!(wanted, [stop(0)]);
}

#[test]
fn a_stop_while_they_start_starts_no_more() {
    let mut m = running(policy(Strategy::OneForOne), &[]);
    let (first, wanted) = m.add_many(spec(P), MAX_BATCH + 6, at(0)).expect("it runs");
    assert_eq!(wanted, [batch(0, MAX_BATCH)]);
    assert_eq!(m.kill_all(at(0)).len(), MAX_BATCH);
    assert_eq!(m.on_batch_done(first, at(0)), []);
    for child in 1..MAX_BATCH {
        assert_eq!(m.on_exit(ChildId(child), 1, &Exit::Killed, at(0)), []);
    }
    let last = m.on_exit(first, 1, &Exit::Killed, at(0));
    assert_eq!(last, [RestartAction::End(SupervisorOutcome::Stopped)]);
}

#[derive(Debug, Clone)]
enum Op {
    Exit(usize, u64, Exit),
    Started(usize, u64),
    Kill(usize),
    GiveUp(usize, u64),
    Lost(usize, u64),
    Remove(usize),
    Wait(u64),
    Stop,
    KillAll,
}

fn ops() -> impl Generate<Value = Vec<Op>> {
    let exits = prop_oneof![Just(Exit::Normal), Just(boom()), Just(Exit::Killed)];
    let op = prop_oneof![
        6 => (0..4usize, 1..4u64, exits)
            .prop_map(|(child, epoch, exit)| Op::Exit(child, epoch, exit)),
        6 => (0..4usize, 1..4u64).prop_map(|(child, epoch)| Op::Started(child, epoch)),
        2 => (0..4usize).prop_map(Op::Kill),
        1 => (0..4usize, 1..4u64).prop_map(|(child, epoch)| Op::GiveUp(child, epoch)),
        1 => (0..4usize, 1..4u64).prop_map(|(child, epoch)| Op::Lost(child, epoch)),
        1 => (0..4usize).prop_map(Op::Remove),
        6 => (0..3_000u64).prop_map(Op::Wait),
        1 => Just(Op::Stop),
        1 => Just(Op::KillAll),
    ];
    proptest::collection::vec(op, 0..60)
}

fn apply(m: &mut Restarts, op: &Op, now: Time) -> Vec<RestartAction> {
    match op {
        Op::Exit(child, epoch, exit) => m.on_exit(ChildId(*child), *epoch, exit, now),
        Op::Started(child, epoch) => m.on_started(ChildId(*child), *epoch, now),
        Op::Kill(child) => m.kill(ChildId(*child), now),
        Op::GiveUp(child, epoch) => m.give_up(ChildId(*child), *epoch, now),
        Op::Lost(child, epoch) => {
            m.on_lost(ChildId(*child), *epoch, &Exit::Blocked("x".into()), now)
        }
        Op::Remove(child) => m.remove(ChildId(*child), now),
        Op::Wait(_) => m.on_timer(now),
        Op::Stop => m.stop(ms(1_000), now),
        Op::KillAll => m.kill_all(now),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Once started, they are indistinguishable from children that were added one by one.
    #[test]
    fn children_of_a_template_are_like_any_others(
        kind in prop_oneof![Just(P), Just(TR), Just(TE)],
        strategy in prop_oneof![
            Just(Strategy::OneForOne),
            Just(Strategy::OneForAll),
            Just(Strategy::RestForOne)
        ],
        intensity in 0..8u32,
        in_a_row in any::<bool>(),
        ops in ops(),
    ) {
        let policy = RestartPolicy {
            intensity,
            in_a_row: if in_a_row { 2 } else { 10 },
            ..policy(strategy)
        };
        let mut alike = running(policy, &[]);
        let (first, wanted) = alike.add_many(spec(kind), 4, at(0)).expect("it runs");
        prop_assert_eq!(wanted, [batch(0, 4)]);
        alike.on_batch_done(first, at(0));
        let mut single = running(policy, &[]);
        for child in 0..4 {
            let spec = ChildSpec {
                name: format!("child/{child}").into(),
                ..spec(kind)
            };
            let (id, _) = single.add(spec, at(0)).expect("it runs");
            single.on_started(id, 1, at(0));
        }
        let mut now = at(0);
        for op in &ops {
            if let Op::Wait(span) = op {
                now = now + ms(*span);
            }
            prop_assert_eq!(apply(&mut alike, op, now), apply(&mut single, op, now));
            prop_assert_eq!(alike.next_timer(), single.next_timer());
            let ids = |m: &Restarts| m.children().map(|(id, _)| id).collect::<Vec<_>>();
            prop_assert_eq!(ids(&alike), ids(&single));
        }
    }
}
