//! Finds the holder of a lock on a file.

use std::fs::{File, TryLockError};
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::MetadataExt;

use gopherworks_supervision::failure::Failure;

/// A locked file. Dropped, it is unlocked at once.
///
/// Closing is not enough: a program that another thread is just starting holds a copy of the
/// descriptor, and with it the lock, until its `exec`.
#[derive(Debug)]
pub(crate) struct Locked(File);

impl Locked {
    /// Takes over the lock of `file`.
    pub(crate) fn new(file: File) -> Self {
        Self(file)
    }

    /// Locks `file`. On a file system without locks it counts as locked.
    ///
    /// # Errors
    /// A permanent failure if another open file holds the lock; `busy` words it from the holder.
    pub(super) fn claim(file: File, busy: impl FnOnce(&str) -> String) -> Result<Self, Failure> {
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Failure::permanent(busy(&holder(&file)))),
            Err(TryLockError::Error(error)) => log::debug!("a file can't be locked: {error}"),
        }
        Ok(Self(file))
    }
}

impl Deref for Locked {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut File {
        &mut self.0
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // An error means that there is no lock: some file systems know none.
        let _ = self.0.unlock();
    }
}

/// What holds the lock of `file`, for a message: `another process (pid 42)`, as far as the system
/// says so (Linux: `/proc/locks`).
fn holder(file: &File) -> String {
    let pid = file.metadata().ok().and_then(|found| {
        let locks = std::fs::read_to_string("/proc/locks").ok()?;
        locked_by(&locks, found.dev(), found.ino())
    });
    match pid {
        Some(pid) if pid == std::process::id() => "another node or run of this process".to_owned(),
        Some(pid) => format!("another process (pid {pid})"),
        None => "another process".to_owned(),
    }
}

/// The holder of a lock by `flock` on this inode. Some file systems give another device there than
/// `stat` does: the inode's number decides where no device matches.
fn locked_by(locks: &str, dev: u64, ino: u64) -> Option<u32> {
    let (major, minor) = (rustix::fs::major(dev), rustix::fs::minor(dev));
    let held = locks.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1).skip_while(|word| *word == "->");
        (words.next()? == "FLOCK").then_some(())?;
        let mut words = words.skip(2);
        let pid: u32 = words.next()?.parse().ok()?;
        let mut place = words.next()?.split(':');
        let mut hex = || u32::from_str_radix(place.next()?, 16).ok();
        let device = (hex()?, hex()?);
        (place.next()?.parse() == Ok(ino)).then_some((device, pid))
    });
    let held: Vec<_> = held.collect();
    let exact = held.iter().find(|(device, _)| *device == (major, minor));
    exact.or(held.first()).map(|(_, pid)| *pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_free_at_once_even_if_a_starting_program_has_a_copy_of_its_descriptor() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || File::options().append(true).open(file.path()).unwrap();
        let (ours, another) = (open(), open());
        ours.try_lock().unwrap();
        // What a program has between `fork` and `exec`.
        let copy = ours.try_clone().unwrap();
        assert!(another.try_lock().is_err());
        drop(Locked::new(ours));
        another.try_lock().unwrap();
        drop(copy);
    }

    #[test]
    fn the_holder_is_found_by_device_and_inode() {
        let locks = "1: POSIX  ADVISORY  WRITE 10 08:01:77 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 11 08:02:77 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 12 08:01:77 0 EOF\n\
                     3: -> FLOCK  ADVISORY  WRITE 13 08:01:77 0 EOF\n";
        assert_eq!(locked_by(locks, rustix::fs::makedev(8, 1), 77), Some(12));
        assert_eq!(locked_by(locks, rustix::fs::makedev(9, 9), 77), Some(11));
        assert_eq!(locked_by(locks, rustix::fs::makedev(8, 1), 78), None);
    }
}
