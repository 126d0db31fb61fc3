//! `schema`.

use gopherworks::catalog::Catalog;
use gopherworks::config::json_schema;

use super::{Failed, code, print};

/// Prints the schema of config files.
pub fn schema() -> Result<i32, Failed> {
    let schema = json_schema(&Catalog::standard());
    print::line(&format!("{schema:#}"), false)?;
    Ok(code::OK)
}
