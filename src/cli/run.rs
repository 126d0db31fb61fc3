//! `run`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix_rt::System;
use gopherworks::actors::clock::Clock;
use gopherworks::catalog::burn::command;
use gopherworks::catalog::{Catalog, RunId};
use gopherworks::config::{Loaded, Overrides};
use gopherworks::dead::{DeadFile, Kept, Limit};
use gopherworks::plan::Plan;
use gopherworks::report::{Outcome, Report};
use gopherworks::topology::{Done, Faulting, Options, RunningTopology, StartError, Topology};

use super::output::{self, Output};
use super::progress::Progress;
use super::signals::Signals;
use super::{Failed, Format, RunArgs, code, overrides, print};

/// Runs a topology and prints its account.
pub fn run(args: &RunArgs, quiet: bool) -> Result<i32, Failed> {
    let overrides = with_flags(overrides(&args.sets)?, args);
    let loaded = Loaded::read(&args.file, &Catalog::standard(), &overrides)?;
    if !quiet && !loaded.warnings.is_empty() {
        print::diagnostics(&loaded.warnings);
    }
    let dead = args
        .dead
        .as_deref()
        .filter(|path| path.as_os_str() != "none");
    let flags = [("--report", args.report.as_deref()), ("--dead", dead)];
    output::apart(&flags, &args.file, &loaded.plan)?;
    let report_file = Output::check("report", args.report.as_deref())?;
    let run_id = RunId::new();
    let dead_file = dead_file(args, &run_id)?.map(Arc::new);
    let options = Options {
        time_scale: args.time_scale,
        endless: args.duration.is_some(),
        faults: if args.faults {
            Faulting::Planned {
                horizon: args.duration.unwrap_or(Duration::from_secs(10)),
            }
        } else {
            Faulting::None
        },
        dead: dead_file.clone().map(|file| file as _),
        run_id: Some(run_id),
        ..Options::default()
    };
    let topology = Topology::from_plan(loaded.plan).with_options(options);
    let (report, signal) = System::new().block_on(live(&topology, args, quiet))?;
    let written = report_file.map_or(Ok(()), |file| file.json(&report));
    let shown = show(&report, topology.plan(), args.format, quiet);
    if let Some(kept) = dead_file.and_then(|file| file.kept()) {
        say_kept(&kept, args.dead.is_some());
    }
    let code = signal.unwrap_or_else(|| exit_code(&report));
    Ok(code::with(code, [written, shown]))
}

/// Most bytes of dead letters that are kept where no file is named.
const MOST_KEPT: u64 = 64 << 20;

/// Where this run keeps its dead letters.
fn dead_file(args: &RunArgs, run: &RunId) -> Result<Option<DeadFile>, Failed> {
    let of = (args.file.as_path(), &*args.sets.sets, run.as_str());
    let made = match &args.dead {
        Some(none) if none.as_os_str() == "none" => return Ok(None),
        Some(path) => DeadFile::append(path, of, Limit(args.dead_limit)),
        None => {
            let most = args.dead_limit.unwrap_or(MOST_KEPT);
            DeadFile::when_needed(&default_dead(&args.file), of, Limit(Some(most)))
        }
    };
    made.map(Some).map_err(|error| {
        let path = args.dead.as_deref().unwrap_or(&args.file);
        // An error of the file's content names its place itself.
        let place = match error.kind() {
            io::ErrorKind::InvalidData => String::new(),
            _ => format!("the dead letters {}: ", path.display()),
        };
        Failed::new(format!("error: {place}{error}"))
    })
}

/// `state/NAME.dead.jsonl` beside the config `NAME.toml`.
fn default_dead(config: &Path) -> PathBuf {
    let name = config.file_stem().unwrap_or_default().to_string_lossy();
    let folder = config.parent().unwrap_or(Path::new(""));
    folder.join("state").join(format!("{name}.dead.jsonl"))
}

/// Names the file of dead letters, and what can be done with it.
fn say_kept(kept: &Kept, named: bool) {
    let path = kept.path.display();
    if kept.kept > 0 {
        let (letters, are) = match kept.kept {
            1 => ("letter", "is"),
            _ => ("letters", "are"),
        };
        print::note(&format!(
            "{} dead {letters} {are} in {path}: `gopherworks dead list {path}` lists all there, `dead offer` puts them back",
            kept.kept
        ));
    }
    if kept.left_out > 0 {
        let help = match named {
            true => "the file is full or could not be written",
            false => {
                "the file is full or could not be written; `--dead FILE` names another, `--dead-limit SIZE` allows more"
            }
        };
        print::note(&format!(
            "{} dead letters were not kept in {path}: {help}",
            kept.left_out
        ));
    }
}

fn with_flags(overrides: Overrides, args: &RunArgs) -> Overrides {
    let cores = args.cores.map(|cores| format!("execution.cores={cores}"));
    let seed = args.seed.map(|seed| format!("execution.seed={seed}"));
    let deadline = args
        .drain_deadline
        .map(|within| format!("execution.drain_deadline=\"{}us\"", within.as_micros()));
    [cores, seed, deadline]
        .into_iter()
        .flatten()
        .fold(overrides, Overrides::set)
}

