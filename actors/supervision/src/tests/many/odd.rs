//! Children of a template in unusual states: successive owners of the ports, before a first life,
//! and after the last one.

use std::pin::pin;

use super::super::super::heartbeat::{LifeControl, RegisteredLife};
use super::super::super::report::{LifeEvent, Reporter};
use super::*;

/// The result of `work`, which must take less than the backoff of [`held_up`].
async fn in_time<T>(clock: &Clock, work: impl Future<Output = T>) -> T {
    tokio::select! {
        done = work => done,
        () = clock.sleep(ms(500)) => panic!("the waiter was not woken"),
    }
}

/// A supervisor that starts no child for a second, because its first child has just failed to
/// start.
async fn held_up(clock: &Clock) -> SupervisorHandle {
    let (tried, trace, port) = (AtomicUsize::new(0), Trace::default(), Port::new());
    let first = Child::new("first", &port, move |_| match tried.fetch_add(1, Ordering::Relaxed) {
        0 => Err("not yet".into()),
        _ => Ok(Probe::new("first", &trace)),
    });
    let backoff = Backoff { min: ms(1_000), max: ms(1_000), ..Backoff::default() };
    let policy = RestartPolicy { backoff, ..RestartPolicy::default() };
    let handle = supervise(policy, clock, vec![first]);
    let mut events = Events(handle.events());
    while !matches!(events.next().await, SupervisionEvent::Restarting { .. }) {}
    handle
}

