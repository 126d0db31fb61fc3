//! Random calls beside the reference engine: rows that are split, moved, and taken in part.

use std::mem::discriminant;
use std::sync::Arc;
use std::time::Duration;

use gopherworks_pipeline::book::{Book, BookId};
use gopherworks_pipeline::store::memory::{MemoryBackend, MemoryStore};
use gopherworks_pipeline::store::{
    Act, Append, Appended, Arrival, Arrived, Backend, Commit, Committed, Cursor, Pass, PileName,
    Receipt, StoreError, Tries, Want,
};
use gopherworks_postgres::Postgres;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::server::shared;
use crate::support::{Schema, any_seed, name, specs};

const PILES: [&str; 3] = ["a", "b", "c"];

/// A book that both engines have given: where it is, and a receipt of each.
#[derive(Debug, Clone)]
struct Given {
    pile: usize,
    id: u64,
    ours: Receipt,
    theirs: Receipt,
}

struct Run {
    schema: Schema,
    store: Postgres,
    reference: (MemoryStore, MemoryBackend),
    rng: ChaCha8Rng,
    held: Vec<Given>,
    /// Receipts that are void.
    old: Vec<Given>,
    next: u64,
}

fn pile(at: usize) -> PileName {
    name(PILES[at])
}

fn kind<T>(answer: &Result<T, StoreError>) -> Option<std::mem::Discriminant<StoreError>> {
    answer.as_ref().err().map(discriminant)
}

impl Run {
    fn some_book(&mut self, id: u64) -> Book {
        let size = match self.rng.random_range(0..40) {
            0 => self.rng.random_range(100_000..300_000),
            _ => self.rng.random_range(0..90),
        };
        let mut book = Book::new(vec![self.rng.random(); size]);
        book.id = BookId(id);
        if self.rng.random() { book.with_header("id", id.to_string()) } else { book }
    }

    fn append(&mut self) -> Append {
        let (to, hold) = (pile(self.rng.random_range(0..3)), self.rng.random_bool(0.3));
        let mut books = Vec::new();
        for _ in 0..self.rng.random_range(0..90) {
            // An engine need not hold a book again that another append has stored.
            let is_new = hold || self.rng.random_bool(0.98);
            self.next += u64::from(is_new);
            books.push(self.some_book(self.next).into());
        }
        Append { to, hold, books, checkpoint: None }
    }

    /// A receipt to be used: mostly a valid one, of a book that is not in use by this commit.
    fn some_given(&mut self, used: &mut Vec<u64>) -> Option<Given> {
        let stale = self.rng.random_bool(0.05) && !self.old.is_empty();
        let from = if stale { &self.old } else { &self.held };
        let given = from.get(self.rng.random_range(0..from.len().max(1)))?.clone();
        let is_free = !used.contains(&given.id);
        used.push(given.id);
        is_free.then_some(given)
    }

    /// Neighbours that are held, mostly.
    fn some_held(&mut self, used: &mut Vec<u64>) -> Vec<Given> {
        if self.rng.random_bool(0.3) {
            let count = self.rng.random_range(0..5);
            return (0..count).filter_map(|_| self.some_given(used)).collect();
        }
        let first = self.rng.random_range(0..self.held.len().max(1));
        let most = self.rng.random_range(1..90);
        let mut some: Vec<Given> = self.held.iter().skip(first).take(most).cloned().collect();
        some.retain(|given| !used.contains(&given.id));
        used.extend(some.iter().map(|given| given.id));
        some
    }

    fn some_act(&mut self) -> Act {
        match self.rng.random_range(0..10) {
            0..5 => Act::Ack,
            5 => Act::Drop,
            6 => Act::Bury { reason: "a \0 reason".into(), node: None, attempts: 2 },
            _ => {
                let attempts = self.rng.random_range(0..2);
                let tries = Tries { attempts, apart: attempts == 1, ..Tries::default() };
                let delay = Duration::from_secs(self.rng.random_range(0..3) * 10);
                Act::Return { delay, tries, hold: self.rng.random() }
            }
        }
    }

