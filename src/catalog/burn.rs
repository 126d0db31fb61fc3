//! The burns that come with the catalog, and their registration.

use super::Catalog;
use super::work::asking;

mod command;
pub(crate) mod count;
#[cfg(feature = "files")]
mod files;
#[cfg(feature = "http")]
mod http;
mod lines;

pub(super) fn register(catalog: &mut Catalog) {
    catalog
        .add_burn("count", "Counts each book and discards it", count::make)
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
            command::CommandBurnOptions::look,
        );
    #[cfg(feature = "files")]
    catalog.add_burn("files", "Writes each body to a file of its name below a folder", files::make);
    #[cfg(feature = "http")]
    catalog.add_burn("http", "Sends each body to a server over HTTP", http::make);
}
