//! `lines`: a book for each line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use gopherworks_actors::book::Book;
use gopherworks_actors::failure::Failure;
use gopherworks_actors::source::Source;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::units::Size;
use super::super::{FilePath, Site};

/// Options of `lines`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The file, or "-" for standard input.
    #[schemars(extend("x-dash" = true))]
    path: FilePath,
    /// A longer line ends the run with an error that names it; the lines before it are given first.
    #[serde(default = "longest")]
    max_line: Size,
}

fn longest() -> Size {
    Size(1 << 20)
}

/// Reads lines. A body is the line as it is, without its newline; a carriage return stays. What follows the last newline is a line
/// if there is anything.
pub struct Lines {
    reader: BufReader<Box<dyn Read + Send>>,
    // The beginning of a line whose end was not read yet.
    line: Vec<u8>,
    number: u64,
    max_line: u64,
    // Reading ahead never waits for a person or another program.
    regular: bool,
    failed: Option<Failure>,
    name: String,
}

/// Makes the source.
///
/// # Errors
/// A file that can't be opened.
pub fn make(options: &Options, _: &Site) -> Result<Lines, Failure> {
    let (reader, regular, name): (Box<dyn Read + Send>, _, _) = if options.path.is_standard_stream()
    {
        (Box::new(io::stdin()), false, "standard input".to_owned())
    } else {
        let name = options.path.as_path().display().to_string();
        let opened = File::open(options.path.as_path()).and_then(|file| {
            let kind = file.metadata()?;
            if kind.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            Ok((file, kind.is_file()))
        });
        let (file, regular) =
            opened.map_err(|error| Failure::io(format_args!("opening {name}"), &error))?;
        (Box::new(file), regular, name)
    };
    Ok(Lines::new(reader, regular, name, options.max_line.0))
}

impl Lines {
    fn new(reader: Box<dyn Read + Send>, regular: bool, name: String, max_line: u64) -> Self {
        Self {
            reader: BufReader::with_capacity(64 * 1024, reader),
            line: Vec::new(),
            number: 0,
            max_line,
            regular,
            failed: None,
            name,
        }
    }

    /// The next line; what was read of it before an error is kept for the next call.
    fn line(&mut self) -> Result<Option<Book>, Failure> {
        let room = (self.max_line + 1).saturating_sub(self.line.len() as u64);
        self.reader
            .by_ref()
            .take(room)
            .read_until(b'\n', &mut self.line)
            .map_err(|error| Failure::io(format_args!("reading {}", self.name), &error))?;
        if self.line.is_empty() {
            return Ok(None);
        }
        let text = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        if text.len() as u64 > self.max_line {
            return Err(Failure::permanent(format!(
                "{}: line {} is longer than {} (max_line)",
                self.name,
                self.number + 1,
                Size(self.max_line)
            )));
        }
        let book = Book::new(bytes::Bytes::copy_from_slice(text));
        self.number += 1;
        self.line.clear();
        Ok(Some(book))
    }
}

impl Source for Lines {
    fn next(&mut self, want: usize) -> Result<Option<Vec<Book>>, Failure> {
        if let Some(failure) = self.failed.take() {
            return Err(failure);
        }
        let mut books = Vec::new();
        while books.len() < want {
            // What a person has typed goes out at once: wait for the first line only.
            if !books.is_empty() && !self.regular && !self.reader.buffer().contains(&b'\n') {
                break;
            }
            match self.line() {
                Ok(Some(book)) => books.push(book),
                Ok(None) => break,
                Err(failure) if books.is_empty() => return Err(failure),
                Err(failure) => {
                    self.failed = Some(failure);
                    break;
                }
            }
        }
        Ok((!books.is_empty()).then_some(books))
    }

    fn regains(&self) -> bool {
        // A pipe or a person does not say it again.
        self.regular
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::mpsc;

    use super::super::super::tests::{bytes_of, site, source};
    use super::*;

    fn bodies(books: &[Book]) -> Vec<Vec<u8>> {
        books
            .iter()
            .map(|book| bytes_of(&book.body).to_vec())
            .collect()
    }

    fn open(content: &[u8], more: &str) -> Box<dyn Source> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        source(
            "lines",
            &format!("path = '{}'\n{more}", file.path().display()),
            &site(),
        )
    }

    #[test]
    fn keeps_bytes_and_empty_lines_and_a_last_line_without_newline() {
        let mut source = open(b"a\r\n\n\xff\x00b\nend", "");
        let mut all = Vec::new();
        while let Some(books) = source.next(3).unwrap() {
            all.extend(bodies(&books));
        }
        assert_eq!(all, [&b"a\r"[..], b"", b"\xff\x00b", b"end"]);
        assert!(source.blocks());
    }

    #[test]
    fn an_empty_file_has_no_line_and_a_lone_newline_is_one() {
        assert!(open(b"", "").next(1).unwrap().is_none());
        assert_eq!(bodies(&open(b"\n", "").next(9).unwrap().unwrap()), [b""]);
    }

    #[test]
    fn a_line_that_is_too_long_is_named_after_those_before_it() {
        let mut source = open(b"12345\n123456\nx\n", "max_line = '5B'");
        assert_eq!(bodies(&source.next(9).unwrap().unwrap()), [b"12345"]);
        let failure = source.next(9).unwrap_err();
        assert!(failure.is_permanent());
        assert!(
            failure
                .reason()
                .ends_with("line 2 is longer than 5B (max_line)"),
            "{failure}"
        );
    }

    /// Gives one piece a read, and fails where there is none.
    struct Pieces(mpsc::Receiver<io::Result<&'static [u8]>>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let piece = self
                .0
                .try_recv()
                .map_err(|_| io::Error::other("would wait"))??;
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    #[test]
    fn a_stream_is_not_waited_for_once_there_is_a_line_and_an_error_loses_nothing() {
        let (sender, receiver) = mpsc::channel();
        let mut lines = Lines::new(Box::new(Pieces(receiver)), false, "pipe".to_owned(), 100);
        sender.send(Ok(b"one\ntwo\nthr")).unwrap();
        assert_eq!(bodies(&lines.next(9).unwrap().unwrap()), [b"one", b"two"]);
        sender.send(Err(io::Error::other("cable"))).unwrap();
        assert!(!lines.next(9).unwrap_err().is_permanent());
        sender.send(Ok(b"ee\n")).unwrap();
        assert_eq!(bodies(&lines.next(9).unwrap().unwrap()), [b"three"]);
    }

    #[test]
    fn a_missing_file_is_refused_at_once() {
        let catalog = super::super::super::Catalog::standard();
        let options = toml::toml! { path = "/nonexistent/lines" };
        let prepared = catalog.source("lines").unwrap().prepare(options).unwrap();
        let failure = prepared.factory.make(&site()).err().unwrap();
        assert!(
            failure.is_permanent() && failure.reason().contains("/nonexistent/lines"),
            "{failure}"
        );
    }
}
