//! A hundred thousand panics leave nothing behind: no memory, no task, and no thread except those
//! that hang.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix::prelude::*;
use gopherworks::supervision::clock::{Clock, Seed};
use gopherworks::supervision::{
    Arbiters, Backoff, Child, ChildThread, Port, RestartPolicy, Strike, Supervisor,
    SupervisorHandle,
};

const PANICS: u64 = 100_000;

/// Each life owns memory and a count, which a leak would keep.
struct Rocket {
    _load: Vec<u8>,
    alive: Arc<AtomicUsize>,
}

impl Rocket {
    fn new(alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::AcqRel);
        Self { _load: vec![7; 4096], alive: alive.clone() }
    }
}

impl Drop for Rocket {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Actor for Rocket {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // A task of the actor, which must end with it.
        ctx.spawn(actix::fut::wrap_future(std::future::pending()));
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Crash;

impl Handler<Crash> for Rocket {
    type Result = ();

    fn handle(&mut self, _: Crash, _: &mut Self::Context) {
        // Panics without a message on standard error, which a hundred thousand messages would fill.
        std::panic::resume_unwind(Box::new("a crash"));
    }
}

/// A number of `/proc/self/status`.
fn status(key: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find(|line| line.starts_with(key)).expect("a line");
    let number = line.split_whitespace().nth(1).expect("a number");
    number.parse().expect("a number")
}

async fn crash(ports: &[Port<Rocket>], handle: &SupervisorHandle, until: u64) {
    let all = || -> u64 { handle.children().iter().map(|(id, _)| handle.restarts(*id)).sum() };
    let mut round = 0usize;
    while all() < until {
        let which = round % ports.len();
        round += 1;
        if round.is_multiple_of(2) {
            let _ = ports[which].send(Crash);
        } else {
            handle.strike(handle.children()[which].0, Strike::Panic("a strike".into()));
        }
        // Gives the other tasks a turn.
        actix_rt::task::yield_now().await;
    }
}

#[test]
fn a_hundred_thousand_panics_leak_nothing() {
    System::new().block_on(async {
        let clock = Clock::real();
        let alive = Arc::new(AtomicUsize::new(0));
        let arbiters = Arbiters::start(2, Some(Duration::from_millis(200)), &clock);
        let ports: Vec<Port<Rocket>> = (0..4).map(|_| Port::new()).collect();
        let children = ports.iter().enumerate().map(|(number, port)| {
            let alive = alive.clone();
            let place = match number {
                0 => ChildThread::Here,
                _ => ChildThread::Slot(arbiters.slot(number).expect("there is one").clone()),
            };
            Child::new(format!("rocket {number}"), port, move |_| Ok(Rocket::new(&alive)))
                .place(place)
        });
        let policy = RestartPolicy {
            intensity: u32::MAX,
            in_a_row: u32::MAX,
            backoff: Backoff {
                min: Duration::ZERO,
                max: Duration::ZERO,
                jitter: 0.0,
                reset: Duration::from_secs(1),
            },
            ..RestartPolicy::default()
        };
        let children = children.collect();
        let handle = Supervisor::start(policy, clock.clone(), Seed(1), children);
        handle.wait_started().await.expect("they start");
        // One-time allocations have been made by now.
        crash(&ports, &handle, PANICS / 5).await;
        let (memory, threads) = (status("VmRSS:"), status("Threads:"));
        crash(&ports, &handle, PANICS).await;
        let grown = status("VmRSS:").saturating_sub(memory);
        println!("{memory} KiB before, {grown} KiB more after {PANICS} panics; {threads} threads");
        assert!(grown < 4_096, "{grown} KiB more");
        assert_eq!(status("Threads:"), threads);
        assert!(handle.lives() <= ports.len(), "{} lives", handle.lives());

        // A life that hangs occupies its thread only as long as it hangs.
        handle.strike("rocket 1", Strike::Hang(Duration::from_secs(3_600)));
        while arbiters.replaced() == 0 || ports.iter().any(|port| port.epoch().is_none()) {
            actix_rt::task::yield_now().await;
        }
        while handle.lives() > ports.len() || status("Threads:") > threads {
            actix_rt::task::yield_now().await;
        }
        handle.stop(Duration::from_secs(5)).await;
        handle.lives_ended().await;
        assert_eq!(alive.load(Ordering::Acquire), 0, "every life was dropped");
    });
}
