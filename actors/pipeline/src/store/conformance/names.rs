//! Names of piles, orphans, and the end of a backend.

use super::*;
use crate::store::Pass;

pub(super) async fn piles_are_found_by_name(lab: &mut Lab) -> Law {
    let (backend, _) = lab.open(&["a", "near[lane=2]", "c"]).await?;
    let first = lab.fill(&backend, "a", 2).await?;
    let second = lab.fill(&backend, "near[lane=2]", 3).await?;
    let (backend, recovered) = lab.reopen(backend, &["new", "near[lane=2]", "a"]).await?;
    let counts: Vec<_> = recovered.piles.iter().map(|depth| depth.books).collect();
    ensure!(counts == [0, 3, 2], "books by pile: {counts:?}");
    ensure!(recovered.orphans.is_empty(), "an empty pile is an orphan: {:?}", recovered.orphans);
    same(&second, &fetch_all(&backend, "near[lane=2]").await?)?;
    same(&first, &fetch_all(&backend, "a").await?)?;
    same(&[], &fetch_all(&backend, "new").await?)
}

/// A store with five books on `old` and one on `a`, opened without `old`.
async fn orphaned(lab: &mut Lab) -> Law<(Shared, Vec<Book>)> {
    let (backend, _) = lab.open(&["a", "old"]).await?;
    let books = lab.fill(&backend, "old", 5).await?;
    lab.fill(&backend, "a", 1).await?;
    let (backend, recovered) = lab.reopen(backend, &["a"]).await?;
    let orphans: Vec<_> =
        recovered.orphans.iter().map(|(name, depth)| (name, depth.books)).collect();
    ensure!(orphans == [(&name("old"), 5)], "five books on `old`: {orphans:?}");
    Ok((backend, books))
}

pub(super) async fn orphans_are_kept(lab: &mut Lab) -> Law {
    let (backend, books) = orphaned(lab).await?;
    let (backend, _) = lab.reopen(backend, &["a"]).await?;
    let (backend, recovered) = lab.reopen(backend, &["old"]).await?;
    let orphans: Vec<_> =
        recovered.orphans.iter().map(|(name, depth)| (name, depth.books)).collect();
    ensure!(orphans == [(&name("a"), 1)], "one book on `a`: {orphans:?}");
    same(&books, &fetch_all(&backend, "old").await?)
}

pub(super) async fn orphans_can_be_moved(lab: &mut Lab) -> Law {
    let (backend, books) = orphaned(lab).await?;
    let moved = backend.move_pile(&name("old"), &name("a")).await?;
    ensure!(moved == 5, "{moved} books moved, not 5");
    let (backend, recovered) = lab.reopen(backend, &["a"]).await?;
    ensure!(recovered.orphans.is_empty(), "orphans are left: {:?}", recovered.orphans);
    let delivered = fetch_all(&backend, "a").await?;
    ensure!(delivered.len() == 6, "{} books on `a`, not 6", delivered.len());
    same(&books, &delivered[1..])
}

pub(super) async fn orphans_can_be_dropped(lab: &mut Lab) -> Law {
    let (backend, _) = orphaned(lab).await?;
    let dropped = backend.drop_pile(&name("old")).await?;
    ensure!(dropped == 5, "{dropped} books dropped, not 5");
    let (backend, recovered) = lab.reopen(backend, &["a", "old"]).await?;
    if let Some(account) = recovered.account {
        ensure!(account.balances() && account.dropped == 5, "five were dropped: {account:?}");
    }
    same(&[], &fetch_all(&backend, "old").await?)
}

pub(super) async fn unknown_piles_are_refused(lab: &mut Lab) -> Law {
    let (backend, _) = lab.open(&["a"]).await?;
    let books = lab.fill(&backend, "a", 1).await?;
    let held = fetch_all(&backend, "a").await?;
    let lost = |answer: Option<&StoreError>| answer.is_some_and(StoreError::is_lost);
    let more = lab.books(&backend, 1).await?;
    let answer = backend.append(&append("unknown", &more)).await;
    ensure!(lost(answer.as_ref().err()), "an append to an unknown pile answers {answer:?}");
    let answer = backend.fetch(&name("unknown"), ALL, Duration::ZERO).await;
    ensure!(lost(answer.as_ref().err()), "a fetch from an unknown pile answers {answer:?}");
    let answer = backend.depth(&name("unknown")).await;
    ensure!(lost(answer.as_ref().err()), "the depth of an unknown pile is {answer:?}");
    let moved = vec![(held[0].receipt.clone(), None)];
    let pass = Pass { to: name("unknown"), hold: false, books: moved };
    let answer = backend.pass(&pass).await;
    ensure!(matches!(answer[..], [Err(_)]), "a pass to an unknown pile answers {answer:?}");
    let (backend, _) = lab.reopen(backend, &["a"]).await?;
    same(&books, &fetch_all(&backend, "a").await?)
}

pub(super) async fn a_closed_backend_answers(lab: &mut Lab) -> Law {
    let backend = lab.fixture.start();
    let early = backend.fetch(&name("a"), ALL, Duration::ZERO).await;
    ensure!(matches!(early, Err(StoreError::Closed)), "before it is open: {early:?}");
    drop(backend);
    let (backend, _) = lab.open(&["a"]).await?;
    lab.fill(&backend, "a", 2).await?;
    let held = fetch_all(&backend, "a").await?;
    let again = backend.open(&[]).await;
    ensure!(again.is_err(), "opened twice: {again:?}");
    backend.close().await?;
    let receipt = held[0].receipt.clone();
    backend.begin(std::slice::from_ref(&receipt));
    let answers = backend.settle(&[(receipt, Act::Ack)]).await;
    ensure!(matches!(answers[..], [Err(StoreError::Closed)]), "an act answers {answers:?}");
    let answer = backend.append(&append("a", &[book(1)])).await;
    ensure!(matches!(answer, Err(StoreError::Closed)), "an append answers {answer:?}");
    let answer = backend.reserve_ids(1).await;
    ensure!(matches!(answer, Err(StoreError::Closed)), "a reservation answers {answer:?}");
    Ok(())
}
