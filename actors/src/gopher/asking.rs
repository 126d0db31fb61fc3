//! Work and burns that a balancer's workers do: a request for each book of a cart, all of them at once.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::balancer::{BalancerCore, CallError, CallOptions};
use crate::book::Book;
use crate::cart::Cart;
use crate::failure::Failure;
use crate::job::{Answer, Job, Served};
use crate::lease::Verdict;
use crate::works::Works;

/// Who asks whom.
#[derive(Debug, Clone)]
pub struct Asking {
    /// The balancer.
    pub desk: Arc<BalancerCore<Served>>,
    /// The crew or the incinerator: with a book's id it names the request.
    pub from: Arc<str>,
}

impl Asking {
    async fn ask(&self, book: Book) -> Result<Answer, CallError> {
        let job = Job {
            from: self.from.clone(),
            number: book.id.0,
            copy: 0,
            book: Some(book),
        };
        let asked = self.desk.clock().now();
        self.desk
            .start_at(job, asked, CallOptions::default())
            .await?
            .await
    }

    /// Asks for every book of a cart and marks what comes of it at once, so that a cart that is dropped meanwhile goes home with what is
    /// known; calls that are under way then are cancelled. `settle` makes a verdict of an answered book. Nothing is given back if the run is
    /// halting: the cart is on its way home. Books that the workers can't take at present are returned uncharged, and the first such failure is given.
    pub(crate) async fn all(
        self,
        mut cart: Cart,
        works: Arc<Works>,
        mut settle: impl FnMut(&mut Cart, usize, Option<Book>),
    ) -> Option<(Cart, Option<Failure>)> {
        let books = (0..cart.len()).filter_map(|index| Some((index, cart.book(index)?.clone())));
        let asking = &self;
        let mut condition = None;
        let mut calls: FuturesUnordered<_> = books
            .map(|(index, book)| async move { (index, book.id, asking.ask(book).await) })
            .collect();
        while let Some((index, id, answer)) = calls.next().await {
            let failure = match answer {
                Ok(Ok(book)) => {
                    let book = book.map(|book| Book { id, ..book });
                    settle(&mut cart, index, book);
                    continue;
                }
                // What fails because the run is being stopped is no book's fault.
                _ if works.is_halting() => return None,
                Err(CallError::Closed) => return None,
                Ok(Err(failure)) => failure,
                // The balancer has not begun it for want of room or time: that is no fault of the book.
                Err(error @ (CallError::Full | CallError::Shed { .. })) => {
                    Failure::unavailable(error.to_string())
                }
                Err(error) => Failure::transient(error.to_string()),
            };
            let Some(lease) = &mut cart.body_mut().lease else {
                continue;
            };
            if failure.is_of_sink() {
                lease.mark(index, Verdict::Return);
                condition.get_or_insert(failure);
            } else {
                lease.mark(index, Verdict::Refuse(failure));
            }
        }
        drop(calls);
        Some((cart, condition))
    }
}
