//! What survives a kill.

use super::*;
use crate::book::{Body, BodyFile};

pub(super) async fn appended_books_survive(lab: &mut Lab) -> Law {
    let (backend, _) = lab.open(&["a", "b"]).await?;
    needs(backend.promises().kill, "surviving a kill")?;
    let first = lab.fill(&backend, "a", 300).await?;
    let other = lab.fill(&backend, "b", 3).await?;
    let mut last = lab.books(&backend, 1).await?;
    last[0].body = vec![7; 300_000].into();
    backend.append(&append("a", &last)).await?;
    let (backend, recovered) = lab.reopen(backend, &["a", "b"]).await?;
    ensure!(recovered.piles[0].books == 301, "301 books stored: {:?}", recovered.piles[0]);
    same(&[first, last].concat(), &fetch_all(&backend, "a").await?)?;
    same(&other, &fetch_all(&backend, "b").await?)
}

pub(super) async fn bodies_of_files_are_copied(lab: &mut Lab) -> Law {
    let (backend, _) = lab.open(&["a"]).await?;
    let content: Vec<u8> = (0..700_000u32).map(|at| (at % 251) as u8).collect();
    let unique = format!("gopherworks-{}-{:p}", std::process::id(), &*backend);
    let path = std::env::temp_dir().join(unique);
    std::fs::write(&path, &content).map_err(|error| Broken::Law(error.to_string()))?;
    let file = BodyFile::temporary(&path);
    let mut books = lab.books(&backend, 3).await?;
    books[0].body = Body::range(file.clone(), 10, 600_000);
    books[1].body = Body::range(file.clone(), 690_000, 10_000);
    books[2].body = Body::file(file, 700_000);
    match backend.append(&append("a", &books)).await {
        Err(StoreError::TooLarge { limit }) => {
            return Err(Broken::Lacking(format!("bodies have at most {limit} bytes")));
        }
        answer => answer.map(drop)?,
    }
    // The file that they came from is deleted.
    let bodies = [&content[10..600_010], &content[690_000..], &content[..]];
    for (book, body) in books.iter_mut().zip(bodies) {
        book.body = body.to_vec().into();
    }
    let (backend, _) = lab.reopen(backend, &["a"]).await?;
    let delivered = fetch_all(&backend, "a").await?;
    same(&books, &delivered)?;
    // A cart may still read what it carries after another book of it was acked.
    settle(&backend, &all(&delivered[..1], &Act::Ack)).await?;
    same(&books, &delivered)
}

pub(super) async fn acked_books_stay_away(lab: &mut Lab) -> Law {
    let (backend, _) = lab.open(&["a"]).await?;
    needs(backend.promises().kill, "surviving a kill")?;
    let books = lab.fill(&backend, "a", 100).await?;
    let delivered = fetch_all(&backend, "a").await?;
    let (mut acts, mut left) = (Vec::new(), Vec::new());
    for (at, delivery) in delivered.iter().enumerate() {
        match at % 7 {
            0 => acts.push((delivery.receipt.clone(), Act::Ack)),
            3 => acts.push((delivery.receipt.clone(), Act::Drop)),
            _ => left.push(books[at].clone()),
        }
    }
    settle(&backend, &acts).await?;
    let (backend, recovered) = lab.reopen(backend, &["a"]).await?;
    let depth = recovered.piles[0];
    ensure!(depth.books == left.len() as u64, "{} books are left: {depth:?}", left.len());
    let delivered = fetch_all(&backend, "a").await?;
    same(&left, &delivered)?;
    settle(&backend, &all(&delivered, &Act::Ack)).await?;
    let (backend, recovered) = lab.reopen(backend, &["a"]).await?;
    ensure!(recovered.piles[0].books == 0, "all are acked: {:?}", recovered.piles[0]);
    same(&[], &fetch_all(&backend, "a").await?)
}

pub(super) async fn a_dropped_append_is_whole(lab: &mut Lab) -> Law {
    for polls in 0..3 {
        let pile = format!("pile {polls}");
        let (backend, _) = lab.open(&[&pile]).await?;
        let books = lab.books(&backend, 40).await?;
        let mut dropped = append(&pile, &books);
        let position = format!("after {polls}");
        dropped.checkpoint = Some(checkpoint(&position, owner(&backend).await?));
        let mut call = backend.append(&dropped);
        let mut polled = 0;
        while polled < polls && poll_once(&mut call).await {
            polled += 1;
        }
        drop(call);
        let (backend, recovered) = lab.reopen(backend, &[&pile]).await?;
        let delivered = fetch_all(&backend, &pile).await?;
        let stored = !delivered.is_empty();
        if stored {
            same(&books, &delivered)?;
        }
        if backend.promises().checkpoints {
            let at = recovered.positions.iter().any(|at| at.position == position.as_bytes());
            ensure!(at == stored, "books stored: {stored}; their position: {at}");
        }
        settle(&backend, &all(&delivered, &Act::Ack)).await?;
        backend.close().await?;
        lab.kill(backend).await;
    }
    Ok(())
}

