//! The shipped burns.

use super::Catalog;

pub mod command;
pub mod count;
pub mod files;
pub mod lines;

pub(super) fn register(catalog: &mut Catalog) {
    catalog
        .add_burn("count", "Burns without a trace", count::make)
        .add_burn(
            "files",
            "Writes each body to a file of its name below a folder",
            files::make,
        )
        .add_burn(
            "lines",
            "Writes each body as a line of a file or to standard output",
            lines::make,
        )
        .add_burn(
            "command",
            "Gives each body, or each cart, to a program",
            command::make,
        );
}
