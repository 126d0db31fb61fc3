//! Children of a template behave like any other child.

use super::*;

mod odd;

/// Probes of one template under one supervisor, with the trace of what they do, by index.
struct Many {
    handle: SupervisorHandle,
    ports: Ports<Probe>,
    events: Events,
    trace: Trace,
    first: ChildId,
}

fn template(ports: &Ports<Probe>, trace: &Trace) -> Template {
    let trace = trace.clone();
    Template::new("probe", ports, move |index| Ok(Probe::new(&index.to_string(), &trace)))
}

fn soon() -> RestartPolicy {
    RestartPolicy {
        backoff: Backoff { min: ms(1), max: ms(2), ..Backoff::default() },
        ..RestartPolicy::default()
    }
}

async fn many(clock: &Clock, count: usize, shape: impl FnOnce(Template) -> Template) -> Many {
    let (trace, ports) = (Trace::default(), Ports::new(count));
    let handle = supervise(soon(), clock, vec![]);
    let events = Events(handle.events());
    let template = shape(template(&ports, &trace));
    let first = handle.start_many(template).await.expect("they start");
    Many { handle, ports, events, trace, first }
}

impl Many {
    /// Skips to the next exit and returns its child.
    async fn exit(&mut self) -> (String, Exit) {
        loop {
            if let SupervisionEvent::Exited { name, exit, .. } = self.events.next().await {
                return (name.to_string(), exit);
            }
        }
    }

    fn epochs(&self) -> Vec<Option<u64>> {
        (0..self.ports.len()).map(|index| self.ports.epoch(index)).collect()
    }
}

#[test]
fn all_start_under_generated_names() {
    in_virtual_time(|clock| async move {
        let many = many(&clock, 3_000, |template| template).await;
        assert_eq!(many.first, ChildId(0));
        assert!(many.epochs().iter().all(|epoch| *epoch == Some(1)));
        let children = many.handle.children();
        assert_eq!(children.len(), 3_000);
        assert_eq!(children[2_999], (ChildId(2_999), Arc::from("probe/2999")));
        assert_eq!(many.handle.lives(), 3_000);
        for (name, known) in [
            ("probe/0", true),
            ("probe/2999", true),
            ("probe/3000", false),
            ("probe/07", false),
            ("probe/+7", false),
            ("probe/", false),
            ("probe", false),
        ] {
            assert_eq!(many.handle.kill(name), known, "{name}");
        }
        let late = Port::new();
        let child = Child::new("late", &late, |_| Ok(Probe::new("late", &Trace::default())));
        let id = many.handle.start_child(child).await.expect("it starts");
        assert_eq!(id, ChildId(3_000));
        many.handle.kill_all();
        many.handle.ended().await;
        many.handle.lives_ended().await;
        assert!((0..3_000).all(|index| many.ports.is_closed(index)));
        assert!(matches!(many.ports.send(7, tell(|_, _| {})), Err(Unsent::Gone(_))));
        assert!(matches!(many.ports.send(3_000, tell(|_, _| {})), Err(Unsent::Gone(_))));
    });
}

#[test]
fn one_that_panics_is_started_again_and_the_others_notice_nothing() {
    in_virtual_time(|clock| async move {
        let mut many = many(&clock, 5, |template| template).await;
        let queued = noting(&many.trace, "queued");
        (many.ports).send(3, tell(|_, _| panic!("oh"))).expect("it is there");
        many.ports.send(3, queued).expect("it is there");
        let (name, exit) = many.exit().await;
        assert_eq!(name, "probe/3");
        assert_eq!(panic_of(&exit).0, "oh");
        let told = many.trace.take();
        // Messages queued for the life are dropped before its end is reported.
        assert!(told.contains(&"queued dropped".into()), "{told:?}");
        assert_eq!(many.ports.epoch(3), None);
        let vacant = many.ports.send(3, tell(|_, _| {}));
        assert!(matches!(vacant, Err(Unsent::Vacant(_))));
        assert_eq!(many.events.started().await, 2);
        assert_eq!(many.epochs(), [Some(1), Some(1), Some(1), Some(2), Some(1)]);
        assert_eq!(many.handle.restarts("probe/3"), 1);
        assert_eq!(many.handle.restarts("probe/2"), 0);
        many.handle.stop(ms(1_000)).await;
    });
}

#[test]
fn each_can_be_killed_struck_and_given_up() {
    in_virtual_time(|clock| async move {
        let mut many = many(&clock, 4, |template| template).await;
        let second = ChildId(many.first.0 + 1);
        assert!(many.handle.kill(second));
        assert_eq!(many.exit().await, ("probe/1".into(), Exit::Killed));
        assert_eq!(many.events.started().await, 2);
        assert!((many.handle).strike("probe/2", Strike::Panic("struck".into())));
        let (name, exit) = many.exit().await;
        assert_eq!(name, "probe/2");
        assert!(matches!(exit, Exit::Panic { text, .. } if text == "struck"));
        assert_eq!(many.events.started().await, 2);
        assert!(many.handle.give_up("probe/2", 1), "that life is over");
        assert!(many.handle.give_up("probe/2", 2));
        assert_eq!(many.exit().await, ("probe/2".into(), Exit::Hung));
        assert_eq!(many.events.started().await, 3);
        assert_eq!(many.epochs(), [Some(1), Some(2), Some(3), Some(1)]);
        many.handle.stop(ms(1_000)).await;
        many.handle.lives_ended().await;
    });
}

