//! The `.gopherworks` folder below each folder that a run writes to: it holds journals, temporary
//! files and the run's lock.
//!
//! Links in it are never followed, and only regular files are read or written: a link, pipe, device
//! or folder in place of a file is an error that names the path. Opening never blocks.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

#[cfg(feature = "files")]
use cap_std::fs::Dir;
use parking_lot::Mutex;
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::locks::Locked;
use super::run_state::{FileId, file_id};

pub(super) const NAME: &str = ".gopherworks";

/// File locked by the run that writes to the folder; contains its process id.
const LOCK: &str = "lock";

const PRIVATE: u32 = 0o600;

#[derive(Debug)]
pub(super) struct Own {
    dir: OwnedFd,
    path: PathBuf,
    identity: FileId,
    folds_case: bool,
    lock: Mutex<Lock>,
}

/// The lock file, and the nodes of this run that still need it.
#[derive(Debug, Default)]
struct Lock {
    file: Option<Locked>,
    nodes: BTreeSet<String>,
}

impl Own {
    /// Opens the folder below `root`; creates it with mode 0700 if it is missing.
    pub(super) fn make(root: &Path) -> io::Result<Self> {
        make_folder(&File::open(root)?, NAME, &root.join(NAME))?;
        let own = Self::open(root)?.ok_or(io::ErrorKind::NotFound)?;
        // Checked before anything is written, so that an unusable file is reported at start.
        let ours = [".records", ".seen", ".refused", ".lines", ".lines.lock"];
        own.check(|name| name == LOCK || ours.iter().any(|end| name.ends_with(end)))?;
        Ok(own)
    }