    async fn commit(&mut self) {
        let (mut ours, mut theirs) = (Commit::default(), Commit::default());
        let mut used = Vec::new();
        // What each arrival and act was about.
        let (mut about, mut acted) = (Vec::new(), Vec::new());
        for _ in 0..self.rng.random_range(0..4) {
            if self.rng.random_bool(0.4) {
                let append = self.append();
                ours.arrivals.push(Arrival::Append(append.clone()));
                theirs.arrivals.push(Arrival::Append(append));
                about.push(Vec::new());
                continue;
            }
            let to = self.rng.random_range(0..3);
            let some = self.some_held(&mut used);
            let changes = self.rng.random_range(0..3);
            let mut books = Vec::new();
            for given in &some {
                let changed = changes == 0 || changes == 1 && self.rng.random_bool(0.1);
                books.push(changed.then(|| self.some_book(given.id)));
            }
            // A book of the target keeps its lease there unless it is given up.
            let hold = self.rng.random_bool(0.5) || some.iter().any(|given| given.pile == to);
            let pass = |receipt: fn(&Given) -> &Receipt| {
                let receipts = some.iter().map(|given| receipt(given).clone());
                let books = receipts.zip(books.clone()).collect();
                Arrival::Pass(Pass { to: pile(to), hold, books })
            };
            ours.arrivals.push(pass(|given| &given.ours));
            theirs.arrivals.push(pass(|given| &given.theirs));
            about.push(some);
        }
        for _ in 0..self.rng.random_range(0..3) {
            let act = self.some_act();
            for given in self.some_held(&mut used) {
                let act = if self.rng.random_bool(0.1) { self.some_act() } else { act.clone() };
                ours.acts.push((given.ours.clone(), act.clone()));
                theirs.acts.push((given.theirs.clone(), act.clone()));
                acted.push((given, act));
            }
        }
        let (ours, theirs) = (Arc::new(ours), Arc::new(theirs));
        let done = self.store.commit(ours.clone()).await.unwrap();
        let wanted = self.reference.1.commit(theirs).await.unwrap();
        self.compare(&ours, about, acted, &done, &wanted);
    }

    fn compare(
        &mut self,
        commit: &Commit,
        about: Vec<Vec<Given>>,
        acted: Vec<(Given, Act)>,
        done: &Committed,
        wanted: &Committed,
    ) {
        let answers = done.arrivals.iter().zip(&wanted.arrivals);
        for ((arrival, some), (ours, theirs)) in commit.arrivals.iter().zip(about).zip(answers) {
            match (arrival, ours, theirs) {
                (
                    Arrival::Append(append),
                    Arrived::Appended(Ok(ours)),
                    Arrived::Appended(Ok(theirs)),
                ) => {
                    let to = PILES.iter().position(|pile| name(pile) == append.to).unwrap();
                    for ((new, ours), theirs) in append.books.iter().zip(ours).zip(theirs) {
                        match (ours, theirs) {
                            (Appended::Stored(Some(ours)), Appended::Stored(Some(theirs))) => {
                                let (ours, theirs) = (ours.clone(), theirs.clone());
                                let id = new.book.id.0;
                                self.held.retain(|given| given.id != id);
                                self.held.push(Given { pile: to, id, ours, theirs });
                            }
                            (ours, theirs) => assert_eq!(ours, theirs, "book {}", new.book.id),
                        }
                    }
                }
                (Arrival::Pass(pass), Arrived::Passed(ours), Arrived::Passed(theirs)) => {
                    let to = PILES.iter().position(|pile| name(pile) == pass.to).unwrap();
                    for ((given, ours), theirs) in some.into_iter().zip(ours).zip(theirs) {
                        assert_eq!(kind(ours), kind(theirs), "{given:?}: {ours:?}, {theirs:?}");
                        let (Ok(ours), Ok(theirs)) = (ours, theirs) else { continue };
                        assert_eq!(ours.receipt.is_some(), theirs.receipt.is_some(), "{given:?}");
                        self.held.retain(|held| held.id != given.id);
                        if let (Some(ours), Some(theirs)) = (&ours.receipt, &theirs.receipt) {
                            let (ours, theirs) = (ours.clone(), theirs.clone());
                            self.held.push(Given { pile: to, id: given.id, ours, theirs });
                        }
                        if given.pile != to {
                            self.old.push(given);
                        }
                    }
                }
                (_, ours, theirs) => panic!("{ours:?}, not {theirs:?}"),
            }
        }
        assert_eq!(done.acts.len(), wanted.acts.len());
        for ((given, act), (ours, theirs)) in
            acted.into_iter().zip(done.acts.iter().zip(&wanted.acts))
        {
            assert_eq!(kind(ours), kind(theirs), "{act:?} of {given:?}: {ours:?}, {theirs:?}");
            if ours.is_ok() && !matches!(act, Act::Return { hold: true, .. }) {
                self.held.retain(|held| held.id != given.id);
                self.old.push(given);
            }
        }
    }

