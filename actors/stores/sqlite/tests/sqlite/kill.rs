//! `kill -9` at random moments: nothing that was confirmed is lost or comes back.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use gopherworks_pipeline::book::{Book, BookId};
use gopherworks_pipeline::store::{
    Act, Append, Arrival, Arrived, Backend, Checkpoint, Commit, Pass, PileName, PileSpec, Want,
};
use gopherworks_sqlite::{Sqlite, check};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::support::any_seed;

const KILLS: u32 = 20;

/// In the environment of the process that is killed: the path of its store.
const STORE: &str = "GOPHERWORKS_TEST_STORE";

fn name(pile: &str) -> PileName {
    PileName::new("", pile)
}

fn piles() -> Vec<PileSpec> {
    ["in", "middle", "out"].map(|pile| PileSpec::new(name(pile))).into()
}

/// A body that its id determines; some are large enough for a file.
fn book(id: u64) -> Book {
    let len = if id.is_multiple_of(97) { 300_000 } else { 20 + id as usize % 200 };
    let mut book = Book::new(vec![id as u8; len]).with_header("id", id.to_string());
    book.id = BookId(id);
    book
}

/// The process that is killed. It reports on standard output what the store
/// has confirmed: `+ID` appended, `-ID` acked, `>ID` passed to `out`.
#[actix::test]
#[ignore = "not a test of its own: the process that the other one kills"]
async fn works_until_it_is_killed() {
    let store = Sqlite::new(std::env::var(STORE).unwrap()).reserve(1 << 20);
    let recovered = store.open(&piles()).await.unwrap();
    let mut position = recovered
        .positions
        .first()
        .map_or(0, |at| u64::from_le_bytes(at.position[..].try_into().unwrap()));
    let mut rng = ChaCha8Rng::seed_from_u64(position);
    let mut report = std::io::stdout();
    loop {
        // A source of numbered lines, each once: the line is the id.
        let count = rng.random_range(1..40);
        let books = (position + 1..=position + count).map(|line| book(line).into()).collect();
        position += count;
        let at = position.to_le_bytes().to_vec().into();
        let at =
            Checkpoint { source: "lines".into(), share: 0, position: at, adds: false, owner: 0 };
        let append = Append { to: name("in"), hold: false, books, checkpoint: Some(at) };
        let want = Want { books: rng.random_range(1..60), bytes: None };
        let mut commit = Commit { arrivals: vec![Arrival::Append(append)], acts: vec![] };
        let mut lines = String::new();
        for line in position - count + 1..=position {
            lines += &format!("+{line}\n");
        }
        for (from, to) in [("in", "middle"), ("middle", "out")] {
            let held = store.fetch(&name(from), want, Duration::ZERO).await.unwrap();
            let receipts: Vec<_> = held.iter().map(|held| held.receipt.clone()).collect();
            store.begin(&receipts);
            if to == "out" {
                held.iter().for_each(|held| lines += &format!(">{}\n", held.book.id));
            }
            let books = receipts.into_iter().map(|receipt| (receipt, None)).collect();
            commit.arrivals.push(Arrival::Pass(Pass { to: name(to), hold: false, books }));
        }
        for held in store.fetch(&name("out"), want, Duration::ZERO).await.unwrap() {
            lines += &format!("-{}\n", held.book.id);
            commit.acts.push((held.receipt, Act::Ack));
        }
        let done = store.commit(commit.into()).await.unwrap();
        assert!(done.acts.iter().all(Result::is_ok), "{done:?}");
        let fine = |arrived: &Arrived| match arrived {
            Arrived::Appended(answer) => answer.is_ok(),
            Arrived::Passed(answers) => answers.iter().all(Result::is_ok),
        };
        assert!(done.arrivals.iter().all(fine), "{done:?}");
        // One write, so that no line is cut.
        report.write_all(lines.as_bytes()).unwrap();
    }
}

/// Starts the process, and kills it after it has reported `lines` lines; answers all of them.
fn run_and_kill(path: &Path, lines: usize) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "kill::works_until_it_is_killed", "--nocapture"])
        .env(STORE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let mut reported = Vec::new();
    loop {
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        // A kill may cut the last line.
        let Some(whole) = line.strip_suffix('\n') else { break };
        if whole.starts_with(['+', '-', '>']) {
            reported.push(whole.to_owned());
            if reported.len() == lines {
                child.kill().unwrap();
            }
        }
    }
    child.wait().unwrap();
    assert!(reported.len() >= lines, "it has ended by itself");
    reported
}

#[actix::test]
async fn nothing_confirmed_is_lost_or_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("works.db");
    let seed = any_seed();
    println!("seed {seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut appended, mut acked, mut passed) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for _ in 0..KILLS {
        for line in run_and_kill(&path, rng.random_range(1..3_000)) {
            let (kind, id) = line.split_at(1);
            let id: u64 = id.parse().unwrap();
            let is_new = match kind {
                "+" => appended.insert(id),
                "-" => acked.insert(id),
                _ => passed.insert(id),
            };
            assert!(is_new, "confirmed twice: {line}, seed {seed}");
        }
        let found = check(&path, false).unwrap();
        assert!(found.iter().all(|found| found.what.contains("belong to no book")), "{found:?}");
    }
    let store = Sqlite::new(&path).reserve(1 << 20);
    let recovered = store.open(&piles()).await.unwrap();
    let position = u64::from_le_bytes(recovered.positions[0].position[..].try_into().unwrap());
    let all = Want { books: usize::MAX, bytes: None };
    let mut present = BTreeSet::new();
    let mut out = BTreeSet::new();
    for pile in ["in", "middle", "out"] {
        for held in store.fetch(&name(pile), all, Duration::ZERO).await.unwrap() {
            let id = held.book.id.0;
            assert!(present.insert(id), "book {id} is there twice, seed {seed}");
            assert_eq!(held.book.headers, book(id).headers, "book {id}");
            let body = held.book.body.read_all(u64::MAX).unwrap();
            assert_eq!(body, book(id).body.read_all(u64::MAX).unwrap(), "book {id}");
            if pile == "out" {
                out.insert(id);
            }
        }
    }
    let account = recovered.account.unwrap();
    assert!(account.balances(), "{account:?}");
    assert_eq!(account.offered, position, "each line was read once, seed {seed}");
    assert_eq!(account.present, present.len() as u64);
    assert_eq!(account.burned, position - account.present, "the rest was burned");
    let lost: Vec<_> = appended.iter().filter(|id| **id > position).collect();
    assert!(lost.is_empty(), "confirmed, and not stored: {lost:?}, seed {seed}");
    let back: Vec<_> = acked.intersection(&present).collect();
    assert!(back.is_empty(), "acked, and back: {back:?}, seed {seed}");
    let fallen: Vec<_> = passed.intersection(&present).filter(|id| !out.contains(id)).collect();
    assert!(fallen.is_empty(), "passed, and back: {fallen:?}, seed {seed}");
    println!("{KILLS} kills: {} appended, {} acked, lost 0", appended.len(), acked.len());
    store.close().await.unwrap();
    assert_eq!(check(&path, false).unwrap(), [], "after a clean end nothing is left over");
}
