//! Kills of workers and the balancer at any point of a request's life.

use proptest::prelude::*;

use super::*;
use crate::policy::{After, Hedge, LoadPolicy};

#[derive(Debug, Clone)]
struct Plan {
    policy: LoadPolicy,
    idempotent: bool,
    spread: u8,
    workers: usize,
    places: usize,
    queue: Option<u32>,
    /// Arrival, duration, and if dropped after how long; in tenths of a millisecond.
    requests: Vec<(u32, u32, Option<u32>)>,
    /// Time and victim of each kill; the highest number is the balancer.
    kills: Vec<(u32, usize)>,
    bad: Vec<usize>,
}

fn plans() -> impl Strategy<Value = Plan> {
    let policies = prop_oneof![
        Just(LoadPolicy::CENTRAL),
        Just(LoadPolicy::Central { per_worker: 2, skip_slow: true }),
        Just(LoadPolicy::LeastLoaded),
        Just(LoadPolicy::TwoChoices),
        Just(LoadPolicy::RoundRobin),
        Just(LoadPolicy::Random),
        Just(LoadPolicy::ShortFirst { ageing: 0.05 }),
        Just(LoadPolicy::Reserve { workers: 1, short: MS, ageing: 0.05 }),
    ];
    let requests =
        prop::collection::vec((0..200u32, 0..60u32, prop::option::weighted(0.2, 0..50u32)), 1..60);
    (
        policies,
        any::<bool>(),
        0..3u8,
        1..4usize,
        1..3usize,
        prop::option::of(0..4u32),
        requests,
        prop::collection::vec((0..260u32, 0..5usize), 0..30),
        prop::collection::vec(0..60usize, 0..5),
    )
        .prop_map(
            |(policy, idempotent, spread, workers, places, queue, requests, kills, bad)| Plan {
                policy,
                idempotent: idempotent || spread > 0,
                spread,
                workers,
                places,
                queue,
                requests,
                kills,
                bad,
            },
        )
}

#[derive(Clone, Copy, Debug)]
struct Request {
    number: usize,
    takes: Duration,
    bad: bool,
}

/// Outcome of a run as text, to compare two runs.
fn play(plan: &Plan) -> Result<String, TestCaseError> {
    let unit = MS / 10;
    virtually(async |clock| {
        let own = clock.clone();
        let begun = Arc::new(Mutex::new(vec![0u32; plan.requests.len()]));
        let log = begun.clone();
        let mut builder = Balancer::of(move |_| {
            let (clock, log) = (own.clone(), log.clone());
            from_fn(move |request: Request| {
                let (clock, log) = (clock.clone(), log.clone());
                async move {
                    log.lock().unwrap()[request.number] += 1;
                    clock.sleep(request.takes).await;
                    assert!(!request.bad, "bad");
                    request.number
                }
            })
        })
        .name("desk")
        .policy(plan.policy)
        .workers(plan.workers)
        .concurrency(plan.places)
        .queue(plan.queue)
        .cost(|request: &Request| Some(request.takes))
        .clock(clock.clone());
        builder = match (plan.spread, plan.idempotent) {
            (0, true) => builder.idempotent(3),
            (0, false) => builder,
            (1, _) => builder.replicated(2),
            _ => builder.hedged(Hedge { after: After::Delay(MS), budget: 0.5 }),
        };
        let balancer = builder.start().await.expect("a start");
        let calls = plan.requests.iter().enumerate().map(|(number, asked)| {
            let (balancer, clock) = (balancer.clone(), clock.clone());
            let (at, takes, patience) = *asked;
            let request = Request { number, takes: takes * unit, bad: plan.bad.contains(&number) };
            async move {
                clock.sleep(at * unit).await;
                let answer = match patience {
                    None => Some(balancer.call(request).await),
                    Some(patience) => tokio::select! {
                        biased;
                        answer = balancer.call(request) => Some(answer),
                        () = clock.sleep(patience * unit) => None,
                    },
                };
                (number, answer)
            }
        });
        let killer = async {
            let mut kills = plan.kills.clone();
            kills.sort_unstable();
            for (at, who) in kills {
                clock.sleep_until(gopherworks_supervision::clock::Time::ZERO + at * unit).await;
                let name = match who {
                    4 => "desk".to_owned(),
                    who => format!("desk/{}", who % plan.workers + 1),
                };
                balancer.supervisor().kill(name.as_str());
            }
        };
        let (answers, ()) = tokio::join!(join_all(calls), killer);
        settle().await;
        let figures = balancer.figures();
        let counts = figures.counts;
        let mut told = (0, 0);
        for (number, answer) in &answers {
            match answer {
                Some(Ok(answer)) => {
                    prop_assert_eq!(answer, number, "somebody else's answer");
                    prop_assert!(!plan.bad.contains(number));
                    told.0 += 1;
                }
                Some(Err(CallError::WorkerLost { .. })) => told.1 += 1,
                Some(Err(other)) => prop_assert!(false, "{}: {}", number, other),
                None => {}
            }
            let times = begun.lock().unwrap()[*number];
            if !plan.idempotent {
                prop_assert!(times <= 1, "{} was begun {} times", number, times);
            }
        }
        prop_assert_eq!(figures.open, 0);
        prop_assert_eq!((counts.answered, counts.failed), told);
        prop_assert_eq!(counts.asked, counts.answered + counts.failed + counts.cancelled);
        prop_assert!(figures.loads.workers.iter().all(|worker| worker.pending == 0));
        Ok(format!("{answers:?} {counts:?} {:?}", clock.now()))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_caller_hears_once(plan in plans()) {
        let first = play(&plan)?;
        prop_assert_eq!(first, play(&plan)?, "the same seed gives the same run");
    }
}
