//! `simulate`.

use std::io;
use std::path::Path;
use std::sync::Arc;

use gopherworks::plan::Plan;
use gopherworks::report::Report;
use gopherworks::simulate::{TraceLog, in_virtual_time, until_done};
use gopherworks::supervision::clock::Clock;
use gopherworks::topology::{Done, Options, Topology};

use super::output::{self, OutputFile};
use super::progress::SimulationProgress;
use super::run::{exit_code, listen, show, start};
use super::signals::{Phase, STOPPED_WITHIN};
use super::{Failed, SimulateArgs, code, load, overrides, print, with};

/// Simulates a topology and prints its report.
pub fn simulate(args: &SimulateArgs, quiet: bool) -> Result<i32, Failed> {
    let overrides = with(overrides(&args.sets)?, "execution.cores", args.cores);
    let overrides = with(overrides, "execution.seed", args.seed);
    let loaded = load(&args.file, &overrides, quiet)?;
    say_stand_in(&loaded.plan, quiet);
    let flags = [("--report", args.report.as_deref()), ("--trace", args.trace.as_deref())];
    output::apart(&flags, &args.file, &loaded.plan)?;
    let report_file = OutputFile::check("report", args.report.as_deref())?;
    let trace = Arc::new(trace(args)?);
    let options =
        Options { time_scale: args.time_scale, tracer: Some(trace.clone()), ..Options::default() };
    let topology = Topology::from_plan(loaded.plan).with_options(options);
    let ended = in_virtual_time(|clock| live(&topology, args, clock, quiet))?;
    let (mut report, signal) = ended;
    let traced = finish(&trace, args).map(|hash| report.trace_sha256 = Some(hash));
    let written = report_file.map_or(Ok(()), |file| file.json(&report));
    let shown = show(&report, topology.plan(), args.format, quiet);
    let code = signal.unwrap_or_else(|| exit_code(&report, topology.plan()));
    Ok(code::with(code, [traced, written, shown]))
}

/// Prints a note that a simulated store is used in place of the plan's.
pub fn say_stand_in(plan: &Plan, quiet: bool) {
    if plan.store.is_some() && !quiet {
        let place = plan.store_place();
        print::note(&format!("this opens no store: a simulated one stands in for {place}"));
    }
}

/// The trace that the arguments ask for.
pub fn trace(args: &SimulateArgs) -> Result<TraceLog, Failed> {
    match &args.trace {
        Some(path) => TraceLog::writing(path).map_err(|error| untraced(path, &error)),
        None => Ok(TraceLog::hashing()),
    }
}

fn untraced(path: &Path, error: &io::Error) -> Failed {
    let path = path.display();
    Failed::new(format!("error: the trace {path} can't be written: {error}"))
}

/// Ends the trace and returns its hash.
///
/// # Errors
/// Its file can't be written.
pub fn finish(trace: &TraceLog, args: &SimulateArgs) -> Result<String, Failed> {
    let path = args.trace.as_deref().unwrap_or(Path::new(""));
    trace.finish().map_err(|error| untraced(path, &error))
}

async fn live(
    topology: &Topology,
    args: &SimulateArgs,
    clock: Clock,
    quiet: bool,
) -> Result<(Report, Option<i32>), Failed> {
    let mut signals = listen()?;
    let topology = topology.clone().in_time_of(&clock, args.duration);
    let running = start(&topology, &mut signals).await?;
    signals.attach(&running, |_| {});
    let watched = SimulationProgress::new(&running, quiet);
    let (done, signal) = tokio::select! {
        biased;
        done = until_done(&running, &clock, args.duration) => (done, None),
        // A simulation has nothing outside to drain.
        signal = signals.next() => (Done::Stopped, Some(signal.code)),
    };
    if let Some(code) = signal {
        signals.enter(Phase::Stopping(code, STOPPED_WITHIN));
    }
    let report = running.finish(done).await;
    signals.detach();
    watched.finish();
    Ok((report, signal))
}
