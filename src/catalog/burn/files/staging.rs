//! Temporary names: a folder of its own for each living burn, cleared away when its owner is gone.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt, Permissions, PermissionsExt};

use super::OWN;

/// Makes names unique within the process; the process and the lock file do the rest.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// A folder for temporary files. Its lock file stays locked while its owner lives, whatever way the owner ends.
pub(super) struct Staging {
    // `.gopherworks/tmp`
    all: Dir,
    own: Dir,
    name: String,
    lock_name: String,
    mode: u32,
    _lock: File,
}

impl Staging {
    /// Takes a folder below `root`, and removes those whose owners are gone.
    pub(super) fn open(root: &Dir) -> io::Result<Self> {
        let path = Path::new(OWN).join("tmp");
        root.create_dir_all(&path)?;
        let all = root.open_dir(&path)?;
        remove_abandoned(&all)?;
        loop {
            let name = format!(
                "{}-{}",
                std::process::id(),
                SERIAL.fetch_add(1, Ordering::Relaxed)
            );
            let lock_name = format!("{name}.lock");
            let options = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o644)
                .clone();
            let lock = match all.open_with(&lock_name, &options) {
                Ok(lock) => lock.into_std(),
                // A process of the same number in another container, or before a restart.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            };
            // Between its creation and its lock another burn may have taken the file for an abandoned one.
            if !try_lock(&lock)? || !all.try_exists(&lock_name)? {
                continue;
            }
            match all.create_dir(&name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => all
                    .remove_dir_all(&name)
                    .and_then(|()| all.create_dir(&name))?,
                other => other?,
            }
            // Asked for 0644: what is left shows the process's mask, which can't be asked for without changing it.
            let mode =
                std::os::unix::fs::PermissionsExt::mode(&lock.metadata()?.permissions()) & 0o777;
            return Ok(Self {
                own: all.open_dir(&name)?,
                all,
                name,
                lock_name,
                mode,
                _lock: lock,
            });
        }
    }

    /// A temporary name, with nothing under it yet.
    pub(super) fn temporary(&self, name: String) -> Temporary<'_> {
        Temporary {
            staging: self,
            name,
            file: None,
            exists: false,
            linked: false,
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Whatever stays is removed by the next burn of this root, once the lock is free.
        let _ = self.all.remove_dir_all(&self.name);
        let _ = self.all.remove_file(&self.lock_name);
    }
}

fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn remove_abandoned(all: &Dir) -> io::Result<()> {
    for entry in all.entries()? {
        let name = entry?.file_name();
        let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".lock")) else {
            continue;
        };
        // Somebody else may be tidying up, too.
        let Ok(lock) = all.open(&name) else { continue };
        let lock = lock.into_std();
        if try_lock(&lock)? {
            log::debug!("removing temporary files that {stem} left behind");
            let _ = all.remove_dir_all(stem);
            let _ = all.remove_file(&name);
        }
    }
    Ok(())
}

/// A temporary name; what is under it is removed unless it was placed.
pub(super) struct Temporary<'a> {
    staging: &'a Staging,
    name: String,
    file: Option<File>,
    exists: bool,
    linked: bool,
}

impl Temporary<'_> {
    /// Creates the file.
    pub(super) fn create(&mut self) -> io::Result<&mut File> {
        let options = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .clone();
        let file = self.staging.own.open_with(&self.name, &options)?.into_std();
        self.exists = true;
        Ok(self.file.insert(file))
    }

    /// Makes the name a link to the file at `path`; false where it can't be one, e.g. on another file system.
    pub(super) fn link(&mut self, path: &Path) -> io::Result<bool> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(false);
        };
        let own = &self.staging.own;
        let linked = Dir::open_ambient_dir(folder, ambient_authority())
            .and_then(|folder| folder.hard_link(name, own, &self.name));
        if linked.is_err() {
            return Ok(false);
        }
        self.exists = true;
        self.linked = true;
        // Spilled bodies are private; what becomes of them is not.
        own.set_permissions(&self.name, Permissions::from_mode(self.staging.mode))?;
        Ok(true)
    }

    /// Closes the file; it can still be synced.
    pub(super) fn close(&mut self) {
        self.file = None;
    }

    /// Waits until the disk has the bytes.
    pub(super) fn sync(&self) -> io::Result<()> {
        match &self.file {
            Some(file) => file.sync_all(),
            None => self.staging.own.open(&self.name)?.sync_all(),
        }
    }

    /// Moves the file to `target` below `root`, over what is there.
    pub(super) fn place(&mut self, root: &Dir, target: &Path) -> io::Result<()> {
        self.staging.own.rename(&self.name, root, target)?;
        // Where `target` is a link to the same file already, renaming leaves both names.
        self.exists = self.linked;
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if self.exists {
            let _ = self.staging.own.remove_file(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn names(root: &Dir) -> BTreeSet<String> {
        let entries = root.read_dir(".gopherworks/tmp").unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn what_a_dead_owner_left_is_removed_and_what_a_living_one_has_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = Dir::open_ambient_dir(folder.path(), ambient_authority()).unwrap();
        let living = Staging::open(&root).unwrap();
        let mut theirs = living.temporary("theirs".to_owned());
        theirs.create().unwrap();
        // As a killed process leaves it: a folder with a file, and a lock that nobody holds.
        root.create_dir_all(".gopherworks/tmp/dead").unwrap();
        root.write(".gopherworks/tmp/dead/half", "half").unwrap();
        root.write(".gopherworks/tmp/dead.lock", "").unwrap();
        let second = Staging::open(&root).unwrap();
        assert_eq!(names(&root).len(), 4);
        assert!(!root.exists(".gopherworks/tmp/dead"));
        assert!(living.own.exists("theirs"));
        drop(theirs);
        assert!(!living.own.exists("theirs"));
        drop(living);
        drop(second);
        assert!(names(&root).is_empty());
    }
}
