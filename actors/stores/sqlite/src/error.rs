//! What errors of SQLite and of the file system mean for a store.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use gopherworks_pipeline::store::StoreError;
use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;

/// When to try again after an error of the disk.
const RETRY: Duration = Duration::from_secs(1);

/// The meaning of an error of SQLite.
pub(crate) fn sqlite(error: rusqlite::Error) -> StoreError {
    let Some(failure) = error.sqlite_error() else {
        return StoreError::Corrupt(error.to_string().into());
    };
    match failure.code {
        ErrorCode::DiskFull => StoreError::Full,
        _ if failure.extended_code == SQLITE_IOERR_SHMSIZE => StoreError::Full,
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
            StoreError::Corrupt(error.to_string().into())
        }
        ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::SystemIoFailure
        | ErrorCode::CannotOpen
        | ErrorCode::OutOfMemory
        | ErrorCode::PermissionDenied
        | ErrorCode::ReadOnly => StoreError::unavailable(error, RETRY),
        _ => StoreError::Other(error.to_string().into()),
    }
}

/// The same error of the store at `path`, which its text names.
pub(crate) fn at(path: &Path, error: StoreError) -> StoreError {
    let place = path.display().to_string();
    let named = |text: &str| match text.contains(&place) {
        true => text.to_owned(),
        false => format!("{place}: {text}"),
    };
    match error {
        StoreError::Corrupt(what) => StoreError::Corrupt(named(&what).into()),
        StoreError::Unavailable { retry_after, reason } => {
            StoreError::unavailable(named(&reason), retry_after)
        }
        other => other,
    }
}

/// The meaning of an error of the file system, at the file `path` of the store.
pub(crate) fn io(what: &str, path: &Path, error: &std::io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::unavailable(format!("{what} {}: {error}", path.display()), RETRY),
    }
}
