//! Leases that end, and what the server does with a late ack.

use std::time::Duration;

use gopherworks_pipeline::store::{
    Act, Appended, Backend, Pass, PileSpec, StoreError, Tries, Want,
};
use gopherworks_supervision::clock::Clock;
use rustix::process::{Signal, kill_process};

use crate::server::server;
use crate::support::{ALL, LEASE, OnServer, append, fetch_all, ids, name, settle_all, spec};

/// In the environment of the process that is stopped: the server's URL, and the name of the store.
const URL: &str = "GOPHERWORKS_TEST_URL";
const STORE: &str = "GOPHERWORKS_TEST_STORE";

/// Lease where a holder waits for another process.
const LONG: Duration = Duration::from_secs(3);

/// The holder that is stopped past its lease: fetches, says so, waits for a line, settles.
#[actix::test]
#[ignore = "not a test of its own: the process that the other one stops"]
async fn holds_until_it_is_told() {
    use std::io::{BufRead, Write};

    let (url, store) = (std::env::var(URL).unwrap(), std::env::var(STORE).unwrap());
    let store = OnServer { url, store }.store();
    let piles = ["a", "b"].map(|pile| PileSpec { lease: LONG, ..spec(pile) });
    store.open(&piles).await.unwrap();
    let held = fetch_all(&store, "a").await;
    let mut out = std::io::stdout();
    out.write_all(format!("held {:?}\n", ids(&held)).as_bytes()).unwrap();
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    let back = Act::Return { delay: Duration::ZERO, tries: Tries::default(), hold: false };
    let bury = Act::Bury { reason: "late".into(), node: None, attempts: 1 };
    let acts: Vec<_> = (held.iter().zip([Act::Ack, Act::Drop, back, bury]))
        .map(|(held, act)| (held.receipt.clone(), act))
        .collect();
    let mut answers = store.settle(&acts).await;
    let books = vec![(held[4].receipt.clone(), None)];
    let pass = Pass { to: name("b"), hold: true, books };
    answers.extend(store.pass(&pass).await.into_iter().map(|answer| answer.map(drop)));
    answers.extend(store.extend(&[held[5].receipt.clone()], LEASE).await);
    let stale = answers.iter().filter(|answer| matches!(answer, Err(StoreError::Stale)));
    out.write_all(format!("stale {} of {}\n", stale.count(), answers.len()).as_bytes()).unwrap();
}

#[actix::test]
async fn a_holder_that_was_stopped_past_its_lease_settles_nothing() {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Command, Stdio};

    let Some(url) = server() else { return };
    let fixture = OnServer::new(url);
    let store = fixture.store();
    let piles = ["a", "b"].map(|pile| PileSpec { lease: LONG, ..spec(pile) });
    store.open(&piles).await.unwrap();
    store.append(&append("a", 1..7)).await.unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "lease::holds_until_it_is_told", "--nocapture"])
        .env(URL, url)
        .env(STORE, &fixture.store)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut line = |starts: &str| lines.find(|line| line.starts_with(starts)).unwrap();
    assert_eq!(line("held"), "held [1, 2, 3, 4, 5, 6]");
    let pid = rustix::process::Pid::from_child(&child);
    kill_process(pid, Signal::STOP).unwrap();
    // The server delivers them to another holder when the lease is over.
    let taken = store.fetch(&name("a"), ALL, LONG * 4).await.unwrap();
    assert_eq!(ids(&taken), [1, 2, 3, 4, 5, 6]);
    assert!(taken.iter().all(|taken| taken.tries.deliveries == 1), "{:?}", taken[0].tries);
    kill_process(pid, Signal::CONT).unwrap();
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(line("stale"), "stale 6 of 6");
    child.wait().unwrap();
    assert_eq!(ids(&fetch_all(&store, "b").await), [0; 0], "nothing was passed");
    settle_all(&store, taken).await;
    assert_eq!(store.depth(&name("a")).await.unwrap().books, 0);
    store.close().await.unwrap();
}

