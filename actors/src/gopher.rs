//! The gopher: carries carts between piles, dumps and fires, doing any part of the four steps.

pub mod asking;
pub mod steps;
mod work;
pub mod yard;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use rand_chacha::ChaCha8Rng;

use crate::cart::Cart;
use crate::clock::Time;
use crate::failure::Failure;
use crate::fault::{Deed, Point};
use crate::incinerator::IncineratorCore;
use crate::pile::PileCore;
use crate::supervision::Guarded;
use crate::trace::Act;
use crate::transform::Transform;
use crate::works::{NodeStats, Works};

use asking::Asking;
use steps::{Step, StepTimes};
use yard::{Leg, Yard};

/// A cart for an idle gopher. Dropped with a dying gopher's mailbox, the cart goes home and its books with it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Carry {
    /// The cart.
    pub cart: Cart,
    /// What it needs.
    pub leg: Leg,
}

/// Where a crew unloads.
#[derive(Debug, Clone)]
pub enum Door {
    /// A staging dump.
    Dump(Arc<PileCore>),
    /// An incinerator.
    Incinerator(Arc<IncineratorCore>),
}

/// Makes the work of one gopher, for every life anew.
pub type MakeWork = Arc<dyn Fn() -> Result<Box<dyn Transform>, Failure> + Send + Sync>;

/// What the gophers of one crew share.
pub struct CrewCore {
    /// The carts.
    pub yard: Arc<Yard>,
    /// The pile that they empty.
    pub from: Arc<PileCore>,
    /// Where they unload.
    pub to: Door,
    /// What the steps cost.
    pub steps: StepTimes,
    /// Makes the work of one gopher; `None` where books pass as they are.
    pub work: Option<MakeWork>,
    /// Whose workers do the work instead of the gophers.
    pub ask: Option<Asking>,
    /// The works.
    pub works: Arc<Works>,
}

impl CrewCore {
    /// Books that are loaded at once, at most: a cartload, or that of carts which travel together.
    pub fn load(&self) -> usize {
        self.yard.want().books.saturating_mul(coupling(self))
    }
}

impl std::fmt::Debug for CrewCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CrewCore")
            .field("yard", &self.yard)
            .finish()
    }
}

/// What there is of a gopher whether or not its actor lives.
#[derive(Debug)]
pub struct GopherCore {
    /// Its name.
    pub name: String,
    /// Its place in the crew's list.
    pub index: usize,
    /// The step by which its carts are counted: the first of its duties.
    pub counts: Step,
    /// Its counters.
    pub stats: NodeStats,
    /// Draws of step times; a restart does not begin them again.
    pub chance: Mutex<ChaCha8Rng>,
}

/// The actor of a gopher.
pub struct Gopher {
    crew: Arc<CrewCore>,
    core: Arc<GopherCore>,
    epoch: u64,
    /// As a holder of carts.
    me: u64,
    /// Its legs that take no time, by [`Leg`]: done at once, with the cart in hand.
    at_once: [bool; 6],
    /// No fault and no trace is interested in the steps that take no time.
    unseen: bool,
    /// So many carts may be coupled at most.
    coupling: usize,
    work: Option<Tool>,
    hands: Option<Cart>,
    /// What burning has taken in this turn.
    burning: Duration,
    busy: bool,
    /// When the last timed step was due to end: deadlines are chained, so rounding never adds up.
    free_at: Time,
    /// When the step at hand began.
    began: Time,
}

impl std::fmt::Debug for Gopher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gopher")
            .field("name", &self.core.name)
            .field("busy", &self.busy)
            .finish()
    }
}

/// The gopher's work, away while the pool has it.
type Tool = Guarded<Box<dyn Transform>>;

/// Carts handled in one go before others on the arbiter get their turn.
const TURN: usize = 32;

/// Burning in one go, likewise.
const LONG: Duration = Duration::from_micros(200);

/// Books that coupled carts carry at most.
const COUPLED: usize = 1024;

