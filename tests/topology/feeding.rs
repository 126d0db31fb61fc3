//! Sources that fail, panic, pause, or end early: their books are burned once, whichever actors die
//! meanwhile.

use crate::support;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use actix_rt::System;
use futures_util::StreamExt;
use gopherworks::catalog::Catalog;
use gopherworks::config::builder::kind;
use gopherworks::config::elements::TopologyConfig;
use gopherworks::pipeline::book::Book;
use gopherworks::pipeline::source::{Receipts, Source};
use gopherworks::report::RunOutcome;
use gopherworks::supervision::failure::Failure;
use gopherworks::topology::{Event, Options, Topology};
use proptest::prelude::*;
use support::designs::{
    CrewDesign, Design, assert_balanced, design, kill_all_along, kills, use_clock,
};
use support::kinds::{Record, cases, catalog, hush};
use support::virtual_time::{in_virtual_time, topology};
use support::watchdog::watchdog;

/// The result of one call of a source.
#[derive(Debug, Clone)]
enum Act {
    Give(u64),
    Nothing,
    Fail,
    Panic,
    Ruin,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (1u64..12).prop_map(Act::Give),
        1 => Just(Act::Nothing),
        2 => Just(Act::Fail),
        1 => Just(Act::Panic),
    ]
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct NoOptions {}

type Script = Arc<Mutex<VecDeque<Act>>>;

struct Scripted {
    script: Script,
    given: Arc<AtomicU64>,
    blocks: bool,
}

impl Source for Scripted {
    fn next(&mut self, want: usize) -> Result<Option<Vec<Book>>, Failure> {
        let act = self.script.lock().unwrap().pop_front();
        match act {
            Some(Act::Give(count)) => {
                let count = count.min(want as u64);
                let first = self.given.fetch_add(count, Ordering::AcqRel);
                Ok(Some((0..count).map(|n| Book::new((first + n + 1).to_string())).collect()))
            }
            Some(Act::Nothing) => Ok(Some(Vec::new())),
            Some(Act::Fail) => Err(Failure::transient("boom: not now")),
            Some(Act::Panic) => panic!("boom in the source"),
            Some(Act::Ruin) => Err(Failure::permanent("boom: the disk is gone")),
            None => Ok(None),
        }
    }

    fn blocks(&self) -> bool {
        self.blocks
    }
}

fn scripted(catalog: &mut Catalog, script: Vec<Act>, blocks: bool) -> Arc<AtomicU64> {
    let script: Script = Arc::new(Mutex::new(script.into()));
    let given = Arc::new(AtomicU64::new(0));
    let count = given.clone();
    catalog.add_source("scripted", "", move |_: &NoOptions, _| {
        Ok(Scripted { script: script.clone(), given: count.clone(), blocks })
    });
    given
}

proptest! {
    #![proptest_config(cases(120))]

    /// Transient errors and panics of a source, and kills of any actor, neither lose nor duplicate
    /// books; a permanent failure ends only the source, and the report says so.
    #[test]
    fn what_a_source_gave_is_burned_once(
        design in design(1),
        mut script in prop::collection::vec(act(), 0..12),
        kills in kills(20),
        blocks in any::<bool>(),
        ruin in prop::option::of(0usize..12),
    ) {
        hush();
        let ruin = ruin.map(|at| at.min(script.len()));
        if let Some(at) = ruin {
            script.insert(at, Act::Ruin);
        }
        let expected: u64 = script[..ruin.unwrap_or(script.len())]
            .iter()
            .map(|act| if let Act::Give(count) = act { *count } else { 0 })
            .sum();
        let record = Record::default();
        let mut catalog = catalog(0, &record);
        let given = scripted(&mut catalog, script, blocks);
        let config = design.config(Some("scripted"), "record", &[]);
        let report = in_virtual_time(|clock| async move {
            use_clock(&clock);
            let running = topology(&config, &catalog, &clock).start().await.expect("it starts");
            running.close_offers();
            kill_all_along(&running, &design, &kills).await;
            let done = running.done().await;
            assert_balanced(&running, &design);
            running.finish(done).await
        });
        prop_assert_eq!(&report.outcome, &RunOutcome::Finished);
        prop_assert!(report.ledger.balances());
        prop_assert_eq!(given.load(Ordering::Acquire), expected, "an ended source is not read \
            again");
        prop_assert_eq!((report.ledger.offered, report.ledger.burned), (expected, expected));
        prop_assert_eq!(record.sorted(), (1..=expected).collect::<Vec<_>>());
        match ruin {
            Some(_) => prop_assert!(report.failures.iter().any(|reason| reason.contains("the disk \
                is gone") && reason.contains("manuals")), "{:?}", report.failures),
            None => prop_assert!(report.failures.is_empty(), "{:?}", report.failures),
        }
    }
}

