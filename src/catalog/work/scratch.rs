//! Scratch folders for bodies too large for memory: one per process and scratch location, with mode
//! 0700, locked while the process lives. An unlocked folder belongs to a dead process and is
//! removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{CWD, FlockOperation};
use rustix::io::Errno;

use super::super::own::open_folder;

const PREFIX: &str = "gopherworks-";

/// True if a folder in a scratch location may be a scratch folder, of any process.
#[cfg(feature = "files")]
pub(in crate::catalog) fn is_one(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()))
}

/// All scratch folders of this process. A folder that still contains bodies stays here, and thus
/// locked, until the process ends.
static FOLDERS: Mutex<BTreeMap<PathBuf, Arc<Folder>>> = Mutex::new(BTreeMap::new());

struct Folder {
    path: PathBuf,
    _lock: OwnedFd,
}

/// This process's folder below a scratch location. Dropping the last clone removes it if it is
/// empty.
#[derive(Clone)]
pub(super) struct Scratch {
    below: PathBuf,
    folder: Arc<Folder>,
}

impl Scratch {
    /// Opens this process's folder below `below`; creates it if it is missing.
    pub(super) fn below(below: &Path) -> io::Result<Self> {
        let mut folders = FOLDERS.lock();
        // A cleanup tool may have removed it.
        if let Some(folder) = folders.get(below).filter(|folder| folder.path.is_dir()) {
            return Ok(Self { below: below.to_owned(), folder: folder.clone() });
        }
        crate::private::create_dir_all(below)?;
        let folder = Arc::new(make(below)?);
        folders.insert(below.to_owned(), folder.clone());
        Ok(Self { below: below.to_owned(), folder })
    }

    pub(super) fn path(&self) -> &Path {
        &self.folder.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut folders = FOLDERS.lock();
        // Two references mean this one and the one in the list, unless the list has a newer folder.
        let listed =
            folders.get(&self.below).is_some_and(|folder| Arc::ptr_eq(folder, &self.folder));
        if listed
            && Arc::strong_count(&self.folder) == 2
            && fs::remove_dir(&self.folder.path).is_ok()
        {
            folders.remove(&self.below);
        }
    }
}

fn make(below: &Path) -> io::Result<Folder> {
    loop {
        let path = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .tempdir_in(below)?
            .keep();
        // Before it was locked, another process may have removed the folder as abandoned.
        let Ok(lock) = open_folder(CWD, &path, &path) else { continue };
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if path.is_dir() => return Ok(Folder { path, _lock: lock }),
            Ok(()) | Err(Errno::WOULDBLOCK) => {}
            // No process can lock here, so none considers the folder abandoned.
            Err(Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP) => {
                return Ok(Folder { path, _lock: lock });
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Removes the folders of dead processes below `below`, once per process.
pub(super) fn tidy(below: &Path) {
    static DONE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let first = DONE.lock().insert(below.to_owned());
    if first {
        remove_abandoned(below);
    }
}

/// Removes the folders of dead processes below `below`. Those that can't be removed are left for
/// the next run.
fn remove_abandoned(below: &Path) {
    let Ok(entries) = fs::read_dir(below) else {
        return;
    };
    // The lock also keeps this process from creating folders meanwhile.
    let _folders = FOLDERS.lock();
    let me = rustix::process::geteuid().as_raw();
    for entry in entries.flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        // Folders of other users are not opened.
        let mine = || entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == me);
        if !ours || !mine() {
            continue;
        }
        let Ok(lock) = open_folder(CWD, &entry.path(), &entry.path()) else {
            continue;
        };
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            log::debug!("removing {}, whose process is gone", entry.path().display());
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_process_left_is_removed_and_what_a_living_one_has_is_not() {
        let below = tempfile::tempdir().unwrap();
        let abandoned = below.path().join("gopherworks-dead");
        fs::create_dir(&abandoned).unwrap();
        fs::write(abandoned.join("body"), "left").unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("precious"), "").unwrap();
        let link = below.path().join("gopherworks-link");
        std::os::unix::fs::symlink(outside.path(), &link).unwrap();
        fs::write(below.path().join("gopherworks-file"), "").unwrap();
        fs::create_dir(below.path().join("other")).unwrap();
        // As another process has it: locked by another opening of the folder.
        let living = make(below.path()).unwrap();
        remove_abandoned(below.path());
        assert!(!abandoned.exists());
        assert!(living.path.is_dir() && outside.path().join("precious").exists());
        assert!(link.is_symlink());
        assert!(below.path().join("gopherworks-file").exists());
        assert!(below.path().join("other").exists());
        let path = living.path.clone();
        drop(living);
        remove_abandoned(below.path());
        assert!(!path.exists());
    }

    #[test]
    fn one_folder_serves_all_and_goes_with_the_last_unless_bodies_are_in_it() {
        let below = tempfile::tempdir().unwrap();
        let (first, second) =
            (Scratch::below(below.path()).unwrap(), Scratch::below(below.path()).unwrap());
        assert_eq!(first.path(), second.path());
        assert_eq!(fs::metadata(first.path()).unwrap().mode() & 0o777, 0o700);
        let path = first.path().to_owned();
        drop(first);
        assert!(path.is_dir());
        fs::write(path.join("body"), "").unwrap();
        drop(second);
        // A body outlives the works: its folder stays locked, and serves the next.
        remove_abandoned(below.path());
        let third = Scratch::below(below.path()).unwrap();
        assert_eq!(third.path(), path);
        fs::remove_file(path.join("body")).unwrap();
        drop(third);
        assert!(!path.exists());
    }
}
