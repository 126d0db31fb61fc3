//! One process at a time: a lock on a file beside the database.
//!
//! Not on the database itself: closing any descriptor of it would release SQLite's own locks.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

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

/// [`holder`] has the lock for less than a look; so often is it tried again.
const LOOKS: u32 = 10;
const LOOK: Duration = Duration::from_millis(2);

/// Locks the file at `path`, for the database `what`.
///
/// # Errors
/// `InUse` with the process that has it.
pub(crate) fn lock(path: &Path, what: &Path) -> Result<Lock, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let open = || -> std::io::Result<Result<File, u32>> {
        let mut file = options.open(path)?;
        let mut locked = file.try_lock();
        for _ in 0..LOOKS {
            if !matches!(locked, Err(TryLockError::WouldBlock)) {
                break;
            }
            std::thread::park_timeout(LOOK);
            locked = file.try_lock();
        }
        match locked {
            Ok(()) => {
                // As long as any before it: on a full disk a file can't be rewritten otherwise.
                writeln!(file, "{:<10}", std::process::id())?;
                Ok(Ok(file))
            }
            Err(TryLockError::WouldBlock) => Ok(Err(pid(file)?)),
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

/// The process id in a lock; 0 if it can't be read.
fn pid(mut file: File) -> std::io::Result<u32> {
    let mut text = String::new();
    file.rewind()?;
    file.take(32).read_to_string(&mut text)?;
    Ok(text.trim().parse().unwrap_or(0))
}

/// The process that has the lock at `path`, and when it got it, as time since 1970.
pub(crate) fn holder(path: &Path) -> std::io::Result<Option<(u32, Duration)>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        // The process that wrote it has ended.
        Ok(()) => file.unlock().map(|()| None),
        Err(TryLockError::WouldBlock) => {
            let since = file.metadata()?.modified()?.duration_since(UNIX_EPOCH);
            Ok(Some((pid(file)?, since.unwrap_or_default())))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}