#[test]
fn they_stop_in_the_reverse_order() {
    in_virtual_time(|clock| async move {
        let many = many(&clock, 3, |template| template).await;
        many.trace.take();
        assert_eq!(many.handle.stop(ms(1_000)).await, SupervisorOutcome::Stopped);
        let one = |index| ["stopping", "stopped", "dropped"].map(|word| format!("{index} {word}"));
        assert_eq!(many.trace.take(), [one(2), one(1), one(0)].concat());
    });
}

#[test]
fn a_factory_that_refuses_is_a_failure_of_its_child() {
    in_virtual_time(|clock| async move {
        let (handle, ports) = (supervise(soon(), &clock, vec![]), Ports::<Probe>::new(10));
        let (trace, tried) = (Trace::default(), Arc::new(AtomicUsize::new(0)));
        let made = trace.clone();
        let template = Template::new("probe", &ports, move |index| {
            if index == 7 && tried.fetch_add(1, Ordering::Relaxed) < 2 {
                return Err("not yet".into());
            }
            Ok(Probe::new(&index.to_string(), &made))
        });
        let mut events = Events(handle.events());
        handle.start_many(template).await.expect("it goes on");
        assert!((0..10).all(|index| (index == 7) != (ports.epoch(index) == Some(1))));
        while events.started().await != 3 {}
        assert_eq!((ports.epoch(7), handle.restarts("probe/7")), (Some(3), 2));
        handle.stop(ms(1_000)).await;
    });
}

#[test]
fn more_failures_than_the_intensity_allows_escalate_and_name_the_last() {
    in_virtual_time(|clock| async move {
        let handle = supervise(soon(), &clock, vec![]);
        let ports = Ports::<Probe>::new(2_000);
        let trace = Trace::default();
        let template = Template::new("probe", &ports, move |index| match index {
            1_500 => Err("no".into()),
            _ => Ok(Probe::new(&index.to_string(), &trace)),
        });
        // All start except one, which fails repeatedly.
        handle.start_many(template).await.expect("the others do");
        let SupervisorOutcome::Escalated { reason } = handle.ended().await else {
            panic!("it can't go on");
        };
        assert_eq!(
            reason,
            "probe/1500 could not be made: no; that is failure 6 within 10s (6 by probe/1500), \
             and 5 are allowed"
        );
        assert!((0..2_000).all(|index| ports.is_closed(index)));
        let late = template_of_none(&handle).await;
        assert!(late.is_err(), "it has ended");
    });
}

async fn template_of_none(handle: &SupervisorHandle) -> Result<ChildId, NotStarted> {
    let ports = Ports::new(0);
    (handle.start_many(template(&ports, &Trace::default()))).await
}

#[test]
fn a_supervisor_that_gives_up_while_they_start_says_that_they_did_not() {
    in_virtual_time(|clock| async move {
        let handle = supervise(soon(), &clock, vec![]);
        let ports = Ports::<Probe>::new(5_000);
        let template = Template::new("probe", &ports, |_| Err("never".into()));
        assert!(handle.start_many(template).await.is_err());
        assert!(matches!(handle.ended().await, SupervisorOutcome::Escalated { .. }));
        handle.lives_ended().await;
        assert!(ports.is_closed(4_999), "it was never started");
    });
}

#[test]
fn a_supervisor_without_children_starts_at_once() {
    in_virtual_time(|clock| async move {
        let handle = supervise(soon(), &clock, vec![]);
        assert_eq!(template_of_none(&handle).await, Ok(ChildId(0)));
        handle.stop(ms(1_000)).await;
    });
}

#[test]
fn one_is_stopped_for_good_and_temporary_ones_leave_nothing_behind() {
    in_virtual_time(|clock| async move {
        let mut many = many(&clock, 4, |template| template.restart(Restart::Temporary)).await;
        assert!(many.handle.stop_child(Which::Name("probe/2")).await);
        assert!(many.ports.is_closed(2));
        assert!(!many.handle.kill("probe/2"));
        let names = |handle: &SupervisorHandle| -> Vec<String> {
            let children = handle.children().into_iter();
            children.map(|(_, name)| name.to_string()).collect()
        };
        assert_eq!(names(&many.handle), ["probe/0", "probe/1", "probe/3"]);
        for index in [0, 1, 3] {
            (many.ports)
                .send(index, tell(|_, ctx| actix::ActorContext::stop(ctx)))
                .expect("it is there");
        }
        for _ in 0..4 {
            assert_eq!(many.exit().await.1, Exit::Normal);
        }
        assert_eq!(names(&many.handle), Vec::<String>::new());
        assert_eq!(many.handle.lives(), 0);
        many.handle.stop(ms(1_000)).await;
    });
}

