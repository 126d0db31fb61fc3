//! Random calls, kills and restarts beside a model of two piles.

use std::time::Duration;

use gopherworks_pipeline::book::{Book, BookId};
use gopherworks_pipeline::store::conformance::Fixture;
use gopherworks_pipeline::store::{
    Act, Append, Arrival, Backend, Commit, Pass, PileName, PileSpec, Receipt, Tries, Want,
};
use gopherworks_sqlite::{Sqlite, check};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::support::{OnDisk, any_seed};

/// A book of the model.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    id: u64,
    body: Vec<u8>,
    tries: Tries,
    /// In milliseconds.
    due: u64,
    held: bool,
}

#[derive(Default)]
struct Model {
    piles: [Vec<Known>; 2],
    burned: u64,
    dead: u64,
    next: u64,
}

fn name(pile: usize) -> PileName {
    PileName::new("", ["a", "b"][pile])
}

fn made(known: &Known) -> Book {
    let book = Book { id: BookId(known.id), ..Book::new(known.body.clone()) };
    book.with_header("id", known.id.to_string())
}

struct Run {
    disk: OnDisk,
    rng: ChaCha8Rng,
    model: Model,
}

impl Run {
    fn now(&self) -> u64 {
        self.disk.now.load(std::sync::atomic::Ordering::Relaxed)
    }

    async fn open(&self) -> Sqlite {
        let store = self.disk.store();
        let recovered = store.open(&[0, 1].map(|pile| PileSpec::new(name(pile)))).await.unwrap();
        for (depth, pile) in recovered.piles.iter().zip(&self.model.piles) {
            assert_eq!(depth.books, pile.len() as u64);
            assert_eq!(depth.bytes, pile.iter().map(|known| known.body.len() as u64).sum::<u64>());
        }
        let account = recovered.account.unwrap();
        assert_eq!((account.burned, account.dead), (self.model.burned, self.model.dead));
        assert!(account.balances(), "{account:?}");
        store
    }

    fn body(&mut self) -> Vec<u8> {
        let size = match self.rng.random_range(0..40) {
            0 => 300_000,
            1..4 => self.rng.random_range(0..70_000),
            _ => self.rng.random_range(0..300),
        };
        vec![self.rng.random(); size]
    }

    /// New books of ids that are some steps apart.
    fn append(&mut self) -> Append {
        let (pile, hold) = (self.rng.random_range(0..2), self.rng.random());
        let step = self.rng.random_range(1..4);
        let mut books = Vec::new();
        for _ in 0..self.rng.random_range(1..30) {
            self.model.next += step;
            let (id, body) = (self.model.next, self.body());
            let known = Known { id, body, tries: Tries::default(), due: 0, held: hold };
            books.push(made(&known).into());
            self.model.piles[pile].push(known);
        }
        Append { to: name(pile), hold, books, checkpoint: None }
    }

    async fn fetch(&mut self, store: &Sqlite) {
        let pile = self.rng.random_range(0..2);
        let bytes = self.rng.random::<bool>().then(|| self.rng.random_range(1..5_000));
        let want = Want { books: self.rng.random_range(1..50), bytes };
        let held = store.fetch(&name(pile), want, Duration::ZERO).await.unwrap();
        let (now, mut sum) = (self.now(), 0);
        let mut wanted = Vec::new();
        let free = |known: &&mut Known| !known.held && known.due <= now;
        for known in self.model.piles[pile].iter_mut().filter(free) {
            sum += known.body.len() as u64;
            let is_above = bytes.is_some_and(|most| sum > most);
            if !wanted.is_empty() && (wanted.len() == want.books || is_above) {
                break;
            }
            known.held = true;
            wanted.push((known.id, known.body.clone(), known.tries));
        }
        assert_eq!(held.len(), wanted.len());
        for (held, (id, body, tries)) in held.iter().zip(wanted) {
            assert_eq!((held.book.id.0, held.tries), (id, tries));
            assert!(held.book.body.read_all(u64::MAX).unwrap() == body, "the body of {id}");
        }
    }

