//! `command`: gives bodies to a program.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use gopherworks_actors::book::{BodyReader, Book};
use gopherworks_actors::burn::Burn;
use gopherworks_actors::failure::Failure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::units::Time;
use super::super::work::filter::described;
use super::super::{FilePath, RunId, Site, names};

mod child;

pub(in crate::catalog) use child::Group;
pub use child::kill_all;
use child::{Ended, Feed, run};

/// Options of `command`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The program and its arguments. No shell reads them.
    command: Words,
    /// One process for each book, with its body on standard input, or one for each cart, with a newline after each body.
    #[serde(default)]
    per: Per,
    /// A process that takes longer is killed with all that it has started.
    #[serde(default = "a_minute")]
    timeout: Time,
    /// Variables that are added to the environment.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// The folder in which the program runs; otherwise the current one.
    #[serde(default)]
    #[schemars(extend("x-access" = "none"))]
    folder: Option<FilePath>,
    /// What becomes of the program's standard output.
    #[serde(default)]
    stdout: Stdout,
}

/// What one process is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Per {
    /// One book.
    #[default]
    Book,
    /// A cart.
    Cart,
}

/// Where a program's output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Stdout {
    /// Nowhere.
    #[default]
    Discard,
    /// To the standard output of this process.
    Inherit,
}

/// A program and its arguments.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "Vec<String>")]
#[schemars(inline, extend("minItems" = 1))]
pub(in crate::catalog) struct Words(pub(in crate::catalog) Vec<String>);

impl TryFrom<Vec<String>> for Words {
    type Error = String;

    fn try_from(words: Vec<String>) -> Result<Self, String> {
        match words.first() {
            Some(program) if !program.is_empty() => Ok(Self(words)),
            _ => Err("names no program".to_owned()),
        }
    }
}

fn a_minute() -> Time {
    Time(Duration::from_secs(60))
}

/// Runs a program for each book or each cart. Variables `GOPHERWORKS_BOOK_ID` and `GOPHERWORKS_NAME` (of one book), or
/// `GOPHERWORKS_BOOKS` (the number of books of a cart), tell it what it is given.
///
/// The exit code judges: 0 is burned, everything else a transient failure whose reason ends with the last 4 KiB that the program wrote to its
/// standard error. A program that does not read all of its input is judged by its exit code, too. The program leads a process group
/// of its own, which is killed as a whole at the timeout and by [`kill_all`]; a program that ends by itself may leave others running.
pub struct CommandBurn {
    words: Vec<String>,
    per: Per,
    timeout: Duration,
    env: BTreeMap<String, String>,
    folder: Option<FilePath>,
    stdout: Stdout,
    run: RunId,
}

/// Makes the burn.
///
/// # Errors
/// None: a program that can't be found fails the first book.
pub fn make(options: &Options, site: &Site) -> Result<CommandBurn, Failure> {
    Ok(CommandBurn {
        words: options.command.0.clone(),
        per: options.per,
        timeout: options.timeout.0,
        env: options.env.clone(),
        folder: options.folder.clone(),
        stdout: options.stdout,
        run: site.run.clone(),
    })
}

/// The bodies of some books, one after another.
struct Bodies<'a> {
    books: std::slice::Iter<'a, &'a Book>,
    current: Option<(&'a Book, BodyReader)>,
    after_each: &'static [u8],
    // What is due of `after_each`.
    due: Bytes,
}

impl<'a> Bodies<'a> {
    fn new(books: &'a [&'a Book], after_each: &'static [u8]) -> Self {
        Self {
            books: books.iter(),
            current: None,
            after_each,
            due: Bytes::new(),
        }
    }
}

impl Feed for Bodies<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        loop {
            if !self.due.is_empty() {
                let length = self.due.len().min(buffer.len());
                buffer[..length].copy_from_slice(&self.due.split_to(length));
                return Ok(length);
            }
            if let Some((book, reader)) = &mut self.current {
                match reader.read(buffer) {
                    Ok(0) => {
                        self.current = None;
                        self.due = Bytes::from_static(self.after_each);
                    }
                    Ok(length) => return Ok(length),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        return Err(Failure::io(
                            format_args!("reading {}", described(book)),
                            &error,
                        ));
                    }
                }
            } else if let Some(book) = self.books.next() {
                let reader = book.body.open();
                let reader = reader.map_err(|error| {
                    Failure::io(format_args!("reading {}", described(book)), &error)
                })?;
                self.current = Some((book, reader));
            } else {
                return Ok(0);
            }
        }
    }
}

impl CommandBurn {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).envs(&self.env);
        if let Some(folder) = &self.folder {
            command.current_dir(folder.as_path());
        }
        command.stdout(match self.stdout {
            Stdout::Discard => Stdio::null(),
            Stdout::Inherit => Stdio::inherit(),
        });
        command
    }

    fn run(&self, mut command: Command, bodies: Bodies<'_>) -> Result<(), Failure> {
        let program = &self.words[0];
        let ended = run(&mut command, bodies, self.timeout, program)?;
        let (what, stderr) = match ended {
            Ended::Exit { status, .. } if status.success() => return Ok(()),
            Ended::Exit { status, stderr } => (format!("{program}: {status}"), stderr),
            Ended::TimedOut { stderr } => (
                format!("{program}: killed after {}", Time(self.timeout)),
                stderr,
            ),
        };
        let tail = String::from_utf8_lossy(&stderr);
        let tail = tail.trim_end();
        Err(Failure::transient(if tail.is_empty() {
            what
        } else {
            format!("{what}: {tail}")
        }))
    }

    fn run_cart(&self, books: &[&Book]) -> Vec<Result<(), Failure>> {
        // A body that can't be read fails alone, before the program sees any of the others.
        let mut results: Vec<_> = books
            .iter()
            .map(|book| match book.body.open() {
                Ok(_) => Ok(()),
                Err(error) => Err(Failure::io(
                    format_args!("reading {}", described(book)),
                    &error,
                )),
            })
            .collect();
        let readable: Vec<&Book> = books
            .iter()
            .zip(&results)
            .filter(|(_, result)| result.is_ok())
            .map(|(book, _)| *book)
            .collect();
        if readable.is_empty() {
            return results;
        }
        let mut command = self.command();
        command.env("GOPHERWORKS_BOOKS", readable.len().to_string());
        let outcome = self.run(command, Bodies::new(&readable, b"\n"));
        for result in results.iter_mut().filter(|result| result.is_ok()) {
            *result = outcome.clone();
        }
        results
    }
}

impl Burn for CommandBurn {
    fn burn(&self, book: &Book) -> Result<(), Failure> {
        match self.per {
            Per::Book => {
                let mut command = self.command();
                command
                    .env("GOPHERWORKS_BOOK_ID", names::key_of(book, &self.run))
                    .env(
                        "GOPHERWORKS_NAME",
                        names::os_string(&names::name_of(book, &self.run)),
                    );
                self.run(command, Bodies::new(&[book], b""))
            }
            Per::Cart => self.run_cart(&[book]).pop().unwrap_or(Ok(())),
        }
    }

    fn burn_cart(&self, books: &[&Book]) -> Option<Vec<Result<(), Failure>>> {
        match self.per {
            Per::Book => None,
            Per::Cart => Some(self.run_cart(books)),
        }
    }
}

#[cfg(test)]
mod tests;
