//! Books: identity, headers and body.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

/// Identity of a book within a run: consecutive numbers in the order of acceptance, from 1.
///
/// `BookId::UNASSIGNED` (0) marks a book that no pile has accepted yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BookId(pub u64);

impl BookId {
    /// The id of a book that no pile has accepted yet.
    pub const UNASSIGNED: BookId = BookId(0);
}

impl fmt::Display for BookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Header names written and read by the built-in kinds.
pub mod header {
    /// The book's relative name: path components separated by `/`, as bytes, such as `src/lib.rs`.
    pub const NAME: &str = "name";
    /// Absolute path of the file that the book was read from.
    pub const ORIGIN: &str = "origin";
    /// Permissions of that file in octal digits, such as `0644`.
    pub const MODE: &str = "mode";
    /// Modification time of that file: seconds since 1970, a point, and nine digits of
    /// nanoseconds.
    pub const MTIME: &str = "mtime";
    /// SHA-256 of the body in lower-case hexadecimal, at the time `sha256` read it.
    pub const SHA256: &str = "sha256";
    /// Identifies the book across runs: the same whenever its source produces the book again, and
    /// different from all other books'.
    pub const KEY: &str = "key";
    /// The value of [`NAME`] when [`SHA256`] was computed.
    pub const SHA256_NAME: &str = "sha256.name";
}

/// Named byte strings that travel with a book. Copy-on-write.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Option<Arc<BTreeMap<String, Bytes>>>);

impl Headers {
    /// No headers; does not allocate.
    pub const fn new() -> Self {
        Self(None)
    }

    /// Value of the header `name`.
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        self.0.as_ref()?.get(name)
    }

    /// Sets the header `name`, replacing its value.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<Bytes>) {
        Arc::make_mut(self.0.get_or_insert_default()).insert(name.into(), value.into());
    }

    /// Removes the header `name` and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<Bytes> {
        Arc::make_mut(self.0.as_mut()?).remove(name)
    }

    /// All headers, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.0.iter().flat_map(|map| map.iter().map(|(name, value)| (name.as_str(), value)))
    }

    /// Number of headers.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |map| map.len())
    }

    /// True if there are no headers.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// A file that bodies refer to. A temporary one is deleted with its last body.
#[derive(Debug)]
pub struct BodyFile {
    path: PathBuf,
    temporary: bool,
}

impl BodyFile {
    /// A file that is not deleted.
    pub fn kept(path: impl Into<PathBuf>) -> Arc<Self> {
        Arc::new(Self { path: path.into(), temporary: false })
    }