/// The token with which this process may store positions of the source.
pub(super) async fn owner(backend: &Shared) -> Law<u64> {
    match backend.own("source", 0, None, Duration::from_millis(1)).await {
        Ok(ownership) => Ok(ownership.token),
        Err(StoreError::Unsupported(_)) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn ids_are_never_given_again(lab: &mut Lab) -> Law {
    let (mut backend, _) = lab.open(&["a"]).await?;
    let mut highest = 0;
    for _ in 0..4 {
        // `books` checks that the ids are new.
        lab.books(&backend, 10).await?;
        let books = lab.fill(&backend, "a", 5).await?;
        let delivered = fetch_all(&backend, "a").await?;
        settle(&backend, &all(&delivered, &Act::Ack)).await?;
        highest = books.iter().map(|book| book.id.0).max().unwrap_or(highest);
        let (again, recovered) = lab.reopen(backend, &["a"]).await?;
        let next = recovered.next_id;
        ensure!(next > highest, "next id {next}, but {highest} was given");
        backend = again;
    }
    // An id that was stored without a reservation counts as given.
    let far = highest + 1_000_000;
    backend.append(&append("a", &[book(far)])).await?;
    let delivered = fetch_all(&backend, "a").await?;
    settle(&backend, &all(&delivered, &Act::Ack)).await?;
    let (backend, _) = lab.reopen(backend, &["a"]).await?;
    let ids = backend.reserve_ids(1).await?;
    ensure!(ids.start > far, "{ids:?} reserved, but {far} was stored");
    Ok(())
}

pub(super) async fn a_closed_store_is_kept(lab: &mut Lab) -> Law {
    let (backend, _) = lab.open(&["a"]).await?;
    let books = lab.fill(&backend, "a", 20).await?;
    let held = fetch_all(&backend, "a").await?;
    settle(&backend, &all(&held[..5], &Act::Ack)).await?;
    backend.close().await?;
    lab.fixture.kill(backend).await;
    // Closing ended the leases: nothing has to be waited for.
    let (backend, _) = lab.open(&["a"]).await?;
    same(&books[5..], &fetch_all(&backend, "a").await?)
}

pub(super) async fn positions_come_with_their_books(lab: &mut Lab) -> Law {
    let (backend, recovered) = lab.open(&["a"]).await?;
    needs(backend.promises().checkpoints, "storing positions of sources")?;
    ensure!(recovered.positions.is_empty(), "a new store knows {:?}", recovered.positions);
    let token = owner(&backend).await?;
    let books = lab.books(&backend, 3).await?;
    for (book, position) in books.iter().zip(["one", "two", "three"]) {
        let mut append = append("a", std::slice::from_ref(book));
        append.checkpoint = Some(checkpoint(position, token));
        backend.append(&append).await?;
    }
    let mut other = append("a", &[]);
    other.checkpoint = Some(Checkpoint { share: 1, ..checkpoint("other", 0) });
    if let Ok(own) = backend.own("source", 1, None, Duration::from_millis(1)).await {
        other.checkpoint.as_mut().into_iter().for_each(|at| at.owner = own.token);
    }
    backend.append(&other).await?;
    let (backend, recovered) = lab.reopen(backend, &["a"]).await?;
    let mut at: Vec<_> = (recovered.positions.iter())
        .map(|at| (at.share, String::from_utf8_lossy(&at.position).into_owned()))
        .collect();
    at.sort();
    let wanted = [(0, "three".to_owned()), (1, "other".to_owned())];
    ensure!(at == wanted, "positions {at:?}, stored were {wanted:?}");
    same(&books, &fetch_all(&backend, "a").await?)
}

pub(super) async fn positions_grow(lab: &mut Lab) -> Law {
    let (backend, _) = lab.open(&["a"]).await?;
    needs(backend.promises().checkpoints, "storing positions of sources")?;
    let token = owner(&backend).await?;
    let books = lab.books(&backend, 80).await?;
    let (mut wanted, mut appends) = (String::new(), Vec::new());
    for (at, book) in books.iter().enumerate() {
        let part = format!("{at} ");
        // In the middle it begins anew.
        let adds = at != 10;
        wanted = if adds { wanted + &part } else { part.clone() };
        let mut append = append("a", std::slice::from_ref(book));
        append.checkpoint = Some(Checkpoint { adds, ..checkpoint(&part, token) });
        backend.append(&append).await?;
        appends.push(append);
    }
    // An append that is repeated adds nothing.
    backend.append(&appends[79]).await?;
    let position = |recovered: &Recovered| {
        let at = recovered.positions.iter().find(|at| at.share == 0);
        at.map(|at| String::from_utf8_lossy(&at.position).into_owned())
    };
    // What is merged when it is opened stays the same.
    let (backend, recovered) = lab.reopen(backend, &["a"]).await?;
    ensure!(position(&recovered).as_ref() == Some(&wanted), "{recovered:?}, not {wanted}");
    let (backend, recovered) = lab.reopen(backend, &["a"]).await?;
    ensure!(position(&recovered).as_ref() == Some(&wanted), "{recovered:?}, not {wanted}");
    same(&books, &fetch_all(&backend, "a").await?)?;
    backend.rewind("another").await?;
    let (backend, recovered) = lab.reopen(backend, &["a"]).await?;
    ensure!(position(&recovered).is_some(), "another source was rewound: {recovered:?}");
    backend.rewind("source").await?;
    let (_backend, recovered) = lab.reopen(backend, &["a"]).await?;
    ensure!(position(&recovered).is_none(), "the source was rewound: {recovered:?}");
    Ok(())
}

fn all_receipts(held: &[Delivery]) -> Vec<Receipt> {
    held.iter().map(|delivery| delivery.receipt.clone()).collect()
}

pub(super) async fn what_was_begun_is_charged(lab: &mut Lab) -> Law {
    let (mut backend, _) = lab.open(&["a", "b"]).await?;
    needs(backend.promises().begun_marks, "marking what was begun")?;
    let books = lab.fill(&backend, "a", 6).await?;
    let mut held = fetch_all(&backend, "a").await?;
    let shared = backend.promises().shared;
    if shared {
        // The first process that dies with them goes free.
        backend.begin(&all_receipts(&held));
        backend = lab.reopen(backend, &["a", "b"]).await?.0;
        held = fetch_all(&backend, "a").await?;
        same(&books, &held)?;
        ensure!(held.iter().all(|held| held.tries.attempts == 0), "charged at once: {held:?}");
    }
    let receipts = all_receipts(&held);
    // Begun: 0 to 4. Of these 1 is returned, 2 passed, 3 acked.
    backend.begin(&receipts[..3]);
    backend.begin(&receipts[3..5]);
    let tries = Tries { attempts: 2, deliveries: 1, ..Tries::default() };
    let back = give_back(Duration::ZERO, tries, false);
    settle(&backend, &[(receipts[1].clone(), back)]).await?;
    pass(&backend, "b", &held[2..3], false).await?;
    settle(&backend, &all(&held[3..4], &Act::Ack)).await?;
    let (backend, _) = lab.reopen(backend, &["a", "b"]).await?;
    let left = fetch_all(&backend, "a").await?;
    same(&[&books[..2], &books[4..]].concat(), &left)?;
    let attempts: Vec<_> =
        left.iter().map(|left| (left.tries.attempts, left.tries.begun)).collect();
    let wanted = [(1, true), (2, false), (1, true), (0, false)];
    ensure!(attempts == wanted, "attempts and begun: {attempts:?}, wanted {wanted:?}");
    let passed = fetch_all(&backend, "b").await?;
    if shared {
        // A book that was passed on is delivered before it is begun.
        ensure!(passed.len() == 1 && passed[0].tries == Tries::default(), "passed: {passed:?}");
        return Ok(());
    }
    // The work may have begun while the pass was on its way.
    let charged = passed.first().map(|passed| (passed.tries.attempts, passed.tries.begun));
    ensure!(charged == Some((1, true)), "passed on: {passed:?}");
    // So it may when tries are stored that the book had before it was passed.
    backend.begin(std::slice::from_ref(&passed[0].receipt));
    let before = Tries { attempts: 1, begun: true, ..Tries::default() };
    let stays = give_back(Duration::ZERO, before, true);
    settle(&backend, &[(passed[0].receipt.clone(), stays)]).await?;
    // A second crash charges them again only if they begin again.
    let (backend, _) = lab.reopen(backend, &["a", "b"]).await?;
    let again = fetch_all(&backend, "a").await?;
    let attempts: Vec<_> = again.iter().map(|left| left.tries.attempts).collect();
    ensure!(attempts == [1, 2, 1, 0], "attempts after one more crash: {attempts:?}");
    let passed = fetch_all(&backend, "b").await?;
    ensure!(passed.len() == 1 && passed[0].tries.attempts == 2, "begun again: {passed:?}");
    // Work that has ended is not charged, though its end is not stored.
    backend.begin(&all_receipts(&again));
    backend.end(&all_receipts(&again)[..1]);
    let (backend, _) = lab.reopen(backend, &["a", "b"]).await?;
    let last = fetch_all(&backend, "a").await?;
    let attempts: Vec<_> = last.iter().map(|left| left.tries.attempts).collect();
    ensure!(attempts == [1, 3, 2, 1], "attempts after the last crash: {attempts:?}");
    Ok(())
}

/// Passes deliveries on; expects success, and answers the new receipts.
pub(super) async fn pass(
    backend: &Shared,
    to: &str,
    books: &[Delivery],
    hold: bool,
) -> Law<Vec<Option<Receipt>>> {
    let books = books.iter().map(|delivery| (delivery.receipt.clone(), None)).collect();
    let pass = super::super::Pass { to: name(to), hold, books };
    let mut receipts = Vec::new();
    for (passed, (old, _)) in backend.pass(&pass).await.into_iter().zip(&pass.books) {
        let passed = passed?;
        if !passed.acked {
            settle(backend, &[(old.clone(), Act::Ack)]).await?;
        }
        ensure!(passed.receipt.is_some() == hold, "hold {hold}: {passed:?}");
        receipts.push(passed.receipt);
    }
    Ok(receipts)
}
