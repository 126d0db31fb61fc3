//! Files of dead letters: one JSON line per death, written by runs, listed and offered again later.

mod keep;
mod merge;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gopherworks_pipeline::book::{Body, BodyFile, Book, BookId, Headers, header};
use serde::{Deserialize, Serialize};

use crate::catalog::locks::Locked;
use crate::private;
use crate::topology::DeadBook;

pub use keep::{DeadFile, KeptLetters, Limit};

/// Longest line that is read, in bytes. Bodies in memory are rarely larger than a cart.
const LONGEST: u64 = 1 << 30;

/// Bytes in JSON: UTF-8 as text, else base64.
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
        /// SHA-256 of a body that was copied to a file beside the letters, in hex.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<String>,
    },
}

fn once() -> u32 {
    1
}

/// A dead letter in the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Letter {
    topology: Blob,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sets: Vec<String>,
    /// The pile where it died.
    pub pile: String,
    /// The crew or incinerator where it failed, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The book's id in the run of its last death, or in the store if the pile is durable.
    pub id: u64,
    /// Reason of its last death.
    pub reason: String,
    /// Attempts that were charged, in all runs.
    pub attempts: u32,
    /// Number of deaths.
    #[serde(default = "once")]
    pub deaths: u32,
    /// Run of its last death; empty in letters of old versions.
    #[serde(default)]
    pub run: String,
    /// Time of its first death, in UTC as in RFC 3339; empty in letters of old versions.
    #[serde(default)]
    pub first: String,
    /// Time of its last death, in UTC as in RFC 3339; empty in letters of old versions.
    #[serde(default)]
    pub last: String,
    /// The book's key (see [`crate::catalog::names::key_of`]) at its first death, unless it has a
    /// header `key`; empty in letters of old versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    key: String,
    headers: Vec<(String, Blob)>,
    body: Content,
}

impl Letter {
    /// The config file of the run of its last death.
    ///
    /// # Errors
    /// The file was tampered with.
    pub fn topology(&self) -> io::Result<PathBuf> {
        self.topology.path()
    }

    /// The `--set` flags of the run of its last death.
    pub fn sets(&self) -> &[String] {
        &self.sets
    }

    /// The book, to be offered again. It keeps the key of its first run, so that servers and
    /// programs recognise it.
    ///
    /// # Errors
    /// The file was tampered with.
    pub fn book(&self) -> io::Result<Book> {
        let mut headers = Headers::new();
        for (name, value) in &self.headers {
            headers.set(name.clone(), value.bytes()?);
        }
        if !self.key.is_empty() && headers.get(header::KEY).is_none() {
            headers.set(header::KEY, self.key.clone());
        }
        let body = match &self.body {
            Content::Bytes(blob) => Body::from(blob.bytes()?),
            Content::File { path, offset, len, size, .. } => Body::File {
                file: BodyFile::kept(path.path()?),
                offset: *offset,
                len: *len,
                size_hint: *size,
            },
        };
        Ok(Book { id: BookId::UNASSIGNED, headers, body })
    }

    /// The book's key, which is unique across runs; empty in letters of old versions.
    pub fn key(&self) -> String {
        let header = self.headers.iter().find(|(name, _)| name == header::KEY);
        let header = header.and_then(|(_, blob)| blob.bytes().ok());
        header.map_or_else(|| self.key.clone(), |key| String::from_utf8_lossy(&key).into_owned())
    }

    /// The book's header `name`, else its id; safe to print.
    pub fn title(&self) -> String {
        let name = self.headers.iter().find(|(name, _)| name == "name");
        match name.and_then(|(_, blob)| blob.bytes().ok()) {
            Some(bytes) => bytes.escape_ascii().to_string(),
            None => format!("book {}", self.id),
        }
    }

    /// This letter after another death, in `run`.
    #[must_use]
    pub fn died_again(mut self, dead: &DeadBook, run: &str) -> Self {
        self.reason = dead.reason.clone();
        self.node = dead.node.clone();
        self.id = dead.book.id.0;
        self.attempts = self.attempts.saturating_add(dead.attempts);
        self.deaths = self.deaths.saturating_add(1);
        self.run = run.to_owned();
        self.last = now();
        self
    }
}

