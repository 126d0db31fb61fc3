//! What errors of the server and of the connection mean for a store.

use std::time::Duration;

use gopherworks_pipeline::store::StoreError;
use tokio_postgres::Error;
use tokio_postgres::error::{DbError, Severity, SqlState};

/// When to try again after a lost connection.
const RETRY: Duration = Duration::from_millis(500);

/// How far a transaction had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The server has not been asked to commit.
    Before,
    /// The server has been asked to commit, and may have done so.
    Commit,
}

/// An error of a transaction.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Lost against another transaction: the same one may succeed at once.
    Again,
    Store(StoreError),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The text of an error, without details, which may contain data.
fn text(error: &Error) -> String {
    match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(db), _) => format!("{} ({})", db.message(), db.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

/// `Unavailable`, with the time after which a connection may be had again.
pub(crate) fn unavailable(reason: impl std::fmt::Display) -> StoreError {
    StoreError::unavailable(reason, RETRY)
}

/// The error of a call that lost too many races against other transactions.
pub(crate) fn contended() -> StoreError {
    StoreError::unavailable("other transactions were always first", Duration::ZERO)
}

/// The meaning of an error of the driver.
pub(crate) fn meaning(error: &Error, stage: Stage) -> Failed {
    let text = text(error);
    match error.as_db_error() {
        // An error of the statement alone ends the transaction, and changes nothing.
        Some(db) if is_of_statement(db) => of_server(db.code(), text),
        _ if stage == Stage::Commit => Failed::Store(StoreError::Unknown(text.into())),
        Some(db) => of_server(db.code(), text),
        None => Failed::Store(unavailable(text)),
    }
}

/// False if the server ends the session with the error.
fn is_of_statement(error: &DbError) -> bool {
    error.parsed_severity() == Some(Severity::Error)
}

fn of_server(code: &SqlState, text: String) -> Failed {
    let lost = [
        SqlState::UNIQUE_VIOLATION,
        SqlState::DUPLICATE_SCHEMA,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
    ];
    if lost.contains(code) {
        return Failed::Again;
    }
    if *code == SqlState::DISK_FULL {
        return Failed::Store(StoreError::Full);
    }
    if [SqlState::DATA_CORRUPTED, SqlState::INDEX_CORRUPTED].contains(code) {
        return Failed::Store(StoreError::Corrupt(text.into()));
    }
    let class = code.code().get(..2).unwrap_or_default();
    Failed::Store(match class {
        // A connection, resources, an operator, the system, locks, a server that only reads.
        "08" | "53" | "57" | "58" | "55" | "25" => unavailable(text),
        _ => StoreError::Other(text.into()),
    })
}
