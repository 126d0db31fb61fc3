//! Misuse: values that panic when dropped, wakers that call back, threads that block, and resizing
//! under load.

use std::task::{Context, Wake, Waker};

use super::*;
use crate::policy::{After, Hedge, LoadPolicy, Spread};
use crate::resilience::{Eject, Priority, Resilience};
use crate::table::{RequestTable, Rules, Terms};
use gopherworks_supervision::clock::{Seed, Time};

/// Panics when it is dropped, if it is armed.
#[derive(Debug)]
struct Bomb(bool);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 {
            panic!("a drop");
        }
    }
}

/// `None` if the future hangs.
async fn within<F: Future>(clock: &Clock, future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = clock.sleep(Duration::from_secs(5)) => None,
    }
}

/// Three slots; request 0 waits forever holding a bomb, 1 panics, 2 waits, others reply
/// immediately.
fn bombs(clock: &Clock) -> Builder<impl Work<Request = u32, Reply = u32> + use<>> {
    let clock = clock.clone();
    Balancer::of(move |_| {
        let clock = clock.clone();
        from_fn(move |n: u32| {
            let clock = clock.clone();
            async move {
                match n {
                    0 => {
                        let _bomb = Bomb(true);
                        std::future::pending::<()>().await;
                    }
                    1 => {
                        clock.sleep(20 * MS).await;
                        panic!("a request");
                    }
                    2 => clock.sleep(Duration::from_secs(600)).await,
                    _ => {}
                }
                n
            }
        })
    })
    .concurrency(3)
    .name("desk")
}

#[test]
fn a_future_that_panics_in_its_drop_takes_no_neighbour_along() {
    for kill in [false, true] {
        virtually(async |clock| {
            let balancer = bombs(&clock).clock(clock.clone()).start().await.unwrap();
            let order = if kill { [2, 0, 2] } else { [0, 1, 2] };
            let calls = order.map(|n| balancer.try_start(n).unwrap());
            settle().await;
            if kill {
                balancer.supervisor().kill("desk/1");
            }
            for call in calls {
                let answer = within(&clock, call).await;
                assert!(matches!(answer, Some(Err(CallError::WorkerLost { .. }))), "{answer:?}");
            }
            assert_eq!(within(&clock, balancer.call(10)).await, Some(Ok(10)));
            assert_eq!(balancer.figures().open, 0);
        });
    }
}

#[test]
fn a_reply_that_panics_in_its_drop_harms_no_other() {
    // In the drop of an unwanted reply, on a blocking thread.
    real(async {
        let clock = Clock::real();
        let balancer = Balancer::of(|_| blocking(|n: u64| (n, Bomb(n == 100))));
        let balancer = balancer.start().await.unwrap();
        for _ in 0..3 {
            balancer.try_start(100).unwrap().detach();
            let (n, _) =
                within(&clock, balancer.call(1)).await.expect("its place is free").unwrap();
            assert_eq!(n, 1);
        }
    });
    // In a call dropped by a panic of its caller.
    virtually(async |clock| {
        let balancer = Balancer::of(|_| from_fn(async |_: u64| Bomb(true)));
        let balancer = balancer.clock(clock.clone()).start().await.unwrap();
        let own = clock.clone();
        let caller = tokio::task::spawn_local(async move {
            let _call = balancer.try_start(1).unwrap();
            own.sleep(50 * MS).await;
            panic!("the caller's own");
        });
        assert!(caller.await.is_err());
    });
}

#[test]
fn a_worker_is_left_for_long_requests_at_any_size() {
    virtually(async |clock| {
        let policy = LoadPolicy::Reserve { workers: 1, short: MS, ageing: 0.05 };
        let balancer = Balancer::of(|_| from_fn(async |n: u64| n))
            .policy(policy)
            .cost(|n| Some(Duration::from_millis(*n)))
            .workers(1)
            .at_most(4)
            .clock(clock.clone())
            .start()
            .await
            .unwrap();
        for size in [1, 2, 4, 1, 3] {
            balancer.resize(size);
            assert_eq!(within(&clock, balancer.call(0)).await, Some(Ok(0)), "{size}");
            assert_eq!(within(&clock, balancer.call(50)).await, Some(Ok(50)), "{size}");
        }
    });
}

fn rules(spread: Spread, policy: LoadPolicy) -> Rules {
    Rules {
        policy,
        spread,
        workers: 1,
        places: 1,
        max_attempts: 3,
        resilience: Resilience::default(),
    }
}

