//! The rows by the public API of gopherworks, as an application writes it: custody, leases, ledger and supervision are on.

mod balancer;
mod fire;
mod idle;
mod moves;
mod start;
mod supervised;

use peers_common::{Order, Row};

fn main() {
    let order = Order::read("gopherworks");
    let system = actix_rt::System::new();
    match order.row.clone() {
        Row::Pipeline(cart) => system.block_on(moves::pipeline(&order, cart)),
        Row::Copies(cart) => system.block_on(moves::copies(&order, cart)),
        // A book of gopherworks is what it is.
        Row::Value(_) => order.unknown(),
        Row::Ring(cart) => system.block_on(moves::ring(&order, cart)),
        Row::Light => system.block_on(moves::light(&order)),
        Row::Balancer(job) => system.block_on(balancer::run(&order, job, None)),
        Row::Policy(job, policy) => system.block_on(balancer::run(&order, job, Some(&policy))),
        Row::Idle => system.block_on(idle::run(&order)),
        Row::Own => match order.name.as_str() {
            "start" => system.block_on(start::run(&order)),
            "pingpong-supervised" => system.block_on(supervised::pass_on(&order, (2, 1), true)),
            "pingpong-bare" => system.block_on(supervised::pass_on(&order, (2, 1), false)),
            "burst-supervised" => system.block_on(supervised::pass_on(&order, (8, 1024), true)),
            "burst-bare" => system.block_on(supervised::pass_on(&order, (8, 1024), false)),
            "restart" => system.block_on(supervised::restart(&order)),
            _ => order.unknown(),
        },
    }
}
