//! `run`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix_rt::System;
use futures_util::StreamExt as _;
use gopherworks::catalog::{RunId, STANDARD_STREAM, kill_all};
use gopherworks::config::elements::Hangup;
use gopherworks::dead::{DeadFile, KeptLetters, Limit};
use gopherworks::pipeline::store::StoreError;
use gopherworks::plan::Plan;
use gopherworks::report::{Report, RunOutcome, SinkClosed};
use gopherworks::supervision::clock::Clock;
use gopherworks::supervision::failure::Failure;
use gopherworks::topology::{
    DeadBook, DeadSink, Done, Event, Faulting, FoundStore, Options, RunningTopology, StartError,
    Topology,
};
use parking_lot::Mutex;

use super::output::{self, OutputFile};
use super::progress::Progress;
use super::reload::{grace, rereads};
use super::service;
use super::signals::{LATE_WITHIN, Phase, STOPPED_WITHIN, Signal, Signals};
use super::{Failed, Format, RunArgs, code, load, overrides, print, with};

/// The part of a design that `--only` names.
///
/// # Errors
/// There is no such part.
pub fn part(plan: &Plan, only: &[String]) -> Result<Plan, Failed> {
    plan.only(only)
        .map_err(|why| Failed { code: code::USAGE, message: format!("error: --only: {why}") })
}

/// Runs a topology and prints its report.
pub fn run(args: &RunArgs, quiet: bool) -> Result<i32, Failed> {
    let overrides = with(overrides(&args.sets)?, "execution.cores", args.cores);
    let overrides = with(overrides, "execution.seed", args.seed);
    let deadline = args.drain_deadline.map(|within| format!("\"{}us\"", within.as_micros()));
    let overrides = with(overrides, "execution.drain_deadline", deadline);
    #[cfg(feature = "http")]
    let overrides = {
        let address = args.operations.as_ref().filter(|address| !address.is_empty());
        with(overrides, "operations.listen", address.map(|address| format!("{address:?}")))
    };
    let mut loaded = load(&args.file, &overrides, quiet)?;
    if !args.only.is_empty() {
        loaded.plan = part(&loaded.plan, &args.only)?;
    }
    #[cfg(feature = "http")]
    if args.operations.is_some() {
        let config = Arc::make_mut(&mut loaded.plan.config);
        loaded.plan.operations = Some(config.operations.get_or_insert_default().clone());
    }
    let dead = args.dead.as_deref().filter(|path| path.as_os_str() != "none");
    let flags = [("--report", args.report.as_deref()), ("--dead", dead)];
    output::apart(&flags, &args.file, &loaded.plan)?;
    let report_file = OutputFile::check("report", args.report.as_deref())?;
    let run_id = RunId::new();
    let dead_file = dead_file(args, &run_id)?.map(Arc::new);
    let stored = loaded.plan.piles_with_stored_letters();
    let stored: Vec<String> = stored.into_iter().map(str::to_owned).collect();
    let dead = dead_file.clone().map(|file| match &args.dead {
        Some(_) => file as Arc<dyn DeadSink>,
        None => Arc::new(NotStored { file, stored }),
    });
    let options = Options {
        reread: rereads(args, &overrides),
        time_scale: args.time_scale,
        endless: args.duration.is_some(),
        faults: if args.faults {
            Faulting::Planned { horizon: args.duration.unwrap_or(Duration::from_secs(10)) }
        } else {
            Faulting::None
        },
        dead,
        again: args.again,
        run_id: Some(run_id),
        ..Options::default()
    };
    let topology = Topology::from_plan(loaded.plan).with_options(options);
    // Shared with the control thread, which writes it if the run must be ended by force.
    let report_file = Arc::new(Mutex::new(report_file));
    let (report, signal) = in_system(live(&topology, args, &report_file, quiet))?;
    let written = write_report(&report_file, &report);
    let shown = show(&report, topology.plan(), args.format, quiet);
    let kept = dead_file.and_then(|file| file.kept());
    if topology.plan().durable_piles().is_some() {
        let elsewhere = kept.as_ref().filter(|_| args.dead.is_none()).map_or(0, KeptLetters::all);
        say_stored(report.ledger.dead.saturating_sub(elsewhere), &args.file);
    }
    if let Some(kept) = kept {
        say_kept(&kept, args.dead.is_some());
    }
    let code = signal.unwrap_or_else(|| exit_code(&report, topology.plan()));
    Ok(code::with(code, [written, shown]))
}

