//! Which files were burned in earlier runs, and as what: the memory of `files`.

use std::collections::HashMap;
use std::fmt;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use gopherworks_actors::book::{Book, header};
use gopherworks_actors::failure::Failure;
use gopherworks_actors::source::Receipts;
use sha2::{Digest, Sha256};

use super::super::journal::{Journal, push_record};
use super::super::names;

/// The header that carries a [`Stamp`] from the listing to the receipt.
pub(super) const STAMP: &str = "files.stamp";

/// What a file was when it was listed. A file that is written to afterwards has another stamp, and is done again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    size: u64,
    mtime: i64,
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let since = metadata
            .modified()
            .map(|time| match time.duration_since(UNIX_EPOCH) {
                Ok(after) => after.as_nanos() as i64,
                Err(before) => -(before.duration().as_nanos() as i64),
            });
        Self {
            size: metadata.len(),
            // No time at all: the size has to do.
            mtime: since.unwrap_or_default(),
        }
    }

    fn parse(size: &[u8], mtime: &[u8]) -> Option<Self> {
        Some(Self {
            size: std::str::from_utf8(size).ok()?.parse().ok()?,
            mtime: std::str::from_utf8(mtime).ok()?.parse().ok()?,
        })
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.size, self.mtime)
    }
}

/// 128 bits of a name's SHA-256: 40 bytes a file instead of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key(u128);

impl Key {
    fn of(name: &[u8]) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(&Sha256::digest(name)[..16]);
        Self(u128::from_le_bytes(half))
    }
}

/// The memory of one source.
pub(super) struct Seen {
    root: PathBuf,
    journal: Journal,
    // Emptied when the walk is over: nobody asks any more.
    burned: Mutex<HashMap<Key, Stamp>>,
    walked: AtomicBool,
}

impl Seen {
    /// Reads `<folder>/<node>.seen`.
    pub(super) fn load(folder: &Path, node: &str, root: &Path) -> io::Result<Self> {
        let journal = Journal::open(folder.join(format!("{}.seen", names::file_stem(node))))?;
        let mut burned = HashMap::new();
        journal.read(|_, fields| {
            if let Some((name, stamp)) = decoded(fields) {
                burned.insert(Key::of(&name), stamp);
            }
            Ok(())
        })?;
        Ok(Self {
            root: root.to_path_buf(),
            journal,
            burned: Mutex::new(burned),
            walked: AtomicBool::new(false),
        })
    }

    /// True if this file was burned as it is.
    pub(super) fn is_burned(&self, name: &[u8], stamp: Stamp) -> bool {
        let burned = self.burned.lock().unwrap_or_else(PoisonError::into_inner);
        burned.get(&Key::of(name)) == Some(&stamp)
    }

    /// The walk has come to its end: a file that is missing now is gone.
    pub(super) fn walked(&self) {
        self.walked.store(true, Ordering::Release);
        *self.burned.lock().unwrap_or_else(PoisonError::into_inner) = HashMap::new();
    }

    /// The name below the root, as the walk gave it: works may have changed the header `name`.
    fn name_of<'a>(&self, book: &'a Book) -> Option<&'a [u8]> {
        let origin = book.headers.get(header::ORIGIN)?;
        let below = origin.strip_prefix(names::path_bytes(&self.root))?;
        Some(below.strip_prefix(b"/").unwrap_or(below))
    }

    fn compact(&self) -> io::Result<()> {
        let mut last: HashMap<Key, u64> = HashMap::new();
        self.journal.read(|offset, fields| {
            if let Some((name, _)) = decoded(fields) {
                last.insert(Key::of(&name), offset);
            }
            Ok(())
        })?;
        if last.is_empty() {
            return Ok(());
        }
        let walked = self.walked.load(Ordering::Acquire);
        self.journal.replace(|out| {
            let mut line = Vec::new();
            self.journal.read(|offset, fields| {
                let Some((name, _)) = decoded(fields) else {
                    return Ok(());
                };
                if last.get(&Key::of(&name)) == Some(&offset) && !(walked && self.is_gone(&name)) {
                    line.clear();
                    push_record(&mut line, fields);
                    out.write_all(&line)?;
                }
                Ok(())
            })
        })
    }

    fn is_gone(&self, name: &[u8]) -> bool {
        let found = self.root.join(names::bytes_path(name)).symlink_metadata();
        matches!(found, Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory))
    }
}

fn decoded(fields: &[&[u8]]) -> Option<(Vec<u8>, Stamp)> {
    match fields {
        [size, mtime, name] => Some((names::unescape(name)?, Stamp::parse(size, mtime)?)),
        _ => None,
    }
}

impl Receipts for Seen {
    fn burned(&self, books: &[&Book]) -> Result<(), Failure> {
        let mut lines = Vec::new();
        for book in books {
            // A work may have put a book of its own in the place of ours: that one is not remembered.
            if let (Some(name), Some(stamp)) = (self.name_of(book), book.headers.get(STAMP)) {
                push_record(&mut lines, &[stamp, names::escape(name).as_bytes()]);
            }
        }
        // Not synced: what a crash forgets is done again, which changes nothing.
        let appended = self.journal.append(&lines, false);
        appended.map_err(|error| Failure::io("remembering what was burned", &error))
    }

    fn finish(&self) -> Result<(), Failure> {
        let compacted = self.compact();
        compacted.map_err(|error| Failure::io("compacting the memory of what was burned", &error))
    }
}