#[test]
fn reads_that_are_tried_again_are_among_the_reasons_of_the_report() {
    hush();
    for blocks in [false, true] {
        let design = Design::plain(0, CrewDesign::plain(2));
        let mut catalog = catalog(0, &Record::default());
        let script = vec![Act::Fail, Act::Give(3), Act::Panic, Act::Fail];
        scripted(&mut catalog, script, blocks);
        let config = design.config(Some("scripted"), "record", &[]);
        let report = in_virtual_time(|clock| async move {
            let running = topology(&config, &catalog, &clock).start().await.unwrap();
            running.close_offers();
            let done = running.done().await;
            running.finish(done).await
        });
        assert_eq!((report.outcome, report.ledger.burned), (RunOutcome::Finished, 3));
        let reasons: Vec<_> = (report.reasons.iter())
            .map(|row| (&*row.node, row.reason.as_deref(), row.count, row.final_count, &*row.first))
            .collect();
        let of = "manuals.source";
        assert_eq!(
            reasons,
            [
                (of, Some("boom: not now"), 2, 0, "a read"),
                (of, Some("panicked: boom in the source"), 1, 0, "a read"),
            ]
        );
    }
}

/// Gives as many books of 1 MiB as requested, and records the requested numbers.
struct Heavy(Arc<Mutex<Vec<usize>>>, bool);

impl Source for Heavy {
    fn next(&mut self, want: usize) -> Result<Option<Vec<Book>>, Failure> {
        let mut wants = self.0.lock().unwrap();
        if wants.len() == 20 {
            return Ok(None);
        }
        wants.push(want);
        // The size of books is known only after the first one.
        let count = if wants.len() == 1 { 1 } else { want };
        let body = vec![0; 1 << 20];
        Ok(Some((0..count).map(|_| Book::new(body.clone())).collect()))
    }

    fn blocks(&self) -> bool {
        self.1
    }
}

#[test]
fn of_large_books_no_more_are_read_ahead_than_fit_in_memory() {
    for blocks in [false, true] {
        let wants = Arc::new(Mutex::new(Vec::new()));
        let mut catalog = catalog(0, &Record::default());
        let noted = wants.clone();
        catalog.add_source("heavy", "", move |_: &NoOptions, _| Ok(Heavy(noted.clone(), blocks)));
        let design = Design::plain(0, CrewDesign::plain(2));
        let config = design.config(Some("heavy"), "record", &[]);
        let report = in_virtual_time(|clock| async move {
            let running = topology(&config, &catalog, &clock).start().await.unwrap();
            running.close_offers();
            let done = running.done().await;
            running.finish(done).await
        });
        let wants = wants.lock().unwrap();
        assert_eq!(wants.len(), 20);
        assert!(wants[0] > 8, "the size of the books is not known yet");
        assert!(wants[1..].iter().all(|want| *want <= 8), "{wants:?}");
        let read = 1 + wants[1..].iter().sum::<usize>();
        assert_eq!((report.outcome, report.ledger.burned), (RunOutcome::Finished, read as u64));
    }
}

/// Blocks in `next` until the test gives the answer.
struct Held {
    asked: mpsc::Sender<()>,
    answers: Arc<Mutex<mpsc::Receiver<Act>>>,
}

impl Source for Held {
    fn next(&mut self, _: usize) -> Result<Option<Vec<Book>>, Failure> {
        let _ = self.asked.send(());
        match self.answers.lock().unwrap().recv() {
            Ok(Act::Give(count)) => {
                Ok(Some((0..count).map(|n| Book::new(n.to_string())).collect()))
            }
            Ok(Act::Ruin) => Err(Failure::permanent("boom: the disk is gone")),
            _ => Ok(None),
        }
    }
}

