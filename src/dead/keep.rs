//! A file of dead letters that a run appends to.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use gopherworks_pipeline::book::{Body, Book, header};
use gopherworks_supervision::failure::Failure;
use sha2::{Digest, Sha256};

use super::{Blob, Content, Letter, beside, claim, now, read, replace};
use crate::catalog::STANDARD_STREAM;
use crate::catalog::names::hex;
use crate::private;
use crate::topology::{DeadBook, DeadSink};

/// Files that a run tries by default if other runs use the first.
const MOST_FILES: u32 = 9;

/// Largest file, in bytes, that a run reads when it opens it. In larger ones, letters of the same
/// book are merged only when they are listed.
const MOST_JOINED: u64 = 256 << 20;

/// Maximum number of bytes of letters and bodies in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(pub Option<u64>);

/// The letters that a run has kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptLetters {
    /// Path of the file.
    pub path: PathBuf,
    /// Letters kept by this run.
    pub kept: u64,
    /// Letters that were not kept.
    pub left_out: u64,
}

impl KeptLetters {
    /// Letters of this run, kept or not.
    pub fn all(&self) -> u64 {
        self.kept + self.left_out
    }
}

/// A file of dead letters that a run appends to.
#[derive(Debug)]
pub struct DeadFile {
    path: PathBuf,
    topology: PathBuf,
    sets: Vec<String>,
    run: String,
    limit: Limit,
    /// True if the run continues if the file can't be written.
    optional: bool,
    state: Mutex<DeadFileState>,
}

#[derive(Debug, Default)]
struct DeadFileState {
    tail: Option<Tail>,
    kept: u64,
    left_out: u64,
    /// True if an optional file could not be opened.
    given_up: bool,
    /// True if a warning about an unwritten letter was logged.
    warned: bool,
}

/// The end of the file: its length, and whether its last line is complete.
#[derive(Debug)]
struct Tail {
    path: PathBuf,
    file: File,
    bytes: u64,
    torn: bool,
}

impl DeadFile {
    /// Opens `path` for appending by the run `run` of `topology` with these `--set` flags. A new
    /// file is readable by its owner only.
    ///
    /// # Errors
    /// The file can't be opened; `ResourceBusy` if another run or offer uses it.
    pub fn append(
        path: &Path,
        (topology, sets, run): (&Path, &[String], &str),
        limit: Limit,
    ) -> io::Result<Self> {
        let made = Self::new(path, (topology, sets, run), limit, false)?;
        let tail = Tail::open(path)?;
        made.state().tail = Some(tail);
        Ok(made)
    }

    /// Keeps letters in `path`, which is created with its folder for the first letter. If other
    /// runs use it, the first free one of `path` with `-2`, `-3` and so on (up to 9) is used. If no
    /// file can be written, a warning is logged and the run continues.
    ///
    /// # Errors
    /// The topology's file is gone.
    pub fn when_needed(
        path: &Path,
        (topology, sets, run): (&Path, &[String], &str),
        limit: Limit,
    ) -> io::Result<Self> {
        Self::new(path, (topology, sets, run), limit, true)
    }

    fn new(
        path: &Path,
        (topology, sets, run): (&Path, &[String], &str),
        limit: Limit,
        optional: bool,
    ) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            topology: match topology.as_os_str() == STANDARD_STREAM {
                true => topology.to_owned(),
                false => fs::canonicalize(topology)?,
            },
            sets: sets.to_vec(),
            run: run.to_owned(),
            limit,
            optional,
            state: Mutex::default(),
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, DeadFileState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The letters kept so far; `None` if no book died.
    pub fn kept(&self) -> Option<KeptLetters> {
        let state = self.state();
        let path = state.tail.as_ref().map_or(&self.path, |tail| &tail.path);
        (state.kept + state.left_out > 0).then(|| KeptLetters {
            path: path.clone(),
            kept: state.kept,
            left_out: state.left_out,
        })
    }

