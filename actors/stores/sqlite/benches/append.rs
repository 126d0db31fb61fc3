//! Appends beside a plain loop of rusqlite: `cargo bench -p gopherworks-sqlite`. Prints ratios, in
//! turns, and the time of one fsync; below 0.2 ms the disk proves nothing.
//!
//! The plain loop stores a row a book, and commits once a call, with WAL and synchronous=FULL. A
//! folder may be given as an argument; by default it is the current one, whose disk is measured.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use gopherworks_pipeline::book::{Book, BookId};
use gopherworks_pipeline::store::{Append, Backend, PileName, PileSpec};
use gopherworks_sqlite::Sqlite;
use gopherworks_supervision::clock::Stopwatch;
use rusqlite::Connection;

/// Number of callers, calls of each, books of a call, bytes of a book.
#[derive(Clone, Copy)]
struct Case {
    callers: u64,
    calls: u64,
    books: u64,
    bytes: usize,
}

const CASES: &[Case] = &[
    Case { callers: 1, calls: 300, books: 64, bytes: 64 },
    Case { callers: 8, calls: 300, books: 64, bytes: 64 },
    Case { callers: 1, calls: 300, books: 64, bytes: 1024 },
    Case { callers: 8, calls: 300, books: 64, bytes: 1024 },
    Case { callers: 64, calls: 100, books: 1, bytes: 64 },
];

/// How often each side is measured; the best counts.
const TURNS: usize = 5;

/// Books a second of the store.
fn ours(folder: &Path, case: &Case) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let pile = PileName::new("", "bench");
    let store = Arc::new(Sqlite::new(folder.join("ours.db")));
    runtime.block_on(store.open(&[PileSpec::new(pile.clone())])).expect("a store");
    let start = Stopwatch::start();
    let local = tokio::task::LocalSet::new();
    for caller in 0..case.callers {
        let (store, to, Case { calls, books, bytes, .. }) = (store.clone(), pile.clone(), *case);
        local.spawn_local(async move {
            for call in 0..calls {
                let first = (caller * calls + call) * books + 1;
                let book = |id| Book { id: BookId(id), ..Book::new(vec![b'x'; bytes]) };
                let books = (first..first + books).map(|id| book(id).into()).collect();
                let append = Append { to: to.clone(), hold: false, books, checkpoint: None };
                store.append(&append).await.expect("room");
            }
        });
    }
    runtime.block_on(local);
    let rate = (case.callers * case.calls * case.books) as f64 / start.elapsed().as_secs_f64();
    runtime.block_on(store.close()).expect("closed");
    rate
}

/// Books a second of a plain loop: callers wait for each other.
fn plain(folder: &Path, case: &Case) -> f64 {
    let mut conn = Connection::open(folder.join("plain.db")).expect("a database");
    conn.pragma_update(None, "journal_mode", "wal").expect("WAL");
    conn.pragma_update(None, "synchronous", "full").expect("FULL");
    conn.execute("create table book (id integer primary key, body blob)", []).expect("a table");
    let calls = case.callers * case.calls;
    let start = Stopwatch::start();
    for _ in 0..calls {
        let tx = conn.transaction().expect("a transaction");
        let mut insert = tx.prepare_cached("insert into book (body) values (?1)").expect("SQL");
        for _ in 0..case.books {
            insert.execute([vec![b'x'; case.bytes]]).expect("room");
        }
        drop(insert);
        tx.commit().expect("room");
    }
    (calls * case.books) as f64 / start.elapsed().as_secs_f64()
}

/// Milliseconds of one fsync of 4 KiB, the median of 50.
fn fsync(folder: &Path) -> f64 {
    let mut file = File::create(folder.join("sync")).expect("a file");
    let mut times: Vec<f64> = (0..50)
        .map(|_| {
            file.write_all(&[1; 4096]).expect("room");
            let start = Stopwatch::start();
            file.sync_data().expect("synced");
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    let folder = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let folder = folder.unwrap_or_else(|| ".".to_owned());
    let new = || tempfile::tempdir_in(&folder).expect("a folder");
    println!("one fsync: {:.3} ms", fsync(new().path()));
    println!("callers x books x bytes: ours, plain (books/s), ratio");
    for case in CASES {
        let (mut best, mut beside) = (0f64, 0f64);
        for _ in 0..TURNS {
            beside = beside.max(plain(new().path(), case));
            best = best.max(ours(new().path(), case));
        }
        let Case { callers, books, bytes, .. } = case;
        println!("{callers} x {books} x {bytes}: {best:.0}, {beside:.0}, {:.2}", best / beside);
    }
}
