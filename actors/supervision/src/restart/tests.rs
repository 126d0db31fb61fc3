//! The restart policy, case by case, without actors.

use super::*;
use crate::clock::Seed;
use crate::{Backoff, Restart, Strategy};

mod alike;
mod coming;
mod properties;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn at(n: u64) -> Time {
    Time::ZERO + ms(n)
}

fn boom() -> Exit {
    Exit::Panic { text: "boom".into(), place: "pile.rs:7".into() }
}

fn specs(kinds: &[Restart]) -> Vec<ChildSpec> {
    let spec = |(index, restart): (usize, &Restart)| ChildSpec {
        name: format!("child{index}").into(),
        restart: *restart,
        shutdown: ms(100),
        first_epoch: 1,
    };
    kinds.iter().enumerate().map(spec).collect()
}

fn policy(strategy: Strategy) -> RestartPolicy {
    RestartPolicy {
        strategy,
        backoff: Backoff { min: ms(10), max: ms(1_000), jitter: 0.0, reset: ms(5_000) },
        ..RestartPolicy::default()
    }
}

fn machine(policy: RestartPolicy, kinds: &[Restart]) -> Restarts {
    Restarts::new(policy, specs(kinds), Seed(1).stream("test", "backoff"))
}

/// A state machine whose children have all been running since time 0.
fn running(policy: RestartPolicy, kinds: &[Restart]) -> Restarts {
    let mut machine = machine(policy, kinds);
    let mut wanted = machine.begin(Time::ZERO);
    while let Some(RestartAction::Start { child, epoch, .. }) = wanted.first().cloned() {
        wanted = machine.on_started(child, epoch, Time::ZERO);
    }
    assert_eq!(wanted, [RestartAction::Up]);
    machine
}

fn start(child: usize, epoch: u64) -> RestartAction {
    RestartAction::Start { child: ChildId(child), epoch, restarts: epoch - 1 }
}

fn kill(child: usize) -> RestartAction {
    RestartAction::Kill { child: ChildId(child) }
}

fn stop(child: usize) -> RestartAction {
    RestartAction::Stop { child: ChildId(child) }
}

fn restarting(child: usize, after: u64) -> RestartAction {
    RestartAction::Restarting { child: ChildId(child), after: ms(after) }
}

const P: Restart = Restart::Permanent;
const TR: Restart = Restart::Transient;
const TE: Restart = Restart::Temporary;

#[test]
fn starts_in_order_each_after_the_one_before() {
    let mut m = machine(policy(Strategy::OneForOne), &[P, P, P]);
    assert_eq!(m.begin(Time::ZERO), [start(0, 1)]);
    assert_eq!(m.on_timer(at(1)), []);
    assert_eq!(m.on_started(ChildId(0), 1, at(2)), [start(1, 1)]);
    assert_eq!(m.on_started(ChildId(1), 1, at(3)), [start(2, 1)]);
    assert_eq!(m.on_started(ChildId(2), 1, at(4)), [RestartAction::Up]);
    assert_eq!(m.next_timer(), None);
}

#[test]
fn a_failed_start_is_tried_again_and_keeps_its_turn() {
    let mut m = machine(policy(Strategy::OneForOne), &[P, P]);
    m.begin(Time::ZERO);
    let failed = Exit::Failed("no disk".into());
    assert_eq!(m.on_exit(ChildId(0), 1, &failed, at(0)), [restarting(0, 10)]);
    assert_eq!(m.next_timer(), Some(at(10)));
    assert_eq!(m.on_timer(at(10)), [start(0, 2)]);
    assert_eq!(m.on_started(ChildId(0), 2, at(10)), [start(1, 1)]);
    assert_eq!(m.on_started(ChildId(1), 1, at(10)), [RestartAction::Up]);
}

