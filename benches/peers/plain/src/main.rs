//! The limit: the same moves of the same books in a plain loop of one thread, and plain calls of
//! the balancer's work.

mod calls;
mod moves;

use peers_common::{Bare, Book, Order, Row, spins_per_us};

fn main() {
    let order = Order::read("plain");
    match order.row.clone() {
        Row::Pipeline(cart) => moves::pipeline::<Book>(&order, cart),
        Row::Value(cart) => moves::pipeline::<Bare>(&order, cart),
        Row::Ring(cart) => moves::ring(&order, cart),
        Row::Balancer(job) => calls::direct(&order, job),
        // For the runner: measures the speed of this machine's cores.
        Row::Own if order.name == "spins" => println!("{}", spins_per_us()),
        _ => order.unknown(),
    }
}
