//! The command line: arguments, dispatch and exit codes.

mod chaos;
mod compare;
#[cfg(feature = "http")]
mod ctl;
mod dead;
mod explain;
mod graph;
mod help;
mod kinds;
mod logging;
mod output;
mod pile;
mod print;
mod progress;
mod reload;
#[cfg(feature = "http")]
mod remote;
mod run;
mod schema;
mod service;
mod signals;
mod simulate;
mod stored;
#[cfg(feature = "http")]
mod tap;
#[cfg(feature = "top")]
mod top;
mod validate;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use gopherworks::Loaded;
use gopherworks::catalog::Catalog;
use gopherworks::config::units::{parse_duration, parse_size};
use gopherworks::config::{Diagnostics, Overrides};
use help::{EXIT_CODES, LEDGER};

/// Exit codes. 130 and 143 are a second SIGINT and SIGTERM.
mod code {
    use super::{Failed, print};

    /// All books burned, all requests answered.
    pub const OK: i32 = 0;
    /// Something failed besides books and requests, an output could not be written, or the ledger
    /// does not balance.
    pub const FAILED: i32 = 1;
    /// Wrong usage.
    pub const USAGE: i32 = 2;
    /// Finished, but some books are dead letters or some requests failed.
    pub const UNDONE: i32 = 3;
    /// The restart budget is spent (EX_SOFTWARE).
    pub const ESCALATED: i32 = 70;
    /// The deadline of a drain passed, another process has the store, or a run does not answer
    /// (EX_TEMPFAIL).
    pub const LATE: i32 = 75;
    /// A config is invalid (EX_CONFIG).
    pub const CONFIG: i32 = 78;
    /// Standard output was closed by its reader: 128 + SIGPIPE, as a shell reports it.
    pub const PIPE: i32 = 141;

    /// The more severe code: a stop beats a failure of the run, which beats failed books or
    /// requests.
    pub fn worse(a: i32, b: i32) -> i32 {
        const BY_WEIGHT: [i32; 7] = [OK, PIPE, UNDONE, LATE, FAILED, CONFIG, ESCALATED];
        let weight = |code: i32| {
            BY_WEIGHT.iter().position(|other| *other == code).unwrap_or(BY_WEIGHT.len())
        };
        if weight(b) > weight(a) { b } else { a }
    }

    /// `code`, or a worse one if an output could not be written; prints that error.
    pub fn with(code: i32, outputs: impl IntoIterator<Item = Result<(), Failed>>) -> i32 {
        outputs.into_iter().fold(code, |code, output| match output {
            Ok(()) => code,
            Err(failed) => {
                print::note(&failed.message);
                worse(code, failed.code)
            }
        })
    }
}

