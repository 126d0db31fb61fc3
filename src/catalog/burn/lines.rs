//! `lines`: a line for each book.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use gopherworks_actors::book::Book;
use gopherworks_actors::burn::Burn;
use gopherworks_actors::failure::Failure;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::units::Size;
use super::super::work::filter::described;
use super::super::{FilePath, Site};

/// Options of `lines`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The file, or "-" for standard output. Folders on the way to it are created.
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

/// What the instances of one run share; its lock is held while a cart is written.
#[derive(Debug, Default)]
struct Run {
    begun: bool,
}

/// Writes lines: each body as it is, and a newline. The lines of a cart go out together, in one write as long as they
/// are a few MiB. Where a write fails part-way the file is cut back to what it was, and the whole cart is to be burned again;
/// standard output and pipes can't be cut, there a line may come twice.
pub struct Lines {
    target: Target,
    max_line: u64,
    run: Arc<Mutex<Run>>,
}

enum Target {
    Stdout,
    File {
        file: File,
        regular: bool,
        name: String,
    },
}

/// Bytes that are written at once at most.
const WRITE: usize = 4 << 20;

/// Makes the burn.
///
/// # Errors
/// A file that can't be created.
pub fn make(options: &Options, _: &Site) -> Result<Lines, Failure> {
    let mut run = lock(&options.run);
    let target = if options.path.is_standard_stream() {
        Target::Stdout
    } else {
        let path = options.path.as_path();
        let name = path.display().to_string();
        let truncate = !options.append && !run.begun;
        let open = || {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let file = OpenOptions::new().append(true).create(true).open(path)?;
            let regular = file.metadata()?.is_file();
            if truncate && regular {
                file.set_len(0)?;
            }
            Ok((file, regular))
        };
        let (file, regular) = open()
            .map_err(|error: io::Error| Failure::io(format_args!("opening {name}"), &error))?;
        Target::File {
            file,
            regular,
            name,
        }
    };
    run.begun = true;
    Ok(Lines {
        target,
        max_line: options.max_line.0,
        run: options.run.clone(),
    })
}

fn lock(run: &Mutex<Run>) -> MutexGuard<'_, Run> {
    run.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lines {
    /// Reads the bodies and writes their lines; `Err` means that no line of the cart was written.
    fn write_cart(&self, books: &[&Book]) -> Result<Vec<Result<(), Failure>>, Failure> {
        let _one_at_a_time = lock(&self.run);
        let mut output = Output::begin(&self.target).map_err(|error| self.refused(&error))?;
        let mut results = Vec::with_capacity(books.len());
        for book in books {
            results.push(match self.line(book) {
                Ok(line) => Ok(output.push(&line).map_err(|error| self.refused(&error))?),
                Err(failure) => Err(failure),
            });
        }
        output.end().map_err(|error| self.refused(&error))?;
        Ok(results)
    }

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
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err(too_large()),
            Err(error) => Err(Failure::io(
                format_args!("reading {}", described(book)),
                &error,
            )),
        }
    }

    /// What the target refuses may pass once there is room again.
    fn refused(&self, error: &io::Error) -> Failure {
        let name = match &self.target {
            Target::Stdout => "standard output",
            Target::File { name, .. } => name,
        };
        Failure::transient(format!("writing {name}: {error}"))
    }
}

/// The lines of one cart on their way; what was written is cut off again unless [`Output::end`] succeeds.
struct Output<'a> {
    target: &'a Target,
    pending: Vec<u8>,
    // Length of the file when the cart began, where it can be cut back to that.
    good: Option<u64>,
}

impl<'a> Output<'a> {
    fn begin(target: &'a Target) -> io::Result<Self> {
        let good = match target {
            Target::File {
                file,
                regular: true,
                ..
            } => Some(file.metadata()?.len()),
            _ => None,
        };
        Ok(Self {
            target,
            pending: Vec::new(),
            good,
        })
    }

