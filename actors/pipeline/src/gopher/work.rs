//! A gopher's own work on the books of a cart, which user code does.

use std::sync::Arc;

use super::{CrewCore, Destination, GopherCore, Tool};
use crate::book::Book;
use crate::context::PipelineContext;
use crate::crew::cart::Cart;
use crate::custody::lease::{Children, DropReason, LeaseVerdict};
use crate::transform::Product;
use gopherworks_supervision::__private::guarded;
use gopherworks_supervision::failure::Failure;
use gopherworks_supervision::fault::{FaultAction, Point};

/// A cart that user work processes.
pub(super) struct CartJob {
    pub(super) cart: Option<Cart>,
    /// Why the work stopped: a failure of a resource, not of a book.
    pub(super) condition: Option<Failure>,
    context: Arc<PipelineContext>,
    gopher: Arc<GopherCore>,
    /// True if books may be split: all piles are in memory, and the crew fills a dump.
    splits: bool,
}

impl CartJob {
    pub(super) fn new(cart: Cart, crew: &CrewCore, gopher: Arc<GopherCore>) -> Self {
        let context = crew.context.clone();
        let in_memory = context.custody.backend().is_none();
        let splits = in_memory && matches!(crew.to, Destination::Dump(_));
        Self { cart: Some(cart), condition: None, context, gopher, splits }
    }

    /// Works on each book until a resource fails. Failures are marked on the book. Returns the
    /// text of a panic, with the cart dropped. Also drops the cart if the run is halting.
    pub(super) fn run(&mut self, tool: &mut Tool) -> Option<String> {
        let cart = self.cart.as_mut()?;
        let count = cart.len();
        let mut worked = Vec::with_capacity(count);
        for index in 0..count {
            if self.context.is_halting() {
                self.cart = None;
                return None;
            }
            let body = cart.body_mut();
            let lease = body.lease.as_mut()?;
            if self.context.takes_back(lease, index) {
                lease.mark(index, LeaseVerdict::Return);
                worked.push(None);
                continue;
            }
            let book = lease.books()[index].clone();
            let id = book.id;
            let made =
                guarded(|| match self.context.fault(&self.gopher.name, Point::Work, Some(id.0)) {
                    Some(FaultAction::Error(failure)) => Err(failure),
                    _ => tool.work(book),
                });
            match made {
                Ok(Ok(Product::Book(mut book))) => {
                    book.id = id;
                    worked.push(Some(book));
                    continue;
                }
                Ok(Ok(Product::Dropped)) => {
                    lease.mark(index, LeaseVerdict::Drop(DropReason::Work));
                }
                Ok(Ok(Product::Split(children))) => {
                    lease.mark(index, split(self.splits, children));
                }
                Ok(Ok(Product::Filtered)) => {
                    lease.mark(index, LeaseVerdict::Drop(DropReason::Filtered));
                }
                // Failures caused by stopping the run are not the book's fault.
                Ok(Err(_)) if self.context.is_halting() => {
                    self.cart = None;
                    return None;
                }
                Ok(Err(failure)) if failure.is_of_sink() => {
                    // This book and the rest are returned without charging an attempt; the
                    // finished ones continue.
                    (index..count).for_each(|at| lease.mark(at, LeaseVerdict::Return));
                    worked.resize(count, None);
                    self.condition = Some(failure);
                    break;
                }
                Ok(Err(failure)) => lease.mark(index, LeaseVerdict::Refuse(failure)),
                Err(text) => {
                    let failure = Failure::transient(format!("panicked: {text}"));
                    lease.mark(index, LeaseVerdict::Refuse(failure));
                    self.cart = None;
                    return Some(text);
                }
            }
            worked.push(None);
        }
        cart.body_mut().worked = Some(worked);
        None
    }
}

/// The verdict on a book that was split into `children`; `stored` if custody can store them.
fn split(stored: bool, children: Vec<Book>) -> LeaseVerdict {
    if !stored {
        let why = "a book can only be split on the way to a dump, with all piles in memory";
        return LeaseVerdict::Refuse(Failure::permanent(why));
    }
    LeaseVerdict::Split(Children(children.into()))
}
