//! The carts of a crew, and the queue in which they wait for its gophers.

pub mod cart;
pub mod queue;
pub mod steps;

use std::fmt;
use std::sync::Mutex;

use rand::rngs::ChaCha8Rng;

use crate::stats::NodeStats;
use cart::Cart;
use queue::NextStep;
use steps::Step;

/// Sends carts to one gopher, whichever incarnation of it is up.
pub trait Carrier: fmt::Debug + Send + Sync {
    /// Sends a cart that needs `step` next. Its holder becomes the incarnation that receives it, of
    /// node `node`.
    ///
    /// # Errors
    /// The cart, if no incarnation is up.
    fn carry(&self, cart: Cart, step: NextStep, node: u32) -> Result<(), Cart>;

    /// True if incarnation `epoch` is up.
    fn is_at(&self, epoch: u64) -> bool;
}

/// State of a gopher that outlives its actor.
#[derive(Debug)]
pub struct GopherCore {
    /// The gopher's name.
    pub name: String,
    /// The gopher's index in the crew's list.
    pub index: usize,
    /// The step whose completion counts a cart for this gopher: the first of its duties.
    pub counts: Step,
    /// Counters of carts and books.
    pub stats: NodeStats,
    /// Random generator of step times, which a restart continues.
    pub chance: Mutex<ChaCha8Rng>,
}
