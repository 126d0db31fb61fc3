//! The command line: what is asked for, and the exit code that answers it.

mod chaos;
mod compare;
mod dead;
mod graph;
mod kinds;
mod logging;
mod output;
mod print;
mod progress;
mod run;
mod schema;
mod signals;
mod simulate;
mod validate;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::{ContextKind, ContextValue};
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum};
use gopherworks::catalog::units::parse_duration;
use gopherworks::config::{Diagnostics, Overrides, nearest};

/// Exit codes. 130 and 143 are a second SIGINT and SIGTERM.
mod code {
    use super::{Failed, print};

    /// All books burned, all requests answered.
    pub const OK: i32 = 0;
    /// Something failed besides books and requests, an output could not be written, or the ledger does not balance.
    pub const FAILED: i32 = 1;
    /// Wrong usage.
    pub const USAGE: i32 = 2;
    /// Finished, but some books are dead letters or some requests failed.
    pub const UNDONE: i32 = 3;
    /// The restart budget is spent (EX_SOFTWARE).
    pub const ESCALATED: i32 = 70;
    /// The deadline of a drain passed (EX_TEMPFAIL).
    pub const LATE: i32 = 75;
    /// A config is invalid (EX_CONFIG).
    pub const CONFIG: i32 = 78;

    /// The code that says more: a stop, then what gopherworks failed in, then what its books did.
    pub fn worse(a: i32, b: i32) -> i32 {
        const BY_WEIGHT: [i32; 6] = [OK, UNDONE, LATE, FAILED, CONFIG, ESCALATED];
        let weight = |code: i32| {
            BY_WEIGHT
                .iter()
                .position(|other| *other == code)
                .unwrap_or(BY_WEIGHT.len())
        };
        if weight(b) > weight(a) { b } else { a }
    }

