//! Pauses by an operator: what stops, what goes on, and what ends them.

mod scale;
#[cfg(feature = "simulate")]
mod steered;

use crate::support;

use std::time::Duration;

use gopherworks::catalog::Catalog;
use gopherworks::config::builder::{kind, wait};
use gopherworks::config::elements::TopologyConfig;
use gopherworks::report::RunOutcome;
use gopherworks::supervision::clock::Clock;
use gopherworks::topology::{ControlAct, ControlError, Done, NodeStatus};
use gopherworks::{Book, RunningTopology};
use support::virtual_time::{in_virtual_time, topology};

const SECOND: Duration = Duration::from_secs(1);

/// One gopher that loads in a second and one for the rest, four carts of one book each. With
/// `books`, a source gives them.
fn design(books: Option<i64>) -> TopologyConfig {
    TopologyConfig::builder("control")
        .pile("desk", |pile| match books {
            Some(books) => pile.source(kind("generate").option("books", books)).capacity_books(5),
            None => pile,
        })
        .incinerator("fire", |fire| fire.burn("count"))
        .crew("haul", "desk", "fire", |crew| {
            let crew = crew.gophers(1, "load").gophers(1, "push unload return");
            crew.carts(4).cart_books(1).load(wait(SECOND))
        })
        .build()
}

async fn start(design: &TopologyConfig, clock: &Clock) -> RunningTopology {
    let catalog = Catalog::standard();
    let running = topology(design, &catalog, clock).start().await.expect("it starts");
    if design.piles["desk"].source.is_some() {
        running.close_offers();
    }
    running
}

fn order(running: &RunningTopology, node: &str, act: ControlAct) -> bool {
    running.control(node, act, "a test").expect("it is possible").changed
}

fn row(running: &RunningTopology, name: &str) -> NodeStatus {
    running.nodes().into_iter().find(|node| node.name == name).expect("a node")
}

/// Books that are ready, leased, and burned.
fn books(running: &RunningTopology) -> (usize, usize, u64) {
    let desk = row(running, "desk").pile.expect("a pile");
    (desk.ready, desk.leased, running.snapshot().ledger.burned)
}

#[test]
fn a_paused_crew_finishes_what_is_begun_and_gives_back_the_rest_uncharged() {
    in_virtual_time(async |clock| {
        let running = start(&design(None), &clock).await;
        // Until each cart waits for books.
        clock.sleep(SECOND).await;
        running.try_offer("desk", (0..4).map(|_| Book::default()).collect()).expect("room");
        clock.sleep(SECOND / 2).await;
        assert_eq!(books(&running), (0, 4, 0), "one is loaded, three wait for that");
        assert!(order(&running, "haul", ControlAct::Pause));
        assert!(!order(&running, "haul", ControlAct::Pause), "it is paused already");
        clock.sleep(Duration::from_millis(1)).await;
        assert_eq!(books(&running), (3, 1, 0));
        let haul = row(&running, "haul");
        assert_eq!((haul.state, haul.held), ("paused", true));
        assert_eq!(haul.paused.as_deref(), Some("by a test"));
        clock.sleep(60 * SECOND).await;
        assert_eq!(books(&running), (3, 0, 1));
        // The pause is not in the actors.
        for node in ["haul", "haul/2", "desk", "fire"] {
            assert!(order(&running, node, ControlAct::Kill));
        }
        clock.sleep(60 * SECOND).await;
        assert_eq!(books(&running), (3, 0, 1));
        assert_eq!(running.snapshot().restarts, 4);
        let resumed = clock.now();
        assert!(order(&running, "haul", ControlAct::Resume));
        assert!(!order(&running, "haul", ControlAct::Resume));
        running.close_offers();
        assert_eq!(running.done().await, Done::Drained);
        assert_eq!(clock.now() - resumed, 3 * SECOND, "the time of the pause is not caught up");
        let report = running.finish(Done::Drained).await;
        assert!(report.balances() && report.reasons.is_empty(), "{report:?}");
        assert_eq!(report.ledger.burned, 4);
    });
}

