//! `chaos`, and `simulate --faults`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gopherworks::Loaded;
use gopherworks::chaos::Chaos;
use gopherworks::topology::{Done, Options, Topology};
use gopherworks::verdict::Verdict;
use gopherworks::verdict::sweep::{Sweep, Swept, calm};
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};

use super::output::{self, OutputFile};
use super::progress::Progress;
use super::run::{end, in_system, listen, on_signal, start, start_failed};
use super::simulate::say_stand_in;
use super::{ChaosArgs, Failed, Format, Sets, SimulateArgs, code, load, overrides, print, with};

/// Default time for work in flight to end after the last fault.
const PATIENCE: Duration = Duration::from_secs(60);

fn with_faults(
    file: &Path,
    sets: &Sets,
    cores: Option<u32>,
    quiet: bool,
) -> Result<Loaded, Failed> {
    let overrides = with(overrides(sets)?, "execution.cores", cores);
    let loaded = load(file, &overrides, quiet)?;
    if loaded.plan.faults.is_empty() {
        return Err(Failed::new(format!(
            "error: {} defines no faults\n  help: add a table such as\n\
             \n    [faults.any]\n    kind = \"mix\"\n    target = \"*\"\n",
            file.display()
        )));
    }
    say_stand_in(&loaded.plan, quiet);
    Ok(loaded)
}

/// SHA-256 of the resolved config, in hex.
fn config_sha256(loaded: &Loaded) -> String {
    let said = format!("{:?}", loaded.config);
    let hash = Sha256::digest(said.as_bytes());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The command line that repeats a run, without its seed.
fn words(
    command: &str,
    file: &Path,
    sets: &[String],
    (limit, cores, time_scale): (Option<Duration>, usize, Option<f64>),
) -> String {
    let quoted =
        |text: &str| match text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-=".contains(c)) {
            true => text.to_owned(),
            false => format!("'{}'", text.replace('\'', "'\\''")),
        };
    let mut out = format!("gopherworks {command} {}", quoted(&file.display().to_string()));
    for set in sets {
        out += &format!(" --set {}", quoted(set));
    }
    if let Some(limit) = limit {
        out += &format!(" --for {}us", limit.as_micros());
    }
    // Placement depends on the number of cores, and the trace on placement.
    out += &format!(" --cores {cores}");
    if let Some(factor) = time_scale {
        out += &format!(" --time-scale {factor}");
    }
    out
}

/// Runs a topology with its faults on real threads and prints the verdict.
pub fn chaos(args: &ChaosArgs, quiet: bool) -> Result<i32, Failed> {
    let loaded = with_faults(&args.file, &args.sets, args.cores, quiet)?;
    let flags = [("--verdict", args.verdict.as_deref())];
    output::apart(&flags, &args.file, &loaded.plan)?;
    let verdict_file = OutputFile::check("verdict", args.verdict.as_deref())?;
    let hash = config_sha256(&loaded);
    let seed = args.seed.unwrap_or(loaded.plan.execution.seed);
    let patience = loaded.plan.execution.drain_deadline.unwrap_or(PATIENCE);
    let cores = loaded.plan.execution.cores;
    let topology = Topology::from_plan(loaded.plan);
    // `throughput_dip` compares with the rate of a simulation without faults, if there can be one.
    let calm = (topology.plan().expect.throughput_dip)
        .and_then(|_| calm(&topology, seed, args.duration).ok())
        .and_then(|(_, measure)| measure.calm_per_s);
    let chaos = Chaos::new(topology, seed, args.duration);
    let command = words("chaos", &args.file, &args.sets.sets, (args.duration, cores, None));
    let (verdict, signal) = in_system(live(&chaos, args, patience, quiet, |over| {
        let (report, done, fired) = over;
        chaos.verdict((report, done), fired, calm, (hash, &command))
    }))?;
    let written = verdict_file.map_or(Ok(()), |file| file.json(&verdict));
    let shown = show(&verdict, args.format, quiet);
    let code = signal.unwrap_or(if verdict.pass { code::OK } else { code::FAILED });
    Ok(code::with(code, [written, shown]))
}

type Over<'a> = (&'a gopherworks::Report, &'a Done, &'a [gopherworks::supervision::fault::Fired]);

