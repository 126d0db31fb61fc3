//! `kill -9` of the server with its children under load: nothing confirmed is lost or comes back.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use gopherworks_pipeline::store::{Act, Append, Backend, Pass, StoreError, Want};
use gopherworks_postgres::Postgres;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{Notify, watch};

use crate::server::{Server, skip};
use crate::support::{ALL, Schema, any_seed, append, name, specs};

const WORKERS: u64 = 4;

/// What the store has confirmed, and whether it is up.
struct Seen {
    appended: RefCell<BTreeSet<u64>>,
    acked: RefCell<BTreeSet<u64>>,
    passed: RefCell<BTreeSet<u64>>,
    /// Books whose ack has no answer.
    unsure: RefCell<BTreeSet<u64>>,
    confirmed: Cell<u64>,
    progress: Notify,
    /// How often the server was started; 0 while it is down for good.
    up: watch::Receiver<u32>,
}

impl Seen {
    fn confirm(&self, set: &RefCell<BTreeSet<u64>>, ids: impl IntoIterator<Item = u64>) {
        set.borrow_mut().extend(ids);
        self.confirmed.set(self.confirmed.get() + 1);
        self.progress.notify_waiters();
    }

    /// Waits until the server has been started once more; false at the end.
    async fn restarted(&self, since: u32) -> bool {
        let mut up = self.up.clone();
        *up.wait_for(|starts| *starts != since).await.unwrap() != 0
    }

    fn starts(&self) -> u32 {
        *self.up.borrow()
    }
}

/// Only errors of a lost server are right.
fn is_lost(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable { .. } | StoreError::Unknown(_))
}

/// Appends until it is confirmed: the same books, whatever the outcome was.
async fn put(store: &Postgres, seen: &Seen, books: &Append) -> bool {
    loop {
        let starts = seen.starts();
        match store.append(books).await {
            Ok(answers) => {
                assert_eq!(answers.len(), books.books.len());
                let ids = books.books.iter().map(|new| new.book.id.0);
                seen.confirm(&seen.appended, ids);
                return true;
            }
            Err(error) if is_lost(&error) => {
                if starts == 0 || starts == seen.starts() && !seen.restarted(starts).await {
                    return false;
                }
            }
            Err(error) => panic!("an append: {error}"),
        }
    }
}

/// Appends, passes and acks until the end.
async fn work(store: Rc<Postgres>, seen: Rc<Seen>, mut rng: ChaCha8Rng, ids: Vec<u64>) {
    let mut ids = ids.into_iter();
    while seen.starts() != 0 {
        let count = rng.random_range(1..100);
        let books = append("in", ids.by_ref().take(count));
        if books.books.is_empty() || !put(&store, &seen, &books).await {
            return;
        }
        let want = Want { books: rng.random_range(1..130), bytes: None };
        if let Ok(held) = store.fetch(&name("in"), want, Duration::ZERO).await {
            let some = held.iter().filter(|held| held.book.id.0 % 9 > 0);
            let (ids, books): (Vec<u64>, Vec<_>) =
                some.map(|held| (held.book.id.0, (held.receipt.clone(), None))).unzip();
            let answers = store.pass(&Pass { to: name("out"), hold: false, books }).await;
            let known = answers.iter().zip(ids);
            let stored = known.filter(|(answer, _)| answer.is_ok()).map(|(_, id)| id);
            let stored: Vec<u64> = stored.collect();
            answers.iter().filter_map(|answer| answer.as_ref().err()).for_each(is_right);
            seen.confirm(&seen.passed, stored);
        }
        if let Ok(held) = store.fetch(&name("out"), want, Duration::ZERO).await {
            let some = held.iter().filter(|held| held.book.id.0 % 7 > 0);
            let acts: Vec<_> = some.clone().map(|held| (held.receipt.clone(), Act::Ack)).collect();
            let answers = store.settle(&acts).await;
            answers.iter().filter_map(|answer| answer.as_ref().err()).for_each(is_right);
            let mut acked = Vec::new();
            for (held, answer) in some.zip(&answers) {
                match answer {
                    Ok(()) => acked.push(held.book.id.0),
                    Err(StoreError::Unknown(_)) => {
                        seen.unsure.borrow_mut().insert(held.book.id.0);
                    }
                    Err(_) => {}
                }
            }
            seen.confirm(&seen.acked, acked);
        }
    }
}

