//! Many changes in one call.

use super::durable::{owner, pass};
use super::*;
use crate::store::{Arrival, Arrived, Commit, Committed, Pass, Passed};

fn arrives(pile: &str, books: &[Book]) -> Arrival {
    Arrival::Append(append(pile, books))
}

fn passes(to: &str, held: &[Delivery]) -> Arrival {
    let books = held.iter().map(|delivery| (delivery.receipt.clone(), None)).collect();
    Arrival::Pass(Pass { to: name(to), hold: false, books })
}

/// The books of a delivery, in order.
fn books_of(held: &[Delivery]) -> Vec<Book> {
    held.iter().map(|delivery| delivery.book.clone()).collect()
}

/// Commits and expects that every single change took effect.
async fn commit(backend: &Shared, commit: Commit) -> Law<Committed> {
    let commit = Arc::new(commit);
    let done = backend.commit(commit.clone()).await?;
    ensure!(done.arrivals.len() == commit.arrivals.len(), "answers to arrivals: {done:?}");
    ensure!(done.acts.len() == commit.acts.len(), "answers to acts: {done:?}");
    for (arrival, arrived) in commit.arrivals.iter().zip(&done.arrivals) {
        match (arrival, arrived) {
            (Arrival::Append(books), Arrived::Appended(answer)) => {
                let count = answer.as_ref().map_or(0, Vec::len);
                ensure!(count == books.books.len(), "an append answers {answer:?}");
            }
            (Arrival::Pass(books), Arrived::Passed(answers)) => {
                ensure!(answers.len() == books.books.len(), "a pass answers {answers:?}");
                for (answer, (old, _)) in answers.iter().zip(&books.books) {
                    let Passed { acked, .. } = answer.clone()?;
                    if !acked {
                        settle(backend, &[(old.clone(), Act::Ack)]).await?;
                    }
                }
            }
            _ => ensure!(false, "{arrival:?} answers {arrived:?}"),
        }
    }
    for answer in &done.acts {
        answer.clone()?;
    }
    Ok(done)
}

pub(super) async fn a_commit_takes_effect(lab: &mut Lab) -> Law {
    let (backend, _) = lab.open(&["a", "b"]).await?;
    let books = lab.fill(&backend, "a", 30).await?;
    let held = fetch_all(&backend, "a").await?;
    let more = lab.books(&backend, 10).await?;
    let tries = Tries { attempts: 1, deliveries: 1, begun: true, apart: true };
    let mut acts = all(&held[10..20], &Act::Ack);
    acts.extend(all(&held[20..25], &give_back(Duration::ZERO, tries, false)));
    let arrivals = vec![passes("b", &held[..10]), arrives("b", &more), arrives("a", &[])];
    commit(&backend, Commit { arrivals, acts }).await?;
    let (backend, _) = lab.reopen(backend, &["a", "b"]).await?;
    let left = fetch_all(&backend, "a").await?;
    same(&books[20..], &left)?;
    let returned = left.iter().filter(|left| (left.tries.attempts, left.tries.apart) == (1, true));
    ensure!(returned.count() == 5, "five were returned with their tries");
    same(&[&books[..10], &more[..]].concat(), &fetch_all(&backend, "b").await?)
}

pub(super) async fn a_dropped_commit_is_whole(lab: &mut Lab) -> Law {
    for polls in 0..4 {
        let (from, to) = (format!("from {polls}"), format!("to {polls}"));
        let (backend, _) = lab.open(&[&from, &to]).await?;
        needs(backend.promises().atomic_commit, "atomicity of commits")?;
        let books = lab.fill(&backend, &from, 20).await?;
        let held = fetch_all(&backend, &from).await?;
        let more = lab.books(&backend, 10).await?;
        let position = format!("after {polls}");
        let mut last = append(&to, &more);
        last.checkpoint = Some(checkpoint(&position, owner(&backend).await?));
        let arrivals = vec![passes(&to, &held[..5]), Arrival::Append(last)];
        let acts = all(&held[5..15], &Act::Ack);
        let mut call = backend.commit(Arc::new(Commit { arrivals, acts }));
        let mut polled = 0;
        while polled < polls && poll_once(&mut call).await {
            polled += 1;
        }
        drop(call);
        let (backend, recovered) = lab.reopen(backend, &[&from, &to]).await?;
        let happened = recovered.positions.iter().any(|at| at.position == position.as_bytes());
        let (left, there) = (fetch_all(&backend, &from).await?, fetch_all(&backend, &to).await?);
        let (all_there, all_left) = match happened {
            true => ([&books[..5], &more[..]].concat(), &books[15..]),
            false => (vec![], &books[..]),
        };
        same(all_left, &left)?;
        same(&all_there, &there)?;
        backend.close().await?;
        lab.kill(backend).await;
    }
    Ok(())
}

