//! The reference page is what the declarations of all keys say.

use std::fs;
use std::path::Path;

use gopherworks::Catalog;
use gopherworks::config::reference;

#[test]
fn the_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/config.md");
    let page = fs::read_to_string(path).expect("the page");
    let hint = "write it with `cargo run -- schema --format markdown > docs/reference/config.md`";
    assert!(page == reference(&Catalog::standard()), "{hint}");
}