async fn live(
    chaos: &Chaos,
    args: &ChaosArgs,
    patience: Duration,
    quiet: bool,
    judge: impl FnOnce(Over<'_>) -> Verdict,
) -> Result<(Verdict, Option<i32>), Failed> {
    let mut signals = listen()?;
    let running = start(&chaos.topology, &mut signals).await?;
    signals.attach(&running, |_| {});
    let progress = Progress::new(quiet);
    let (done, signal) = {
        let follow = progress.follow(&running);
        let run = async {
            let signal = tokio::select! {
                biased;
                done = chaos.until_done(&running, args.duration, patience) => return (done, None),
                signal = signals.next() => signal,
            };
            running.calm();
            on_signal(&running, signal, &mut signals, quiet).await
        };
        tokio::select! {
            biased;
            ended = run => ended,
            () = follow => unreachable!("the bar is drawn until it is cancelled"),
        }
    };
    let report = end(&running, done.clone(), signal, &signals).await;
    progress.finish();
    Ok((judge((&report, &done, &running.fired())), signal))
}

/// Runs a topology with its faults in virtual time, for one seed or many, and prints the verdict.
pub fn sweep(args: &SimulateArgs, quiet: bool) -> Result<i32, Failed> {
    let loaded = with_faults(&args.file, &args.sets, args.cores, quiet)?;
    let flags = [("--verdict", args.verdict.as_deref()), ("--trace", args.trace.as_deref())];
    output::apart(&flags, &args.file, &loaded.plan)?;
    let verdict_file = OutputFile::check("verdict", args.verdict.as_deref())?;
    let sweep = Sweep {
        first: args.seed.unwrap_or(loaded.plan.execution.seed),
        seeds: args.seeds.unwrap_or(1),
        schedules: args.schedules.unwrap_or(1),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        limit: args.duration,
        config_sha256: config_sha256(&loaded),
        command: words(
            "simulate",
            &args.file,
            &args.sets.sets,
            (args.duration, loaded.plan.execution.cores, args.time_scale),
        ),
    };
    let topology = Topology::from_plan(loaded.plan)
        .with_options(Options { time_scale: args.time_scale, ..Options::default() });
    if args.seeds.is_none() && args.schedules.is_none() {
        let trace = Arc::new(super::simulate::trace(args)?);
        let verdict = sweep.one(&topology, args.schedule, trace.clone());
        let verdict = verdict.map_err(start_failed)?;
        let traced = super::simulate::finish(&trace, args).map(drop);
        let written = verdict_file.map_or(Ok(()), |file| file.json(&verdict));
        let shown = show(&verdict, args.format, quiet);
        let code = if verdict.pass { code::OK } else { code::FAILED };
        return Ok(code::with(code, [traced, written, shown]));
    }
    let bar = bar(sweep.seeds.saturating_mul(sweep.schedules), quiet);
    let swept = sweep.run(&topology, &|runs| bar.set_position(runs)).map_err(start_failed)?;
    bar.finish_and_clear();
    let written = verdict_file.map_or(Ok(()), |file| file.json(&swept));
    let shown = show_swept(&sweep, &swept, args.format, quiet);
    let code = match swept.failure {
        Some(_) => code::FAILED,
        None => code::OK,
    };
    Ok(code::with(code, [written, shown]))
}

fn bar(runs: u64, quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(runs);
    if let Ok(style) =
        ProgressStyle::with_template("{spinner} {elapsed_precise} [{bar:32}] {pos}/{len} runs")
    {
        bar.set_style(style);
    }
    bar
}

fn show(verdict: &Verdict, format: Format, quiet: bool) -> Result<(), Failed> {
    match format {
        Format::Json => print::json(verdict, false),
        // A failure is printed even with `--quiet`.
        Format::Text if quiet && verdict.pass => Ok(()),
        Format::Text => print::line(verdict.to_string().trim_end(), false),
    }
}

fn show_swept(sweep: &Sweep, swept: &Swept, format: Format, quiet: bool) -> Result<(), Failed> {
    if let Format::Json = format {
        return print::json(swept, false);
    }
    if let Some(verdict) = &swept.failure {
        return show(verdict, format, quiet);
    }
    if quiet {
        return Ok(());
    }
    let kinds: Vec<String> =
        (swept.kinds.iter()).map(|(kind, times)| format!("{times} {kind}")).collect();
    let mut text = format!(
        "PASS  {} runs: seeds {} to {}, {} schedules each; {} faults fired",
        swept.runs,
        sweep.first,
        sweep.first.wrapping_add(sweep.seeds - 1),
        sweep.schedules,
        swept.faults,
    );
    text += &format!("\n  {}", kinds.join(", "));
    if let Some(hash) = &swept.traces_sha256 {
        text += &format!("\n  config {}\n  traces {hash}", sweep.config_sha256);
    }
    print::line(&text, false)
}