/// Waits until the children are registered; killing a child that was never started has no effect.
async fn known(handle: &SupervisorHandle, child: ChildId) {
    while !handle.kill(child) {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_template_made_before_its_ports_served_another_starts_all_the_same() {
    in_virtual_time(|clock| async move {
        let (trace, ports) = (Trace::default(), Ports::new(3));
        let [early, late] = [(); 2].map(|()| template(&ports, &trace));
        let handle = supervise(soon(), &clock, vec![]);
        handle.start_many(early).await.expect("they start");
        handle.stop(ms(1_000)).await;
        let handle = supervise(soon(), &clock, vec![]);
        let started = in_time(&clock, handle.start_many(late)).await;
        started.expect("they start");
        assert!((0..3).all(|index| ports.epoch(index) == Some(2)));
        handle.stop(ms(1_000)).await;
        handle.lives_ended().await;
    });
}

#[test]
fn ports_that_serve_a_supervisor_are_refused_to_another() {
    in_virtual_time(|clock| async move {
        let many = many(&clock, 2, |template| template).await;
        let other = supervise(soon(), &clock, vec![]);
        for owner in [&other, &many.handle] {
            let again = owner.start_many(template(&many.ports, &many.trace));
            assert!(in_time(&clock, again).await.is_err());
        }
        assert!(other.children().is_empty());
        other.stop(ms(1_000)).await;
        assert_eq!(many.epochs(), [Some(1), Some(1)]);
        many.handle.stop(ms(1_000)).await;
    });
}

#[test]
fn ports_are_free_when_all_their_lives_are_over() {
    in_virtual_time(|clock| async move {
        // More events than a task processes in one poll.
        let (trace, ports) = (Trace::default(), Ports::new(1_000));
        for epoch in 1..=3 {
            let handle = supervise(soon(), &clock, vec![]);
            let started = handle.start_many(template(&ports, &trace)).await;
            started.expect("they start");
            assert_eq!(ports.epoch(999), Some(epoch));
            handle.kill_all();
            handle.lives_ended().await;
        }
    });
}

#[test]
fn ports_are_free_on_another_thread_as_soon() {
    in_real_time(|clock| async move {
        let (trace, ports) = (Trace::default(), Ports::new(200));
        for epoch in 1..=20 {
            let (say, started) = tokio::sync::oneshot::channel();
            let (arbiter, clock) = (actix_rt::Arbiter::new(), clock.clone());
            arbiter.spawn_fn(move || _ = say.send(supervise(soon(), &clock, vec![])));
            let handle = started.await.expect("there is a thread");
            let started = handle.start_many(template(&ports, &trace)).await;
            started.expect("they start");
            assert_eq!(ports.epoch(199), Some(epoch));
            // Every other one ends with its thread.
            if epoch % 2 == 0 {
                handle.kill_all();
            } else {
                arbiter.stop();
            }
            handle.lives_ended().await;
            arbiter.stop();
        }
    });
}

#[test]
fn ports_are_free_when_all_their_children_are_gone() {
    in_virtual_time(|clock| async move {
        let many = many(&clock, 2, |template| template.restart(Restart::Temporary)).await;
        many.handle.kill("probe/0");
        assert!(many.handle.stop_child(Which::Name("probe/1")).await);
        many.handle.lives_ended().await;
        let other = supervise(soon(), &clock, vec![]);
        let again = other.start_many(template(&many.ports, &many.trace)).await;
        again.expect("they start");
        // The end of this supervisor does not affect the ports.
        many.handle.stop(ms(1_000)).await;
        assert_eq!(many.epochs(), [Some(2), Some(2)]);
        other.stop(ms(1_000)).await;
    });
}

#[test]
fn waiting_ends_when_the_last_children_are_removed_before_their_start() {
    in_virtual_time(|clock| async move {
        let (handle, ports) = (held_up(&clock).await, Ports::new(3));
        let mut started = pin!(handle.start_many(template(&ports, &Trace::default())));
        known(&handle, ChildId(3)).await;
        for child in [2, 1, 3] {
            drop(handle.stop_child(Which::Id(ChildId(child))));
        }
        assert!(in_time(&clock, &mut started).await.is_err());
        assert!(ports.is_closed(2));
        handle.stop(ms(1_000)).await;
    });
}

#[test]
fn stopping_one_that_was_never_started_or_waits_for_a_restart_takes_no_time() {
    in_virtual_time(|clock| async move {
        let (handle, ports) = (held_up(&clock).await, Ports::new(3));
        let started = handle.start_many(template(&ports, &Trace::default()));
        known(&handle, ChildId(3)).await;
        let unstarted = handle.stop_child(Which::Id(ChildId(2)));
        assert!(in_time(&clock, unstarted).await);
        started.await.expect("the others start");
        let mut events = Events(handle.events());
        handle.kill("probe/0");
        while !matches!(events.next().await, SupervisionEvent::Restarting { .. }) {}
        let waiting = handle.stop_child(Which::Name("probe/0"));
        assert!(in_time(&clock, waiting).await);
        handle.stop(ms(1_000)).await;
    });
}

#[test]
fn nothing_happens_later_to_one_that_is_struck_and_does_not_live() {
    in_virtual_time(|clock| async move {
        let (handle, ports) = (held_up(&clock).await, Ports::new(3));
        let started = handle.start_many(template(&ports, &Trace::default()));
        known(&handle, ChildId(3)).await;
        let strike = |text: &str| handle.strike(ChildId(2), Strike::Panic(text.into()));
        assert!(strike("unborn"));
        started.await.expect("they start");
        let mut events = Events(handle.events());
        for life in [1, 2] {
            strike(&format!("life {life}"));
            let exit = events.exit().await;
            assert_eq!(exit.to_string(), format!("panicked: life {life}"));
            // It is waiting for its restart.
            strike("dead");
            assert_eq!(events.started().await, life + 1);
        }
        handle.stop(ms(1_000)).await;
    });
}

#[test]
fn a_first_poll_is_a_sign_of_life() {
    in_real_time(|clock| async move {
        let set = Arbiters::start(1, None, &clock);
        let slot = set.slot(0).expect("there is one").clone();
        let (heartbeat, place) = (slot.heartbeat(), ChildThread::Slot(slot));
        let (trace, ports) = (Trace::default(), Ports::new(3));
        let template = Template::new("probe", &ports, move |index| {
            // The heartbeat task is polled only after all of them.
            if !heartbeat.has_answered() {
                return Err("it counts as blocked".into());
            }
            heartbeat.ask();
            Ok(Probe::new(&index.to_string(), &trace))
        });
        let handle = supervise(soon(), &clock, vec![]);
        let started = handle.start_many(template.place(place)).await;
        started.expect("they start");
        assert!((0..3).all(|index| ports.epoch(index) == Some(1)));
        handle.stop(ms(10_000)).await;
    });
}

#[test]
fn a_batch_that_finds_no_thread_leaves_no_life_behind() {
    in_real_time(|clock| async move {
        let set = Arbiters::start(1, None, &clock);
        let slot = set.slot(0).expect("there is one").clone();
        let arbiter = slot.handle().expect("a thread");
        let (there, gone) = tokio::sync::oneshot::channel::<()>();
        arbiter.spawn(async move {
            std::future::pending::<()>().await;
            drop(there);
        });
        arbiter.stop();
        gone.await.expect_err("its thread ends");
        // Without an actix system, no arbiter can be created.
        let foreign = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime.expect("a runtime"), async {
                let handle = supervise(soon(), &clock, vec![]);
                let ports = Ports::new(3);
                let template = template(&ports, &Trace::default());
                let started = handle.start_many(template.place(ChildThread::Slot(slot)));
                assert!(started.await.is_err());
                assert!(matches!(handle.ended().await, SupervisorOutcome::Escalated { .. }));
                assert_eq!(handle.lives(), 0);
            });
        });
        foreign.join().expect("its asserts hold");
    });
}