    /// A temporary file, deleted when the last body that refers to it is dropped.
    pub fn temporary(path: impl Into<PathBuf>) -> Arc<Self> {
        Arc::new(Self { path: path.into(), temporary: true })
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True if the file is deleted with its last body.
    pub fn is_temporary(&self) -> bool {
        self.temporary
    }
}

impl Drop for BodyFile {
    fn drop(&mut self) {
        if self.temporary {
            // It may have been renamed into place, and an error could not be handled here.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Content of a book: bytes in memory, or a range of a file that is read on demand.
#[derive(Debug, Clone)]
pub enum Body {
    /// Bytes in memory; clones share them.
    Bytes(Bytes),
    /// A range of a file.
    File {
        /// The file that contains the range.
        file: Arc<BodyFile>,
        /// First byte of the range.
        offset: u64,
        /// Length in bytes; `None` reads to the end of the file at the time of reading.
        len: Option<u64>,
        /// Expected length in bytes when the book was made; for bounds and progress only.
        size_hint: u64,
    },
}

impl Body {
    /// A whole file, read to its end at the time of reading; `size_hint` is its present length in
    /// bytes.
    pub fn file(file: Arc<BodyFile>, size_hint: u64) -> Self {
        Body::File { file, offset: 0, len: None, size_hint }
    }

    /// `len` bytes of a file, starting at `offset`.
    pub fn range(file: Arc<BodyFile>, offset: u64, len: u64) -> Self {
        Body::File { file, offset, len: Some(len), size_hint: len }
    }

    /// Size in bytes for the bounds of carts and dumps; of a whole file, its length when listed.
    pub fn size(&self) -> u64 {
        match self {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::File { size_hint, .. } => *size_hint,
        }
    }

    /// Opens the body for reading. Blocks, so it must not be called on an arbiter.
    ///
    /// # Errors
    /// Errors of opening the file, and `InvalidInput` if it is not a regular file.
    pub fn open(&self) -> io::Result<BodyReader> {
        match self {
            Body::Bytes(bytes) => Ok(BodyReader(Reading::Bytes(io::Cursor::new(bytes.clone())))),
            Body::File { file, offset, len, .. } => {
                let mut opened = open_regular(file.path())?;
                if *offset > 0 {
                    opened.seek(SeekFrom::Start(*offset))?;
                }
                Ok(BodyReader(Reading::File { file: opened, left: *len, _keep: file.clone() }))
            }
        }
    }

    /// Reads the whole body into memory. Blocks if the body is a file.
    ///
    /// # Errors
    /// Errors of [`Body::open`] and of reading; `FileTooLarge` if it has more than `limit` bytes.
    pub fn read_all(&self, limit: u64) -> io::Result<Bytes> {
        let too_large =
            || io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {limit} bytes"));
        if let Body::Bytes(bytes) = self {
            return if bytes.len() as u64 > limit { Err(too_large()) } else { Ok(bytes.clone()) };
        }
        let mut out = Vec::with_capacity(self.size().min(limit) as usize);
        self.open()?.take(limit.saturating_add(1)).read_to_end(&mut out)?;
        if out.len() as u64 > limit {
            return Err(too_large());
        }
        Ok(out.into())
    }
}

impl Default for Body {
    fn default() -> Self {
        Body::Bytes(Bytes::new())
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Body::Bytes(bytes.into())
    }
}

/// Opens without blocking and accepts only files: opening a named pipe could wait for its writer
/// indefinitely.
fn open_regular(path: &Path) -> io::Result<File> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(O_NONBLOCK);
    }
    let file = options.open(path)?;
    let kind = file.metadata()?;
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !kind.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}

#[cfg(all(unix, any(target_os = "linux", target_os = "android")))]
const O_NONBLOCK: i32 = 0o4000;
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
const O_NONBLOCK: i32 = 0x0004;

/// Reads a [`Body`]. If the body has a length, a file that ends before it is an error.
#[derive(Debug)]
pub struct BodyReader(Reading);

#[derive(Debug)]
enum Reading {
    Bytes(io::Cursor<Bytes>),
    File { file: File, left: Option<u64>, _keep: Arc<BodyFile> },
}

impl Read for BodyReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Reading::Bytes(cursor) => cursor.read(buf),
            Reading::File { file, left: None, .. } => file.read(buf),
            Reading::File { file, left: Some(left), .. } => {
                if *left == 0 || buf.is_empty() {
                    return Ok(0);
                }
                let most = usize::try_from(*left).map_or(buf.len(), |left| left.min(buf.len()));
                let got = file.read(&mut buf[..most])?;
                if got == 0 {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the file ends before the book does",
                    ));
                }
                *left -= got as u64;
                Ok(got)
            }
        }
    }
}

/// A book: what piles hold, carts carry and incinerators burn.
#[derive(Debug, Clone, Default)]
pub struct Book {
    /// Its identity, assigned by the first pile that accepts it.
    pub id: BookId,
    /// Named byte strings that travel with it.
    pub headers: Headers,
    /// Content of the book.
    pub body: Body,
}

impl Default for BookId {
    fn default() -> Self {
        Self::UNASSIGNED
    }
}

impl Book {
    /// A book without headers, not yet accepted by a pile.
    pub fn new(body: impl Into<Body>) -> Self {
        Self { id: BookId::UNASSIGNED, headers: Headers::new(), body: body.into() }
    }

    /// Display name: its `name` header, or `book` and its id without one.
    pub fn title(&self) -> String {
        match self.headers.get(header::NAME) {
            Some(name) => String::from_utf8_lossy(name).into_owned(),
            None => format!("book {}", self.id),
        }
    }

    /// Sets the header `name` to `value`.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.set(name, value);
        self
    }

    /// Size in bytes for the bounds of carts and dumps: that of the body.
    pub fn size(&self) -> u64 {
        self.body.size()
    }
}
