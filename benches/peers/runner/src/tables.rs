//! Prints the results, and writes them as JSON.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::args::Args;
use crate::goals::{Bound, Judged};
use crate::machine::Machine;
use crate::measured::{Measured, Metric, Spread};
use crate::plan::{Cell, Group};

/// Rounds to three significant digits.
fn short(value: f64) -> String {
    match value.abs() {
        a if a >= 99.95 => format!("{value:.0}"),
        a if a >= 9.995 => format!("{value:.1}"),
        a if a >= 0.9995 => format!("{value:.2}"),
        a if a >= 0.00095 => format!("{value:.3}"),
        _ => format!("{value:.2e}"),
    }
}

/// Prints the goals of the selected rows.
pub fn goals(groups: &[Group], judged: &[Judged]) {
    println!(
        "{:<3} {:<46} {:>8}  {:<16} {:<15} met",
        "", "goal", "median", "min .. max", "goal (stretch)"
    );
    let mut before = 0;
    let wanted = |one: &&Judged| groups.iter().any(|group| group.name == one.goal.group);
    for one in judged.iter().filter(wanted) {
        let goal = &one.goal;
        let number = if goal.number == before { String::new() } else { goal.number.to_string() };
        before = goal.number;
        let bound = match goal.bound {
            Bound::AtLeast(least) => format!(">= {least}"),
            Bound::AtMost(most) => format!("<= {most}"),
        };
        let bound = goal.stretch.map_or(bound.clone(), |stretch| format!("{bound} ({stretch})"));
        let (median, range) = match one.spread {
            Some(Spread { median, min, max }) => {
                (short(median), format!("{} .. {}", short(min), short(max)))
            }
            None => ("-".into(), "not measured".into()),
        };
        let met = match one.is_met() {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "-",
        };
        println!("{number:<3} {:<46} {median:>8}  {range:<16} {bound:<15} {met}", goal.what);
    }
    println!();
}

/// The figures of a row, with their units.
fn figures(row: &str) -> &'static [(Metric, f64, &'static str)] {
    let word = row.split('-').next().unwrap_or(row);
    match word {
        "balancer" if row.contains("sleep") => {
            &[(Metric::MeanNs, 1e6, "mean ms"), (Metric::P99Ns, 1e6, "p99 ms")]
        }
        "balancer" => &[(Metric::PerSecond, 1e6, "M req/s"), (Metric::P99Ns, 1e3, "p99 us")],
        "idle" => &[(Metric::BytesEach, 1.0, "bytes each"), (Metric::NsEach, 1.0, "ns to spawn")],
        "light" => &[(Metric::NsEach, 1.0, "ns a round")],
        "restart" => &[(Metric::NsEach, 1e3, "us")],
        "start" => &[(Metric::Ms, 1.0, "ms"), (Metric::BytesEach, 1e3, "kB a node")],
        "pingpong" | "burst" => &[(Metric::PerSecond, 1e6, "M msg/s")],
        _ => &[(Metric::PerSecond, 1e6, "M books/s")],
    }
}

/// Prints medians: a line for each row, a column for each program.
pub fn absolute(groups: &[Group], measured: &Measured, args: &Args) {
    let all = groups.iter().flat_map(|group| &group.cells);
    let known = ["gopherworks", "plain", "go", "tokio", "raw-actix", "ractor", "kameo", "tower"];
    let run: BTreeSet<&str> = all.map(|cell| cell.peer.as_str()).collect();
    let peers: Vec<&str> = known.into_iter().filter(|peer| run.contains(peer)).collect();
    print!("{:<38} {:<12}", "row/threads, medians", "");
    peers.iter().for_each(|peer| print!(" {peer:>11}"));
    println!();
    for group in groups {
        let mut rows: Vec<(&str, usize, Option<u64>)> = Vec::new();
        for cell in &group.cells {
            let row = (cell.row.as_str(), cell.threads, cell.count);
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
        for (row, threads, count) in rows {
            let times = count.map_or(String::new(), |count| format!(" x {count}"));
            let extra: &[_] = if group.name == "scale" && row != "start" {
                &[(Metric::Resident, 1e6, "MB resident")]
            } else {
                &[]
            };
            for (metric, unit, name) in figures(row).iter().chain(extra) {
                print!("{:<38} {name:<12}", format!("{row}/{threads}{times}"));
                for peer in &peers {
                    let cell = Cell { peer: (*peer).into(), row: row.into(), threads, count };
                    let rounds = measured.rounds(group.name, &cell, *metric, args);
                    let spread = rounds.and_then(Spread::of);
                    print!(
                        " {:>11}",
                        spread.map_or("-".into(), |spread| short(spread.median / unit))
                    );
                }
                println!();
            }
        }
    }
    println!();
}

pub fn remarks(judged: &[Judged], measured: &Measured, others: f64, args: &Args) {
    let failed = judged.iter().filter(|one| one.is_met() == Some(false)).count();
    let met = judged.iter().filter(|one| one.is_met() == Some(true)).count();
    println!("{met} met, {failed} not met, {} not measured.", judged.len() - met - failed);
    println!("Median of {} rounds; ratios are taken inside a round.", args.rounds);
    if args.by_cpu {
        println!("Where a program has one thread its time is that of cores, not of the wall.");
    }
    if args.quick {
        println!("--quick: too short for figures.");
    }
    if others > 0.05 {
        println!(
            "Others had {:.0} % of the machine's cores meanwhile: figures of two threads and of \
             latency mean little.",
            others * 100.0
        );
    }
    for failure in &measured.failures {
        println!("FAILED: {failure}");
    }
}

pub fn json(
    machine: &Machine,
    args: &Args,
    measured: &Measured,
    judged: &[Judged],
    others: f64,
) -> String {
    let goals = judged.iter().map(|one| {
        let (at_least, at_most) = match one.goal.bound {
            Bound::AtLeast(least) => (Some(least), None),
            Bound::AtMost(most) => (None, Some(most)),
        };
        json!({
            "number": one.goal.number,
            "goal": one.goal.what,
            "at_least": at_least,
            "at_most": at_most,
            "stretch": one.goal.stretch,
            "median": one.spread.map(|spread| spread.median),
            "min": one.spread.map(|spread| spread.min),
            "max": one.spread.map(|spread| spread.max),
            "met": one.is_met(),
        })
    });
    let rows = measured.lines.iter().map(|((group, cell), rounds)| {
        json!({
            "group": group, "peer": cell.peer, "row": cell.row,
            "threads": cell.threads, "rounds": rounds,
        })
    });
    let all = json!({
        "machine": machine,
        "rounds": args.rounds,
        "quick": args.quick,
        "by": if args.by_cpu { "cpu" } else { "wall" },
        "others_share_of_cores": others,
        "goals": goals.collect::<Vec<Value>>(),
        "rows": rows.collect::<Vec<Value>>(),
        "failures": measured.failures,
    });
    format!("{all:#}\n")
}
