//! Arbiters that block or die, and are replaced.

use super::*;

const HANG: Duration = Duration::from_millis(100);

fn lively() -> RestartPolicy {
    RestartPolicy {
        backoff: Backoff { min: ms(1), max: ms(2), ..Backoff::default() },
        ..RestartPolicy::default()
    }
}

/// Three children on one arbiter.
fn trio(set: &Arbiters, trace: &Trace) -> (Vec<Port<Probe>>, Vec<Child>) {
    let ports: Vec<Port<Probe>> = (0..3).map(|_| Port::new()).collect();
    let children = ports.iter().zip(["a", "b", "c"]).map(|(port, name)| {
        let trace = trace.clone();
        let slot = set.slot(0).expect("there is one").clone();
        Child::new(name, port, move |_| Ok(Probe::new(name, &trace))).place(ChildThread::Slot(slot))
    });
    let children = children.collect();
    (ports, children)
}

/// The three children, running under `policy`, with a subscription to their events.
async fn living(
    clock: &Clock,
    (hang_after, policy): (Option<Duration>, RestartPolicy),
) -> (Arbiters, Vec<Port<Probe>>, SupervisorHandle, Events, Trace) {
    let (trace, set) = (Trace::default(), Arbiters::start(1, hang_after, clock));
    let (ports, children) = trio(&set, &trace);
    let handle = supervise(policy, clock, children);
    let events = Events(handle.events());
    handle.wait_started().await.expect("they start");
    (set, ports, handle, events, trace)
}

/// The exits by name, and the epochs at the ports once all three are restarted.
async fn aftermath(events: &mut Events, ports: &[Port<Probe>]) -> Vec<(String, Exit)> {
    let mut exits = Vec::new();
    while exits.len() < 3 || ports.iter().any(|port| port.epoch().is_none_or(|now| now < 2)) {
        if let SupervisionEvent::Exited { name, exit, .. } = events.next().await {
            exits.push((name.to_string(), exit));
        }
    }
    exits.sort_by(|a, b| a.0.cmp(&b.0));
    exits
}

fn expected() -> Vec<(String, Exit)> {
    vec![
        ("a".into(), Exit::Blocked("b".into())),
        ("b".into(), Exit::Hung),
        ("c".into(), Exit::Blocked("b".into())),
    ]
}

#[test]
fn the_culprit_is_named_and_charged_and_all_move_to_a_new_thread() {
    in_real_time(|clock| async move {
        let (set, ports, handle, mut events, _) = living(&clock, (Some(HANG), lively())).await;
        let (release, held) = std::sync::mpsc::channel::<()>();
        let began = clock.now();
        // A blocking handler rather than an injected fault.
        ports[1]
            .send(tell(move |_, _| {
                let _ = held.recv();
            }))
            .expect("it is there");
        assert_eq!(aftermath(&mut events, &ports).await, expected());
        let took = clock.now() - began;
        assert!(took >= HANG, "{took:?}");
        assert_eq!(set.replaced(), 1);
        assert_eq!(handle.lives(), 6, "three of them are stuck");
        // The new lives reply, each on the new thread.
        let (say, mut heard) = tokio::sync::mpsc::unbounded_channel();
        for port in &ports {
            let say = say.clone();
            let here = tell(move |_, _| {
                let _ = say.send(std::thread::current().id());
            });
            port.send(here).expect("it is there");
        }
        let first = heard.recv().await;
        assert_eq!((heard.recv().await, heard.recv().await), (first, first));
        // The abandoned thread ends once it resumes, and everything it held is dropped.
        drop(release);
        while handle.lives() > 3 {
            tokio::task::yield_now().await;
        }
        assert_eq!(handle.stop(ms(5_000)).await, SupervisorOutcome::Stopped);
    });
}

#[test]
fn a_thread_that_is_blocked_by_a_stranger_is_replaced_and_charged_once() {
    in_real_time(|clock| async move {
        let (set, ports, handle, mut events, _) = living(&clock, (Some(HANG), lively())).await;
        let (release, held) = std::sync::mpsc::channel::<()>();
        let slot = set.slot(0).expect("there is one");
        slot.handle().expect("a real one").spawn_fn(move || {
            let _ = held.recv();
        });
        let exits = aftermath(&mut events, &ports).await;
        for (_, exit) in exits {
            assert_eq!(exit, Exit::Blocked("something that is not supervised".into()));
        }
        drop(release);
        handle.stop(ms(5_000)).await;
        handle.lives_ended().await;
    });
}

