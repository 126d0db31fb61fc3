//! Holders that are stopped past their lease: what they do late changes nothing.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gopherworks_pipeline::store::{Act, Backend, Pass, StoreError, Tries, Want};
use gopherworks_postgres::Postgres;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::server::shared;
use crate::support::{ALL, Schema, append, ids, name, receipts, specs};

/// In the environment of a process that is stopped: the URL and the schema of its store.
const STORE: [&str; 2] = ["GOPHERWORKS_TEST_URL", "GOPHERWORKS_TEST_SCHEMA"];

const HOLDERS: u64 = 10;

/// Of each holder; a row is shared by four.
const BOOKS: u64 = 16;

/// Fetches, waits for a line, and then acts on what it has fetched; reports how each act fared.
#[actix::test]
#[ignore = "not a test of its own: a process that the other one stops"]
async fn holds_until_it_is_stopped() {
    let [url, schema] = STORE.map(|name| std::env::var(name).unwrap());
    let store = Postgres::new(&url).schema(&schema);
    store.open(&specs(&["a", "b"])).await.unwrap();
    let want = Want { books: BOOKS as usize, bytes: None };
    let held = store.fetch(&name("a"), want, Duration::ZERO).await.unwrap();
    let said: Vec<String> = ids(&held).iter().map(u64::to_string).collect();
    println!("\nheld {}", said.join(" "));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    let receipts = receipts(&held);
    let (acts, rest) = receipts.split_at(8);
    let (passed, extended) = rest.split_at(4);
    let back = Act::Return { delay: Duration::from_secs(1), tries: Tries::default(), hold: false };
    let bury = Act::Bury { reason: "late".into(), node: None, attempts: 1 };
    let some = [Act::Ack, Act::Drop, back, bury];
    let acts: Vec<_> = acts.iter().cloned().zip(some.into_iter().cycle()).collect();
    let mut answers = store.settle(&acts).await;
    let books = passed.iter().map(|receipt| (receipt.clone(), None)).collect();
    let passed = store.pass(&Pass { to: name("b"), hold: true, books }).await;
    answers.extend(passed.into_iter().map(|answer| answer.map(drop)));
    answers.extend(store.extend(extended, Duration::from_secs(30)).await);
    let kinds = answers.iter().map(|answer| format!("{answer:?}"));
    println!("\nthen {}", kinds.collect::<Vec<_>>().join(" "));
    store.close().await.unwrap();
}

/// The rest of the next line that begins so.
fn said(output: &mut impl BufRead, what: &str) -> Vec<String> {
    loop {
        let mut line = String::new();
        assert!(output.read_line(&mut line).unwrap() > 0, "it ended before `{what}`");
        if let Some(rest) = line.strip_prefix(what) {
            return rest.split_whitespace().map(str::to_owned).collect();
        }
    }
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[actix::test]
async fn a_stopped_holder_changes_nothing_late() {
    let Some(server) = shared("a_stopped_holder_changes_nothing_late") else { return };
    let schema = Schema::new(server);
    let store = schema.store();
    store.open(&specs(&["a", "b"])).await.unwrap();
    let first = store.reserve_ids(HOLDERS * BOOKS).await.unwrap().start;
    store.append(&append("a", first..first + HOLDERS * BOOKS)).await.unwrap();
    let mut holders = Vec::new();
    let mut held = Vec::new();
    for _ in 0..HOLDERS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "fence::holds_until_it_is_stopped", "--nocapture"])
            .env(STORE[0], &schema.url)
            .env(STORE[1], &schema.name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        held.extend(said(&mut output, "held"));
        signal(&child, Signal::STOP);
        waitpid(Some(Pid::from_child(&child)), WaitOptions::UNTRACED).unwrap();
        writeln!(child.stdin.as_mut().unwrap(), "go").unwrap();
        holders.push((child, output));
    }
    held.sort_unstable_by_key(|id| id.parse::<u64>().unwrap());
    held.dedup();
    assert_eq!(held.len() as u64, HOLDERS * BOOKS, "each book has one holder");
    let stopped = store.holders().await.unwrap();
    assert_eq!(stopped.iter().filter_map(|holder| holder.held).sum::<u64>(), HOLDERS * BOOKS);
    let mut pids: Vec<_> = holders.iter().map(|(child, _)| format!(":{}", child.id())).collect();
    pids.retain(|pid| !stopped.iter().any(|holder| holder.name.ends_with(pid)));
    assert!(pids.is_empty(), "not among the holders: {pids:?} in {stopped:?}");
    schema.pass_time(Duration::from_secs(31)).await;
    let taken = store.fetch(&name("a"), ALL, Duration::ZERO).await.unwrap();
    assert_eq!(taken.len() as u64, HOLDERS * BOOKS);
    assert!(taken.iter().all(|taken| taken.tries.deliveries == 1));
    let state = "select coalesce(sum(hashtext(c::text)), 0) from @cart c";
    let before = schema.ask(state).await;
    for (mut child, mut output) in holders {
        signal(&child, Signal::CONT);
        let answers = said(&mut output, "then").join(" ");
        assert_eq!(answers.matches("Err(Stale)").count() as u64, BOOKS, "{answers}");
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(schema.ask(state).await, before, "late calls changed the store");
    assert_eq!(store.depth(&name("b")).await.unwrap().books, 0);
    assert!(store.dead(Default::default(), 10).await.unwrap().is_empty());
    let acts: Vec<_> = receipts(&taken).into_iter().map(|receipt| (receipt, Act::Ack)).collect();
    assert!(store.settle(&acts).await.iter().all(Result::is_ok));
}

#[actix::test]
async fn a_late_call_about_a_whole_row_changes_nothing() {
    let Some(server) = shared("a_late_call_about_a_whole_row_changes_nothing") else { return };
    let schema = Schema::new(server);
    let (late, store) = (schema.store(), schema.store());
    late.open(&specs(&["a", "b"])).await.unwrap();
    store.open(&specs(&["a", "b"])).await.unwrap();
    let first = late.reserve_ids(192).await.unwrap().start;
    late.append(&append("a", first..first + 192)).await.unwrap();
    let held = receipts(&late.fetch(&name("a"), ALL, Duration::ZERO).await.unwrap());
    schema.pass_time(Duration::from_secs(31)).await;
    let taken = receipts(&store.fetch(&name("a"), ALL, Duration::ZERO).await.unwrap());
    let back = Act::Return { delay: Duration::ZERO, tries: Tries::default(), hold: false };
    let acts = held[..64].iter().map(|receipt| (receipt.clone(), Act::Ack));
    let acts: Vec<_> =
        acts.chain(held[64..128].iter().map(|receipt| (receipt.clone(), back.clone()))).collect();
    let mut answers = late.settle(&acts).await;
    let books = held[128..].iter().map(|receipt| (receipt.clone(), None)).collect();
    let passed = late.pass(&Pass { to: name("b"), hold: false, books }).await;
    answers.extend(passed.into_iter().map(|answer| answer.map(drop)));
    let stale = |answer: &Result<(), StoreError>| matches!(answer, Err(StoreError::Stale));
    assert!(answers.len() == 192 && answers.iter().all(stale), "{answers:?}");
    let acts: Vec<_> = taken.into_iter().map(|receipt| (receipt, Act::Ack)).collect();
    assert!(store.settle(&acts).await.iter().all(Result::is_ok), "the other one holds them");
}
