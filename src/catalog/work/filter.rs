//! Filters: works that process a body as a stream, in bounded memory.

use std::io::{self, Read};
use std::sync::Arc;

use gopherworks_pipeline::book::{Body, Book, Headers};
use gopherworks_pipeline::transform::Transform;
use gopherworks_supervision::failure::Failure;

use super::super::{Site, names};
use super::BUFFER;
use super::spill::Spill;
#[cfg(any(feature = "gzip", feature = "zstd"))]
use crate::config::units::Size;

/// A work that streams bodies. An instance processes one body after another; a failed body is
/// abandoned without a call of [`Filter::finish`].
///
/// Adjacent filters in a chain run together: what one writes to [`Next`] is passed to the following
/// one, so the body is read once, whatever the length of the chain.
pub trait Filter: Send + 'static {
    /// Starts a new body; may change the headers. State of an earlier body must be reset.
    ///
    /// # Errors
    /// As for [`Transform::apply`].
    fn begin(&mut self, headers: &mut Headers) -> Result<(), Failure>;

    /// Processes the next piece of the body.
    ///
    /// # Errors
    /// As for [`Transform::apply`]; a failure of `next` must be returned.
    fn write(&mut self, piece: &[u8], next: &mut Next<'_>) -> Result<(), Failure>;

    /// Completes the body; may change the headers.
    ///
    /// # Errors
    /// As for [`Transform::apply`]; a failure of `next` must be returned.
    fn finish(&mut self, headers: &mut Headers, next: &mut Next<'_>) -> Result<(), Failure>;

    /// True if the filter never changes the body. If this holds for all filters of a chain, the
    /// book keeps its original body.
    fn passes_on(&self) -> bool {
        false
    }
}

pub(in super::super) type FilterMake =
    Arc<dyn Fn(&Site) -> Result<Box<dyn Filter>, Failure> + Send + Sync>;

/// Destination of a filter's output: the following filter, or the new body.
pub struct Next<'a> {
    filters: &'a mut [Box<dyn Filter>],
    // `None` if no filter changes the body, so that the output need not be collected.
    end: Option<&'a mut Spill>,
}

impl Next<'_> {
    /// Writes a piece to the destination.
    ///
    /// # Errors
    /// Those of the filters that follow, and of the disk if the new body is too large for memory.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), Failure> {
        if piece.is_empty() {
            return Ok(());
        }
        match self.filters.split_first_mut() {
            Some((first, rest)) => {
                first.write(piece, &mut Next { filters: rest, end: self.end.as_deref_mut() })
            }
            None => match &mut self.end {
                Some(spill) => spill.write(piece),
                None => Ok(()),
            },
        }
    }
}

/// Runs bodies through a chain of filters.
pub(super) struct Streamed {
    filters: Vec<Box<dyn Filter>>,
    spill: Spill,
    buffer: Vec<u8>,
    passes_on: bool,
}

impl Streamed {
    pub(super) fn new(parts: &[FilterMake], site: &Site) -> Result<Self, Failure> {
        let filters = parts.iter().map(|make| make(site));
        let filters = filters.collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            passes_on: filters.iter().all(|filter| filter.passes_on()),
            filters,
            spill: Spill::new(site),
            buffer: Vec::new(),
        })
    }

    fn next(&mut self) -> Next<'_> {
        Next { filters: &mut self.filters, end: (!self.passes_on).then_some(&mut self.spill) }
    }

    fn stream(&mut self, book: &mut Book) -> Result<(), Failure> {
        for filter in &mut self.filters {
            filter.begin(&mut book.headers)?;
        }
        match &book.body {
            Body::Bytes(bytes) => self.next().write(bytes)?,
            Body::File { .. } => self.stream_file(book)?,
        }
        for position in 0..self.filters.len() {
            let (done, rest) = self.filters.split_at_mut(position + 1);
            let mut next =
                Next { filters: rest, end: (!self.passes_on).then_some(&mut self.spill) };
            done[position].finish(&mut book.headers, &mut next)?;
        }
        Ok(())
    }

    fn stream_file(&mut self, book: &Book) -> Result<(), Failure> {
        let unreadable = |error| unreadable(book, &error);
        let mut reader = book.body.open().map_err(unreadable)?;
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(BUFFER, 0);
        let outcome = loop {
            match read_some(&mut reader, &mut buffer).map_err(unreadable) {
                Ok(0) => break Ok(()),
                Ok(length) => {
                    if let Err(failure) = self.next().write(&buffer[..length]) {
                        break Err(failure);
                    }
                }
                Err(failure) => break Err(failure),
            }
        };
        self.buffer = buffer;
        outcome
    }
}

/// Failure of a body that can't be read.
pub(in super::super) fn unreadable(book: &Book, error: &io::Error) -> Failure {
    Failure::io(format_args!("reading {}", described(book)), error)
}

/// Reads like [`Read::read`], again if a signal interrupts it.
pub(in super::super) fn read_some(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// Deducts `length` decompressed bytes from `left`; fails if the limit is exceeded.
#[cfg(any(feature = "gzip", feature = "zstd"))]
pub(super) fn spend(left: &mut u64, length: usize, limit: Size, work: &str) -> Result<(), Failure> {
    *left = left.checked_sub(length as u64).ok_or_else(|| {
        Failure::permanent(format!("{work}: expands to more than {limit} (max_size)"))
    })?;
    Ok(())
}

/// Describes a book's body in messages.
pub(in super::super) fn described(book: &Book) -> String {
    match &book.body {
        Body::Bytes(_) => format!("book {}", book.id),
        Body::File { file, .. } => names::shown(names::path_bytes(file.path())),
    }
}

impl Transform for Streamed {
    fn apply(&mut self, mut book: Book) -> Result<Option<Book>, Failure> {
        let outcome = self.stream(&mut book);
        if outcome.is_ok() && !self.passes_on {
            book.body = self.spill.take()?;
        } else {
            self.spill.clear();
        }
        outcome.map(|()| Some(book))
    }
}