fn is_right(error: &StoreError) {
    assert!(is_lost(error) || error.is_lost(), "{error}");
}

#[actix::test]
async fn nothing_confirmed_is_lost_or_comes_back() {
    let mut server = match Server::start(&[]) {
        Ok(server) => server,
        Err(why) => return skip("nothing_confirmed_is_lost_or_comes_back", &why),
    };
    let kills = std::env::var("GOPHERWORKS_KILLS").map_or(2, |kills| kills.parse().unwrap());
    let seed = any_seed();
    println!("seed {seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let schema = Schema::new(&server);
    let store = Rc::new(schema.store());
    store.open(&specs(&["in", "out"])).await.unwrap();
    let ids = store.reserve_ids(WORKERS * 10_000_000).await.unwrap();
    let (started, up) = watch::channel(1);
    let (appended, acked, passed) = Default::default();
    let (unsure, confirmed, progress) = Default::default();
    let seen = Rc::new(Seen { appended, acked, passed, unsure, confirmed, progress, up });
    let mut workers = Vec::new();
    for worker in 0..WORKERS {
        let first = ids.start + worker * 10_000_000;
        let rng = ChaCha8Rng::seed_from_u64(seed.wrapping_add(worker));
        let ids = (first..first + 1_000_000).collect();
        workers.push(actix::spawn(work(store.clone(), seen.clone(), rng, ids)));
    }
    for start in 2..kills + 2 {
        // The kill comes at any moment after some confirmations.
        let until = seen.confirmed.get() + rng.random_range(5..80);
        while seen.confirmed.get() < until {
            seen.progress.notified().await;
        }
        server.kill();
        server.restart();
        started.send(start).unwrap();
    }
    started.send(0).unwrap();
    for worker in workers {
        worker.await.unwrap();
    }
    drop(store);
    schema.pass_time(Duration::from_secs(31)).await;
    let store = schema.store();
    let account = store.open(&specs(&["in", "out"])).await.unwrap().account.unwrap();
    assert!(account.balances(), "{account:?}, seed {seed}");
    let (mut present, mut out) = (BTreeSet::new(), BTreeSet::new());
    for pile in ["in", "out"] {
        loop {
            let some = store.fetch(&name(pile), ALL, Duration::ZERO).await.unwrap();
            if some.is_empty() {
                break;
            }
            for held in some {
                let id = held.book.id.0;
                assert!(present.insert(id), "book {id} is there twice, seed {seed}");
                let body = held.book.body.read_all(u64::MAX).unwrap();
                assert_eq!(body, crate::support::book(id).body.read_all(u64::MAX).unwrap());
                if pile == "out" {
                    out.insert(id);
                }
            }
        }
    }
    assert_eq!(account.present, present.len() as u64);
    let (appended, acked) = (seen.appended.borrow(), seen.acked.borrow());
    let back: Vec<_> = acked.intersection(&present).collect();
    assert!(back.is_empty(), "acked, and back: {back:?}, seed {seed}");
    let passed = seen.passed.borrow();
    let fallen: Vec<_> = passed.intersection(&present).filter(|id| !out.contains(id)).collect();
    assert!(fallen.is_empty(), "passed, and back: {fallen:?}, seed {seed}");
    // Burned are those whose ack was confirmed, and some of those whose ack has no answer.
    let unsure = seen.unsure.borrow();
    let missing = |id: &&u64| !present.contains(*id) && !acked.contains(*id);
    let lost: Vec<_> = appended.iter().filter(missing).filter(|id| !unsure.contains(id)).collect();
    assert!(lost.is_empty(), "confirmed, and lost: {lost:?}, seed {seed}");
    let burned = acked.len() + appended.iter().filter(missing).count();
    assert_eq!(account.burned, burned as u64, "{account:?}, seed {seed}");
    println!(
        "{kills} kills: {} appended, {} passed, {} acked, {} acks without an answer, lost 0",
        appended.len(),
        passed.len(),
        acked.len(),
        unsure.len()
    );
}
