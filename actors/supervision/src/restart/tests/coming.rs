//! Children added and removed at run time, and lives lost without a fault of their own.

use super::*;

fn spec(name: &str, restart: Restart) -> ChildSpec {
    ChildSpec { name: name.into(), restart, shutdown: ms(100), first_epoch: 1 }
}

fn blocked() -> Exit {
    Exit::Blocked("another".into())
}

fn fenced(child: usize, epoch: u64, exit: Exit) -> RestartAction {
    RestartAction::Fence { child: ChildId(child), epoch, exit }
}

fn gone(child: usize) -> RestartAction {
    RestartAction::Forget { child: ChildId(child) }
}

#[test]
fn an_added_child_starts_last_and_is_kept_as_the_others_are() {
    let mut m = running(policy(Strategy::OneForOne), &[P]);
    let (id, wanted) = m.add(spec("new", P), at(5)).expect("it runs");
    assert_eq!((id, wanted), (ChildId(1), vec![start(1, 1)]));
    m.on_started(id, 1, at(6));
    assert_eq!(m.on_exit(id, 1, &boom(), at(7)), [restarting(1, 10)]);
    assert_eq!(m.on_timer(at(17)), [start(1, 2)]);
}

#[test]
fn an_added_child_waits_for_those_that_are_being_started() {
    let mut m = machine(policy(Strategy::OneForOne), &[P]);
    assert_eq!(m.begin(at(0)), [start(0, 1)]);
    let (id, wanted) = m.add(spec("new", P), at(0)).expect("it runs");
    assert_eq!(wanted, []);
    assert_eq!(m.on_started(ChildId(0), 1, at(1)), [start(id.0, 1)]);
}

#[test]
fn a_temporary_child_is_forgotten_after_any_exit_and_its_id_is_not_used_again() {
    let mut m = running(policy(Strategy::OneForOne), &[P]);
    for round in 1..=1_000 {
        let (id, _) = m.add(spec("once", Restart::Temporary), at(0)).expect("it runs");
        assert_eq!(id, ChildId(round));
        m.on_started(id, 1, at(0));
        assert_eq!(m.on_exit(id, 1, &boom(), at(0)), [gone(round)]);
    }
    assert_eq!(m.children().count(), 1, "nothing is left of a thousand");
    assert_eq!(m.next_timer(), None);
}

#[test]
fn a_transient_child_is_forgotten_after_a_normal_exit_only() {
    let mut m = running(policy(Strategy::OneForOne), &[]);
    let (id, _) = m.add(spec("job", Restart::Transient), at(0)).expect("it runs");
    m.on_started(id, 1, at(0));
    assert_eq!(m.on_exit(id, 1, &boom(), at(1)), [restarting(0, 10)]);
    assert_eq!(m.on_timer(at(11)), [start(0, 2)]);
    m.on_started(id, 2, at(11));
    assert_eq!(m.on_exit(id, 2, &Exit::Normal, at(12)), [gone(0)]);
}

#[test]
fn a_removed_child_has_its_time_to_stop_and_does_not_come_back() {
    let mut m = running(policy(Strategy::OneForOne), &[P, P]);
    assert_eq!(m.remove(ChildId(0), at(0)), [stop(0)]);
    assert_eq!(m.next_timer(), Some(at(100)));
    assert_eq!(m.on_timer(at(100)), [kill(0)]);
    assert_eq!(m.on_exit(ChildId(0), 1, &Exit::Killed, at(101)), [gone(0)]);
    assert_eq!(m.remove(ChildId(0), at(102)), [], "it is gone");
    assert_eq!(m.on_exit(ChildId(1), 1, &boom(), at(103)), [restarting(1, 10)]);
    assert_eq!(m.remove(ChildId(1), at(104)), [gone(1)], "it only waited");
    assert_eq!(m.next_timer(), None);
}

#[test]
fn a_group_restart_does_not_wait_for_one_that_leaves() {
    let mut m = running(policy(Strategy::OneForAll), &[P, P]);
    m.remove(ChildId(1), at(0));
    assert_eq!(m.on_exit(ChildId(0), 1, &boom(), at(1)), [restarting(0, 10), kill(1)]);
    assert_eq!(m.on_timer(at(11)), [start(0, 2)]);
    assert_eq!(m.on_exit(ChildId(1), 1, &Exit::Killed, at(12)), [gone(1)]);
}

#[test]
fn no_child_is_added_to_an_ending_supervisor() {
    let mut m = running(policy(Strategy::OneForOne), &[P]);
    m.stop(ms(1_000), at(0));
    assert!(m.add(spec("late", P), at(0)).is_none());
}

#[test]
fn a_life_that_is_lost_without_fault_starts_at_once_and_spends_no_budget() {
    let mut m =
        running(RestartPolicy { intensity: 1, in_a_row: 2, ..policy(Strategy::OneForOne) }, &[P]);
    let zero = |child| RestartAction::Restarting { child: ChildId(child), after: Duration::ZERO };
    for epoch in 1..=50 {
        let wanted = m.on_lost(ChildId(0), epoch, &blocked(), at(epoch));
        assert_eq!(wanted, [fenced(0, epoch, blocked()), zero(0), start(0, epoch + 1)]);
        m.on_started(ChildId(0), epoch + 1, at(epoch));
    }
    // Only this exit is counted.
    assert_eq!(m.on_exit(ChildId(0), 51, &boom(), at(51)), [restarting(0, 10)]);
}

#[test]
fn one_blocked_arbiter_is_one_failure_and_its_bystanders_come_back_with_the_culprit_in_order() {
    let mut m = running(policy(Strategy::OneForAll), &[P, P, P]);
    m.on_lost(ChildId(2), 1, &blocked(), at(0));
    m.on_lost(ChildId(0), 1, &blocked(), at(0));
    // All lives on that thread are gone, so only the backoff of the culprit delays the restart.
    let wanted = m.give_up(ChildId(1), 1, at(0));
    assert!(wanted.contains(&restarting(1, 10)), "{wanted:?}");
    let mut order = Vec::new();
    let mut todo: Vec<RestartAction> = m.on_timer(at(10));
    for (child, epoch) in [(0, 2), (2, 2)] {
        // Children restarted before the culprit was known were killed for the group restart.
        todo.extend(m.on_exit(ChildId(child), epoch, &Exit::Killed, at(10)));
    }
    while let Some(next) = todo.first().cloned() {
        todo.remove(0);
        if let RestartAction::Start { child, epoch, .. } = next {
            order.push(child.0);
            todo.extend(m.on_started(child, epoch, at(10)));
        }
    }
    assert_eq!(order, [0, 1, 2]);
}
