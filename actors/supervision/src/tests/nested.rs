//! Supervisors as children.

use super::*;

fn tree(trace: &Trace, inner: RestartPolicy) -> (Child, Port<Probe>, Port<Probe>) {
    let (a, b) = (Port::new(), Port::new());
    let child = |name: &'static str, port: &Port<Probe>| {
        let trace = trace.clone();
        Child::new(name, port, move |_| Ok(Probe::new(name, &trace)))
    };
    let nest = Child::supervisor("nest", inner, [child("a", &a), child("b", &b)]);
    (nest, a, b)
}

fn strict() -> RestartPolicy {
    RestartPolicy { intensity: 1, ..RestartPolicy::default() }
}

#[test]
fn starts_and_stops_in_order_as_one_child() {
    in_virtual_time(|clock| async move {
        let trace = Trace::default();
        let (nest, ..) = tree(&trace, RestartPolicy::default());
        let last = trace.clone();
        let after = Child::new("c", &Port::new(), move |_| Ok(Probe::new("c", &last)));
        let handle = supervise(RestartPolicy::default(), &clock, vec![nest, after]);
        handle.wait_started().await.expect("they start");
        assert_eq!(trace.take(), ["a started", "b started", "c started"]);
        assert_eq!(handle.stop(ms(1_000)).await, SupervisorOutcome::Stopped);
        let dropped: Vec<String> = trace.take();
        let dropped: Vec<&String> =
            dropped.iter().filter(|line| line.ends_with("dropped")).collect();
        assert_eq!(dropped, ["c dropped", "b dropped", "a dropped"]);
        assert_eq!(handle.lives(), 0);
    });
}

#[test]
fn a_failure_inside_stays_inside_and_is_told_outside() {
    in_virtual_time(|clock| async move {
        let trace = Trace::default();
        let (nest, a, b) = tree(&trace, RestartPolicy::default());
        let handle = supervise(RestartPolicy::default(), &clock, vec![nest]);
        let mut events = Events(handle.events());
        handle.wait_started().await.expect("they start");
        a.send(tell(|_, _| panic!("ouch"))).expect("it is there");
        loop {
            if let SupervisionEvent::Exited { name, exit, .. } = events.next().await {
                assert_eq!(&*name, "nest/a");
                assert_eq!(panic_of(&exit).0, "ouch");
                break;
            }
        }
        while a.epoch() != Some(2) {
            events.next().await;
        }
        assert_eq!(b.epoch(), Some(1));
        assert_eq!(handle.restarts("nest"), 0);
        handle.stop(ms(1_000)).await;
    });
}

#[test]
fn an_escalation_restarts_the_subtree_after_all_of_it_has_ended() {
    in_virtual_time(|clock| async move {
        let trace = Trace::default();
        let (nest, a, b) = tree(&trace, strict());
        let handle = supervise(strict(), &clock, vec![nest]);
        let mut events = Events(handle.events());
        handle.wait_started().await.expect("they start");
        for epoch in [1, 2] {
            while a.epoch() != Some(epoch) {
                events.next().await;
            }
            a.send(tell(|_, _| panic!("ouch"))).expect("it is there");
            while a.epoch() == Some(epoch) {
                events.next().await;
            }
        }
        // Between two lives the ports are vacant, so senders keep their messages and can retry.
        assert!(!a.is_closed() && !b.is_closed());
        trace.take();
        while (a.epoch(), b.epoch()) != (Some(3), Some(2)) {
            events.next().await;
        }
        assert_eq!(handle.restarts("nest"), 1);
        let told = trace.take();
        let starts: Vec<&String> = told.iter().filter(|line| line.ends_with("started")).collect();
        assert_eq!(starts, ["a started", "b started"], "{told:?}");
        // Two more escalations of the child exceed the limit of the parent.
        for _ in 0..2 {
            handle.kill("nest");
            events.exit().await;
        }
        let SupervisorOutcome::Escalated { reason } = handle.ended().await else {
            panic!("it has to give up");
        };
        assert!(reason.contains("nest"), "{reason}");
        assert!(a.is_closed() && b.is_closed());
        assert_eq!(handle.lives(), 0);
    });
}