    /// Opens the folder below `root`; `None` if it is missing.
    pub(super) fn open(root: &Path) -> io::Result<Option<Self>> {
        let path = root.join(NAME);
        let dir = match open_folder(rustix::fs::CWD, &path, &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let found = rustix::fs::fstat(&dir)?;
        Ok(Some(Self {
            dir,
            path,
            identity: file_id(&found),
            folds_case: false,
            lock: Mutex::default(),
        }))
    }

    pub(super) fn identity(&self) -> FileId {
        self.identity
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// True if the file system ignores case in names. False until [`Own::hold`] has checked.
    pub(super) fn folds_case(&self) -> bool {
        self.folds_case
    }

    /// Sorted names of the entries; names that are not UTF-8 are left out.
    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.dir)? {
            // All names that gopherworks uses are ASCII.
            if let Ok(name) = entry?.file_name().to_str()
                && name != "."
                && name != ".."
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn check(&self, ours: impl Fn(&str) -> bool) -> io::Result<()> {
        for name in self.names()?.into_iter().filter(|name| ours(name)) {
            let found = rustix::fs::statat(&self.dir, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            let kind = FileType::from_raw_mode(found.st_mode);
            if kind != FileType::RegularFile {
                return Err(in_the_way(&self.path.join(name), what(kind)));
            }
        }
        Ok(())
    }

    /// Opens a file for reading; `None` if it is missing.
    pub(super) fn read(&self, name: &str) -> io::Result<Option<File>> {
        match regular(&self.dir, &self.path, name, OFlags::RDONLY, PRIVATE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    /// Opens a file for appending; creates it if it is missing. A file with several hard links is
    /// first replaced by a copy, so that the other links keep their content.
    pub(super) fn append(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE;
        let file = regular(&self.dir, &self.path, name, flags, PRIVATE)?;
        if rustix::fs::fstat(&file)?.st_nlink <= 1 {
            return Ok(file);
        }
        self.replace(name, |copy| {
            let old = self.read(name)?.ok_or(io::ErrorKind::NotFound)?;
            io::copy(&mut &old, copy).map(|_| ())
        })?;
        regular(&self.dir, &self.path, name, flags, PRIVATE)
    }

    /// Replaces a file atomically and durably with what `write` writes. The temporary file of a
    /// killed run is overwritten.
    pub(super) fn replace(
        &self,
        name: &str,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        let fresh = format!("{name}.new");
        let unlink = || match rustix::fs::unlinkat(&self.dir, &fresh, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(named(&self.path.join(&fresh), error.into())),
        };
        unlink()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let mut file = regular(&self.dir, &self.path, &fresh, flags, PRIVATE)?;
        let written = write(&mut file).and_then(|()| file.sync_all());
        let placed =
            written.and_then(|()| Ok(rustix::fs::renameat(&self.dir, &fresh, &self.dir, name)?));
        if placed.is_err() {
            let _ = unlink();
            return placed;
        }
        Ok(rustix::fs::fsync(&self.dir)?)
    }

    /// Opens a subfolder; creates it with mode 0700 if it is missing.
    #[cfg(feature = "files")]
    pub(super) fn folder(&self, name: &str) -> io::Result<Dir> {
        let path = self.path.join(name);
        make_folder(&self.dir, name, &path)?;
        Ok(Dir::from(open_folder(&self.dir, Path::new(name), &path)?))
    }

    /// Locks the folder against other runs until all entered nodes have called [`Own::release`]. If
    /// the file system doesn't support locks, only a warning is logged.
    ///
    /// # Errors
    /// `ResourceBusy`, with the process id, if another run holds the lock.
    pub(super) fn hold(&mut self) -> io::Result<()> {
        let flags = OFlags::RDWR | OFlags::CREATE;
        let mut file = regular(&self.dir, &self.path, LOCK, flags, PRIVATE)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let _ = file.take(20).read_to_string(&mut text);
                let who = match text.trim() {
                    "" => String::new(),
                    number => format!(" (process {number})"),
                };
                return Err(io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    format!(
                        "another gopherworks{who} writes to {}: wait for its end, \
                         or name another folder",
                        self.path.parent().unwrap_or(&self.path).display()
                    ),
                ));
            }
            Err(Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP) => {
                log::warn!(
                    "{}: this file system has no locks; a concurrent run would not be detected",
                    self.path.display()
                );
                return Ok(());
            }
            Err(error) => return Err(named(&self.path.join(LOCK), error.into())),
        }
        file.set_len(0)?;
        file.write_all(std::process::id().to_string().as_bytes())?;
        self.folds_case = self.same_under_capitals();
        self.remove_abandoned()?;
        self.lock.get_mut().file = Some(Locked::new(file));
        Ok(())
    }

    /// Registers `node` as a writer of this folder.
    pub(super) fn enter(&self, node: &str) {
        let mut lock = self.lock.lock();
        lock.nodes.insert(node.to_owned());
    }

    /// Removes `node` from the writers. After the last one the lock is released.
    pub(super) fn release(&self, node: &str) {
        let mut lock = self.lock.lock();
        lock.nodes.remove(node);
        if lock.nodes.is_empty() {
            lock.file = None;
        }
    }

    fn same_under_capitals(&self) -> bool {
        let number = |name: &str| {
            let found = rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW);
            found.ok().map(|found| file_id(&found))
        };
        let capitals = number("LOCK");
        capitals.is_some() && capitals == number(LOCK)
    }

    /// Removes temporary files of killed runs. The lock is held, so no other run uses them.
    fn remove_abandoned(&self) -> io::Result<()> {
        for name in self.names()? {
            // Earlier versions named temporary files `.tmp` and six random characters.
            let old = name.strip_prefix(".tmp").is_some_and(|end| end.len() == 6);
            if old || name.ends_with(".new") {
                log::debug!("removing {}", self.path.join(&name).display());
                let _ = rustix::fs::unlinkat(&self.dir, &name, AtFlags::empty());
            }
        }
        Ok(())
    }
}

/// Creates the folder `name` in `dir` with mode 0700 if it is missing; `path` is for messages.
fn make_folder(dir: impl AsFd, name: &str, path: &Path) -> io::Result<()> {
    match rustix::fs::mkdirat(dir, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(named(path, error.into())),
    }
}

/// Opens the folder `name` in `dir`; the last part of `name` must not be a link. `path` is for
/// messages.
pub(super) fn open_folder(dir: impl AsFd, name: &Path, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(|error| match error {
        Errno::LOOP | Errno::NOTDIR => in_the_way(path, "not a folder, or a link to one"),
        error => named(path, error.into()),
    })
}

/// Opens the regular file `name`, a single path component, in `dir`, which is at `path`. The umask
/// applies to `mode`.
///
/// # Errors
/// An error of opening, or an entry that is not a regular file; the message has the path.
pub(super) fn regular(
    dir: impl AsFd,
    path: &Path,
    name: impl AsRef<OsStr>,
    flags: OFlags,
    mode: u32,
) -> io::Result<File> {
    let name = name.as_ref();
    let fixed = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(mode as _);
    let (kind, file) = match rustix::fs::openat(dir, name, flags | fixed, mode) {
        Ok(file) => (FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode), Some(file)),
        Err(Errno::LOOP | Errno::MLINK) => (FileType::Symlink, None),
        Err(Errno::NXIO) => (FileType::Fifo, None),
        Err(Errno::ISDIR) => (FileType::Directory, None),
        Err(error) => return Err(named(&path.join(name), error.into())),
    };
    match file.filter(|_| kind == FileType::RegularFile) {
        Some(file) => Ok(file.into()),
        None => Err(in_the_way(&path.join(name), what(kind))),
    }
}

fn what(kind: FileType) -> &'static str {
    match kind {
        FileType::Symlink => "a link, which is not followed",
        FileType::Fifo => "a pipe",
        FileType::Directory => "a folder",
        FileType::Socket => "a socket",
        _ => "a device",
    }
}

fn in_the_way(path: &Path, what: &str) -> io::Error {
    let text = format!(
        "{} is {what}, where gopherworks keeps a file of its own: remove it",
        path.display()
    );
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
