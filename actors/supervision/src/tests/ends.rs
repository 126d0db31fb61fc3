//! Order of start and shutdown, deadlines, kills and escalation.

use actix::fut::wrap_future;
use actix::{ActorContext, AsyncContext};

use super::*;

fn probes(
    trace: &Trace,
    names: &[&'static str],
    change: fn(Probe) -> Probe,
) -> (Vec<Child>, Vec<Port<Probe>>) {
    names
        .iter()
        .map(|name| {
            let (port, trace, name) = (Port::new(), trace.clone(), *name);
            let child = Child::new(name, &port, move |_| Ok(change(Probe::new(name, &trace))));
            (child.shutdown(ms(100)), port)
        })
        .unzip()
}

#[test]
fn starts_forward_and_stops_backward() {
    in_virtual_time(|clock| async move {
        let trace = Trace::default();
        let (children, _ports) = probes(&trace, &["a", "b", "c"], |probe| probe);
        let handle = supervise(RestartPolicy::default(), &clock, children);
        handle.wait_started().await.expect("they start");
        assert_eq!(trace.take(), ["a started", "b started", "c started"]);
        assert_eq!(handle.lives(), 3);
        let names: Vec<_> =
            handle.children().into_iter().map(|(_, name)| name.to_string()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(handle.stop(ms(1_000)).await, SupervisorOutcome::Stopped);
        let expected: Vec<_> = ["c", "b", "a"]
            .into_iter()
            .flat_map(|name| {
                ["stopping", "stopped", "dropped"].map(|what| format!("{name} {what}"))
            })
            .collect();
        assert_eq!(trace.take(), expected);
        assert_eq!(handle.lives(), 0);
        assert_eq!(clock.now(), Time::ZERO, "there was nothing to wait for");
        assert_eq!(handle.wait_started().await, Ok(()), "it had been up");
        assert_eq!(handle.stop(ms(1)).await, SupervisorOutcome::Stopped, "again is no harm");
    });
}

#[test]
fn a_child_that_does_not_stop_is_killed_at_its_deadline() {
    in_virtual_time(|clock| async move {
        let trace = Trace::default();
        let (children, _ports) =
            probes(&trace, &["a", "b"], |probe| Probe { stubborn: true, ..probe });
        let handle = supervise(RestartPolicy::default(), &clock, children);
        let mut events = Events(handle.events());
        handle.wait_started().await.expect("they start");
        trace.take();
        handle.stop(ms(1_000)).await;
        assert_eq!(trace.take(), ["b stopping", "b dropped", "a stopping", "a dropped"]);
        assert_eq!(clock.now(), Time::ZERO + ms(200));
        assert_eq!(events.exit().await, Exit::Killed);
        assert_eq!(events.exit().await, Exit::Killed);
    });
}

#[test]
fn the_deadline_of_the_stop_is_for_all_together() {
    in_virtual_time(|clock| async move {
        let trace = Trace::default();
        let (children, _ports) =
            probes(&trace, &["a", "b"], |probe| Probe { stubborn: true, ..probe });
        let handle = supervise(RestartPolicy::default(), &clock, children);
        handle.wait_started().await.expect("they start");
        handle.stop(ms(70)).await;
        assert_eq!(clock.now(), Time::ZERO + ms(70));
    });
}

#[test]
fn work_in_hand_may_end_before_its_deadline() {
    in_virtual_time(|clock| async move {
        let trace = Trace::default();
        let port = Port::new();
        let child = Child::new("probe", &port, {
            let trace = trace.clone();
            move |_| Ok(Probe { stubborn: true, ..Probe::new("probe", &trace) })
        });
        let handle = supervise(RestartPolicy::default(), &clock, vec![child.shutdown(ms(500))]);
        handle.wait_started().await.expect("it starts");
        let nap = clock.sleep(ms(300));
        let work = tell(move |_, ctx| {
            let nap = wrap_future::<_, Probe>(nap);
            ctx.spawn(actix::fut::ActorFutureExt::map(nap, |(), probe, ctx| {
                probe.stubborn = false;
                ctx.stop();
            }));
        });
        port.send(work).expect("it is there");
        handle.stop(ms(10_000)).await;
        assert_eq!(clock.now(), Time::ZERO + ms(300));
        assert!(trace.take().contains(&"probe stopped".into()));
    });
}

#[test]
fn kill_all_skips_the_graceful_stop() {
    in_virtual_time(|clock| async move {
        let trace = Trace::default();
        let (children, ports) = probes(&trace, &["a", "b"], |probe| probe);
        let handle = supervise(RestartPolicy::default(), &clock, children);
        handle.wait_started().await.expect("they start");
        trace.take();
        handle.kill_all();
        assert_eq!(handle.ended().await, SupervisorOutcome::Stopped);
        let mut seen = trace.take();
        seen.sort();
        assert_eq!(seen, ["a dropped", "b dropped"]);
        assert!(ports.iter().all(Port::is_closed));
    });
}

#[test]
fn a_permanent_crasher_takes_its_supervisor_down_and_the_reason_says_why() {
    in_virtual_time(|clock| async move {
        let trace = Trace::default();
        let (mut children, ports) = probes(&trace, &["a"], |probe| probe);
        let port = Port::<Probe>::new();
        children.push(Child::new("pile", &port, |_| panic!("no shelf")));
        let handle = supervise(RestartPolicy::default(), &clock, children);
        let mut events = Events(handle.events());
        let started = handle.wait_started().await;
        let SupervisorOutcome::Escalated { reason } = handle.ended().await else {
            panic!("it can't end well");
        };
        assert_eq!(started, Err(SupervisorOutcome::Escalated { reason: reason.clone() }));
        assert!(reason.starts_with(&format!("pile panicked at {}:", file!())), "{reason}");
        assert!(
            reason.ends_with(
                ": no shelf; that is failure 6 within 10s (6 by pile), and 5 are allowed"
            ),
            "{reason}"
        );
        assert_eq!(handle.restarts("pile"), 5);
        assert_eq!(trace.take(), ["a started", "a dropped"]);
        assert!(ports[0].is_closed() && port.is_closed());
        let mut told = vec![];
        loop {
            match events.next().await {
                SupervisionEvent::Escalated { reason: why, .. } => told.push(why),
                SupervisionEvent::Stopped { .. } => break,
                _ => {}
            }
        }
        assert_eq!(told, [reason]);
    });
}

#[test]
fn one_for_all_takes_the_others_along_in_order() {
    in_virtual_time(|clock| async move {
        let trace = Trace::default();
        let (children, ports) = probes(&trace, &["a", "b", "c"], |probe| probe);
        let policy = RestartPolicy { strategy: Strategy::OneForAll, ..RestartPolicy::default() };
        let handle = supervise(policy, &clock, children);
        let mut events = Events(handle.events());
        handle.wait_started().await.expect("they start");
        trace.take();
        ports[1].send(tell(|_, _| panic!("b is broken"))).expect("it is there");
        while ports[2].epoch() != Some(2) {
            events.started().await;
        }
        let mut seen = trace.take();
        assert_eq!(seen.split_off(3), ["a started", "b started", "c started"]);
        assert_eq!(seen.remove(0), "b dropped");
        assert_eq!([0, 1, 2].map(|child| handle.restarts(ChildId(child))), [1, 1, 1]);
        handle.stop(ms(1_000)).await;
    });
}

#[test]
fn transient_and_temporary_children() {
    in_virtual_time(|clock| async move {
        let trace = Trace::default();
        let (children, ports) = probes(&trace, &["transient", "temporary"], |probe| probe);
        let kinds = [Restart::Transient, Restart::Temporary];
        let children = children.into_iter().zip(kinds).map(|(child, kind)| child.restart(kind));
        let handle = supervise(RestartPolicy::default(), &clock, children.collect());
        let mut events = Events(handle.events());
        handle.wait_started().await.expect("they start");
        ports[1].send(tell(|_, _| panic!("gone for good"))).expect("it is there");
        events.exit().await;
        ports[0].send(tell(|_, _| panic!("comes back"))).expect("it is there");
        events.exit().await;
        assert_eq!(events.started().await, 2);
        ports[0].send(tell(|_, ctx| ctx.stop())).expect("it is there");
        assert_eq!(events.exit().await, Exit::Normal);
        clock.sleep(ms(60_000)).await;
        assert_eq!(ports.iter().filter_map(Port::epoch).count(), 0);
        assert!(!ports[0].is_closed(), "the supervisor itself goes on");
        assert_eq!([handle.restarts("transient"), handle.restarts("temporary")], [1, 0]);
        assert_eq!(handle.stop(ms(1)).await, SupervisorOutcome::Stopped);
    });
}

#[test]
fn backoff_is_kept_to_the_nanosecond() {
    in_virtual_time(|clock| async move {
        let policy = RestartPolicy {
            intensity: 100,
            in_a_row: 5,
            backoff: Backoff { jitter: 0.0, ..Backoff::default() },
            ..RestartPolicy::default()
        };
        let port = Port::<Probe>::new();
        let child = Child::new("probe", &port, |_| Err("no".into()));
        let handle = supervise(policy, &clock, vec![child]);
        handle.ended().await;
        assert_eq!(clock.now(), Time::ZERO + ms(10 + 20 + 40 + 80));
    });
}
