//! `lines`: writes each body as a line of a file or of standard output.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use gopherworks_pipeline::book::Book;
use gopherworks_pipeline::burn::Burn;
use gopherworks_supervision::failure::Failure;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::work::filter::{described, unreadable};
use super::super::{FilePath, RunId, Site};
#[cfg(feature = "files")]
use crate::config::units::number;
use crate::config::units::{Size, size};

#[cfg(feature = "gzip")]
mod gzip;
#[cfg(feature = "files")]
mod named;
mod output;
mod stream;

#[cfg(feature = "files")]
use named::NameTemplate;
use output::LineOutput;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LineBurnOptions {
    /// File to write, or "-" for standard output. Missing parent folders are created. A regular
    /// file is locked until the run ends. With `file` the folder of the files.
    #[schemars(extend("x-dash" = true))]
    path: FilePath,
    /// Appends to the file. By default each run empties it first, unless piles are durable: it then
    /// goes on with the lines of earlier runs.
    #[serde(default)]
    append: bool,
    /// Name of the file of a book below `path`, with headers of the book in it, such as
    /// `{day}/{level}.jsonl`. A name that ends in `.gz` is compressed: each cart as a member of its
    /// own, so large carts compress better. Files are appended to. A book without the header, or
    /// with a name outside the folder, fails permanently.
    #[cfg(feature = "files")]
    #[serde(default)]
    file: Option<NameTemplate>,
    /// Maximum number of files that are open at once, with `file`.
    #[cfg(feature = "files")]
    #[serde(default = "number::<64>")]
    #[schemars(range(min = 1, max = 1000))]
    open_files: u32,
    /// Maximum size of a body (default 1MiB). A larger one is not written: its book fails
    /// permanently.
    #[serde(default = "size::<{ 1 << 20 }>")]
    max_line: Size,
    // Shared by all instances, so that one created after a failure continues the same file.
    #[serde(skip)]
    #[schemars(skip)]
    run: Arc<Mutex<Run>>,
}

/// State shared by the instances of one run.
#[derive(Debug, Default)]
struct Run {
    /// Run that opened the file. Another run starts the file anew.
    begun: Option<RunId>,
    /// Weak, so that the output closes with the last instance.
    output: Weak<LineOutput>,
}

/// Writes each body unchanged, followed by a newline. The lines of a cart are written together, up
/// to 4 MiB per write. If a write to a regular file fails, the file is truncated to its length
/// before the cart, and no book of the cart counts as burned. Data written to standard output or a
/// pipe cannot be taken back.
pub(super) struct LineBurn {
    output: Arc<LineOutput>,
    max_line: u64,
    run: Arc<Mutex<Run>>,
}

/// Opens and locks the output, or shares the one that an earlier instance of this run has opened.
pub(super) fn make(options: &LineBurnOptions, site: &Site) -> Result<LineBurn, Failure> {
    let mut run = options.run.lock();
    let begun = run.begun.as_ref() == Some(&site.run);
    let output = match run.output.upgrade() {
        Some(output) if begun => output,
        _ => {
            let anew = !options.append && !begun && !site.durable;
            #[cfg(feature = "files")]
            let output = match &options.file {
                Some(file) => {
                    LineOutput::named(&options.path, (file, options.open_files as usize), site)?
                }
                None => LineOutput::open(&options.path, anew, site)?,
            };
            #[cfg(not(feature = "files"))]
            let output = LineOutput::open(&options.path, anew, site)?;
            let output = Arc::new(output);
            run.output = Arc::downgrade(&output);
            output
        }
    };
    run.begun = Some(site.run.clone());
    Ok(LineBurn { output, max_line: options.max_line.0, run: options.run.clone() })
}

impl LineBurn {
    fn line(&self, book: &Book) -> Result<Bytes, Failure> {
        let too_large = || {
            let limit = Size(self.max_line);
            Failure::permanent(format!("{} is larger than {limit} (max_line)", described(book)))
        };
        match book.body.read_all(self.max_line) {
            Ok(line) if line.len() as u64 > self.max_line => Err(too_large()),
            Ok(line) => Ok(line),
            Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => Err(too_large()),
            Err(error) => Err(unreadable(book, &error)),
        }
    }
}

impl Burn for LineBurn {
    fn burn(&self, book: &Book) -> Result<(), Failure> {
        let mut results = self.output.write(&[book], |book| self.line(book));
        results.pop().unwrap_or(Ok(()))
    }

    fn burn_cart(&self, books: &[&Book]) -> Option<Vec<Result<(), Failure>>> {
        Some(self.output.write(books, |book| self.line(book)))
    }

    fn sync(&self) -> Result<(), Failure> {
        self.output.sync()
    }

    fn finish(&self) -> Result<(), Failure> {
        // The next run of this factory starts the file anew.
        self.run.lock().begun = None;
        self.output.finish()
    }
}

#[cfg(test)]
mod tests;
