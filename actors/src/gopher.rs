//! The gopher: carries carts between piles, dumps and fires, doing any part of the four steps.

pub mod asking;
pub mod steps;
mod turn;
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
use crate::pause::Pause;
use crate::pile::PileCore;
use crate::supervision::Guarded;
use crate::threads;
use crate::trace::Act;
use crate::transform::Transform;
use crate::works::{NodeStats, Works};

use asking::Asking;
use steps::{Step, StepTimes};
use turn::Burning;
use yard::{Doer, Leg, Yard};

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
    /// What the crew does while what its work needs can't take anything.
    pub(crate) pause: Pause,
}

impl CrewCore {
    /// Makes the crew of `yard`: its pile, its destination, and its own work or the balancer that does the work.
    pub fn new(
        yard: Arc<Yard>,
        (from, to): (Arc<PileCore>, Door),
        steps: StepTimes,
        (work, ask): (Option<MakeWork>, Option<Asking>),
        works: Arc<Works>,
    ) -> Self {
        Self {
            pause: Pause::new("crew", yard.name()),
            yard,
            from,
            to,
            steps,
            work,
            ask,
            works,
        }
    }

    /// What its work can't go on for, and how many books wait on its pile and in its carts, while it pauses.
    pub fn pauses(&self) -> Option<(String, usize)> {
        let counts = self.from.counts();
        let waiting = counts.ready + counts.leased + counts.inbox;
        Some((self.pause.reason()?, waiting))
    }

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
    me: Arc<Doer>,
    /// No fault and no trace is interested in the steps that take no time.
    unseen: bool,
    /// So many carts may be coupled at most.
    coupling: usize,
    work: Option<Tool>,
    hands: Option<Cart>,
    burning: Burning,
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

    /// Begins one leg. Gives the cart and its next leg where that takes no time; `busy` says that it does.
    fn leg(&mut self, mut cart: Cart, leg: Leg, ctx: &mut Context<Self>) -> Option<(Cart, Leg)> {
        // Asking takes no time, but somebody who is there and free.
        cart.not_before(self.free_at);
        match leg {
            Leg::Take | Leg::Reserve => self.onward(cart, leg, None),
            Leg::Push if self.crew.ask.is_some() => self.ask(cart, ctx),
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
        if self.crew.works.is_halting() {
            return;
        }
        self.busy = false;
        let put = self.hands.take().and_then(|cart| self.finished(cart, leg));
        let next = self.crew.yard.advance(self.core.index, self.epoch, put);
        self.go_on(next, ctx);
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
        self.onward(cart, leg, None)
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
