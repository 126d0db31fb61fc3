//! Disk space put by, so that acks succeed on a full disk.
//!
//! Removing books writes to the log as well. A file of some megabytes is kept beside the database;
//! when the disk is full it is deleted, and its space is enough for acks until there is room again.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    bytes: u64,
    is_kept: bool,
}

impl Reserve {
    pub fn new(path: PathBuf, bytes: u64) -> Self {
        Self { path, bytes, is_kept: false }
    }

    /// True while the space is put by.
    pub fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Puts the space by; true if it is there now.
    pub fn keep(&mut self) -> bool {
        self.is_kept = self.is_kept || self.allocate().is_ok();
        if !self.is_kept {
            // A part of it would only take space away.
            let _ = std::fs::remove_file(&self.path);
        }
        self.is_kept
    }

    fn allocate(&self) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(false).mode(0o600).open(&self.path)?;
        match fallocate(&file, FallocateFlags::empty(), 0, self.bytes.max(1)) {
            Ok(()) => Ok(()),
            // Not every file system can preallocate.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => fill(&mut file, self.bytes),
            Err(error) => Err(error.into()),
        }?;
        file.sync_all()
    }

    /// Gives the space up; true if there was some.
    pub fn give_up(&mut self) -> bool {
        std::mem::take(&mut self.is_kept) && std::fs::remove_file(&self.path).is_ok()
    }
}

fn fill(file: &mut File, bytes: u64) -> io::Result<()> {
    let zeros = [0; 64 * 1024];
    let mut left = bytes;
    while left > 0 {
        let some = left.min(zeros.len() as u64);
        file.write_all(&zeros[..some as usize])?;
        left -= some;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_space_is_there_until_it_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reserve");
        let mut reserve = Reserve::new(path.clone(), 1 << 20);
        assert!(reserve.keep() && reserve.is_kept());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 1 << 20);
        assert!(reserve.keep(), "a second time changes nothing");
        assert!(reserve.give_up() && !path.exists());
        assert!(!reserve.give_up(), "it is gone");
        let mut file = File::create(&path).unwrap();
        fill(&mut file, 100_000).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 100_000);
    }
}
