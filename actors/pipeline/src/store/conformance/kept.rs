//! What is kept about books besides their place: tries, dead letters, keys, owners, the account.

use super::durable::pass;
use super::*;
use crate::store::{Cursor, Pass};

pub(super) async fn a_passed_book_is_in_one_place(lab: &mut Lab) -> Law {
    let (backend, _) = lab.open(&["a", "b"]).await?;
    let books = lab.fill(&backend, "a", 8).await?;
    let held = fetch_all(&backend, "a").await?;
    let mut changed = held[2].book.clone().with_header("changed", "yes");
    changed.body = vec![9; 400].into();
    let moved = vec![
        (held[0].receipt.clone(), None),
        (held[2].receipt.clone(), Some(changed.clone())),
        (held[1].receipt.clone(), None),
    ];
    let moved = Pass { to: name("b"), hold: false, books: moved };
    for (passed, (old, _)) in backend.pass(&moved).await.into_iter().zip(&moved.books) {
        if !passed?.acked {
            settle(&backend, &[(old.clone(), Act::Ack)]).await?;
        }
    }
    let there = [books[0].clone(), changed, books[1].clone()];
    let delivered = fetch_all(&backend, "b").await?;
    same(&there, &delivered)?;
    // On, and held: the new receipt is good for an act.
    let receipts = pass(&backend, "a", &delivered[..1], true).await?;
    let (backend, _) = lab.reopen(backend, &["a", "b"]).await?;
    same(&[&books[3..], &books[..1]].concat(), &fetch_all(&backend, "a").await?)?;
    let left = fetch_all(&backend, "b").await?;
    same(&there[1..], &left)?;
    ensure!(receipts.len() == 1, "one receipt for one held book: {receipts:?}");
    // A book passed to its own pile stays.
    let receipts = pass(&backend, "b", &left[..1], true).await?;
    let acts: Vec<_> = receipts.into_iter().flatten().map(|receipt| (receipt, Act::Ack)).collect();
    settle(&backend, &acts).await?;
    let (backend, _) = lab.reopen(backend, &["a", "b"]).await?;
    same(&there[2..], &fetch_all(&backend, "b").await?)
}

pub(super) async fn passing_resets_the_tries(lab: &mut Lab) -> Law {
    let (backend, _) = lab.open(&["a", "b"]).await?;
    lab.fill(&backend, "a", 2).await?;
    let held = fetch_all(&backend, "a").await?;
    let tries = Tries { attempts: 2, deliveries: 2, begun: true, apart: true };
    settle(&backend, &all(&held, &give_back(Duration::ZERO, tries, true))).await?;
    let kept = fetch_all(&backend, "a").await?;
    ensure!(kept.is_empty(), "books that were kept are delivered: {kept:?}");
    pass(&backend, "b", &held[..1], false).await?;
    let passed = fetch_all(&backend, "b").await?;
    ensure!(passed.len() == 1, "one was passed: {passed:?}");
    ensure!(passed[0].tries == Tries::default(), "tries of another pile: {:?}", passed[0].tries);
    let (backend, _) = lab.reopen(backend, &["a", "b"]).await?;
    let left = fetch_all(&backend, "a").await?;
    let attempts: Vec<_> = left.iter().map(|left| left.tries.attempts).collect();
    ensure!(attempts == [2], "tries of a kept book: {attempts:?}");
    Ok(())
}

