//! Relays keep the order and end when their input is closed and drained, whichever actors die;
//! sources are dealt to copies.

use crate::support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gopherworks::config::builder::kind;
use gopherworks::config::elements::TopologyConfig;
use gopherworks::{Book, Catalog};

use support::virtual_time::{in_virtual_time, topology};

/// A catalog whose burn `note` records ids in the order of their burns.
fn noting() -> (Catalog, Arc<Mutex<Vec<u64>>>) {
    let burned = Arc::new(Mutex::new(Vec::new()));
    let mut catalog = Catalog::standard();
    let notes = burned.clone();
    catalog.add_burn_fn("note", "Notes ids", move |book: &Book| {
        notes.lock().unwrap().push(book.id.0);
        Ok(())
    });
    (catalog, burned)
}

fn relayed(books: i64, room: u64, carried: u64) -> TopologyConfig {
    let mut config = TopologyConfig::builder("relayed")
        .pile("a", |pile| pile.source(kind("generate").option("books", books)).capacity_books(50))
        .pile("b", |pile| pile.capacity_books(room))
        .dump("c", |dump| dump.capacity_books(room))
        .incinerator("fire", |fire| fire.burn("note"))
        .relay("first", "a", "b")
        .relay("second", "b", "c")
        .relay("third", "c", "fire")
        .supervision(|mut all| {
            all.intensity = 10_000;
            all.in_a_row = 10_000;
            all.backoff.min = Duration::from_millis(1);
            all.backoff.max = Duration::from_millis(3);
            all
        })
        .build();
    for relay in config.relays.values_mut() {
        relay.books = Some(carried);
    }
    config
}

#[test]
fn order_is_kept_and_the_end_is_passed_on() {
    for (room, carried) in [(1, 1), (7, 3), (64, 64)] {
        let (catalog, burned) = noting();
        let report = in_virtual_time(async |clock| {
            topology(&relayed(1_000, room, carried), &catalog, &clock).run().await.unwrap()
        });
        assert_eq!(report.ledger.burned, 1_000);
        assert_eq!(*burned.lock().unwrap(), (1..=1_000).collect::<Vec<u64>>(), "room {room}");
        let kinds: Vec<_> = report.nodes.iter().filter(|node| node.kind == "relay").collect();
        assert_eq!(kinds.len(), 3);
        assert!(kinds.iter().all(|relay| relay.books == 1_000));
    }
}

#[test]
fn no_relay_that_dies_loses_or_doubles_a_book() {
    for seed in 0..40u64 {
        let (catalog, burned) = noting();
        let report = in_virtual_time(async |clock| {
            let running = topology(&relayed(300, 5, 3), &catalog, &clock).start().await.unwrap();
            running.close_offers();
            let actors = running.actors();
            for at in 0..20u64 {
                clock.sleep(Duration::from_micros((seed * 37 + at * 211) % 1_500)).await;
                assert!(running.kill(&actors[((seed + at * 7) % actors.len() as u64) as usize]));
            }
            let done = running.done().await;
            running.finish(done).await
        });
        assert!(report.ledger.balances() && report.ledger.burned == 300, "{:?}", report.ledger);
        let mut ids = burned.lock().unwrap().clone();
        ids.sort_unstable();
        assert_eq!(ids, (1..=300).collect::<Vec<u64>>(), "seed {seed}");
    }
}

#[test]
fn the_application_may_offer_to_a_relayed_pile_as_well() {
    let (catalog, burned) = noting();
    let report = in_virtual_time(async |clock| {
        let running = topology(&relayed(10, 5, 3), &catalog, &clock).start().await.unwrap();
        running.offer("b", vec![Book::new("x"), Book::new("y")]).await.unwrap();
        running.close_offers();
        let done = running.done().await;
        running.finish(done).await
    });
    assert_eq!(report.ledger.burned, 12);
    assert_eq!(burned.lock().unwrap().len(), 12);
}

/// `copies` piles with one source, one of them slow.
fn dealt(books: i64, copies: u32, capacity: u64) -> TopologyConfig {
    TopologyConfig::builder("dealt")
        .copies("lane", copies)
        .pile("a", |pile| {
            pile.source(kind("generate").option("books", books)).capacity_books(capacity)
        })
        .incinerator("fire", |fire| fire.burn("note"))
        .crew("haul", "a", "fire", |crew| crew.gophers(1, "load push unload return").cart_books(1))
        .supervision(|mut all| {
            all.intensity = 10_000;
            all.in_a_row = 10_000;
            all
        })
        .build()
}

#[test]
fn a_source_is_dealt_in_turn_and_ids_do_not_depend_on_the_dealing() {
    for copies in [1, 2, 3, 7, 40] {
        let (catalog, burned) = noting();
        let report = in_virtual_time(async |clock| {
            topology(&dealt(10_003, copies, 5), &catalog, &clock).run().await.unwrap()
        });
        let mut ids = burned.lock().unwrap().clone();
        ids.sort_unstable();
        assert_eq!(ids, (1..=10_003).collect::<Vec<u64>>());
        let shares = report.nodes.iter().filter(|node| node.kind == "pile").map(|node| node.books);
        let wanted = (0..u64::from(copies)).map(|lane| (10_003 - lane).div_ceil(u64::from(copies)));
        assert_eq!(shares.collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
    }
}

#[test]
fn a_dealer_that_dies_goes_on_where_it_was() {
    let (catalog, burned) = noting();
    let report = in_virtual_time(async |clock| {
        let running = topology(&dealt(6_000, 3, 2), &catalog, &clock).start().await.unwrap();
        running.close_offers();
        for at in 0..30 {
            clock.sleep(Duration::from_micros(at * 100)).await;
            assert!(running.kill("a.source"));
            assert!(running.kill("a[lane=1]"));
        }
        let done = running.done().await;
        running.finish(done).await
    });
    assert!(report.ledger.balances() && report.ledger.burned == 6_000, "{:?}", report.ledger);
    let mut ids = burned.lock().unwrap().clone();
    ids.sort_unstable();
    assert_eq!(ids, (1..=6_000).collect::<Vec<u64>>());
}
