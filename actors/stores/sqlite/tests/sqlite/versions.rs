//! Stores of older versions are migrated, those of newer ones are refused.

use std::time::Duration;

use gopherworks_pipeline::book::{Book, BookId};
use gopherworks_pipeline::store::{
    Append, Backend, Checkpoint, PileName, PileSpec, StoreError, Want,
};
use gopherworks_sqlite::check;
use rusqlite::Connection;

use crate::support::OnDisk;

/// The tables of version 1, where they differ from those of version 2.
const TO_1: &str = "
alter table pack rename to new_pack;
create table pack (pack integer primary key, n integer not null, data blob not null);
insert into pack select pack, n, data from new_pack;
drop table new_pack;
alter table mark rename to new_mark;
create table mark (
    source text not null, share integer not null, position blob not null,
    primary key (source, share)
) without rowid;
insert into mark select source, share, position from new_mark;
drop table new_mark;
update meta set value = 1 where key = 'version';
";

fn pile() -> PileName {
    PileName::new("", "a")
}

/// A store with three books and the position of their source.
async fn filled() -> OnDisk {
    let disk = OnDisk::new();
    let store = disk.store();
    store.open(&[PileSpec::new(pile())]).await.unwrap();
    let books = (1..=3).map(|id| Book { id: BookId(id), ..Book::new(vec![7; 100]) }.into());
    let (source, position) = ("a".into(), "line 3".into());
    let checkpoint = Checkpoint { source, share: 2, position, adds: false, owner: 0 };
    let append =
        Append { to: pile(), hold: false, books: books.collect(), checkpoint: Some(checkpoint) };
    store.append(&append).await.unwrap();
    store.close().await.unwrap();
    disk
}

#[actix::test]
async fn a_store_of_version_1_is_migrated_with_all_that_it_has() {
    let disk = filled().await;
    Connection::open(disk.path()).unwrap().execute_batch(TO_1).unwrap();
    let read_only = check(&disk.path(), false).unwrap_err();
    assert!(read_only.to_string().contains("has version 1"), "{read_only}");
    let store = disk.store();
    let recovered = store.open(&[PileSpec::new(pile())]).await.unwrap();
    let [position] = &recovered.positions[..] else { panic!("{:?}", recovered.positions) };
    assert_eq!((position.share, &position.position[..]), (2, &b"line 3"[..]));
    let want = Want { books: 9, bytes: None };
    let held = store.fetch(&pile(), want, Duration::ZERO).await.unwrap();
    assert_eq!(held.iter().map(|held| held.book.id.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(held.iter().all(|held| held.book.size() == 100));
    store.close().await.unwrap();
    assert_eq!(check(&disk.path(), false).unwrap(), [], "it is sound, and of this version");
}

#[actix::test]
async fn a_newer_version_is_refused_and_left_alone() {
    let disk = filled().await;
    let newer = "update meta set value = 99 where key = 'version'";
    Connection::open(disk.path()).unwrap().execute_batch(newer).unwrap();
    let refused = disk.store().open(&[PileSpec::new(pile())]).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Unsupported(why) if why.contains("version 99")));
    let select = "select value from meta where key = 'version'";
    let kept = Connection::open(disk.path()).unwrap();
    assert_eq!(kept.query_row(select, [], |row| row.get::<_, i64>(0)), Ok(99));
}