    /// The file that is used if `number - 1` other runs use the one at `path`.
    fn numbered(&self, number: u32) -> PathBuf {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        self.path.with_file_name(format!("{stem}-{number}.jsonl"))
    }

    /// Opens the default file.
    fn open_optional(&self) -> io::Result<Tail> {
        if let Some(folder) = self.path.parent() {
            private::create_dir_all(folder)?;
        }
        let mut tried = Tail::open(&self.path);
        for number in 2..=MOST_FILES {
            match &tried {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
                _ => break,
            }
            tried = Tail::open(&self.numbered(number));
        }
        tried
    }

    /// The letter of a death, and the number of bytes of its body in a file of its own. Temporary
    /// files end with the run, so their content is copied beside the letters.
    fn letter(&self, dead: &DeadBook, file: &Path) -> io::Result<(Letter, u64)> {
        let time = now();
        let (body, copied) = content(&dead.book, file)?;
        let headers = dead.book.headers.iter();
        let key = match dead.book.headers.get(header::KEY) {
            Some(_) => String::new(),
            None => dead.key.clone(),
        };
        let letter = Letter {
            topology: Blob::of_path(&self.topology),
            sets: self.sets.clone(),
            pile: dead.pile.clone(),
            node: dead.node.clone(),
            id: dead.book.id.0,
            reason: dead.reason.clone(),
            attempts: dead.attempts,
            deaths: 1,
            run: self.run.clone(),
            first: time.clone(),
            last: time,
            key,
            headers: headers.map(|(name, value)| (name.to_owned(), Blob::of(value))).collect(),
            body,
        };
        Ok((letter, copied))
    }

    /// Warns once that the file is full, and how to raise the limit.
    fn left_out(&self, state: &mut DeadFileState, count: u64, path: &Path) {
        if state.left_out == 0 {
            log::warn!(
                "{} has reached its size limit: further dead letters are counted but not kept",
                path.display()
            );
        }
        state.left_out += count;
    }
}

fn content(book: &Book, letters: &Path) -> io::Result<(Content, u64)> {
    Ok(match &book.body {
        Body::Bytes(bytes) => (Content::Bytes(Blob::of(bytes)), 0),
        Body::File { file, offset, len, size_hint } if !file.is_temporary() => {
            let content = Content::File {
                path: Blob::of_path(file.path()),
                offset: *offset,
                len: *len,
                size: *size_hint,
                sha256: None,
            };
            (content, 0)
        }
        body => {
            let folder = beside(letters, ".bodies");
            private::create_dir_all(&folder)?;
            let mut copy = tempfile::Builder::new().prefix("body-").tempfile_in(&folder)?;
            let (size, sha256) = copied(&mut body.open()?, copy.as_file_mut())?;
            copy.as_file().sync_data()?;
            let (_, path) = copy.keep().map_err(|error| error.error)?;
            let content = Content::File {
                path: Blob::of_path(&fs::canonicalize(path)?),
                offset: 0,
                len: None,
                size,
                sha256: Some(sha256),
            };
            (content, size)
        }
    })
}

