//! The state of nodes: what is counted, and what is sampled.

use crate::support;

use std::time::Duration;

use gopherworks::catalog::Catalog;
use gopherworks::config::builder::{kind, wait};
use gopherworks::topology::NodeStatus;
use gopherworks::{Book, Failure, TopologyConfig};
use support::virtual_time::{in_virtual_time, topology};

const ALL: &str = "load push unload return";

fn of<'a>(nodes: &'a [NodeStatus], name: &str) -> &'a NodeStatus {
    nodes.iter().find(|node| node.name == name).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn a_crew_before_a_slow_one_is_blocked_and_books_age_on_its_pile() {
    let ms = Duration::from_millis;
    let config = TopologyConfig::builder("slow")
        .pile("inbox", |pile| pile)
        .dump("middle", |dump| dump.capacity_books(4))
        .incinerator("fire", |fire| fire.burn(kind("count")))
        .crew("near", "inbox", "middle", |crew| {
            crew.gophers(1, ALL).carts(1).cart_books(1).push(wait(ms(1)))
        })
        .crew("far", "middle", "fire", |crew| {
            crew.gophers(1, ALL).carts(1).cart_books(1).push(wait(ms(10)))
        })
        .build();
    let (nodes, seconds) = in_virtual_time(async |clock| {
        let running = topology(&config, &Catalog::standard(), &clock).start().await;
        let running = running.expect("it starts");
        let books = (0..2_000).map(|_| Book::default()).collect();
        running.offer("inbox", books).await.expect("room");
        let began = clock.now();
        // A period that is no multiple of the trips of crews.
        for _ in 0..100 {
            clock.sleep(ms(97)).await;
            running.nodes();
        }
        let seen = (running.nodes(), (clock.now() - began).as_secs_f64());
        running.stop().await;
        seen
    });
    let share = |time: Option<f64>| time.expect("a crew") / seconds;
    let (near, far) = (of(&nodes, "near"), of(&nodes, "far"));
    assert!((0.8..0.95).contains(&share(near.blocked_s)), "{near:?}");
    assert!((0.07..0.12).contains(&share(Some(near.busy_s))), "{near:?}");
    assert!(share(far.blocked_s) < 0.05 && share(far.idle_s) < 0.05, "{far:?}");
    assert!(share(Some(far.busy_s)) > 0.9, "{far:?}");
    let pile = |name| of(&nodes, name).pile.clone().expect("a pile");
    // The first book of the inbox came at the start; those of the dump are four turns old.
    assert!(pile("inbox").oldest_s.expect("books") > seconds - 0.2, "{:?}", pile("inbox"));
    assert!(pile("middle").oldest_s.expect("books") < 0.2, "{:?}", pile("middle"));
    assert_eq!((pile("middle").ready, pile("middle").carts_for_space), (4, 1));
    assert_eq!(near.state, "running");
    assert_eq!(of(&nodes, "near/1").books, near.books);
}

#[test]
fn failures_and_restarts_are_counted_at_their_node() {
    let mut catalog = Catalog::standard();
    catalog.add_inline_work_fn("odd", "Fails", |book: Book| match book.id.0 {
        3 => panic!("the third"),
        id if id % 2 == 1 => Err(Failure::permanent(format!("book {id} is odd"))),
        _ => Ok(Some(book)),
    });
    let config = TopologyConfig::builder("odd")
        .pile("inbox", |pile| pile.max_attempts(1))
        .incinerator("fire", |fire| fire.burn("count"))
        .crew("crew", "inbox", "fire", |crew| crew.gophers(1, ALL).cart_books(1).work("odd"))
        .build();
    let nodes = in_virtual_time(async |clock| {
        let running = topology(&config, &catalog, &clock).start().await.expect("it starts");
        let books = (0..10).map(|_| Book::default()).collect();
        let ends = running.offer_watched("inbox", books).await.expect("room");
        for end in ends {
            end.await;
        }
        let nodes = running.nodes();
        running.stop().await;
        nodes
    });
    let crew = of(&nodes, "crew");
    assert_eq!((crew.failed, crew.dead, crew.restarts), (4, 4, 1), "{crew:?}");
    let last = crew.last_failure.as_ref().expect("a failure");
    assert_eq!((last.count, last.reason.as_deref()), (4, Some("book 1 is odd")), "{last:?}");
    // A panic names no node, so it is counted at the pile.
    let inbox = of(&nodes, "inbox");
    assert_eq!((inbox.failed, inbox.dead), (1, 1), "{inbox:?}");
    assert_eq!(of(&nodes, "fire").books, 5);
    assert_eq!(of(&nodes, "fire").failed, 0);
}
