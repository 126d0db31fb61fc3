//! `lines`: a book for each line of a file or of standard input.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

use bytes::Bytes;
use gopherworks_pipeline::book::Book;
use gopherworks_pipeline::source::{Receipts, Source};
use gopherworks_supervision::failure::Failure;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::{FilePath, Site};
use crate::config::units::{Size, size};

mod input;
mod mark;
mod place;

use input::Input;
use mark::Mark;
use place::LineMemory;

/// Bytes of lines after which no further one is read ahead.
const BATCH_BYTES: u64 = 8 << 20;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LineSourceOptions {
    /// File to read, or "-" for standard input.
    #[schemars(extend("x-dash" = true))]
    path: FilePath,
    /// Maximum length of a line (default 1MiB). A longer one ends the run with an error that names
    /// it, after all lines before it.
    #[serde(default = "size::<{ 1 << 20 }>")]
    max_line: Size,
    /// Folder in which to record the lines that were burned; the next run reads only the others. A
    /// line is recorded after its burn, so those in hand when a run is killed are given again (at
    /// least once). A file that was replaced, truncated or rewritten is read from its beginning.
    /// Needs a regular file.
    #[serde(default)]
    #[schemars(extend("x-access" = "write"))]
    remember: Option<FilePath>,
}

/// Reads lines. A body is the line without its newline; a carriage return is kept. Text behind the
/// last newline is a line, unless it is empty.
pub(super) struct LineSource {
    reader: BufReader<Box<dyn Input>>,
    // Start of a line whose newline was not read yet.
    line: Vec<u8>,
    number: u64,
    /// Byte offset of that line.
    offset: u64,
    max_line: u64,
    // True for a regular file, which can be read ahead without waiting for input.
    regular: bool,
    failed: Option<Failure>,
    name: String,
    place: Option<Arc<LineMemory>>,
    /// Identifies a regular file in stored positions.
    mark: Option<Mark>,
    /// Byte ranges that were burned in earlier runs, the last first.
    burned: Vec<(u64, u64)>,
}

/// Opens the input, and the memory of burned lines if `remember` is set.
pub(super) fn make(options: &LineSourceOptions, site: &Site) -> Result<LineSource, Failure> {
    if options.path.is_standard_stream() {
        if options.remember.is_some() {
            let why = "`remember` needs a file: standard input can't be read from the middle";
            return Err(Failure::permanent(why));
        }
        let name = "standard input".to_owned();
        let (input, regular) = input::standard_input()
            .map_err(|error| Failure::io(format_args!("opening {name}"), &error))?;
        return Ok(LineSource::new(input, regular, name, options.max_line.0));
    }
    let path = options.path.as_path();
    let name = path.display().to_string();
    let (file, regular) =
        input::open(path).map_err(|error| Failure::io(format_args!("opening {name}"), &error))?;
    // A dry run records nothing.
    let remember = options.remember.as_ref().filter(|_| !site.state.is_dry());
    let Some(folder) = remember else {
        let mark = regular.then(|| Mark::of(&file)).transpose();
        let mark = mark.map_err(|error| Failure::io(format_args!("reading {name}"), &error))?;
        let input = input::of(file, regular);
        return Ok(LineSource {
            mark,
            ..LineSource::new(input, regular, name, options.max_line.0)
        });
    };
    if site.durable {
        let why = "`remember` is for piles in memory: a durable pile remembers what was read";
        return Err(Failure::permanent(why));
    }
    if !regular {
        return Err(Failure::permanent(format!(
            "`remember` needs a regular file, which {name} is not"
        )));
    }
    let (place, burned) =
        LineMemory::load(folder.as_path(), site, path, &file, options.max_line.0)?;
    let input = input::of(file, regular);
    let mut lines = LineSource::new(input, regular, name, options.max_line.0);
    lines.place = Some(Arc::new(place));
    lines.burned = burned;
    Ok(lines)
}

impl LineSource {
    fn new(reader: Box<dyn Input>, regular: bool, name: String, max_line: u64) -> Self {
        Self {
            reader: BufReader::with_capacity(64 * 1024, reader),
            line: Vec::new(),
            number: 0,
            offset: 0,
            max_line,
            regular,
            failed: None,
            name,
            place: None,
            mark: None,
            burned: Vec::new(),
        }
    }

