//! The manifest: a journal of digests of burned books, and the `sha256sum -c` file made from it.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gopherworks_pipeline::book::{Book, header};

use super::super::super::journal::{self, Journal, push_record};
use super::super::super::names;
use super::super::super::own::Own;
use super::super::super::run_state::RunState;
use super::super::super::source::is_gone;

const RECORDS: &str = ".records";

/// Writes the content of a file.
type Fill<'a> = &'a mut dyn FnMut(&mut dyn Write) -> io::Result<()>;

/// This node's journal of digests, and the manifest, which covers all nodes of the root.
pub(super) struct Manifest {
    name: String,
    journal: Journal,
    told: AtomicBool,
}

/// An entry of the manifest. `mine` is true if its record is in this node's journal.
struct Listed {
    sha256: [u8; 32],
    mode: u32,
    mine: bool,
}

impl Manifest {
    /// Opens the manifest `name` below `root`, a path without symbolic links. Fails if a folder, a
    /// pipe, a device or an input of the run has that name.
    pub(super) fn open(
        own: Arc<Own>,
        root: &Path,
        name: &str,
        node: &str,
        run: &RunState,
    ) -> io::Result<Self> {
        let path = root.join(name);
        if let Ok(found) = path.symlink_metadata()
            && !found.is_file()
            && !found.is_symlink()
        {
            let text = format!(
                "the manifest {} is a folder, a pipe or a device: remove it",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        let ours = own.names()?.iter().any(|name| name.ends_with(RECORDS));
        if !ours && path.symlink_metadata().is_ok() {
            let inputs = run.inputs();
            if inputs.iter().any(|inputs| inputs.lists(&path)) {
                let text = format!(
                    "the manifest {} would replace an input of the run: give it another name",
                    path.display()
                );
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
            }
        }
        run.keep_apart(path);
        let journal = format!("{}{RECORDS}", names::file_stem(node));
        Ok(Self {
            name: name.to_owned(),
            journal: Journal::open(own, journal)?,
            told: AtomicBool::new(false),
        })
    }

    /// File name of the manifest, below the root.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Appends records of these books with one write, and syncs them if `durable`. Books without a
    /// digest or a name are not listed.
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
            let origin =
                get(header::ORIGIN).map(|origin| names::escape(origin)).unwrap_or_default();
            let name = names::escape(name);
            let mode = get(header::MODE).filter(|text| super::parse_mode(text).is_some());
            let fields: &[&[u8]] = &[sha256, name.as_bytes(), origin.as_bytes()];
            match mode {
                Some(mode) => push_record(&mut lines, &[fields, &[mode]].concat()),
                None => push_record(&mut lines, fields),
            }
        }
        self.journal.append(&lines, durable)
    }

    /// Rewrites the manifest from the records of all nodes, without files whose origin no longer
    /// exists. `create` receives the mode of the manifest and a function that writes its content.
    pub(super) fn rebuild(
        &self,
        create: impl FnOnce(u32, Fill<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let listed = self.listed()?;
        // Digests reveal content, so the manifest grants only the read rights that all listed files
        // grant.
        let mode = listed.values().fold(0o644, |mode, file| mode & file.mode) | 0o600;
        create(mode, &mut |out| {
            let mut out = BufWriter::with_capacity(64 * 1024, out);
            for (name, file) in &listed {
                out.write_all(&checksum_line(&file.sha256, name))?;
            }
            out.flush()
        })?;
        self.compact(&listed)
    }

    /// The latest digest of every name whose origin still exists. If several nodes have recorded a
    /// name, this node's record wins.
    fn listed(&self) -> io::Result<BTreeMap<Vec<u8>, Listed>> {
        let own = self.journal.own();
        let mut journals = own.names()?;
        journals.retain(|name| name.ends_with(RECORDS) && name != self.journal.name());
        journals.push(self.journal.name().to_owned());
        let mut listed = BTreeMap::new();
        for journal in &journals {
            journal::read(own, journal, |_, fields| {
                if let Some((sha256, name, origin, mode)) = decoded(fields) {
                    if is_orphan(&origin) {
                        listed.remove(&name);
                    } else {
                        let mine = journal == self.journal.name();
                        listed.insert(name, Listed { sha256, mode, mine });
                    }
                }
                Ok(())
            })?;
        }
        Ok(listed)
    }

    /// Reduces this node's journal to one record per listed name.
    fn compact(&self, listed: &BTreeMap<Vec<u8>, Listed>) -> io::Result<()> {
        if self.journal.own().read(self.journal.name())?.is_none() {
            return Ok(());
        }
        let kept = |fields: &[&[u8]]| {
            let (sha256, name, origin, _) = decoded(fields)?;
            let entry = listed.get_key_value(&name);
            let (name, file) = entry.filter(|(_, file)| file.mine && file.sha256 == sha256)?;
            (!is_orphan(&origin)).then_some((name, file))
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

type Record = ([u8; 32], Vec<u8>, Vec<u8>, u32);

fn decoded(fields: &[&[u8]]) -> Option<Record> {
    // Records of books without a mode, and of earlier versions, have no mode.
    let (fields, mode) = match fields {
        [fields @ .., mode] if fields.len() == 3 => (fields, super::parse_mode(mode)?),
        fields => (fields, 0o777),
    };
    match fields {
        [sha256, name, origin] => Some((
            names::unhex_sha256(sha256)?,
            names::unescape(name)?,
            names::unescape(origin)?,
            mode,
        )),
        _ => None,
    }
}

/// True if the book came from a file that no longer exists.
fn is_orphan(origin: &[u8]) -> bool {
    !origin.is_empty() && is_gone(&names::bytes_path(origin))
}

/// Formats a line like `sha256sum`: a name with a backslash, a newline or a carriage return is
/// escaped, which a backslash at the start of the line marks. The name `-`, which `sha256sum -c`
/// takes for standard input, becomes `./-`.
fn checksum_line(sha256: &[u8; 32], name: &[u8]) -> Vec<u8> {
    let name = if name == b"-" { b"./-" } else { name };
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
