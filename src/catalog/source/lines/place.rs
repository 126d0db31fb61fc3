//! The memory of `lines`: which lines of a file were burned in earlier runs.
//!
//! A journal identifies the file (device, inode, digest of its first bytes) and lists the byte
//! ranges of burned lines. A line is recorded after its burn, so a crash loses only the latest
//! records: those lines are read again, with the same keys.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gopherworks_pipeline::book::{Book, header};
use gopherworks_pipeline::source::Receipts;
use gopherworks_supervision::failure::Failure;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::super::super::journal::{Journal, push_record};
use super::super::super::locks::Locked;
use super::super::super::own::{self, Own};
use super::super::super::{Site, names};

/// Header with a line's position, recorded when its book has been burned: the file's id, the line's
/// first byte and the byte behind its last.
const AT: &str = "lines.at";

/// Number of bytes at the start of a file that identify its content.
pub(super) const FINGERPRINT: u64 = 4096;

/// The memory of one source.
#[derive(Debug)]
pub(super) struct LineMemory {
    path: PathBuf,
    file: File,
    /// Identifies the file in the keys of its lines.
    id: String,
    journal: Journal,
    state: Mutex<BurnedLines>,
    /// Held so that no other process reads the same lines.
    _lock: Locked,
}

#[derive(Debug, Default)]
struct BurnedLines {
    /// Ranges of burned lines, without overlaps: the first byte, and the byte behind the last.
    burned: BTreeMap<u64, u64>,
    /// True if the journal contains a record of this file.
    named: bool,
}

/// The journal's record of a file.
#[derive(Debug, Default)]
struct Known {
    dev: u64,
    ino: u64,
    length: u64,
    digest: String,
    id: String,
}

impl LineMemory {
    /// Locks and loads `<root>/.gopherworks/<node>.lines`. Also returns the byte ranges that were
    /// burned of the file at `path`, the last first; there are none if the file was replaced,
    /// truncated or rewritten.
    pub(super) fn load(
        root: &Path,
        site: &Site,
        path: &Path,
        file: &File,
        max_line: u64,
    ) -> Result<(Self, Vec<(u64, u64)>), Failure> {
        let folder = root.join(own::NAME);
        let stem = names::file_stem(&site.node);
        let failed = |error: io::Error| {
            let what = format!("reading what was burned of {}", path.display());
            Failure::io(format_args!("{what} from {}", folder.display()), &error)
        };
        std::fs::create_dir_all(root).map_err(failed)?;
        let own = Arc::new(Own::make(root).map_err(failed)?);
        let lock = own.append(&format!("{stem}.lines.lock")).map_err(failed)?;
        let lock = Locked::claim(lock, |holder| {
            format!("{}: {holder} reads it and remembers its place", path.display())
        })?;
        let journal = Journal::open(own, format!("{stem}.lines")).map_err(failed)?;
        let (known, burned) = read(&journal).map_err(failed)?;
        let file = file.try_clone().map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        let changed = known
            .as_ref()
            .map(|known| changed(known, &burned, &file, &found))
            .transpose()
            .map_err(failed)?
            .flatten();
        let mut state = BurnedLines::default();
        let id = match (known, changed) {
            (Some(known), None) => {
                state.burned = burned;
                state.named = true;
                known.id
            }
            (known, why) => {
                if let Some(why) = why {
                    log::warn!("{} {why}; it is read from its beginning", path.display());
                }
                let first = fingerprint(&file, FINGERPRINT.min(found.len())).map_err(failed)?;
                let before = known.map(|known| known.id).unwrap_or_default();
                let (dev, ino) = (found.dev(), found.ino());
                let all = format!("{dev} {ino} {first} {before} {}", path.display());
                names::hex(&Sha256::digest(all)[..8])
            }
        };
        whole(&mut state.burned, &file, found.len(), max_line, path).map_err(failed)?;
        let burned = state.burned.iter().rev().map(|(from, to)| (*from, *to));
        let burned = burned.collect();
        let place = Self {
            path: path.to_owned(),
            file,
            id,
            journal,
            state: Mutex::new(state),
            _lock: lock,
        };
        Ok((place, burned))
    }

    /// Adds a line's key and position to the headers of its book.
    pub(super) fn mark(&self, book: Book, from: u64, to: u64) -> Book {
        book.with_header(header::KEY, format!("{}-{from}", self.id))
            .with_header(AT, format!("{} {from} {to}", self.id))
    }

    /// Called at the end of the file; warns if it was truncated or replaced while it was read.
    pub(super) fn read_to(&self, offset: u64) {
        let path = self.path.display();
        match (self.file.metadata(), self.path.metadata()) {
            (Ok(ours), _) if ours.len() < offset => {
                log::warn!("{path} was truncated while it was read");
            }
            (Ok(ours), Ok(there)) if (ours.dev(), ours.ino()) != (there.dev(), there.ino()) => {
                log::warn!("{path} was replaced while it was read; the next run reads the new one");
            }
            _ => {}
        }
    }

    /// Byte range of a book; `None` if the book is not from this source.
    fn place_of(&self, book: &Book) -> Option<(u64, u64)> {
        let at = std::str::from_utf8(book.headers.get(AT)?).ok()?;
        let (from, to) = at.strip_prefix(&*self.id)?.trim_start().split_once(' ')?;
        Some((from.parse().ok()?, to.parse().ok()?))
    }

