//! `[store]`: where piles are kept, so that they survive the process.

use std::path::PathBuf;

use crate::config::element::Element;

/// An engine that keeps piles.
#[derive(Debug, Clone, PartialEq, Eq, Element)]
#[element(by_kind = store)]
pub enum StoreConfig {
    /// An SQLite database of one process at a time. Books survive `kill -9` and power loss.
    Sqlite {
        /// The database; a path that starts at the folder of this file. Missing parent folders are
        /// created.
        path: PathBuf,
    },
}

/// Where the books of one pile are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Element)]
#[element(words)]
pub enum PileStore {
    /// In memory, so that the books are lost with the process.
    Memory,
}
