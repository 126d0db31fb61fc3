//! The gopher actor: takes carts from a pile to a dump or an incinerator and back, doing some or
//! all of the four steps.

mod inline;
mod work;

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};

use crate::asking::Asking;
use crate::context::PipelineContext;
use crate::crew::cart::Cart;
use crate::crew::queue::{CrewQueue, Incarnation, NextStep};
use crate::crew::steps::{self, Step, StepTimes};
use crate::crew::{Carrier, GopherCore};
use crate::custody::HolderId;
use crate::incinerator::IncineratorCore;
use crate::pause::Pause;
use crate::pile::PileCore;
use crate::trace::Act;
use crate::transform::Transform;
use gopherworks_supervision::__private::threads;
use gopherworks_supervision::clock::Time;
use gopherworks_supervision::failure::Failure;
use gopherworks_supervision::fault::{Deed, Point};
use gopherworks_supervision::{Guarded, Port};

use inline::Burning;

/// A cart for an idle gopher. If it is dropped with the mailbox, the cart returns to the crew and
/// its books to their pile.
#[derive(Debug)]
pub struct Carry {
    /// The cart to work on.
    pub cart: Cart,
    /// What it needs next.
    pub step: NextStep,
}

impl Message for Carry {
    type Result = ();
}

impl Carrier for Port<Gopher> {
    fn carry(&self, cart: Cart, step: NextStep, node: u32) -> Result<(), Cart> {
        let sent = self.send_with(|epoch| {
            cart.hand_to(HolderId::new(node, epoch));
            Carry { cart, step }
        });
        sent.map_err(|unsent| unsent.into_inner().cart)
    }

    fn is_at(&self, epoch: u64) -> bool {
        Port::is_at(self, epoch)
    }
}

/// Where a crew unloads its carts.
#[derive(Debug, Clone)]
pub enum Destination {
    /// Into a staging dump.
    Dump(Arc<PileCore>),
    /// Into an incinerator.
    Incinerator(Arc<IncineratorCore>),
}

/// Makes the work of one gopher, anew for every incarnation.
pub type MakeWork = Arc<dyn Fn() -> Result<Box<dyn Transform>, Failure> + Send + Sync>;

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

    /// True if the books of a cart that waits for the end of a pause go back to their source: the
    /// cart is to be dropped.
    pub(crate) fn gives_back(&self, cart: &Cart) -> bool {
        let lease = cart.body().lease.as_ref();
        self.pause.is_on() && lease.is_some_and(|lease| self.context.takes_all_back(lease))
    }

    /// Most books leased at once: the capacity of a cart, or of a group of coupled carts.
    pub fn load(&self) -> usize {
        self.queue.want().books.saturating_mul(coupling(self))
    }
}

impl std::fmt::Debug for CrewCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CrewCore").field("queue", &self.queue).finish()
    }
}

/// A gopher's actor.
pub struct Gopher {
    crew: Arc<CrewCore>,
    core: Arc<GopherCore>,
    epoch: u64,
    me: Arc<Incarnation>,
    /// Neither faults nor traces are configured, so steps without duration need no events.
    unseen: bool,
    /// Most carts that may be coupled.
    coupling: usize,
    work: Option<Tool>,
    hands: Option<Cart>,
    burning: Burning,
    busy: bool,
    /// When the last timed step was due to end. Deadlines are chained, so that rounding errors do
    /// not add up.
    free_at: Time,
    /// When the current step began.
    began: Time,
}

impl std::fmt::Debug for Gopher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gopher").field("name", &self.core.name).field("busy", &self.busy).finish()
    }
}

/// The gopher's work; `None` while it runs in the thread pool.
type Tool = Guarded<Box<dyn Transform>>;

/// Most books in a group of coupled carts.
const COUPLED: usize = 1024;

