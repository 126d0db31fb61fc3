//! The gopher actor: takes carts from a pile to a dump or an incinerator and back, doing some or
//! all of the four steps.

mod turn;
mod work;

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};

use crate::asking::Asking;
use crate::crew::cart::Cart;
use crate::crew::steps::{self, Step, StepTimes};
use crate::crew::yard::{Doer, Leg, Yard, holder};
use crate::crew::{Carrier, GopherCore};
use crate::incinerator::IncineratorCore;
use crate::pause::Pause;
use crate::pile::PileCore;
use crate::trace::Act;
use crate::transform::Transform;
use crate::works::Works;
use gopherworks_supervision::__private::threads;
use gopherworks_supervision::clock::Time;
use gopherworks_supervision::failure::Failure;
use gopherworks_supervision::fault::{Deed, Point};
use gopherworks_supervision::{Guarded, Port};

use turn::Burning;

/// A cart for an idle gopher. If it is dropped with the mailbox, the cart returns to the crew and
/// its books to their pile.
#[derive(Debug)]
pub struct Carry {
    /// The cart to work on.
    pub cart: Cart,
    /// What it needs next.
    pub leg: Leg,
}

impl Message for Carry {
    type Result = ();
}

impl Carrier for Port<Gopher> {
    fn carry(&self, cart: Cart, leg: Leg, node: u32) -> Result<(), Cart> {
        let sent = self.send_with(|epoch| {
            cart.hand_to(holder(node, epoch));
            Carry { cart, leg }
        });
        sent.map_err(|unsent| unsent.into_inner().cart)
    }

    fn is_at(&self, epoch: u64) -> bool {
        Port::is_at(self, epoch)
    }
}

/// Where a crew unloads its carts.
#[derive(Debug, Clone)]
pub enum Door {
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
    pub yard: Arc<Yard>,
    /// The pile that the crew empties.
    pub from: Arc<PileCore>,
    /// Where the crew unloads.
    pub to: Door,
    /// Duration of each step.
    pub steps: StepTimes,
    /// Makes the work of one gopher; `None` if books are carried unchanged.
    pub work: Option<MakeWork>,
    /// The balancer whose workers do the work instead of the gophers.
    pub ask: Option<Asking>,
    /// Shared context of the pipeline.
    pub works: Arc<Works>,
    /// Pauses the crew while a resource that its work needs is unavailable.
    pub(crate) pause: Pause,
}

impl CrewCore {
    /// Creates the crew of `yard`: its pile, its destination, and its own work or the balancer
    /// that does it.
    pub fn new(
        yard: Arc<Yard>,
        (from, to): (Arc<PileCore>, Door),
        steps: StepTimes,
        (work, ask): (Option<MakeWork>, Option<Asking>),
        works: Arc<Works>,
    ) -> Self {
        Self { pause: Pause::new("crew", yard.name()), yard, from, to, steps, work, ask, works }
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
        self.pause.is_on() && lease.is_some_and(|lease| self.works.takes_all_back(lease))
    }

    /// Most books leased at once: the capacity of a cart, or of a group of coupled carts.
    pub fn load(&self) -> usize {
        self.yard.want().books.saturating_mul(coupling(self))
    }
}

impl std::fmt::Debug for CrewCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CrewCore").field("yard", &self.yard).finish()
    }
}