/// Kills the feeder while its source is being read; the read ends with `answer` before the next
/// feeder has started.
fn orphaned_read(answer: Act) -> gopherworks::report::Report {
    hush();
    let _watchdog = watchdog("a read that outlived its feeder", Duration::from_secs(30));
    let design = Design::plain(0, CrewDesign::plain(2));
    let record = Record::default();
    let mut catalog = catalog(0, &record);
    let (asked, was_asked) = mpsc::channel();
    let (tell, answers) = mpsc::channel();
    let answers = Arc::new(Mutex::new(answers));
    catalog.add_source("held", "", move |_: &NoOptions, _| {
        Ok(Held { asked: asked.clone(), answers: answers.clone() })
    });
    let mut config = design.config(Some("held"), "record", &[]);
    config.supervision.backoff.min = Duration::from_millis(100);
    config.supervision.backoff.max = Duration::from_millis(100);
    System::new().block_on(async move {
        let topology = Topology::from_config(&config, &catalog).expect("a valid config");
        let running = topology.start().await.expect("it starts");
        running.close_offers();
        was_asked.recv().expect("the source is asked");
        let mut events = Box::pin(running.events());
        running.kill("manuals.source");
        while !matches!(events.next().await, Some(Event::Exited { .. })) {}
        // No feeder waits for this answer now; the next life begins in 100 ms.
        tell.send(answer).expect("the source waits");
        drop(tell);
        let done = running.done().await;
        running.finish(done).await
    })
}

/// Regression: a new feeder found books that its predecessor had read, and did not put them.
#[test]
fn books_read_by_a_dead_feeder_are_put() {
    let report = orphaned_read(Act::Give(3));
    assert_eq!((report.ledger.offered, report.ledger.burned), (3, 3));
}

/// As above, for the end of the source.
#[test]
fn an_end_read_by_a_dead_feeder_is_the_end() {
    let report = orphaned_read(Act::Nothing);
    assert_eq!((report.outcome, report.ledger.offered), (RunOutcome::Finished, 0));
}

/// As above, for a permanent failure: it fails the run, whichever feeder read it.
#[test]
fn a_ruin_read_by_a_dead_feeder_fails_the_run() {
    let report = orphaned_read(Act::Ruin);
    assert!(
        report.failures.iter().any(|reason| reason.contains("the disk is gone")),
        "{:?}",
        report.failures
    );
}

/// Counts burned books whose lines are, or are not, in the file when sources may record them.
struct InFile {
    path: std::path::PathBuf,
    there: AtomicU64,
    missing: AtomicU64,
}

impl Receipts for InFile {
    fn burned(&self, books: &[&Book]) -> Result<(), Failure> {
        let text = std::fs::read_to_string(&self.path).unwrap();
        let lines: std::collections::HashSet<&str> = text.lines().collect();
        for book in books {
            let line = book.body.read_all(100).unwrap();
            let there = lines.contains(std::str::from_utf8(&line).unwrap());
            let count = if there { &self.there } else { &self.missing };
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[test]
fn a_line_is_in_its_output_before_a_source_may_record_it() {
    let _watchdog = watchdog("lines to lines", Duration::from_secs(60));
    let folder = tempfile::tempdir().unwrap();
    let (input, path) = (folder.path().join("in"), folder.path().join("out"));
    std::fs::write(&input, (0..500).map(|at| format!("line {at}\n")).collect::<String>()).unwrap();
    let lines = |path: &std::path::Path| kind("lines").option("path", path.to_str().unwrap());
    let config = TopologyConfig::builder("lines")
        .pile("in", |pile| pile.source(lines(&input)))
        .incinerator("out", |fire| fire.burn(lines(&path)))
        .crew("crew", "in", "out", |crew| {
            crew.gophers(2, "load push unload return").carts(4).cart_books(7)
        })
        .build();
    let seen = Arc::new(InFile { path, there: AtomicU64::new(0), missing: AtomicU64::new(0) });
    let options = Options { receipts: Some(seen.clone()), ..Options::default() };
    let report = System::new().block_on(async {
        let topology = Topology::from_config(&config, &Catalog::standard()).unwrap();
        topology.with_options(options).run().await.unwrap()
    });
    assert_eq!((report.outcome, report.ledger.burned), (RunOutcome::Finished, 500));
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    assert_eq!((count(&seen.there), count(&seen.missing)), (500, 0));
}
