//! Trace records of all actions, for a [`Tracer`].
//!
//! A trace contains names of nodes, carts and books, and simulated times, but no addresses,
//! threads or wall-clock times. Two simulations by one binary with the same seed produce identical
//! records.

use std::fmt;
use std::sync::Arc;

use gopherworks_balancer::trace::{RequestAct, RequestRecord, RequestTracer};

use crate::book::BookId;
pub use crate::crew::cart::CartName;
use crate::crew::steps::Step;
use crate::event::Event;
use gopherworks_supervision::clock::Time;

/// Receives trace records. Called often, on the thread of the acting node, so it should be fast;
/// it must not call back into gopherworks.
pub trait Tracer: Send + Sync {
    /// Receives one record.
    fn record(&self, record: &Record<'_>);
}

/// Passes the records of a balancer on to the tracer of a topology.
pub struct BalancerTracer(pub Arc<dyn Tracer>);

impl fmt::Debug for BalancerTracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BalancerTracer")
    }
}

impl RequestTracer for BalancerTracer {
    fn record(&self, record: &RequestRecord<'_>) {
        let RequestRecord { at, node, act } = *record;
        self.0.record(&Record { at, node, act: &Act::Request(act) });
    }
}

/// A trace record.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// When it happened.
    pub at: Time,
    /// The node that acted: a pile, a gopher, an incinerator and so on; empty for the run as a
    /// whole.
    pub node: &'a str,
    /// What the node did.
    pub act: &'a Act<'a>,
}

/// Actions in a trace.
#[derive(Debug, Clone, Copy)]
pub enum Act<'a> {
    /// A pile got new books: from its source, or by splitting others.
    Put {
        /// Ids of the books.
        books: &'a [BookId],
    },
    /// A pile got books from the application.
    Offer {
        /// Number of books.
        books: usize,
    },
    /// A pile leased books to a cart.
    Lease {
        /// Name of the cart.
        cart: CartName<'a>,
        /// Ids of the books.
        books: &'a [BookId],
    },
    /// A gopher completed a step.
    Step {
        /// The completed step.
        step: Step,
        /// Name of the cart.
        cart: CartName<'a>,
        /// When the step began.
        since: Time,
    },
    /// A dump reserved space for a cart.
    Admit {
        /// Name of the cart.
        cart: CartName<'a>,
        /// Number of books.
        books: usize,
    },
    /// Books of a cart were passed on to a dump.
    Pass {
        /// Name of the cart.
        cart: CartName<'a>,
        /// Ids of the books.
        books: &'a [BookId],
    },
    /// An incinerator burned books of a cart.
    Burn {
        /// Name of the cart.
        cart: CartName<'a>,
        /// Ids of the books.
        books: &'a [BookId],
    },
    /// An action on a request of a balancer.
    Request(RequestAct),
    /// A simulated store has confirmed a commit.
    Store {
        /// Ids of new books that are stored.
        stored: &'a [BookId],
        /// Ids of books that are burned, dropped or dead in the store.
        ended: &'a [BookId],
    },
    /// An incinerator's sink was synced: books burned before survive a crash.
    Sync,
    /// The process was killed.
    Crash,
    /// A fault was injected.
    Fault {
        /// Name of the fault's rule.
        rule: &'a str,
        /// Kind of fault and injection point.
        what: &'a str,
    },
    /// An event of an actor, a book or the run.
    Event(&'a Event),
}

/// Formats ids as ranges: `1-10,12`.
struct Ranges<'a>(&'a [BookId]);

impl fmt::Display for Ranges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let mut first = true;
        while let Some(from) = rest.first() {
            let run = (rest.iter().zip(0u64..))
                .take_while(|(id, at)| Some(id.0) == from.0.checked_add(*at))
                .count();
            if !first {
                f.write_str(",")?;
            }
            first = false;
            match run {
                1 => write!(f, "{from}")?,
                _ => write!(f, "{from}-{}", rest[run - 1])?,
            }
            rest = &rest[run..];
        }
        Ok(())
    }
}

impl fmt::Display for Act<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Act::Put { books } => write!(f, "put {}", Ranges(books)),
            Act::Offer { books } => write!(f, "offer {books}"),
            Act::Lease { cart, books } => write!(f, "lease {cart} {}", Ranges(books)),
            Act::Step { step, cart, since } => write!(f, "{} {cart} since {since}", step.name()),
            Act::Admit { cart, books } => write!(f, "admit {cart} {books}"),
            Act::Pass { cart, books } => write!(f, "pass {cart} {}", Ranges(books)),
            Act::Burn { cart, books } => write!(f, "burn {cart} {}", Ranges(books)),
            Act::Request(act) => write!(f, "{act}"),
            Act::Store { stored, ended } => {
                write!(f, "stored {} ended {}", Ranges(stored), Ranges(ended))
            }
            Act::Sync => f.write_str("sync"),
            Act::Crash => f.write_str("crash"),
            Act::Fault { rule, what } => write!(f, "fault {rule} {what}"),
            Act::Event(event) => write!(f, "{event}"),
        }
    }
}

/// A line of a trace, without newline: `TIME NODE ACTION`, with `-` for no node.
impl fmt::Display for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = match self.act {
            Act::Event(event) => event.node().unwrap_or("-"),
            _ => self.node,
        };
        write!(f, "{} {node} {}", self.at, self.act)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_ranges() {
        let ids = |ids: &[u64]| -> String {
            let ids: Vec<BookId> = ids.iter().copied().map(BookId).collect();
            Ranges(&ids).to_string()
        };
        assert_eq!(ids(&[]), "");
        assert_eq!(ids(&[7]), "7");
        assert_eq!(ids(&[1, 2, 3, 5, 7, 8]), "1-3,5,7-8");
        assert_eq!(ids(&[3, 2, 1]), "3,2,1");
        assert_eq!(ids(&[u64::MAX - 1, u64::MAX]), format!("{}-{}", u64::MAX - 1, u64::MAX));
    }

    #[test]
    fn a_record_is_a_line() {
        let cart = CartName { crew: "near[lane=1]", number: 3 };
        let act = Act::Step { step: Step::Push, cart, since: Time(1_000_000) };
        let record = Record { at: Time(1_500_000), node: "near[lane=1]/2", act: &act };
        assert_eq!(
            record.to_string(),
            "0.001500000s near[lane=1]/2 push near[lane=1]#3 since 0.001000000s"
        );
    }
}
