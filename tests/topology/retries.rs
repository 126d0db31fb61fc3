//! Books that fail: when they are retried, which books are charged, and what a delay before a retry
//! must not affect.

use crate::support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use gopherworks::catalog::Catalog;
use gopherworks::config::elements::RetryConfig;
use gopherworks::pipeline::burn::Burn;
use gopherworks::report::RunOutcome;
use gopherworks::topology::Event;
use gopherworks::{Book, Failure, TopologyConfig};
use support::kinds::{Record, hush};
use support::virtual_time::{in_virtual_time, topology};

const ALL: &str = "load push unload return";

fn patient(config: &mut TopologyConfig) {
    config.supervision.intensity = 1_000;
    config.supervision.in_a_row = 1_000;
    config.supervision.backoff.min = Duration::from_millis(1);
    config.supervision.backoff.max = Duration::from_millis(1);
}

/// A job that fails is tried again after 1, 2, 4 and 4 s, without jitter; one that never works is a
/// dead letter after its fifth attempt, and no other book waits for it.
#[test]
fn attempts_are_delayed_ever_longer_and_hold_up_no_other_book() {
    in_virtual_time(async |clock| {
        let mut catalog = Catalog::standard();
        let (times, now) = (Arc::new(std::sync::Mutex::new(Vec::new())), clock.clone());
        let noted = times.clone();
        catalog.add_inline_burn_fn("job", "Fails for a bad book", move |book: &Book| {
            let body = book.body.read_all(16).unwrap();
            noted.lock().unwrap().push((body.clone(), now.now()));
            match &body[..] {
                b"bad" => Err(Failure::transient("bad")),
                _ => Ok(()),
            }
        });
        let mut config = TopologyConfig::builder("jobs")
            .pile("inbox", |pile| pile)
            .incinerator("out", |fire| fire.burn("job"))
            .crew("crew", "inbox", "out", |crew| crew.gophers(1, ALL).cart_books(1))
            .build();
        let inbox = config.piles.get_mut("inbox").unwrap();
        inbox.max_attempts = 5;
        let [min, max] = [1, 4].map(Duration::from_secs);
        inbox.retry = Some(RetryConfig { min, max, jitter: 0.0 });
        let running = topology(&config, &catalog, &clock).start().await.unwrap();
        running.offer("inbox", vec![Book::new("bad"), Book::new("good")]).await.unwrap();
        let report = running.drain(None).await;
        assert_eq!((report.ledger.burned, report.ledger.dead), (1, 1));
        let times = times.lock().unwrap();
        let bad: Vec<_> =
            times.iter().filter(|(body, _)| body == "bad").map(|(_, at)| *at).collect();
        let gaps: Vec<_> = bad.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
        assert_eq!(gaps, [1, 2, 4, 4]);
        let good = times.iter().find(|(body, _)| body == "good").unwrap().1;
        assert!(good < bad[1], "{times:?}");
    });
}

#[test]
fn a_book_may_fall_due_while_every_cart_is_away() {
    in_virtual_time(async |clock| {
        let tries = Arc::new(AtomicU32::new(0));
        let counted = tries.clone();
        let mut catalog = Catalog::standard();
        catalog.add_inline_work_fn(
            "later",
            "Fails once, and asks for a rest",
            move |book: Book| match counted.fetch_add(1, Ordering::Relaxed) {
                0 => Err(Failure::transient("not yet").after(Duration::from_millis(5))),
                _ => Ok(Some(book)),
            },
        );
        // The only cart returns for 50 ms while the book becomes due after 5 ms.
        let config = TopologyConfig::builder("rest")
            .pile("desk", |pile| pile)
            .incinerator("out", |fire| fire.burn("count"))
            .crew("crew", "desk", "out", |crew| {
                crew.gophers(1, ALL)
                    .cart_books(1)
                    .work("later")
                    .return_(gopherworks::config::builder::wait(Duration::from_millis(50)))
            })
            .build();
        let running = topology(&config, &catalog, &clock).start().await.unwrap();
        running.offer("desk", vec![Book::new("a"), Book::new("b")]).await.unwrap();
        let report = running.drain(None).await;
        assert_eq!((report.ledger.burned, report.ledger.dead), (2, 0));
        assert_eq!(tries.load(Ordering::Relaxed), 3);
        assert!(report.ledger.balances());
    });
}