    /// Skips byte ranges that were burned in earlier runs.
    fn skip(&mut self) -> io::Result<()> {
        while let Some((_, end)) = self.burned.pop_if(|(start, _)| *start <= self.offset) {
            if end > self.offset {
                let buffered = self.reader.buffer().len();
                self.reader.consume(buffered);
                self.reader.get_mut().skip_to(end)?;
                self.offset = end;
            }
        }
        Ok(())
    }

    /// Reads the next line. On an error, the bytes read so far are kept for the next call.
    fn line(&mut self) -> Result<Option<Book>, Trouble> {
        if self.line.is_empty() {
            self.skip()?;
        }
        let room = (self.max_line.saturating_add(1)).saturating_sub(self.line.len() as u64);
        self.reader.by_ref().take(room).read_until(b'\n', &mut self.line)?;
        if self.line.is_empty() {
            return Ok(None);
        }
        let text = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        if text.len() as u64 > self.max_line {
            return Err(Trouble::Failed(Failure::permanent(format!(
                "{}: line {} is longer than {} (max_line)",
                self.name,
                self.number + 1,
                Size(self.max_line)
            ))));
        }
        let mut book = Book::new(Bytes::copy_from_slice(text));
        let end = self.offset + self.line.len() as u64;
        if let Some(place) = &self.place {
            book = place.mark(book, self.offset, end);
        }
        self.number += 1;
        self.offset = end;
        self.line.clear();
        Ok(Some(book))
    }

    fn failure(&self, trouble: Trouble) -> Failure {
        match trouble {
            Trouble::Failed(failure) => failure,
            Trouble::Io(error) => Failure::io(format_args!("reading {}", self.name), &error),
        }
    }
}

/// Why no line was read.
enum Trouble {
    Failed(Failure),
    Io(io::Error),
}

impl Trouble {
    /// True if a stream has no data at present.
    fn is_wait(&self) -> bool {
        matches!(self, Trouble::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Trouble::Io(error)
    }
}

impl Source for LineSource {
    fn next(&mut self, want: usize) -> Result<Option<Vec<Book>>, Failure> {
        if let Some(failure) = self.failed.take() {
            return Err(failure);
        }
        let (mut books, mut bytes) = (Vec::new(), 0);
        while books.len() < want && bytes < BATCH_BYTES {
            // Wait for the first line of a stream only: a line that was typed is passed on at once.
            if !books.is_empty() && !self.regular && !self.reader.buffer().contains(&b'\n') {
                break;
            }
            match self.line() {
                Ok(Some(book)) => {
                    bytes += book.size();
                    books.push(book);
                }
                Ok(None) if books.is_empty() => {
                    if let Some(place) = &self.place {
                        place.read_to(self.offset);
                    }
                    return Ok(None);
                }
                Ok(None) => break,
                Err(trouble) if trouble.is_wait() => break,
                Err(trouble) if books.is_empty() => return Err(self.failure(trouble)),
                Err(trouble) => {
                    self.failed = Some(self.failure(trouble));
                    break;
                }
            }
        }
        Ok(Some(books))
    }

    fn position(&self) -> Option<Bytes> {
        let mark = self.mark.as_ref().filter(|_| self.place.is_none())?;
        Some(mark.position(self.offset, self.number))
    }

    fn resume(&mut self, position: &[u8]) -> Result<bool, Failure> {
        let Some(mark) = &self.mark else {
            return Ok(false);
        };
        let failed = |error| Failure::io(format_args!("going on with {}", self.name), &error);
        let Some((offset, number)) = mark.find(position).map_err(failed)? else {
            log::warn!("{} was replaced or rewritten; it is read from its beginning", self.name);
            return Ok(false);
        };
        let buffered = self.reader.buffer().len();
        self.reader.consume(buffered);
        self.reader.get_mut().skip_to(offset).map_err(failed)?;
        (self.offset, self.number) = (offset, number);
        Ok(true)
    }

    fn receipts(&self) -> Option<Arc<dyn Receipts>> {
        self.place.clone().map(|place| place as Arc<dyn Receipts>)
    }

    fn regains(&self) -> bool {
        // A stream cannot be read twice.
        self.regular
    }
}

#[cfg(test)]
mod tests;
