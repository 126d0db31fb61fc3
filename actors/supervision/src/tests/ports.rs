//! Delivery of messages while no life is bound.

use actix::AsyncContext;
use actix::fut::wrap_future;

use super::*;

fn refused(result: Result<(), Unsent<Tell>>) -> &'static str {
    match result {
        Ok(()) => "sent",
        Err(Unsent::Vacant(_)) => "vacant",
        Err(Unsent::Gone(_)) => "gone",
    }
}

#[test]
fn a_vacant_port_gives_the_message_back_and_a_closed_one_too() {
    in_virtual_time(|clock| async move {
        let trace = Trace::default();
        let (handle, port, mut events) = one(&clock, {
            let trace = trace.clone();
            move |_| Ok(Probe::new("probe", &trace))
        })
        .await;
        assert_eq!(refused(port.send(noting(&trace, "early"))), "vacant");
        handle.wait_started().await.expect("it starts");
        assert_eq!(port.epoch(), Some(1));
        port.send(tell(|_, _| panic!("over"))).expect("it is there");
        events.exit().await;
        assert_eq!(port.epoch(), None);
        assert_eq!(refused(port.send(noting(&trace, "between"))), "vacant");
        assert_eq!(events.started().await, 2);
        assert_eq!(port.epoch(), Some(2));
        let mut stamp = 0;
        let sent = port.send_with(|epoch| {
            stamp = epoch;
            noting(&trace, "late")
        });
        sent.expect("it is there");
        assert_eq!(stamp, 2);
        handle.stop(ms(1_000)).await;
        assert_eq!(refused(port.send(noting(&trace, "after"))), "gone");
        assert!(port.is_closed());
        let handled = trace.take().iter().filter(|line| *line == "probe handled").count();
        assert_eq!(handled, 1, "only what was sent is handled");
    });
}

#[test]
fn it_is_bound_only_after_started_has_returned() {
    struct Early(Trace, Port<Early>);
    impl Actor for Early {
        type Context = Context<Self>;
        fn started(&mut self, _: &mut Self::Context) {
            let unsent = self.1.send(Nothing);
            self.0.note(format!("{unsent:?}"));
        }
    }
    impl Handler<Nothing> for Early {
        type Result = ();
        fn handle(&mut self, _: Nothing, _: &mut Self::Context) {
            self.0.note("handled");
        }
    }
    in_virtual_time(|clock| async move {
        let (trace, port) = (Trace::default(), Port::new());
        let child = Child::new("early", &port, {
            let trace = trace.clone();
            move |birth| Ok(Early(trace.clone(), birth.port.clone()))
        });
        let handle = supervise(RestartPolicy::default(), &clock, vec![child]);
        handle.wait_started().await.expect("it starts");
        port.send(Nothing).expect("bound now");
        handle.stop(ms(1_000)).await;
        assert_eq!(trace.take(), ["Err(Vacant(..))", "handled"]);
    });
}

#[derive(Message)]
#[rtype(result = "()")]
struct Nothing;

#[test]
fn messages_in_a_dead_mailbox_are_dropped_before_the_end_is_told() {
    in_virtual_time(|clock| async move {
        let trace = Trace::default();
        let (handle, port, mut events) = one(&clock, {
            let trace = trace.clone();
            move |_| Ok(Probe::new("probe", &trace))
        })
        .await;
        handle.wait_started().await.expect("it starts");
        trace.take();
        port.send(noting(&trace, "a")).expect("sent");
        port.send(tell(|_, _| panic!("over"))).expect("sent");
        port.send(noting(&trace, "b")).expect("sent");
        port.send(noting(&trace, "c")).expect("sent");
        events.exit().await;
        assert_eq!(
            trace.take(),
            ["probe handled", "a dropped", "probe dropped", "b dropped", "c dropped"]
        );
        handle.stop(ms(1_000)).await;
    });
}

