//! Children on other threads, and threads that end.

use actix_rt::Arbiter;

use super::*;

fn elsewhere(port: &Port<Probe>, trace: &Trace, arbiter: &Arbiter) -> Child {
    let trace = trace.clone();
    Child::new("far", port, move |_| Ok(Probe::new("far", &trace)))
        .place(ChildThread::Arbiter(arbiter.handle()))
}

fn once() -> RestartPolicy {
    RestartPolicy {
        intensity: 1,
        backoff: Backoff { min: Duration::ZERO, ..Backoff::default() },
        ..RestartPolicy::default()
    }
}

#[test]
fn a_child_lives_where_it_is_put() {
    in_real_time(|clock| async move {
        let (arbiter, port, trace) = (Arbiter::new(), Port::new(), Trace::default());
        let handle = supervise(once(), &clock, vec![elsewhere(&port, &trace, &arbiter)]);
        handle.wait_started().await.expect("it starts");
        let (say, heard) = tokio::sync::oneshot::channel();
        port.send(tell(move |_, _| {
            let _ = say.send(std::thread::current().id());
        }))
        .expect("it is there");
        assert_ne!(heard.await.expect("an answer"), std::thread::current().id());
        assert_eq!(handle.stop(ms(10_000)).await, SupervisorOutcome::Stopped);
        assert_eq!(trace.take(), ["far started", "far stopping", "far stopped", "far dropped"]);
        arbiter.stop();
    });
}

#[test]
fn the_end_of_its_thread_is_reported_and_a_dead_thread_takes_no_new_life() {
    in_real_time(|clock| async move {
        let (arbiter, port, trace) = (Arbiter::new(), Port::new(), Trace::default());
        let handle = supervise(once(), &clock, vec![elsewhere(&port, &trace, &arbiter)]);
        let mut events = Events(handle.events());
        handle.wait_started().await.expect("it starts");
        port.send(tell(|_, ctx| {
            // Keeps a message queued until the thread ends.
            actix::AsyncContext::wait(ctx, actix::fut::wrap_future(std::future::pending()));
        }))
        .expect("it is there");
        port.send(noting(&trace, "queued")).expect("it is there");
        arbiter.stop();
        assert_eq!(events.exit().await, Exit::ArbiterDead);
        assert_eq!(trace.take(), ["far started", "far dropped", "queued dropped"]);
        assert_eq!(events.exit().await, Exit::ArbiterDead, "the second life never began");
        let SupervisorOutcome::Escalated { reason } = handle.ended().await else {
            panic!("there is no thread to live on");
        };
        assert_eq!(
            reason,
            "far lost its arbiter; that is failure 2 within 10s (2 by far), and 1 are allowed"
        );
        handle.lives_ended().await;
        assert!(port.is_closed());
    });
}

#[test]
fn lives_sent_to_a_dying_thread_are_all_reported() {
    in_real_time(|clock| async move {
        for _ in 0..200 {
            let (arbiter, port, trace) = (Arbiter::new(), Port::new(), Trace::default());
            let handle = supervise(once(), &clock, vec![elsewhere(&port, &trace, &arbiter)]);
            arbiter.stop();
            assert!(matches!(handle.ended().await, SupervisorOutcome::Escalated { .. }));
            handle.lives_ended().await;
        }
    });
}

#[test]
fn a_child_that_blocks_its_thread_is_fenced_and_its_late_end_changes_nothing() {
    in_real_time(|clock| async move {
        let (arbiter, port, trace) = (Arbiter::new(), Port::new(), Trace::default());
        let policy = RestartPolicy { intensity: 0, ..RestartPolicy::default() };
        let handle = supervise(policy, &clock, vec![elsewhere(&port, &trace, &arbiter)]);
        let mut events = Events(handle.events());
        handle.wait_started().await.expect("it starts");
        let (block, blocked) = std::sync::mpsc::channel::<()>();
        let (say, at_work) = tokio::sync::oneshot::channel();
        port.send(tell(move |_, _| {
            let _ = say.send(());
            let _ = blocked.recv();
        }))
        .expect("it is there");
        at_work.await.expect("it blocks");
        assert!(handle.give_up("far", 1));
        assert_eq!(events.exit().await, Exit::Hung);
        assert!(matches!(handle.ended().await, SupervisorOutcome::Escalated { .. }));
        assert_eq!(handle.lives(), 1, "it still hangs");
        drop(block);
        handle.lives_ended().await;
        assert_eq!(trace.take(), ["far started", "far dropped"]);
        arbiter.stop();
    });
}

#[test]
fn a_life_that_was_fenced_in_its_factory_never_binds() {
    in_real_time(|clock| async move {
        let (arbiter, port, trace) = (Arbiter::new(), Port::<Probe>::new(), Trace::default());
        let (block, blocked) = std::sync::mpsc::channel::<()>();
        let blocked = Mutex::new(blocked);
        let (say, mut at_work) = tokio::sync::mpsc::unbounded_channel();
        let child = Child::new("far", &port, {
            let trace = trace.clone();
            move |_| {
                let _ = say.send(());
                let _ = blocked.lock().map(|blocked| blocked.recv());
                Ok(Probe::new("far", &trace))
            }
        });
        let policy = RestartPolicy { intensity: 0, ..RestartPolicy::default() };
        let handle =
            supervise(policy, &clock, vec![child.place(ChildThread::Arbiter(arbiter.handle()))]);
        at_work.recv().await.expect("the factory runs");
        handle.give_up("far", 1);
        handle.ended().await;
        drop(block);
        handle.lives_ended().await;
        assert_eq!(port.epoch(), None);
        arbiter.stop();
    });
}

#[test]
fn a_supervisor_whose_thread_ends_kills_its_children_elsewhere() {
    in_real_time(|clock| async move {
        let (home, far) = (Arbiter::new(), Arbiter::new());
        let (port, trace) = (Port::new(), Trace::default());
        let child = elsewhere(&port, &trace, &far);
        let (say, started) = tokio::sync::oneshot::channel();
        home.spawn_fn(move || {
            let _ = say.send(supervise(once(), &clock, vec![child]));
        });
        let handle = started.await.expect("a handle");
        handle.wait_started().await.expect("it starts");
        home.stop();
        let expected =
            SupervisorOutcome::Escalated { reason: "the supervisor's own arbiter ended".into() };
        assert_eq!(handle.ended().await, expected);
        handle.lives_ended().await;
        assert_eq!(trace.take(), ["far started", "far dropped"]);
        assert!(port.is_closed());
        far.stop();
    });
}