/// How many carts of a crew may be coupled: more than one only if trips take no time, since
/// coupled carts wait for each other.
fn coupling(crew: &CrewCore) -> usize {
    let queue = &crew.queue;
    let quick = crew.steps.0.iter().all(steps::StepTime::is_zero)
        && (crew.work.is_none() && crew.ask.is_none())
        && !queue.is_exclusive(NextStep::Load)
        && !queue.is_exclusive(NextStep::Unload);
    // At most half of the carts and of each pile's capacity, so that one group can be loaded while
    // another is under way.
    let half = |pile: &PileCore| match pile.capacity_bytes {
        Some(_) => 0,
        None => (pile.capacity_books).map_or(COUPLED, |most| COUPLED.min(most as usize / 2)),
    };
    let books = match &crew.to {
        Destination::Dump(dump) => half(dump).min(half(&crew.from)),
        Destination::Incinerator(_) => half(&crew.from),
    };
    match quick {
        true => (queue.carts() / 2).min(books / queue.want().books.max(1)).max(1),
        false => 1,
    }
}

impl Gopher {
    /// Creates the actor over `core`, in incarnation `epoch`.
    ///
    /// # Errors
    /// The error of the crew's work factory.
    pub fn new(crew: Arc<CrewCore>, core: Arc<GopherCore>, epoch: u64) -> Result<Self, Failure> {
        let work = crew.work.as_ref().map(|make| make()).transpose()?;
        // This incarnation starts nothing before now, even if it was due earlier.
        let born = crew.context.clock.now();
        let duties = crew.queue.duties_of(core.index);
        let coupling = coupling(&crew);
        // With an incinerator coupling starts at 1, until the duration of a burn is known.
        let first = matches!(crew.to, Destination::Dump(_));
        crew.queue.couple_up_to(if first { coupling } else { 1 });
        let mut at_once = [false; 6];
        for step in NextStep::ALL {
            let idle = match step {
                NextStep::Take | NextStep::Reserve => true,
                NextStep::Push if crew.work.is_some() || crew.ask.is_some() => false,
                _ => crew.steps.of(step.duty()).is_zero() && !crew.queue.is_exclusive(step),
            };
            at_once[step as usize] = idle && duties.has(step.duty());
        }
        let unseen = crew.context.faults().is_none() && !crew.context.is_traced();
        let mut own = NextStep::ALL.into_iter().filter(|step| duties.has(step.duty()));
        let me = Arc::new(Incarnation {
            queue: Arc::downgrade(&crew.queue),
            core: core.clone(),
            holder: crew.queue.holder_at(core.index, epoch),
            epoch,
            thread: threads::number(),
            born,
            at_once,
            lends: unseen
                && !crew.context.clock.is_simulated()
                && own.all(|step| at_once[step as usize]),
        });
        crew.queue.register(&me);
        Ok(Self {
            me,
            unseen,
            coupling,
            crew,
            core,
            epoch,
            work: work.map(Guarded::new),
            hands: None,
            burning: Burning::default(),
            busy: false,
            free_at: born,
            began: born,
        })
    }

    /// Starts one step. Returns the cart and its next step if the step took no time; otherwise
    /// `busy` is set or the cart was sent on.
    fn start_step(
        &mut self,
        mut cart: Cart,
        step: NextStep,
        ctx: &mut Context<Self>,
    ) -> Option<(Cart, NextStep)> {
        // Requesting books is instantaneous, but cannot start before this gopher is free.
        cart.not_before(self.free_at);
        match step {
            NextStep::Take | NextStep::Reserve => self.onward(cart, step, None),
            NextStep::Push if self.crew.ask.is_some() => self.ask(cart, ctx),
            NextStep::Push if self.work.is_some() => self.do_work(cart, ctx),
            NextStep::Load | NextStep::Push | NextStep::Unload | NextStep::Return => {
                self.spend(cart, step, ctx)
            }
        }
    }

