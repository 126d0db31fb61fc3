use serde_json::json;

use super::*;
use crate::program::Line;

fn args(words: &[&str]) -> Args {
    Args::read(words.iter().map(|word| (*word).to_owned())).expect("good words")
}

fn line(seconds: f64, cpu: f64) -> Line {
    let line = json!({"count": 100, "seconds": seconds, "cpu_seconds": cpu});
    line.as_object().expect("an object").clone()
}

fn judged(measured: &Measured, args: &Args, what: &str) -> Judged {
    judge(measured, args).into_iter().find(|one| one.goal.what == what).expect("a goal")
}

#[test]
fn a_ratio_is_taken_inside_a_round() {
    let (args, mut measured) = (args(&[]), Measured::default());
    // The machine is four times slower in the second round, which must not change a ratio.
    for (round, slow) in [1.0, 4.0].into_iter().enumerate() {
        measured.add("ring", &cell("gopherworks", "ring-64", 1), round, Ok(line(slow, slow)));
        measured.add("ring", &cell("go", "ring-64", 1), round, Ok(line(2.0 * slow, slow)));
    }
    let ring = judged(&measured, &args, "ring of four : Go's ring");
    assert_eq!(ring.spread, Some(Spread { median: 2.0, min: 2.0, max: 2.0 }));
    assert_eq!(ring.is_met(), Some(true));
    assert_eq!(judged(&measured, &args, "light load, time of a round : Go").is_met(), None);
}

#[test]
fn cores_time_counts_where_it_is_wanted_and_tells_something() {
    let (args, mut measured) = (args(&["--by", "cpu"]), Measured::default());
    for (peer, cpu) in [("gopherworks", 4.0), ("go", 1.0)] {
        measured.add("ring", &cell(peer, "ring-64", 1), 0, Ok(line(1.0, cpu)));
        measured.add("copies", &cell(peer, "copies-64", 2), 0, Ok(line(1.0, cpu)));
    }
    let median = |what: &str| judged(&measured, &args, what).spread.expect("measured").median;
    assert_eq!(median("ring of four : Go's ring"), 0.25);
    assert_eq!(median("two copies on two cores : two Go pipelines"), 1.0);
}

#[test]
fn the_best_of_theirs_counts_and_a_failed_round_does_not() {
    let (args, mut measured) = (args(&[]), Measured::default());
    let ours = cell("gopherworks", "balancer-empty", 2);
    measured.add("balancer-empty", &ours, 0, Ok(line(1.0, 1.0)));
    measured.add("balancer-empty", &ours, 1, Err("it crashed".into()));
    for (threads, seconds) in [(1, 5.0), (2, 10.0)] {
        for round in 0..2 {
            measured.add(
                "balancer-empty",
                &cell("go", "balancer-empty", threads),
                round,
                Ok(line(seconds, 1.0)),
            );
        }
    }
    let best = judged(&measured, &args, "empty jobs, two arbiters : Go's best");
    assert_eq!(best.spread, Some(Spread { median: 5.0, min: 5.0, max: 5.0 }));
    assert_eq!(measured.failures.len(), 1);
}

#[test]
fn every_goal_is_about_what_is_run() {
    for words in [&[][..], &["--quick"]] {
        let args = args(words);
        let groups = plan::groups(&args);
        for goal in all(&args) {
            let group =
                groups.iter().find(|group| group.name == goal.group).expect("its group is run");
            for cell in std::iter::once(&goal.ours).chain(&goal.theirs) {
                assert!(group.cells.contains(cell), "{}: {cell} is not run", goal.what);
            }
        }
    }
}

#[test]
fn rows_are_chosen_by_their_names() {
    let names = |only: &str| {
        plan::groups(&args(&["--only", only])).iter().map(|group| group.name).collect::<Vec<_>>()
    };
    assert_eq!(names("ring,light"), ["ring", "light"]);
    assert_eq!(names("balancer").len(), 5);
    assert_eq!(names("balancer-mix"), ["balancer-mix"]);
    assert_eq!(names("bal"), [""; 0]);
}
