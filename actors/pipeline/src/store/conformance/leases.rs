//! Holding books: order, delays, fencing.

use super::durable::pass;
use super::*;

pub(super) async fn a_held_book_is_delivered_once(lab: &mut Lab) -> Law {
    let (backend, _) = lab.open(&["a"]).await?;
    let books = lab.fill(&backend, "a", 10).await?;
    let held = fetch_all(&backend, "a").await?;
    same(&books, &held)?;
    let mut unique: Vec<_> = held.iter().map(|delivery| &delivery.receipt).collect();
    unique.sort();
    unique.dedup();
    ensure!(unique.len() == 10, "two books have one receipt");
    same(&[], &fetch_all(&backend, "a").await?)?;
    // Books appended with `hold` are held too.
    let more = lab.books(&backend, 2).await?;
    let mut kept = append("a", &more);
    kept.hold = true;
    let answers = backend.append(&kept).await?;
    let acts: Vec<_> = (answers.iter())
        .filter_map(|answer| match answer {
            Appended::Stored(Some(receipt)) => Some((receipt.clone(), Act::Ack)),
            _ => None,
        })
        .collect();
    ensure!(acts.len() == 2, "two held books are appended: {answers:?}");
    same(&[], &fetch_all(&backend, "a").await?)?;
    settle(&backend, &acts[..1]).await?;
    let (backend, _) = lab.reopen(backend, &["a"]).await?;
    // The killed process held them all: they are delivered again.
    let again = fetch_all(&backend, "a").await?;
    same(&[&books[..], &more[1..]].concat(), &again)
}

pub(super) async fn a_returned_book_regains_its_place(lab: &mut Lab) -> Law {
    let (backend, _) = lab.open(&["a"]).await?;
    needs(backend.promises().ordered, "the order of arrival")?;
    let books = lab.fill(&backend, "a", 9).await?;
    let want = Want { books: 6, bytes: None };
    let held = backend.fetch(&name("a"), want, Duration::ZERO).await?;
    same(&books[..6], &held)?;
    let tries = Tries { attempts: 1, deliveries: 1, ..Tries::default() };
    let back = give_back(Duration::ZERO, tries, false);
    let acts: Vec<_> = [4, 1, 2].map(|at: usize| (held[at].receipt.clone(), back.clone())).into();
    settle(&backend, &acts).await?;
    let wanted = [&books[1..3], &books[4..5], &books[6..]].concat();
    let again = fetch_all(&backend, "a").await?;
    same(&wanted, &again)?;
    let attempts: Vec<_> = again.iter().map(|again| again.tries.attempts).collect();
    ensure!(attempts == [1, 1, 1, 0, 0, 0], "attempts are {attempts:?}");
    let (backend, _) = lab.reopen(backend, &["a"]).await?;
    same(&books, &fetch_all(&backend, "a").await?)
}

pub(super) async fn a_delay_is_kept(lab: &mut Lab) -> Law {
    let (backend, _) = lab.open(&["a"]).await?;
    needs(backend.promises().delay, "delays")?;
    let delay = lab.fixture.lease() * 4;
    let books = lab.fill(&backend, "a", 5).await?;
    let held = fetch_all(&backend, "a").await?;
    let tries = Tries { attempts: 2, deliveries: 3, begun: true, apart: true };
    let acts = [
        (held[1].receipt.clone(), give_back(delay, tries, false)),
        (held[3].receipt.clone(), give_back(delay / 2, tries, false)),
        (held[4].receipt.clone(), give_back(delay, tries, true)),
    ];
    settle(&backend, &acts).await?;
    same(&[], &fetch_all(&backend, "a").await?)?;
    let depth = backend.depth(&name("a")).await?;
    ensure!(
        !depth.exact || depth.next_due.is_some_and(|due| due <= delay / 2),
        "due in {:?} at most: {depth:?}",
        delay / 2
    );
    // Delays survive; a kill ends the leases.
    let (backend, _) = lab.reopen(backend, &["a"]).await?;
    let free = fetch_all(&backend, "a").await?;
    same(&[books[0].clone(), books[2].clone()], &free)?;
    settle(&backend, &all(&free, &Act::Ack)).await?;
    lab.fixture.elapse(delay / 2).await;
    let half = fetch_all(&backend, "a").await?;
    same(&books[3..4], &half)?;
    settle(&backend, &all(&half, &Act::Ack)).await?;
    lab.fixture.elapse(delay / 2).await;
    let late = fetch_all(&backend, "a").await?;
    same(&[books[1].clone(), books[4].clone()], &late)?;
    for late in late {
        let Tries { attempts, begun, apart, .. } = late.tries;
        ensure!((attempts, begun, apart) == (2, true, true), "stored: {tries:?}; got {late:?}");
    }
    Ok(())
}

