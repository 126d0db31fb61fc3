//! Connections that are cut: the outcome is known before a commit, and unknown during one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use gopherworks_pipeline::store::{Appended, Backend, StoreError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use crate::server::shared;
use crate::support::{Schema, append, name, specs};

/// What a proxy does with a message.
const PASS: u8 = 0;
/// Cuts instead of sending an insertion.
const BEFORE: u8 = 1;
/// Cuts instead of sending a commit.
const AT: u8 = 2;
/// Sends a commit, and cuts before the answer.
const AFTER: u8 = 3;

fn has(bytes: &[u8], what: &str) -> bool {
    bytes.windows(what.len()).any(|part| part == what.as_bytes())
}

/// Carries one connection until it is to be cut.
async fn carry(mut client: TcpStream, mut server: UnixStream, cut: Arc<AtomicU8>) -> Option<()> {
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let message = &up[..read.ok().filter(|read| *read > 0)?];
                match cut.load(Ordering::Acquire) {
                    BEFORE if has(message, "insert into") => return None,
                    AT if has(message, "commit\0") => return None,
                    AFTER if has(message, "commit\0") => {
                        server.write_all(message).await.ok()?;
                        // The answer has begun: the server has committed.
                        server.readable().await.ok()?;
                        return None;
                    }
                    _ => server.write_all(message).await.ok()?,
                }
            }
            read = server.read(&mut down) => {
                client.write_all(&down[..read.ok().filter(|read| *read > 0)?]).await.ok()?;
            }
        }
    }
}

#[actix::test]
async fn a_cut_commit_is_unknown_and_can_be_repeated() {
    let Some(server) = shared("a_cut_commit_is_unknown_and_can_be_repeated") else { return };
    let cut = Arc::new(AtomicU8::new(PASS));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (socket, mode) = (server.socket(), cut.clone());
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            client.set_nodelay(true).unwrap();
            let server = UnixStream::connect(&socket).await.unwrap();
            tokio::spawn(carry(client, server, mode.clone()));
        }
    });
    let mut schema = Schema::new(server);
    schema.url = format!("host=127.0.0.1 port={port} user=works dbname=postgres sslmode=disable");
    let store = schema.store();
    store.open(&specs(&["a"])).await.unwrap();
    let depth = async || store.depth(&name("a")).await.unwrap().books;
    for (at, (mode, stored)) in (1u64..).zip([(BEFORE, false), (AT, false), (AFTER, true)]) {
        let ids = store.reserve_ids(10).await.unwrap();
        let mut books = append("a", ids.clone());
        books.hold = true;
        cut.store(mode, Ordering::Release);
        let answer = store.append(&books).await;
        cut.store(PASS, Ordering::Release);
        match answer {
            Err(StoreError::Unavailable { .. }) if mode == BEFORE => {}
            Err(StoreError::Unknown(_)) if mode != BEFORE => {}
            answer => panic!("cut at {mode}: {answer:?}"),
        }
        assert_eq!(depth().await, 10 * (at - 1 + u64::from(stored)), "cut at {mode}");
        let asked: Vec<_> = ids.map(gopherworks_pipeline::book::BookId).collect();
        assert_eq!(store.resolve(&asked).await.unwrap(), [stored; 10], "cut at {mode}");
        // Repeated, it is stored once, and held.
        let answers = store.append(&books).await.unwrap();
        let held = answers.iter().filter(|it| matches!(it, Appended::Stored(Some(_)))).count();
        assert_eq!((held, depth().await), (10, 10 * at), "cut at {mode}");
        let receipts: Vec<_> = (answers.into_iter())
            .filter_map(|answer| match answer {
                Appended::Stored(receipt) => receipt,
                Appended::Duplicate(_) => None,
            })
            .collect();
        let by = std::time::Duration::from_secs(9);
        assert!(store.extend(&receipts, by).await.iter().all(Result::is_ok), "cut at {mode}");
    }
}
