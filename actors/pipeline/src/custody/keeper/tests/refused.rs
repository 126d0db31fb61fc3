//! What a store refuses: for lack of room, and books that are too large.

use std::time::Duration;

use tokio::sync::oneshot;

use super::*;

const LIMIT: StoreError = StoreError::TooLarge { limit: 8 };

fn arrived(ids: std::ops::Range<u64>, then: Then) -> Change {
    let books = ids.map(|id| Book { id: BookId(id), ..Book::new(format!("book {id}")) });
    let (pile, books) = (PileKey(0), Numbered::of(books.collect()));
    let position = b"there".to_vec().into();
    let source = "inbox".into();
    let checkpoint = Some(Checkpoint { source, share: 0, position, adds: false, owner: 0 });
    Change::Arrived(Arrived { pile, books, checkpoint, held: true, then })
}

/// Commits until nothing is left; books with one of these ids are too large.
fn commit_all(
    core: &mut Core,
    disk: &mut Disk,
    large: &[u64],
) -> Vec<crate::custody::keeper::Unfit> {
    core.hurry();
    let mut unfit = Vec::new();
    while let Next::Commit { changes, room } = core.next(Time::ZERO) {
        let batch = batch(changes, Time::ZERO, room);
        let mut refused = Vec::new();
        let fit = |arrival: &&Arrival| match arrival {
            Arrival::Append(append) => {
                !append.books.iter().any(|new| large.contains(&new.book.id.0))
            }
            Arrival::Pass(pass) => !pass.books.iter().any(|(receipt, book)| {
                book.is_some() && large.contains(&receipt.id().expect("an id").0)
            }),
        };
        let arrivals = batch.commit.arrivals.iter().filter(fit).cloned().collect();
        let part = Commit { arrivals, acts: batch.commit.acts.clone() };
        let mut done = disk.commit(&part, false);
        let mut stored = std::mem::take(&mut done.arrivals).into_iter();
        for arrival in &batch.commit.arrivals {
            refused.push(match arrival {
                arrival if fit(&arrival) => stored.next().expect("an answer for each"),
                Arrival::Append(_) => store::Arrived::Appended(Err(LIMIT)),
                Arrival::Pass(pass) => store::Arrived::Passed(vec![Err(LIMIT); pass.books.len()]),
            });
        }
        done.arrivals = refused;
        let answer = batch.answered(done).expect("it says something about single books");
        unfit.extend(answer.stored.unfit);
        for (.., (told, why)) in answer.stored.declined {
            let _ = told.send(Err((Vec::new(), why)));
        }
        core.stored(answer.size, answer.refused, answer.full, Time::ZERO);
    }
    assert!(core.is_idle() && core.unconfirmed() == 0);
    unfit
}

#[test]
fn of_a_source_only_the_books_that_are_too_large_are_refused() {
    let (mut core, mut disk) = (Core::new(Limits::default()), Disk::default());
    core.push(arrived(1..6, Then::Sourced));
    let unfit = commit_all(&mut core, &mut disk, &[2, 5]);
    assert_eq!(unfit.iter().map(|unfit| unfit.book.id.0).collect::<Vec<_>>(), [2, 5]);
    assert!(unfit.iter().all(|unfit| !unfit.passed));
    assert_eq!(disk.piles[0].iter().map(|row| row.id).collect::<Vec<_>>(), [1, 3, 4]);
    // The source goes on behind the last one.
    assert_eq!(disk.position, b"there");
}

#[test]
fn an_offer_with_a_book_that_is_too_large_is_refused_whole() {
    let (mut core, mut disk) = (Core::new(Limits::default()), Disk::default());
    let (told, mut answer) = oneshot::channel();
    core.push(arrived(1..6, Then::Offered(told)));
    assert!(commit_all(&mut core, &mut disk, &[2]).is_empty());
    assert!(matches!(answer.try_recv(), Ok(Err((_, StoreError::TooLarge { limit: 8 })))));
    assert!(disk.piles[0].is_empty());
}

