//! A full stream, foreign bytes, a deleted consumer, old servers.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use gopherworks_jetstream::Jetstream;
use gopherworks_pipeline::store::{Act, Backend, Cursor, StoreError, Want};

use crate::server::{free_port, server, url};
use crate::support::{ALL, OnServer, append, fetch_all, ids, name, settle_all, spec, unique};

#[actix::test]
async fn a_full_store_refuses_books_and_takes_acts() {
    let Some(url) = server() else { return };
    let store = OnServer::new(url).store().max_messages(20);
    store.open(&[spec("a"), spec("b")]).await.unwrap();
    let mut stored = 0;
    let full = loop {
        match store.append(&append("a", [stored * 2 + 1, stored * 2 + 2])).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 100, "the limit is kept");
    };
    assert!(matches!(full, StoreError::Full), "{full}");
    assert!((15..=20).contains(&stored), "{stored} messages");
    // Parts of messages are settled, which needs room for records and dead letters.
    let held = fetch_all(&store, "a").await;
    let bury = Act::Bury { reason: "full".into(), node: None, attempts: 1 };
    let acts: Vec<_> =
        held.iter().step_by(2).map(|held| (held.receipt.clone(), bury.clone())).collect();
    assert!(store.settle(&acts).await.iter().all(Result::is_ok));
    assert_eq!(store.dead(Cursor::START, 100).await.unwrap().len() as u64, stored);
    assert!(matches!(store.append(&append("a", [900])).await, Err(StoreError::Full)));
    let rest = held.into_iter().skip(1).step_by(2).collect();
    settle_all(&store, rest).await;
    let letters = store.dead(Cursor::START, 100).await.unwrap();
    let at: Vec<_> = letters.iter().map(|letter| letter.at).collect();
    assert_eq!(store.forget_dead(&at).await.unwrap(), stored);
    store.append(&append("a", [901])).await.expect("there is room again");
}

/// The limit of the server itself, which other writers may exhaust.
#[actix::test]
async fn the_server_refuses_what_is_above_its_own_limit() {
    let Some(url) = server() else { return };
    let fixture = OnServer::new(url);
    let store = fixture.store();
    store.open(&[spec("a")]).await.unwrap();
    let client = async_nats::connect(url).await.unwrap();
    let count = fixture.store.rsplit('.').next().unwrap();
    let stream = format!("gopherworks_store=20=2A=2E{count}");
    let info = client.request(format!("$JS.API.STREAM.INFO.{stream}"), "".into()).await.unwrap();
    let mut info: serde_json::Value = serde_json::from_slice(&info.payload).unwrap();
    info["config"]["max_msgs"] = 1.into();
    let update = info["config"].to_string().into();
    client.request(format!("$JS.API.STREAM.UPDATE.{stream}"), update).await.unwrap();
    let answer = store.append(&append("a", 1..3)).await;
    assert!(matches!(answer, Err(StoreError::Full)), "{answer:?}");
}

#[actix::test]
async fn a_message_that_cannot_be_decoded_is_buried() {
    let Some(url) = server() else { return };
    let fixture = OnServer::new(url);
    let store = fixture.store();
    store.open(&[spec("a")]).await.unwrap();
    let client = async_nats::connect(url).await.unwrap();
    let count = fixture.store.rsplit('.').next().unwrap();
    let subject = format!("gopherworks.store=20=2A=2E{count}.p.test.a.1.5");
    client.request(subject, "garbage".into()).await.unwrap();
    store.append(&append("a", 1..3)).await.unwrap();
    let held = fetch_all(&store, "a").await;
    assert_eq!(ids(&held), [1, 2], "the books behind it are delivered");
    let dead = store.dead(Cursor::START, 10).await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(&dead[0].book.body.read_all(99).unwrap()[..], b"garbage");
    assert!(dead[0].reason.contains("decoded"), "{}", dead[0].reason);
}

#[actix::test]
async fn a_deleted_consumer_is_made_again() {
    let Some(url) = server() else { return };
    let fixture = OnServer::new(url);
    let store = fixture.store();
    store.open(&[spec("a")]).await.unwrap();
    store.append(&append("a", 1..100)).await.unwrap();
    let want = Want { books: 64, bytes: None };
    let held = store.fetch(&name("a"), want, Duration::ZERO).await.unwrap();
    let client = async_nats::connect(url).await.unwrap();
    let count = fixture.store.rsplit('.').next().unwrap();
    let consumer = format!("gopherworks_store=20=2A=2E{count}.test~a");
    client.request(format!("$JS.API.CONSUMER.DELETE.{consumer}"), "".into()).await.unwrap();
    // No consumer answers: not an ack, whatever a client library makes of it.
    let acts: Vec<_> = held.iter().map(|held| (held.receipt.clone(), Act::Ack)).collect();
    let answers = store.settle(&acts).await;
    assert!(answers.iter().all(|a| matches!(a, Err(StoreError::Stale))), "{answers:?}");
    let again = store.fetch(&name("a"), ALL, Duration::ZERO).await.unwrap();
    assert_eq!(ids(&again), (1..100).collect::<Vec<_>>());
    settle_all(&store, again).await;
}

#[actix::test]
async fn many_may_open_a_new_store_at_a_time() {
    let Some(url) = server() else { return };
    let fixture = OnServer::new(url);
    let stores: Vec<Jetstream> = (0..8).map(|_| fixture.store()).collect();
    let piles = [spec("a")];
    let opened = join_all(stores.iter().map(|store| store.open(&piles))).await;
    let names: BTreeSet<_> = opened.into_iter().map(|opened| opened.unwrap().store).collect();
    assert_eq!(names.len(), 1, "one store: {names:?}");
}

#[actix::test]
async fn a_foreign_stream_is_refused() {
    let Some(url) = server() else { return };
    let name = unique("foreign").replace('.', "-");
    let client = async_nats::connect(url).await.unwrap();
    let stream = format!("gopherworks_{name}");
    let config = serde_json::json!({ "name": stream, "subjects": [format!("other.{name}")] });
    let create = format!("$JS.API.STREAM.CREATE.{stream}");
    client.request(create, config.to_string().into()).await.unwrap();
    let answer = Jetstream::new(url, &name).open(&[]).await;
    assert!(matches!(answer, Err(StoreError::Unsupported(_))), "{answer:?}");
}

#[actix::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let store = Jetstream::new(url(free_port()), "a");
    let answer = store.open(&[]).await;
    assert!(matches!(answer, Err(StoreError::Unavailable { .. })), "{answer:?}");
    let promises = store.promises();
    assert!(!promises.power_loss && promises.shared && promises.checkpoints);
    assert!(Jetstream::new("", "").synced().promises().power_loss);
}
