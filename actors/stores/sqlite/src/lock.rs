//! One process at a time: a lock on a file beside the database.
//!
//! Not on the database itself: closing any descriptor of it would release SQLite's own locks.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use gopherworks_pipeline::store::StoreError;

use crate::error::io;

/// Held until it is dropped, or the process ends. The file stays: deleting it would let two
/// processes lock two files.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing would not do: a child process has the descriptor as well, until it runs its
        // program.
        let _ = self.0.unlock();
    }
}

/// Locks the file at `path`, for the database `what`.
///
/// # Errors
/// `InUse` with the process that has it.
pub(crate) fn lock(path: &Path, what: &Path) -> Result<Lock, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let open = || -> std::io::Result<Result<File, u32>> {
        let mut file = options.open(path)?;
        match file.try_lock() {
            Ok(()) => {
                // As long as any before it: on a full disk a file can't be rewritten otherwise.
                writeln!(file, "{:<10}", std::process::id())?;
                Ok(Ok(file))
            }
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                file.rewind()?;
                file.take(32).read_to_string(&mut text)?;
                Ok(Err(text.trim().parse().unwrap_or(0)))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    };
    match open().map_err(|error| io("the lock", path, &error))? {
        Ok(file) => Ok(Lock(file)),
        Err(pid) => {
            let what = format!("{} is open in another process", what.display()).into();
            Err(StoreError::InUse { pid: (pid != 0).then_some(pid), what })
        }
    }
}
