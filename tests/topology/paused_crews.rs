//! Crews that pause, since what their work needs can't take anything, while the run drains.

use crate::support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gopherworks::catalog::Catalog;
use gopherworks::pipeline::source::Source;
use gopherworks::report::{Report, RunOutcome};
use gopherworks::{Book, Failure, TopologyConfig};
use support::virtual_time::{in_virtual_time, topology};

const BOOKS: u64 = 40;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct NoOptions {}

struct Numbers {
    next: u64,
    regains: bool,
}

impl Source for Numbers {
    fn next(&mut self, want: usize) -> Result<Option<Vec<Book>>, Failure> {
        let from = self.next;
        self.next = BOOKS.min(from + want as u64);
        let books: Vec<_> = (from..self.next).map(|n| Book::new(n.to_string())).collect();
        Ok((!books.is_empty()).then_some(books))
    }

    fn blocks(&self) -> bool {
        false
    }

    fn regains(&self) -> bool {
        self.regains
    }
}

/// What the drain of a run takes, and its report. The work has been unavailable for a minute by
/// then, so that the pause has grown to nearly 30 s. `back`: the work can take books again just
/// before the drain.
fn drained(regains: bool, back: bool, deadline: Option<Duration>) -> (Duration, Report) {
    in_virtual_time(async |clock| {
        let mut catalog = Catalog::standard();
        catalog.add_source("numbers", "", move |_: &NoOptions, _| Ok(Numbers { next: 0, regains }));
        let up = Arc::new(AtomicBool::new(false));
        let is_up = up.clone();
        catalog.add_inline_work_fn("down", "Needs what is down", move |book: Book| {
            match is_up.load(Ordering::Relaxed) {
                true => Ok(Some(book)),
                false => Err(Failure::unavailable("no connection")),
            }
        });
        let config = TopologyConfig::builder("paused")
            .pile("desk", |pile| pile.source("numbers").capacity_books(20))
            .incinerator("out", |fire| fire.burn("count"))
            .crew("crew", "desk", "out", |crew| {
                let crew = crew.gophers(3, "load push unload return").carts(4).cart_books(4);
                crew.work("down")
            })
            .build();
        let running = topology(&config, &catalog, &clock).start().await.unwrap();
        running.close_offers();
        clock.sleep(Duration::from_secs(60)).await;
        assert_eq!(running.pauses().len(), 1);
        up.store(back, Ordering::Relaxed);
        let began = clock.now();
        let report = running.drain(deadline).await;
        assert!(report.ledger.balances(), "{:?}", report.ledger);
        (clock.now() - began, report)
    })
}

const AT_ONCE: Duration = Duration::from_millis(50);

#[test]
fn a_drain_gives_back_at_once_what_waits_for_a_crew_that_pauses() {
    let (took, report) = drained(true, false, None);
    assert!(took < AT_ONCE, "{took:?}");
    assert_eq!(report.outcome, RunOutcome::Finished);
    let ledger = report.ledger;
    assert_eq!((ledger.offered, ledger.burned, ledger.in_flight), (0, 0, 0));
}

#[test]
fn a_drain_has_a_crew_that_pauses_try_again_at_once() {
    let (took, report) = drained(false, true, None);
    assert!(took < AT_ONCE, "{took:?}");
    assert_eq!(report.outcome, RunOutcome::Finished);
    assert_eq!(report.ledger.burned, report.ledger.offered);
    assert!(report.ledger.burned > 0);
}

#[test]
fn the_deadline_of_a_drain_ends_the_pause_of_a_crew_with_all_books_on_their_pile() {
    let deadline = Duration::from_millis(500);
    let (took, report) = drained(false, false, Some(deadline));
    assert!(took < deadline + AT_ONCE, "{took:?}");
    assert_eq!(report.outcome, RunOutcome::DeadlinePassed);
    let ledger = report.ledger;
    assert_eq!((ledger.burned, ledger.dead, ledger.lost), (0, 0, 0));
    assert!(ledger.in_flight == ledger.offered && ledger.offered > 0);
    let told = report.failures.iter().any(|text| text.contains("no connection"));
    assert!(told, "{:?}", report.failures);
}