/// How many carts of a crew may travel as one: only where their trips take no time, so that nobody has to wait for the others.
fn coupling(crew: &CrewCore) -> usize {
    let yard = &crew.yard;
    let quick = crew.steps.0.iter().all(steps::StepTime::is_zero)
        && (crew.work.is_none() && crew.ask.is_none())
        && !yard.is_exclusive(Leg::Load)
        && !yard.is_exclusive(Leg::Unload);
    // Two lots at least, of the carts and of what either end holds: so that one is loaded while the other is under way.
    let half = |pile: &PileCore| match pile.capacity_bytes {
        Some(_) => 0,
        None => (pile.capacity_books).map_or(COUPLED, |most| COUPLED.min(most as usize / 2)),
    };
    let books = match &crew.to {
        Door::Dump(dump) => half(dump).min(half(&crew.from)),
        Door::Incinerator(_) => half(&crew.from),
    };
    match quick {
        true => (yard.carts() / 2)
            .min(books / yard.want().books.max(1))
            .max(1),
        false => 1,
    }
}

impl Gopher {
    /// The actor over `core`, in the life `epoch`.
    ///
    /// # Errors
    /// What the crew's work refuses at its making.
    pub fn new(crew: Arc<CrewCore>, core: Arc<GopherCore>, epoch: u64) -> Result<Self, Failure> {
        let work = crew.work.as_ref().map(|make| make()).transpose()?;
        // Nothing was begun before it was there, whatever was due by then.
        let born = crew.works.clock.now();
        let duties = crew.yard.duties_of(core.index);
        let coupling = coupling(&crew);
        // A fire shows first how long it burns.
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
        Ok(Self {
            me: crew.yard.holder_at(core.index, epoch),
            at_once,
            unseen: crew.works.faults().is_none() && !crew.works.is_traced(),
            coupling,
            crew,
            core,
            epoch,
            work: work.map(Guarded::new),
            hands: None,
            burning: Duration::ZERO,
            busy: false,
            free_at: born,
            began: born,
        })
    }

    /// Does legs until there is none, or one takes time.
    fn go_on(&mut self, mut next: Option<(Cart, Leg)>, ctx: &mut Context<Self>) {
        let mut left = TURN;
        self.burning = Duration::ZERO;
        while left > 0 {
            let (cart, leg) = match next.take() {
                Some(next) => next,
                None => return,
            };
            let put = match self.unseen && self.at_once[leg as usize] {
                true => self.pass_by(cart, leg, &mut left),
                false => self.leg(cart, leg, ctx),
            };
            if self.busy {
                return;
            }
            next = match put {
                // What takes no time is done at once: it puts nobody off, however long he has waited. But those who wait go before a cart that is to be
                // sent for books: it may then go together with others.
                Some((cart, leg))
                    if self.at_once[leg as usize]
                        && (leg != Leg::Take
                            || self.coupling < 2
                            || !self.crew.yard.is_wanted(self.core.index)) =>
                {
                    left = left.saturating_sub(usize::from(leg == Leg::Take));
                    Some((cart, leg))
                }
                put => {
                    left = left.saturating_sub(1);
                    self.crew.yard.advance(self.core.index, self.epoch, put)
                }
            };
        }
        if let Some((cart, leg)) = next {
            self.busy = true;
            self.hands = Some(cart);
            ctx.spawn(
                tokio::task::yield_now()
                    .into_actor(self)
                    .map(move |(), gopher, ctx| {
                        gopher.busy = false;
                        if let Some(cart) = gopher.hands.take() {
                            gopher.go_on(Some((cart, leg)), ctx);
                        }
                    }),
            );
        }
    }

    /// Legs that take no time, and that nobody wants to hear of: the cart goes on as far as it can, or as the turn allows.
    fn pass_by(&mut self, mut cart: Cart, mut leg: Leg, left: &mut usize) -> Option<(Cart, Leg)> {
        loop {
            cart.not_before(self.free_at);
            if leg.step() == self.core.counts && !matches!(leg, Leg::Take | Leg::Reserve) {
                self.core.stats.carts_with(cart.carts(), cart.body().books);
            }
            if leg == Leg::Take {
                self.couple(&mut cart);
            }
            (cart, leg) = self.onward(cart, leg)?;
            if self.burning > LONG {
                *left = (*left).min(1);
            }
            if leg == Leg::Take || !self.at_once[leg as usize] {
                return Some((cart, leg));
            }
        }
    }

    /// An empty cart is about to go for books: others that wait may go with it.
    fn couple(&mut self, cart: &mut Cart) {
        let carts = self.crew.yard.coupling();
        if cart.carts() < carts {
            let returns = self.at_once[Leg::Return as usize];
            self.crew.yard.couple(cart, carts, returns);
        } else {
            cart.uncouple(carts);
        }
    }

