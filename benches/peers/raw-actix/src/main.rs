//! The rows with plain actix actors: `do_send` without custody or supervision, bounded only by the
//! programs' own credit.

mod balancer;
mod idle;
mod light;
mod moves;

use peers_common::{Order, Row};

fn main() {
    let order = Order::read("raw-actix");
    let system = actix_rt::System::new();
    match order.row.clone() {
        Row::Pipeline(1) => system.block_on(moves::books(&order)),
        Row::Pipeline(cart) => system.block_on(moves::carts(&order, cart)),
        Row::Ring(cart) => system.block_on(moves::ring(&order, cart)),
        Row::Copies(cart) => system.block_on(moves::copies(&order, cart)),
        Row::Balancer(job) => system.block_on(balancer::run(&order, job)),
        Row::Idle => system.block_on(idle::run(&order)),
        Row::Light => system.block_on(light::run(&order)),
        _ => order.unknown(),
    }
}
