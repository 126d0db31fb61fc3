//! Requests that run inline on the caller's thread, in slots that workers lend.

use std::collections::HashMap;
use std::thread::ThreadId;

use actix_rt::Arbiter;
use futures_util::FutureExt;
use proptest::prelude::*;
use tokio::sync::{Semaphore, oneshot};

use super::*;
use crate::core::begin_turn;
use gopherworks_supervision::{Backoff, RestartPolicy};

/// What a request does; all reply with the number.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Does {
    Nothing,
    Panic,
    /// Waits for a permit.
    Wait,
    /// Yields to other tasks on its arbiter.
    Yield,
}

/// Asserts that it runs on the thread on which it was made.
struct Server(Arc<Semaphore>, Counted, ThreadId);

impl Work for Server {
    type Request = (u64, Does);
    type Reply = u64;

    async fn work(&mut self, (number, does): (u64, Does)) -> u64 {
        self.1.begun.fetch_add(1, Ordering::SeqCst);
        assert_eq!(std::thread::current().id(), self.2, "on a strange thread");
        let running = Running(self.1.clone());
        match does {
            Does::Nothing => {}
            Does::Panic => panic!("request {number} is bad"),
            Does::Wait => self.0.acquire().await.expect("never closed").forget(),
            Does::Yield => tokio::task::yield_now().await,
        }
        std::mem::forget(running);
        self.1.done.fetch_add(1, Ordering::SeqCst);
        number
    }
}

fn servers(gate: &Arc<Semaphore>, counted: &Counted) -> Builder<Server> {
    let (gate, counted) = (gate.clone(), counted.clone());
    Balancer::of(move |_| {
        let here = std::thread::current().id();
        Server(gate.clone(), counted.clone(), here)
    })
}

/// Calls until slots are lent, which shows in a reply without pending.
async fn win_trust(balancer: &BalancerHandle<Server>) {
    for number in 0..1000 {
        match balancer.call((number, Does::Nothing)).now_or_never() {
            Some(answer) => {
                begin_turn();
                return assert_eq!(answer, Ok(number));
            }
            // Dropped, the call was cancelled; a worker serves the next one.
            None => assert_eq!(balancer.call((number, Does::Nothing)).await, Ok(number)),
        }
        settle().await;
    }
    panic!("no place was lent");
}

/// Calls inline, and returns the future if it is pending.
fn ask<'a>(
    balancer: &'a BalancerHandle<Server>,
    request: (u64, Does),
) -> std::pin::Pin<Box<dyn Future<Output = Result<u64, CallError>> + 'a>> {
    let mut call = Box::pin(balancer.call(request));
    assert!((&mut call).now_or_never().is_none(), "it waits");
    call
}

#[test]
fn a_slot_is_lent_to_a_caller_on_the_same_arbiter_only() {
    real(async {
        let (gate, counted) = (Arc::new(Semaphore::new(0)), Counted::default());
        let balancer = servers(&gate, &counted).workers(2).start().await.unwrap();
        win_trust(&balancer).await;
        let (say, heard) = oneshot::channel();
        let (there, other) = (balancer.clone(), Arbiter::new());
        other.spawn(async move {
            let _ = say.send(there.call((2, Does::Nothing)).await);
        });
        assert_eq!(heard.await.unwrap(), Ok(2));
        other.stop();
        balancer.drain().await;
        let figures = balancer.figures();
        assert_eq!((figures.open, figures.busy > Duration::ZERO), (0, true));
        assert_eq!(figures.counts.asked, figures.counts.over());
        assert_eq!(figures.response.count, figures.counts.answered);
        assert_eq!(figures.waited.count, figures.counts.answered);
        assert_eq!(balancer.call((3, Does::Nothing)).await, Err(CallError::Closed));
    });
}

#[test]
fn a_panic_inline_is_the_callers_answer_and_the_workers_end() {
    real(async {
        let (gate, counted) = (Arc::new(Semaphore::new(0)), Counted::default());
        let balancer = servers(&gate, &counted).workers(2).start().await.unwrap();
        for bad in 1..4 {
            win_trust(&balancer).await;
            let answer = balancer.call((7, Does::Panic)).now_or_never();
            let Some(Err(CallError::WorkerLost { reason })) = answer else {
                panic!("{answer:?}");
            };
            assert!(reason.contains("request 7 is bad"), "{reason}");
            // The other worker is available.
            assert_eq!(balancer.call((8, Does::Nothing)).await, Ok(8));
            while balancer.restarts() < bad {
                tokio::task::yield_now().await;
            }
            assert_eq!(balancer.figures().counts.failed, bad);
        }
    });
}

