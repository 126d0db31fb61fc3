//! Supervision of live actors.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, Context, Handler, Message, Running, System};
use tokio::sync::broadcast;

use super::*;
use crate::clock::{Clock, Seed, Time};

mod arbiters;
mod asks;
mod blocked;
mod comes_and_goes;
mod ends;
mod many;
mod nested;
mod panics;
mod ports;
mod storm;
mod strikes;

/// Trace lines in the order in which they were recorded.
#[derive(Clone, Default)]
struct Trace(Arc<Mutex<Vec<String>>>);

impl Trace {
    fn note(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn guard(&self, name: &str) -> Note {
        Note(self.clone(), format!("{name} dropped"))
    }
}

/// Records its line when it is dropped.
struct Note(Trace, String);

impl Drop for Note {
    fn drop(&mut self) {
        self.0.note(std::mem::take(&mut self.1));
    }
}

/// An actor that executes the closures it receives and records its life cycle.
struct Probe {
    name: String,
    trace: Trace,
    panics_in: Option<&'static str>,
    stubborn: bool,
    _note: Note,
}

impl Probe {
    fn new(name: &str, trace: &Trace) -> Self {
        Self {
            name: name.into(),
            trace: trace.clone(),
            panics_in: None,
            stubborn: false,
            _note: trace.guard(name),
        }
    }

    fn panicking(self, place: &'static str) -> Self {
        Self { panics_in: Some(place), ..self }
    }

    fn enter(&self, place: &'static str) {
        self.trace.note(format!("{} {place}", self.name));
        if self.panics_in == Some(place) {
            panic!("in {place}");
        }
    }
}

// A separate type, because fields cannot be moved out of a struct with a `Drop`.
struct DropBomb(bool);

impl Drop for DropBomb {
    fn drop(&mut self) {
        if self.0 {
            panic!("in drop");
        }
    }
}

impl Actor for Probe {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.enter("started");
    }

    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        self.enter("stopping");
        if self.stubborn { Running::Continue } else { Running::Stop }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.enter("stopped");
    }
}

type ProbeAct = Box<dyn FnOnce(&mut Probe, &mut Context<Probe>) + Send>;

/// Gives a [`Probe`] a closure to execute.
#[derive(Message)]
#[rtype(result = "()")]
struct Tell(ProbeAct);

impl Handler<Tell> for Probe {
    type Result = ();

    fn handle(&mut self, Tell(act): Tell, ctx: &mut Self::Context) {
        act(self, ctx);
    }
}

fn tell(act: impl FnOnce(&mut Probe, &mut Context<Probe>) + Send + 'static) -> Tell {
    Tell(Box::new(act))
}

/// A message that records its drop, whether it was handled or not.
fn noting(trace: &Trace, name: &str) -> Tell {
    let note = trace.guard(name);
    tell(move |probe, _| {
        probe.trace.note(format!("{} handled", probe.name));
        drop(note);
    })
}

/// Runs `test` in simulated time, on one thread.
fn in_virtual_time<F: Future>(test: impl FnOnce(Clock) -> F) -> F::Output {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().start_paused(true).build().unwrap()
    };
    // Boxed: a runtime is compiled for each type of future.
    let test: Pin<Box<dyn Future<Output = F::Output> + '_>> = Box::pin(async move {
        let clock = Clock::simulated();
        actix_rt::spawn(clock.driver());
        test(clock).await
    });
    System::with_tokio_rt(runtime).block_on(test)
}

/// Runs `test` in real time, for tests with several threads.
fn in_real_time<F: Future>(test: impl FnOnce(Clock) -> F) -> F::Output {
    let test: Pin<Box<dyn Future<Output = F::Output> + '_>> =
        Box::pin(async move { test(Clock::real()).await });
    System::new().block_on(test)
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn supervise(policy: RestartPolicy, clock: &Clock, children: Vec<Child>) -> SupervisorHandle {
    Supervisor::start(policy, clock.clone(), Seed(1), children)
}

/// One started child under the default policy, with its port and the events from before its start.
async fn one(
    clock: &Clock,
    factory: impl Fn(&Birth<Probe>) -> Result<Probe, String> + Send + Sync + 'static,
) -> (SupervisorHandle, Port<Probe>, Events) {
    let port = Port::new();
    let handle =
        supervise(RestartPolicy::default(), clock, vec![Child::new("probe", &port, factory)]);
    let events = Events(handle.events());
    (handle, port, events)
}

struct Events(broadcast::Receiver<SupervisionEvent>);

impl Events {
    async fn next(&mut self) -> SupervisionEvent {
        self.0.recv().await.expect("the supervisor goes on telling")
    }

    /// Skips to the next exit.
    async fn exit(&mut self) -> Exit {
        loop {
            if let SupervisionEvent::Exited { exit, .. } = self.next().await {
                return exit;
            }
        }
    }

    /// Skips to the next start and returns its epoch.
    async fn started(&mut self) -> u64 {
        loop {
            if let SupervisionEvent::Started { epoch, .. } = self.next().await {
                return epoch;
            }
        }
    }
}

/// The message and file of a panic exit, without the line.
fn panic_of(exit: &Exit) -> (&str, &str) {
    match exit {
        Exit::Panic { text, place } => (text, place.rsplit_once(':').expect("file:line").0),
        other => panic!("not a panic: {other:?}"),
    }
}
