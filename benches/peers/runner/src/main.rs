//! Runs the compared programs in turns (A B C A B C ...), each in a process of its own, checks
//! their results, and reports the goals. Ratios are taken within a round, so that a slow phase of
//! the machine affects both sides.

mod args;
mod goals;
mod machine;
mod measured;
mod plan;
mod program;
mod tables;

use std::process::ExitCode;

use args::Args;
use machine::Machine;
use measured::Measured;
use program::Programs;

fn main() -> ExitCode {
    let args = match Args::read(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    let groups = plan::groups(&args);
    if groups.is_empty() {
        eprintln!("no row is called {}; rows: {}", args.only.join(","), plan::NAMES.join(", "));
        return ExitCode::from(2);
    }
    let machine = Machine::look(&args.facts);
    let mut programs = Programs::new(&args);
    let mut measured = Measured::default();
    let before = machine::Load::now();
    for group in &groups {
        programs.run(group, &args, &mut measured);
    }
    let others = before.others_share();
    let judged = goals::judge(&measured, &args);

    println!("{machine}");
    tables::goals(&groups, &judged);
    tables::absolute(&groups, &measured, &args);
    tables::remarks(&judged, &measured, others, &args);
    if let Some(path) = &args.json {
        let all = tables::json(&machine, &args, &measured, &judged, others);
        if let Err(error) = std::fs::write(path, all) {
            eprintln!("{}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    if measured.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