    /// Appends the record that identifies the file in its current state.
    fn name(&self, lines: &mut Vec<u8>) -> io::Result<()> {
        let found = self.file.metadata()?;
        let length = FINGERPRINT.min(found.len());
        let fields = [
            "file".to_owned(),
            found.dev().to_string(),
            found.ino().to_string(),
            length.to_string(),
            fingerprint(&self.file, length)?,
            self.id.clone(),
        ];
        push_record(lines, &fields.each_ref().map(|field| field.as_bytes()));
        Ok(())
    }

    fn note(&self, books: &[&Book]) -> io::Result<()> {
        let mut places: Vec<_> = books.iter().filter_map(|book| self.place_of(book)).collect();
        if places.is_empty() {
            return Ok(());
        }
        places.sort_unstable();
        let mut state = self.state.lock();
        let mut lines = Vec::new();
        if !state.named {
            self.name(&mut lines)?;
        }
        for (from, to) in joined(places) {
            add(&mut state.burned, from, to);
            push_burned(&mut lines, from, to);
        }
        // Not synced: lines whose records a crash loses are read again.
        self.journal.append(&lines, false)?;
        state.named = true;
        Ok(())
    }

    fn compact(&self) -> io::Result<()> {
        let state = self.state.lock();
        if state.burned.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::new();
        self.name(&mut lines)?;
        for (from, to) in &state.burned {
            push_burned(&mut lines, *from, *to);
        }
        self.journal.replace(|out| out.write_all(&lines))
    }
}

impl Receipts for LineMemory {
    fn burned(&self, books: &[&Book]) -> Result<(), Failure> {
        self.note(books).map_err(|error| Failure::io("remembering which lines were burned", &error))
    }

    fn finish(&self) -> Result<(), Failure> {
        self.compact().map_err(|error| Failure::io("compacting the memory of burned lines", &error))
    }
}

fn push_burned(lines: &mut Vec<u8>, from: u64, to: u64) {
    let (from, to) = (from.to_string(), to.to_string());
    push_record(lines, &[b"burned", from.as_bytes(), to.as_bytes()]);
}

/// Reads the journal's last record of a file, and the ranges of it that were burned.
fn read(journal: &Journal) -> io::Result<(Option<Known>, BTreeMap<u64, u64>)> {
    let (mut known, mut burned) = (None, BTreeMap::new());
    let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse::<u64>().ok();
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    journal.read(|_, fields| {
        match fields {
            [b"file", dev, ino, length, digest, id] => {
                let numbers = number(dev).zip(number(ino)).zip(number(length));
                known = numbers.map(|((dev, ino), length)| Known {
                    dev,
                    ino,
                    length,
                    digest: text(digest),
                    id: text(id),
                });
                burned.clear();
            }
            [b"burned", from, to] => {
                if let Some((from, to)) = number(from).zip(number(to)).filter(|(a, b)| a < b) {
                    add(&mut burned, from, to);
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok((known, burned))
}

/// Reason why the file is not the recorded one; `None` if it is.
fn changed(
    known: &Known,
    burned: &BTreeMap<u64, u64>,
    file: &File,
    found: &std::fs::Metadata,
) -> io::Result<Option<&'static str>> {
    let read = burned.last_key_value().map_or(0, |(_, to)| *to);
    Ok(if (known.dev, known.ino) != (found.dev(), found.ino()) {
        Some("is another file than in the last run")
    } else if found.len() < read.max(known.length) {
        Some("is shorter than what was read of it in the last run")
    } else if fingerprint(file, known.length)? != known.digest {
        Some("was rewritten since the last run")
    } else {
        None
    })
}

/// SHA-256 of the first `length` bytes, in hex.
pub(super) fn fingerprint(file: &File, length: u64) -> io::Result<String> {
    let mut first = vec![0; length as usize];
    file.read_exact_at(&mut first, 0)?;
    Ok(names::hex(&Sha256::digest(&first)))
}

/// Checks a burned last line that had no newline when it was read. If only the newline has been
/// added since, it counts as burned; if the line has grown, it is read again as a whole.
fn whole(
    burned: &mut BTreeMap<u64, u64>,
    file: &File,
    length: u64,
    max_line: u64,
    path: &Path,
) -> io::Result<()> {
    let Some((from, to)) = burned.last_key_value().map(|(from, to)| (*from, *to)) else {
        return Ok(());
    };
    let byte = |at: u64| {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).map(|()| byte[0])
    };
    if to >= length || byte(to - 1)? == b'\n' {
        return Ok(());
    }
    if byte(to)? == b'\n' {
        burned.insert(from, to + 1);
        return Ok(());
    }
    let least = from.max(to.saturating_sub(max_line));
    let mut tail = vec![0; (to - least) as usize];
    file.read_exact_at(&mut tail, least)?;
    let before = tail.iter().rposition(|byte| *byte == b'\n');
    let begin = before.map_or(from, |at| least + at as u64 + 1);
    log::warn!(
        "{}: the line at byte {begin} has grown since it was read; it is given again, whole",
        path.display()
    );
    match begin > from {
        true => burned.insert(from, begin),
        false => burned.remove(&from),
    };
    Ok(())
}

/// Adds a byte range and merges it with those that it touches.
fn add(burned: &mut BTreeMap<u64, u64>, mut from: u64, mut to: u64) {
    while let Some((start, end)) = (burned.range(..=to).next_back())
        .map(|(start, end)| (*start, *end))
        .filter(|(_, end)| *end >= from)
    {
        burned.remove(&start);
        from = from.min(start);
        to = to.max(end);
    }
    burned.insert(from, to);
}

/// Merges ranges that touch; `places` must be sorted.
fn joined(places: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (from, to) in places {
        match joined.last_mut() {
            Some((_, end)) if *end >= from => *end = to.max(*end),
            _ => joined.push((from, to)),
        }
    }
    joined
}
