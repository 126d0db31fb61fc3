//! The memory of `files`: which files were burned in earlier runs, and what was written for them.

use std::collections::HashMap;
use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use gopherworks_pipeline::book::{Book, header};
use gopherworks_pipeline::source::Receipts;
use gopherworks_supervision::failure::Failure;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::super::journal::{self, Journal, push_record};
use super::super::own::Own;
use super::super::run_state::{RunState, WrittenFile, hash, nanoseconds};
use super::super::{Site, names};

/// Header with the node and a [`Stamp`]. It is set when a file is listed, and recorded when the
/// book has been burned.
pub(in crate::catalog) const STAMP: &str = "files.stamp";

/// State of a file when it was listed. A file that is written to or replaced later has another
/// stamp, and is burned again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    size: u64,
    mtime: i64,
    // Change time in nanoseconds since 1970, and inode; `None` in records of earlier versions.
    more: Option<(i64, u64)>,
}

/// Modification time in nanoseconds since 1970.
pub(super) fn mtime_of(metadata: &Metadata) -> i64 {
    nanoseconds(metadata.mtime(), metadata.mtime_nsec())
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let ctime = nanoseconds(metadata.ctime(), metadata.ctime_nsec());
        Self {
            size: metadata.len(),
            mtime: mtime_of(metadata),
            more: Some((ctime, metadata.ino())),
        }
    }

    fn parse(fields: &[&[u8]]) -> Option<Self> {
        let more = match fields.get(2..4) {
            Some([ctime, number]) => Some((parsed(ctime)?, parsed(number)?)),
            _ => None,
        };
        Some(Self { size: parsed(fields.first()?)?, mtime: parsed(fields.get(1)?)?, more })
    }

    /// True if both describe the same file in the same state. Fields that one of them lacks are
    /// ignored.
    fn agrees(self, other: Self) -> bool {
        let more = self.more.is_none() || other.more.is_none() || self.more == other.more;
        more && (self.size, self.mtime) == (other.size, other.mtime)
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.size, self.mtime)?;
        match self.more {
            Some((ctime, number)) => write!(f, " {ctime} {number}"),
            None => Ok(()),
        }
    }
}

fn parsed<T: std::str::FromStr>(field: &[u8]) -> Option<T> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// The first 128 bits of a name's SHA-256, which takes less memory than the name of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key(u128);

impl Key {
    fn of(name: &[u8]) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(&Sha256::digest(name)[..16]);
        Self(u128::from_le_bytes(half))
    }
}

/// A line of the journal.
struct Record {
    name: Vec<u8>,
    stamp: Stamp,
    output: Option<WrittenFile>,
}

impl Record {
    /// Reads the three forms: size, mtime and name (earlier versions); without an output; with one.
    fn decoded(fields: &[&[u8]]) -> Option<Self> {
        let (stamp, name, output) = match fields {
            [stamp @ .., name] if stamp.len() == 2 || stamp.len() == 4 => (stamp, name, None),
            [stamp @ .., name, size, mtime, path] if stamp.len() == 4 => {
                let output = WrittenFile {
                    path: names::bytes_path(&names::unescape(path)?),
                    size: parsed(size)?,
                    mtime: parsed(mtime)?,
                };
                (stamp, name, Some(output))
            }
            _ => return None,
        };
        Some(Self { name: names::unescape(name)?, stamp: Stamp::parse(stamp)?, output })
    }
}

/// The memory of one source.
pub(super) struct Seen {
    node: String,
    root: PathBuf,
    // Outputs below this folder are recorded relative to it, so that both can be moved together.
    folder: PathBuf,
    run: RunState,
    // `None` if there is no memory yet and a dry run must not create one.
    journal: Option<Journal>,
    // The journal as it was when loaded; offsets refer to it.
    lines: Option<File>,
    folds_case: bool,
    // Offset of the last line of each name. Emptied after the walk, which needs it last.
    burned: Mutex<HashMap<Key, u64>>,
    // Offset of the last line of each output, by a hash of the output's path.
    made: HashMap<u64, u64>,
    lost: AtomicU64,
    walked: AtomicBool,
}