    /// `code`, or what is worse: an output that could not be written, which is told.
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

const EXIT_CODES: &str = "Exit codes:
  0    all books burned, all requests answered
  1    something else failed, an output could not be written, or the ledger does not balance
  2    wrong usage
  3    finished, but some books are dead letters or some requests failed
  70   the restart budget is spent
  75   the deadline of a drain passed
  78   a config is invalid
  130  stopped by a second SIGINT (143: SIGTERM); books under way are back on their piles";

/// Moves work with supervised actors: books from piles, in carts, through dumps, into incinerators.
#[derive(Debug, Parser)]
#[command(name = "gopherworks", version, about, after_help = EXIT_CODES, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Says more: -v what happens, -vv every detail (RUST_LOG says it finer)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Says errors only: no progress, no report in text
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a topology until its sources are done and everything is drained
    ///
    /// SIGINT or SIGTERM closes the sources and drains; a second one stops at once, with every book back on its pile.
    Run(RunArgs),
    /// Runs a topology in virtual time: the same actors, one thread, a paused clock, seeded chance
    ///
    /// Files are read and written as the config says; step times take no real time. The same seed gives the same trace, byte by byte.
    Simulate(SimulateArgs),
    /// Runs a topology with the faults that its file says, in real threads, and says how it stood them (exit code 1 if badly)
    Chaos(ChaosArgs),
    /// Simulates designs and shows them side by side: how fast each is, measured and by the formula, and what limits it
    ///
    /// Nothing outside is touched: works are left out, and burns only count.
    Compare(CompareArgs),
    /// Checks config files: every mistake at once, and what would be read and written
    Validate(ValidateArgs),
    /// Lists the kinds of sources, works and burns with their options
    Kinds {
        /// Only this kind
        name: Option<String>,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Prints the JSON Schema of the config language, for editors
    ///
    /// Keep it with `gopherworks schema > gopherworks.schema.json` and begin a config with `#:schema ./gopherworks.schema.json`.
    Schema,
    /// Draws a topology: as text, for Graphviz or Mermaid, or as a picture in SVG
    Graph(GraphArgs),
    /// Looks at dead letters kept by `run --dead FILE`, and puts them back
    #[command(subcommand)]
    Dead(DeadCommand),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The topology
    file: PathBuf,
    /// Arbiters, and threads of the blocking pool
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    cores: Option<u32>,
    /// Makes `generate` endless, closes the sources after this time and drains
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// Seed of every random stream
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    sets: Sets,
    /// Factor on all step times
    #[arg(long, value_name = "X", value_parser = factor)]
    time_scale: Option<f64>,
    /// Writes the report there as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Keeps dead letters there (appends)
    #[arg(long, value_name = "FILE")]
    dead: Option<PathBuf>,
    /// Does the faults of the file too, which a run otherwise ignores
    #[arg(long)]
    faults: bool,
    /// Gives up a drain after this time (exit code 75)
    #[arg(long, value_name = "TIME", value_parser = duration)]
    drain_deadline: Option<Duration>,
    /// How the report is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
struct ChaosArgs {
    /// The topology, with its [faults] and what it is to [expect]
    file: PathBuf,
    /// Arbiters, and threads of the blocking pool
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    cores: Option<u32>,
    /// Makes `generate` endless; after this time nothing more goes wrong, and what is under way is drained
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// Seed of every random stream, those of the faults among them
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    sets: Sets,
    /// Writes the verdict there as JSON
    #[arg(long, value_name = "FILE")]
    verdict: Option<PathBuf>,
    /// How the verdict is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
struct SimulateArgs {
    /// The topology
    file: PathBuf,
    /// How many steps use a core at once
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    cores: Option<u32>,
    /// Makes `generate` endless, closes the sources after this virtual time and drains
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// Seed of every random stream
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    sets: Sets,
    /// Factor on all step times
    #[arg(long, value_name = "X", value_parser = factor)]
    time_scale: Option<f64>,
    /// Does the faults of the file too, and gives a verdict (exit code 1 if it is bad)
    #[arg(long)]
    faults: bool,
    /// So many seeds one after the other; stops at the first that fails
    #[arg(long, requires = "faults", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    seeds: Option<u64>,
    /// So many schedules for each seed: the plain one, and others that chance draws
    #[arg(long, requires = "faults", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    schedules: Option<u64>,
    /// The schedule of this number alone
    #[arg(long, requires = "faults", conflicts_with_all = ["seeds", "schedules"])]
    schedule: Option<u64>,
    /// Writes the verdict there as JSON
    #[arg(long, requires = "faults", value_name = "FILE")]
    verdict: Option<PathBuf>,
    /// Writes a line there for every move: TIME NODE ACT
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seeds", "schedules"])]
    trace: Option<PathBuf>,
    /// Writes the report there as JSON
    #[arg(long, value_name = "FILE", conflicts_with = "faults")]
    report: Option<PathBuf>,
    /// How the report is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// A distribution of times with the mean that a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Service {
    /// Always the mean
    Fixed,
    /// As wide as a Poisson process makes them
    Exponential,
    /// A heavy tail: ten times the variance of an exponential
    Lognormal,
    /// Half the mean, and in 5 of 1000 cases a hundred times the mean
    Bimodal,
}

#[derive(Debug, Args)]
struct CompareArgs {
    /// The topologies
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Also shows what a change would bring, such as crews.haul.carts.count=8; `crews.*` means every crew (may be repeated)
    #[arg(long = "what-if", value_name = "KEY=VALUE")]
    what_if: Vec<String>,
    /// Policies of balancers, side by side under the same arrivals and sizes, such as central,least-loaded,random
    #[arg(long, value_delimiter = ',', value_name = "POLICY")]
    policies: Vec<String>,
    /// Loads of balancers, as shares of what their workers can do, such as 0.75,0.9; requests then come independently of each other
    #[arg(long, value_delimiter = ',', value_name = "SHARE")]
    load: Vec<f64>,
    /// Distributions of the workers' time around its mean in the file
    #[arg(long, value_delimiter = ',', value_enum)]
    service: Vec<Service>,
    /// Requests in each simulation with a load
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    requests: u64,
    /// Simulations with seeds one after the other, of which the means are shown
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// Seed of every random stream
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    sets: Sets,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
struct ValidateArgs {
    /// The topologies
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    sets: Sets,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
struct GraphArgs {
    /// The topology
    file: PathBuf,
    /// What it is drawn as
    #[arg(long, value_enum, default_value_t)]
    format: Drawing,
    /// Shows every copy, and what is shared once
    #[arg(long)]
    expand: bool,
    #[command(flatten)]
    sets: Sets,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Drawing {
    /// For a terminal
    #[default]
    Text,
    /// For Graphviz
    Dot,
    /// A flowchart for Mermaid
    Mermaid,
    /// A picture for a document
    Svg,
}

#[derive(Debug, Args)]
struct Sets {
    /// Overrides a config key, e.g. crews.near.carts.count=4 (may be repeated)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum DeadCommand {
    /// A line for each dead letter
    List {
        /// Kept by `run --dead`
        file: PathBuf,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Everything known of one dead letter, or of all
    Show {
        /// Kept by `run --dead`
        file: PathBuf,
        /// Its number in `dead list`; all without it
        number: Option<usize>,
        /// Writes the letter's body to standard output, and nothing else
        #[arg(long, requires = "number")]
        body: bool,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Puts dead letters back on the piles where they died and runs their topology without its sources
    ///
    /// Letters that burn leave the file; those that die again stay, with their new reason.
    Offer {
        /// Kept by `run --dead`
        file: PathBuf,
        /// The topology; by default the one that each letter names
        #[arg(long)]
        topology: Option<PathBuf>,
        #[command(flatten)]
        sets: Sets,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

fn factor(text: &str) -> Result<f64, String> {
    let factor: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if factor.is_finite() && factor >= 0.0 {
        Ok(factor)
    } else {
        Err("a factor is 0 or more".to_owned())
    }
}

/// How a command failed before anything ran.
struct Failed {
    code: i32,
    message: String,
}

impl Failed {
    fn new(message: impl Into<String>) -> Self {
        Self {
            code: code::FAILED,
            message: message.into(),
        }
    }
}

impl From<Diagnostics> for Failed {
    fn from(found: Diagnostics) -> Self {
        Self {
            code: code::CONFIG,
            message: found.render(print::color_on_stderr()),
        }
    }
}

fn overrides(sets: &Sets) -> Result<Overrides, Failed> {
    let overrides = Overrides::of_process()
        .map_err(|error| Failed::new(format!("error: no current folder: {error}")))?;
    Ok(sets
        .sets
        .iter()
        .fold(overrides, |overrides, set| overrides.set(set)))
}

/// Prints help, the version, or what is wrong with the command line.
fn unparsed(said: &clap::Error) -> i32 {
    if said.use_stderr() {
        // A stderr that takes nothing is passed over: there is no other place to say so.
        let _ = said.print();
        if let Some(help) = help_for_command(said) {
            print::note(&help);
        }
        return code::USAGE;
    }
    let printed = said.print().and_then(|()| io::stdout().flush());
    code::with(code::OK, [print::written_out(printed)])
}

/// What was probably meant by a word that is no command: a config file to run, or a command with a letter too many, too few or exchanged, which
/// clap does not suggest where the word is short.
fn help_for_command(said: &clap::Error) -> Option<String> {
    let ContextValue::String(word) = said.get(ContextKind::InvalidSubcommand)? else {
        return None;
    };
    if word.ends_with(".toml") || Path::new(word).is_file() {
        return Some(format!(
            "  help: to run this design: `gopherworks run {word}`"
        ));
    }
    if said.get(ContextKind::SuggestedSubcommand).is_some() {
        return None;
    }
    let all = Cli::command();
    let near = |command: &clap::Command| {
        let near = nearest(word, command.get_subcommands().map(clap::Command::get_name));
        near.map(|near| format!("  help: did you mean `{near}`?"))
    };
    near(&all).or_else(|| all.get_subcommands().find_map(near))
}

/// Runs the command and gives its exit code.
pub fn main() -> i32 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(said) => return unparsed(&said),
    };
    // What goes wrong on purpose is told by the verdict.
    let noisy = match &cli.command {
        Command::Chaos(_) => true,
        Command::Simulate(args) => args.faults,
        _ => false,
    };
    logging::init(cli.verbose, cli.quiet, noisy);
    let done = match cli.command {
        Command::Run(args) => run::run(&args, cli.quiet),
        Command::Simulate(args) if args.faults => chaos::sweep(&args, cli.quiet),
        Command::Simulate(args) => simulate::simulate(&args, cli.quiet),
        Command::Chaos(args) => chaos::chaos(&args, cli.quiet),
        Command::Compare(args) => compare::compare(&args, cli.quiet),
        Command::Validate(args) => validate::validate(&args, cli.quiet),
        Command::Kinds { name, format } => kinds::kinds(name.as_deref(), format),
        Command::Schema => schema::schema(),
        Command::Graph(args) => graph::graph(&args, cli.quiet),
        Command::Dead(command) => dead::dead(command, cli.quiet),
    };
    match done {
        Ok(code) => code,
        Err(Failed { code, message }) => {
            print::note(&message);
            code
        }
    }
}
