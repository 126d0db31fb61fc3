//! The rows by the public API of gopherworks, as an application writes it: custody, leases, ledger and supervision are on.

mod fire;
mod moves;

use peers_common::{Order, Row};

fn main() {
    let order = Order::read("gopherworks");
    let system = actix_rt::System::new();
    match order.row {
        Row::Pipeline(cart) => system.block_on(moves::pipeline(&order, cart)),
        Row::Copies(cart) => system.block_on(moves::copies(&order, cart)),
        Row::Ring(cart) => system.block_on(moves::ring(&order, cart)),
        _ => order.unknown(),
    }
}