/// Copies a body; returns its length and its SHA-256 in hex.
fn copied(from: &mut impl Read, to: &mut impl Write) -> io::Result<(u64, String)> {
    let (mut length, mut hash) = (0, Sha256::new());
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok((length, hex(&hash.finalize()))),
            Ok(read) => {
                hash.update(&buffer[..read]);
                to.write_all(&buffer[..read])?;
                length += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl Tail {
    fn open(path: &Path) -> io::Result<Self> {
        let (mut file, mut bytes) = Self::claimed(path)?;
        if bytes > 0 && bytes <= MOST_JOINED && file.metadata()?.is_file() {
            let found = read(path)?;
            if found.letters.len() < found.lines || !found.damaged.is_empty() {
                // Merged, the letters of many runs over the same input do not outnumber its books.
                // The file is replaced by another.
                replace(path, &found.letters, &found.damaged)?;
                (file, bytes) = Self::claimed(path)?;
            }
        }
        mend(path, &mut file)?;
        for body in fs::read_dir(beside(path, ".bodies")).into_iter().flatten() {
            bytes += body.and_then(|body| body.metadata()).map_or(0, |body| body.len());
        }
        Ok(Self { path: path.to_owned(), file, bytes, torn: false })
    }

    fn claimed(path: &Path) -> io::Result<(File, u64)> {
        let file = private::append(path)?;
        claim(&file)?;
        let bytes = file.metadata()?.len();
        Ok((file, bytes))
    }
}

/// Ends the incomplete line that a killed run may have left.
fn mend(path: &Path, file: &mut File) -> io::Result<()> {
    use std::io::{Seek, SeekFrom};
    if !file.metadata()?.is_file() {
        return Ok(());
    }
    let mut old = File::open(path)?;
    let mut last = [b'\n'];
    if old.metadata()?.len() > 0 {
        old.seek(SeekFrom::End(-1))?;
        old.read_exact(&mut last)?;
    }
    if last != [b'\n'] {
        file.write_all(b"\n")?;
    }
    Ok(())
}

impl DeadSink for DeadFile {
    fn paths(&self) -> Vec<PathBuf> {
        let others = (2..=MOST_FILES).filter(|_| self.optional);
        let others = others.map(|number| self.numbered(number));
        let files = std::iter::once(self.path.clone()).chain(others);
        files.flat_map(|file| [beside(&file, ".bodies"), beside(&file, ".damaged"), file]).collect()
    }

    fn keep(&self, dead: &[DeadBook]) -> Result<(), Failure> {
        let mut state = self.state();
        let state = &mut *state;
        if state.tail.is_none() && !state.given_up {
            match self.open_optional() {
                Ok(tail) => state.tail = Some(tail),
                Err(error) => {
                    state.given_up = true;
                    log::warn!(
                        "dead letters are not kept: {}: {error}; `--dead FILE` names another file, \
                         `--dead none` keeps none",
                        self.path.display()
                    );
                }
            }
        }
        let Some(path) = state.tail.as_ref().map(|tail| tail.path.clone()) else {
            return Ok(());
        };
        let failed = |error: io::Error| Failure::io(path.display(), &error);
        let (mut lines, mut count, mut first_error) = (Vec::new(), 0, None);
        let mut bytes = state.tail.as_ref().map_or(0, |tail| tail.bytes);
        for (at, book) in dead.iter().enumerate() {
            let most = self.limit.0.unwrap_or(u64::MAX);
            let kept_here = match &book.book.body {
                Body::File { file, .. } if !file.is_temporary() => 0,
                body => body.size(),
            };
            if bytes.saturating_add(kept_here) >= most {
                self.left_out(state, (dead.len() - at) as u64, &path);
                break;
            }
            // A letter that can't be kept must not affect the others.
            match self
                .letter(book, &path)
                .and_then(|(letter, copied)| Ok((serde_json::to_vec(&letter)?, copied)))
            {
                Ok((mut line, copied)) => {
                    bytes += line.len() as u64 + 1 + copied;
                    lines.append(&mut line);
                    lines.push(b'\n');
                    count += 1;
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        let Some(tail) = &mut state.tail else {
            return Ok(());
        };
        if tail.torn {
            lines.insert(0, b'\n');
        }
        tail.torn = true;
        let written = match lines.is_empty() {
            true => Ok(()),
            false => tail.file.write_all(&lines),
        };
        match written {
            Ok(()) => {
                (tail.torn, tail.bytes) = (false, bytes);
                state.kept += count;
            }
            Err(error) => {
                state.left_out += count;
                first_error = first_error.or(Some(error));
            }
        }
        match first_error {
            // The run continues without a file that no flag asked for.
            Some(error) if self.optional => {
                if !std::mem::replace(&mut state.warned, true) {
                    log::warn!("a dead letter is not kept: {}: {error}", path.display());
                }
                Ok(())
            }
            first_error => first_error.map_or(Ok(()), |error| Err(failed(error))),
        }
    }
}
