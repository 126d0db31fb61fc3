//! Books from a pile into an incinerator.

use gopherworks::config::builder::TopologyBuilder;
use gopherworks::{Topology, TopologyConfig};
use peers_common::{Answer, Order, resident};

use crate::fire::Watch;

/// Two gophers and a staging dump, on one arbiter.
pub async fn pipeline(order: &Order, cart: usize) {
    run(order, 1, two_gophers(cart).cores(1)).await;
}

/// The pipeline once for every core, with the books of one source dealt to the copies.
pub async fn copies(order: &Order, cart: usize) {
    let copies = order.threads as u32;
    run(order, order.threads as u64, two_gophers(cart).copies("copy", copies).cores(copies)).await;
}

/// Four gophers in a ring: the returning empty cart is the credit.
pub async fn ring(order: &Order, cart: usize) {
    run(order, 1, four_gophers(CARTS, cart)).await;
}

/// One cart of one book around the four gophers: each book is one trip.
pub async fn light(order: &Order) {
    run(order, 1, four_gophers(1, 1)).await;
}

fn four_gophers(carts: u32, cart: usize) -> TopologyBuilder {
    TopologyConfig::builder("ring")
        .pile("manuals", |pile| pile.source("books"))
        .incinerator("furnace", |fire| fire.burn("tally"))
        .crew("crew", "manuals", "furnace", |crew| {
            let crew = crew
                .gophers(1, "load")
                .gophers(1, "push")
                .gophers(1, "unload")
                .gophers(1, "return");
            crew.carts(carts).cart_books(cart as u64)
        })
        .cores(1)
}

/// Carts of a crew whose carts hold more than one book.
const CARTS: u32 = 16;

fn two_gophers(cart: usize) -> TopologyBuilder {
    // All programs have a dump of 1024 books, or of 16 carts if that is more.
    let dump = 1024.max(16 * cart as u64);
    let carts = if cart == 1 { 1024 } else { CARTS };
    TopologyConfig::builder("two-gophers")
        .pile("manuals", |pile| pile.source("books"))
        .dump("middle", |pile| pile.capacity_books(dump))
        .incinerator("furnace", |fire| fire.burn("tally"))
        .crew("near", "manuals", "middle", |crew| {
            crew.gophers(1, "load push unload return").carts(carts).cart_books(cart as u64)
        })
        .crew("far", "middle", "furnace", |crew| {
            crew.gophers(1, "load push unload return").carts(carts).cart_books(cart as u64)
        })
}

async fn run(order: &Order, fires: u64, builder: TopologyBuilder) {
    let watch = Watch::new();
    let topology = Topology::from_config(&builder.build(), &watch.catalog(order.count, fires))
        .expect("a good config");
    let report = topology.run().await.expect("it starts");
    assert!(report.ledger.balances(), "the ledger does not balance: {:?}", report.ledger);
    assert_eq!((report.ledger.burned, report.restarts), (order.count, 0));
    Answer::new(order, watch.took())
        .burned(order, watch.burned())
        .with("resident", resident())
        .print();
}
