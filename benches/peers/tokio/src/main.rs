//! The rows with plain tokio tasks and bounded channels.

mod balancer;
mod idle;
mod moves;

use peers_common::{Bare, Book, Order, Row, runtime};

fn main() {
    let order = Order::read("tokio");
    let runtime = runtime(order.threads);
    match order.row.clone() {
        Row::Pipeline(1) => runtime.block_on(moves::books(&order)),
        Row::Pipeline(cart) | Row::Copies(cart) => {
            runtime.block_on(moves::carts::<Book>(&order, cart))
        }
        Row::Value(cart) => runtime.block_on(moves::carts::<Bare>(&order, cart)),
        Row::Ring(cart) => runtime.block_on(moves::ring(&order, cart)),
        Row::Balancer(job) => runtime.block_on(balancer::run(&order, job)),
        Row::Idle => runtime.block_on(idle::run(&order)),
        Row::Light => runtime.block_on(moves::light(&order)),
        _ => order.unknown(),
    }
}
