//! Books that were refused because their file was another book's.
//!
//! A source knows in every run which file is whose. Dead letters that are offered again come
//! without one, so that the file would seem to be any earlier run's, to be replaced: here it says
//! that it is not theirs, as long as it is there.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use gopherworks_actors::book::{Book, header};

use super::super::super::journal::{self, Journal, push_record};
use super::super::super::names;
use super::super::super::own::Own;

const REFUSED: &str = ".refused";

/// The refusals of all nodes below a root; those of this one are added to.
pub(super) struct Refusals {
    journal: Journal,
    // Hashes of target and owner.
    known: Mutex<HashSet<u64>>,
}

/// What tells a book from others in later runs: the file that it came from, or its key. The key of a file changes with the file.
pub(super) fn owner(book: &Book) -> Option<Vec<u8>> {
    let headers = &book.headers;
    let owner = headers.get(header::ORIGIN).or(headers.get(header::KEY));
    owner.map(|owner| owner.to_vec())
}

impl Refusals {
    /// Reads what is known of targets that are still there; forgets the rest.
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
                    } else if known.insert(hash(&path, &name)) {
                        push_record(&mut kept, fields);
                    }
                }
                Ok(())
            })?;
            if gone && name == journal.name() {
                journal.replace(|out| out.write_all(&kept))?;
            }
        }
        Ok(Self {
            journal,
            known: Mutex::new(known),
        })
    }

    /// True if the owner was refused this target.
    pub(super) fn holds(&self, target: &Path, owner: &[u8]) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        !known.is_empty() && known.contains(&hash(target, owner))
    }

    /// The owner is refused this target.
    pub(super) fn note(&self, target: &Path, owner: &[u8]) -> io::Result<()> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.insert(hash(target, owner)) {
            return Ok(());
        }
        let mut line = Vec::new();
        let target = names::escape(names::path_bytes(target));
        let owner = names::escape(owner);
        push_record(&mut line, &[target.as_bytes(), owner.as_bytes()]);
        self.journal.append(&line, false)
    }
}

fn hash(target: &Path, owner: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (target, owner).hash(&mut hasher);
    hasher.finish()
}
