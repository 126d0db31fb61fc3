//! `dead list|show|offer`.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Subcommand;
use gopherworks::catalog::{Catalog, RunId, STANDARD_STREAM};
use gopherworks::config::Loaded;
use gopherworks::dead::{self, Letter, Letters};
use gopherworks::pipeline::book::Book;
use gopherworks::pipeline::source::Receipts;
use gopherworks::report::Report;
use gopherworks::supervision::failure::Failure;
use gopherworks::topology::{DeadBook, DeadSink, Options, Topology};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::signals::Signals;
use super::{Failed, Format, Sets, code, overrides, print, run};

#[derive(Debug, Subcommand)]
pub enum DeadCommand {
    /// Print a line for each dead letter
    List {
        /// The file of dead letters, or the config NAME.toml, for state/NAME.dead.jsonl beside it
        file: PathBuf,
        /// Format of the output
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Print all that is known of one dead letter, or of all
    Show {
        /// The file of dead letters, or the config NAME.toml, for state/NAME.dead.jsonl beside it
        file: PathBuf,
        /// Number of the letter in `dead list` [default: all letters]
        number: Option<usize>,
        /// Write the letter's body to standard output, and nothing else
        #[arg(long, requires = "number")]
        body: bool,
        /// Format of the output
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Offer dead letters again: put them back on the piles where they died, and run the design
    /// without its sources
    ///
    /// Letters whose books burn leave the file; those that die again stay, with their new reason.
    Offer {
        /// The file of dead letters, or the config NAME.toml, for state/NAME.dead.jsonl beside it
        file: PathBuf,
        /// The config file of the design [default: the one that each letter names]
        #[arg(long)]
        topology: Option<PathBuf>,
        #[command(flatten)]
        sets: Sets,
        /// Format of the output
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

/// Runs a `dead` command.
pub fn dead(mut command: DeadCommand, quiet: bool) -> Result<i32, Failed> {
    let (DeadCommand::List { file, .. }
    | DeadCommand::Show { file, .. }
    | DeadCommand::Offer { file, .. }) = &mut command;
    // A config means the dead letters that its runs have kept.
    if file.extension().is_some_and(|ending| ending == "toml") {
        *file = run::default_dead(file);
    }
    match command {
        DeadCommand::List { file, format } => list(&file, format),
        DeadCommand::Show { file, number, body, format } => show(&file, number, body, format),
        DeadCommand::Offer { file, topology, sets, format } => {
            offer(&file, topology.as_deref(), &sets, format, quiet)
        }
    }
}

fn read(file: &Path) -> Result<Letters, Failed> {
    let found = dead::read(file).map_err(|error| match error.kind() {
        // The message of an `InvalidData` error names its place.
        io::ErrorKind::InvalidData => Failed::new(format!("error: {error}")),
        _ => Failed::new(format!("error: {}: {error}", file.display())),
    })?;
    found.warn_of_damage(file);
    Ok(found)
}

fn tampered(error: &io::Error) -> Failed {
    Failed::new(format!("error: a letter can't be parsed: {error}"))
}

fn list(file: &Path, format: Format) -> Result<i32, Failed> {
    let letters = read(file)?.letters;
    match format {
        Format::Json => {
            let letters: Vec<Value> = letters
                .iter()
                .enumerate()
                .map(|(at, letter)| {
                    json!({
                        "number": at + 1,
                        "title": letter.title(),
                        "pile": letter.pile,
                        "node": letter.node,
                        "deaths": letter.deaths,
                        "attempts": letter.attempts,
                        "first": letter.first,
                        "last": letter.last,
                        "run": letter.run,
                        "reason": letter.reason,
                    })
                })
                .collect();
            print::line(&Value::Array(letters).to_string(), false)?;
        }
        Format::Text => {
            let head = ["#", "book", "pile", "deaths", "attempts", "last", "reason"];
            let rows = letters.iter().enumerate().map(|(at, letter)| {
                vec![
                    (at + 1).to_string(),
                    letter.title(),
                    letter.pile.clone(),
                    letter.deaths.to_string(),
                    letter.attempts.to_string(),
                    or_dash(&letter.last).to_owned(),
                    letter.reason.escape_debug().to_string(),
                ]
            });
            print::line(print::table(&head, rows.collect(), 2).trim_end(), false)?;
        }
    }
    Ok(code::OK)
}

/// Letters of old versions lack some fields.
fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

fn show(file: &Path, number: Option<usize>, body: bool, format: Format) -> Result<i32, Failed> {
    let letters = read(file)?.letters;
    let chosen: Vec<(usize, &Letter)> = match number {
        None => letters.iter().enumerate().collect(),
        Some(number) => {
            let at = number.wrapping_sub(1);
            let letter = letters.get(at).ok_or_else(|| {
                Failed::new(format!(
                    "error: there is no letter {number}; {} has {}",
                    file.display(),
                    letters.len()
                ))
            })?;
            vec![(at, letter)]
        }
    };
    for (at, letter) in chosen {
        if body {
            let book = letter.book().map_err(|error| tampered(&error))?;
            print_body(&book)?;
            continue;
        }
        match format {
            Format::Json => {
                let json =
                    serde_json::to_string(letter).map_err(|error| tampered(&error.into()))?;
                print::line(&json, false)?;
            }
            Format::Text => print::line(&described(at, letter)?, false)?,
        }
    }
    Ok(code::OK)
}

/// Copies a body to standard output; tells read errors from write errors.
fn print_body(book: &Book) -> Result<(), Failed> {
    let unreadable =
        |error: io::Error| Failed::new(format!("error: the letter's body can't be read: {error}"));
    let mut reader = book.body.open().map_err(unreadable)?;
    let mut out = io::stdout().lock();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = match reader.read(&mut buffer) {
            Ok(0) => return print::written_out(out.flush()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(unreadable(error)),
        };
        match out.write_all(&buffer[..length]) {
            Ok(()) => {}
            gone => return print::written_out(gone),
        }
    }
}

fn described(at: usize, letter: &Letter) -> Result<String, Failed> {
    let book = letter.book().map_err(|error| tampered(&error))?;
    let topology = letter.topology().map_err(|error| tampered(&error))?;
    let mut text = format!(
        "{}: {}\n  pile      {}\n  failed at {}\n  deaths    {}, first {}, \
         last {}\n  attempts  {}\n  run       {}\n  reason    {}\n  topology  {}\n  size      {} \
         bytes\n",
        at + 1,
        letter.title(),
        letter.pile,
        letter.node.as_deref().unwrap_or("-"),
        letter.deaths,
        or_dash(&letter.first),
        or_dash(&letter.last),
        letter.attempts,
        or_dash(&letter.run),
        letter.reason.escape_debug(),
        topology.display(),
        book.size(),
    );
    for (name, value) in book.headers.iter() {
        text.push_str(&format!("  header    {name} = {}\n", value.escape_ascii()));
    }
    Ok(text)
}

/// Outcomes of the offered letters, by the ids that their offer assigned.
#[derive(Default)]
struct OfferOutcomes {
    burned: Mutex<BTreeSet<u64>>,
    dead: Mutex<Vec<DeadBook>>,
}

impl Receipts for OfferOutcomes {
    fn burned(&self, books: &[&Book]) -> Result<(), Failure> {
        let mut burned = self.burned.lock();
        burned.extend(books.iter().map(|book| book.id.0));
        Ok(())
    }
}

impl DeadSink for OfferOutcomes {
    fn keep(&self, dead: &[DeadBook]) -> Result<(), Failure> {
        let mut kept = self.dead.lock();
        kept.extend_from_slice(dead);
        Ok(())
    }
}

fn offer(
    file: &Path,
    topology: Option<&Path>,
    sets: &Sets,
    format: Format,
    quiet: bool,
) -> Result<i32, Failed> {
    let _mine = dead::lock(file)
        .map_err(|error| Failed::new(format!("error: {}: {error}", file.display())))?;
    let Letters { mut letters, mut damaged, .. } = read(file)?;
    let run_id = RunId::new();
    let mut worst = code::OK;
    // One run per topology, in the order in which their letters first died.
    let mut runs: Vec<(PathBuf, Vec<String>)> = Vec::new();
    for letter in &letters {
        let run = of_run(letter, topology)?;
        if !runs.contains(&run) {
            runs.push(run);
        }
    }
    let mut signals = run::listen()?;
    for run in runs {
        if let Some(code) = signals.again() {
            return Ok(code::worse(worst, code));
        }
        let (path, mut said) = run.clone();
        said.extend(sets.sets.iter().cloned());
        let overrides = overrides(&Sets { sets: said })?;
        let loaded = Loaded::read(&path, &Catalog::standard(), &overrides)?;
        let is_mine = |letter: &Letter| of_run(letter, topology).is_ok_and(|of| of == run);
        let (mine, others): (Vec<_>, Vec<_>) = letters.into_iter().partition(is_mine);
        if let Some(homeless) = mine
            .iter()
            .find(|letter| !loaded.plan.piles.iter().any(|pile| pile.name == letter.pile))
        {
            return Err(Failed::new(format!(
                "error: {} died on the pile {:?}, which {} does not have",
                homeless.title(),
                homeless.pile,
                path.display()
            )));
        }
        let outcomes = Arc::new(OfferOutcomes::default());
        let options = Options {
            without_sources: true,
            receipts: Some(outcomes.clone()),
            dead: Some(outcomes.clone()),
            run_id: Some(run_id.clone()),
            ..Options::default()
        };
        let topology = Topology::from_plan(loaded.plan).with_options(options);
        let offered = Arc::new(Offered {
            file: file.to_owned(),
            mine,
            others,
            // Once only: the damaged lines leave the file.
            damaged: std::mem::take(&mut damaged),
            outcomes,
            run: run_id.clone(),
        });
        let (report, signal) = run::in_system(again(&topology, &offered, &mut signals, quiet))?;
        letters = offered.settle(&report)?;
        let shown = run::show(&report, topology.plan(), format, quiet);
        let code = signal.unwrap_or_else(|| run::exit_code(&report, topology.plan()));
        worst = code::worse(worst, code::with(code, [shown]));
        if signal.is_some() {
            break;
        }
    }
    Ok(worst)
}

fn of_run(letter: &Letter, topology: Option<&Path>) -> Result<(PathBuf, Vec<String>), Failed> {
    match topology {
        Some(path) => Ok((path.to_owned(), Vec::new())),
        None => {
            let path = letter.topology().map_err(|error| tampered(&error))?;
            if path.as_os_str() == STANDARD_STREAM {
                let title = letter.title();
                return Err(Failed::new(format!(
                    "error: the design of {title} came from standard input\n  help: name its file \
                     with --topology FILE"
                )));
            }
            Ok((path, letter.sets().to_vec()))
        }
    }
}

/// Letters that are offered to one topology.
struct Offered {
    file: PathBuf,
    mine: Vec<Letter>,
    /// Letters of other topologies.
    others: Vec<Letter>,
    damaged: Vec<(usize, Vec<u8>)>,
    outcomes: Arc<OfferOutcomes>,
    run: RunId,
}

impl Offered {
    /// Removes the letters that have burned from the file; returns the others.
    fn settle(&self, report: &Report) -> Result<Vec<Letter>, Failed> {
        let mut letters = still_dead(self.mine.clone(), &self.outcomes, report, self.run.as_str());
        letters.extend(self.others.iter().cloned());
        let replaced = dead::replace(&self.file, &letters, &self.damaged);
        replaced
            .map_err(|error| Failed::new(format!("error: {}: {error}", self.file.display())))?;
        Ok(letters)
    }
}

/// Offers the letters in order (so the n-th offer has the id n) and runs to the end.
async fn again(
    topology: &Topology,
    offered: &Arc<Offered>,
    signals: &mut Signals,
    quiet: bool,
) -> Result<(Report, Option<i32>), Failed> {
    let running = run::start(topology, signals).await?;
    let ended_by_force = offered.clone();
    signals.attach(&running, move |report| {
        code::with(code::FAILED, [ended_by_force.settle(&report).map(drop)]);
    });
    let all = async {
        for letter in &offered.mine {
            let book = letter.book().map_err(|error| tampered(&error))?;
            let offered = running.offer(&letter.pile, vec![book]).await;
            if offered.is_err() {
                // The run takes no more offers; `done` says why.
                break;
            }
        }
        running.close_offers();
        Ok::<_, Failed>(running.done().await)
    };
    let (done, signal) = tokio::select! {
        biased;
        done = all => (done?, None),
        signal = signals.next() => run::on_signal(&running, signal, signals, quiet).await,
    };
    Ok((run::end(&running, done, signal, signals).await, signal))
}

/// The letters that did not burn. After an unfinished run, letters of unknown outcome stay too.
fn still_dead(
    letters: Vec<Letter>,
    outcomes: &OfferOutcomes,
    report: &Report,
    run: &str,
) -> Vec<Letter> {
    let burned = outcomes.burned.lock();
    let dead = outcomes.dead.lock();
    let finished = report.outcome == gopherworks::report::RunOutcome::Finished;
    let mut still = Vec::new();
    for (at, letter) in letters.into_iter().enumerate() {
        let id = at as u64 + 1;
        if id > report.ledger.offered {
            // It was not offered.
            still.push(letter);
            continue;
        }
        if let Some(again) = dead.iter().find(|again| again.book.id.0 == id) {
            still.push(letter.died_again(again, run));
        } else if !burned.contains(&id) && !finished {
            still.push(letter);
        }
    }
    still
}
