//! State that the gophers of a crew share.

use std::sync::Arc;

use crate::asking::Asking;
use crate::context::PipelineContext;
use crate::crew::cart::Cart;
use crate::crew::queue::{CrewQueue, NextStep};
use crate::crew::steps::{StepTime, StepTimes};
use crate::incinerator::IncineratorCore;
use crate::pause::Pause;
use crate::pile::PileCore;
use crate::transform::Transform;
use gopherworks_supervision::failure::Failure;

/// Where a crew unloads its carts.
#[derive(Debug, Clone)]
pub enum Destination {
    /// The crew unloads into a staging dump.
    Dump(Arc<PileCore>),
    /// The crew unloads into an incinerator.
    Incinerator(Arc<IncineratorCore>),
}

/// Makes the work of one gopher, anew for every incarnation.
pub type MakeWork = Arc<dyn Fn() -> Result<Box<dyn Transform>, Failure> + Send + Sync>;

/// Maximum number of books in a group of coupled carts.
const COUPLED: usize = 1024;

/// State shared by the gophers of one crew.
pub struct CrewCore {
    /// The crew's queue of carts.
    pub queue: Arc<CrewQueue>,
    /// The pile that the crew empties.
    pub from: Arc<PileCore>,
    /// Where the crew unloads.
    pub to: Destination,
    /// Duration of each step.
    pub steps: StepTimes,
    /// Makes the work of one gopher; `None` if books are carried unchanged.
    pub work: Option<MakeWork>,
    /// The balancer whose workers do the work instead of the gophers.
    pub ask: Option<Asking>,
    /// Shared context of the pipeline.
    pub context: Arc<PipelineContext>,
    /// Pauses the crew while a resource that its work needs is unavailable.
    pub(crate) pause: Pause,
}

impl CrewCore {
    /// Creates the crew of `queue`: its pile, its destination, and its own work or the balancer
    /// that does it.
    pub fn new(
        queue: Arc<CrewQueue>,
        (from, to): (Arc<PileCore>, Destination),
        steps: StepTimes,
        (work, ask): (Option<MakeWork>, Option<Asking>),
        context: Arc<PipelineContext>,
    ) -> Self {
        Self { pause: Pause::new("crew", queue.name()), queue, from, to, steps, work, ask, context }
    }

    /// While the crew pauses: the reason, and the number of books waiting on its pile and in its
    /// carts.
    pub fn pauses(&self) -> Option<(String, usize)> {
        let counts = self.from.counts();
        let waiting = counts.ready + counts.leased + counts.inbox;
        Some((self.pause.reason()?, waiting))
    }

    /// On a drain: gives back what waits in its carts as far as a source can give it again, and
    /// tries the rest at once, if it pauses.
    pub fn hurry(&self) {
        if self.pause.is_on() {
            self.pause.hurry();
        }
    }

    /// Pauses the crew until [`CrewCore::resume`]: carts under way finish their trips, and no other
    /// is sent for books. False if it is held already.
    pub fn hold(&self) -> bool {
        let begins = self.queue.hold();
        if begins {
            self.from.send_back(&self.queue);
        }
        begins
    }

    /// Ends the pause that [`CrewCore::hold`] began; false if there is none.
    pub fn resume(&self) -> bool {
        self.queue.resume()
    }

    /// True if the books of a cart that waits for the end of a pause go back to their source: the
    /// cart is to be dropped.
    pub(crate) fn gives_back(&self, cart: &Cart) -> bool {
        let lease = cart.body().lease.as_ref();
        self.pause.is_on() && lease.is_some_and(|lease| self.context.takes_all_back(lease))
    }

    /// Maximum number of books of a lease: the capacity of a cart, or of all carts coupled to it.
    pub fn load(&self) -> usize {
        self.queue.want().books.saturating_mul(self.coupling())
    }

    /// How many carts may be coupled: more than one only if trips take no time, since coupled carts
    /// wait for each other.
    pub(super) fn coupling(&self) -> usize {
        let queue = &self.queue;
        let quick = self.steps.0.iter().all(StepTime::is_zero)
            && (self.work.is_none() && self.ask.is_none())
            && !queue.is_exclusive(NextStep::Load)
            && !queue.is_exclusive(NextStep::Unload);
        // At most half of the carts and of each pile's capacity, so that one group can be loaded
        // while another is under way.
        let half = |pile: &PileCore| match pile.capacity_bytes() {
            Some(_) => 0,
            None => pile.capacity_books().map_or(COUPLED, |most| COUPLED.min(most as usize / 2)),
        };
        let books = match &self.to {
            Destination::Dump(dump) => half(dump).min(half(&self.from)),
            Destination::Incinerator(_) => half(&self.from),
        };
        match quick {
            true => (queue.carts() / 2).min(books / queue.want().books.max(1)).max(1),
            false => 1,
        }
    }
}

impl std::fmt::Debug for CrewCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CrewCore").field("queue", &self.queue).finish()
    }
}