pub(super) async fn a_fetch_is_bounded(lab: &mut Lab) -> Law {
    let (backend, _) = lab.open(&["a"]).await?;
    let mut books = lab.books(&backend, 8).await?;
    for (book, size) in books.iter_mut().zip([100, 100, 100, 5_000, 100, 100, 100, 100]) {
        book.body = vec![b'x'; size].into();
    }
    backend.append(&append("a", &books)).await?;
    let mut seen = Vec::new();
    let cuts = [(2, None, 2), (5, Some(150), 1), (5, Some(1_000), 1), (9, Some(300), 3)];
    for (most, bytes, wanted) in cuts {
        let want = Want { books: most, bytes };
        let some = backend.fetch(&name("a"), want, Duration::ZERO).await?;
        ensure!(some.len() == wanted, "{want:?}: {} books, not {wanted}", some.len());
        seen.extend(some);
    }
    seen.extend(fetch_all(&backend, "a").await?);
    same(&books, &seen)
}

pub(super) async fn settling_twice_changes_nothing(lab: &mut Lab) -> Law {
    let (backend, _) = lab.open(&["a"]).await?;
    let books = lab.fill(&backend, "a", 4).await?;
    let held = fetch_all(&backend, "a").await?;
    let back = give_back(Duration::ZERO, Tries::default(), false);
    let acts = [
        (held[0].receipt.clone(), Act::Ack),
        (held[1].receipt.clone(), Act::Drop),
        (held[2].receipt.clone(), back),
    ];
    settle(&backend, &acts).await?;
    let late: Vec<_> = all(&held[..3], &Act::Ack);
    for (answer, at) in backend.settle(&late).await.into_iter().zip(0..) {
        let fine = match (&answer, at) {
            (Ok(()), 0 | 1) => true,
            (Err(error), _) => error.is_lost(),
            _ => false,
        };
        ensure!(fine || !backend.promises().fenced_ack, "settled before: {answer:?}");
    }
    needs(backend.promises().fenced_ack, "fencing")?;
    let again = fetch_all(&backend, "a").await?;
    same(&books[2..3], &again)?;
    let (backend, _) = lab.reopen(backend, &["a"]).await?;
    same(&books[2..], &fetch_all(&backend, "a").await?)
}

pub(super) async fn a_lost_lease_is_fenced(lab: &mut Lab) -> Law {
    let (paused, _) = lab.open(&["a", "b"]).await?;
    let promises = paused.promises();
    needs(promises.shared && promises.fenced_ack, "fencing between processes")?;
    let books = lab.fill(&paused, "a", 6).await?;
    let held = fetch_all(&paused, "a").await?;
    lab.outlast().await;
    let (other, _) = lab.open(&["a", "b"]).await?;
    let taken = fetch_all(&other, "a").await?;
    same(&books, &taken)?;
    let counted = taken.iter().all(|taken| taken.tries.deliveries >= 1);
    ensure!(counted, "deliveries are not counted: {:?}", taken[0].tries);
    // The first holder wakes up.
    let back = give_back(Duration::ZERO, Tries::default(), false);
    let bury = Act::Bury { reason: "late".into(), node: None, attempts: 1 };
    let acts: Vec<_> = (held.iter().zip([Act::Ack, Act::Drop, back, bury]))
        .map(|(held, act)| (held.receipt.clone(), act))
        .collect();
    for (answer, (_, act)) in paused.settle(&acts).await.into_iter().zip(&acts) {
        ensure!(matches!(answer, Err(StoreError::Stale)), "late {act:?} answers {answer:?}");
    }
    let books_to_pass = vec![(held[4].receipt.clone(), None)];
    let late = super::super::Pass { to: name("b"), hold: true, books: books_to_pass };
    let answer = paused.pass(&late).await;
    ensure!(matches!(answer[..], [Err(StoreError::Stale)]), "a late pass answers {answer:?}");
    let answer = paused.extend(&[held[5].receipt.clone()], lab.fixture.lease()).await;
    ensure!(matches!(answer[..], [Err(StoreError::Stale)]), "a late extend answers {answer:?}");
    same(&[], &fetch_all(&paused, "a").await?)?;
    same(&[], &fetch_all(&paused, "b").await?)?;
    // The second one still holds them all.
    settle(&other, &all(&taken, &Act::Ack)).await?;
    let depth = other.depth(&name("a")).await?;
    ensure!(depth.books == 0 || !depth.exact, "all are acked: {depth:?}");
    Ok(())
}

