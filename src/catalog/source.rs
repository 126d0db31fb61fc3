//! The sources that come with the catalog, and their registration.

use super::Catalog;

#[cfg(feature = "files")]
mod files;
mod generate;
mod lines;
#[cfg(feature = "files")]
mod seen;

#[cfg(feature = "files")]
pub(super) use seen::{STAMP, is_gone};

pub(super) fn register(catalog: &mut Catalog) {
    catalog.add_source("generate", "Generates books", generate::make).add_source(
        "lines",
        "A book for each line of a file or of standard input",
        lines::make,
    );
    #[cfg(feature = "files")]
    catalog.add_source(
        "files",
        "Every regular file below a folder, in the order of the names",
        files::make,
    );
}