#[test]
fn a_waiting_inline_request_occupies_its_worker_and_blocks_no_other() {
    real(async {
        let (gate, counted) = (Arc::new(Semaphore::new(0)), Counted::default());
        let balancer = servers(&gate, &counted).workers(2).start().await.unwrap();
        win_trust(&balancer).await;
        let waits = ask(&balancer, (1, Does::Wait));
        // No inline runs from now on: all of these are queued, and go to the other worker.
        for number in 2..50 {
            let answer = balancer.call((number, Does::Nothing)).await;
            assert_eq!(answer, Ok(number));
        }
        assert_eq!(balancer.figures().open, 1);
        // Both are busy now, and the third waits for either.
        let second = balancer.start((50, Does::Wait)).await.unwrap();
        let third = balancer.start((51, Does::Nothing)).await.unwrap();
        settle().await;
        assert_eq!(balancer.figures().open, 3);
        gate.add_permits(1);
        assert_eq!(waits.await, Ok(1));
        assert_eq!(third.await, Ok(51));
        gate.add_permits(1);
        assert_eq!(second.await, Ok(50));
    });
}

#[test]
fn a_dropped_call_returns_its_slot() {
    real(async {
        let (gate, counted) = (Arc::new(Semaphore::new(0)), Counted::default());
        let balancer = servers(&gate, &counted).start().await.unwrap();
        win_trust(&balancer).await;
        let (_, dropped, _) = counted.read();
        let waits = ask(&balancer, (1, Does::Wait));
        let behind = balancer.start((2, Does::Nothing)).await.unwrap();
        settle().await;
        assert_eq!(balancer.figures().open, 2);
        drop(waits);
        assert_eq!(counted.read().1, dropped + 1);
        assert_eq!(behind.await, Ok(2));
        let counts = balancer.figures().counts;
        assert_eq!(counts.asked, counts.over());
    });
}

#[test]
fn an_inline_caller_learns_of_the_end_of_worker_and_balancer() {
    real(async {
        let (gate, counted) = (Arc::new(Semaphore::new(0)), Counted::default());
        let balancer = servers(&gate, &counted).name("b").start().await.unwrap();
        win_trust(&balancer).await;
        let waits = ask(&balancer, (1, Does::Wait));
        assert!(balancer.supervisor().kill("b/1"));
        let answer = waits.await;
        assert!(matches!(answer, Err(CallError::WorkerLost { .. })), "{answer:?}");
        // After 1000 requests slots are lent again.
        for number in 0..1100 {
            let answer = balancer.call((number, Does::Nothing)).await;
            assert_eq!(answer, Ok(number));
        }
        win_trust(&balancer).await;
        let waits = ask(&balancer, (2, Does::Wait));
        let (draining, stopping) = (balancer.clone(), balancer.clone());
        let mut drained = Box::pin(draining.drain());
        assert!((&mut drained).now_or_never().is_none());
        let (answer, ()) = futures_util::future::join(waits, stopping.stop()).await;
        assert_eq!(answer, Err(CallError::Closed));
        drained.await;
        let figures = balancer.figures();
        assert_eq!((figures.open, figures.counts.asked), (0, figures.counts.over()));
    });
}

#[test]
fn a_busy_caller_yields_to_others() {
    real(async {
        let (gate, counted) = (Arc::new(Semaphore::new(0)), Counted::default());
        let balancer = servers(&gate, &counted).start().await.unwrap();
        win_trust(&balancer).await;
        let turns = Rc::new(Cell::new(0_u32));
        let mine = turns.clone();
        let other = actix_rt::spawn(async move {
            loop {
                mine.set(mine.get() + 1);
                tokio::task::yield_now().await;
            }
        });
        for number in 0..1000 {
            let answer = balancer.call((number, Does::Nothing)).await;
            assert_eq!(answer, Ok(number));
        }
        other.abort();
        assert!(turns.get() > 10, "{} turns", turns.get());
    });
}

#[derive(Debug, Clone)]
struct Plan {
    workers: usize,
    places: usize,
    queue: Option<u32>,
    /// The requests of each caller, in order; callers alternate between two arbiters.
    callers: Vec<Vec<(Does, bool)>>,
    /// Worker to kill, after this many replies.
    kills: Vec<(u64, usize)>,
}