/// Run gopher designs: supervised actors carry books from piles, in carts, through dumps, into
/// incinerators
#[derive(Debug, Parser)]
#[command(name = "gopherworks", version, about, after_help = EXIT_CODES, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Log more: -v what happens, -vv every detail; the variable RUST_LOG overrides this
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Print errors only: no progress, no warnings, no report as text; `--format json` prints its
    /// JSON all the same
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Format of logs and messages on standard error; JSON has the fields time, level, target,
    /// node, book, attempt and message
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    log_format: logging::LogFormat,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a design until its sources have ended and every book is burned, dead or dropped
    ///
    /// SIGINT, SIGTERM or SIGHUP closes the sources and drains: what has begun is finished, and
    /// books that a source can give again go back to it. A second one, or SIGQUIT, stops at once,
    /// with every book back on its pile; within 10 seconds the run ends with its account, even if a
    /// thread is stuck. A third one ends the process. A drain after SIGHUP takes 10 seconds at
    /// most, unless there is a drain deadline; under `nohup`, SIGHUP is ignored.
    #[command(after_help = LEDGER)]
    Run(RunArgs),
    /// Run a design in virtual time: the same actors on one thread, with a simulated clock and
    /// seeded random numbers
    ///
    /// Files are read and written as the config says; step times take no real time. The same seed
    /// gives the same trace, byte by byte.
    #[command(after_help = LEDGER)]
    Simulate(SimulateArgs),
    /// Run a design in real threads with the faults of its file, and judge the outcome by its
    /// [expect] (exit code 1 if a check fails)
    Chaos(ChaosArgs),
    /// Simulate designs and print them side by side: speed-up measured and by the formula, idle
    /// time, bottleneck
    ///
    /// Nothing outside is touched: works are left out, and burns only count.
    Compare(CompareArgs),
    /// Check config files: print every mistake and warning, and what a run would read and write
    Validate(validate::ValidateArgs),
    /// Say what a code such as `unknown-key` in an error or a warning means, or list all codes
    Explain(explain::ExplainArgs),
    /// List the kinds of sources, works, burns and workers, with their options and defaults
    Kinds {
        /// List this kind only
        name: Option<String>,
        /// Format of the output
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Print the JSON Schema of the config language, for editors, or its reference page
    ///
    /// Save the schema with `gopherworks schema > gopherworks.schema.json` and begin a config with
    /// `#:schema ./gopherworks.schema.json`.
    Schema(schema::SchemaArgs),
    /// Draw a design: as text, for Graphviz or Mermaid, or as an SVG picture
    Graph(graph::GraphArgs),
    /// Print what changes if a run of one design goes on with another, and how: in place, once
    /// carts are back, or not without a restart (exit code 1)
    Reload(reload::ReloadArgs),
    /// List and show the dead letters that runs have kept, and replay or forget them
    #[command(subcommand)]
    Dead(dead::DeadCommand),
    /// List and show the piles of a design's store, check it, and move or drop piles
    #[command(subcommand)]
    Pile(pile::PileCommand),
    /// Watch a run in the terminal: the rate, books, busy time, restarts and last failure of each
    /// node
    ///
    /// Reads the API that `run --operations` or `[operations]` serves. Without a terminal it prints
    /// one table and ends.
    #[cfg(feature = "top")]
    #[command(after_help = top::KEYS)]
    Top(top::TopArgs),
    /// Print books as they pass a node of a run: a sample, which does not slow the crews
    ///
    /// Books that pass faster than 2,560 a second are counted and not shown.
    #[cfg(feature = "http")]
    Tap(tap::TapArgs),
    /// Pause, resume, scale and kill the nodes of a run, drain it, or have it read its file again;
    /// requires the token
    #[cfg(feature = "http")]
    Ctl(ctl::CtlArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The config file of the design, or - for standard input (paths start at the current folder)
    file: PathBuf,
    /// Threads for actors, and as many for blocking work, 1 to 1024 [default: the file's
    /// `execution.cores`, or the machine's cores]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    cores: Option<u32>,
    /// Close the sources after this time and drain; until then `generate` never ends (such as 30s,
    /// 10m, 1h)
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Seed of all random numbers [default: the file's `execution.seed`]
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    sets: Sets,
    /// Multiply all step times by X [default: 1]
    #[arg(long, value_name = "X", value_parser = factor)]
    time_scale: Option<f64>,
    /// Read all sources anew, also those that earlier runs on the store have read
    #[arg(long)]
    again: bool,
    /// Run only these crews, relays, requesters, sources (by their piles) and incinerators (with
    /// the crews that fill them), and leave the rest to other processes on the same store
    #[arg(long, value_name = "NODE", value_delimiter = ',', conflicts_with = "faults")]
    only: Vec<String>,
    /// Write the report to FILE as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Append dead letters to FILE; `none` makes no file [default: state/NAME.dead.jsonl beside
    /// NAME.toml, made for the first letter; those of durable piles are in the store]
    #[arg(long, value_name = "FILE")]
    dead: Option<PathBuf>,
    /// Keep dead letters up to this size, bodies included [default: 64MiB, or no limit with --dead
    /// FILE]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    dead_limit: Option<u64>,
    /// Also inject the faults defined in the file, which a run otherwise ignores
    #[arg(long)]
    faults: bool,
    /// Give up a drain after this time and end within a second, with exit code 75 [default: the
    /// file's `execution.drain_deadline`, or none]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    drain_deadline: Option<Duration>,
    /// Serve health, metrics and the state of the run to operators [default ADDR: the file's
    /// `operations.listen`, or 127.0.0.1:9400]
    #[cfg(feature = "http")]
    #[arg(
        long, value_name = "ADDR", num_args = 0..=1, require_equals = true,
        default_missing_value = ""
    )]
    operations: Option<String>,
    /// Format of the printed report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
struct ChaosArgs {
    /// The config file of the design, with [faults] and [expect], or - for standard input
    file: PathBuf,
    /// Threads for actors, and as many for blocking work, 1 to 1024 [default: the file's
    /// `execution.cores`, or the machine's cores]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    cores: Option<u32>,
    /// Stop injecting faults after this time and drain; until then `generate` never ends (such as
    /// 30s, 10m, 1h)
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Seed of all random numbers, those of the faults included [default: the file's
    /// `execution.seed`]
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    sets: Sets,
    /// Write the verdict to FILE as JSON
    #[arg(long, value_name = "FILE")]
    verdict: Option<PathBuf>,
    /// Format of the printed verdict
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
struct SimulateArgs {
    /// The config file of the design, or - for standard input (paths start at the current folder)
    file: PathBuf,
    /// Steps that may use a core at the same time, 1 to 1024 [default: the file's
    /// `execution.cores`, or the machine's cores]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    cores: Option<u32>,
    /// Close the sources after this virtual time and drain; until then `generate` never ends (such
    /// as 30s, 10m, 1h)
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Seed of all random numbers [default: the file's `execution.seed`]
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    sets: Sets,
    /// Multiply all step times by X [default: 1]
    #[arg(long, value_name = "X", value_parser = factor)]
    time_scale: Option<f64>,
    /// Also inject the faults defined in the file, and judge the outcome by [expect] (exit code 1
    /// if a check fails)
    #[arg(long)]
    faults: bool,
    /// Run this many consecutive seeds; stop at the first that fails [default: 1]
    #[arg(
        long,
        requires = "faults",
        value_parser = clap::value_parser!(u64).range(1..=1_000_000_000)
    )]
    seeds: Option<u64>,
    /// Run this many schedules for each seed: the plain one, and others drawn at random [default:
    /// 1]
    #[arg(long, requires = "faults", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    schedules: Option<u64>,
    /// Run only the schedule of this number
    #[arg(long, requires = "faults", conflicts_with_all = ["seeds", "schedules"])]
    schedule: Option<u64>,
    /// Write the verdict to FILE as JSON
    #[arg(long, requires = "faults", value_name = "FILE")]
    verdict: Option<PathBuf>,
    /// Write a line to FILE for every move: TIME NODE ACT
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seeds", "schedules"])]
    trace: Option<PathBuf>,
    /// Write the report to FILE as JSON
    #[arg(long, value_name = "FILE", conflicts_with = "faults")]
    report: Option<PathBuf>,
    /// Format of the printed report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// A distribution of service times, with the mean of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Service {
    /// Every request takes the mean
    Fixed,
    /// Exponentially distributed
    Exponential,
    /// Heavy-tailed: ten times the variance of the exponential distribution
    Lognormal,
    /// Half the mean, and in 5 of 1000 requests a hundred times the mean
    Bimodal,
}

#[derive(Debug, Args)]
struct CompareArgs {
    /// The config files of the designs
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Also simulate each design with this change, such as crews.haul.carts.count=8; `crews.*`
    /// means every crew (may be repeated)
    #[arg(long = "what-if", value_name = "KEY=VALUE", value_parser = text())]
    what_if: Vec<String>,
    /// Compare these policies of balancers under the same arrivals and sizes, such as
    /// central,least-loaded,random
    #[arg(long, value_delimiter = ',', value_name = "POLICY")]
    policies: Vec<String>,
    /// Loads of balancers, as shares of what their workers can do, such as 0.75,0.9; arrivals are
    /// then a Poisson process
    #[arg(long, value_delimiter = ',', value_name = "SHARE")]
    load: Vec<f64>,
    /// Distributions of the service time, with the mean of the file
    #[arg(long, value_delimiter = ',', value_enum)]
    service: Vec<Service>,
    /// Requests in each simulation with --load
    #[arg(
        long,
        default_value_t = 100_000,
        value_parser = clap::value_parser!(u64).range(1..=100_000_000)
    )]
    requests: u64,
    /// Simulate with this many consecutive seeds and print the means
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// Seed of all random numbers [default: the file's `execution.seed`]
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    sets: Sets,
    /// Format of the output
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
struct Sets {
    /// Override a config key, such as crews.near.carts.count=4 (may be repeated)
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = text())]
    sets: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Text for people
    #[default]
    Text,
    /// JSON for programs
    Json,
}

