//! The rows with kameo's actors, and its pool for the balancer.

mod balancer;
mod idle;
mod light;
mod moves;

use peers_common::{Order, Row, runtime};

fn main() {
    let order = Order::read("kameo");
    let runtime = runtime(order.threads);
    match order.row.clone() {
        Row::Pipeline(1) => runtime.block_on(moves::books(&order)),
        Row::Pipeline(cart) => runtime.block_on(moves::carts(&order, cart)),
        Row::Ring(cart) => runtime.block_on(moves::ring(&order, cart)),
        Row::Balancer(job) => runtime.block_on(balancer::run(&order, job)),
        Row::Idle => runtime.block_on(idle::run(&order)),
        Row::Light => runtime.block_on(light::run(&order)),
        _ => order.unknown(),
    }
}