#[test]
fn a_life_that_was_given_up_does_not_come_up_beside_its_successor() {
    let now = Time(1);
    let mut table =
        RequestTable::new(rules(Spread::One, LoadPolicy::CENTRAL), Seed(3).stream("a", "b"), now);
    assert!(table.worker_up(0, 2, now));
    assert!(!table.worker_up(0, 1, now));
    table.submit("one", Terms::default(), now);
    table.turn(now);
    assert!(table.take(0, 1, now, |item| *item).is_none());
    table.worker_down(0, 1, now);
    assert_eq!(table.take(0, 2, now, |item| *item).map(|begun| begun.item), Some("one"));
    assert!(table.worker_up(0, 2, now), "one that was parked comes up again");
}

#[test]
fn hedges_of_what_is_over_are_not_kept() {
    let hedge =
        Spread::Hedged(Hedge { after: After::Delay(Duration::from_secs(3600)), budget: 0.1 });
    let mut table =
        RequestTable::new(rules(hedge, LoadPolicy::CENTRAL), Seed(3).stream("a", "b"), Time::ZERO);
    table.worker_up(0, 1, Time::ZERO);
    for at in 0..1_000 {
        let now = Time(at);
        table.submit((), Terms::default(), now);
        table.turn(now);
        let begun = table.take(0, 1, now, |_| ()).unwrap();
        assert!(table.next_turn().is_some());
        table.answered(begun.which, 0, 1, MS, false, now);
        assert_eq!(table.next_turn(), None);
    }
}

#[test]
fn ended_requests_do_not_delay_high_priorities() {
    let now = Time(1);
    let mut table = RequestTable::new(
        rules(Spread::One, LoadPolicy::LeastLoaded),
        Seed(3).stream("a", "b"),
        now,
    );
    table.worker_up(0, 1, now);
    let put = |table: &mut RequestTable<&'static str>, name, priority| {
        let terms = Terms { priority, ..Terms::default() };
        let which = table.submit(name, terms, now);
        table.turn(now);
        which
    };
    let first = put(&mut table, "running", Priority::Normal);
    table.take(0, 1, now, |name| *name);
    put(&mut table, "low", Priority::Low);
    let dropped = put(&mut table, "dropped", Priority::Low);
    table.cancel(dropped, now);
    put(&mut table, "high", Priority::High);
    table.answered(first, 0, 1, MS, false, now);
    assert_eq!(table.take(0, 1, now, |name| *name).map(|begun| begun.item), Some("high"));
}

#[test]
fn a_worker_may_be_ejected_permanently() {
    virtually(async |clock| {
        let balancer = Balancer::of(|_| from_fn(async |n: u64| assert!(n != 0, "bad")))
            .workers(2)
            .eject(Eject { failures: Some(1), slower: None, pause: Duration::MAX, at_most: 0.5 })
            .clock(clock.clone())
            .start()
            .await
            .unwrap();
        for _ in 0..8 {
            let answer = within(&clock, balancer.call(0)).await;
            assert!(matches!(answer, Some(Err(CallError::WorkerLost { .. }))), "{answer:?}");
            clock.sleep(Duration::from_secs(2)).await;
        }
        assert_eq!(within(&clock, balancer.call(1)).await, Some(Ok(())));
    });
}

struct BadWaker;

impl Wake for BadWaker {
    fn wake(self: Arc<Self>) {
        panic!("a waker");
    }
}

