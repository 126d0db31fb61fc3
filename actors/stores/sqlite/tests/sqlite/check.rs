//! Damage is found; what follows from the rest is repaired.

use std::time::Duration;

use gopherworks_pipeline::book::{Book, BookId};
use gopherworks_pipeline::store::{
    Act, Append, Backend, PileName, PileSpec, StoreError, Tries, Want,
};
use gopherworks_sqlite::check;
use rusqlite::Connection;

use crate::support::OnDisk;

fn pile() -> PileName {
    PileName::new("", "a")
}

/// A store with 20 books, two of them large; two were tried, one is dead.
async fn filled() -> OnDisk {
    let disk = OnDisk::new();
    let store = disk.store();
    store.open(&[PileSpec::new(pile())]).await.unwrap();
    let size = |id: u64| if id.is_multiple_of(10) { 400_000 } else { 100 };
    let book = |id| Book { id: BookId(id), ..Book::new(vec![1; size(id)]) };
    let books = (1..=22).map(|id| book(id).into()).collect();
    let append = Append { to: pile(), hold: false, books, checkpoint: None };
    store.append(&append).await.unwrap();
    let want = Want { books: 4, bytes: None };
    let held = store.fetch(&pile(), want, Duration::ZERO).await.unwrap();
    let tries = Tries { attempts: 1, ..Tries::default() };
    let back = Act::Return { delay: Duration::from_secs(9), tries, hold: false };
    let bury = Act::Bury { reason: "it".into(), node: None, attempts: 2 };
    let acts = [back.clone(), back, Act::Ack, bury];
    let acts: Vec<_> = held.iter().map(|held| held.receipt.clone()).zip(acts).collect();
    for answer in store.settle(&acts).await {
        answer.unwrap();
    }
    store.close().await.unwrap();
    assert_eq!(check(&disk.path(), false).unwrap(), [], "it is sound");
    disk
}

#[actix::test]
async fn what_follows_from_the_rest_is_repaired() {
    let disk = filled().await;
    let spare = disk.path().with_extension("db.bodies").join("77-1");
    for (damage, wanted) in [
        ("update pile set books = 7", "pile a has 20 books"),
        ("update pile set bytes = bytes + 1", "pile a has 20 books"),
        ("update pile set next_at = 3", "would give the place 3 again"),
        ("update state set next_id = 20", "the id 20 would be given again"),
        ("update state set next_dead = 1", "dead letter 1 would be overwritten"),
        ("update live set n = n + 1", "has 20 books, not 21"),
        ("insert into live values (99, 1)", "1 counts of packs that are gone"),
        ("insert into pack values (99, 5, 0, x'00')", "no book is in pack 99"),
        ("insert into tries values (5, 1, 6, 1, 0, 0, 0, 0)", "attempts at book 5"),
        ("update tries set at = 900 where id = 1", "attempts at book 1"),
        ("delete from body where id = 10", "body of book 10 in the file"),
        ("insert into body values (5, '5-5', 1)", "book 5 has no body in the file"),
        ("delete from pile", "a pile without a name"),
        ("", "1 files of bodies belong to no book"),
    ] {
        let conn = Connection::open(disk.path()).unwrap();
        match damage {
            "" => std::fs::write(&spare, "spare").unwrap(),
            damage => conn.execute_batch(damage).unwrap(),
        }
        drop(conn);
        let found = check(&disk.path(), false).unwrap();
        let [only] = &found[..] else { panic!("{damage}: {found:?}") };
        assert!(only.what.contains(wanted) && !only.is_repaired, "{damage}: {only}");
        let repaired = check(&disk.path(), true).unwrap();
        assert!(repaired.len() == 1 && repaired[0].is_repaired, "{damage}: {repaired:?}");
        assert_eq!(check(&disk.path(), false).unwrap(), [], "{damage}");
    }
    assert!(!spare.exists());
}

#[actix::test]
async fn what_is_lost_is_reported() {
    for (damage, wanted) in [
        ("update pack set data = zeroblob(9)", "books from"),
        (
            "update pack set data = cast(substr(data, 1, 200)
                || replace(hex(zeroblob(2000)), '0', char(255)) as blob)",
            "record of",
        ),
        ("update place set n = -1 where at = 1", "impossible numbers"),
        (
            "insert into place select pile, at + 90, first, step, n, pack, off, len from place",
            "stored twice",
        ),
        ("update dead set record = x'ff'", "dead letter 4 is damaged"),
        ("update state set offered = 5", "5 books were offered"),
    ] {
        let disk = filled().await;
        let conn = Connection::open(disk.path()).unwrap();
        conn.execute_batch(damage).unwrap();
        drop(conn);
        let found = check(&disk.path(), true).unwrap();
        let lost = found.iter().find(|found| found.what.contains(wanted));
        assert!(lost.is_some_and(|found| !found.is_repaired), "{damage}: {found:?}");
        // The bodies of books whose records can't be read stay.
        let bodies = std::fs::read_dir(disk.path().with_extension("db.bodies")).unwrap();
        assert_eq!(bodies.count(), 2, "{damage}: {found:?}");
    }
    let disk = filled().await;
    for file in std::fs::read_dir(disk.path().with_extension("db.bodies")).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    let found = check(&disk.path(), true).unwrap();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|found| found.what.contains("is lost")), "{found:?}");
}

#[actix::test]
async fn damaged_stores_are_refused_without_a_panic() {
    let disk = filled().await;
    let conn = Connection::open(disk.path()).unwrap();
    conn.execute_batch("update pack set data = zeroblob(9)").unwrap();
    let store = disk.store();
    store.open(&[PileSpec::new(pile())]).await.unwrap();
    let want = Want { books: 4, bytes: None };
    let answer = store.fetch(&pile(), want, Duration::ZERO).await;
    assert!(matches!(answer, Err(StoreError::Corrupt(_))), "{answer:?}");
    store.close().await.unwrap();
    for (damage, wanted) in [
        ("update meta set value = 9 where key = 'version'", "has version 9"),
        ("delete from meta", "no version"),
        ("pragma application_id = 5", "another program"),
    ] {
        conn.execute_batch(damage).unwrap();
        let error = disk.store().open(&[]).await.unwrap_err().to_string();
        assert!(error.contains(wanted), "{damage}: {error}");
        let error = check(&disk.path(), true).unwrap_err().to_string();
        assert!(error.contains(wanted), "{damage}: {error}");
    }
    let nowhere = disk.folder.path().join("nowhere.db");
    assert!(matches!(check(&nowhere, true), Err(StoreError::Gone)));
    assert!(!nowhere.exists(), "a check creates no store");
}

#[actix::test]
async fn a_store_in_use_is_checked_and_not_repaired() {
    use std::os::unix::fs::PermissionsExt;

    let disk = filled().await;
    let store = disk.store();
    store.open(&[PileSpec::new(pile())]).await.unwrap();
    assert_eq!(check(&disk.path(), false).unwrap(), []);
    let answer = check(&disk.path(), true);
    let own = std::process::id();
    assert!(matches!(answer, Err(StoreError::InUse { pid: Some(pid), .. }) if pid == own));
    // Files are only for their owner.
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    for file in ["", ".lock", ".begun", ".reserve", "-wal"] {
        let path = std::path::PathBuf::from(format!("{}{file}", disk.path().display()));
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    let bodies = disk.path().with_extension("db.bodies");
    assert_eq!(mode(&bodies), 0o700);
    for body in std::fs::read_dir(bodies).unwrap() {
        assert_eq!(mode(&body.unwrap().path()), 0o600);
    }
}
