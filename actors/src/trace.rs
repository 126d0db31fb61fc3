//! What is told of every move, for whoever keeps a trace.
//!
//! A trace names nodes, carts and books, and simulated times: no address, no thread, no wall time. So two runs of one binary with
//! the same seed tell the same, record by record.

use std::fmt;

use crate::book::BookId;
use crate::clock::Time;
use crate::event::Event;
use crate::gopher::steps::Step;

/// Keeps a trace. Called on the thread of whoever acts, often: it should be quick, and it must not call back.
pub trait Tracer: Send + Sync {
    /// Something was done.
    fn record(&self, record: &Record<'_>);
}

/// Something that was done.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// When.
    pub at: Time,
    /// By which node: a pile, a gopher, an incinerator; empty for the whole.
    pub node: &'a str,
    /// What.
    pub act: &'a Act<'a>,
}

/// A cart by its crew and its number there, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CartName<'a> {
    /// The crew.
    pub crew: &'a str,
    /// The number.
    pub number: u32,
}

/// What was done.
#[derive(Debug, Clone, Copy)]
pub enum Act<'a> {
    /// Books came to a pile from its source.
    Put {
        /// Which.
        books: &'a [BookId],
    },
    /// The application offered books to a pile.
    Offer {
        /// How many.
        books: usize,
    },
    /// A pile leased books to a cart.
    Lease {
        /// The cart.
        cart: CartName<'a>,
        /// Which.
        books: &'a [BookId],
    },
    /// A gopher has done a step.
    Step {
        /// Which.
        step: Step,
        /// With which cart.
        cart: CartName<'a>,
        /// When it began.
        since: Time,
    },
    /// A dump keeps room for a cart.
    Admit {
        /// The cart.
        cart: CartName<'a>,
        /// For how many books.
        books: usize,
    },
    /// Books of a cart passed on to a dump.
    Pass {
        /// The cart.
        cart: CartName<'a>,
        /// Which.
        books: &'a [BookId],
    },
    /// An incinerator burned books of a cart.
    Burn {
        /// The cart.
        cart: CartName<'a>,
        /// Which.
        books: &'a [BookId],
    },
    /// A request came to a balancer.
    Ask {
        /// Its number there, from 0.
        request: u64,
    },
    /// A worker has begun a request.
    Begin {
        /// Its number.
        request: u64,
        /// Which copy of it; 0 for the first.
        copy: u32,
    },
    /// A worker has answered.
    Answer {
        /// The request's number.
        request: u64,
        /// Which copy of it.
        copy: u32,
        /// False if nobody wanted the answer any more.
        wanted: bool,
    },
    /// A worker has lost what it had begun.
    Lose {
        /// The request's number.
        request: u64,
        /// Which copy of it.
        copy: u32,
    },
    /// Nobody wants the answer any more.
    Cancel {
        /// The request's number.
        request: u64,
    },
    /// The deadline of a request has passed.
    Expire {
        /// Its number.
        request: u64,
    },
    /// A request has waited too long under overload.
    Shed {
        /// Its number.
        request: u64,
    },
    /// A fault fired here.
    Fault {
        /// The rule's name.
        rule: &'a str,
        /// What: its kind, and the point.
        what: &'a str,
    },
    /// Something happened to an actor, a book or the run.
    Event(&'a Event),
}

impl fmt::Display for CartName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.crew, self.number)
    }
}

/// Ids as ranges: `1-10,12`.
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
            Act::Ask { request } => write!(f, "ask {request}"),
            Act::Begin { request, copy } => write!(f, "begin {request}.{copy}"),
            Act::Answer {
                request,
                copy,
                wanted,
            } => {
                let word = if *wanted { "answer" } else { "waste" };
                write!(f, "{word} {request}.{copy}")
            }
            Act::Lose { request, copy } => write!(f, "lose {request}.{copy}"),
            Act::Cancel { request } => write!(f, "cancel {request}"),
            Act::Expire { request } => write!(f, "expire {request}"),
            Act::Shed { request } => write!(f, "shed {request}"),
            Act::Fault { rule, what } => write!(f, "fault {rule} {what}"),
            Act::Event(event) => write!(f, "{event}"),
        }
    }
}

/// A line of a trace, without its newline: `TIME NODE ACT`, a `-` for no node.
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
        assert_eq!(
            ids(&[u64::MAX - 1, u64::MAX]),
            format!("{}-{}", u64::MAX - 1, u64::MAX)
        );
    }

    #[test]
    fn a_record_is_a_line() {
        let cart = CartName {
            crew: "near[lane=1]",
            number: 3,
        };
        let act = Act::Step {
            step: Step::Push,
            cart,
            since: Time(1_000_000),
        };
        let record = Record {
            at: Time(1_500_000),
            node: "near[lane=1]/2",
            act: &act,
        };
        assert_eq!(
            record.to_string(),
            "0.001500000s near[lane=1]/2 push near[lane=1]#3 since 0.001000000s"
        );
    }
}