#[test]
fn the_message_in_hand_is_dropped_by_a_kill() {
    in_virtual_time(|clock| async move {
        let trace = Trace::default();
        let (handle, port, mut events) = one(&clock, {
            let trace = trace.clone();
            move |_| Ok(Probe::new("probe", &trace))
        })
        .await;
        handle.wait_started().await.expect("it starts");
        trace.take();
        let note = trace.guard("message");
        let (at_work, working) = tokio::sync::oneshot::channel();
        let halfway = tell(move |_, ctx| {
            ctx.wait(wrap_future(async move {
                let _note = note;
                let _ = at_work.send(());
                std::future::pending().await
            }));
        });
        port.send(halfway).expect("sent");
        working.await.expect("it works on the message");
        port.send(noting(&trace, "queued")).expect("sent");
        assert!(handle.kill("probe"));
        assert_eq!(events.exit().await, Exit::Killed);
        let mut seen = trace.take();
        assert_eq!(seen.remove(0), "probe dropped", "neither stopping nor stopped");
        seen.sort();
        assert_eq!(seen, ["message dropped", "queued dropped"]);
        assert_eq!(events.started().await, 2, "a kill from outside is a failure");
        assert!(!handle.kill("nobody"));
        handle.stop(ms(1_000)).await;
    });
}

/// Counts whether it was handled, or dropped unhandled.
#[derive(Message)]
#[rtype(result = "()")]
struct Counted {
    ends: Arc<[AtomicUsize; 2]>,
    handled: bool,
    fatal: bool,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.ends[usize::from(self.handled)].fetch_add(1, Ordering::Relaxed);
    }
}

impl Handler<Counted> for Probe {
    type Result = ();

    fn handle(&mut self, mut message: Counted, _: &mut Self::Context) {
        if message.fatal {
            std::panic::resume_unwind(Box::new("fatal"));
        }
        message.handled = true;
    }
}

#[test]
fn whatever_is_sent_from_other_threads_during_crashes_has_exactly_one_end() {
    const SENDERS: usize = 2;
    const EACH: usize = 20_000;
    in_real_time(|clock| async move {
        let port = Port::<Probe>::new();
        let trace = Trace::default();
        let policy = RestartPolicy {
            intensity: u32::MAX,
            in_a_row: u32::MAX,
            backoff: Backoff { min: Duration::ZERO, max: Duration::ZERO, ..Backoff::default() },
            ..RestartPolicy::default()
        };
        let child = Child::new("probe", &port, move |_| {
            trace.take();
            Ok(Probe::new("probe", &trace))
        });
        let handle = supervise(policy, &clock, vec![child]);
        handle.wait_started().await.expect("it starts");
        let ends = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        // Sent before the concurrent senders: on a busy machine, all of theirs may meet a crash.
        let first = Counted { ends: ends.clone(), handled: false, fatal: false };
        port.send(first).map_err(drop).expect("it is there");
        while ends[1].load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let (done, mut all_done) = tokio::sync::mpsc::channel(SENDERS);
        for sender in 0..SENDERS {
            let (port, ends, done) = (port.clone(), ends.clone(), done.clone());
            std::thread::spawn(move || {
                let mut returned = 0;
                for turn in 0..EACH {
                    let message = Counted {
                        ends: ends.clone(),
                        handled: false,
                        fatal: (turn + sender) % 97 == 96,
                    };
                    if let Err(unsent) = port.send(message) {
                        // Excluded from the count of drops.
                        let mut message = unsent.into_inner();
                        message.handled = true;
                        returned += 1;
                        std::thread::yield_now();
                    }
                }
                done.blocking_send(returned).expect("the test waits");
            });
        }
        let mut returned = 0;
        for _ in 0..SENDERS {
            returned += all_done.recv().await.expect("a sender ends");
        }
        // The senders may finish before any message is handled; the fatal one is then still in the
        // mailbox.
        while handle.restarts("probe") == 0 {
            tokio::task::yield_now().await;
        }
        handle.stop(ms(10_000)).await;
        handle.lives_ended().await;
        let [dropped, rest] = [&ends[0], &ends[1]].map(|end| end.load(Ordering::Relaxed));
        assert_eq!(dropped + rest, 1 + SENDERS * EACH, "none lost, none doubled");
        assert!(rest > returned, "some were handled");
    });
}