/// Burns a cart in one call, and panics at one book.
struct Poisoned {
    together: Arc<AtomicU32>,
    burned: Record,
}

impl Poisoned {
    fn one(&self, book: &Book) {
        if book.id.0 == 3 {
            panic!("boom at 3");
        }
        self.burned.note(book);
    }
}

impl Burn for Poisoned {
    fn burn(&self, book: &Book) -> Result<(), Failure> {
        self.one(book);
        Ok(())
    }

    fn burn_cart(&self, books: &[&Book]) -> Option<Vec<Result<(), Failure>>> {
        self.together.fetch_add(1, Ordering::Relaxed);
        if books.iter().any(|book| book.id.0 == 3) {
            panic!("boom at 3");
        }
        books.iter().for_each(|book| self.one(book));
        Some(vec![Ok(()); books.len()])
    }

    fn blocks(&self) -> bool {
        false
    }
}

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct NoOptions {}

#[test]
fn a_panic_over_a_whole_cart_charges_the_poison_book_alone() {
    hush();
    in_virtual_time(async |clock| {
        let (together, burned) = (Arc::new(AtomicU32::new(0)), Record::default());
        let (seen, noted) = (together.clone(), burned.clone());
        let mut catalog = Catalog::standard();
        catalog.add_burn("poisoned", "Panics at one book", move |_: &NoOptions, _| {
            Ok(Poisoned { together: seen.clone(), burned: noted.clone() })
        });
        let mut config = TopologyConfig::builder("poison")
            .pile("desk", |pile| pile.max_attempts(2))
            .incinerator("out", |fire| fire.burn("poisoned"))
            .crew("crew", "desk", "out", |crew| crew.gophers(1, ALL).cart_books(5))
            .build();
        patient(&mut config);
        let running = topology(&config, &catalog, &clock).start().await.unwrap();
        let books = (0..10).map(|n| Book::new(format!("{n}"))).collect();
        running.offer("desk", books).await.unwrap();
        running.close_offers();
        let done = running.done().await;
        let report = running.finish(done).await;
        assert_eq!((report.ledger.burned, report.ledger.dead), (9, 1));
        assert!(report.ledger.balances());
        assert_eq!(burned.sorted(), [1, 2, 4, 5, 6, 7, 8, 9, 10]);
        let dead = running.dead();
        assert_eq!((dead[0].book.id.0, dead[0].attempts), (3, 2));
        assert!(dead[0].reason.contains("boom at 3"), "{}", dead[0].reason);
        assert!(together.load(Ordering::Relaxed) >= 2, "carts without trouble burn together");
    });
}

#[test]
fn offers_that_wait_are_refused_when_the_run_gives_up() {
    hush();
    in_virtual_time(async |clock| {
        let mut catalog = Catalog::standard();
        catalog.add_inline_burn_fn("crash", "Panics", |_: &Book| panic!("boom"));
        let mut config = TopologyConfig::builder("hopeless")
            .pile("desk", |pile| pile.capacity_books(2).max_attempts(100))
            .incinerator("out", |fire| fire.burn("crash"))
            .crew("crew", "desk", "out", |crew| crew.gophers(1, ALL).cart_books(1))
            .build();
        config.supervision.intensity = 2;
        let running = topology(&config, &catalog, &clock).start().await.unwrap();
        let mut offered = 0;
        // If waiting offers did not end, this loop would not.
        while running.offer("desk", vec![Book::new("x")]).await.is_ok() {
            offered += 1;
        }
        let report = running.finish(running.done().await).await;
        assert!(
            matches!(&report.outcome, RunOutcome::Escalated(reason) if reason.contains("out")),
            "{:?}",
            report.outcome
        );
        assert_eq!((report.ledger.offered, report.ledger.in_flight), (offered, offered));
        assert!(report.ledger.balances());
        assert!(running.try_offer("desk", vec![Book::new("late")]).is_err());
    });
}

