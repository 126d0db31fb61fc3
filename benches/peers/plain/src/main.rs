//! The limit: the same moves of the same books in a plain loop of one thread, and plain calls of the balancer's work.

mod moves;

use peers_common::{Order, Row};

fn main() {
    let order = Order::read("plain");
    match order.row {
        Row::Pipeline(cart) => moves::pipeline(&order, cart),
        Row::Ring(cart) => moves::ring(&order, cart),
        _ => order.unknown(),
    }
}