/// A gopher's actor.
pub struct Gopher {
    crew: Arc<CrewCore>,
    core: Arc<GopherCore>,
    epoch: u64,
    me: Arc<Doer>,
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
    let yard = &crew.yard;
    let quick = crew.steps.0.iter().all(steps::StepTime::is_zero)
        && (crew.work.is_none() && crew.ask.is_none())
        && !yard.is_exclusive(Leg::Load)
        && !yard.is_exclusive(Leg::Unload);
    // At most half of the carts and of each pile's capacity, so that one group can be loaded while
    // another is under way.
    let half = |pile: &PileCore| match pile.capacity_bytes {
        Some(_) => 0,
        None => (pile.capacity_books).map_or(COUPLED, |most| COUPLED.min(most as usize / 2)),
    };
    let books = match &crew.to {
        Door::Dump(dump) => half(dump).min(half(&crew.from)),
        Door::Incinerator(_) => half(&crew.from),
    };
    match quick {
        true => (yard.carts() / 2).min(books / yard.want().books.max(1)).max(1),
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
        let born = crew.works.clock.now();
        let duties = crew.yard.duties_of(core.index);
        let coupling = coupling(&crew);
        // With an incinerator coupling starts at 1, until the duration of a burn is known.
        let first = matches!(crew.to, Door::Dump(_));
        crew.yard.couple_up_to(if first { coupling } else { 1 });
        let mut at_once = [false; 6];
        for leg in Leg::ALL {
            let idle = match leg {
                Leg::Take | Leg::Reserve => true,
                Leg::Push if crew.work.is_some() || crew.ask.is_some() => false,
                _ => crew.steps.of(leg.step()).is_zero() && !crew.yard.is_exclusive(leg),
            };
            at_once[leg as usize] = idle && duties.has(leg.step());
        }
        let unseen = crew.works.faults().is_none() && !crew.works.is_traced();
        let mut own = Leg::ALL.into_iter().filter(|leg| duties.has(leg.step()));
        let me = Arc::new(Doer {
            yard: Arc::downgrade(&crew.yard),
            core: core.clone(),
            holder: crew.yard.holder_at(core.index, epoch),
            epoch,
            thread: threads::number(),
            born,
            at_once,
            lends: unseen
                && !crew.works.clock.is_simulated()
                && own.all(|leg| at_once[leg as usize]),
        });
        crew.yard.settle(&me);
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

    /// Starts one leg. Returns the cart and its next leg if the leg took no time; otherwise `busy`
    /// is set or the cart was sent on.
    fn leg(&mut self, mut cart: Cart, leg: Leg, ctx: &mut Context<Self>) -> Option<(Cart, Leg)> {
        // Requesting books is instantaneous, but cannot start before this gopher is free.
        cart.not_before(self.free_at);
        match leg {
            Leg::Take | Leg::Reserve => self.onward(cart, leg, None),
            Leg::Push if self.crew.ask.is_some() => self.ask(cart, ctx),
            Leg::Push if self.work.is_some() => self.do_work(cart, ctx),
            Leg::Load | Leg::Push | Leg::Unload | Leg::Return => self.spend(cart, leg, ctx),
        }
    }

    /// Waits for the duration of the step.
    fn spend(&mut self, mut cart: Cart, leg: Leg, ctx: &mut Context<Self>) -> Option<(Cart, Leg)> {
        let time = self.crew.steps.of(leg.step());
        let point = match leg.step() {
            Step::Load => Point::Load,
            Step::Push => Point::Push,
            Step::Unload => Point::Unload,
            Step::Return => Point::Return,
        };
        let slow = match self.crew.works.fault(&self.core.name, point, None) {
            Some(Deed::Slow(by)) => by,
            _ => Duration::ZERO,
        };
        if time.is_zero() && slow.is_zero() {
            self.began = self.free_at.max(cart.due());
            return self.finished(cart, leg);
        }
        let (wait, cpu) = {
            let mut chance = self.core.chance.lock().unwrap_or_else(PoisonError::into_inner);
            (time.wait.draw(&mut *chance), time.cpu.draw(&mut *chance))
        };
        let clock = &self.crew.works.clock;
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
            move |(), gopher: &mut Self, ctx: &mut Context<Self>| gopher.time_is_up(leg, ctx);
        if cpu.is_zero() {
            ctx.spawn(clock.sleep_until(deadline).into_actor(self).map(done));
        } else {
            let works = self.crew.works.clone();
            ctx.spawn(
                async move {
                    works.clock.sleep_until(began + wait).await;
                    works.pool.use_core(cpu).await;
                }
                .into_actor(self)
                .map(move |(), gopher: &mut Self, ctx: &mut Context<Self>| {
                    // The gopher may have waited for a core: the schedule continues from now.
                    let now = gopher.crew.works.clock.now();
                    gopher.free_at = gopher.free_at.max(now);
                    if let Some(cart) = &mut gopher.hands {
                        cart.not_before(now);
                    }
                    gopher.time_is_up(leg, ctx);
                }),
            );
        }
        None
    }

    fn time_is_up(&mut self, leg: Leg, ctx: &mut Context<Self>) {
        if self.crew.works.is_halting() {
            return;
        }
        self.busy = false;
        let put = self.hands.take().and_then(|cart| self.finished(cart, leg));
        let next = self.crew.yard.advance(self.core.index, self.epoch, put);
        self.go_on(next, ctx);
    }

    /// Completes a step; returns the cart and its next leg unless the cart was sent on.
    fn finished(&mut self, cart: Cart, leg: Leg) -> Option<(Cart, Leg)> {
        if leg.step() == self.core.counts {
            self.core.stats.carts_with(cart.carts(), cart.body().books);
        }
        let works = &self.crew.works;
        if works.is_traced() && !matches!(leg, Leg::Take | Leg::Reserve) {
            let act = Act::Step { step: leg.step(), cart: cart.name(), since: self.began };
            works.record(&self.core.name, &act);
        }
        self.onward(cart, leg, None)
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
            let next = gopher.crew.yard.advance(gopher.core.index, gopher.epoch, None);
            gopher.go_on(next, ctx);
        }));
    }
}

impl Handler<Carry> for Gopher {
    type Result = ();

    fn handle(&mut self, Carry { cart, leg }: Carry, ctx: &mut Self::Context) {
        if self.busy {
            // Carts are only sent to idle gophers; this one was meant for an earlier incarnation,
            // so it is queued again.
            self.crew.yard.put(cart, leg);
            return;
        }
        self.go_on(Some((cart, leg)), ctx);
    }
}