/// Default limit on the bytes of kept dead letters.
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
        // The message of an error of the file's content names its place.
        let place = match error.kind() {
            io::ErrorKind::InvalidData => String::new(),
            _ => format!("the dead letters {}: ", path.display()),
        };
        Failed::new(format!("error: {place}{error}"))
    })
}

/// `state/NAME.dead.jsonl` beside the config `NAME.toml`.
pub fn default_dead(config: &Path) -> PathBuf {
    let name = match config.as_os_str() == STANDARD_STREAM {
        true => "stdin".into(),
        false => config.file_stem().unwrap_or_default().to_string_lossy(),
    };
    let folder = config.parent().unwrap_or(Path::new(""));
    folder.join("state").join(format!("{name}.dead.jsonl"))
}

/// Keeps the letters that are in no store.
struct NotStored {
    file: Arc<DeadFile>,
    /// Piles whose letters are.
    stored: Vec<String>,
}

impl DeadSink for NotStored {
    fn keep(&self, dead: &[DeadBook]) -> Result<(), Failure> {
        let others = dead.iter().filter(|dead| !self.stored.contains(&dead.pile));
        let others: Vec<DeadBook> = others.cloned().collect();
        if others.is_empty() { Ok(()) } else { self.file.keep(&others) }
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.file.paths()
    }
}

/// Prints how many dead letters a run left in its store, and the commands for them.
fn say_stored(count: u64, config: &Path) {
    let (letters, config) =
        (if count == 1 { "letter is" } else { "letters are" }, config.display());
    if count > 0 {
        print::note(&format!(
            "{count} dead {letters} in the store: `gopherworks dead list {config}` lists all, \
             `dead replay` puts them back on their piles"
        ));
    }
}

/// Prints the file of dead letters, and the commands for it.
fn say_kept(kept: &KeptLetters, named: bool) {
    let path = kept.path.display();
    if kept.kept > 0 {
        let (letters, are) = match kept.kept {
            1 => ("letter", "is"),
            _ => ("letters", "are"),
        };
        print::note(&format!(
            "{} dead {letters} {are} in {path}: `gopherworks dead list {path}` lists all, \
             `dead replay` offers them again",
            kept.kept
        ));
    }
    if kept.left_out > 0 {
        let help = match named {
            true => "the file is full or could not be written",
            false => {
                "the file is full or could not be written; `--dead FILE` names another, \
                 `--dead-limit SIZE` allows more"
            }
        };
        print::note(&format!("{} dead letters were not kept in {path}: {help}", kept.left_out));
    }
}

/// Prints what the durable piles promise, and what was on them.
fn say_found(found: &FoundStore) {
    print::note(&format!("durable piles {}: {}", found.piles.join(", "), found.promises));
    found.notes.iter().for_each(|text| print::note(text));
    if found.books > 0 {
        print::note(&format!(
            "{} books of earlier runs are on them",
            print::grouped(found.books as u64)
        ));
    }
    for (pile, books) in &found.orphans {
        print::note(&format!(
            "the store has {books} books on `{pile}`, which this topology does not have; they stay"
        ));
    }
}

async fn live(
    topology: &Topology,
    args: &RunArgs,
    report_file: &Arc<Mutex<Option<OutputFile>>>,
    quiet: bool,
) -> Result<(Report, Option<i32>), Failed> {
    let mut signals = listen()?;
    let running = start(topology, &mut signals).await?;
    let (plan, file, format) = (topology.clone(), report_file.clone(), args.format);
    signals.attach(&running, move |report| {
        let written = write_report(&file, &report);
        let shown = show(&report, plan.plan(), format, quiet);
        code::with(code::FAILED, [written, shown]);
    });
    let operations = topology.plan().operations.as_ref();
    if operations.is_some_and(|config| config.hangup == Hangup::Reload) {
        signals.reload_at_hangup();
    }
    running.close_offers();
    if !quiet {
        for (name, address) in running.addresses() {
            print::note(&format!("{name} serves http://{address}/"));
        }
        if let Some(address) = running.operations() {
            print::note(&format!("operations at http://{address}/"));
        }
        if let Some(found) = running.found_store() {
            say_found(found);
        }
    }
    let progress = Progress::new(quiet);
    service::ready();
    let (report, signal) = {
        let follow = progress.follow(&running);
        let run = async {
            let (done, signal) = until_end(&running, args, &mut signals, quiet).await;
            (end(&running, done, signal, &signals).await, signal)
        };
        tokio::select! {
            biased;
            ended = run => ended,
            () = follow => unreachable!("the bar is drawn until it is cancelled"),
            () = service::feed_watchdog() => unreachable!("it is fed until it is cancelled"),
        }
    };
    progress.finish();
    for source in running.sources_read_before().iter().filter(|_| !quiet) {
        print::note(&format!(
            "the source of {source} was read to its end by an earlier run, and has nothing new; \
             `run --again` reads it anew"
        ));
    }
    Ok((report, signal))
}

