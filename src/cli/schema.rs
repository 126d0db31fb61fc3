//! `schema`.

use gopherworks::catalog::Catalog;
use gopherworks::config::json_schema;

use super::{code, print};

/// Prints the schema of config files.
pub fn schema() -> i32 {
    let schema = json_schema(&Catalog::standard());
    print::line(&format!("{schema:#}"), false);
    code::OK
}
