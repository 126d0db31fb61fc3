//! Books that fail: when they are tried again, who else is charged, and what a rest before a retry must not do.

use crate::support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use gopherworks::actors::burn::Burn;
use gopherworks::catalog::Catalog;
use gopherworks::report::Outcome;
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
        // The one cart is on its way back for 50 ms when the book falls due after 5.
        let config = TopologyConfig::builder("rest")
            .pile("desk", |pile| pile)
            .incinerator("out", |fire| fire.burn("count"))
            .crew("crew", "desk", "out", |crew| {
                crew.gophers(1, ALL).cart_books(1).work("later").return_(
                    gopherworks::config::builder::wait(Duration::from_millis(50)),
                )
            })
            .build();
        let running = topology(&config, &catalog, &clock).start().await.unwrap();
        running
            .offer("desk", vec![Book::new("a"), Book::new("b")])
            .await
            .unwrap();
        let report = running.drain(None).await;
        assert_eq!((report.ledger.burned, report.ledger.dead), (2, 0));
        assert_eq!(tries.load(Ordering::Relaxed), 3);
        assert!(report.ledger.balances());
    });
}

/// Burns carts together, and panics at one book.
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
            Ok(Poisoned {
                together: seen.clone(),
                burned: noted.clone(),
            })
        });
        let mut config = TopologyConfig::builder("poison")
            .pile("desk", |pile| pile.max_attempts(2))
            .incinerator("out", |fire| fire.burn("poisoned"))
            .crew("crew", "desk", "out", |crew| {
                crew.gophers(1, ALL).cart_books(5)
            })
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
        assert!(
            together.load(Ordering::Relaxed) >= 2,
            "carts without trouble burn together"
        );
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
            .crew("crew", "desk", "out", |crew| {
                crew.gophers(1, ALL).cart_books(1)
            })
            .build();
        config.supervision.intensity = 2;
        let running = topology(&config, &catalog, &clock).start().await.unwrap();
        let mut offered = 0;
        // Without an end to waiting offers this loop never ends.
        while running.offer("desk", vec![Book::new("x")]).await.is_ok() {
            offered += 1;
        }
        let report = running.finish(running.done().await).await;
        assert!(
            matches!(&report.outcome, Outcome::Escalated(reason) if reason.contains("out")),
            "{:?}",
            report.outcome
        );
        assert_eq!(
            (report.ledger.offered, report.ledger.in_flight),
            (offered, offered)
        );
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
                    .push(gopherworks::config::builder::wait(Duration::from_millis(
                        10,
                    )))
            })
            .build();
        let running = topology(&config, &catalog, &clock).start().await.unwrap();
        running
            .offer("desk", vec![Book::new("a"), Book::new("b")])
            .await
            .unwrap();
        {
            // Begun, and given up at the first chance.
            let drain = std::pin::pin!(running.drain(None));
            let soon = std::pin::pin!(clock.sleep(Duration::from_millis(3)));
            futures_util::future::select(drain, soon).await;
        }
        let (a, b) = (running.clone(), running.clone());
        let (a, b) = futures_util::future::join(a.drain(None), b.drain(None)).await;
        assert_eq!(
            (a.outcome, b.outcome),
            (Outcome::Finished, Outcome::Finished)
        );
        assert_eq!((a.ledger, b.ledger.burned), (b.ledger, 2));
        assert_eq!(running.stop().await.outcome, Outcome::Finished);
    });
}