pub(super) async fn an_extended_lease_lasts(lab: &mut Lab) -> Law {
    let (first, _) = lab.open(&["a"]).await?;
    let books = lab.fill(&first, "a", 3).await?;
    let held = fetch_all(&first, "a").await?;
    let receipts: Vec<_> = held.iter().map(|held| held.receipt.clone()).collect();
    let lease = lab.fixture.lease();
    for _ in 0..3 {
        lab.fixture.elapse(lease / 2).await;
        for answer in first.extend(&receipts, lease).await {
            answer?;
        }
    }
    same(&[], &fetch_all(&first, "a").await?)?;
    if first.promises().shared {
        let (second, _) = lab.open(&["a"]).await?;
        same(&[], &fetch_all(&second, "a").await?)?;
        lab.outlast().await;
        let taken = fetch_all(&second, "a").await?;
        return same(&books, &taken);
    }
    settle(&first, &all(&held, &Act::Ack)).await
}

pub(super) async fn foreign_receipts_are_refused(lab: &mut Lab) -> Law {
    let (backend, _) = lab.open(&["a", "b"]).await?;
    let books = lab.fill(&backend, "a", 3).await?;
    let held = fetch_all(&backend, "a").await?;
    let mut longer = held[0].receipt.0.to_vec();
    longer.extend([1, 2, 3]);
    let foreign = [
        Receipt(Bytes::new()),
        Receipt(vec![255; 8].into()),
        Receipt(vec![0; 16].into()),
        Receipt(vec![7; 5_000].into()),
        Receipt::of(BookId(u64::MAX)),
        Receipt(longer.into()),
    ];
    backend.begin(&foreign);
    let acts: Vec<_> = foreign.iter().map(|foreign| (foreign.clone(), Act::Ack)).collect();
    for (answer, foreign) in backend.settle(&acts).await.into_iter().zip(&foreign) {
        let refused = answer.as_ref().err().is_some_and(StoreError::is_lost);
        ensure!(refused, "{foreign:?} answers {answer:?}");
    }
    for answer in backend.extend(&foreign, Duration::from_secs(9)).await {
        ensure!(answer.is_err(), "a foreign receipt was extended");
    }
    let moved = foreign.iter().map(|foreign| (foreign.clone(), None)).collect();
    let moved = super::super::Pass { to: name("b"), hold: false, books: moved };
    for answer in backend.pass(&moved).await {
        ensure!(answer.is_err(), "a foreign receipt was passed");
    }
    let (backend, _) = lab.reopen(backend, &["a", "b"]).await?;
    same(&books, &fetch_all(&backend, "a").await?)
}

pub(super) async fn openers_share_or_exclude(lab: &mut Lab) -> Law {
    let (first, _) = lab.open(&["a", "b"]).await?;
    let books = lab.fill(&first, "a", 10).await?;
    let want = Want { books: 4, bytes: None };
    let held = first.fetch(&name("a"), want, Duration::ZERO).await?;
    same(&books[..4], &held)?;
    if !first.promises().shared {
        let second = lab.fixture.start();
        let answer = second.open(&[]).await;
        let refused = matches!(answer, Err(StoreError::InUse { pid: Some(_), .. }));
        ensure!(refused, "a second opener is answered {answer:?}");
        drop(second);
        // The first one goes on, and the store is free after it.
        pass(&first, "b", &held[..1], false).await?;
        let (next, _) = lab.reopen(first, &["a", "b"]).await?;
        return same(&books[1..], &fetch_all(&next, "a").await?);
    }
    let (second, _) = lab.open(&["a", "b"]).await?;
    let rest = fetch_all(&second, "a").await?;
    same(&books[4..], &rest)?;
    settle(&second, &all(&rest, &Act::Ack)).await?;
    // Books that one process passes on are the other's to fetch.
    pass(&first, "b", &held, false).await?;
    same(&books[..4], &fetch_all(&second, "b").await?)?;
    match second.holders().await {
        Ok(holders) => ensure!(
            holders.iter().filter_map(|holder| holder.held).sum::<u64>() == 4,
            "one process holds four books: {holders:?}"
        ),
        Err(StoreError::Unsupported(_)) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