    async fn fetch(&mut self, at: usize, books: usize, bytes: Option<u64>) -> usize {
        let want = Want { books, bytes };
        let ours = self.store.fetch(&pile(at), want, Duration::ZERO).await.unwrap();
        // An engine may give less than is wanted, but not nothing.
        let want = Want { books: ours.len().max(1), bytes: None };
        let theirs = self.reference.1.fetch(&pile(at), want, Duration::ZERO).await.unwrap();
        let sum: u64 = ours.iter().map(|given| given.book.size()).sum();
        let fits = ours.len() <= books && bytes.is_none_or(|most| sum <= most);
        assert!(fits || ours.len() == 1, "{} of {books}, {sum} of {bytes:?}", ours.len());
        assert_eq!(ours.len(), theirs.len(), "on pile {at}");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours.book.id, theirs.book.id, "on pile {at}");
            assert_eq!(ours.book.headers, theirs.book.headers);
            let body = ours.book.body.read_all(u64::MAX).unwrap();
            assert!(body == theirs.book.body.read_all(u64::MAX).unwrap(), "{}", ours.book.id);
            assert_eq!(ours.tries, theirs.tries, "tries of {}", ours.book.id);
            let id = ours.book.id.0;
            let (ours, theirs) = (ours.receipt.clone(), theirs.receipt.clone());
            self.old.extend(self.held.extract_if(.., |held| held.id == id));
            self.held.push(Given { pile: at, id, ours, theirs });
        }
        ours.len()
    }

    async fn extend(&mut self) {
        let some: Vec<Given> = (0..3).filter_map(|_| self.some_given(&mut Vec::new())).collect();
        let by = Duration::from_secs(self.rng.random_range(10..60));
        let receipts =
            |of: fn(&Given) -> &Receipt| some.iter().map(of).cloned().collect::<Vec<_>>();
        let ours = self.store.extend(&receipts(|given| &given.ours), by).await;
        let theirs = self.reference.1.extend(&receipts(|given| &given.theirs), by).await;
        for (given, (ours, theirs)) in some.iter().zip(ours.iter().zip(&theirs)) {
            assert_eq!(kind(ours), kind(theirs), "{given:?}: {ours:?}, {theirs:?}");
        }
        // A row is extended as a whole: so are the others.
        let all: Vec<Given> = self.held.clone();
        let receipts = |of: fn(&Given) -> &Receipt| all.iter().map(of).cloned().collect::<Vec<_>>();
        self.store.extend(&receipts(|given| &given.ours), by).await;
        self.reference.1.extend(&receipts(|given| &given.theirs), by).await;
    }

    async fn check(&mut self) {
        for at in 0..3 {
            let mut ours = self.store.depth(&pile(at)).await.unwrap();
            let mut theirs = self.reference.1.depth(&pile(at)).await.unwrap();
            let (due, wanted) = (ours.next_due.take(), theirs.next_due.take());
            assert_eq!(due.is_some(), wanted.is_some(), "pile {at}: {due:?}, {wanted:?}");
            // Real time passes, too.
            let (due, wanted) = (due.unwrap_or_default(), wanted.unwrap_or_default());
            assert!(due <= wanted && wanted - due < Duration::from_secs(9), "{due:?}, {wanted:?}");
            assert_eq!(ours, theirs, "pile {at}");
        }
        let ours = self.store.dead(Cursor::START, 10_000).await.unwrap();
        let theirs = self.reference.1.dead(Cursor::START, 10_000).await.unwrap();
        let told = |dead: &gopherworks_pipeline::store::DeadBook| {
            (dead.book.id, dead.pile.clone(), dead.attempts, dead.book.size())
        };
        let (mut ours, mut theirs): (Vec<_>, Vec<_>) =
            (ours.iter().map(told).collect(), theirs.iter().map(told).collect());
        ours.sort();
        theirs.sort();
        assert_eq!(ours, theirs);
    }
}

#[actix::test]
async fn random_calls_do_what_the_reference_does() {
    let Some(server) = shared("random_calls_do_what_the_reference_does") else { return };
    let seed = any_seed();
    let seeds = std::env::var("GOPHERWORKS_SEEDS").map_or(2, |seeds| seeds.parse().unwrap());
    for seed in (0..seeds).map(|more| seed.wrapping_add(more)) {
        println!("seed {seed}");
        let (schema, memory) = (Schema::new(server), MemoryStore::new());
        let (store, reference) = (schema.store(), memory.process());
        store.open(&specs(&PILES)).await.unwrap();
        reference.open(&specs(&PILES)).await.unwrap();
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let (held, old) = (Vec::new(), Vec::new());
        let reference = (memory, reference);
        let mut run = Run { schema, store, reference, rng, held, old, next: 0 };
        for _ in 0..60 {
            match run.rng.random_range(0..20) {
                0..10 => run.commit().await,
                10..16 => {
                    let (at, books) = (run.rng.random_range(0..3), run.rng.random_range(1..150));
                    let bytes = run.rng.random_range(1..5_000);
                    let bytes = run.rng.random_bool(0.3).then_some(bytes);
                    run.fetch(at, books, bytes).await;
                }
                16 => run.extend().await,
                17 => {
                    let by = Duration::from_secs(run.rng.random_range(1..20));
                    run.schema.pass_time(by).await;
                    run.reference.0.elapse(by);
                }
                _ => run.check().await,
            }
        }
        // All leases end, and all delays.
        let by = Duration::from_secs(100);
        run.schema.pass_time(by).await;
        run.reference.0.elapse(by);
        for at in 0..3 {
            while run.fetch(at, 200, None).await > 0 {}
        }
        run.check().await;
        let account = run.schema.store().open(&[]).await.unwrap().account.unwrap();
        assert!(account.balances(), "{account:?}");
    }
}
