//! Custody of books: which are ready, leased, burned or dead. Pure, and kept outside of all
//! actors.

pub mod lease;
pub mod ledger;
pub mod shelf;
pub mod slots;