/// Writes the file of `--report`, at most once.
fn write_report(file: &Mutex<Option<OutputFile>>, report: &Report) -> Result<(), Failed> {
    let file = file.lock().take();
    file.map_or(Ok(()), |file| file.json(report))
}

/// Runs `body` inside an actix system that is not torn down afterwards: that would wait for threads
/// that may be stuck, and the process is about to end.
pub fn in_system<T>(body: impl Future<Output = T>) -> T {
    let system = System::new();
    let done = system.block_on(body);
    std::mem::forget(system);
    done
}

/// Listens for signals, before anything starts.
pub fn listen() -> Result<Signals, Failed> {
    Signals::new().map_err(|error| Failed::new(format!("error: can't listen for signals: {error}")))
}

/// Starts a topology. A signal cancels the start; no source has been read by then.
pub async fn start(topology: &Topology, signals: &mut Signals) -> Result<RunningTopology, Failed> {
    tokio::select! {
        biased;
        signal = signals.next() => {
            kill_all();
            Err(Failed {
                code: signal.code,
                message: "error: stopped while starting; nothing had begun".to_owned(),
            })
        }
        started = topology.start() => started.map_err(start_failed),
    }
}

/// Ends a run. If it is stopped at once, the programs that it runs are killed.
pub async fn end(
    running: &RunningTopology,
    done: Done,
    signal: Option<i32>,
    signals: &Signals,
) -> Report {
    let at_once = done != Done::Drained;
    service::stopping();
    if at_once {
        let code = match done {
            Done::DeadlinePassed => code::LATE,
            Done::Escalated(_) => code::ESCALATED,
            _ => code::FAILED,
        };
        let within = if done == Done::DeadlinePassed { LATE_WITHIN } else { STOPPED_WITHIN };
        signals.enter(Phase::Stopping(signal.unwrap_or(code), within));
        running.halt();
    } else {
        signals.enter(Phase::Finishing);
    }
    let kill = async {
        if !at_once {
            return std::future::pending().await;
        }
        // Repeated until the report exists: a program may have been about to start.
        loop {
            kill_all();
            Clock::real().sleep(Duration::from_millis(10)).await;
        }
    };
    let report = tokio::select! {
        biased;
        report = running.finish(done) => report,
        () = kill => unreachable!("killing goes on until the report exists"),
    };
    signals.detach();
    report
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
        done = running.done() => (done, None),
        signal = signals.next() => on_signal(running, signal, signals, quiet).await,
        () = limit => until_drained(running, signals, None).await,
        // By an operator, through the API: a deadline holds for this drain as well.
        () = drains(running) => until_drained(running, signals, None).await,
    }
}

/// Resolves once the run is being drained.
async fn drains(running: &RunningTopology) {
    let mut events = std::pin::pin!(running.events());
    while let Some(event) = events.next().await {
        if event == Event::Draining {
            return;
        }
    }
    std::future::pending().await
}

/// Drains or stops after the first signal.
pub async fn on_signal(
    running: &RunningTopology,
    signal: Signal,
    signals: &mut Signals,
    quiet: bool,
) -> (Done, Option<i32>) {
    if signal.at_once {
        return (Done::Stopped, Some(signal.code));
    }
    until_drained(running, signals, Some((signal, quiet))).await
}