/// Largest `--time-scale`.
const LARGEST_FACTOR: f64 = 1e9;

fn factor(text: &str) -> Result<f64, String> {
    let factor = text.parse().ok();
    factor
        .filter(|factor| (0.0..=LARGEST_FACTOR).contains(factor))
        .ok_or_else(|| format!("a factor is a number from 0 to {LARGEST_FACTOR}, such as 0.5"))
}

/// Parses UTF-8; the error names the argument that is not.
fn text() -> impl TypedValueParser<Value = String> {
    OsStringValueParser::new()
        .try_map(|text| text.into_string().map_err(|_| "it is not UTF-8".to_owned()))
}

/// How a command failed before anything ran.
struct Failed {
    code: i32,
    message: String,
}

impl Failed {
    fn new(message: impl Into<String>) -> Self {
        Self { code: code::FAILED, message: message.into() }
    }
}

impl From<Diagnostics> for Failed {
    fn from(found: Diagnostics) -> Self {
        Self { code: code::CONFIG, message: found.render(print::color_on_stderr()) }
    }
}

fn overrides(sets: &Sets) -> Result<Overrides, Failed> {
    let overrides = Overrides::of_process()
        .map_err(|error| Failed::new(format!("error: no current folder: {error}")))?;
    Ok(sets.sets.iter().fold(overrides, |overrides, set| overrides.set(set)))
}