impl Seen {
    /// Loads `<folder>/.gopherworks/<node>.seen`. `folder` must contain no symbolic links.
    pub(super) fn load(folder: &Path, root: &Path, site: &Site) -> io::Result<Self> {
        let run = site.state.clone();
        let own = if run.is_dry() {
            Own::open(folder)?.map(Arc::new)
        } else {
            Some(run.own(folder, &site.node)?)
        };
        let name = format!("{}.seen", names::file_stem(&site.node));
        let mut seen = Self {
            node: site.node.clone(),
            root: root.to_owned(),
            folder: folder.to_owned(),
            run,
            folds_case: own.as_ref().is_some_and(|own| own.folds_case()),
            lines: match &own {
                Some(own) => own.read(&name)?,
                None => None,
            },
            journal: own.map(|own| Journal::open(own, name)).transpose()?,
            burned: Mutex::default(),
            made: HashMap::new(),
            lost: AtomicU64::new(0),
            walked: AtomicBool::new(false),
        };
        let (mut burned, mut made) = (HashMap::new(), HashMap::new());
        if let Some(journal) = &seen.journal {
            journal.read(|offset, fields| {
                if let Some(record) = Record::decoded(fields) {
                    burned.insert(Key::of(&record.name), offset);
                    if let Some(output) = record.output {
                        made.insert(seen.path_key(&seen.folder.join(output.path)), offset);
                    }
                }
                Ok(())
            })?;
        }
        seen.burned = Mutex::new(burned);
        seen.made = made;
        Ok(seen)
    }

    /// Key of a file in this state, unique across runs: a hash of node, root, name and stamp.
    pub(super) fn key(&self, name: &[u8], stamp: Stamp) -> String {
        let mut hash = Sha256::new();
        let root = names::path_bytes(&self.root);
        for part in [self.node.as_bytes(), root, name, stamp.to_string().as_bytes()] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        format!("file-{}", names::hex(&hash.finalize()[..16]))
    }

    /// True if the file was burned in this state, and its output is unchanged and below a folder
    /// that this run writes to (which a dry run does not check).
    pub(super) fn is_burned(&self, name: &[u8], stamp: Stamp) -> bool {
        let offset = {
            let burned = self.burned.lock();
            burned.get(&Key::of(name)).copied()
        };
        let Some(record) = offset.and_then(|offset| self.record_at(offset)) else {
            return false;
        };
        if record.name != name || !record.stamp.agrees(stamp) {
            return false;
        }
        let Some(output) = record.output else {
            return true;
        };
        let path = self.folder.join(output.path);
        let found = path.symlink_metadata();
        let whole = found.is_ok_and(|found| {
            found.is_file() && found.len() == output.size && mtime_of(&found) == output.mtime
        });
        if !whole {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        // If this run writes to another folder, the file has to be burned into that one, too.
        whole && (self.run.is_dry() || self.run.is_written_below(&path))
    }

    /// Path of the input from which an earlier run wrote the file at `path`; `None` if that is not
    /// known or the input no longer exists.
    pub(super) fn origin_of(&self, path: &Path) -> Option<PathBuf> {
        let offset = *self.made.get(&self.path_key(path))?;
        let record = self.record_at(offset)?;
        let made = self.folder.join(record.output?.path);
        if made != path && !(self.folds_case && folded(&made) == folded(path)) {
            return None;
        }
        (!self.is_gone(&record.name)).then(|| self.root.join(names::bytes_path(&record.name)))
    }

    /// Called at the end of the walk: inputs that do not exist from now on count as deleted.
    /// Returns the number of files that are burned again because their output is missing or has
    /// changed.
    pub(super) fn walked(&self) -> u64 {
        self.walked.store(true, Ordering::Release);
        *self.burned.lock() = HashMap::new();
        self.lost.load(Ordering::Relaxed)
    }

    fn record_at(&self, offset: u64) -> Option<Record> {
        let line = journal::line_at(self.lines.as_ref()?, offset).ok()?;
        Record::decoded(&journal::fields(&line)?)
    }

    fn path_key(&self, path: &Path) -> u64 {
        if self.folds_case { hash(folded(path)) } else { hash(path) }
    }

    /// Stamp and name of a book of this source; `None` for other books. The name is derived from
    /// the header `origin`, because works may have changed the header `name`.
    fn ours<'a>(&self, book: &'a Book) -> Option<(&'a [u8], &'a [u8])> {
        let stamp = book.headers.get(STAMP)?;
        let stamp =
            stamp.strip_prefix(names::file_stem(&self.node).as_bytes())?.strip_prefix(b" ")?;
        let origin = book.headers.get(header::ORIGIN)?;
        let below = origin.strip_prefix(names::path_bytes(&self.root))?;
        Some((stamp, below.strip_prefix(b"/").unwrap_or(below)))
    }

