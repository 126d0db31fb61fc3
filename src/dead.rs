//! Dead letters in a file: a JSON line each, kept by a run, looked at and put back later.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gopherworks_actors::book::{Body, BodyFile, Book, BookId, Headers};
use gopherworks_actors::failure::Failure;
use serde::{Deserialize, Serialize};

use crate::topology::{DeadBook, DeadSink};

/// Longest line that is read back: a body in memory is rarely more than a cart.
const LONGEST: u64 = 1 << 30;

/// Bytes as JSON: text where they are text, base64 where they are not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Blob {
    Text(String),
    Base64(String),
}

impl Blob {
    fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Blob::Text(text.to_owned()),
            Err(_) => Blob::Base64(STANDARD.encode(bytes)),
        }
    }

    fn bytes(&self) -> io::Result<Vec<u8>> {
        match self {
            Blob::Text(text) => Ok(text.clone().into_bytes()),
            Blob::Base64(text) => STANDARD.decode(text).map_err(io::Error::other),
        }
    }

    fn path(&self) -> io::Result<PathBuf> {
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStringExt;
            self.bytes().map(OsString::from_vec).map(PathBuf::from)
        }
        #[cfg(not(unix))]
        {
            let text = String::from_utf8(self.bytes()?).map_err(io::Error::other)?;
            Ok(PathBuf::from(OsString::from(text)))
        }
    }

    fn of_path(path: &Path) -> Self {
        Self::of(path.as_os_str().as_encoded_bytes())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Content {
    Bytes(Blob),
    File {
        path: Blob,
        offset: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        len: Option<u64>,
        size: u64,
    },
}

/// One dead letter as it stands in the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Letter {
    topology: Blob,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sets: Vec<String>,
    /// The pile where it died.
    pub pile: String,
    /// Its id in the run in which it died.
    pub id: u64,
    /// Why.
    pub reason: String,
    /// Attempts that were charged.
    pub attempts: u32,
    headers: Vec<(String, Blob)>,
    body: Content,
}

impl Letter {
    /// The config file of the run in which it died.
    ///
    /// # Errors
    /// The file was tampered with.
    pub fn topology(&self) -> io::Result<PathBuf> {
        self.topology.path()
    }

    /// The `--set` flags of that run.
    pub fn sets(&self) -> &[String] {
        &self.sets
    }

    /// The book, to be offered anew.
    ///
    /// # Errors
    /// The file was tampered with.
    pub fn book(&self) -> io::Result<Book> {
        let mut headers = Headers::new();
        for (name, value) in &self.headers {
            headers.set(name.clone(), value.bytes()?);
        }
        let body = match &self.body {
            Content::Bytes(blob) => Body::from(blob.bytes()?),
            Content::File {
                path,
                offset,
                len,
                size,
            } => Body::File {
                file: BodyFile::kept(path.path()?),
                offset: *offset,
                len: *len,
                size_hint: *size,
            },
        };
        Ok(Book {
            id: BookId::UNASSIGNED,
            headers,
            body,
        })
    }

    /// What people would call it: its name header, else its id; safe to print.
    pub fn title(&self) -> String {
        let name = self.headers.iter().find(|(name, _)| name == "name");
        match name.and_then(|(_, blob)| blob.bytes().ok()) {
            Some(bytes) => bytes.escape_ascii().to_string(),
            None => format!("book {}", self.id),
        }
    }

    /// The same letter after another death.
    #[must_use]
    pub fn died_again(mut self, dead: &DeadBook) -> Self {
        self.reason = dead.reason.clone();
        self.attempts += dead.attempts;
        self
    }
}

/// A file of dead letters that a run appends to.
#[derive(Debug)]
pub struct DeadFile {
    path: PathBuf,
    topology: PathBuf,
    sets: Vec<String>,
    file: Mutex<File>,
}

