//! Carts beside plain loops of tokio-postgres: `cargo bench -p gopherworks-postgres`. Prints rates
//! and ratios, in turns, and the time of one fsync; below 0.2 ms the disk proves nothing.
//!
//! The plain loops store a cart a row, one cart a statement; and a row a book, 512 a statement.
//! They use prepared statements, leases, and `for update skip locked`, and wait for each answer.
//! The server's URL is in `DATABASE_URL`; the schemas `bench_carts`, `bench_plain` are dropped.

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use gopherworks_pipeline::book::{Book, BookId};
use gopherworks_pipeline::store::{
    Act, Append, Arrival, Backend, Commit, Delivery, Pass, PileName, PileSpec, Want,
};
use gopherworks_postgres::Postgres;
use gopherworks_supervision::clock::Stopwatch;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, NoTls, Statement};

/// Books of a cart.
const CART: usize = 64;
/// Books of each turn.
const BOOKS: usize = 64 * 512;
/// Books of one call of the store.
const CALL: usize = 64 * 64;
/// Rows of one statement of the loop with a row a book.
const ROWS: usize = 512;
/// How often each side is measured; the best counts.
const TURNS: usize = 3;

/// Books a second of append, pass, and fetch with settle.
type Rates = [f64; 3];

fn rate(start: Stopwatch) -> f64 {
    BOOKS as f64 / start.elapsed().as_secs_f64() / 1e3
}

async fn schemas(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a server");
    tokio::spawn(connection);
    let sql =
        "drop schema if exists bench_carts cascade; drop schema if exists bench_plain cascade;
        create schema bench_plain; checkpoint";
    client.batch_execute(sql).await.expect("schemas");
    client
}

/// The store: `CALL` books a call.
async fn ours(url: &str, bytes: usize) -> Rates {
    let _plain = schemas(url).await;
    let store = Postgres::new(url).schema("bench_carts");
    let name = |pile: &str| PileName::new("bench", pile);
    let piles = ["a", "b"].map(|pile| PileSpec::new(name(pile)));
    store.open(&piles).await.expect("a store");
    let mut ids = store.reserve_ids(BOOKS as u64).await.expect("ids");
    let start = Stopwatch::start();
    for _ in 0..BOOKS / CALL {
        let mut commit = Commit::default();
        for _ in 0..CALL / CART {
            let book = |id| Book { id: BookId(id), ..Book::new(vec![b'x'; bytes]) };
            let books = ids.by_ref().take(CART).map(|id| book(id).into()).collect();
            let append = Append { to: name("a"), hold: false, books, checkpoint: None };
            commit.arrivals.push(Arrival::Append(append));
        }
        store.commit(commit.into()).await.expect("room");
    }
    let appended = rate(start);
    let want = Want { books: CALL, bytes: None };
    let fetch = async |pile| store.fetch(&name(pile), want, Duration::ZERO).await.expect("books");
    // Held from the start, as the pass of a plain loop finds them by their keys.
    let mut held: Vec<Vec<Delivery>> = Vec::new();
    while held.len() < BOOKS / CALL {
        held.push(fetch("a").await);
    }
    let start = Stopwatch::start();
    for held in held {
        let books = held.into_iter().map(|held| (held.receipt, None)).collect();
        let done = store.pass(&Pass { to: name("b"), hold: false, books }).await;
        assert!(done.iter().all(Result::is_ok));
    }
    let passed = rate(start);
    let start = Stopwatch::start();
    for _ in 0..BOOKS / CALL {
        let held = fetch("b").await;
        assert_eq!(held.len(), CALL);
        let acts: Vec<_> = held.into_iter().map(|held| (held.receipt, Act::Ack)).collect();
        assert!(store.settle(&acts).await.iter().all(Result::is_ok));
    }
    let settled = rate(start);
    store.close().await.expect("closed");
    [appended, passed, settled]
}

async fn prepared(client: &Client, sql: &str, types: &[Type]) -> Statement {
    client.prepare_typed(sql, types).await.expect("SQL")
}

async fn run(client: &Client, statement: &Statement, params: &[&(dyn ToSql + Sync)]) -> u64 {
    client.query(statement, params).await.expect("rows").len() as u64
}

/// A row a cart, one cart a statement.
async fn by_cart(url: &str, bytes: usize) -> Rates {
    let client = schemas(url).await;
    let sql = "create table bench_plain.cart (pile int, id bigint generated always as identity,
            token bigint not null default 0, until timestamptz not null default '-infinity',
            books bytea not null, primary key (pile, id));
        alter table bench_plain.cart alter books set storage external";
    client.batch_execute(sql).await.expect("a table");
    let cart = vec![b'x'; CART * (bytes + 8)];
    let sql = "insert into bench_plain.cart (pile, books) values (1, $1)";
    let append = prepared(&client, sql, &[Type::BYTEA]).await;
    let start = Stopwatch::start();
    for _ in 0..BOOKS / CART {
        run(&client, &append, &[&cart]).await;
    }
    let appended = rate(start);
    let sql = "update bench_plain.cart set token = 7, until = now() + interval '30 seconds'
        where pile = $1 and id = (select id from bench_plain.cart where pile = $1
            and until < now() order by id limit 1 for update skip locked) returning id, books";
    let fetch = prepared(&client, sql, &[Type::INT4]).await;
    let hold = "update bench_plain.cart set token = 7, until = now() + interval '30 seconds'";
    client.batch_execute(hold).await.expect("leases");
    let ids: Vec<i64> = (client.query("select id from bench_plain.cart order by id", &[]).await)
        .expect("rows")
        .iter()
        .map(|row| row.get(0))
        .collect();
    let sql = "with d as (delete from bench_plain.cart where pile = 1 and id = $1 and token = 7
        returning books) insert into bench_plain.cart (pile, books) select 2, books from d
        returning id";
    let pass = prepared(&client, sql, &[Type::INT8]).await;
    let start = Stopwatch::start();
    for id in ids {
        assert_eq!(run(&client, &pass, &[&id]).await, 1);
    }
    let passed = rate(start);
    let sql = "delete from bench_plain.cart where pile = 2 and id = $1 and token = 7 returning id";
    let settle = prepared(&client, sql, &[Type::INT8]).await;
    let start = Stopwatch::start();
    for _ in 0..BOOKS / CART {
        let rows = client.query(&fetch, &[&2i32]).await.expect("a cart");
        let id: i64 = rows[0].get(0);
        assert_eq!(run(&client, &settle, &[&id]).await, 1);
    }
    [appended, passed, rate(start)]
}