#[test]
fn a_passed_book_that_is_too_large_is_unfit_if_it_is_behind() {
    let (mut core, mut disk) = (Core::new(Limits::default()), Disk::default());
    core.push(arrived(1..3, Then::Sourced));
    commit_all(&mut core, &mut disk, &[]);
    for (id, held) in [(1, true), (2, false)] {
        let (to, ids) = (PileKey(1), BookIds::Each(vec![BookId(id)]));
        let books = vec![Book { id: BookId(id), ..Book::new("larger") }];
        core.push(Change::Passed { to, ids, books, held, known: Known::Yes });
    }
    let unfit = commit_all(&mut core, &mut disk, &[1, 2]);
    // One that is held goes on in memory; the store has it where it was.
    assert_eq!(unfit.iter().map(|unfit| unfit.book.id.0).collect::<Vec<_>>(), [2]);
    assert!(unfit[0].passed && disk.piles[0].len() == 2 && disk.piles[1].is_empty());
}

#[test]
fn acks_need_no_room_and_appends_wait_longer_each_time() {
    let limits = Limits::default();
    let (mut core, mut disk) = (Core::new(limits), Disk::default());
    core.push(arrived(1..4, Then::Sourced));
    commit_all(&mut core, &mut disk, &[]);
    core.push(arrived(4..6, Then::Sourced));
    let (mut now, mut pause, mut acked) = (Time::ZERO, limits.retry.0, 0);
    while pause < limits.retry.1 {
        let Next::Commit { changes, room: true } = core.next(now) else {
            panic!("an append is due");
        };
        let batch = batch(changes, now, true);
        let answers = disk.commit(&batch.commit, true);
        let answer = batch.answered(answers).expect("answers");
        assert!(answer.full);
        core.stored(answer.size, answer.refused, true, now);
        assert!(core.is_down());
        if acked < 3 {
            // Only the ack is committed, and the append is not tried with it.
            acked += 1;
            let ids = BookIds::Each(vec![BookId(acked)]);
            core.push(Change::Ended { outcome: BookOutcome::Burned, ids });
            let Next::Commit { changes, room: false } = core.next(now) else {
                panic!("an ack is committed");
            };
            let batch = super::batch(changes, now, false);
            assert!(batch.commit.arrivals.is_empty() && batch.commit.acts.len() == 1);
            let answers = disk.commit(&batch.commit, true);
            let answer = batch.answered(answers).expect("answers");
            assert!(core.stored(answer.size, answer.refused, answer.full, now).is_none());
        }
        let Next::Until(until) = core.next(now) else {
            panic!("the append waits");
        };
        assert_eq!(until - now, pause);
        (now, pause) = (until, (pause * 2).min(limits.retry.1));
    }
    assert!(disk.piles[0].is_empty());
    let Next::Commit { changes, room: true } = core.next(now) else {
        panic!("an append is due");
    };
    let batch = batch(changes, now, true);
    let answers = disk.commit(&batch.commit, false);
    let answer = batch.answered(answers).expect("answers");
    let after = core.stored(answer.size, answer.refused, answer.full, now);
    assert_eq!(after, Some(now - Time::ZERO));
    assert!(core.is_idle() && disk.piles[0].len() == 2);
}

#[test]
fn a_full_store_does_not_keep_custody_from_handing_out() {
    let mut core = Core::new(Limits { books: 4, ..Limits::default() });
    core.push(arrived(1..5, Then::Sourced));
    assert!(core.is_full());
    let Next::Commit { changes, room: true } = core.next(Time::ZERO) else {
        panic!("an append is due");
    };
    let batch = batch(changes, Time::ZERO, true);
    let answers = Disk::default().commit(&batch.commit, true);
    let answer = batch.answered(answers).expect("answers");
    core.stored(answer.size, answer.refused, true, Time::ZERO + Duration::from_secs(1));
    assert!(!core.is_full() && !core.has_room(1, 0));
}