pub(super) async fn a_repeated_commit_changes_nothing(lab: &mut Lab) -> Law {
    let (backend, _) = lab.open(&["a", "b"]).await?;
    let promises = backend.promises();
    needs(promises.dedupe.is_some() || !promises.shared, "recognising repetitions")?;
    let books = lab.fill(&backend, "a", 10).await?;
    let held = fetch_all(&backend, "a").await?;
    let more = lab.books(&backend, 5).await?;
    let arrivals = vec![passes("b", &held[..4]), arrives("b", &more)];
    let whole = Commit { arrivals, acts: all(&held[4..8], &Act::Ack) };
    commit(&backend, whole.clone()).await?;
    let again = backend.commit(Arc::new(whole)).await?;
    for answer in &again.acts {
        let is_gone = matches!(answer, Ok(()) | Err(StoreError::Gone));
        ensure!(is_gone, "a repeated ack answers {answer:?}");
    }
    match backend.resolve(&more.iter().map(|book| book.id).collect::<Vec<_>>()).await {
        Ok(known) => ensure!(known == [true; 5], "stored books resolve to {known:?}"),
        Err(StoreError::Unsupported(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let (backend, _) = lab.reopen(backend, &["a", "b"]).await?;
    same(&books[8..], &fetch_all(&backend, "a").await?)?;
    same(&[&books[..4], &more[..]].concat(), &fetch_all(&backend, "b").await?)
}

pub(super) async fn a_commit_acts_on_its_own_arrivals(lab: &mut Lab) -> Law {
    let (backend, _) = lab.open(&["a", "b", "c"]).await?;
    needs(!backend.promises().shared, "one opener at a time")?;
    let books = lab.fill(&backend, "a", 6).await?;
    let held = fetch_all(&backend, "a").await?;
    let more = lab.books(&backend, 3).await?;
    let mut own = append("c", &more);
    own.hold = true;
    let Arrival::Pass(mut moved) = passes("b", &held[..3]) else {
        return Err(Broken::Law("a pass".to_owned()));
    };
    moved.hold = true;
    let tries = Tries { attempts: 3, ..Tries::default() };
    let acts = vec![
        (held[0].receipt.clone(), Act::Ack),
        (held[1].receipt.clone(), give_back(Duration::ZERO, tries, false)),
        (Receipt::of(more[1].id), Act::Ack),
    ];
    let arrivals = vec![Arrival::Append(own), Arrival::Pass(moved)];
    commit(&backend, Commit { arrivals, acts }).await?;
    // A pass of what the first commit moved and still holds.
    let [receipt] = &pass(&backend, "c", &held[2..3], true).await?[..] else {
        return Err(Broken::Law("one receipt".to_owned()));
    };
    ensure!(*receipt == Some(Receipt::of(books[2].id)), "the receipt became {receipt:?}");
    let (backend, _) = lab.reopen(backend, &["a", "b", "c"]).await?;
    same(&books[3..], &fetch_all(&backend, "a").await?)?;
    let left = fetch_all(&backend, "b").await?;
    same(&books[1..2], &left)?;
    ensure!(left[0].tries.attempts == 3, "the act came before the pass: {:?}", left[0].tries);
    let wanted = [more[0].clone(), more[2].clone(), books[2].clone()];
    same(&wanted, &fetch_all(&backend, "c").await?)
}

pub(super) async fn arrivals_keep_their_order(lab: &mut Lab) -> Law {
    let (backend, _) = lab.open(&["a", "b"]).await?;
    needs(backend.promises().ordered, "the order of arrival")?;
    lab.fill(&backend, "a", 8).await?;
    let held = fetch_all(&backend, "a").await?;
    let more = lab.books(&backend, 4).await?;
    let mut mixed = [held[6].clone(), held[1].clone()];
    mixed.reverse();
    let arrivals = vec![
        arrives("b", &more[2..3]),
        passes("b", &held[2..5]),
        arrives("b", &more[..2]),
        passes("b", &mixed),
        arrives("b", &more[3..]),
    ];
    commit(&backend, Commit { arrivals, acts: vec![] }).await?;
    let wanted = [
        more[2..3].to_vec(),
        books_of(&held[2..5]),
        more[..2].to_vec(),
        books_of(&mixed),
        more[3..].to_vec(),
    ];
    let (backend, _) = lab.reopen(backend, &["a", "b"]).await?;
    same(&wanted.concat(), &fetch_all(&backend, "b").await?)
}

pub(super) async fn lost_books_fail_alone(lab: &mut Lab) -> Law {
    let (backend, _) = lab.open(&["a", "b"]).await?;
    let books = lab.fill(&backend, "a", 6).await?;
    let held = fetch_all(&backend, "a").await?;
    settle(&backend, &all(&held[..2], &Act::Ack)).await?;
    let mut acts = all(&held[1..3], &Act::Ack);
    acts.push((Receipt(Bytes::from_static(b"?")), Act::Ack));
    let arrivals = vec![passes("b", &[held[0].clone(), held[3].clone()])];
    let done = backend.commit(Arc::new(Commit { arrivals, acts })).await?;
    let Some(Arrived::Passed(passed)) = done.arrivals.first() else {
        return Err(Broken::Law(format!("the answers are {done:?}")));
    };
    let lost = |answer: &StoreError| answer.is_lost();
    let refused = passed.first().and_then(|passed| passed.as_ref().err()).is_some_and(lost);
    ensure!(refused && passed.len() == 2 && passed[1].is_ok(), "acked, held: {passed:?}");
    let [acked, ended, foreign] = &done.acts[..] else {
        return Err(Broken::Law(format!("the answers are {done:?}")));
    };
    ensure!(!matches!(acked, Err(error) if !error.is_lost()), "acked twice: {acked:?}");
    ensure!(ended.is_ok(), "a held book: {ended:?}");
    ensure!(foreign.as_ref().err().is_some_and(lost), "a foreign receipt: {foreign:?}");
    if passed[1].as_ref().is_ok_and(|passed| !passed.acked) {
        settle(&backend, &all(&held[3..4], &Act::Ack)).await?;
    }
    let (backend, _) = lab.reopen(backend, &["a", "b"]).await?;
    same(&books[4..], &fetch_all(&backend, "a").await?)?;
    same(&books[3..4], &fetch_all(&backend, "b").await?)
}