/// A row a book, `ROWS` a statement.
async fn by_book(url: &str, bytes: usize) -> Rates {
    let client = schemas(url).await;
    let sql = "create table bench_plain.book (pile int, id bigint generated always as identity,
            token bigint not null default 0, until timestamptz not null default '-infinity',
            body bytea not null, primary key (pile, id))";
    client.batch_execute(sql).await.expect("a table");
    let bodies = vec![vec![b'x'; bytes]; ROWS];
    let sql = "insert into bench_plain.book (pile, body) select 1, unnest($1::bytea[])";
    let append = prepared(&client, sql, &[Type::BYTEA_ARRAY]).await;
    let start = Stopwatch::start();
    for _ in 0..BOOKS / ROWS {
        run(&client, &append, &[&bodies]).await;
    }
    let appended = rate(start);
    let sql = "update bench_plain.book set token = 7, until = now() + interval '30 seconds'
        where pile = $1 and id = any(array(select id from bench_plain.book where pile = $1
            and until < now() order by id limit $2 for update skip locked)) returning id, body";
    let fetch = prepared(&client, sql, &[Type::INT4, Type::INT8]).await;
    let hold = "update bench_plain.book set token = 7, until = now() + interval '30 seconds'";
    client.batch_execute(hold).await.expect("leases");
    let ids: Vec<i64> = (client.query("select id from bench_plain.book order by id", &[]).await)
        .expect("rows")
        .iter()
        .map(|row| row.get(0))
        .collect();
    let sql = "with d as (delete from bench_plain.book where pile = 1 and id = any($1)
        and token = 7 returning body) insert into bench_plain.book (pile, body)
        select 2, body from d returning id";
    let pass = prepared(&client, sql, &[Type::INT8_ARRAY]).await;
    let start = Stopwatch::start();
    for ids in ids.chunks(ROWS) {
        assert_eq!(run(&client, &pass, &[&ids]).await, ids.len() as u64);
    }
    let passed = rate(start);
    let sql = "delete from bench_plain.book where pile = 2 and id = any($1) and token = 7
        returning id";
    let settle = prepared(&client, sql, &[Type::INT8_ARRAY]).await;
    let start = Stopwatch::start();
    for _ in 0..BOOKS / ROWS {
        let rows = client.query(&fetch, &[&2i32, &(ROWS as i64)]).await.expect("books");
        let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(run(&client, &settle, &[&ids]).await, ROWS as u64);
    }
    [appended, passed, rate(start)]
}

/// Milliseconds of one fsync of 4 KiB in the current folder, the median of 50.
fn fsync() -> f64 {
    let folder = tempfile::tempdir_in(".").expect("a folder");
    let mut file = File::create(folder.path().join("sync")).expect("a file");
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

fn best(a: Rates, b: Rates) -> Rates {
    [a[0].max(b[0]), a[1].max(b[1]), a[2].max(b[2])]
}

fn told(rates: Rates) -> String {
    let [append, pass, settle] = rates;
    format!("{append:8.1} {pass:8.1} {settle:8.1}")
}

fn ratios(ours: Rates, other: Rates) -> String {
    let [append, pass, settle] = [0, 1, 2].map(|at| ours[at] / other[at]);
    // One book through all three.
    let whole = |rates: Rates| rates.iter().map(|rate| 1.0 / rate).sum::<f64>();
    format!("{append:8.2} {pass:8.2} {settle:8.2} {:8.2}", whole(other) / whole(ours))
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let Ok(url) = std::env::var("DATABASE_URL") else {
        println!("set DATABASE_URL to the URL of a server");
        return;
    };
    println!("one fsync: {:.3} ms", fsync());
    println!("thousand books/s: append, pass, fetch+settle; ratios also end to end");
    for bytes in [64, 1024] {
        let (mut carts, mut cart, mut book) = ([0.0; 3], [0.0; 3], [0.0; 3]);
        for _ in 0..TURNS {
            cart = best(cart, by_cart(&url, bytes).await);
            book = best(book, by_book(&url, bytes).await);
            carts = best(carts, ours(&url, bytes).await);
        }
        println!("{bytes:5} B  the store          {}", told(carts));
        println!("         a cart a statement {}", told(cart));
        println!("                      ratio {}", ratios(carts, cart));
        println!("         a row a book       {}", told(book));
        println!("                      ratio {}", ratios(carts, book));
    }
}
