//! The reference pages are what the declarations of all keys and codes say.

use std::fs;
use std::path::Path;

use gopherworks::Catalog;
use gopherworks::config::{diagnostics, reference};

#[test]
fn the_pages_are_current() {
    for (page, command, current) in [
        ("config", "schema --format markdown", reference(&Catalog::standard())),
        ("diagnostics", "explain", diagnostics()),
        #[cfg(feature = "actix-web")]
        ("metrics", "schema --format metrics", gopherworks::web::metrics_reference()),
    ] {
        let page = format!("docs/reference/{page}.md");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&page);
        let written = fs::read_to_string(path).expect("the page");
        assert!(written == current, "write it with `cargo run -- {command} > {page}`");
    }
}