/// Locks the file for one run that appends, or one offer that replaces it.
fn claim(file: &File) -> io::Result<()> {
    let claimed = rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive);
    claimed.map_err(|error| match error {
        rustix::io::Errno::WOULDBLOCK => io::Error::new(
            io::ErrorKind::ResourceBusy,
            "another gopherworks is using these dead letters",
        ),
        other => other.into(),
    })
}

/// Locks a file of letters against other runs and offers until the returned lock is dropped.
///
/// # Errors
/// The file can't be opened; `ResourceBusy` if another run or offer holds the lock.
pub fn lock(path: &Path) -> io::Result<impl Sized + use<>> {
    let file = File::open(path)?;
    claim(&file)?;
    Ok(Locked::new(file))
}

/// The content of a file of letters.
#[derive(Debug, Default)]
pub struct Letters {
    /// Letters in the order of first deaths; a book that died in several runs is listed once.
    pub letters: Vec<Letter>,
    /// Number and content of lines that are no letters, such as an incomplete line of a killed run.
    pub damaged: Vec<(usize, Vec<u8>)>,
    /// Number of letters before those of the same book were merged.
    lines: usize,
}

impl Letters {
    /// Logs a warning for each damaged line.
    pub fn warn_of_damage(&self, path: &Path) {
        for (number, line) in &self.damaged {
            log::warn!(
                "{}:{number}: an incomplete letter ({} bytes), as a killed run leaves it; \
                 it is skipped",
                path.display(),
                line.len()
            );
        }
    }
}

/// Reads all letters of a file.
///
/// # Errors
/// The file can't be read, or none of its lines is a letter; then the first line is named.
pub fn read(path: &Path) -> io::Result<Letters> {
    use std::io::Read;
    let mut found = Letters::default();
    let mut first_error = None;
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
        // Without its line end, so that an incomplete letter is recognised by its length.
        match serde_json::from_slice(line.trim_ascii_end()) {
            Ok(letter) => found.letters.push(letter),
            Err(error) => {
                if !error.is_eof() {
                    first_error.get_or_insert((number, error));
                }
                found.damaged.push((number, line.trim_ascii_end().to_vec()));
            }
        }
    }
    if let Some((number, error)) = first_error.filter(|_| found.letters.is_empty()) {
        let what = format!("{}:{number}: not a dead letter: {error}", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    found.lines = found.letters.len();
    found.letters = merge::merged(found.letters);
    Ok(found)
}

/// `path` with `ending` behind its name.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(ending);
    PathBuf::from(name)
}

/// Replaces the letters of a file in one step, and deletes bodies that no letter needs any more.
/// Damaged lines are moved to `PATH.damaged`, with a message.
///
/// # Errors
/// The file can't be written; it is then unchanged.
pub fn replace(path: &Path, letters: &[Letter], damaged: &[(usize, Vec<u8>)]) -> io::Result<()> {
    if !damaged.is_empty() {
        let aside = beside(path, ".damaged");
        let mut file = private::append(&aside)?;
        for (_, line) in damaged {
            file.write_all(line)?;
            file.write_all(b"\n")?;
        }
        file.sync_all()?;
        log::warn!(
            "{}: {} damaged lines are moved to {}",
            path.display(),
            damaged.len(),
            aside.display()
        );
    }
    // Replace the file, not the symbolic link to it.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
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
    if let Ok(bodies) = fs::canonicalize(beside(path, ".bodies")).and_then(fs::read_dir) {
        // An incomplete letter may still name its body.
        let damaged = fs::read(beside(path, ".damaged")).unwrap_or_default();
        let damaged = String::from_utf8_lossy(&damaged);
        for body in bodies.flatten() {
            let named = damaged.contains(&*body.file_name().to_string_lossy());
            if !named && !needed.contains(&body.path()) {
                // A body that stays only takes space.
                let _ = fs::remove_file(body.path());
            }
        }
    }
    Ok(())
}

/// The present time in UTC as in RFC 3339, in whole seconds.
pub(crate) fn now() -> String {
    #[expect(clippy::disallowed_methods, reason = "only real runs keep letters and dates of acts")]
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH);
    rfc3339(since.unwrap_or_default().as_secs())
}

/// Seconds since 1970 in UTC as in RFC 3339, by Howard Hinnant's `civil_from_days`.
fn rfc3339(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), date);
        }
    }
}