pub(super) async fn dead_letters_are_kept(lab: &mut Lab) -> Law {
    let (backend, _) = lab.open(&["a", "b"]).await?;
    let none = backend.dead(Cursor::START, 10).await?;
    ensure!(none.is_empty(), "a new store has dead letters: {none:?}");
    let books = lab.fill(&backend, "a", 6).await?;
    let held = fetch_all(&backend, "a").await?;
    for (at, node) in [(4, Some("oven")), (0, None), (2, None), (5, None)] {
        let reason = format!("reason {at}").into();
        let bury = Act::Bury { reason, node: node.map(Into::into), attempts: at as u32 };
        settle(&backend, &[(held[at].receipt.clone(), bury)]).await?;
    }
    let (backend, recovered) = lab.reopen(backend, &["b", "a"]).await?;
    ensure!(recovered.piles[1].dead == 4, "four died: {:?}", recovered.piles[1]);
    let first = backend.dead(Cursor::START, 3).await?;
    let after = first.last().map_or(Cursor::START, |last| last.at);
    let letters = [first, backend.dead(after, 3).await?].concat();
    let dead: Vec<Book> = letters.iter().map(|letter| letter.book.clone()).collect();
    let wanted = [4, 0, 2, 5].map(|at: usize| books[at].clone());
    ensure!(content(&dead)? == content(&wanted)?, "dead {:?}", ids(&dead));
    let first = &letters[0];
    ensure!(
        (&*first.reason, first.node.as_deref(), first.attempts) == ("reason 4", Some("oven"), 4),
        "the first dead letter is {first:?}"
    );
    ensure!(letters.iter().all(|letter| letter.pile == name("a")), "they died on `a`");
    // Reading took nothing away. Two are tried again, one is forgotten.
    let at: Vec<_> = letters.iter().map(|letter| letter.at).collect();
    let replayed = backend.replay(&at[1..3]).await?;
    let forgotten = backend.forget_dead(&[at[0], at[0], Cursor(u64::MAX)]).await?;
    ensure!((replayed, forgotten) == (2, 1), "replayed {replayed}, forgotten {forgotten}");
    let (backend, _) = lab.reopen(backend, &["a", "b"]).await?;
    let left = backend.dead(Cursor::START, 10).await?;
    ensure!(left.len() == 1 && left[0].book.id == books[5].id, "one is left: {left:?}");
    let again = fetch_all(&backend, "a").await?;
    let wanted = [1, 3, 0, 2].map(|at: usize| books[at].clone());
    same(&wanted, &again)?;
    ensure!(again[2].tries.attempts == 0, "a replayed letter starts anew: {:?}", again[2].tries);
    settle(&backend, &all(&again, &Act::Ack)).await
}

pub(super) async fn keys_are_remembered(lab: &mut Lab) -> Law {
    let backend = lab.fixture.start();
    needs(backend.promises().dedupe.is_some(), "remembering keys")?;
    let dedupe = lab.fixture.lease() * 8;
    let spec = PileSpec { dedupe, ..lab.spec("a") };
    backend.open(std::slice::from_ref(&spec)).await?;
    let books = lab.books(&backend, 6).await?;
    let keyed = |from: &[Book], keys: &[&'static str]| {
        let mut append = append("a", from);
        for (book, key) in append.books.iter_mut().zip(keys) {
            book.key = Some(Bytes::from_static(key.as_bytes()));
        }
        append
    };
    let stored = Appended::Stored(None);
    let answers = backend.append(&keyed(&books[..3], &["x", "y", "x"])).await?;
    let wanted = [stored.clone(), stored.clone(), Appended::Duplicate(books[0].id)];
    ensure!(answers == wanted, "keys x, y, x answer {answers:?}");
    let held = fetch_all(&backend, "a").await?;
    same(&books[..2], &held)?;
    settle(&backend, &all(&held, &Act::Ack)).await?;
    lab.kill(backend).await;
    let backend = lab.fixture.start();
    backend.open(std::slice::from_ref(&spec)).await?;
    let answers = backend.append(&keyed(&books[3..5], &["y", "z"])).await?;
    let wanted = [Appended::Duplicate(books[1].id), stored.clone()];
    ensure!(answers == wanted, "keys y, z after a kill answer {answers:?}");
    lab.fixture.elapse(dedupe).await;
    let answers = backend.append(&keyed(&books[5..], &["x"])).await?;
    ensure!(answers == [stored], "key x after its time answers {answers:?}");
    same(&books[4..], &fetch_all(&backend, "a").await?)
}

