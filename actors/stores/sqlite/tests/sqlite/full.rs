//! A full disk: appends are refused, acks succeed, and it goes on when there is room again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gopherworks_pipeline::book::{Book, BookId};
use gopherworks_pipeline::store::{
    Act, Append, Backend, Pass, PileName, PileSpec, StoreError, Want,
};
use gopherworks_sqlite::{Sqlite, check};

/// A small file system of its own.
struct Mounted(tempfile::TempDir);

impl Mounted {
    /// `None` if this machine does not allow it.
    fn new(megabytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path());
        let is_mounted = mount.output().is_ok_and(|done| done.status.success());
        is_mounted.then(|| Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).output();
    }
}

/// Takes all space but `leave` bytes.
fn occupy(folder: &Path, leave: u64) -> PathBuf {
    let path = folder.join("other");
    let file = std::fs::File::create(&path).unwrap();
    let free = rustix::fs::statvfs(folder).unwrap();
    let bytes = (free.f_bavail * free.f_frsize).saturating_sub(leave);
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes).unwrap();
    path
}

fn append(pile: &PileName, first: u64, size: usize) -> Append {
    let book = |id| Book { id: BookId(id), ..Book::new(vec![id as u8; size]) };
    let books = (first..first + 8).map(|id| book(id).into()).collect();
    Append { to: pile.clone(), hold: false, books, checkpoint: None }
}

#[actix::test]
async fn acks_succeed_on_a_full_disk() {
    let Some(disk) = Mounted::new(48) else {
        println!("SKIPPED: no file system can be mounted here");
        return;
    };
    let path = disk.path().join("works.db");
    let now = Arc::new(AtomicU64::new(1_700_000_000_000));
    let time = now.clone();
    let store = Sqlite::new(&path).reserve(4 << 20);
    let store = store.time(move || Duration::from_millis(time.load(Ordering::Relaxed)));
    let (pile, next) = (PileName::new("", "a"), PileName::new("", "b"));
    store.open(&[pile.clone(), next.clone()].map(PileSpec::new)).await.unwrap();
    let other = occupy(disk.path(), 10 << 20);

    let mut id = 1;
    let refused = loop {
        match store.append(&append(&pile, id, 20_000)).await {
            Ok(_) => id += 8,
            Err(error) => break error,
        }
        assert!(id < 10_000, "the disk never fills");
    };
    assert!(matches!(refused, StoreError::Full), "{refused}");
    let stored = id - 1;
    assert!(stored > 100, "only {stored} books fit");
    assert_eq!(store.depth(&pile).await.unwrap().books, stored, "a refused append stores nothing");
    let refused = store.append(&append(&pile, id, 300_000)).await;
    assert!(matches!(refused, Err(StoreError::Full)), "large bodies: {refused:?}");

    // What was taken from the piles in small steps would fail without the reserve.
    let want = Want { books: 4, bytes: None };
    let mut acked = 0;
    while acked < stored / 2 {
        let held = store.fetch(&pile, want, Duration::ZERO).await.unwrap();
        let (ack, pass) = held.split_at(held.len() / 2);
        let acts: Vec<_> = ack.iter().map(|held| (held.receipt.clone(), Act::Ack)).collect();
        for answer in store.settle(&acts).await {
            answer.unwrap();
        }
        let books = pass.iter().map(|held| (held.receipt.clone(), None)).collect();
        for answer in store.pass(&Pass { to: next.clone(), hold: false, books }).await {
            answer.unwrap();
        }
        acked += ack.len() as u64;
    }
    std::fs::remove_file(other).unwrap();
    now.fetch_add(60_000, Ordering::Relaxed);
    store.append(&append(&pile, id, 20_000)).await.expect("there is room again");
    store.close().await.unwrap();
    assert_eq!(check(&path, false).unwrap(), []);

    // Full when it is opened: what is there can still be taken.
    let other = occupy(disk.path(), 0);
    let store = Sqlite::new(&path).reserve(4 << 20);
    let recovered = store.open(&[pile.clone(), next].map(PileSpec::new)).await.unwrap();
    assert_eq!(recovered.piles[0].books + recovered.piles[1].books, stored - acked + 8);
    let held = store.fetch(&pile, want, Duration::ZERO).await.unwrap();
    for answer in store.settle(&[(held[0].receipt.clone(), Act::Ack)]).await {
        answer.unwrap();
    }
    std::fs::remove_file(other).unwrap();
}
