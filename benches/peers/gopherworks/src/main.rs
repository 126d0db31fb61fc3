//! The rows by the public API of gopherworks, as an application uses it: with custody, leases,
//! ledger and supervision.

mod balancer;
#[cfg(feature = "topology")]
mod fire;
mod idle;
#[cfg(feature = "topology")]
mod moves;
#[cfg(feature = "topology")]
mod start;
mod supervised;

use peers_common::{Order, Row};

fn main() {
    let order = Order::read("gopherworks");
    let system = actix_rt::System::new();
    #[cfg(feature = "topology")]
    match (&order.row, order.name.as_str()) {
        (Row::Pipeline(cart), _) => return system.block_on(moves::pipeline(&order, *cart)),
        (Row::Copies(cart), _) => return system.block_on(moves::copies(&order, *cart)),
        (Row::Ring(cart), _) => return system.block_on(moves::ring(&order, *cart)),
        (Row::Light, _) => return system.block_on(moves::light(&order)),
        (_, "start") => return system.block_on(start::run(&order)),
        _ => {}
    }
    match (&order.row, order.name.as_str()) {
        (Row::Balancer(job), _) => system.block_on(balancer::run(&order, *job, None)),
        (Row::Policy(job, policy), _) => system.block_on(balancer::run(&order, *job, Some(policy))),
        (Row::Idle, _) => system.block_on(idle::run(&order)),
        (_, "pingpong-supervised") => system.block_on(supervised::pass_on(&order, (2, 1), true)),
        (_, "pingpong-bare") => system.block_on(supervised::pass_on(&order, (2, 1), false)),
        (_, "burst-supervised") => system.block_on(supervised::pass_on(&order, (8, 1024), true)),
        (_, "burst-bare") => system.block_on(supervised::pass_on(&order, (8, 1024), false)),
        (_, "restart") => system.block_on(supervised::restart(&order)),
        _ => order.unknown(),
    }
}