    /// Begins one leg. Gives the cart and its next leg where that takes no time; `busy` says that it does.
    fn leg(&mut self, mut cart: Cart, leg: Leg, ctx: &mut Context<Self>) -> Option<(Cart, Leg)> {
        // Asking takes no time, but somebody who is there and free.
        cart.not_before(self.free_at);
        match leg {
            Leg::Take | Leg::Reserve => self.onward(cart, leg),
            Leg::Push if self.crew.ask.is_some() => {
                self.ask(cart, ctx);
                None
            }
            Leg::Push if self.work.is_some() => self.do_work(cart, ctx),
            Leg::Load | Leg::Push | Leg::Unload | Leg::Return => self.spend(cart, leg, ctx),
        }
    }

    /// Lets the step's time pass.
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
            let mut chance = self
                .core
                .chance
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
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
                    // A core may have been waited for: the schedule goes on from now.
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
        self.busy = false;
        let put = self.hands.take().and_then(|cart| self.finished(cart, leg));
        let next = self.crew.yard.advance(self.core.index, self.epoch, put);
        self.go_on(next, ctx);
    }

    /// What is coupled is burned in one go, and that has to stay short.
    fn burned_in(&self, span: Duration) {
        let yard = &self.crew.yard;
        let now = yard.coupling();
        if span > LONG / 2 {
            yard.couple_up_to((now / 2).max(1));
        } else if span < LONG / 8 && now < self.coupling {
            yard.couple_up_to((now * 2).min(self.coupling));
        }
    }

    /// A step is done: where the cart goes from here.
    fn finished(&mut self, cart: Cart, leg: Leg) -> Option<(Cart, Leg)> {
        if leg.step() == self.core.counts {
            self.core.stats.carts_with(cart.carts(), cart.body().books);
        }
        let works = &self.crew.works;
        if works.is_traced() && !matches!(leg, Leg::Take | Leg::Reserve) {
            let act = Act::Step {
                step: leg.step(),
                cart: cart.name(),
                since: self.began,
            };
            works.record(&self.core.name, &act);
        }
        self.onward(cart, leg)
    }

    /// Where a cart goes from a leg that is done. It comes back where it is served at once.
    fn onward(&mut self, mut cart: Cart, leg: Leg) -> Option<(Cart, Leg)> {
        match leg {
            Leg::Take => {
                let loaded = self.crew.from.take(cart, self.me)?;
                Some((loaded, Leg::Load))
            }
            Leg::Reserve => match &self.crew.to {
                Door::Dump(dump) => dump.deliver(cart),
                Door::Incinerator(_) => None,
            },
            Leg::Load => {
                cart.leave_slot();
                Some((cart, Leg::Push))
            }
            Leg::Push => {
                let ask = self.crew.yard.unloads_in_time() && matches!(self.crew.to, Door::Dump(_));
                Some((cart, if ask { Leg::Reserve } else { Leg::Unload }))
            }
            Leg::Unload => {
                // The slot is for the step alone; what the fire then does is its own affair.
                cart.leave_slot();
                match &self.crew.to {
                    Door::Dump(dump) => dump.deliver(cart),
                    Door::Incinerator(fire) => {
                        let (cart, took) = fire.deliver(cart)?;
                        self.burning += took;
                        self.burned_in(took);
                        Some((cart, Leg::Return))
                    }
                }
            }
            Leg::Return => Some((cart, Leg::Take)),
        }
    }
}

impl Actor for Gopher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // Asks for work only when its port is bound: a cart sent to it before that would find nobody.
        ctx.spawn(
            tokio::task::yield_now()
                .into_actor(self)
                .map(|(), gopher, ctx| {
                    if gopher.busy {
                        // Somebody who knew of its last life has sent a cart already.
                        return;
                    }
                    let next = gopher
                        .crew
                        .yard
                        .advance(gopher.core.index, gopher.epoch, None);
                    gopher.go_on(next, ctx);
                }),
        );
    }
}

impl Handler<Carry> for Gopher {
    type Result = ();

    fn handle(&mut self, Carry { cart, leg }: Carry, ctx: &mut Self::Context) {
        if self.busy {
            // Only an idle gopher is sent a cart; a stray one, meant for an earlier life, goes back to be sent again.
            self.crew.yard.put(cart, leg);
            return;
        }
        self.go_on(Some((cart, leg)), ctx);
    }
}
