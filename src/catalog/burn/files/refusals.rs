//! A journal of books that were refused because their target belongs to another book.
//!
//! A `files` source knows in every run which output belongs to which input. Dead letters that are
//! offered again come without that source, so the existing output would look replaceable. This
//! journal records that it is not theirs, as long as it exists.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use gopherworks_pipeline::book::{Book, header};
use parking_lot::Mutex;

use super::super::super::journal::{self, Journal, push_record};
use super::super::super::names;
use super::super::super::own::Own;
use super::super::super::run_state::hash;

const REFUSED: &str = ".refused";

/// The refusals of all nodes below a root. New ones are added to this node's journal.
pub(super) struct Refusals {
    journal: Journal,
    // Hashes of target and owner.
    known: Mutex<HashSet<u64>>,
}

/// Identifies a book across runs: the path of the file it came from, or else its key. The path
/// comes first because the key of a file changes with its content.
pub(super) fn owner(book: &Book) -> Option<Vec<u8>> {
    let headers = &book.headers;
    let owner = headers.get(header::ORIGIN).or(headers.get(header::KEY));
    owner.map(|owner| owner.to_vec())
}

impl Refusals {
    /// Loads the refusals whose target still exists, and removes the others from this node's
    /// journal.
    pub(super) fn open(own: Arc<Own>, root: &Path, node: &str) -> io::Result<Self> {
        let journal = Journal::open(own, format!("{}{REFUSED}", names::file_stem(node)))?;
        let mut known = HashSet::new();
        for name in journal.own().names()? {
            if !name.ends_with(REFUSED) {
                continue;
            }
            let (mut kept, mut gone) = (Vec::new(), false);
            journal::read(journal.own(), &name, |_, fields| {
                let [target, owner] = fields else {
                    return Ok(());
                };
                let decoded = names::unescape(target).zip(names::unescape(owner));
                if let Some((path, name)) = decoded {
                    let path = names::bytes_path(&path);
                    if root.join(&path).symlink_metadata().is_err() {
                        gone = true;
                    } else if known.insert(hash((&*path, &*name))) {
                        push_record(&mut kept, fields);
                    }
                }
                Ok(())
            })?;
            if gone && name == journal.name() {
                journal.replace(|out| out.write_all(&kept))?;
            }
        }
        Ok(Self { journal, known: Mutex::new(known) })
    }

    /// True if `owner` was refused `target`, in this run or an earlier one.
    pub(super) fn holds(&self, target: &Path, owner: &[u8]) -> bool {
        let known = self.known.lock();
        !known.is_empty() && known.contains(&hash((target, owner)))
    }

    /// Records that `owner` was refused `target`. The record is not synced to disk.
    pub(super) fn note(&self, target: &Path, owner: &[u8]) -> io::Result<()> {
        let mut known = self.known.lock();
        if !known.insert(hash((target, owner))) {
            return Ok(());
        }
        let mut line = Vec::new();
        let target = names::escape(names::path_bytes(target));
        let owner = names::escape(owner);
        push_record(&mut line, &[target.as_bytes(), owner.as_bytes()]);
        self.journal.append(&line, false)
    }
}
