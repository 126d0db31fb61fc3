//! The list of digests: records of what was burned, and the file for `sha256sum -c` that is rebuilt from them.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use gopherworks_actors::book::{Book, header};

use super::super::super::journal::{self, Journal, push_record};
use super::super::super::names;
use super::OWN;

/// Records of one node below a root, and the list of all nodes there.
pub(super) struct Manifest {
    name: String,
    // `.gopherworks`
    own: PathBuf,
    journal_path: PathBuf,
    journal: Journal,
    told: AtomicBool,
}

/// What is listed of a file.
struct Listed {
    sha256: [u8; 32],
    mine: bool,
}

impl Manifest {
    pub(super) fn open(root: &Path, name: &str, node: &str) -> io::Result<Self> {
        let own = root.join(OWN);
        let journal_path = own.join(format!("{}.records", names::file_stem(node)));
        Ok(Self {
            name: name.to_owned(),
            journal: Journal::open(journal_path.clone())?,
            journal_path,
            own,
            told: AtomicBool::new(false),
        })
    }

    /// The list's name below the root.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Records these books, with one write. A book without a digest or a name is not listed.
    pub(super) fn record<'a>(
        &self,
        books: impl Iterator<Item = &'a Book>,
        durable: bool,
    ) -> io::Result<()> {
        let mut lines = Vec::new();
        for book in books {
            let get = |name| book.headers.get(name);
            let sha256 = get(header::SHA256).filter(|text| names::unhex_sha256(text).is_some());
            let (Some(sha256), Some(name)) = (sha256, get(header::SHA256_NAME)) else {
                if !self.told.swap(true, Ordering::Relaxed) {
                    log::warn!(
                        "{}: books without a digest are not listed; the work \"sha256\" takes one",
                        self.name
                    );
                }
                continue;
            };
            let origin = get(header::ORIGIN)
                .map(|origin| names::escape(origin))
                .unwrap_or_default();
            push_record(
                &mut lines,
                &[sha256, names::escape(name).as_bytes(), origin.as_bytes()],
            );
        }
        self.journal.append(&lines, durable)
    }

    /// Writes the list anew from the records of all nodes, and forgets files whose origin is gone.
    pub(super) fn rebuild(
        &self,
        create: impl FnOnce(&mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<()>,
    ) -> io::Result<()> {
        let listed = self.listed()?;
        create(&mut |out| {
            let mut out = BufWriter::with_capacity(64 * 1024, out);
            for (name, file) in &listed {
                out.write_all(&checksum_line(&file.sha256, name))?;
            }
            out.flush()
        })?;
        self.compact(&listed)
    }

    /// The latest digest of every name whose origin still exists; of two nodes' records of one name, this node's.
    fn listed(&self) -> io::Result<BTreeMap<Vec<u8>, Listed>> {
        let mut journals = Vec::new();
        for entry in std::fs::read_dir(&self.own)? {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "records")
                && path != self.journal_path
            {
                journals.push(path);
            }
        }
        journals.sort();
        journals.push(self.journal_path.clone());
        let mut listed = BTreeMap::new();
        for path in &journals {
            journal::read(path, |_, fields| {
                if let Some((sha256, name, origin)) = decoded(fields) {
                    if is_gone(&origin) {
                        listed.remove(&name);
                    } else {
                        let mine = *path == self.journal_path;
                        listed.insert(name, Listed { sha256, mine });
                    }
                }
                Ok(())
            })?;
        }
        Ok(listed)
    }

    /// Keeps of this node's records the last of each name that is listed.
    fn compact(&self, listed: &BTreeMap<Vec<u8>, Listed>) -> io::Result<()> {
        if !self.journal_path.try_exists()? {
            return Ok(());
        }
        let kept = |fields: &[&[u8]]| {
            let (sha256, name, origin) = decoded(fields)?;
            let entry = listed.get_key_value(&name);
            let (name, file) = entry.filter(|(_, file)| file.mine && file.sha256 == sha256)?;
            (!is_gone(&origin)).then_some((name, file))
        };
        self.journal.replace(|out| {
            let mut line = Vec::new();
            let mut written = std::collections::HashSet::new();
            self.journal.read(|_, fields| {
                if let Some((name, _)) = kept(fields)
                    && written.insert(name)
                {
                    line.clear();
                    push_record(&mut line, fields);
                    out.write_all(&line)?;
                }
                Ok(())
            })
        })
    }
}

type Record = ([u8; 32], Vec<u8>, Vec<u8>);

fn decoded(fields: &[&[u8]]) -> Option<Record> {
    match fields {
        [sha256, name, origin] => Some((
            names::unhex_sha256(sha256)?,
            names::unescape(name)?,
            names::unescape(origin)?,
        )),
        _ => None,
    }
}

fn is_gone(origin: &[u8]) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    // A book that came from no file is never gone.
    !origin.is_empty()
        && matches!(
            names::bytes_path(origin).symlink_metadata(),
            Err(error) if matches!(error.kind(), NotFound | NotADirectory)
        )
}

/// A line as `sha256sum` writes it: a name with a backslash, a newline or a carriage return is escaped, and a backslash at the
/// beginning of the line says so.
fn checksum_line(sha256: &[u8; 32], name: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(name.len() + 68);
    if name.iter().any(|byte| b"\\\n\r".contains(byte)) {
        line.push(b'\\');
    }
    line.extend_from_slice(names::hex(sha256).as_bytes());
    line.extend_from_slice(b"  ");
    for &byte in name {
        match byte {
            b'\\' => line.extend_from_slice(b"\\\\"),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            _ => line.push(byte),
        }
    }
    line.push(b'\n');
    line
}
