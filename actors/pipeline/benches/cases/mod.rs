//! The hot paths, each as a function that runs a number of operations: timed by `hot_paths`,
//! counted by `instructions`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use gopherworks_balancer::__private::{RequestTable, RequestVerdict, Rules, Terms};
use gopherworks_balancer::Balancer;
use gopherworks_balancer::policy::{LoadPolicy, Spread};
use gopherworks_balancer::resilience::Resilience;
use gopherworks_balancer::worker::from_fn;
use gopherworks_pipeline::__private::{Bound, Custody, HolderId, PileKey, Want};
use gopherworks_pipeline::book::Book;
use gopherworks_supervision::__private::Restarts;
use gopherworks_supervision::clock::{Clock, Seed, Time};
use gopherworks_supervision::{
    Backoff, Child, ChildId, ChildSpec, Exit, Port, Restart, RestartPolicy, Supervisor,
};

/// A hot path, with its name.
pub type Case = (&'static str, fn(u64));

/// All hot paths whose instructions are counted.
pub const CASES: &[Case] = &[
    ("shelf_carts_of_1", shelf_carts_of_1),
    ("shelf_carts_of_64", shelf_carts_of_64),
    ("passing_on_carts_of_64", passing_on_carts_of_64),
    ("balancer_central", balancer_central),
    ("balancer_least_loaded", balancer_least_loaded),
    ("balancer_two_choices", balancer_two_choices),
    ("balancer_round_robin", balancer_round_robin),
    ("restart_decision", restart_decision),
    ("port_send", port_send),
];

/// Hot paths that depend on timing, and are not counted.
pub const TIMED: &[Case] = &[("balancer_call", balancer_call)];

fn store() -> Arc<Custody> {
    let piles = [(Bound::default(), 3), (Bound::default(), 3)];
    Custody::new(piles, Clock::simulated(), Arc::new(|_| {}))
}

fn books(count: usize) -> Vec<Book> {
    (0..count).map(|_| Book::new(Bytes::from_static(&[7; 64]))).collect()
}

/// Books are put, leased and burned; an operation is a book.
fn shelf(count: u64, cart: usize) {
    let (store, pile) = (store(), PileKey(0));
    let want = Want { books: cart, bytes: None };
    for _ in 0..count / cart as u64 {
        store.put(pile, books(cart)).expect("no bound");
        let mut lease = store.lease(pile, want, HolderId::new(0, 0)).expect("books");
        assert!(lease.begin_burn());
        black_box(store.settle(lease));
    }
}

/// One book per cart.
pub fn shelf_carts_of_1(count: u64) {
    shelf(count, 1);
}

/// 64 books per cart.
pub fn shelf_carts_of_64(count: u64) {
    shelf(count, 64);
}

/// Books pass from a pile through a dump to their burn; an operation is a book.
pub fn passing_on_carts_of_64(count: u64) {
    let (store, pile, dump) = (store(), PileKey(0), PileKey(1));
    let want = Want { books: 64, bytes: None };
    for _ in 0..count / 64 {
        store.put(pile, books(64)).expect("no bound");
        let lease = store.lease(pile, want, HolderId::new(0, 0)).expect("books");
        let passed = store.pass_on(lease, None, dump, None);
        black_box(passed.expect("no bound"));
        let mut lease = store.lease(dump, want, HolderId::new(0, 0)).expect("books");
        assert!(lease.begin_burn());
        black_box(store.settle(lease));
    }
}

/// 8 workers, 16 requests at a time; an operation is a request, from the call to the reply.
fn balancer(count: u64, policy: LoadPolicy) {
    let rules = Rules {
        policy,
        spread: Spread::One,
        workers: 8,
        places: 1,
        max_attempts: 1,
        resilience: Resilience::default(),
    };
    let mut now = Time::ZERO;
    let mut table = RequestTable::new(rules, Seed(0).stream("bench", "desk"), now);
    (0..8).for_each(|worker| assert!(table.worker_up(worker, 1, now)));
    let mut left = 16;
    (0..left).for_each(|_| _ = table.submit((), Terms::default(), now));
    let mut answered = 0;
    while answered < count {
        table.turn(now);
        black_box(table.wakes());
        for worker in 0..8 {
            let Some(begun) = table.take(worker, 1, now, |()| ()) else {
                continue;
            };
            now = now + Duration::from_micros(1);
            let took = Duration::from_micros(1);
            let verdict = table.answered(begun.which, worker, 1, took, false, now);
            assert!(matches!(verdict, RequestVerdict::Over(())));
            answered += 1;
            left -= 1;
        }
        while left < 16 {
            table.submit((), Terms::default(), now);
            left += 1;
        }
    }
}

/// With the backlog in the balancer.
pub fn balancer_central(count: u64) {
    balancer(count, LoadPolicy::CENTRAL);
}

/// With the heap of the talk.
pub fn balancer_least_loaded(count: u64) {
    balancer(count, LoadPolicy::LeastLoaded);
}

/// With the less loaded of two random workers.
pub fn balancer_two_choices(count: u64) {
    balancer(count, LoadPolicy::TwoChoices);
}

/// With the workers in turn.
pub fn balancer_round_robin(count: u64) {
    balancer(count, LoadPolicy::RoundRobin);
}

/// One of 8 children fails and is restarted; an operation is a failure.
pub fn restart_decision(count: u64) {
    let spec = |number: usize| ChildSpec {
        name: format!("child/{number}").into(),
        restart: Restart::Permanent,
        shutdown: Duration::from_secs(5),
        first_epoch: 1,
    };
    let policy = RestartPolicy {
        intensity: u32::MAX,
        in_a_row: u32::MAX,
        backoff: Backoff { reset: Duration::ZERO, ..Backoff::default() },
        ..RestartPolicy::default()
    };
    let rng = Seed(0).stream("bench", "restarts");
    let mut restarts = Restarts::new(policy, (0..8).map(spec).collect(), rng);
    let mut now = Time::ZERO;
    restarts.begin(now);
    (0..8).for_each(|child| _ = restarts.on_started(ChildId(child), 1, now));
    let exit = Exit::Failed("bad luck".into());
    for failure in 0..count {
        let (child, epoch) = (ChildId((failure % 8) as usize), failure / 8 + 1);
        black_box(restarts.on_exit(child, epoch, &exit, now));
        now = restarts.next_timer().expect("a restart is due");
        black_box(restarts.on_timer(now));
        black_box(restarts.on_started(child, epoch + 1, now));
    }
}

struct Counter(u64);

impl Actor for Counter {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct One(Option<tokio::sync::oneshot::Sender<u64>>);

impl Handler<One> for Counter {
    type Result = ();

    fn handle(&mut self, One(say): One, _: &mut Self::Context) {
        self.0 += 1;
        if let Some(say) = say {
            let _ = say.send(self.0);
        }
    }
}

/// To a supervised actor through its port, 64 in a row; an operation is a message, sent and
/// handled.
pub fn port_send(count: u64) {
    System::new().block_on(async {
        let port = Port::new();
        let child = Child::new("counter", &port, |_| Ok(Counter(0)));
        let clock = Clock::real();
        let supervisor = Supervisor::start(RestartPolicy::default(), clock, Seed(0), vec![child]);
        supervisor.wait_started().await.expect("it starts");
        for _ in 0..count / 64 {
            (0..63).for_each(|_| port.send(One(None)).expect("it lives"));
            let (say, heard) = tokio::sync::oneshot::channel();
            port.send(One(Some(say))).expect("it lives");
            black_box(heard.await.expect("it answers"));
        }
    });
}

/// Inline calls on the worker's own arbiter.
pub fn balancer_call(count: u64) {
    System::new().block_on(async {
        let balancer = Balancer::of(|_| from_fn(async |number: u64| number + 1));
        let balancer = balancer.workers(8).start().await.expect("it starts");
        for number in 0..count {
            assert_eq!(balancer.call(number).await, Ok(number + 1));
        }
    });
}
