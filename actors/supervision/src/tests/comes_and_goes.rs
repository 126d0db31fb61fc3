//! Children that are added and removed while others run.

use super::*;

#[test]
fn a_child_is_added_used_and_removed() {
    in_virtual_time(|clock| async move {
        let trace = Trace::default();
        let handle = supervise(RestartPolicy::default(), &clock, vec![]);
        handle.wait_started().await.expect("there is no child to start");
        let port = Port::new();
        let made = trace.clone();
        let child = Child::new("late", &port, move |_| Ok(Probe::new("late", &made)));
        let id = handle.start_child(child).await.expect("it starts");
        assert_eq!(handle.children(), [(id, Arc::from("late"))]);
        port.send(noting(&trace, "message")).expect("it is there");
        tokio::task::yield_now().await;
        assert!(handle.stop_child(Which::Name("late")).await);
        assert!(port.is_closed());
        assert!(handle.children().is_empty());
        assert!(!handle.stop_child(Which::Id(id)).await, "it is gone");
        assert_eq!(handle.stop(ms(1_000)).await, SupervisorOutcome::Stopped);
        let told = trace.take();
        assert!(told.contains(&"late handled".to_owned()), "{told:?}");
        assert!(
            told.ends_with(&["late stopping", "late stopped", "late dropped"].map(String::from))
        );
    });
}

#[test]
fn waiting_for_a_start_ends_with_a_later_life_or_an_error() {
    in_virtual_time(|clock| async move {
        let handle = supervise(RestartPolicy::default(), &clock, vec![]);
        let port = Port::<Probe>::new();
        let trace = Trace::default();
        let third = Child::new("third", &port, move |birth| match birth.epoch {
            3 => Ok(Probe::new("third", &trace)),
            _ => Err("not yet".into()),
        });
        handle.start_child(third).await.expect("its third life starts");
        assert_eq!(port.epoch(), Some(3));
        let never = Child::new("never", &Port::<Probe>::new(), |_| Err("no".into()))
            .restart(Restart::Temporary);
        assert!(handle.start_child(never).await.is_err());
        handle.stop(ms(1_000)).await;
        let late = Child::new("late", &Port::<Probe>::new(), |_| Err("no".into()));
        assert!(handle.start_child(late).await.is_err(), "it has ended");
    });
}

#[test]
fn ten_thousand_temporary_children_leave_nothing_behind() {
    in_virtual_time(|clock| async move {
        let handle = supervise(RestartPolicy::default(), &clock, vec![]);
        let alive = Arc::new(());
        for _ in 0..10_000 {
            let (port, held, trace) = (Port::new(), alive.clone(), Trace::default());
            let child = Child::new("once", &port, move |_| {
                let _held = held.clone();
                Ok(Probe::new("once", &trace))
            });
            let child = child.restart(Restart::Temporary);
            handle.start_child(child).await.expect("it starts");
            port.send(tell(|_, ctx| actix::ActorContext::stop(ctx))).expect("it is there");
        }
        while handle.lives() > 0 {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
        assert!(handle.children().is_empty());
        assert_eq!(Arc::strong_count(&alive), 1, "no factory is left");
        assert_eq!(clock.sleepers(), 0);
        handle.stop(ms(1_000)).await;
    });
}