    /// Some of the held books of a pile, taken out of the model.
    fn some_held(&mut self, pile: usize) -> Vec<(usize, Known)> {
        let share = self.rng.random_range(0.0..1.0);
        let mut some = Vec::new();
        for (at, known) in self.model.piles[pile].iter().enumerate() {
            if known.held && self.rng.random_bool(share) {
                some.push((at, known.clone()));
            }
        }
        some
    }

    fn forget(&mut self, pile: usize, id: u64) {
        self.model.piles[pile].retain(|known| known.id != id);
    }

    async fn commit(&mut self, store: &Sqlite) {
        let mut commit = Commit::default();
        if self.rng.random() {
            commit.arrivals.push(Arrival::Append(self.append()));
        }
        let pile = self.rng.random_range(0..2);
        let (to, hold) = (1 - pile, self.rng.random());
        let mut books = Vec::new();
        for (_, mut known) in self.some_held(pile) {
            self.forget(pile, known.id);
            let changed = self.rng.random_bool(0.2);
            if changed {
                known.body = self.body();
            }
            (known.tries, known.due, known.held) = (Tries::default(), 0, hold);
            books.push((Receipt::of(BookId(known.id)), changed.then(|| made(&known))));
            self.model.piles[to].push(known);
        }
        commit.arrivals.push(Arrival::Pass(Pass { to: name(to), hold, books }));
        // Some of these were passed or appended by this commit.
        for (at, known) in self.some_held(to) {
            let receipt = Receipt::of(BookId(known.id));
            let act = match self.rng.random_range(0..4) {
                0 => Act::Bury { reason: "it".into(), node: None, attempts: 1 },
                1 | 2 => Act::Ack,
                _ => {
                    let attempts = self.rng.random_range(0..3);
                    let tries = Tries { attempts, apart: attempts == 2, ..Tries::default() };
                    let delay = self.rng.random_range(0..3) * 1_000;
                    let hold = self.rng.random();
                    let due = if delay == 0 { 0 } else { self.now() + delay };
                    let kept = self.model.piles[to].iter_mut().find(|kept| kept.id == known.id);
                    let kept = kept.unwrap_or_else(|| panic!("book {at}"));
                    (kept.tries, kept.due, kept.held) = (tries, due, hold);
                    let delay = Duration::from_millis(delay);
                    commit.acts.push((receipt, Act::Return { delay, tries, hold }));
                    continue;
                }
            };
            match act {
                Act::Ack => self.model.burned += 1,
                _ => self.model.dead += 1,
            }
            self.forget(to, known.id);
            commit.acts.push((receipt, act));
        }
        let done = store.commit(commit.into()).await.unwrap();
        assert!(done.acts.iter().all(Result::is_ok), "{done:?}");
    }
}

#[actix::test]
async fn random_calls_do_what_the_model_does() {
    let seed: u64 = any_seed();
    // A delay had ended behind the place to which a return moved the cursor back.
    let known = [5_005_835_351_123_261_726];
    for seed in known.into_iter().chain((0..30).map(|more| seed.wrapping_add(more))) {
        println!("seed {seed}");
        let (disk, rng) = (OnDisk::new(), ChaCha8Rng::seed_from_u64(seed));
        let mut run = Run { disk, rng, model: Model::default() };
        let mut store = run.open().await;
        for _ in 0..60 {
            match run.rng.random_range(0..20) {
                0..3 => _ = store.append(&run.append()).await.unwrap(),
                3..11 => run.fetch(&store).await,
                11..18 => run.commit(&store).await,
                18 => run.disk.elapse(Duration::from_millis(700)).await,
                _ => {
                    if run.rng.random() {
                        store.close().await.unwrap();
                    }
                    drop(store);
                    let held = |known: &mut Known| known.held = false;
                    run.model.piles.iter_mut().flatten().for_each(held);
                    assert_eq!(check(&run.disk.path(), false).unwrap(), []);
                    store = run.open().await;
                }
            }
        }
    }
}