#[test]
fn which_exits_are_answered_with_a_restart() {
    // A truth table: restart kind, exit, restarted.
    for (kind, exit, restarted) in [
        (P, Exit::Normal, true),
        (P, boom(), true),
        (TR, Exit::Normal, false),
        (TR, boom(), true),
        (TR, Exit::Killed, true),
        (TR, Exit::ArbiterDead, true),
        (TE, Exit::Normal, false),
        (TE, boom(), false),
    ] {
        let mut m = running(policy(Strategy::OneForOne), &[kind]);
        let wanted = m.on_exit(ChildId(0), 1, &exit, at(1));
        let expected = if restarted { vec![restarting(0, 10)] } else { vec![] };
        assert_eq!(wanted, expected, "{kind:?} after {exit:?}");
        assert_eq!(m.next_timer().is_some(), restarted);
    }
}

#[test]
fn one_for_one_leaves_the_others_alone() {
    let mut m = running(policy(Strategy::OneForOne), &[P, P, P]);
    assert_eq!(m.on_exit(ChildId(1), 1, &boom(), at(0)), [restarting(1, 10)]);
    assert_eq!(m.on_exit(ChildId(0), 1, &boom(), at(5)), [restarting(0, 10)]);
    assert_eq!(m.on_timer(at(10)), [start(1, 2)]);
    assert_eq!(m.on_timer(at(15)), [start(0, 2)]);
}

#[test]
fn a_group_restart_waits_for_every_report_then_starts_in_order() {
    let mut m = running(policy(Strategy::OneForAll), &[P, P, TE, TR]);
    assert_eq!(
        m.on_exit(ChildId(1), 1, &boom(), at(0)),
        [restarting(1, 10), kill(3), kill(2), kill(0)]
    );
    assert_eq!(m.on_exit(ChildId(0), 1, &Exit::Killed, at(1)), []);
    // The exits of children killed for the group restart are not failures.
    assert_eq!(m.on_exit(ChildId(3), 1, &boom(), at(2)), []);
    assert_eq!(m.on_timer(at(50)), [], "one has not reported");
    assert_eq!(m.on_exit(ChildId(2), 1, &Exit::Killed, at(60)), [start(0, 2)]);
    assert_eq!(m.on_started(ChildId(0), 2, at(60)), [start(1, 2)]);
    assert_eq!(m.on_started(ChildId(1), 2, at(60)), [start(3, 2)]);
    assert_eq!(m.on_started(ChildId(3), 2, at(60)), [], "the temporary one stays away");
    assert_eq!(m.next_timer(), None);
}

#[test]
fn rest_for_one_takes_the_later_ones_along() {
    let mut m = running(policy(Strategy::RestForOne), &[P, P, P]);
    assert_eq!(m.on_exit(ChildId(1), 1, &boom(), at(0)), [restarting(1, 10), kill(2)]);
    assert_eq!(m.on_exit(ChildId(2), 1, &Exit::Killed, at(1)), []);
    assert_eq!(m.next_timer(), Some(at(10)), "one timer for the group");
    assert_eq!(m.on_timer(at(10)), [start(1, 2)]);
    assert_eq!(m.on_started(ChildId(1), 2, at(11)), [start(2, 2)]);
}

#[test]
fn a_failure_during_a_group_restart_begins_a_wider_one() {
    let mut m = running(policy(Strategy::RestForOne), &[P, P, P]);
    m.on_exit(ChildId(2), 1, &boom(), at(0));
    assert_eq!(m.on_timer(at(10)), [start(2, 2)]);
    assert_eq!(m.on_exit(ChildId(0), 1, &boom(), at(11)), [restarting(0, 10), kill(2), kill(1)]);
    m.on_exit(ChildId(2), 2, &Exit::Killed, at(12));
    m.on_exit(ChildId(1), 1, &Exit::Killed, at(12));
    assert_eq!(m.on_timer(at(21)), [start(0, 2)]);
    assert_eq!(m.on_started(ChildId(0), 2, at(21)), [start(1, 2)]);
    assert_eq!(m.on_started(ChildId(1), 2, at(21)), [start(2, 3)]);
}

