//! A panic anywhere in a life ends that life, is reported with its message and place, and affects
//! no other actor.

use actix::fut::wrap_future;
use actix::{ActorContext, AsyncContext};

use super::*;

const HERE: &str = file!();

/// The exit of a child's first life, caused by `trouble`; the second life must work.
fn dies_of(
    first: impl Fn(Probe) -> Result<Probe, String> + Send + Sync + 'static,
    trouble: impl FnOnce(&mut Probe, &mut Context<Probe>) + Send + 'static,
) -> (Exit, Vec<String>) {
    in_virtual_time(|clock| async move {
        let trace = Trace::default();
        let (handle, port, mut events) = one(&clock, {
            let trace = trace.clone();
            move |birth| {
                let probe = Probe::new("probe", &trace);
                if birth.epoch == 1 { first(probe) } else { Ok(probe) }
            }
        })
        .await;
        let exit = {
            handle.wait_started().await.expect("started sooner or later");
            // Fails if the first life has already ended.
            let _ = port.send(tell(trouble));
            events.exit().await
        };
        let seen = trace.take();
        while port.epoch() != Some(2) {
            events.started().await;
        }
        port.send(noting(&trace, "message")).expect("the second life is there");
        handle.stop(ms(1_000)).await;
        assert!(trace.take().contains(&"probe handled".into()));
        assert_eq!(handle.restarts("probe"), 1);
        (exit, seen)
    })
}

#[test]
fn in_a_handler() {
    let line = line!() + 1;
    let (exit, seen) = dies_of(Ok, |_, _| panic!("book {} is wet", 7));
    let expected = Exit::Panic { text: "book 7 is wet".into(), place: format!("{HERE}:{line}") };
    assert_eq!(exit, expected);
    // The broken actor is dropped; neither `stopping` nor `stopped` runs on it.
    assert_eq!(seen, ["probe started", "probe dropped"]);
}

#[test]
fn in_started() {
    let (exit, seen) = dies_of(|probe| Ok(probe.panicking("started")), |_, _| ());
    assert_eq!(panic_of(&exit).0, "in started");
    assert_eq!(seen[..2], ["probe started", "probe dropped"]);
}

#[test]
fn in_the_factory() {
    let (exit, _) = dies_of(|_| panic!("no clay"), |_, _| ());
    assert_eq!(panic_of(&exit), ("no clay", HERE));
}

#[test]
fn in_stopping() {
    let (exit, seen) = dies_of(|probe| Ok(probe.panicking("stopping")), |_, ctx| ctx.stop());
    assert_eq!(panic_of(&exit).0, "in stopping");
    assert_eq!(seen, ["probe started", "probe stopping", "probe dropped"]);
}

#[test]
fn in_stopped() {
    let (exit, seen) = dies_of(|probe| Ok(probe.panicking("stopped")), |_, ctx| ctx.stop());
    assert_eq!(panic_of(&exit).0, "in stopped");
    assert_eq!(seen.last().map(String::as_str), Some("probe dropped"));
}

#[test]
fn in_a_future_of_the_context() {
    let (exit, seen) = dies_of(Ok, |_, ctx| {
        ctx.spawn(wrap_future(async {
            tokio::task::yield_now().await;
            panic!("later");
        }));
    });
    assert_eq!(panic_of(&exit), ("later", HERE));
    assert_eq!(seen, ["probe started", "probe dropped"]);
}

#[test]
fn without_a_text() {
    let (exit, _) = dies_of(Ok, |_, _| std::panic::panic_any(7_u8));
    assert_eq!(panic_of(&exit), ("a panic without a message", HERE));
}

#[test]
fn past_the_hook() {
    let (exit, _) = dies_of(Ok, |_, _| std::panic::resume_unwind(Box::new("rethrown")));
    let expected = Exit::Panic { text: "rethrown".into(), place: Exit::UNKNOWN_PLACE.into() };
    assert_eq!(exit, expected);
}

#[test]
fn one_that_the_actor_caught_does_not_speak_for_the_one_that_got_out() {
    let (exit, _) = dies_of(Ok, |_, _| {
        let caught = std::panic::catch_unwind(|| panic!("inner"));
        assert!(caught.is_err());
        panic!("outer");
    });
    assert_eq!(panic_of(&exit), ("outer", HERE));
}

#[test]
fn in_a_payload_that_panics_when_it_is_dropped() {
    let (exit, _) = dies_of(Ok, |_, _| std::panic::panic_any(DropBomb(true)));
    assert_eq!(panic_of(&exit), ("a panic without a message", HERE));
}

#[test]
fn an_error_of_the_factory_is_told_as_it_is() {
    let (exit, _) = dies_of(|_| Err("no disk".into()), |_, _| ());
    assert_eq!(exit, Exit::Failed("no disk".into()));
}

/// An actor whose `Drop` panics.
struct Bomb(Note, #[allow(dead_code, reason = "its drop is what counts")] DropBomb);

impl Actor for Bomb {
    type Context = Context<Self>;
}

impl Handler<Tell> for Bomb {
    type Result = ();

    fn handle(&mut self, _: Tell, ctx: &mut Self::Context) {
        self.0.0.note("handled");
        ctx.stop();
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Explode;

impl Handler<Explode> for Bomb {
    type Result = ();

    fn handle(&mut self, _: Explode, _: &mut Self::Context) {
        panic!("first");
    }
}

fn bomb_exit(trigger: impl FnOnce(&Port<Bomb>)) -> Exit {
    in_virtual_time(|clock| async move {
        let port = Port::new();
        let trace = Trace::default();
        let child = Child::new("bomb", &port, {
            let trace = trace.clone();
            move |birth| Ok(Bomb(trace.guard("bomb"), DropBomb(birth.epoch == 1)))
        });
        let handle = supervise(RestartPolicy::default(), &clock, vec![child]);
        let mut events = Events(handle.events());
        handle.wait_started().await.expect("it starts");
        trigger(&port);
        let exit = events.exit().await;
        assert_eq!(
            trace.take().last().map(String::as_str),
            Some("bomb dropped"),
            "the rest of it is dropped"
        );
        assert_eq!(events.started().await, 2);
        handle.stop(ms(1)).await;
        exit
    })
}

#[test]
fn in_drop_after_a_normal_end() {
    let exit = bomb_exit(|port| port.send(tell(|_, _| ())).expect("it is there"));
    assert_eq!(panic_of(&exit).0, "in drop");
}

#[test]
fn in_drop_after_another_panic() {
    // Without the catch, actix would drop the actor during the first panic, which aborts the
    // process.
    let exit = bomb_exit(|port| port.send(Explode).expect("it is there"));
    assert_eq!(panic_of(&exit), ("first", HERE));
}
