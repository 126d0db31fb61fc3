//! Temporary files: each live burn has its own folder, removed by a later burn if its owner dies.

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::super::super::locks::Locked;
use super::super::super::own::{self, Own};
use super::super::super::run_state::{FileId, file_id, nanoseconds};

/// Makes folder names unique within the process; they also contain the process id.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// A folder for temporary files. Its lock file stays locked until the owner ends, even by a crash.
pub(super) struct Staging {
    // `.gopherworks/tmp`, the parent of the temporary folders of all burns.
    all: Dir,
    own: Dir,
    path: PathBuf,
    name: String,
    lock_name: String,
    // Permission bits that the process's umask leaves.
    mask: u32,
    _lock: Locked,
}

/// Id, size in bytes and modification time in nanoseconds since 1970 of a file whose content is
/// final.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity {
    pub(super) id: FileId,
    pub(super) size: u64,
    pub(super) mtime: i64,
}

/// Modification time: whole seconds since 1970, and the nanoseconds of that second.
pub(super) type Mtime = (i64, u32);

impl Staging {
    /// Creates and locks a folder below `ours`, and removes folders whose owners have ended.
    pub(super) fn open(ours: &Own) -> io::Result<Self> {
        let all = ours.folder("tmp")?;
        let all_path = ours.path().join("tmp");
        remove_abandoned(&all, &all_path)?;
        loop {
            let name = format!("{}-{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
            let lock_name = format!("{name}.lock");
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            let lock = match own::regular(&all, &all_path, &lock_name, flags, 0o600) {
                Ok(lock) => lock,
                // A process in another container, or from before a restart, used the same process
                // id.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            };
            // Another burn may have removed the file as abandoned before it was locked.
            if !try_lock(&lock)? || !all.try_exists(&lock_name)? {
                continue;
            }
            // Create with mode 0777: the resulting mode shows the process's umask, which cannot be
            // read without changing it.
            let make = || rustix::fs::mkdirat(&all, &name, Mode::from_raw_mode(0o777));
            match make() {
                Err(Errno::EXIST) => {
                    all.remove_dir_all(&name)?;
                    make()?;
                }
                other => other?,
            }
            let path = all_path.join(&name);
            let own = own::open_folder(&all, name.as_ref(), &path)?;
            let mask = rustix::fs::fstat(&own)?.st_mode as u32 & 0o777;
            rustix::fs::fchmod(&own, Mode::RWXU)?;
            return Ok(Self {
                own: Dir::from(own),
                path,
                all,
                name,
                lock_name,
                mask,
                _lock: Locked::new(lock),
            });
        }
    }

    /// Reserves a temporary name. No file is created yet.
    pub(super) fn temporary(&self, name: String) -> Temporary<'_> {
        Temporary { staging: self, name, file: None, exists: false, linked: false }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // If this fails, the next burn of this root removes the rest, once the lock is free.
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

fn remove_abandoned(all: &Dir, path: &Path) -> io::Result<()> {
    for entry in all.entries()? {
        let name = entry?.file_name();
        let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".lock")) else {
            continue;
        };
        // Another run may have removed it meanwhile; anything but a regular file is left alone.
        let Ok(lock) = own::regular(all, path, &name, OFlags::RDONLY, 0) else {
            continue;
        };
        if try_lock(&lock)? {
            log::debug!("removing temporary files that {stem} left behind");
            let _ = all.remove_dir_all(stem);
            let _ = all.remove_file(&name);
        }
    }
    Ok(())
}

/// A temporary file; it is removed on drop unless it was placed.
pub(super) struct Temporary<'a> {
    staging: &'a Staging,
    name: String,
    file: Option<File>,
    exists: bool,
    linked: bool,
}

impl Temporary<'_> {
    /// Creates the file with `mode`, minus the umask.
    pub(super) fn create(&mut self, mode: u32) -> io::Result<&mut File> {
        let staging = self.staging;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let file = own::regular(&staging.own, &staging.path, &self.name, flags, mode)?;
        self.exists = true;
        Ok(self.file.insert(file))
    }

    /// Links the file at `path` to this name and sets its mode, minus the umask. False if it cannot
    /// be linked, e.g. because it is on another file system.
    pub(super) fn link(&mut self, path: &Path, mode: u32) -> io::Result<bool> {
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
        // A spilled file is readable by its owner only; the output gets the mode of its input.
        let mode = Mode::from_raw_mode((mode & self.staging.mask) as _);
        rustix::fs::chmodat(own, &self.name, mode, AtFlags::empty())?;
        Ok(true)
    }

    /// Sets the modification time and keeps the access time.
    pub(super) fn set_mtime(&self, (seconds, nanoseconds): Mtime) -> io::Result<()> {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
            last_modification: Timespec { tv_sec: seconds as _, tv_nsec: nanoseconds as _ },
        };
        let set = match &self.file {
            Some(file) => rustix::fs::futimens(file, &times),
            None => rustix::fs::utimensat(
                &self.staging.own,
                &self.name,
                &times,
                AtFlags::SYMLINK_NOFOLLOW,
            ),
        };
        Ok(set?)
    }

    pub(super) fn identity(&self) -> io::Result<Identity> {
        let found = match &self.file {
            Some(file) => rustix::fs::fstat(file)?,
            None => rustix::fs::statat(&self.staging.own, &self.name, AtFlags::SYMLINK_NOFOLLOW)?,
        };
        Ok(Identity {
            id: file_id(&found),
            size: found.st_size as u64,
            mtime: nanoseconds(found.st_mtime as i64, found.st_mtime_nsec as i64),
        })
    }

    /// Closes the file to save a descriptor; it can still be synced.
    pub(super) fn close(&mut self) {
        self.file = None;
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        match &self.file {
            Some(file) => file.sync_all(),
            None => self.staging.own.open(&self.name)?.sync_all(),
        }
    }

    /// Renames the file to `name` in `folder` if that is free; false if it is taken.
    pub(super) fn place_new(&mut self, folder: &Dir, name: &OsStr) -> io::Result<bool> {
        #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
        {
            use rustix::fs::RenameFlags;
            let own = &self.staging.own;
            match rustix::fs::renameat_with(own, &self.name, folder, name, RenameFlags::NOREPLACE) {
                Ok(()) => {
                    self.exists = false;
                    return Ok(true);
                }
                Err(Errno::EXIST) => return Ok(false),
                // The file system does not support `NOREPLACE`: check below, then rename.
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(false),
            Err(Errno::NOENT) => self.place_over(folder, name).map(|()| true),
            Err(error) => Err(error.into()),
        }
    }

    /// Renames the file to `name` in `folder`, replacing what is there.
    pub(super) fn place_over(&mut self, folder: &Dir, name: &OsStr) -> io::Result<()> {
        rustix::fs::renameat(&self.staging.own, &self.name, folder, name)?;
        // If both names are links to one file, renaming does nothing and the temporary name stays.
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
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn what_a_dead_owner_left_is_removed_and_what_a_living_one_has_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = Dir::open_ambient_dir(folder.path(), ambient_authority()).unwrap();
        let ours = Own::make(folder.path()).unwrap();
        let living = Staging::open(&ours).unwrap();
        let mut theirs = living.temporary("theirs".to_owned());
        theirs.create(0o644).unwrap();
        // A killed process leaves a folder with a file in it, and an unlocked lock file.
        root.create_dir_all(".gopherworks/tmp/dead").unwrap();
        root.write(".gopherworks/tmp/dead/half", "half").unwrap();
        root.write(".gopherworks/tmp/dead.lock", "").unwrap();
        let second = Staging::open(&ours).unwrap();
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