pub(super) async fn a_source_has_one_owner(lab: &mut Lab) -> Law {
    let (first, _) = lab.open(&["a"]).await?;
    let lease = lab.fixture.lease();
    let own = first.own("source", 0, None, lease).await?;
    ensure!(own.position.is_none(), "a new source has a position: {own:?}");
    let books = lab.books(&first, 3).await?;
    let read = |at: usize, position: &str, token: u64| {
        let mut append = append("a", &books[at..=at]);
        append.checkpoint = Some(checkpoint(position, token));
        append
    };
    first.append(&read(0, "one", own.token)).await?;
    let renewed = first.own("source", 0, Some(own.token), lease).await?;
    ensure!(renewed.token == own.token, "renewed {own:?}, got {renewed:?}");
    let stale = own.token.wrapping_sub(1);
    let answer = first.append(&read(1, "old", stale)).await;
    ensure!(matches!(answer, Err(StoreError::Stale)), "an older token answers {answer:?}");
    if first.promises().shared {
        let (second, _) = lab.open(&["a"]).await?;
        let answer = second.own("source", 0, None, lease).await;
        ensure!(matches!(answer, Err(StoreError::InUse { .. })), "owned twice: {answer:?}");
        second.own("source", 1, None, lease).await?;
        lab.outlast().await;
        let taken = second.own("source", 0, None, lease).await?;
        ensure!(taken.token > own.token, "the token went from {own:?} to {taken:?}");
        ensure!(taken.position.as_deref() == Some(b"one"), "the position is {taken:?}");
        let answer = first.append(&read(1, "late", own.token)).await;
        ensure!(matches!(answer, Err(StoreError::Stale)), "a former owner answers {answer:?}");
        let answer = first.own("source", 0, Some(own.token), lease).await;
        ensure!(matches!(answer, Err(StoreError::Stale)), "a late renewal answers {answer:?}");
        second.append(&read(1, "two", taken.token)).await?;
        second.disown("source", 0, taken.token, false).await?;
        let back = first.own("source", 0, None, lease).await?;
        ensure!(back.position.as_deref() == Some(b"two"), "the position is {back:?}");
        tells_owners(&first, back.token).await?;
        return same(&books[..2], &fetch_all(&second, "a").await?);
    }
    let (next, _) = lab.reopen(first, &["a"]).await?;
    let taken = next.own("source", 0, None, lease).await?;
    ensure!(taken.token > own.token, "the token went from {own:?} to {taken:?}");
    ensure!(taken.position.as_deref() == Some(b"one"), "the position is {taken:?}");
    let answer = next.append(&read(1, "late", own.token)).await;
    ensure!(matches!(answer, Err(StoreError::Stale)), "a former owner answers {answer:?}");
    next.append(&read(2, "two", taken.token)).await?;
    same(&[books[0].clone(), books[2].clone()], &fetch_all(&next, "a").await?)
}

/// If sources can be listed, share 0 has an owner until it gives the share up, and has ended
/// until there is another owner.
async fn tells_owners(backend: &Shared, token: u64) -> Law {
    let first = async || {
        let sources = match backend.sources().await {
            Err(StoreError::Unsupported(_)) => return Ok(None),
            sources => sources?,
        };
        let found =
            sources.into_iter().find(|known| (&*known.source, known.share) == ("source", 0));
        Ok::<_, Broken>(Some(found.map(|known| (known.owner.is_some(), known.ended))))
    };
    let Some(owned) = first().await? else { return Ok(()) };
    ensure!(owned == Some((true, false)), "an owned source is told as {owned:?}");
    backend.disown("source", 0, token, true).await?;
    let ended = first().await?.flatten();
    ensure!(ended == Some((false, true)), "a source at its end is told as {ended:?}");
    let again = backend.own("source", 0, None, Duration::from_secs(1)).await?;
    let owned = first().await?.flatten();
    ensure!(owned == Some((true, false)), "a source that is read again is told as {owned:?}");
    backend.rewind("source").await?;
    let late = backend.disown("source", 0, again.token, true).await;
    ensure!(matches!(late, Err(StoreError::Stale)), "after a rewind the owner gets {late:?}");
    Ok(())
}

pub(super) async fn the_account_balances(lab: &mut Lab) -> Law {
    let (backend, recovered) = lab.open(&["a", "b"]).await?;
    if recovered.account.is_none() {
        return Err(Broken::Lacking("the engine keeps no account".to_owned()));
    }
    lab.fill(&backend, "a", 20).await?;
    let held = fetch_all(&backend, "a").await?;
    settle(&backend, &all(&held[..5], &Act::Ack)).await?;
    settle(&backend, &all(&held[5..8], &Act::Drop)).await?;
    let bury = Act::Bury { reason: "it".into(), node: None, attempts: 1 };
    settle(&backend, &all(&held[8..10], &bury)).await?;
    pass(&backend, "b", &held[10..14], false).await?;
    let (backend, recovered) = lab.reopen(backend, &["a", "b"]).await?;
    let account = recovered.account.unwrap_or_default();
    ensure!(account.balances(), "{account:?}");
    let counts = (account.offered, account.burned, account.dropped, account.dead, account.present);
    ensure!(counts == (20, 5, 3, 2, 10), "20 = 5 + 3 + 2 + 10, but {account:?}");
    let held = fetch_all(&backend, "b").await?;
    settle(&backend, &all(&held, &Act::Ack)).await?;
    let (backend, recovered) = lab.reopen(backend, &["a", "b"]).await?;
    let account = recovered.account.unwrap_or_default();
    ensure!(account.balances() && account.burned == 9, "nine are burned: {account:?}");
    match backend.account().await {
        Ok(now) => ensure!(now == account, "{now:?} instead of {account:?}"),
        Err(error) => ensure!(matches!(error, StoreError::Unsupported(_)), "{error:?}"),
    }
    Ok(())
}