#[test]
fn a_life_that_survives_a_kill_is_fenced() {
    let mut m = running(policy(Strategy::OneForAll), &[P, P]);
    m.on_exit(ChildId(0), 1, &boom(), at(0));
    assert_eq!(m.next_timer(), Some(at(5_000)));
    let fence = RestartAction::Fence { child: ChildId(1), epoch: 1, exit: Exit::Hung };
    assert_eq!(m.on_timer(at(5_000)), [fence, start(0, 2)]);
    assert_eq!(m.on_exit(ChildId(1), 1, &Exit::Killed, at(5_001)), [], "stale");
}

#[test]
fn a_kill_from_outside_is_a_failure_and_a_hang_after_it_is_one_failure() {
    let mut m = running(policy(Strategy::OneForOne), &[P]);
    assert_eq!(m.kill(ChildId(0), at(0)), [kill(0)]);
    assert_eq!(m.kill(ChildId(0), at(1)), [], "once is enough");
    let fence = RestartAction::Fence { child: ChildId(0), epoch: 1, exit: Exit::Hung };
    assert_eq!(m.on_timer(at(5_000)), [fence, restarting(0, 10)]);
    assert_eq!(m.on_exit(ChildId(0), 1, &Exit::Killed, at(5_001)), []);
    assert_eq!(m.on_timer(at(5_010)), [start(0, 2)]);
}

#[test]
fn a_watchdog_gives_up_the_present_life_only() {
    let mut m = running(policy(Strategy::OneForOne), &[P]);
    assert_eq!(m.give_up(ChildId(0), 7, at(0)), []);
    let fence = RestartAction::Fence { child: ChildId(0), epoch: 1, exit: Exit::Hung };
    assert_eq!(m.give_up(ChildId(0), 1, at(0)), [fence, restarting(0, 10)]);
    assert_eq!(m.give_up(ChildId(0), 1, at(0)), [], "it is not there any more");
}

#[test]
fn backoff_doubles_and_a_healthy_stretch_resets_it() {
    let mut m = running(policy(Strategy::OneForOne), &[P]);
    let mut now = 0;
    for (epoch, after) in [(1, 10), (2, 20), (3, 40)] {
        assert_eq!(m.on_exit(ChildId(0), epoch, &boom(), at(now)), [restarting(0, after)]);
        now += after;
        assert_eq!(m.on_timer(at(now)), [start(0, epoch + 1)]);
        m.on_started(ChildId(0), epoch + 1, at(now));
    }
    now += 5_000;
    assert_eq!(m.on_exit(ChildId(0), 4, &boom(), at(now)), [restarting(0, 10)]);
}

#[test]
fn too_many_within_the_period_escalate_with_a_reason() {
    let policy = RestartPolicy { intensity: 2, ..policy(Strategy::OneForOne) };
    let mut m = running(policy, &[P, P]);
    m.on_exit(ChildId(0), 1, &boom(), at(0));
    m.on_timer(at(10));
    m.on_started(ChildId(0), 2, at(10));
    m.on_exit(ChildId(1), 1, &boom(), at(20));
    let reason = "child0 panicked at pile.rs:7: boom; that is failure 3 within 10s (2 by child0), \
                  and 2 are allowed";
    assert_eq!(
        m.on_exit(ChildId(0), 2, &boom(), at(25)),
        [
            RestartAction::Escalate { reason: reason.into() },
            RestartAction::End(SupervisorOutcome::Escalated { reason: reason.into() })
        ]
    );
    assert!(m.is_over());
    assert_eq!(m.next_timer(), None);
}

#[test]
fn the_window_slides() {
    let policy = RestartPolicy { intensity: 1, ..policy(Strategy::OneForOne) };
    let mut m = running(policy, &[P]);
    let mut now = 0;
    for epoch in 1..20 {
        assert!(matches!(
            *m.on_exit(ChildId(0), epoch, &boom(), at(now)),
            [RestartAction::Restarting { .. }]
        ));
        now += 10_000;
        m.on_timer(at(now));
        m.on_started(ChildId(0), epoch + 1, at(now - 9_000));
    }
    assert_eq!(m.on_exit(ChildId(0), 20, &boom(), at(now)), [restarting(0, 10)]);
    m.on_timer(at(now + 10));
    assert!(matches!(
        m.on_exit(ChildId(0), 21, &boom(), at(now + 9_999))[0],
        RestartAction::Escalate { .. }
    ));
}

