//! The burns that come with the catalog, and their registration.

use gopherworks_pipeline::book::Book;
use gopherworks_pipeline::burn::Burn;
use gopherworks_supervision::failure::Failure;

use super::work::Asking;
use super::{Catalog, Site};

pub mod command;
pub mod count;
pub mod files;
#[cfg(feature = "http")]
mod http;
pub mod lines;

/// Placeholder for the `balancer` burn, which the balancer's workers do: it always fails.
struct Elsewhere;

impl Burn for Elsewhere {
    fn burn(&self, _: &Book) -> Result<(), Failure> {
        Err(Failure::permanent("this is the work of a balancer"))
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the catalog wants a result")]
fn asking(_: &Asking, _: &Site) -> Result<Elsewhere, Failure> {
    Ok(Elsewhere)
}

pub(super) fn register(catalog: &mut Catalog) {
    catalog
        .add_burn("count", "Counts each book and discards it", count::make)
        .add_burn("files", "Writes each body to a file of its name below a folder", files::make)
        .add_burn(
            "lines",
            "Writes each body as a line of a file or to standard output",
            lines::make,
        )
        .add_burn(
            "balancer",
            "Sends each book to the workers of a balancer; an answered book is burned",
            asking,
        )
        .add_burn_with_look(
            "command",
            "Passes each body, or each cart, to a program",
            command::make,
            command::Options::look,
        );
    #[cfg(feature = "http")]
    catalog.add_burn("http", "Sends each body to a server over HTTP", http::make);
}
