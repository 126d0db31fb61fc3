//! How long a large topology takes to start: a chain of dumps, with a gopher between each two.

use gopherworks::{Book, Catalog, Topology, TopologyConfig};
use peers_common::{Answer, Moment, Order, resident};

/// Books that pass through at the end, to check that the chain works.
const BOOKS: u64 = 100;

/// Starts as many nodes as ordered: half of them piles, dumps and the incinerator, half crews.
pub async fn run(order: &Order) {
    let crews = (order.count / 2).max(1);
    let name = |stop: u64| {
        if stop == crews { "fire".to_owned() } else { format!("stop{stop}") }
    };
    let mut builder = TopologyConfig::builder("chain")
        .incinerator("fire", |fire| fire)
        .cores(order.threads as u32);
    for stop in 0..crews {
        builder = if stop == 0 {
            builder.pile(&name(stop), |pile| pile)
        } else {
            builder.dump(&name(stop), |dump| dump.capacity_books(64))
        };
        builder = builder.crew(&format!("crew{stop}"), &name(stop), &name(stop + 1), |crew| {
            crew.gophers(1, "load push unload return")
        });
    }
    let config = builder.build();
    let catalog = Catalog::standard();
    let before = resident();
    let start = Moment::now();
    let topology = Topology::from_config(&config, &catalog).expect("a good config");
    let running = topology.start().await.expect("it starts");
    let took = start.elapsed();
    let bytes = (resident() - before) as f64 / order.count as f64;
    running
        .offer("stop0", (0..BOOKS).map(|_| Book::new("a book")).collect())
        .await
        .expect("it takes books");
    let report = running.drain(None).await;
    assert!(report.ledger.balances());
    assert_eq!(report.ledger.burned, BOOKS);
    Answer::new(order, took).with("bytes_each", bytes).print();
}
