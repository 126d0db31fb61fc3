//! Paths of a store: links to it, and what is no file.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use gopherworks_pipeline::store::{Backend, PileName, PileSpec, StoreError};
use gopherworks_sqlite::{Sqlite, check, files};

async fn open(path: &Path) -> Result<Sqlite, StoreError> {
    let store = Sqlite::new(path).reserve(1 << 20);
    store.open(&[PileSpec::new(PileName::new("", "a"))]).await.map(|_| store)
}

#[actix::test]
async fn a_store_has_one_lock_under_all_its_names() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("real")).unwrap();
    symlink(at("real"), at("folder")).unwrap();
    // The first leads to a file that the first opener creates.
    symlink("real/works.db", at("link")).unwrap();
    symlink("../link", at("real/second")).unwrap();
    let names = ["link", "real/works.db", "folder/works.db", "real/second"];
    for first in names {
        let store = open(&at(first)).await.unwrap();
        for second in names {
            let refused = open(&at(second)).await.err();
            assert!(matches!(refused, Some(StoreError::InUse { .. })), "{first} {second}");
            let checked = check(&at(second), true);
            assert!(matches!(checked, Err(StoreError::InUse { .. })), "{first} {second}");
            let survey = store.survey().await.unwrap();
            assert_eq!(survey.holders.len(), 1, "{first}");
        }
        store.close().await.unwrap();
    }
    let known = files(&at("link"));
    for entry in fs::read_dir(at("real")).unwrap() {
        let path = entry.unwrap().path();
        assert!(known.contains(&path) || path.ends_with("second"), "{}", path.display());
    }
}

#[actix::test]
async fn what_is_no_regular_file_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    let fifo = folder.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    for path in [folder.path(), &socket, &fifo, Path::new("/dev/null")] {
        let why = open(path).await.expect_err("refused").to_string();
        assert!(why.contains(&path.display().to_string()), "{why}");
        assert!(why.contains("not a regular file"), "{why}");
        let why = check(path, true).unwrap_err().to_string();
        assert!(why.contains("not a regular file"), "{why}");
    }
    let text = folder.path().join("text");
    fs::write(&text, "no database\n".repeat(1000)).unwrap();
    let why = open(&text).await.expect_err("refused").to_string();
    assert!(why.contains(&text.display().to_string()), "{why}");
    assert_eq!(fs::read_to_string(&text).unwrap(), "no database\n".repeat(1000));
}
