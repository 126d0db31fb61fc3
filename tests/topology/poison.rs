//! Works and burns that panic or fail on chosen books: each attempt is charged to its own book, and
//! to no other.

use crate::support;

use gopherworks::report::RunOutcome;
use gopherworks::topology::DeadBook;
use proptest::prelude::*;
use support::designs::{
    CrewDesign, Design, Kills, assert_balanced, design, kill_all_along, kills, use_clock,
};
use support::kinds::{End, Moods, Record, cases, catalog, hush, mood, moody};
use support::virtual_time::{in_virtual_time, topology};

/// The node that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// The work of this stretch; whether it runs in the pool.
    Work(usize, bool),
    /// The burn; whether it runs in the pool.
    Burn(bool),
}

struct Seen {
    report: gopherworks::report::Report,
    dead: Vec<DeadBook>,
    burned: Record,
    calls: Record,
}

fn run(design: &Design, who: Who, moods: &Moods, kills: &Kills) -> Seen {
    hush();
    let (burned, calls) = (Record::default(), Record::default());
    let mut catalog = catalog(design.books, &burned);
    let mut works = vec![None; design.stretches.len()];
    let mut burn = "record";
    let treat = moody(moods.clone(), calls.clone());
    match who {
        Who::Work(stretch, pooled) => {
            works[stretch] = Some("moody");
            if pooled {
                catalog.add_work_fn("moody", "", treat);
            } else {
                catalog.add_inline_work_fn("moody", "", treat);
            }
        }
        Who::Burn(pooled) => {
            burn = "moody";
            let record = burned.clone();
            let burn = move |book: &gopherworks::pipeline::book::Book| {
                treat(book.clone())?;
                record.note(book);
                Ok(())
            };
            if pooled {
                catalog.add_burn_fn("moody", "", burn);
            } else {
                catalog.add_inline_burn_fn("moody", "", burn);
            }
        }
    }
    let config = design.config(Some("numbers"), burn, &works);
    let (report, dead) = in_virtual_time(|clock| async move {
        use_clock(&clock);
        let topology = topology(&config, &catalog, &clock);
        let running = topology.start().await.expect("it starts");
        running.close_offers();
        kill_all_along(&running, design, kills).await;
        let done = running.done().await;
        assert_balanced(&running, design);
        (running.finish(done).await, running.dead())
    });
    Seen { report, dead, burned, calls }
}

/// Asserts that every book ends as its mood says, after the expected number of calls, and that
/// books without a mood burn once.
fn assert_ends(design: &Design, moods: &Moods, seen: &Seen, worked_again: bool) {
    assert_eq!(seen.report.outcome, RunOutcome::Finished);
    let ledger = seen.report.ledger;
    assert!(ledger.balances(), "{ledger:?}");
    assert_eq!((ledger.offered, ledger.in_flight), (design.books, 0));
    let (calls, burned) = (seen.calls.counts(), seen.burned.counts());
    let (mut dead, mut dropped) = (0, 0);
    for id in 1..=design.books {
        let mood = moods.get(&id);
        let (expected, end) = mood.map_or((0, End::Burned), |mood| mood.calls(design.max_attempts));
        let times = burned.get(&id).copied().unwrap_or(0);
        assert_eq!(times, u32::from(end == End::Burned), "burns of {id}: {mood:?}");
        let called = calls.get(&id).copied().unwrap_or(0);
        if worked_again && end == End::Burned && expected > 0 {
            // A worked book returns when its gopher dies (a kill, or a panic on another book), and
            // is worked again.
            assert!(called >= expected, "calls for {id}: {mood:?}");
        } else {
            assert_eq!(called, expected, "calls for {id}: {mood:?}");
        }
        let letters: Vec<&DeadBook> =
            seen.dead.iter().filter(|dead| dead.book.id.0 == id).collect();
        match end {
            End::Dead => {
                dead += 1;
                let [letter] = letters[..] else {
                    panic!("{} dead letters of {id}", letters.len());
                };
                assert_eq!(letter.attempts, expected, "{letter:?}");
                let reason = moods[&id].reason(id);
                assert!(letter.reason.contains(&reason), "{letter:?}: {reason}");
                assert_eq!(
                    letter.book.body.read_all(99).unwrap(),
                    id.to_string(),
                    "the book as it was put"
                );
            }
            End::Dropped => dropped += 1,
            End::Burned => {}
        }
        assert_eq!(letters.len(), usize::from(end == End::Dead));
    }
    assert_eq!((ledger.dead, ledger.dropped), (dead, dropped), "{ledger:?}");
    assert_eq!(ledger.burned, design.books - dead - dropped, "{ledger:?}");
}

fn moods(drops: bool) -> impl Strategy<Value = Moods> {
    prop::collection::btree_map(1u64..=40, mood(drops), 0..8)
}

proptest! {
    #![proptest_config(cases(120))]

    #[test]
    fn works_charge_their_own_book(
        design in design(1),
        moods in moods(true),
        at in any::<bool>(),
        pooled in any::<bool>(),
    ) {
        let stretch = usize::from(at).min(design.stretches.len() - 1);
        let moods = moods.into_iter().filter(|(id, _)| *id <= design.books).collect();
        let seen = run(&design, Who::Work(stretch, pooled), &moods, &Vec::new());
        assert_ends(&design, &moods, &seen, true);
    }

    #[test]
    fn burns_charge_their_own_book(
        design in design(1),
        moods in moods(false),
        pooled in any::<bool>(),
    ) {
        let moods = moods.into_iter().filter(|(id, _)| *id <= design.books).collect();
        let seen = run(&design, Who::Burn(pooled), &moods, &Vec::new());
        assert_ends(&design, &moods, &seen, false);
    }

    #[test]
    fn kills_charge_no_book(
        design in design(1),
        moods in moods(false),
        kills in kills(40),
        burn in any::<bool>(),
        pooled in any::<bool>(),
    ) {
        let who = if burn { Who::Burn(pooled) } else { Who::Work(0, pooled) };
        let moods = moods.into_iter().filter(|(id, _)| *id <= design.books).collect();
        let seen = run(&design, who, &moods, &kills);
        assert_ends(&design, &moods, &seen, true);
    }
}

/// Found by a property: a book whose delay was over while no cart was there to take it made the
/// pile's timer fire endlessly, at one instant.
#[test]
fn a_rested_book_without_a_cart_keeps_no_actor_busy() {
    let crew = CrewDesign {
        times: [(1000, false), (1000, false), (2000, false), (2000, false)],
        ..CrewDesign::plain(5)
    };
    let design = Design::plain(12, crew);
    let moods = Moods::from([
        (7, support::kinds::Mood::FailFirst(1, 0)),
        (9, support::kinds::Mood::FailFirst(1, 3)),
    ]);
    for who in [Who::Burn(false), Who::Burn(true), Who::Work(0, false)] {
        let seen = run(&design, who, &moods, &Vec::new());
        assert_ends(&design, &moods, &seen, false);
    }
}