pub(super) async fn depths_are_true(lab: &mut Lab) -> Law {
    let (backend, recovered) = lab.open(&["a"]).await?;
    ensure!(recovered.piles[0].books == 0, "a new pile holds {:?}", recovered.piles[0]);
    let books = lab.fill(&backend, "a", 10).await?;
    let bytes: u64 = books.iter().map(Book::size).sum();
    let depth = backend.depth(&name("a")).await?;
    if !depth.exact {
        return Err(Broken::Lacking("depths are approximate".to_owned()));
    }
    ensure!((depth.books, depth.bytes, depth.held) == (10, bytes, 0), "10 of {bytes}: {depth:?}");
    let want = Want { books: 4, bytes: None };
    let held = backend.fetch(&name("a"), want, Duration::ZERO).await?;
    settle(&backend, &all(&held[..1], &Act::Ack)).await?;
    let depth = backend.depth(&name("a")).await?;
    let left = bytes - books[0].size();
    ensure!((depth.books, depth.bytes, depth.held) == (9, left, 3), "9 of {left}: {depth:?}");
    Ok(())
}

pub(super) async fn a_survey_changes_nothing(lab: &mut Lab) -> Law {
    let (backend, _) = lab.open(&["b", "a"]).await?;
    let books = lab.fill(&backend, "a", 6).await?;
    let want = Want { books: 3, bytes: None };
    let held = backend.fetch(&name("a"), want, Duration::ZERO).await?;
    let tries = Tries { attempts: 2, deliveries: 1, ..Tries::default() };
    let delay = lab.fixture.lease() * 4;
    let bury = Act::Bury { reason: "it".into(), node: None, attempts: 1 };
    let acts = [give_back(delay, tries, false), bury];
    let acts: Vec<_> = held[1..].iter().map(|held| held.receipt.clone()).zip(acts).collect();
    settle(&backend, &acts).await?;
    // Another process looks, and never opens the store.
    let looker = lab.fixture.start();
    let survey = looker.survey().await?;
    let of = |pile: &str| survey.piles.iter().find(|surveyed| surveyed.name == name(pile));
    let counts = of("a").map(|pile| (pile.books, pile.bytes, pile.delayed, pile.dead));
    let left = [&books[..2], &books[3..]].concat();
    let bytes: u64 = left.iter().map(Book::size).sum();
    ensure!(counts == Some((5, bytes, Some(1), 1)), "5 of {bytes}, 1 delayed, 1 dead: {survey:?}");
    ensure!(of("b").is_some_and(|pile| pile.books == 0), "an empty pile is there: {survey:?}");
    ensure!(!survey.holders.is_empty(), "a process has the store: {survey:?}");
    if let Some(account) = survey.account {
        ensure!(account.balances() && account.present == 5, "{account:?}");
    }
    let peeked = looker.peek(&name("a"), 4).await?;
    let (seen, tries): (Vec<Book>, Vec<_>) =
        peeked.iter().map(|peeked| (peeked.book.clone(), peeked.tries.attempts)).unzip();
    ensure!(content(&seen)? == content(&left[..4])?, "peeked at {:?}", ids(&seen));
    ensure!(tries == [0, 2, 0, 0], "attempts of the first books: {tries:?}");
    let due: Vec<bool> = peeked.iter().map(|peeked| peeked.due.is_some()).collect();
    ensure!(due == [false, true, false, false], "delays of the first books: {peeked:?}");
    let letters = looker.dead(Cursor::START, 9).await?;
    ensure!(letters.len() == 1 && letters[0].book.id == books[2].id, "one is dead: {letters:?}");
    let answer = looker.peek(&name("unknown"), 1).await;
    ensure!(matches!(answer, Err(StoreError::Gone)), "an unknown pile: {answer:?}");
    drop(looker);
    settle(&backend, &[(held[0].receipt.clone(), Act::Ack)]).await?;
    same(&books[3..], &fetch_all(&backend, "a").await?)
}
