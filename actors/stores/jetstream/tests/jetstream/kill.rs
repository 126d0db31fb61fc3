//! `kill -9` of the server under load: nothing that was confirmed is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use gopherworks_jetstream::Jetstream;
use gopherworks_pipeline::store::{
    Act, Append, Backend, Checkpoint, Pass, PileSpec, StoreError, Want,
};
use gopherworks_supervision::clock::{Clock, Stopwatch};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::server::{Server, free_port, program, url};
use crate::support::{LEASE, book, fetch_all, name, spec};

/// How often the server is killed, unless the environment says otherwise.
const KILLS: u32 = 3;

fn piles() -> Vec<PileSpec> {
    ["in", "out"].map(spec).into()
}

/// What the store has confirmed.
#[derive(Default)]
struct Confirmed {
    appended: BTreeSet<u64>,
    acked: BTreeSet<u64>,
    /// Acks that were sent, answered or not.
    sent: BTreeSet<u64>,
    /// Number of lines that the position of the source stands for.
    position: u64,
    /// Answers that said that the outcome is not known.
    unknown: usize,
}

/// One round of a source, a crew and a burn; false if the server is gone.
async fn round(store: &Jetstream, rng: &mut ChaCha8Rng, token: u64, done: &mut Confirmed) -> bool {
    let count = rng.random_range(1..150);
    let books = (done.position + 1..=done.position + count).map(|id| book(id).into()).collect();
    let at = (done.position + count).to_le_bytes().to_vec().into();
    let at =
        Checkpoint { source: "lines".into(), share: 0, position: at, adds: false, owner: token };
    let append = Append { to: name("in"), hold: false, books, checkpoint: Some(at) };
    match store.append(&append).await {
        Ok(_) => {
            done.appended.extend(done.position + 1..=done.position + count);
            done.position += count;
        }
        Err(error) => {
            done.unknown += usize::from(matches!(error, StoreError::Unknown(_)));
            return false;
        }
    }
    let want = Want { books: rng.random_range(1..120), bytes: None };
    let Ok(held) = store.fetch(&name("in"), want, Duration::ZERO).await else { return false };
    let books = held.into_iter().map(|held| (held.receipt, None)).collect();
    let pass = Pass { to: name("out"), hold: false, books };
    if store.pass(&pass).await.iter().any(|passed| !matches!(passed, Ok(passed) if passed.acked)) {
        return false;
    }
    let Ok(held) = store.fetch(&name("out"), want, Duration::ZERO).await else { return false };
    let acts: Vec<_> = held.iter().map(|held| (held.receipt.clone(), Act::Ack)).collect();
    done.sent.extend(held.iter().map(|held| held.book.id.0));
    let answers = store.settle(&acts).await;
    for (held, answer) in held.iter().zip(&answers) {
        if answer.is_ok() {
            done.acked.insert(held.book.id.0);
        }
    }
    answers.iter().all(Result::is_ok)
}

#[actix::test]
async fn nothing_confirmed_is_lost() {
    let Some(program) = program() else { return };
    let kills = std::env::var("GOPHERWORKS_KILLS").ok().and_then(|kills| kills.parse().ok());
    let kills: u32 = kills.unwrap_or(KILLS);
    let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
    println!("seed {seed}, {kills} kills");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let mut done = Confirmed::default();
    for life in 0..=kills {
        // By default servers sync every two minutes.
        let interval = if life % 2 == 0 { "always" } else { "2m" };
        let server = Server::syncing(&program, folder.path(), port, interval);
        let store = Jetstream::new(url(port), "kill");
        let recovered = store.open(&piles()).await.unwrap();
        let position = recovered
            .positions
            .first()
            .map_or(0, |at| u64::from_le_bytes(at.position[..].try_into().unwrap()));
        assert!(position >= done.position, "{position} < {}, seed {seed}", done.position);
        // What was appended without an answer is known by the position.
        done.appended.extend(done.position + 1..=position);
        done.position = position;
        if life == kills {
            check(&store, &done, seed).await;
            break;
        }
        let token = own(&store).await;
        let span = Duration::from_millis(rng.random_range(50..600));
        let watch = Stopwatch::start();
        let mut server = Some(server);
        while round(&store, &mut rng, token, &mut done).await {
            if watch.elapsed() >= span
                && let Some(server) = server.take()
            {
                // While the next round is under way.
                std::thread::spawn(|| server.kill());
            }
        }
        if let Some(server) = server {
            server.kill();
        }
    }
}

/// The source's owner; the former one was this test, before the kill.
async fn own(store: &Jetstream) -> u64 {
    store.own("lines", 0, None, Duration::from_millis(1)).await.unwrap().token
}

async fn check(store: &Jetstream, done: &Confirmed, seed: u64) {
    // The leases of all former lives end.
    Clock::real().sleep(LEASE * 5 / 4).await;
    let mut present = BTreeSet::new();
    let mut copies = 0;
    for pile in ["in", "out"] {
        for held in fetch_all(store, pile).await {
            let id = held.book.id.0;
            assert_eq!(held.book.headers, book(id).headers, "book {id}");
            let body = held.book.body.read_all(u64::MAX).unwrap();
            assert_eq!(body, book(id).body.read_all(u64::MAX).unwrap(), "book {id}");
            copies += usize::from(!present.insert(id));
        }
    }
    let is_lost = |id: &&u64| !present.contains(id) && !done.sent.contains(id);
    let lost: Vec<_> = done.appended.iter().filter(is_lost).collect();
    let back = done.acked.intersection(&present).count();
    println!(
        "{} confirmed, lost {}; {} acked, {back} of them came back; {copies} copies; {} appends \
         without an answer",
        done.appended.len(),
        lost.len(),
        done.acked.len(),
        done.unknown,
    );
    assert!(!done.appended.is_empty() && !done.acked.is_empty(), "there was load, seed {seed}");
    assert!(lost.is_empty(), "confirmed, never acked, and not there: {lost:?}, seed {seed}");
    store.close().await.unwrap();
}
