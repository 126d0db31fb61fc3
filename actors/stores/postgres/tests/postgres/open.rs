//! Opening: openers that compete, servers and stores that are refused, secrets, housekeeping.

use std::time::Duration;

use futures_util::future::join_all;
use gopherworks_pipeline::store::{Act, Backend, StoreError, Want};
use gopherworks_postgres::Postgres;

use crate::server::{Server, shared, skip};
use crate::support::{ALL, Schema, append, ids, name, receipts, specs};

#[actix::test]
async fn openers_compete_for_books_and_for_the_tables() {
    let Some(server) = shared("openers_compete_for_books_and_for_the_tables") else { return };
    let schema = Schema::new(server);
    // All of them find no tables.
    let stores: Vec<Postgres> = (0..6).map(|_| schema.store()).collect();
    let piles = specs(&["a"]);
    for opened in join_all(stores.iter().map(|store| store.open(&piles))).await {
        opened.unwrap();
    }
    let given = join_all(stores.iter().map(|store| store.reserve_ids(100))).await;
    let mut all: Vec<u64> = given.iter().flat_map(|ids| ids.clone().unwrap()).collect();
    let appends: Vec<_> = given.into_iter().map(|ids| append("a", ids.unwrap())).collect();
    let put = stores.iter().zip(&appends).map(|(store, append)| store.append(append));
    join_all(put).await.into_iter().for_each(|answer| drop(answer.unwrap()));
    let name = name("a");
    let take = async |store: &Postgres| {
        let mut taken = Vec::new();
        loop {
            let want = Want { books: 30, bytes: None };
            let some = store.fetch(&name, want, Duration::ZERO).await.unwrap();
            if some.is_empty() && store.depth(&name).await.unwrap().books == 0 {
                return taken;
            }
            let acts = receipts(&some).into_iter().map(|receipt| (receipt, Act::Ack));
            let acts: Vec<_> = acts.collect();
            assert!(store.settle(&acts).await.iter().all(Result::is_ok));
            taken.extend(ids(&some));
        }
    };
    let mut taken = join_all(stores.iter().map(take)).await.concat();
    taken.sort_unstable();
    all.sort_unstable();
    assert_eq!(taken, all, "each book went to one of them");
}

#[actix::test]
async fn newer_tables_and_damaged_rows_are_refused() {
    let Some(server) = shared("newer_tables_and_damaged_rows_are_refused") else { return };
    let schema = Schema::new(server);
    let store = schema.store();
    store.open(&specs(&["a"])).await.unwrap();
    store.append(&append("a", 1..20)).await.unwrap();
    schema.run("update @cart set live = -1").await;
    let answer = store.fetch(&name("a"), ALL, Duration::ZERO).await;
    assert!(matches!(answer, Err(StoreError::Corrupt(_))), "{answer:?}");
    schema.run("update @cart set until = '-infinity', books = '\\x02'").await;
    let answer = store.fetch(&name("a"), ALL, Duration::ZERO).await;
    assert!(matches!(answer, Err(StoreError::Unsupported(_))), "{answer:?}");
    schema.run("update @meta set version = 3").await;
    let answer = schema.store().open(&specs(&["a"])).await;
    assert!(matches!(answer, Err(StoreError::Unsupported(_))), "{answer:?}");
}

#[actix::test]
async fn a_server_that_does_not_sync_is_refused() {
    let server = match Server::start(&["fsync=off", "synchronous_commit=off"]) {
        Ok(server) => server,
        Err(why) => return skip("a_server_that_does_not_sync_is_refused", &why),
    };
    let schema = Schema::new(&server);
    let answer = schema.store().open(&specs(&["a"])).await;
    let Err(StoreError::Unsupported(why)) = answer else { panic!("{answer:?}") };
    assert!(why.contains("fsync = off"), "{why}");
    let store = schema.store().accept_unsynced();
    assert!(!store.promises().power_loss);
    store.open(&specs(&["a"])).await.unwrap();
    // What the session has is not what transactions have.
    let probe = "create function @probe() returns trigger language plpgsql as $$ begin
            if current_setting('synchronous_commit') <> 'on' then
                raise 'synchronous_commit is %', current_setting('synchronous_commit');
            end if; return new; end $$;
        create trigger probe before insert or update on @cart
            for each row execute function @probe()";
    schema.run(probe).await;
    store.append(&append("a", 1..9)).await.unwrap();
    let held = store.fetch(&name("a"), ALL, Duration::ZERO).await.unwrap();
    assert_eq!(held.len(), 8);
}