fn plans() -> impl Strategy<Value = Plan> {
    let does = prop_oneof![
        40 => Just(Does::Nothing),
        1 => Just(Does::Panic),
        2 => Just(Does::Yield),
    ];
    let asks = prop::collection::vec((does, prop::bool::weighted(0.05)), 1..120);
    (
        1..5usize,
        1..3usize,
        prop::option::of(0..3u32),
        prop::collection::vec(asks, 1..9),
        prop::collection::vec((0..200u64, 0..4usize), 0..6),
    )
        .prop_map(|(workers, places, queue, callers, kills)| Plan {
            workers,
            places,
            queue,
            callers,
            kills,
        })
}

/// Every call gets one result, its own number or an error; abandoned calls count as cancelled or
/// over.
async fn play(plan: Plan) -> Result<(), TestCaseError> {
    let (gate, counted) = (Arc::new(Semaphore::new(0)), Counted::default());
    let arbiters = [Arbiter::new(), Arbiter::new()];
    let balancer = servers(&gate, &counted)
        .name("b")
        .workers(plan.workers)
        .concurrency(plan.places)
        .queue(plan.queue)
        .on(arbiters.iter().map(Arbiter::handle))
        .supervision(RestartPolicy {
            backoff: Backoff { min: Duration::ZERO, max: Duration::ZERO, ..Backoff::default() },
            intensity: u32::MAX,
            in_a_row: u32::MAX,
            ..RestartPolicy::default()
        })
        .start()
        .await
        .unwrap();
    let heard = Arc::new(Mutex::new(HashMap::new()));
    let answers = Arc::new(AtomicUsize::new(0));
    let mut over = Vec::new();
    for (caller, asks) in plan.callers.iter().cloned().enumerate() {
        let (say, done) = oneshot::channel::<()>();
        over.push(done);
        let (balancer, heard, answers) = (balancer.clone(), heard.clone(), answers.clone());
        let kills = plan.kills.clone();
        arbiters[caller % 2].spawn(async move {
            for (at, (does, gives_up)) in asks.into_iter().enumerate() {
                let number = (caller * 1000 + at) as u64;
                let call = balancer.call((number, does));
                let answer = match gives_up {
                    true => call.now_or_never(),
                    false => Some(call.await),
                };
                if let Some(answer) = answer {
                    let before = heard.lock().unwrap().insert(number, (does, answer));
                    assert!(before.is_none());
                }
                let count = answers.fetch_add(1, Ordering::SeqCst) as u64;
                for (_, worker) in kills.iter().filter(|(after, _)| *after == count) {
                    balancer.supervisor().kill(&*format!("b/{}", worker + 1));
                }
            }
            drop(say);
        });
    }
    for done in over {
        prop_assert!(done.await.is_err(), "nothing is said, only dropped");
    }
    balancer.drain().await;
    let figures = balancer.figures();
    let asked: usize = plan.callers.iter().map(Vec::len).sum();
    prop_assert_eq!(answers.load(Ordering::SeqCst), asked, "a caller died");
    prop_assert_eq!(figures.open, 0);
    prop_assert_eq!(figures.counts.asked, figures.counts.over());
    prop_assert!(figures.counts.asked <= asked as u64);
    let heard = std::mem::take(&mut *heard.lock().unwrap());
    // A worker that dies loses what runs in its other slots.
    let mut asks = plan.callers.iter().flatten();
    let anybody_dies = !plan.kills.is_empty() || asks.any(|(does, _)| *does == Does::Panic);
    let good = heard.values().filter(|(_, answer)| answer.is_ok()).count() as u64;
    let asks = plan.callers.iter().flatten();
    let given_up = asks.filter(|(_, gives_up)| *gives_up).count() as u64;
    // A reply may have arrived unseen before its caller gave up.
    prop_assert!((good..=good + given_up).contains(&figures.counts.answered));
    for (number, (does, answer)) in heard {
        match answer {
            Ok(same) => {
                prop_assert_eq!(same, number);
                prop_assert!(does != Does::Panic);
            }
            Err(CallError::WorkerLost { reason }) => {
                prop_assert!(anybody_dies, "{}", reason);
            }
            Err(error) => prop_assert!(false, "{} of {}", error, number),
        }
    }
    balancer.stop().await;
    arbiters.iter().for_each(|arbiter| {
        arbiter.stop();
    });
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default()
    })]

    #[test]
    fn every_caller_hears_once_on_two_arbiters(plan in plans()) {
        real(play(plan))?;
    }
}
