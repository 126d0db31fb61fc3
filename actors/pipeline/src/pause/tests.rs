//! Tests of the pause.

use super::*;
use crate::context::PipelineContext;
use crate::custody::Custody;
use gopherworks_supervision::clock::{Clock, Seed};
use gopherworks_supervision::pool::Pool;
use std::sync::Arc;

fn context(clock: &Clock) -> Arc<PipelineContext> {
    let custody = Custody::new(std::iter::empty(), clock.clone(), Arc::new(|_| {}));
    let pool = Pool::none();
    PipelineContext::new(clock.clone(), Seed(1), pool, custody, Vec::new(), None)
}

fn round(gate: PauseGate) -> u64 {
    match gate {
        PauseGate::Try(round) => round,
        other => panic!("{other:?}"),
    }
}

#[test]
fn pauses_double_up_to_the_longest_and_never_fall_below_the_shortest() {
    let mut state = PauseState::default();
    let mut last = Duration::ZERO;
    for tries in 1..100 {
        state.tries = tries;
        let rest = state.rest(|| Seed(1).stream("f", "pause"));
        assert!((SHORTEST..=LONGEST).contains(&rest), "{tries}: {rest:?}");
        if tries < 8 {
            assert!(rest > last, "{tries}: {rest:?} after {last:?}");
        }
        last = rest;
    }
    assert!(last >= LONGEST.mul_f64(1.0 - JITTER));
}

#[test]
fn only_the_first_failure_of_a_round_counts_and_one_load_tries_at_a_time() {
    let (clock, pause) = (Clock::simulated(), Pause::new("incinerator", "f"));
    let context = context(&clock);
    let full = Failure::unavailable("full");
    let begun = pause.round();
    assert!(pause.weigh(&context, begun, Some(&full), || 3));
    assert!(!pause.weigh(&context, begun, Some(&full), || 3));
    assert!(!pause.weigh(&context, begun, None, || 3));
    assert_eq!(pause.lock().tries, 1);
    assert!(pause.is_on() && !pause.is_current(begun));
    let PauseGate::Wait(until) = pause.gate(Time::ZERO, Some(1)) else {
        panic!("it pauses");
    };
    let probe = round(pause.gate(until, Some(1)));
    assert_eq!(pause.gate(until, Some(1)), PauseGate::Shut);
    // The probing incarnation is over.
    assert_eq!(round(pause.gate(until, Some(2))), probe);
    pause.untried(probe);
    assert_eq!(round(pause.gate(until, Some(2))), probe);
    assert!(pause.weigh(&context, probe, None, || 3));
    assert!(!pause.is_on());
}

#[test]
fn a_closed_sink_ends_the_run_and_is_never_tried_again() {
    let (clock, pause) = (Clock::simulated(), Pause::new("incinerator", "f"));
    let context = context(&clock);
    let gone = Failure::closed("gone");
    assert!(pause.weigh(&context, pause.round(), Some(&gone), || 0));
    assert_eq!(pause.gate(Time(u64::MAX), Some(1)), PauseGate::Shut);
    let sink = context.closed_sink().expect("it is closed");
    assert_eq!((sink.node.as_str(), sink.reason.as_str()), ("f", "gone"));
}