/// Closes the sources and waits until everything is drained, the deadline has passed, or a signal
/// asks for a stop. `asked` is the signal that began the drain, and whether to be quiet about it.
pub async fn until_drained(
    running: &RunningTopology,
    signals: &mut Signals,
    asked: Option<(Signal, bool)>,
) -> (Done, Option<i32>) {
    let signal = asked.map(|(signal, _)| signal);
    if let Some(signal) = grace(running, signals, signal).await {
        return (Done::Stopped, Some(signal.code));
    }
    let (said, hung_up) = (running.drain_deadline(), signal.filter(|it| it.within.is_some()));
    let within = said.or(hung_up.and_then(|signal| signal.within));
    signals.enter(Phase::Draining(within));
    running.close();
    service::stopping();
    // Said once it is true: nothing new is begun from now on.
    if matches!(asked, Some((_, false))) {
        print::note("draining; a second signal stops at once");
    }
    let clock = Clock::real();
    let late = clock.sleep_if(within);
    tokio::select! {
        biased;
        done = running.done() => (done, None),
        signal = signals.next() => (Done::Stopped, Some(signal.code)),
        () = late => match hung_up.filter(|_| said.is_none()) {
            Some(signal) => (Done::Stopped, Some(signal.code)),
            None => (Done::DeadlinePassed, None),
        },
    }
}

/// Message and exit code for a topology that did not start.
pub fn start_failed(error: StartError) -> Failed {
    let code = match &error {
        StartError::Escalated(_) => code::ESCALATED,
        StartError::Store(StoreError::InUse { .. }) => code::LATE,
        StartError::Node { .. }
        | StartError::Overlap(_)
        | StartError::Store(_)
        | StartError::Threads(_)
        | StartError::Outside(_)
        | StartError::NoSystem => code::FAILED,
    };
    Failed { code, message: format!("error: the topology did not start: {error}") }
}

/// Exit code for a report.
pub fn exit_code(report: &Report, plan: &Plan) -> i32 {
    match &report.outcome {
        RunOutcome::SinkClosed(sink) if is_quiet(report, sink, plan) => code::PIPE,
        RunOutcome::Escalated(_) => code::ESCALATED,
        _ if !report.balances() => code::FAILED,
        RunOutcome::DeadlinePassed => code::LATE,
        _ if !report.failures.is_empty() => code::FAILED,
        RunOutcome::Stopped | RunOutcome::Running | RunOutcome::SinkClosed(_) => code::FAILED,
        RunOutcome::Finished if report.ledger.in_flight > report.ledger.kept => code::FAILED,
        RunOutcome::Finished if report.left_undone() > 0 => code::UNDONE,
        RunOutcome::Finished => code::OK,
    }
}

/// True if nothing went wrong except that standard output was closed by its reader.
fn is_quiet(report: &Report, sink: &SinkClosed, plan: &Plan) -> bool {
    report.balances() && report.failures.is_empty() && is_stdout(sink, plan)
}

/// True if the sink is standard output.
fn is_stdout(sink: &SinkClosed, plan: &Plan) -> bool {
    let fires = plan.incinerators.iter().filter(|fire| fire.name == sink.node);
    let mut writes = fires.flat_map(|fire| &fire.writes);
    writes.any(|path| path.as_os_str() == STANDARD_STREAM)
}

/// Prints the report on stdout, or on stderr if books went to stdout.
///
/// # Errors
/// The output can't be written.
pub fn show(report: &Report, plan: &Plan, format: Format, quiet: bool) -> Result<(), Failed> {
    let to_stderr = plan.writes_to_stdout();
    let shown = match format {
        Format::Json => print::json(report, to_stderr),
        Format::Text if quiet => {
            // A failure is printed even with `--quiet`.
            let failures = print::failures(report);
            if exit_code(report, plan) != code::OK && !failures.is_empty() {
                print::note(failures.trim());
            }
            Ok(())
        }
        Format::Text => {
            let text = print::report(report, print::width(to_stderr));
            print::text(text.trim_end(), to_stderr)
        }
    };
    if let RunOutcome::Escalated(reason) = &report.outcome {
        print::note(&format!("error: the restart budget is spent: {reason}"));
    }
    // A filter whose reader has closed the pipe ends silently.
    if let RunOutcome::SinkClosed(sink) = &report.outcome
        && !is_stdout(sink, plan)
    {
        print::note(&format!(
            "error: {} accepts no more books: {}; {} books are unfinished, \
             {} were returned to their sources",
            sink.node, sink.reason, report.ledger.in_flight, report.ledger.given_back,
        ));
    }
    if report.outcome == RunOutcome::DeadlinePassed {
        print::note("error: the drain deadline passed; unfinished books are back on their piles");
    }
    shown
}
