//! `count`: discards every book. The ledger still counts them as burned.

use gopherworks_pipeline::book::Book;
use gopherworks_pipeline::burn::Burn;
use gopherworks_supervision::failure::Failure;

use super::super::Site;
use super::super::closures::NoOptions;

/// Burns each book without any effect. It never blocks, so it runs on the arbiter.
pub(crate) struct Count;

pub(super) fn make(_: &NoOptions, _: &Site) -> Result<Count, Failure> {
    Ok(Count)
}

impl Burn for Count {
    fn burn(&self, _: &Book) -> Result<(), Failure> {
        Ok(())
    }

    fn burn_cart(&self, books: &[&Book]) -> Option<Vec<Result<(), Failure>>> {
        Some(vec![Ok(()); books.len()])
    }

    fn blocks(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_for_every_book_of_a_cart() {
        let book = Book::new("x");
        let answers = Count.burn_cart(&[&book, &book, &book]).unwrap();
        assert_eq!(answers, [Ok(()), Ok(()), Ok(())]);
        assert!(!Count.blocks());
    }
}
