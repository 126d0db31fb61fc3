//! Ranges of stored books.

use gopherworks_pipeline::store::StoreError;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::error::sqlite;

/// A row of `place`: adjacent books of a pile, with equally spaced ids and adjacent records.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    /// Key of the pile.
    pub pile: i64,
    /// Arrival number of the first book.
    pub at: i64,
    /// Id of the first book.
    pub first: i64,
    /// Difference between ids.
    pub step: i64,
    /// Number of books.
    pub n: i64,
    pub pack: i64,
    /// Where the first record begins.
    pub off: i64,
    /// Length of all records.
    pub len: i64,
}

impl Range {
    /// Reads a range from the columns `at, first, step, n, pack, off, len`.
    pub fn read(pile: i64, row: &Row<'_>) -> rusqlite::Result<Self> {
        let (at, first, step) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (n, pack, off, len) = (row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?);
        Ok(Self { pile, at, first, step, n, pack, off, len })
    }

    pub fn insert(&self, conn: &Connection) -> rusqlite::Result<()> {
        let insert = "insert into place values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let Self { pile, at, first, step, n, pack, off, len } = *self;
        conn.prepare_cached(insert)?.execute([pile, at, first, step, n, pack, off, len])?;
        Ok(())
    }

    /// Id of the last book.
    pub fn last(&self) -> i64 {
        self.first + (self.n - 1) * self.step
    }

    /// True if the numbers make sense; a damaged row must not be followed.
    pub fn is_sound(&self) -> bool {
        let is_id = |id: i64| id > 0 && id < crate::engine::LARGEST_ID as i64;
        let span = self.n.checked_sub(1).and_then(|gaps| gaps.checked_mul(self.step));
        self.n > 0
            && self.step > 0
            && is_id(self.first)
            && span.and_then(|span| span.checked_add(self.first)).is_some_and(is_id)
            && self.off >= 0
            && self.len > 0
            && self.at.checked_add(self.n).is_some()
    }
}

/// Records of a pack.
///
/// # Errors
/// `Corrupt` if they are not there.
pub(crate) fn read(
    conn: &Connection,
    pack: i64,
    off: i64,
    len: i64,
) -> Result<Vec<u8>, StoreError> {
    let select = "select substr(data, ?2 + 1, ?3) from pack where pack = ?1";
    let mut select = conn.prepare_cached(select).map_err(sqlite)?;
    let data = select.query_row([pack, off, len], |row| row.get::<_, Vec<u8>>(0));
    let data = data.optional().map_err(sqlite)?;
    data.filter(|data| data.len() as i64 == len)
        .ok_or_else(|| StoreError::Corrupt(format!("records of pack {pack} are missing").into()))
}