/// Sets `key` to the value of a flag, if it was given.
fn with(overrides: Overrides, key: &str, flag: Option<impl Display>) -> Overrides {
    match flag {
        Some(value) => overrides.set(format!("{key}={value}")),
        None => overrides,
    }
}

/// Reads a design, and shows its warnings unless `quiet`.
fn load(file: &Path, overrides: &Overrides, quiet: bool) -> Result<Loaded, Failed> {
    let loaded = Loaded::read(file, &Catalog::standard(), overrides)?;
    if !quiet && !loaded.warnings.is_empty() {
        print::diagnostics(&loaded.warnings);
    }
    Ok(loaded)
}

/// Runs the command and gives its exit code.
pub fn main() -> i32 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(said) => return help::unparsed(&said),
    };
    // Injected faults are reported by the verdict, not by the log.
    let noisy = match &cli.command {
        Command::Chaos(_) => true,
        Command::Simulate(args) => args.faults,
        _ => false,
    };
    logging::init(cli.verbose, cli.quiet, noisy, cli.log_format);
    let done = match cli.command {
        Command::Run(args) => run::run(&args, cli.quiet),
        Command::Simulate(args) if args.faults => chaos::sweep(&args, cli.quiet),
        Command::Simulate(args) => simulate::simulate(&args, cli.quiet),
        Command::Chaos(args) => chaos::chaos(&args, cli.quiet),
        Command::Compare(args) => compare::compare(&args, cli.quiet),
        Command::Validate(args) => validate::validate(&args, cli.quiet),
        Command::Explain(args) => explain::explain(&args),
        Command::Kinds { name, format } => kinds::kinds(name.as_deref(), format),
        Command::Schema(args) => schema::schema(&args),
        Command::Graph(args) => graph::graph(&args, cli.quiet),
        Command::Reload(args) => reload::reload(&args, cli.quiet),
        Command::Dead(command) => dead::dead(&command, cli.quiet),
        Command::Pile(command) => pile::pile(&command, cli.quiet),
        #[cfg(feature = "top")]
        Command::Top(args) => top::top(&args),
        #[cfg(feature = "http")]
        Command::Tap(args) => tap::tap(&args, cli.quiet),
        #[cfg(feature = "http")]
        Command::Ctl(args) => ctl::ctl(&args),
    };
    match done {
        Ok(code) => code,
        Err(Failed { code, message }) => {
            print::note(&message);
            code
        }
    }
}