#[actix::test]
async fn what_fails_names_no_password() {
    let Some(server) = shared("what_fails_names_no_password") else { return };
    let piles = specs(&["a"]);
    for url in [
        format!("host={} user=no_such password=secret", server.folder.path().display()),
        "postgres://works:secret@localhost:1/works".to_owned(),
        "postgres://works:secret@example.org/works?sslmode=disable".to_owned(),
        "postgres://works:secret@localhost:port/works".to_owned(),
    ] {
        let store = Postgres::new(&url);
        let error = store.open(&piles).await.unwrap_err();
        let told = format!("{store:?} {error:?} {error}");
        assert!(!told.contains("secret"), "{told}");
        let again = store.open(&piles).await.unwrap_err();
        assert_eq!(again.to_string(), error.to_string(), "it may be tried again");
    }
    let store = Schema { url: server.url(), name: "pg_catalog".to_owned() }.store();
    assert!(matches!(store.open(&piles).await, Err(StoreError::Other(_))));
}

#[actix::test]
async fn housekeeping_keeps_what_is_known() {
    let Some(server) = shared("housekeeping_keeps_what_is_known") else { return };
    let schema = Schema::new(server);
    let store = schema.store();
    store.open(&specs(&["a"])).await.unwrap();
    let appended: Vec<u64> = (1..400).filter(|id| id % 100 != 0).collect();
    for some in appended.chunks(30) {
        store.append(&append("a", some.iter().copied())).await.unwrap();
        let held = store.fetch(&name("a"), ALL, Duration::ZERO).await.unwrap();
        let acts: Vec<_> = receipts(&held).into_iter().map(|it| (it, Act::Ack)).collect();
        store.settle(&acts).await;
    }
    let rows = "select (select count(*) from @taken) || ' ' || (select count(*) from @tally)";
    assert_eq!(schema.ask(rows).await, "17 14");
    schema.pass_time(Duration::from_secs(1200)).await;
    let recovered = schema.store().open(&specs(&["a"])).await.unwrap();
    assert_eq!(schema.ask(rows).await, "4 1", "neighbours are joined");
    let account = recovered.account.unwrap();
    assert_eq!((account.offered, account.burned), (396, 396));
    let known: Vec<_> = (0..402).map(gopherworks_pipeline::book::BookId).collect();
    let known = store.resolve(&known).await.unwrap();
    for (id, known) in (0u64..).zip(known) {
        assert_eq!(known, appended.contains(&id), "book {id}");
    }
    store.append(&append("a", 1..300)).await.unwrap();
    assert_eq!(store.depth(&name("a")).await.unwrap().books, 2, "100 and 200 are new");
}

#[actix::test]
async fn a_check_finds_what_is_wrong_and_corrects_sums() {
    let Some(server) = shared("a_check_finds_what_is_wrong_and_corrects_sums") else { return };
    let schema = Schema::new(server);
    let answer = schema.store().check().await;
    assert!(matches!(answer, Err(StoreError::Gone)), "{answer:?}");
    let store = schema.store();
    store.open(&specs(&["a"])).await.unwrap();
    store.append(&append("a", 1..600)).await.unwrap();
    let held = store.fetch(&name("a"), ALL, Duration::ZERO).await.unwrap();
    let bury = Act::Bury { reason: "it".into(), node: None, attempts: 1 };
    store.settle(&[(held[300].receipt.clone(), bury)]).await;
    assert_eq!(schema.store().check().await.unwrap(), [], "while another process has it");
    let ours = "(select min(at) from @cart)";
    schema.run(&format!("update @cart set bytes = bytes + 1 where at = {ours}")).await;
    schema
        .run("insert into @cart (pile, at, live, bytes, books) values (1, 0, 0, 0, '\\x01')")
        .await;
    let found = schema.store().check().await.unwrap();
    assert_eq!(found.iter().filter(|found| found.is_repaired).count(), 2, "{found:?}");
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(schema.store().check().await.unwrap(), [], "it was repaired");
    schema.run("update @cart set books = substring(books for 99); delete from @taken").await;
    schema.run("update @dead set book = ''; update @cart set pile = 77 where at % 128 = 0").await;
    let found = schema.store().check().await.unwrap();
    for what in ["can't be decoded", "dead letter", "does not balance", "has the number 77"] {
        assert!(found.iter().any(|found| found.what.contains(what)), "{what}: {found:?}");
    }
    assert!(found.iter().all(|found| !found.is_repaired), "{found:?}");
}
