//! Tests of each load, and of a requester that is killed.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::load::{Arrivals, Load, Order, Rate};
use super::*;
use crate::job::{Job, Serve, Served, Serving};
use gopherworks_balancer::__private::{BalancerCore, Parts, Settings, children};
use gopherworks_balancer::Priority;
use gopherworks_supervision::clock::{Clock, Seed};
use gopherworks_supervision::pool::Pool;
use gopherworks_supervision::span::Span;
use gopherworks_supervision::{Child, ChildThread, RestartPolicy, Supervisor, SupervisorHandle};

const MS: Duration = Duration::from_millis(1);

struct Sleeps(Clock);

impl Serve for Sleeps {
    fn serve(&mut self, job: Job) -> Serving<'_> {
        Box::pin(async move {
            self.0.sleep((1 + job.number % 3) as u32 * 10 * MS).await;
            Ok(None)
        })
    }
}

fn setup(
    clock: &Clock,
    load: Load,
    order: Order,
    queue: u32,
) -> (Arc<RequesterCore>, SupervisorHandle, Arc<AtomicUsize>) {
    let own = clock.clone();
    let core = BalancerCore::new(Parts {
        name: "desk".into(),
        settings: Settings { workers: 3, queue: Some(queue), ..Settings::default() },
        make: Arc::new(move |_| Ok(Served::new(Box::new(Sleeps(own.clone())), false))),
        again: None,
        cost: None,
        failed: None,
        clock: clock.clone(),
        seed: Seed(1),
        pool: Arc::new(Pool::none()),
        tracer: None,
        idle: None,
    });
    let ended = Arc::new(AtomicUsize::new(0));
    let told = ended.clone();
    let requester = RequesterCore::new(RequesterParts {
        name: "crowd".into(),
        to: core.clone(),
        load,
        priority: Priority::default(),
        keys: None,
        order,
        time_scale: 1.0,
        failed: None,
        ended: Arc::new(move || {
            told.fetch_add(1, Ordering::SeqCst);
        }),
    });
    let mut all = children(&core, |_| ChildThread::Here, MS);
    let own = requester.clone();
    all.push(Child::new("crowd", &requester.port, move |_| Ok(Requester::new(own.clone()))));
    let policy =
        RestartPolicy { intensity: u32::MAX, in_a_row: u32::MAX, ..RestartPolicy::default() };
    let supervisor = Supervisor::start(policy, clock.clone(), Seed(1), all);
    (requester, supervisor, ended)
}

fn virtually<F: Future>(body: impl FnOnce(Clock) -> F) -> F::Output {
    let system = actix_rt::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime")
    });
    // Boxed: a runtime is compiled for each type of future.
    let body: Pin<Box<dyn Future<Output = F::Output> + '_>> = Box::pin(async move {
        let clock = Clock::simulated();
        actix_rt::spawn(clock.driver());
        body(clock).await
    });
    system.block_on(body)
}

#[test]
fn each_load_asks_so_often_and_hears_as_often() {
    let loads = [
        Load::Closed { count: 7, think: Span::Uniform(Duration::ZERO, 5 * MS), requests: Some(50) },
        Load::Open {
            rate: Rate::PerSecond(100.0),
            arrivals: Arrivals::Poisson,
            requests: Some(50),
        },
        Load::Open { rate: Rate::PerSecond(100.0), arrivals: Arrivals::Fixed, requests: Some(50) },
        Load::Batch { requests: 50 },
    ];
    for load in loads {
        for order in [Order::Completion, Order::Input] {
            virtually(async |clock| {
                let (crowd, supervisor, ended) = setup(&clock, load, order, 2);
                clock.sleep(Duration::from_secs(3)).await;
                let heard = crowd.figures();
                assert_eq!((heard.asked, heard.answered, heard.lost()), (50, 50, 0), "{load:?}");
                assert_eq!(ended.load(Ordering::SeqCst), 1);
                assert!(crowd.is_done());
                supervisor.kill_all();
            });
        }
    }
}

#[test]
fn a_requester_that_is_killed_goes_on_where_it_was() {
    let load = Load::Closed { count: 5, think: Span::Exponential(3 * MS), requests: Some(200) };
    let played = |kills: u32| {
        virtually(async |clock| {
            let (crowd, supervisor, ended) = setup(&clock, load, Order::Completion, 2);
            for _ in 0..kills {
                clock.sleep(7 * MS).await;
                supervisor.kill("crowd");
            }
            clock.sleep(Duration::from_secs(600)).await;
            let heard = crowd.figures();
            assert_eq!((heard.asked, heard.answered, heard.lost()), (200, 200, 0));
            assert_eq!(ended.load(Ordering::SeqCst), 1);
            supervisor.kill_all();
        });
    };
    played(0);
    played(60);
}

#[test]
fn one_that_is_closed_waits_for_what_it_has_asked() {
    let endless = [
        Load::Closed { count: 5, think: Span::Fixed(MS), requests: None },
        Load::Open { rate: Rate::PerSecond(500.0), arrivals: Arrivals::Poisson, requests: None },
    ];
    for load in endless {
        virtually(async |clock| {
            let (crowd, supervisor, _) = setup(&clock, load, Order::Completion, 4);
            clock.sleep(95 * MS).await;
            assert!(crowd.figures().in_flight > 0);
            crowd.close();
            clock.sleep(Duration::from_secs(3)).await;
            let heard = crowd.figures();
            assert!(crowd.is_done());
            assert_eq!((heard.in_flight, heard.lost()), (0, 0));
            assert_eq!(heard.asked, heard.answered);
            supervisor.kill_all();
        });
    }
}