    fn push(&mut self, line: &[u8]) -> io::Result<()> {
        if !self.pending.is_empty() && self.pending.len() + line.len() >= WRITE {
            self.flush()?;
        }
        self.pending.extend_from_slice(line);
        self.pending.push(b'\n');
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.target {
            Target::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(&self.pending)?;
                stdout.flush()?;
            }
            Target::File { file, .. } => (&mut &*file).write_all(&self.pending)?,
        }
        self.pending.clear();
        Ok(())
    }

    fn end(mut self) -> io::Result<()> {
        self.flush()?;
        self.good = None;
        Ok(())
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        if let (Some(good), Target::File { file, name, .. }) = (self.good, self.target)
            && let Err(error) = file.set_len(good)
        {
            log::error!("{name}: a part of a cart could not be cut off: {error}");
        }
    }
}

impl Burn for Lines {
    fn burn(&self, book: &Book) -> Result<(), Failure> {
        self.write_cart(&[book])?.pop().unwrap_or(Ok(()))
    }

    fn burn_cart(&self, books: &[&Book]) -> Option<Vec<Result<(), Failure>>> {
        let written = self.write_cart(books);
        Some(written.unwrap_or_else(|failure| vec![Err(failure); books.len()]))
    }

    fn finish(&self) -> Result<(), Failure> {
        let mut run = lock(&self.run);
        // The next run of the same factory begins the file anew.
        run.begun = false;
        match &self.target {
            Target::File {
                file,
                regular: true,
                ..
            } => file.sync_all().map_err(|error| self.refused(&error)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use gopherworks_actors::book::{Body, BodyFile};

    use super::super::super::tests::{burn_kind, site};
    use super::*;

    fn options(path: &std::path::Path, more: &str) -> String {
        format!("path = '{}'\n{more}", path.display())
    }

    #[test]
    fn a_cart_is_written_in_order_and_a_bad_book_alone_fails() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/out");
        let burn = burn_kind("lines", &options(&path, "max_line = '5B'"))
            .make(&site())
            .unwrap();
        let missing = Book::new(Body::file(BodyFile::kept(folder.path().join("missing")), 1));
        let books = [
            Book::new("one"),
            missing,
            Book::new("longer"),
            Book::new(""),
        ];
        let results = burn.burn_cart(&books.each_ref()).unwrap();
        assert!(results[0].is_ok() && results[3].is_ok());
        assert!(results[1].as_ref().unwrap_err().is_permanent());
        assert!(
            results[2]
                .as_ref()
                .unwrap_err()
                .reason()
                .contains("larger than 5B")
        );
        burn.burn(&Book::new("last")).unwrap();
        burn.finish().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\n\nlast\n");
    }

    #[test]
    fn the_file_begins_anew_with_a_run_but_not_with_a_new_life() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        std::fs::write(&path, "old\n").unwrap();
        let factory = burn_kind("lines", &options(&path, ""));
        factory
            .make(&site())
            .unwrap()
            .burn(&Book::new("first life"))
            .unwrap();
        let second = factory.make(&site()).unwrap();
        second.burn(&Book::new("second life")).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "first life\nsecond life\n"
        );
        second.finish().unwrap();
        factory
            .make(&site())
            .unwrap()
            .burn(&Book::new("next run"))
            .unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "next run\n");
        let appending = burn_kind("lines", &options(&path, "append = true"));
        appending
            .make(&site())
            .unwrap()
            .burn(&Book::new("added"))
            .unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "next run\nadded\n");
    }

    #[test]
    fn a_cart_that_fails_part_way_is_cut_off() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"kept\n").unwrap();
        let target = Target::File {
            file,
            regular: true,
            name: "test".to_owned(),
        };
        let mut output = Output::begin(&target).unwrap();
        let length = || match &target {
            Target::File { file, .. } => file.metadata().unwrap().len(),
            Target::Stdout => 0,
        };
        // Two pieces, of which the first has to go out before the second.
        output.push(&vec![b'x'; WRITE]).unwrap();
        output.push(b"y").unwrap();
        assert!(length() > 5);
        drop(output);
        assert_eq!(length(), 5);
    }

    #[test]
    fn a_full_disk_is_transient() {
        // The device that is always full; it is no regular file, so nothing is cut either.
        let burn = burn_kind("lines", "path = '/dev/full'")
            .make(&site())
            .unwrap();
        let results = burn.burn_cart(&[&Book::new("a"), &Book::new("b")]).unwrap();
        assert!(
            results
                .iter()
                .all(|result| !result.as_ref().unwrap_err().is_permanent())
        );
        assert_eq!(results.len(), 2);
    }
}