#[test]
fn a_run_does_not_end_while_its_last_books_are_behind_a_pause() {
    for node in ["haul", "fire", "desk", "desk.source"] {
        in_virtual_time(async |clock| {
            let running = start(&design(Some(9)), &clock).await;
            clock.sleep(SECOND * 3 / 2).await;
            assert!(order(&running, node, ControlAct::Pause));
            let named = if node == "desk" { "desk.source" } else { node };
            assert_eq!(running.paused().into_keys().collect::<Vec<_>>(), [named]);
            if node == "desk.source" {
                assert!(!order(&running, "desk", ControlAct::Pause), "it is the same source");
            }
            let late = clock.sleep(60 * SECOND);
            tokio::select! {
                biased;
                done = running.done() => panic!("{node}: {done:?}"),
                () = late => {}
            }
            let before = running.snapshot().ledger.burned;
            // A paused source has given what was read; all books fit into one reading.
            if node.starts_with("desk") {
                assert_eq!(row(&running, "desk").state, "paused");
            } else {
                assert!(before < 9, "{node}");
            }
            assert!(order(&running, node, ControlAct::Resume));
            assert_eq!(running.done().await, Done::Drained);
            let report = running.finish(Done::Drained).await;
            assert!(report.balances() && report.ledger.burned == 9, "{node}: {report:?}");
        });
    }
}

#[test]
fn a_paused_incinerator_keeps_its_carts_and_no_crew_loads_beyond_them() {
    in_virtual_time(async |clock| {
        let running = start(&design(Some(9)), &clock).await;
        assert!(order(&running, "fire", ControlAct::Pause));
        clock.sleep(60 * SECOND).await;
        let (_, leased, burned) = books(&running);
        assert_eq!((leased, burned), (4, 0), "each cart is loaded and waits at the incinerator");
        assert_eq!(row(&running, "fire").state, "paused");
        assert!(running.pauses().is_empty(), "its sink is not to blame");
        let resumed = clock.now();
        order(&running, "fire", ControlAct::Resume);
        assert_eq!(running.done().await, Done::Drained);
        assert_eq!(clock.now() - resumed, 5 * SECOND, "four are loaded, five are not");
        assert!(running.finish(Done::Drained).await.balances());
    });
}

#[test]
fn a_drain_ends_every_pause_and_no_pause_begins_after_it() {
    in_virtual_time(async |clock| {
        let running = start(&design(None), &clock).await;
        running.try_offer("desk", (0..4).map(|_| Book::default()).collect()).expect("room");
        order(&running, "haul", ControlAct::Pause);
        order(&running, "fire", ControlAct::Pause);
        clock.sleep(60 * SECOND).await;
        running.close();
        assert!(running.paused().is_empty());
        let refused = running.control("haul", ControlAct::Pause, "a test");
        assert!(matches!(&refused, Err(ControlError::Impossible(why)) if why.contains("drained")));
        let report = running.drain(None).await;
        assert_eq!((report.outcome, report.ledger.burned), (RunOutcome::Finished, 4));
        let refused = running.control("haul", ControlAct::Kill, "a test");
        assert!(matches!(refused, Err(ControlError::Impossible(_))), "{refused:?}");
    });
}

#[test]
fn what_is_impossible_says_what_to_do_and_every_act_is_kept() {
    in_virtual_time(async |clock| {
        let running = start(&design(None), &clock).await;
        for (node, act, wanted) in [
            ("hual", ControlAct::Pause, "there is no node `hual`; did you mean `haul`?"),
            ("zzz", ControlAct::Kill, "there is no node `zzz`; `/api/nodes` lists all"),
            ("haul/1", ControlAct::Pause, "a gopher has no pause; pause its crew `haul`"),
            (
                "desk",
                ControlAct::Resume,
                "`desk` has no source to pause; pause what fills or empties it: `haul`",
            ),
        ] {
            let refused = running.control(node, act, "10.0.0.1:7").expect_err(wanted);
            assert_eq!(refused.to_string(), wanted);
        }
        let kept = running.audit();
        let last = kept.last().expect("an act");
        assert_eq!((kept.len(), last.number, last.by.as_str()), (4, 4, "10.0.0.1:7"));
        assert!(last.refused.as_ref().is_some_and(|why| why.contains("no source")));
        for _ in 0..300 {
            order(&running, "haul", ControlAct::Resume);
        }
        let kept = running.audit();
        assert_eq!((kept.len(), kept[0].number), (256, 49));
        running.stop().await;
    });
}