async fn live(
    topology: &Topology,
    args: &RunArgs,
    quiet: bool,
) -> Result<(Report, Option<i32>), Failed> {
    // Before anything starts, so that a signal finds somebody from the first moment on.
    let mut signals =
        Signals::new().map_err(|error| Failed::new(format!("error: no signals: {error}")))?;
    let running = topology.start().await.map_err(start_failed)?;
    running.close_offers();
    if !quiet {
        for (name, address) in running.addresses() {
            print::note(&format!("{name} serves http://{address}/"));
        }
    }
    let progress = Progress::new(quiet);
    let ended = {
        let follow = progress.follow(&running);
        let run = until_end(&running, args, &mut signals, quiet);
        tokio::select! {
            biased;
            ended = run => ended,
            () = follow => unreachable!("the bar follows for ever"),
        }
    };
    let (done, signal) = ended;
    let report = end(&running, done, &mut signals).await;
    progress.finish();
    Ok((report, signal))
}

/// Ends a run. Whoever has asked for a stop at once, and asks once more, does not want to wait for the account: that ends the process. A
/// signal that asks for the stop just when all is drained has what it wants.
pub async fn end(running: &RunningTopology, done: Done, signals: &mut Signals) -> Report {
    let at_once = done != Done::Drained;
    if at_once {
        running.halt();
    }
    let kill = async {
        if !at_once {
            return std::future::pending().await;
        }
        // Until the account is there: a program may have been about to start when the others were killed.
        loop {
            command::kill_all();
            Clock::real().sleep(Duration::from_millis(10)).await;
        }
    };
    let asked_once_more = async {
        if !at_once {
            signals.next().await;
        }
        signals.next().await
    };
    tokio::select! {
        biased;
        report = running.finish(done) => report,
        code = asked_once_more => {
            command::kill_all();
            std::process::exit(code)
        }
        () = kill => unreachable!("it goes on for ever"),
    }
}

/// Waits for the end of the run, or for the second signal.
async fn until_end(
    running: &RunningTopology,
    args: &RunArgs,
    signals: &mut Signals,
    quiet: bool,
) -> (Done, Option<i32>) {
    let clock = Clock::real();
    let limit = clock.sleep_if(args.duration);
    tokio::select! {
        biased;
        done = running.done() => return (done, None),
        _ = signals.next() => say_draining(quiet),
        () = limit => {}
    }
    until_drained(running, signals).await
}

/// Tells whoever pressed Ctrl-C what happens now.
pub fn say_draining(quiet: bool) {
    if !quiet {
        print::note("draining what is under way; a second signal stops at once");
    }
}

/// Closes the sources and waits until all is drained, the deadline has passed, or a signal asks for a stop.
pub async fn until_drained(
    running: &RunningTopology,
    signals: &mut Signals,
) -> (Done, Option<i32>) {
    running.close();
    let clock = Clock::real();
    let late = clock.sleep_if(running.drain_deadline());
    tokio::select! {
        biased;
        done = running.done() => (done, None),
        code = signals.next() => (Done::Stopped, Some(code)),
        () = late => (Done::DeadlinePassed, None),
    }
}

/// The words and the code for a topology that did not start.
pub fn start_failed(error: StartError) -> Failed {
    let code = match &error {
        StartError::Escalated(_) => code::ESCALATED,
        StartError::Node { .. }
        | StartError::Threads(_)
        | StartError::Outside(_)
        | StartError::NoSystem => code::FAILED,
    };
    Failed {
        code,
        message: format!("error: the topology did not start: {error}"),
    }
}

/// What a report means to a shell.
pub fn exit_code(report: &Report) -> i32 {
    match &report.outcome {
        Outcome::Escalated(_) => code::ESCALATED,
        _ if !report.balances() => code::FAILED,
        Outcome::DeadlinePassed => code::LATE,
        _ if !report.failures.is_empty() => code::FAILED,
        Outcome::Stopped | Outcome::Running => code::FAILED,
        Outcome::Finished if report.ledger.in_flight > 0 => code::FAILED,
        Outcome::Finished if report.left_undone() > 0 => code::UNDONE,
        Outcome::Finished => code::OK,
    }
}

/// Prints the account: on stdout, or on stderr where books went to stdout.
///
/// # Errors
/// Those of writing it.
pub fn show(report: &Report, plan: &Plan, format: Format, quiet: bool) -> Result<(), Failed> {
    let to_stderr = plan.writes_to_stdout();
    let shown = match format {
        Format::Json => print::json(report, to_stderr),
        Format::Text if quiet => {
            // Why something failed is said in any case.
            let failures = print::failures(report);
            if exit_code(report) != code::OK && !failures.is_empty() {
                print::note(failures.trim());
            }
            Ok(())
        }
        Format::Text => print::line(print::report(report).trim_end(), to_stderr),
    };
    if let Outcome::Escalated(reason) = &report.outcome {
        print::note(&format!("error: the restart budget is spent: {reason}"));
    }
    if report.outcome == Outcome::DeadlinePassed {
        print::note(
            "error: the deadline of the drain passed; unfinished books are back on their piles",
        );
    }
    shown
}
