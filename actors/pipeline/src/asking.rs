//! Work and burns done by a balancer's workers: one request for each book of a cart, all at once.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::book::Book;
use crate::context::PipelineContext;
use crate::crew::cart::Cart;
use crate::custody::lease::LeaseVerdict;
use crate::job::{Answer, Job, Served};
use gopherworks_balancer::__private::BalancerCore;
use gopherworks_balancer::{CallError, CallOptions};
use gopherworks_supervision::failure::Failure;

/// Which balancer to call, and on whose behalf.
#[derive(Debug, Clone)]
pub struct Asking {
    /// The balancer whose workers serve the requests.
    pub balancer: Arc<BalancerCore<Served>>,
    /// Name of the crew or incinerator; together with the book's id it identifies the request.
    pub from: Arc<str>,
}

impl Asking {
    async fn ask(&self, book: Book, attempt: u32) -> Result<Answer, CallError> {
        let (from, number) = (self.from.clone(), book.id.0);
        let job = Job { from, number, copy: 0, attempt, book: Some(book) };
        let asked = self.balancer.clock().now();
        self.balancer.start_at(job, asked, CallOptions::default()).await?.await
    }

    /// Calls for every book of a cart and marks each result as it arrives, so that a cart dropped
    /// meanwhile keeps the results known by then; dropping the future cancels the other calls.
    /// `settle` records a success. Returns `None` if the run is halting, after dropping the cart.
    /// Books that the workers cannot take at present are returned to the pile without charging an
    /// attempt; the first such failure is returned.
    pub(crate) async fn all(
        self,
        mut cart: Cart,
        context: Arc<PipelineContext>,
        mut settle: impl FnMut(&mut Cart, usize, Option<Book>),
    ) -> Option<(Cart, Option<Failure>)> {
        let books = (0..cart.len())
            .filter_map(|index| Some((index, cart.book(index)?.clone(), cart.attempt(index))));
        let asking = &self;
        let mut condition = None;
        let mut calls: FuturesUnordered<_> = books
            .map(|(index, book, attempt)| async move {
                (index, book.id, asking.ask(book, attempt).await)
            })
            .collect();
        while let Some((index, id, answer)) = calls.next().await {
            let failure = match answer {
                Ok(Ok(book)) => {
                    let book = book.map(|book| Book { id, ..book });
                    settle(&mut cart, index, book);
                    continue;
                }
                // Failures caused by stopping the run are not the book's fault.
                _ if context.is_halting() => return None,
                Err(CallError::Closed) => return None,
                Ok(Err(failure)) => failure,
                // Not started for lack of capacity or time: not the book's fault.
                Err(error @ (CallError::Full | CallError::Shed { .. })) => {
                    Failure::unavailable(error.to_string())
                }
                Err(error) => Failure::transient(error.to_string()),
            };
            let Some(lease) = &mut cart.body_mut().lease else {
                continue;
            };
            if failure.is_of_sink() {
                lease.mark(index, LeaseVerdict::Return);
                condition.get_or_insert(failure);
            } else {
                lease.mark(index, LeaseVerdict::Refuse(failure));
            }
        }
        drop(calls);
        Some((cart, condition))
    }
}