struct Nobody;

impl LifeControl for Nobody {
    fn name(&self) -> Arc<str> {
        Arc::from("nobody")
    }

    fn kill(&self) {}
}

#[test]
fn a_thread_that_is_given_up_while_a_batch_is_registered_takes_all_along_or_none() {
    in_real_time(|clock| async move {
        let set = Arbiters::start(1, None, &clock);
        let slot = set.slot(0).expect("there is one").clone();
        let (to, mut reports) = tokio::sync::mpsc::unbounded_channel();
        let lives = tokio::sync::watch::Sender::new(0);
        let reporter = Arc::new(Reporter { to, lives });
        let (heartbeat, watchdog) = (slot.heartbeat(), Mutex::new(None));
        let (_, registrations) = slot.register(100, |number| {
            if number == 1 {
                let heartbeat = heartbeat.clone();
                let watch = move || heartbeat.give_up(ms(0));
                *watchdog.lock().unwrap() = Some(std::thread::spawn(watch));
            }
            // Gives the other thread time to proceed, if nothing prevents it.
            (0..1_000).for_each(|_| std::thread::yield_now());
            RegisteredLife {
                child: ChildId(number),
                epoch: 1,
                reporter: reporter.clone(),
                control: Arc::new(Nobody),
            }
        });
        assert_eq!(registrations.len(), 100);
        let watchdog = watchdog.lock().unwrap().take();
        watchdog.expect("it was started").join().expect("it ends");
        let told = std::iter::from_fn(|| reports.try_recv().ok());
        let told = told.filter(|report| matches!(report.event, LifeEvent::Lost { .. }));
        assert_eq!(told.count(), 100);
    });
}

#[test]
fn a_template_that_panics_when_it_is_dropped_harms_no_other() {
    in_virtual_time(|clock| async move {
        let handle = supervise(soon(), &clock, vec![]);
        let bomb = |count| {
            let held = DropBomb(true);
            Template::new("bomb", &Ports::new(count), move |_| -> Result<Probe, _> {
                let _ = &held;
                Err("never".into())
            })
        };
        let none = handle.start_many(bomb(0)).await;
        none.expect("there is no child to start");
        let stopped = handle.stop(ms(1_000));
        assert!(handle.start_many(bomb(2)).await.is_err());
        assert_eq!(stopped.await, SupervisorOutcome::Stopped);
    });
}

#[test]
fn a_child_whose_factory_panics_when_it_is_dropped_harms_no_other() {
    in_virtual_time(|clock| async move {
        let handle = supervise(soon(), &clock, vec![]);
        let (bomb, trace) = (DropBomb(true), Trace::default());
        let child = Child::new("bomb", &Port::new(), move |_| {
            let _ = &bomb;
            Ok(Probe::new("bomb", &trace))
        });
        handle.start_child(child).await.expect("it starts");
        assert!(handle.stop_child(Which::Name("bomb")).await);
        assert_eq!(handle.stop(ms(1_000)).await, SupervisorOutcome::Stopped);
    });
}