#[test]
fn a_waker_that_panics_costs_no_other_request() {
    virtually(async |clock| {
        let counted = Counted::default();
        let balancer = sleepers(&clock, &counted).idempotent(3).start().await.unwrap();
        let first = balancer.try_start(100 * MS).unwrap();
        let options = CallOptions::default().within(50 * MS);
        let mut due = Box::pin(balancer.try_start_with(MS, options).unwrap());
        let waker = Waker::from(Arc::new(BadWaker));
        assert!(due.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        let next = balancer.try_start(2 * MS).unwrap();
        assert_eq!(within(&clock, first).await, Some(Ok(100 * MS)));
        assert_eq!(within(&clock, next).await, Some(Ok(2 * MS)));
        assert_eq!(within(&clock, balancer.call(3 * MS)).await, Some(Ok(3 * MS)));
        assert_eq!((balancer.figures().open, balancer.restarts()), (0, 0));
    });
}

/// A waker that calls the balancer.
struct Nosy(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Wake for Nosy {
    fn wake(self: Arc<Self>) {
        if let Some(ask) = self.0.lock().unwrap().take() {
            ask();
        }
    }
}

#[test]
fn a_waker_may_ask_the_balancer() {
    let (say, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        virtually(async |clock| {
            let balancer =
                Balancer::of(|_| from_fn(async |_: u64| std::future::pending::<()>().await))
                    .at_most(2)
                    .clock(clock.clone());
            let balancer = balancer.start().await.unwrap();
            let call = balancer.try_start(1).unwrap();
            let own = balancer.clone();
            let ask = Nosy(Mutex::new(Some(Box::new(move || assert!(own.is_ready())))));
            let waker = Waker::from(Arc::new(ask));
            let mut drain = Box::pin(async { balancer.drain().await });
            assert!(drain.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            balancer.resize(2);
            settle().await;
            let _ = say.send(());
            drop(call);
        });
    });
    heard.recv_timeout(Duration::from_secs(10)).expect("no worker waits for itself");
}

#[test]
fn a_blocked_arbiter_of_its_own_costs_no_request() {
    real(async {
        let clock = Clock::real();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(Some(held)));
        let balancer = Balancer::of(move |_| {
            let held = held.clone();
            from_fn(move |n: u64| {
                let held = held.clone();
                async move {
                    // The first run of request 7 never returns.
                    let blocks = (n == 7).then(|| held.lock().unwrap().take()).flatten();
                    if let Some(held) = blocks {
                        let _ = held.recv();
                    }
                    n
                }
            })
        })
        .workers(2)
        .arbiters(2)
        .hang_after(100 * MS)
        .policy(LoadPolicy::RoundRobin)
        .idempotent(3)
        .start()
        .await
        .unwrap();
        let calls: Vec<_> =
            [1, 7, 3, 4, 5, 6].into_iter().map(|n| balancer.try_start(n).unwrap()).collect();
        for (call, n) in calls.into_iter().zip([1, 7, 3, 4, 5, 6]) {
            assert_eq!(within(&clock, call).await, Some(Ok(n)));
        }
        drop(release);
    });
}

#[test]
fn the_queue_has_room_for_the_workers_that_are_wanted() {
    virtually(async |clock| {
        let balancer = Balancer::of(|_| from_fn(async |_: u64| std::future::pending::<()>().await))
            .queue(0)
            .at_most(64)
            .clock(clock.clone())
            .start()
            .await
            .unwrap();
        let mut calls = Vec::new();
        for size in [1, 5, 3] {
            balancer.resize(size);
            while let Ok(call) = balancer.try_start(1) {
                calls.push(call);
            }
            settle().await;
            assert_eq!((calls.len(), balancer.figures().waiting), (size.max(calls.len()), 0));
        }
        assert_eq!(calls.len(), 5, "what runs is not taken away");
        calls.truncate(1);
        settle().await;
        while let Ok(call) = balancer.try_start(1) {
            calls.push(call);
        }
        assert_eq!(calls.len(), 3);
    });
}

#[test]
fn a_share_that_grows_is_used_as_it_grows() {
    virtually(async |clock| {
        let counted = Counted::default();
        let balancer = sleepers(&clock, &counted)
            .concurrency(4)
            .slow_start(Duration::from_secs(1))
            .name("desk")
            .start()
            .await
            .unwrap();
        balancer.supervisor().kill("desk/1");
        clock.sleep(100 * MS).await;
        let hour = Duration::from_secs(3600);
        let calls: Vec<_> =
            [hour, MS, MS, MS].into_iter().map(|span| balancer.try_start(span).unwrap()).collect();
        clock.sleep(Duration::from_secs(2)).await;
        assert_eq!(balancer.figures().waiting, 0);
        assert_eq!(counted.read().2, 3, "the short ones are done");
        drop(calls);
    });
}

#[test]
fn a_handle_that_outlives_its_system_gets_an_error() {
    let (send, handed) = std::sync::mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let system = std::thread::spawn(move || {
        real(async move {
            let balancer =
                Balancer::of(|_| from_fn(async |_: u64| std::future::pending::<()>().await))
                    .arbiters(2)
                    .idempotent(3);
            let _ = send.send(balancer.start().await.unwrap());
            let _ = stopped.await;
        });
    });
    let balancer = handed.recv().unwrap();
    let call = balancer.try_start(1).unwrap();
    let _ = stop.send(());
    system.join().unwrap();
    real(async {
        let clock = Clock::real();
        assert_eq!(within(&clock, call).await, Some(Err(CallError::Closed)));
        let late = within(&clock, balancer.call(1)).await;
        assert_eq!(late, Some(Err(CallError::Closed)));
    });
}
