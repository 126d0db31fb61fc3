//! Reporting books that a balancer's workers have burned.

use std::sync::Arc;

use super::IncineratorCore;
use crate::book::{Book, BookId};
use crate::crew::cart::Cart;
use crate::crew::cart::CartName;
use crate::custody::lease::{Batch, LeaseVerdict};
use crate::trace::Act;

/// Books of one cart that are burned but not yet reported. Reports them when dropped: at the end
/// of the cart, or of the incarnation that had it, whose marks then settle the cart. If the cart
/// was taken from a hung incarnation, another holder burns the books and nothing is reported.
pub(super) struct UnreportedBurns {
    core: Arc<IncineratorCore>,
    lease: Option<(Arc<Batch>, u64)>,
    crew: String,
    number: u32,
    books: Vec<Book>,
}

impl UnreportedBurns {
    pub(super) fn new(core: Arc<IncineratorCore>, cart: &Cart) -> Self {
        let CartName { crew, number } = cart.name();
        Self {
            core,
            lease: cart.body().lease.as_ref().map(|lease| lease.watched()),
            crew: crew.to_owned(),
            number,
            books: Vec::with_capacity(cart.len()),
        }
    }

    /// Marks the book at `index` as burned.
    pub(super) fn burned(&mut self, cart: &mut Cart, index: usize) {
        self.books.extend(cart.book(index).cloned());
        if let Some(lease) = &mut cart.body_mut().lease {
            lease.mark_burned(index, LeaseVerdict::Ack);
        }
    }
}

impl Drop for UnreportedBurns {
    fn drop(&mut self) {
        let held = (self.lease.as_ref()).is_some_and(|(batch, generation)| {
            batch.is_burning() && batch.generation() == *generation
        });
        if !held || self.books.is_empty() {
            return;
        }
        let books: Vec<&Book> = self.books.iter().collect();
        self.core.tell(&books);
        let ids: Vec<BookId> = books.iter().map(|book| book.id).collect();
        let cart = CartName { crew: &self.crew, number: self.number };
        let act = Act::Burn { cart, books: &ids };
        self.core.context.record(&self.core.name, &act);
    }
}