#[test]
fn failures_in_a_row_escalate_below_the_intensity() {
    let policy = RestartPolicy { in_a_row: 3, intensity: 1_000, ..policy(Strategy::OneForOne) };
    let mut m = running(policy, &[P]);
    for epoch in 1..3 {
        m.on_exit(ChildId(0), epoch, &boom(), at(epoch * 100_000));
        m.on_timer(at(epoch * 100_000 + 1_000));
    }
    let wanted = m.on_exit(ChildId(0), 3, &boom(), at(300_000));
    let [RestartAction::Escalate { reason }, RestartAction::End(_)] = &*wanted else {
        panic!("{wanted:?}");
    };
    assert_eq!(
        reason,
        "child0 failed 3 times in a row, never healthy for 5s in between; \
         at last it panicked at pile.rs:7: boom"
    );
}

#[test]
fn an_escalation_kills_the_rest_and_waits_for_them() {
    let policy = RestartPolicy { intensity: 0, ..policy(Strategy::OneForOne) };
    let mut m = running(policy, &[P, P, P]);
    let wanted = m.on_exit(ChildId(1), 1, &boom(), at(0));
    assert!(matches!(&wanted[0], RestartAction::Escalate { .. }));
    assert_eq!(wanted[1..], [kill(2), kill(0)]);
    assert_eq!(m.on_exit(ChildId(0), 1, &Exit::Killed, at(1)), []);
    let wanted = m.on_timer(at(5_000));
    assert!(
        matches!(
            &*wanted,
            [RestartAction::Fence { .. }, RestartAction::End(SupervisorOutcome::Escalated { .. })]
        ),
        "{wanted:?}"
    );
}

#[test]
fn a_stop_goes_backwards_with_a_deadline_for_each() {
    let mut m = running(policy(Strategy::OneForOne), &[P, P, P]);
    m.on_exit(ChildId(1), 1, &boom(), at(0));
    assert_eq!(m.stop(ms(1_000), at(0)), [stop(2)]);
    assert_eq!(m.next_timer(), Some(at(100)), "the restart of 1 is off");
    assert_eq!(m.on_timer(at(100)), [kill(2)]);
    assert_eq!(m.on_exit(ChildId(2), 1, &Exit::Killed, at(101)), [stop(0)]);
    assert_eq!(
        m.on_exit(ChildId(0), 1, &Exit::Normal, at(102)),
        [RestartAction::End(SupervisorOutcome::Stopped)]
    );
    assert_eq!(m.next_timer(), None);
}

#[test]
fn the_deadline_of_a_stop_cuts_all_others_short() {
    let mut m = running(policy(Strategy::OneForOne), &[P, P]);
    assert_eq!(m.stop(ms(50), at(0)), [stop(1)]);
    assert_eq!(m.stop(ms(10), at(0)), [], "a second stop can only be shorter");
    assert_eq!(m.on_timer(at(10)), [kill(1), kill(0)]);
}

#[test]
fn draining_restarts_soon() {
    let policy = RestartPolicy { intensity: 100, ..policy(Strategy::OneForOne) };
    let mut m = running(policy, &[P]);
    for (epoch, after) in [(1, 10), (2, 20), (3, 40), (4, 80)] {
        let wanted = m.on_exit(ChildId(0), epoch, &boom(), at(0));
        assert_eq!(wanted, [restarting(0, after)]);
        assert_eq!(m.on_timer(at(after)), [start(0, epoch + 1)]);
    }
    m.on_exit(ChildId(0), 5, &boom(), at(100));
    assert_eq!(m.next_timer(), Some(at(260)));
    assert_eq!(m.set_draining(true, at(101)), []);
    assert_eq!(m.next_timer(), Some(at(111)), "brought forward");
    assert_eq!(m.on_timer(at(111)), [start(0, 6)]);
    let wanted = m.on_exit(ChildId(0), 6, &boom(), at(111));
    assert_eq!(wanted, [restarting(0, 10)], "320 without the drain");
}
