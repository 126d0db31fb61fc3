//! The sources that come with the catalog, and their registration.

use super::Catalog;

mod files;
mod generate;
mod lines;
mod seen;

pub(super) use seen::{STAMP, is_gone};

pub(super) fn register(catalog: &mut Catalog) {
    catalog
        .add_source("generate", "Generates books", generate::make)
        .add_source(
            "files",
            "Every regular file below a folder, in the order of the names",
            files::make,
        )
        .add_source("lines", "A book for each line of a file or of standard input", lines::make);
}