#[test]
fn an_end_that_was_dropped_is_finished_by_the_next_and_told_alike_to_all() {
    in_virtual_time(async |clock| {
        let catalog = Catalog::standard();
        let config = TopologyConfig::builder("twice")
            .pile("desk", |pile| pile)
            .incinerator("out", |fire| fire.burn("count"))
            .crew("crew", "desk", "out", |crew| {
                crew.gophers(1, ALL)
                    .cart_books(1)
                    .push(gopherworks::config::builder::wait(Duration::from_millis(10)))
            })
            .build();
        let running = topology(&config, &catalog, &clock).start().await.unwrap();
        running.offer("desk", vec![Book::new("a"), Book::new("b")]).await.unwrap();
        {
            // Started, and dropped at the first opportunity.
            let drain = std::pin::pin!(running.drain(None));
            let soon = std::pin::pin!(clock.sleep(Duration::from_millis(3)));
            futures_util::future::select(drain, soon).await;
        }
        let (a, b) = (running.clone(), running.clone());
        let (a, b) = futures_util::future::join(a.drain(None), b.drain(None)).await;
        assert_eq!((a.outcome, b.outcome), (RunOutcome::Finished, RunOutcome::Finished));
        assert_eq!((a.ledger, b.ledger.burned), (b.ledger, 2));
        assert_eq!(running.stop().await.outcome, RunOutcome::Finished);
    });
}

/// Is unavailable for the first `tries` attempts, then burns.
fn unavailable(catalog: &mut Catalog, tries: u32, burned: &Record) -> Arc<AtomicU32> {
    let count = Arc::new(AtomicU32::new(0));
    let (tried, noted) = (count.clone(), burned.clone());
    catalog.add_inline_burn_fn("full", "Is full at first", move |book: &Book| {
        // The first book is accepted.
        if book.id.0 > 1 && tried.fetch_add(1, Ordering::Relaxed) < tries {
            return Err(Failure::unavailable("no room"));
        }
        noted.note(book);
        Ok(())
    });
    count
}

#[test]
fn a_sink_that_takes_nothing_pauses_and_charges_no_book() {
    in_virtual_time(async |clock| {
        let (mut catalog, burned) = (Catalog::standard(), Record::default());
        let tries = unavailable(&mut catalog, 6, &burned);
        let config = TopologyConfig::builder("full")
            .pile("desk", |pile| pile.max_attempts(1))
            .incinerator("out", |fire| fire.burn("full"))
            .crew("crew", "desk", "out", |crew| crew.gophers(3, ALL).carts(5).cart_books(4))
            .build();
        let running = topology(&config, &catalog, &clock).start().await.unwrap();
        let events = running.events();
        let books = (0..100).map(|n| Book::new(format!("{n}"))).collect();
        running.offer("desk", books).await.unwrap();
        let began = clock.now();
        let report = running.drain(None).await;
        assert_eq!(report.outcome, RunOutcome::Finished);
        assert_eq!((report.ledger.burned, report.ledger.dead), (100, 0));
        assert_eq!((report.restarts, report.ledger.reburned), (0, 0));
        assert_eq!(burned.sorted(), (1..=100).collect::<Vec<_>>());
        // One attempt per pause: 0.1, 0.2, 0.4, 0.8, 1.6 and 3.2 s, less random jitter.
        assert_eq!(tries.load(Ordering::Relaxed), 6 + 99);
        let took = clock.now() - began;
        assert!(took > Duration::from_secs(4) && took < Duration::from_secs(7), "{took:?}");
        let told: Vec<Event> = events
            .take_while(|event| std::future::ready(*event != Event::Ended))
            .filter(|event| {
                let told = matches!(event, Event::Unavailable { .. } | Event::Available { .. });
                std::future::ready(told)
            })
            .collect()
            .await;
        assert!(
            matches!(
                &told[..],
                [Event::Unavailable { node, reason, .. }, Event::Available { .. }]
                    if node == "out" && reason == "no room"
            ),
            "{told:?}"
        );
    });
}