#[test]
fn one_for_all_takes_all_along() {
    in_virtual_time(|clock| async move {
        let (trace, ports) = (Trace::default(), Ports::new(4));
        let policy = RestartPolicy { strategy: Strategy::OneForAll, ..soon() };
        let handle = supervise(policy, &clock, vec![]);
        let started = handle.start_many(template(&ports, &trace)).await;
        started.expect("they start");
        let mut events = Events(handle.events());
        handle.kill("probe/2");
        for _ in 0..4 {
            assert_eq!(events.started().await, 2);
        }
        assert!((0..4).all(|index| ports.epoch(index) == Some(2)));
        handle.stop(ms(1_000)).await;
    });
}

#[test]
fn ports_serve_another_supervisor_when_the_first_is_gone() {
    in_virtual_time(|clock| async move {
        let many = many(&clock, 2, |template| template).await;
        many.handle.stop(ms(1_000)).await;
        let handle = supervise(soon(), &clock, vec![]);
        let again = handle.start_many(template(&many.ports, &many.trace)).await;
        again.expect("they start");
        assert_eq!(many.epochs(), [Some(2), Some(2)]);
        handle.stop(ms(1_000)).await;
    });
}

#[test]
fn an_arbiter_that_ends_takes_its_lives_along_and_another_takes_its_place() {
    in_real_time(|clock| async move {
        let set = Arbiters::start(1, None, &clock);
        let slot = set.slot(0).expect("there is one").clone();
        let arbiter = slot.handle().expect("a thread");
        let mut many = many(&clock, 3, |template| template.place(ChildThread::Slot(slot))).await;
        arbiter.stop();
        for _ in 0..3 {
            assert_eq!(many.exit().await.1, Exit::ArbiterDead);
        }
        while many.epochs() != [Some(2); 3] {
            many.events.next().await;
        }
        assert_eq!(set.replaced(), 1);
        assert_eq!(many.handle.stop(ms(10_000)).await, SupervisorOutcome::Stopped);
    });
}

#[test]
fn a_thread_that_is_gone_takes_no_new_life() {
    in_real_time(|clock| async move {
        let arbiter = actix_rt::Arbiter::new();
        let place = ChildThread::Arbiter(arbiter.handle());
        let many = many(&clock, 3, |template| template.place(place)).await;
        arbiter.stop();
        let SupervisorOutcome::Escalated { reason } = many.handle.ended().await else {
            panic!("there is no thread to live on");
        };
        assert!(reason.starts_with("probe/"), "{reason}");
        assert!(reason.contains("lost its arbiter"), "{reason}");
        many.handle.lives_ended().await;
    });
}

#[test]
fn one_that_blocks_its_thread_is_named_and_all_move() {
    in_real_time(|clock| async move {
        let set = Arbiters::start(1, Some(ms(100)), &clock);
        let place = ChildThread::Slot(set.slot(0).expect("there is one").clone());
        let mut many = many(&clock, 3, |template| template.place(place)).await;
        let (free, held) = std::sync::mpsc::channel::<()>();
        (many.ports).send(1, tell(move |_, _| _ = held.recv())).expect("it is there");
        let mut exits = vec![many.exit().await, many.exit().await, many.exit().await];
        exits.sort_by(|a, b| a.0.cmp(&b.0));
        let by = || Exit::Blocked("probe/1".into());
        let expected = [("probe/0", by()), ("probe/1", Exit::Hung), ("probe/2", by())];
        assert_eq!(exits, expected.map(|(name, exit)| (name.to_owned(), exit)));
        while many.epochs() != [Some(2); 3] {
            many.events.next().await;
        }
        drop(free);
        assert_eq!(many.handle.stop(ms(10_000)).await, SupervisorOutcome::Stopped);
        many.handle.lives_ended().await;
    });
}

#[test]
fn a_child_that_blocks_its_thread_during_the_start_does_not_stop_the_rest() {
    in_real_time(|clock| async move {
        let set = Arbiters::start(1, Some(ms(100)), &clock);
        let place = ChildThread::Slot(set.slot(0).expect("there is one").clone());
        let handle = supervise(soon(), &clock, vec![]);
        let (free, held) = std::sync::mpsc::channel::<()>();
        let held = Mutex::new(Some(held));
        let (ports, trace) = (Ports::<Probe>::new(3), Trace::default());
        let template = Template::new("probe", &ports, move |index| {
            let held = if index == 1 { held.lock().unwrap().take() } else { None };
            if let Some(held) = held {
                let _ = held.recv();
            }
            Ok(Probe::new(&index.to_string(), &trace))
        });
        let mut events = Events(handle.events());
        let started = handle.start_many(template.place(place)).await;
        started.expect("it is given up");
        while (0..3).any(|index| ports.epoch(index) != Some(2)) {
            events.next().await;
        }
        drop(free);
        handle.stop(ms(10_000)).await;
        handle.lives_ended().await;
    });
}