    fn compact(&self, journal: &Journal) -> io::Result<()> {
        let mut last: HashMap<Key, u64> = HashMap::new();
        journal.read(|offset, fields| {
            if let Some(record) = Record::decoded(fields) {
                last.insert(Key::of(&record.name), offset);
            }
            Ok(())
        })?;
        if last.is_empty() {
            return Ok(());
        }
        let walked = self.walked.load(Ordering::Acquire);
        journal.replace(|out| {
            let mut line = Vec::new();
            journal.read(|offset, fields| {
                let Some(record) = Record::decoded(fields) else {
                    return Ok(());
                };
                if last.get(&Key::of(&record.name)) == Some(&offset)
                    && !(walked && self.is_gone(&record.name))
                {
                    line.clear();
                    push_record(&mut line, fields);
                    out.write_all(&line)?;
                }
                Ok(())
            })
        })
    }

    fn is_gone(&self, name: &[u8]) -> bool {
        is_gone(&self.root.join(names::bytes_path(name)))
    }
}

/// True if nothing is at `path`.
pub(in crate::catalog) fn is_gone(path: &Path) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    let found = path.symlink_metadata();
    found.is_err_and(|error| matches!(error.kind(), NotFound | NotADirectory))
}

fn folded(path: &Path) -> String {
    path.to_string_lossy().to_lowercase()
}

impl Receipts for Seen {
    fn burned(&self, books: &[&Book]) -> Result<(), Failure> {
        let Some(journal) = &self.journal else {
            return Ok(());
        };
        // Skip books that a work has created in place of ours.
        let ours: Vec<_> =
            books.iter().filter_map(|book| Some((book.id.0, self.ours(book)?))).collect();
        let outputs = self.run.take_outputs(ours.iter().map(|(book, _)| *book));
        let mut lines = Vec::new();
        for ((_, (stamp, name)), output) in ours.iter().zip(outputs) {
            let name = names::escape(name);
            let Some(output) = output else {
                push_record(&mut lines, &[stamp, name.as_bytes()]);
                continue;
            };
            let path = output.path.strip_prefix(&self.folder).unwrap_or(&output.path);
            push_record(
                &mut lines,
                &[
                    stamp,
                    name.as_bytes(),
                    output.size.to_string().as_bytes(),
                    output.mtime.to_string().as_bytes(),
                    names::escape(names::path_bytes(path)).as_bytes(),
                ],
            );
        }
        // Not synced: files whose records a crash loses are burned again, which is idempotent.
        let appended = journal.append(&lines, false);
        appended.map_err(|error| Failure::io("remembering what was burned", &error))
    }

    fn finish(&self) -> Result<(), Failure> {
        let Some(journal) = &self.journal else {
            return Ok(());
        };
        let compacted = self.compact(journal);
        journal.own().release(&self.node);
        compacted.map_err(|error| Failure::io("compacting the memory of what was burned", &error))
    }
}