impl DeadFile {
    /// Opens `path` for appending, in the name of a run of `topology` with these `--set` flags. A file that is new is readable by its owner only.
    ///
    /// # Errors
    /// Those of opening the file.
    pub fn append(path: &Path, topology: &Path, sets: &[String]) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        mend(path, &mut file)?;
        Ok(Self {
            path: path.to_owned(),
            topology: fs::canonicalize(topology)?,
            sets: sets.to_vec(),
            file: Mutex::new(file),
        })
    }

    /// A body in a temporary file would be gone with the run: it is copied beside the letters.
    fn content(&self, book: &Book) -> io::Result<Content> {
        Ok(match &book.body {
            Body::Bytes(bytes) => Content::Bytes(Blob::of(bytes)),
            Body::File {
                file,
                offset,
                len,
                size_hint,
            } if !file.is_temporary() => Content::File {
                path: Blob::of_path(file.path()),
                offset: *offset,
                len: *len,
                size: *size_hint,
            },
            body => {
                let mut folder = self.path.clone().into_os_string();
                folder.push(".bodies");
                fs::create_dir_all(&folder)?;
                let mut copy = tempfile::Builder::new()
                    .prefix("body-")
                    .tempfile_in(&folder)?;
                let size = io::copy(&mut body.open()?, copy.as_file_mut())?;
                copy.as_file().sync_data()?;
                let (_, path) = copy.keep().map_err(|error| error.error)?;
                Content::File {
                    path: Blob::of_path(&fs::canonicalize(path)?),
                    offset: 0,
                    len: None,
                    size,
                }
            }
        })
    }

    fn letter(&self, dead: &DeadBook) -> io::Result<Letter> {
        Ok(Letter {
            topology: Blob::of_path(&self.topology),
            sets: self.sets.clone(),
            pile: dead.pile.clone(),
            id: dead.book.id.0,
            reason: dead.reason.clone(),
            attempts: dead.attempts,
            headers: dead
                .book
                .headers
                .iter()
                .map(|(name, value)| (name.to_owned(), Blob::of(value)))
                .collect(),
            body: self.content(&dead.book)?,
        })
    }
}

impl DeadSink for DeadFile {
    fn keep(&self, dead: &[DeadBook]) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::io(self.path.display(), &error);
        let mut lines = Vec::new();
        for letter in dead {
            let letter = self.letter(letter).map_err(failed)?;
            serde_json::to_writer(&mut lines, &letter).map_err(|error| failed(error.into()))?;
            lines.push(b'\n');
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&lines).map_err(failed)
    }
}

/// A run that was killed may have left half a line: the next one begins on a line of its own.
fn mend(path: &Path, file: &mut File) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    let mut old = match File::open(path) {
        Ok(old) => old,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
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

/// Reads all letters of a file. Half a line that a killed run left at its end is passed over with a warning.
///
/// # Errors
/// Those of reading, and a line that is no letter, with its number.
pub fn read(path: &Path) -> io::Result<Vec<Letter>> {
    use std::io::Read;
    let mut letters = Vec::new();
    let mut reader = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if (&mut reader).take(LONGEST).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        // Without the newline, half a text ends early instead of holding a control character.
        match serde_json::from_slice(line.trim_ascii_end()) {
            Ok(letter) => letters.push(letter),
            Err(error) if error.is_eof() => {
                log::warn!("{}:{number}: half a letter is passed over", path.display());
            }
            Err(error) => {
                let what = format!("{}:{number}: not a dead letter: {error}", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
        }
    }
    Ok(letters)
}

/// Replaces the letters of a file in one step; bodies that no letter needs any more are deleted.
///
/// # Errors
/// Those of writing; the old file is whole then.
pub fn replace(path: &Path, letters: &[Letter]) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mut fresh = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
    let mut needed = Vec::new();
    for letter in letters {
        serde_json::to_writer(&mut fresh, letter)?;
        fresh.write_all(b"\n")?;
        if let Content::File { path, .. } = &letter.body {
            needed.push(path.path()?);
        }
    }
    fresh.as_file().sync_all()?;
    fresh.persist(path).map_err(|error| error.error)?;
    let mut bodies = path.to_owned().into_os_string();
    bodies.push(".bodies");
    if let Ok(bodies) = fs::canonicalize(bodies).and_then(fs::read_dir) {
        for body in bodies
            .flatten()
            .filter(|body| !needed.contains(&body.path()))
        {
            // One that stays is only a file too many.
            let _ = fs::remove_file(body.path());
        }
    }
    Ok(())
}