#[allow(clippy::disallowed_methods, reason = "the thread is to be busy in real time")]
#[test]
fn a_busy_thread_that_answers_now_and_then_is_left_alone() {
    in_real_time(|clock| async move {
        let (set, ports, handle, _events, _) = living(&clock, (Some(ms(400)), lively())).await;
        let (say, mut heard) = tokio::sync::mpsc::unbounded_channel();
        for port in &ports {
            for _ in 0..8 {
                let say = say.clone();
                let work = tell(move |_, ctx| {
                    // A long handler, but other children are polled in between.
                    let since = std::time::Instant::now();
                    while since.elapsed() < ms(30) {
                        std::hint::spin_loop();
                    }
                    let _ = say.send(());
                    let pause = tokio::task::yield_now();
                    actix::AsyncContext::wait(ctx, actix::fut::wrap_future(pause));
                });
                port.send(work).expect("it is there");
            }
        }
        for _ in 0..24 {
            heard.recv().await;
        }
        assert_eq!(set.replaced(), 0);
        assert_eq!(ports[0].epoch(), Some(1));
        handle.stop(ms(5_000)).await;
    });
}

#[test]
fn a_dead_arbiter_is_replaced_and_is_one_failure() {
    in_real_time(|clock| async move {
        let policy = RestartPolicy { intensity: 1, ..lively() };
        let (set, ports, handle, mut events, _) = living(&clock, (None, policy)).await;
        set.slot(0).expect("there is one").handle().expect("a real one").stop();
        for (_, exit) in aftermath(&mut events, &ports).await {
            assert_eq!(exit, Exit::ArbiterDead);
        }
        assert_eq!(set.replaced(), 1);
        assert_eq!(handle.stop(ms(5_000)).await, SupervisorOutcome::Stopped, "no escalation");
    });
}

#[test]
fn simulated_arbiters_stand_still_and_are_given_up_at_the_exact_moment() {
    in_virtual_time(|clock| async move {
        let (_set, ports, handle, mut events, trace) = living(&clock, (Some(HANG), lively())).await;
        trace.take();
        handle.strike("b", Strike::Hang(Duration::from_secs(1)));
        clock.sleep(ms(50)).await;
        ports[0].send(noting(&trace, "lost")).expect("the hang is not known yet");
        assert_eq!(aftermath(&mut events, &ports).await, expected());
        assert!(clock.now() >= Time::ZERO + HANG && clock.now() < Time::ZERO + HANG * 2);
        let started = trace.take();
        assert!(
            !started.iter().any(|line| line.contains("dropped")),
            "they stand still: {started:?}"
        );
        clock.sleep(Duration::from_secs(1)).await;
        let dropped = trace.take();
        assert!(dropped.contains(&"lost dropped".to_owned()), "{dropped:?}");
        assert!(!dropped.iter().any(|line| line.contains("handled")), "{dropped:?}");
        assert_eq!(handle.lives(), 3);
        handle.stop(ms(1_000)).await;
    });
}

#[test]
fn a_short_block_is_sat_out() {
    in_virtual_time(|clock| async move {
        let (set, ports, handle, _events, trace) = living(&clock, (Some(HANG), lively())).await;
        handle.strike("b", Strike::Hang(HANG / 2));
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        trace.take();
        ports[0].send(noting(&trace, "message")).expect("it is there");
        clock.sleep(HANG * 3).await;
        assert_eq!(trace.take(), ["a handled", "message dropped"]);
        assert_eq!((set.replaced(), ports[0].epoch()), (0, Some(1)));
        handle.stop(ms(1_000)).await;
    });
}

#[test]
fn a_stopped_set_accepts_no_child_and_keeps_no_supervisor_busy() {
    in_real_time(|clock| async move {
        let (set, ports, handle, _events, _) = living(&clock, (None, lively())).await;
        // The reports of all three arrive before the command.
        set.stop();
        while ports.iter().any(|port| port.epoch().is_some()) {
            tokio::task::yield_now().await;
        }
        handle.kill_all();
        handle.ended().await;
        assert_eq!(set.replaced(), 0);
    });
}
