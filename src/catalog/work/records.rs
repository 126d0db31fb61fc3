//! Works on records: books whose body is one JSON value. Adjacent ones in a chain share one
//! parsing and one writing of the body.

#[cfg(feature = "expressions")]
use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use gopherworks_pipeline::book::{Body, Book};
use gopherworks_pipeline::transform::{Product, Transform};
use gopherworks_supervision::failure::Failure;

use super::filter::{described, unreadable};
use crate::config::units::Size;

pub(super) mod json;

use json::Json;

/// A work on records. One instance serves all gophers of a crew.
pub(in super::super) trait RecordWork: Send + Sync + 'static {
    /// Works on the record.
    ///
    /// # Errors
    /// As for [`Transform::apply`].
    fn work(&self, record: &mut Record) -> Result<Kept, Failure>;
}

/// What becomes of a record.
pub(in super::super) enum Kept {
    /// It goes on.
    Yes,
    /// It is filtered out.
    No,
    /// It is split into these books. Such a work is the last of its crew.
    #[cfg_attr(not(feature = "expressions"), allow(dead_code, reason = "`split` has one"))]
    Split(Vec<Book>),
}

/// A book, and its body as far as it was read.
pub(in super::super) struct Record {
    pub(super) book: Book,
    text: Option<Bytes>,
    body: Option<Json>,
    /// True if `body` is newer than the book's body.
    changed: bool,
}

impl Record {
    pub(super) fn new(book: Book) -> Self {
        Self { book, text: None, body: None, changed: false }
    }

    /// Reads the body as text.
    ///
    /// # Errors
    /// Permanent if it has more than `limit` bytes or is not UTF-8.
    pub(super) fn text(&mut self, limit: Size) -> Result<&str, Failure> {
        if self.changed {
            self.write(limit)?;
        }
        if self.text.is_none() {
            self.text = Some(read(&self.book, limit)?);
        }
        let text = self.text.as_deref().unwrap_or_default();
        std::str::from_utf8(text)
            .map_err(|error| failure(&self.book, format_args!("not UTF-8: {error}")))
    }

    /// Parses the body as JSON, once.
    ///
    /// # Errors
    /// Permanent if it has more than `limit` bytes or is not JSON.
    pub(super) fn read(&mut self, limit: Size) -> Result<(), Failure> {
        if self.body.is_none() {
            let text = self.text(limit)?;
            let parsed = serde_json::from_str(text);
            let body = parsed.map_err(|error| failure(&self.book, format_args!("{error}")))?;
            self.body = Some(body);
        }
        Ok(())
    }

    #[cfg(feature = "expressions")]
    /// The body, if it was read by [`Record::read`] or set.
    pub(super) fn body(&self) -> Option<&Json> {
        self.body.as_ref()
    }

    #[cfg(feature = "expressions")]
    /// The text, if it was read by [`Record::text`].
    pub(super) fn known_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.text.as_deref().unwrap_or_default())
    }

    /// Replaces the body.
    pub(super) fn set(&mut self, body: Json) {
        (self.body, self.text, self.changed) = (Some(body), None, true);
    }

    #[cfg(feature = "expressions")]
    /// Changes the body in place.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Json)) {
        if let Some(body) = &mut self.body {
            change(body);
            (self.text, self.changed) = (None, true);
        }
    }

    /// Writes a changed body to the book. A string is written as its text, without quotes.
    fn write(&mut self, limit: Size) -> Result<(), Failure> {
        let Some(body) = self.body.as_ref().filter(|_| self.changed) else {
            return Ok(());
        };
        let bytes = match body {
            Json::Text(text) => text.clone().into_bytes(),
            body => serde_json::to_vec(body)
                .map_err(|error| failure(&self.book, format_args!("{error}")))?,
        };
        if bytes.len() as u64 > limit.0 {
            return Err(failure(&self.book, format_args!("becomes larger than {limit}")));
        }
        let bytes = Bytes::from(bytes);
        self.book.body = Body::Bytes(bytes.clone());
        (self.text, self.changed) = (Some(bytes), false);
        Ok(())
    }
}

fn read(book: &Book, limit: Size) -> Result<Bytes, Failure> {
    book.body.read_all(limit.0).map_err(|error| match error.kind() {
        std::io::ErrorKind::FileTooLarge => {
            failure(book, format_args!("larger than {limit} (max_body)"))
        }
        _ => unreadable(book, &error),
    })
}

/// A permanent failure of a book.
pub(super) fn failure(book: &Book, why: std::fmt::Arguments<'_>) -> Failure {
    Failure::permanent(format!("{}: {why}", described(book)))
}

/// Largest body that a chain of works on records may make.
const LARGEST: Size = Size(64 << 20);

/// Adjacent works on records.
pub(super) struct Records(pub(super) Arc<[Arc<dyn RecordWork>]>);

impl Transform for Records {
    fn apply(&mut self, book: Book) -> Result<Option<Book>, Failure> {
        Ok(match self.work(book)? {
            Product::Book(book) => Some(book),
            Product::Dropped | Product::Filtered => None,
            Product::Split(_) => return Err(Failure::permanent("only a crew splits books")),
        })
    }

    fn work(&mut self, book: Book) -> Result<Product, Failure> {
        let mut record = Record::new(book);
        for work in self.0.iter() {
            match work.work(&mut record)? {
                Kept::Yes => {}
                Kept::No => return Ok(Product::Filtered),
                Kept::Split(children) => return Ok(Product::Split(children)),
            }
        }
        record.write(LARGEST)?;
        Ok(Product::Book(record.book))
    }
}

#[cfg(all(test, feature = "expressions"))]
mod tests;
