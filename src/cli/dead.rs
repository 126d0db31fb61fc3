//! `dead list|show|replay|forget`: letters in a file or a store.

mod letters;
mod offer;

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, Subcommand};
use gopherworks::dead::{self, Letter, Letters};
use gopherworks::pipeline::book::Book;
use serde_json::{Value, json};

use super::stored::Store;
use super::{Failed, Format, Sets, code, load, overrides, print, run};

#[derive(Debug, Subcommand)]
pub enum DeadCommand {
    /// Print a line for each dead letter
    ///
    /// Works while a run has the store.
    List {
        #[command(flatten)]
        of: LettersArgs,
        /// Format of the output
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Print all that is known of one dead letter, or of all
    Show {
        #[command(flatten)]
        of: LettersArgs,
        /// Number of the letter in `dead list` [default: all letters]
        number: Option<u64>,
        /// Write the letter's body to standard output, and nothing else
        #[arg(long, requires = "number")]
        body: bool,
        /// Format of the output
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Put dead letters back to the ends of the piles where they died, to be tried again
    ///
    /// In a store, the next run tries them. From a file, the design is run at once, without its
    /// sources: letters whose books burn leave the file, and those that die again stay, with their
    /// new reason.
    #[command(visible_alias = "offer")]
    Replay {
        #[command(flatten)]
        of: LettersArgs,
        /// Numbers of the letters in `dead list` [default: all letters]
        numbers: Vec<u64>,
        /// The config file of the design of letters in a file [default: the one that each names]
        #[arg(long)]
        topology: Option<PathBuf>,
        /// Format of the output
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Remove dead letters, for good
    #[command(group(ArgGroup::new("which").required(true).args(["numbers", "all"])))]
    Forget {
        #[command(flatten)]
        of: LettersArgs,
        /// Numbers of the letters in `dead list`
        numbers: Vec<u64>,
        /// Remove all letters
        #[arg(long)]
        all: bool,
        /// Format of the output
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

#[derive(Debug, Args)]
pub struct LettersArgs {
    /// The config NAME.toml, for the letters in its store, or without one for those in
    /// state/NAME.dead.jsonl beside it; or a file of dead letters
    file: PathBuf,
    #[command(flatten)]
    sets: Sets,
}

/// Where dead letters are.
enum Place {
    File(PathBuf),
    Store(Box<Store>),
}

impl LettersArgs {
    /// # Errors
    /// The config is invalid, and its runs have kept no letters in a file.
    fn place(&self, quiet: bool) -> Result<Place, Failed> {
        let of_config = self.file.extension().is_some_and(|ending| ending == "toml");
        if !of_config {
            return Ok(Place::File(self.file.clone()));
        }
        let file = run::default_dead(&self.file);
        match load(&self.file, &overrides(&self.sets)?, quiet) {
            Ok(loaded) if loaded.plan.durable_piles().is_some() => {
                if !quiet && file.exists() {
                    let file = file.display();
                    print::note(&format!("more letters, of piles in memory, are in {file}"));
                }
                Ok(Place::Store(Box::new(Store::of(loaded.plan)?)))
            }
            Err(failed) if !file.exists() => Err(failed),
            _ => Ok(Place::File(file)),
        }
    }
}

/// Runs a `dead` command.
pub fn dead(command: &DeadCommand, quiet: bool) -> Result<i32, Failed> {
    let (DeadCommand::List { of, .. }
    | DeadCommand::Show { of, .. }
    | DeadCommand::Replay { of, .. }
    | DeadCommand::Forget { of, .. }) = command;
    match (of.place(quiet)?, command) {
        (Place::File(file), DeadCommand::List { format, .. }) => list(&file, *format),
        (Place::File(file), DeadCommand::Show { number, body, format, .. }) => {
            show(&file, *number, *body, *format)
        }
        (Place::File(file), DeadCommand::Replay { numbers, topology, format, .. }) => {
            let chosen = (&of.sets, topology.as_deref(), numbers.as_slice());
            offer::offer(&file, chosen, *format, quiet)
        }
        (Place::File(file), DeadCommand::Forget { numbers, format, .. }) => {
            forget(&file, numbers, *format)
        }
        (Place::Store(store), DeadCommand::List { format, .. }) => letters::list(&store, *format),
        (Place::Store(store), DeadCommand::Show { number, body, format, .. }) => {
            letters::show(&store, *number, *body, *format)
        }
        (Place::Store(store), DeadCommand::Replay { numbers, format, .. }) => {
            letters::replay(&store, numbers, *format)
        }
        (Place::Store(store), DeadCommand::Forget { numbers, format, .. }) => {
            letters::forget(&store, numbers, *format)
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
                        "id": letter.key(),
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
            let table = print::Table { head: &head, words: 2, shed: &["last", "deaths"] };
            let table = table.show(rows.collect(), print::width(false));
            print::text(table.trim_end(), false)?;
        }
    }
    Ok(code::OK)
}

/// Letters of old versions lack some fields.
fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

fn show(file: &Path, number: Option<u64>, body: bool, format: Format) -> Result<i32, Failed> {
    let letters = read(file)?.letters;
    let chosen: Vec<(usize, &Letter)> = match number {
        None => letters.iter().enumerate().collect(),
        Some(number) => {
            let at = place_of(number, letters.len(), file)?;
            vec![(at, &letters[at])]
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
        "{}: {}\n  id        {}\n  pile      {}\n  failed at {}\n  deaths    {}, first {}, \
         last {}\n  attempts  {}\n  run       {}\n  reason    {}\n  topology  {}\n  size      {} \
         bytes\n",
        at + 1,
        letter.title(),
        or_dash(&letter.key()),
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
    text.push_str(&headers(&book));
    Ok(text)
}

/// A line for each header.
fn headers(book: &Book) -> String {
    let headers = book.headers.iter();
    headers
        .map(|(name, value)| format!("  header    {name} = {}\n", value.escape_ascii()))
        .collect()
}

/// Index of the letter with this number.
///
/// # Errors
/// There is none.
fn place_of(number: u64, count: usize, file: &Path) -> Result<usize, Failed> {
    let at = usize::try_from(number).unwrap_or(usize::MAX).wrapping_sub(1);
    (at < count).then_some(at).ok_or_else(|| {
        let file = file.display();
        Failed::new(format!("error: there is no letter {number}; {file} has {count}"))
    })
}

/// Splits letters into those with these numbers (all, if there are none) and the others.
///
/// # Errors
/// There is no letter with such a number.
fn chosen(
    letters: Vec<Letter>,
    numbers: &[u64],
    file: &Path,
) -> Result<(Vec<Letter>, Vec<Letter>), Failed> {
    let count = letters.len();
    let places = numbers.iter().map(|number| place_of(*number, count, file));
    let places: BTreeSet<usize> = places.collect::<Result<_, _>>()?;
    let (mut mine, mut others) = (Vec::new(), Vec::new());
    for (at, letter) in letters.into_iter().enumerate() {
        let is_mine = places.is_empty() || places.contains(&at);
        if is_mine { mine.push(letter) } else { others.push(letter) }
    }
    Ok((mine, others))
}

/// Locks a file of letters against runs and other commands.
fn lock(file: &Path) -> Result<impl Sized + use<>, Failed> {
    dead::lock(file).map_err(|error| Failed::new(format!("error: {}: {error}", file.display())))
}

fn forget(file: &Path, numbers: &[u64], format: Format) -> Result<i32, Failed> {
    let _mine = lock(file)?;
    let Letters { letters, damaged, .. } = read(file)?;
    let (mine, others) = chosen(letters, numbers, file)?;
    let replaced = dead::replace(file, &others, &damaged);
    replaced.map_err(|error| Failed::new(format!("error: {}: {error}", file.display())))?;
    say_done("forgotten", mine.len() as u64, &file.display().to_string(), format)
}

/// Prints how many letters a command has removed from a place.
fn say_done(what: &str, count: u64, place: &str, format: Format) -> Result<i32, Failed> {
    match format {
        Format::Json => print::line(&json!({ what: count }).to_string(), false)?,
        Format::Text => {
            let s = if count == 1 { "" } else { "s" };
            let count = print::grouped(count);
            print::line(&format!("{what} {count} dead letter{s} of {place}"), false)?;
        }
    }
    Ok(code::OK)
}
