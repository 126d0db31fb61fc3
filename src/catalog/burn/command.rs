//! `command`: runs a program for each book or each cart, with the bodies on standard input.

use bytes::Bytes;
use gopherworks_pipeline::book::{BodyReader, Book};
use gopherworks_pipeline::burn::Burn;
use gopherworks_supervision::failure::Failure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Site;
use super::super::program::{
    Caller, Cause, Feed, Given, OutputTarget, Program, Refusal, program_options,
};
use super::super::work::filter::{read_some, unreadable};
use crate::config::units::{Time, number};

program_options! {
    pub(super) struct CommandBurnOptions {
        /// `book` (default): one process per book, with the body on standard input. `cart`: one
        /// process per cart, with a newline after each body. If the program fails for a cart or
        /// exceeds its timeout, the cart is retried in halves until the failing book is found, so
        /// that the program may receive a book more than once.
        #[serde(default)]
        per: Per,
        /// Maximum number of concurrent processes, regardless of the number of cores: 1 to 1024
        /// (default 16). Each process has its own cart.
        #[serde(default = "number::<16>")]
        #[schemars(range(min = 1, max = 1024))]
        parallel: u32,
        /// Destination of the program's standard output: `discard` (default) or `inherit`.
        #[serde(default)]
        stdout: Stdout,
    }
}

/// What one process receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Per {
    /// One book per process.
    #[default]
    Book,
    /// One cart per process.
    Cart,
}

/// Destination of a program's standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Stdout {
    /// The output is discarded.
    #[default]
    Discard,
    /// The output goes to the standard output of this process.
    Inherit,
}

/// Runs a program for each book or each cart.
///
/// Exit code 0 means burned, even if the program has not read all of its input. Any other exit code
/// is a transient failure whose reason ends with the last output on the program's standard error.
/// The program leads its own process group. The whole group is killed at the timeout, by
/// `kill_all`, and when this process dies; processes that outlive a program which exits normally
/// keep running.
pub(super) struct CommandBurn {
    caller: Caller,
    program: Program,
    per: Per,
    parallel: usize,
    output: OutputTarget,
}

/// A program that cannot be found is no error here; it fails the first book.
pub(super) fn make(options: &CommandBurnOptions, site: &Site) -> Result<CommandBurn, Failure> {
    Ok(CommandBurn {
        caller: site.into(),
        program: options.program(),
        per: options.per,
        parallel: options.parallel as usize,
        output: match options.stdout {
            Stdout::Discard => OutputTarget::Discard,
            Stdout::Inherit => OutputTarget::Inherit,
        },
    })
}

/// Concatenates the bodies of several books, each followed by `after_each`.
struct Bodies<'a> {
    books: std::slice::Iter<'a, &'a Book>,
    current: Option<(&'a Book, BodyReader)>,
    after_each: &'static [u8],
    // Unread rest of `after_each`.
    due: Bytes,
    // Number of bodies started; if reading fails, the last of them is at fault.
    begun: &'a mut usize,
}

impl<'a> Bodies<'a> {
    fn new(books: &'a [&'a Book], after_each: &'static [u8], begun: &'a mut usize) -> Self {
        Self { books: books.iter(), current: None, after_each, due: Bytes::new(), begun }
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
                match read_some(reader, buffer) {
                    Ok(0) => {
                        self.current = None;
                        self.due = Bytes::from_static(self.after_each);
                    }
                    read => return read.map_err(|error| unreadable(book, &error)),
                }
            } else if let Some(book) = self.books.next() {
                *self.begun += 1;
                let reader = book.body.open();
                let reader = reader.map_err(|error| unreadable(book, &error))?;
                self.current = Some((book, reader));
            } else {
                return Ok(0);
            }
        }
    }
}