/// Why the promise says that acks are not fenced: this is what the engine's own clock prevents.
#[actix::test]
async fn the_server_takes_a_late_ack_for_one_in_time() {
    let Some(url) = server() else { return };
    let fixture = OnServer::new(url);
    let store = fixture.store();
    assert!(!store.promises().fenced_ack);
    store.open(&[spec("a")]).await.unwrap();
    store.append(&append("a", 1..3)).await.unwrap();
    let client = async_nats::connect(url).await.unwrap();
    let mut inbox = client.subscribe("late").await.unwrap();
    let next = "$JS.API.CONSUMER.MSG.NEXT.gopherworks_store=20=2A=2E";
    let count = fixture.store.rsplit('.').next().unwrap();
    let next = format!("{next}{count}.test~a");
    client.publish_with_reply(next, "late", r#"{"batch":1}"#.into()).await.unwrap();
    let delivered = futures_util::StreamExt::next(&mut inbox).await.unwrap();
    let taken = store.fetch(&name("a"), ALL, LEASE * 4).await.unwrap();
    assert_eq!(ids(&taken), [1, 2]);
    let answer = client.request(delivered.reply.unwrap(), "+ACK".into()).await.unwrap();
    assert_eq!((answer.status, answer.payload.len()), (None, 0), "as for an ack in time");
    assert_eq!(store.depth(&name("a")).await.unwrap().books, 0, "it removed the message");
}

#[actix::test]
async fn a_message_is_shared_by_holders_book_by_book() {
    let Some(url) = server() else { return };
    let fixture = OnServer::new(url);
    let (first, second) = (fixture.store(), fixture.store());
    let piles = [spec("a")];
    first.open(&piles).await.unwrap();
    second.open(&piles).await.unwrap();
    first.append(&append("a", 1..11)).await.unwrap();
    let want = |books| Want { books, bytes: None };
    let few = first.fetch(&name("a"), want(3), Duration::ZERO).await.unwrap();
    let more = second.fetch(&name("a"), want(4), Duration::ZERO).await.unwrap();
    let rest = first.fetch(&name("a"), want(9), Duration::ZERO).await.unwrap();
    assert_eq!(
        (ids(&few), ids(&more), ids(&rest)),
        (vec![1, 2, 3], vec![4, 5, 6, 7], vec![8, 9, 10])
    );
    assert_eq!(first.depth(&name("a")).await.unwrap().held, 10);
    let ack = |held: &[gopherworks_pipeline::store::Delivery]| -> Vec<_> {
        held.iter().map(|held| (held.receipt.clone(), Act::Ack)).collect()
    };
    assert!(second.settle(&ack(&more[1..])).await.iter().all(Result::is_ok));
    assert!(first.settle(&ack(&few)).await.iter().all(Result::is_ok));
    assert!(matches!(second.settle(&ack(&few[..1])).await[..], [Err(StoreError::Gone)]));
    assert_eq!(first.depth(&name("a")).await.unwrap().books, 4);
    // A returned book goes to the process that asks first, with what was said of it.
    let tries = Tries { attempts: 1, deliveries: 1, ..Tries::default() };
    let back = Act::Return { delay: Duration::ZERO, tries, hold: false };
    assert!(second.settle(&[(more[0].receipt.clone(), back)]).await[0].is_ok());
    let again = second.fetch(&name("a"), ALL, LEASE * 4).await.unwrap();
    assert_eq!((ids(&again), again[0].tries.attempts), (vec![4], 1));
    assert!(second.settle(&ack(&again)).await[0].is_ok());
    first.close().await.unwrap();
    // Closing gave the rest back.
    let left = second.fetch(&name("a"), ALL, LEASE * 4).await.unwrap();
    assert_eq!(ids(&left), [8, 9, 10]);
    assert!(second.settle(&ack(&left)).await.iter().all(Result::is_ok));
    assert_eq!(second.depth(&name("a")).await.unwrap().books, 0);
}

#[actix::test]
async fn a_repeated_append_stores_nothing_more() {
    let Some(url) = server() else { return };
    let store = OnServer::new(url).store();
    store.open(&[spec("a")]).await.unwrap();
    // More than one message, and a part of them was stored before.
    store.append(&append("a", 1..65)).await.unwrap();
    let whole = append("a", 1..200);
    for _ in 0..2 {
        let answers = store.append(&whole).await.unwrap();
        assert_eq!(answers, vec![Appended::Stored(None); 199]);
    }
    let held = fetch_all(&store, "a").await;
    assert_eq!(ids(&held), (1..200).collect::<Vec<_>>());
    let mut kept = append("a", 300..303);
    kept.hold = true;
    let first = store.append(&kept).await.unwrap();
    let again = store.append(&kept).await.unwrap();
    let receipt = |answers: &[Appended], at: usize| match &answers[at] {
        Appended::Stored(Some(receipt)) => receipt.clone(),
        other => panic!("{other:?}"),
    };
    // The later receipts are good, and the former ones void.
    let acts = [(receipt(&again, 0), Act::Ack), (receipt(&first, 1), Act::Ack)];
    let answers = store.settle(&acts).await;
    assert!(matches!(answers[..], [Ok(()), Err(StoreError::Stale)]), "{answers:?}");
    Clock::real().sleep(LEASE * 5 / 4).await;
    let free = store.fetch(&name("a"), ALL, LEASE * 4).await.unwrap();
    assert!(ids(&free).ends_with(&[301, 302]), "{:?}", ids(&free));
    settle_all(&store, free).await;
}
