//! `lines`: a line for each book.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use gopherworks_actors::book::Book;
use gopherworks_actors::burn::Burn;
use gopherworks_actors::failure::Failure;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::units::Size;
use super::super::work::filter::described;
use super::super::{FilePath, RunId, Site};

mod output;
mod stream;

use output::Output;

/// Options of `lines`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The file, or "-" for standard output. Folders on the way to it are created. A file is locked while the run writes to it.
    #[schemars(extend("x-dash" = true))]
    path: FilePath,
    /// Adds to what the file holds already, instead of beginning it anew in each run.
    #[serde(default)]
    append: bool,
    /// A larger body is refused.
    #[serde(default = "longest")]
    max_line: Size,
    // Lives as long as the factory, so that an instance made after a failure goes on where the first one was.
    #[serde(skip)]
    #[schemars(skip)]
    run: Arc<Mutex<Run>>,
}

fn longest() -> Size {
    Size(1 << 20)
}

/// What the instances of one run share.
#[derive(Debug, Default)]
struct Run {
    /// The run that has begun the file.
    begun: Option<RunId>,
    /// What its instances write to.
    output: Weak<Output>,
}

/// Writes lines: each body as it is, and a newline. The lines of a cart go out together, in one write as long as they
/// are a few MiB. Where a write to a file fails part-way the file is cut back to what it was, and the whole cart is to be burned again;
/// standard output and pipes can't be cut: what they took stays taken.
pub struct Lines {
    output: Arc<Output>,
    max_line: u64,
    run: Arc<Mutex<Run>>,
}

/// Makes the burn.
///
/// # Errors
/// A file that can't be created, or that another process or node writes to.
pub fn make(options: &Options, site: &Site) -> Result<Lines, Failure> {
    let mut run = lock(&options.run);
    let begun = run.begun.as_ref() == Some(&site.run);
    let output = match run.output.upgrade() {
        Some(output) if begun => output,
        _ => {
            let anew = !options.append && !begun;
            let output = Arc::new(Output::open(&options.path, anew, &site.halt)?);
            run.output = Arc::downgrade(&output);
            output
        }
    };
    run.begun = Some(site.run.clone());
    Ok(Lines {
        output,
        max_line: options.max_line.0,
        run: options.run.clone(),
    })
}

fn lock<T>(run: &Mutex<T>) -> MutexGuard<'_, T> {
    run.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lines {
    fn line(&self, book: &Book) -> Result<Bytes, Failure> {
        let too_large = || {
            let limit = Size(self.max_line);
            Failure::permanent(format!(
                "{} is larger than {limit} (max_line)",
                described(book)
            ))
        };
        match book.body.read_all(self.max_line) {
            Ok(line) if line.len() as u64 > self.max_line => Err(too_large()),
            Ok(line) => Ok(line),
            Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => Err(too_large()),
            Err(error) => Err(Failure::io(
                format_args!("reading {}", described(book)),
                &error,
            )),
        }
    }
}

impl Burn for Lines {
    fn burn(&self, book: &Book) -> Result<(), Failure> {
        let mut results = self.output.write(&[book], |book| self.line(book));
        results.pop().unwrap_or(Ok(()))
    }

    fn burn_cart(&self, books: &[&Book]) -> Option<Vec<Result<(), Failure>>> {
        Some(self.output.write(books, |book| self.line(book)))
    }

    fn finish(&self) -> Result<(), Failure> {
        // The next run of the same factory begins the file anew.
        lock(&self.run).begun = None;
        self.output.finish()
    }
}

#[cfg(test)]
mod tests;