impl CommandBurn {
    fn run_book(&self, book: &Book, attempt: u32) -> Result<(), Failure> {
        let (caller, attempt) = (&self.caller, Some(attempt));
        let given = Given { caller, book: Some(book), books: 1, request: None, attempt };
        let (books, mut begun) = ([book], 0);
        let bodies = Bodies::new(&books, b"", &mut begun);
        let ran = self.program.run(&given, bodies, self.output);
        ran.map(drop).map_err(|refused| refused.failure)
    }

    /// Runs one process for these books. The number in the error is how many bodies were started by
    /// then.
    fn run_some(&self, books: &[&Book]) -> Result<(), (Refusal, usize)> {
        let (caller, count) = (&self.caller, books.len());
        let given = Given { caller, book: None, books: count, request: None, attempt: None };
        let mut begun = 0;
        let bodies = Bodies::new(books, b"\n", &mut begun);
        let ran = self.program.run(&given, bodies, self.output);
        ran.map(drop).map_err(|refused| (refused, begun))
    }

    fn run_cart(&self, books: &[&Book]) -> Vec<Result<(), Failure>> {
        // Check all bodies first: an unreadable one fails alone, before the program sees any other.
        let mut results: Vec<_> = books
            .iter()
            .map(|book| match book.body.open() {
                Ok(_) => Ok(()),
                Err(error) => Err(unreadable(book, &error)),
            })
            .collect();
        let readable = (0..books.len()).filter(|at| results[*at].is_ok());
        let mut parts: Vec<Vec<usize>> = vec![readable.collect()];
        // Timeouts allowed per cart: enough to find two books that hang the program. After more,
        // the program itself is considered hung.
        let mut late = 2 * (books.len().max(1).ilog2() + 2);
        let mut elsewhere: Option<Failure> = None;
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            if let Some(failure) = &elsewhere {
                part.iter().for_each(|at| results[*at] = Err(failure.clone()));
                continue;
            }
            let given: Vec<&Book> = part.iter().map(|at| books[*at]).collect();
            let Err((refused, begun)) = self.run_some(&given) else {
                continue;
            };
            if refused.cause == Cause::Time {
                late -= 1;
            }
            match refused.cause {
                Cause::Program | Cause::Time if part.len() == 1 => {
                    results[part[0]] = Err(refused.failure);
                    if late == 0 {
                        elsewhere = Some(self.hangs());
                    }
                }
                Cause::Program | Cause::Time if late > 0 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second.to_vec(), first.to_vec()]);
                }
                Cause::Feed => {
                    let mut rest = part;
                    let bad = rest.remove(begun.saturating_sub(1).min(rest.len() - 1));
                    results[bad] = Err(refused.failure);
                    parts.push(rest);
                }
                Cause::Program | Cause::Time => {
                    elsewhere = Some(self.hangs());
                    parts.push(part);
                }
                Cause::Elsewhere => {
                    elsewhere = Some(refused.failure);
                    parts.push(part);
                }
            }
        }
        results
    }

    /// Failure of all remaining books once a cart has used up its timeouts.
    fn hangs(&self) -> Failure {
        let name = self.program.name();
        Failure::unavailable(format!(
            "{name}: timed out after {} for many books in a row",
            Time(self.program.timeout)
        ))
    }
}

impl Burn for CommandBurn {
    fn burn(&self, book: &Book) -> Result<(), Failure> {
        self.burn_attempt(book, 1)
    }

    fn burn_attempt(&self, book: &Book, attempt: u32) -> Result<(), Failure> {
        match self.per {
            Per::Book => self.run_book(book, attempt),
            Per::Cart => self.run_cart(&[book]).pop().unwrap_or(Ok(())),
        }
    }

    fn burn_cart(&self, books: &[&Book]) -> Option<Vec<Result<(), Failure>>> {
        match self.per {
            Per::Book => None,
            Per::Cart => Some(self.run_cart(books)),
        }
    }

    fn waits(&self) -> bool {
        true
    }

    fn at_once(&self) -> usize {
        self.parallel
    }
}

#[cfg(test)]
mod tests;
