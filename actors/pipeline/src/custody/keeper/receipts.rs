//! Pure: the receipts of the books that custody holds.

use crate::book::BookId;
use crate::store::Receipt;

/// Receipts of held books.
#[derive(Debug, Default)]
pub(crate) enum Receipts {
    /// Of an exclusive store: made of the id.
    #[default]
    OfIds,
}

impl Receipts {
    /// The receipt of a book; `None` if it is not held any more.
    pub(super) fn of(&self, id: BookId) -> Option<Receipt> {
        match self {
            Self::OfIds => Some(Receipt::of(id)),
        }
    }
}