#[test]
fn a_stop_ends_a_pause_at_once_and_says_what_was_waited_for() {
    in_virtual_time(async |clock| {
        let (mut catalog, burned) = (Catalog::standard(), Record::default());
        unavailable(&mut catalog, u32::MAX, &burned);
        let config = TopologyConfig::builder("full")
            .pile("desk", |pile| pile)
            .incinerator("out", |fire| fire.burn("full"))
            .crew("crew", "desk", "out", |crew| crew.gophers(1, ALL).cart_books(4))
            .build();
        let running = topology(&config, &catalog, &clock).start().await.unwrap();
        let books = (0..10).map(|n| Book::new(format!("{n}"))).collect();
        running.offer("desk", books).await.unwrap();
        clock.sleep(Duration::from_secs(5)).await;
        assert_eq!(running.pauses().len(), 1);
        let began = clock.now();
        let late = Duration::from_secs(2);
        let report = running.drain(Some(late)).await;
        assert_eq!(report.outcome, RunOutcome::DeadlinePassed);
        assert!(clock.now() - began < late + Duration::from_secs(1));
        assert_eq!((report.ledger.burned, report.ledger.in_flight), (1, 9));
        assert!(report.ledger.balances());
        assert!(
            report.failures.iter().any(|text| text.contains("no room")),
            "{:?}",
            report.failures
        );
    });
}

#[test]
fn a_sink_that_is_closed_ends_the_run_and_the_rest_stays() {
    in_virtual_time(async |clock| {
        let mut catalog = Catalog::standard();
        catalog.add_source_iter("many", "A million", || {
            (0..1_000_000).map(|n: u32| Book::new(n.to_string()))
        });
        let burned = Arc::new(AtomicU32::new(0));
        let count = burned.clone();
        catalog.add_burn_fn("pipe", "Is closed after ten", move |_: &Book| {
            match count.fetch_add(1, Ordering::Relaxed) {
                0..10 => Ok(()),
                _ => Err(Failure::closed("no reader")),
            }
        });
        let config = TopologyConfig::builder("pipe")
            .pile("desk", |pile| pile.capacity_books(50).source("many"))
            .incinerator("out", |fire| fire.burn("pipe"))
            .crew("crew", "desk", "out", |crew| crew.gophers(1, ALL).cart_books(4))
            .build();
        let running = topology(&config, &catalog, &clock).start().await.unwrap();
        let done = running.done().await;
        assert!(!running.is_running());
        let report = running.finish(done).await;
        let RunOutcome::SinkClosed(sink) = &report.outcome else {
            panic!("{:?}", report.outcome);
        };
        assert_eq!((sink.node.as_str(), sink.reason.as_str()), ("out", "no reader"));
        assert_eq!((report.ledger.burned, report.ledger.dead), (10, 0));
        assert!(report.ledger.balances() && report.ledger.offered < 10_000);
    });
}

#[test]
fn work_that_lacks_what_it_needs_pauses_the_crew_and_charges_no_book() {
    in_virtual_time(async |clock| {
        let (mut catalog, burned) = (Catalog::standard(), Record::default());
        let noted = burned.clone();
        catalog.add_inline_burn_fn("record", "Notes the ids", move |book| {
            noted.note(book);
            Ok(())
        });
        let tries = Arc::new(AtomicU32::new(0));
        let count = tries.clone();
        catalog.add_work_fn("scratch", "Is full at first", move |book: Book| {
            match count.fetch_add(1, Ordering::Relaxed) {
                2..6 => Err(Failure::unavailable("the scratch folder is full")),
                _ => Ok(Some(book)),
            }
        });
        let config = TopologyConfig::builder("scratch")
            .pile("desk", |pile| pile.max_attempts(1))
            .dump("middle", |dump| dump)
            .incinerator("out", |fire| fire.burn("record"))
            .crew("near", "desk", "middle", |crew| {
                crew.gophers(1, ALL).cart_books(4).work("scratch")
            })
            .crew("far", "middle", "out", |crew| crew.gophers(1, ALL).cart_books(4))
            .build();
        let running = topology(&config, &catalog, &clock).start().await.unwrap();
        let books = (0..10).map(|n| Book::new(format!("{n}"))).collect();
        running.offer("desk", books).await.unwrap();
        let report = running.drain(None).await;
        assert_eq!((report.ledger.burned, report.ledger.dead), (10, 0));
        assert_eq!((tries.load(Ordering::Relaxed), report.restarts), (14, 0));
        assert_eq!(burned.sorted(), (1..=10).collect::<Vec<_>>());
    });
}