    /// Waits for the duration of the step.
    fn spend(
        &mut self,
        mut cart: Cart,
        step: NextStep,
        ctx: &mut Context<Self>,
    ) -> Option<(Cart, NextStep)> {
        let time = self.crew.steps.of(step.duty());
        let point = match step.duty() {
            Step::Load => Point::Load,
            Step::Push => Point::Push,
            Step::Unload => Point::Unload,
            Step::Return => Point::Return,
        };
        let slow = match self.crew.context.fault(&self.core.name, point, None) {
            Some(Deed::Slow(by)) => by,
            _ => Duration::ZERO,
        };
        if time.is_zero() && slow.is_zero() {
            self.began = self.free_at.max(cart.due());
            return self.finished(cart, step);
        }
        let (wait, cpu) = {
            let mut chance = self.core.chance.lock().unwrap_or_else(PoisonError::into_inner);
            (time.wait.draw(&mut *chance), time.cpu.draw(&mut *chance))
        };
        let clock = &self.crew.context.clock;
        let began = self.free_at.max(cart.due());
        self.began = began;
        let wait = wait + slow;
        let deadline = began + wait + cpu;
        self.free_at = deadline;
        cart.body_mut().due = deadline;
        self.core.stats.busy_for(wait + cpu);
        self.hands = Some(cart);
        self.busy = true;
        let done =
            move |(), gopher: &mut Self, ctx: &mut Context<Self>| gopher.time_is_up(step, ctx);
        if cpu.is_zero() {
            ctx.spawn(clock.sleep_until(deadline).into_actor(self).map(done));
        } else {
            let context = self.crew.context.clone();
            ctx.spawn(
                async move {
                    context.clock.sleep_until(began + wait).await;
                    context.pool.use_core(cpu).await;
                }
                .into_actor(self)
                .map(move |(), gopher: &mut Self, ctx: &mut Context<Self>| {
                    // The gopher may have waited for a core: the schedule continues from now.
                    let now = gopher.crew.context.clock.now();
                    gopher.free_at = gopher.free_at.max(now);
                    if let Some(cart) = &mut gopher.hands {
                        cart.not_before(now);
                    }
                    gopher.time_is_up(step, ctx);
                }),
            );
        }
        None
    }

    fn time_is_up(&mut self, step: NextStep, ctx: &mut Context<Self>) {
        if self.crew.context.is_halting() {
            return;
        }
        self.busy = false;
        let put = self.hands.take().and_then(|cart| self.finished(cart, step));
        let next = self.crew.queue.advance(self.core.index, self.epoch, put);
        self.go_on(next, ctx);
    }

    /// Completes a step; returns the cart and its next step unless the cart was sent on.
    fn finished(&mut self, cart: Cart, step: NextStep) -> Option<(Cart, NextStep)> {
        if step.duty() == self.core.counts {
            self.core.stats.carts_with(cart.carts(), cart.body().books);
        }
        let context = &self.crew.context;
        if context.is_traced() && !matches!(step, NextStep::Take | NextStep::Reserve) {
            let act = Act::Step { step: step.duty(), cart: cart.name(), since: self.began };
            context.record(&self.core.name, &act);
        }
        self.onward(cart, step, None)
    }
}

impl Actor for Gopher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // Asks for work once the port is bound: a cart sent before that would not arrive.
        ctx.spawn(tokio::task::yield_now().into_actor(self).map(|(), gopher, ctx| {
            if gopher.busy {
                // A cart has arrived already.
                return;
            }
            let next = gopher.crew.queue.advance(gopher.core.index, gopher.epoch, None);
            gopher.go_on(next, ctx);
        }));
    }
}

impl Handler<Carry> for Gopher {
    type Result = ();

    fn handle(&mut self, Carry { cart, step }: Carry, ctx: &mut Self::Context) {
        if self.busy {
            // Carts are only sent to idle gophers; this one was meant for an earlier incarnation,
            // so it is queued again.
            self.crew.queue.put(cart, step);
            return;
        }
        self.go_on(Some((cart, step)), ctx);
    }
}
