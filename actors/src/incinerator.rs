//! The incinerator: burns books and settles their carts.

mod burning;
mod core;
mod told;
mod turns;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};

use crate::book::Book;
use crate::burn::Burn;
use crate::cart::Cart;
use crate::clock::Time;
use crate::failure::Failure;
use crate::fault::Point;
use crate::gopher::asking::Asking;
use crate::gopher::yard::{Leg, holder};
use crate::pause::Gate;
use crate::pile::{Deliver, Look};
use crate::pool::die;
use crate::supervision::Guarded;
use crate::threads;

use self::core::lock;
use told::Told;

pub use self::core::IncineratorCore;

/// Makes a burn, for every life of the incinerator anew.
pub type MakeBurn = Arc<dyn Fn() -> Result<Box<dyn Burn>, Failure> + Send + Sync>;

/// A burn as it is shared by the carts that are burning.
type Fire = Arc<Guarded<Box<dyn Burn>>>;

/// A burn panicked in the pool: the actor has to die of it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Panicked {
    text: String,
    epoch: u64,
}

/// The life of an incinerator that burns what is brought to it on its own thread, there and then.
struct AtHand {
    core: Arc<IncineratorCore>,
    thread: u64,
}

impl AtHand {
    fn new(core: Arc<IncineratorCore>) -> Self {
        let thread = threads::number();
        core.thread.store(thread, Ordering::Release);
        Self { core, thread }
    }
}

impl Drop for AtHand {
    fn drop(&mut self) {
        // A later life may be at hand by now.
        let ours = &self.core.thread;
        let _ = ours.compare_exchange(self.thread, 0, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// The actor of an incinerator.
pub struct Incinerator {
    core: Arc<IncineratorCore>,
    fire: Fire,
    epoch: u64,
    at_hand: Option<AtHand>,
    /// When it looks again after a pause.
    looks_at: Option<Time>,
}

impl std::fmt::Debug for Incinerator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incinerator")
            .field("core", &self.core)
            .finish()
    }
}

impl Incinerator {
    /// The actor over `core`, in the life `epoch`: the first takes the burn that was made before the start, later ones a new one.
    ///
    /// # Errors
    /// What the burn refuses at its making.
    pub fn new(core: Arc<IncineratorCore>, epoch: u64) -> Result<Self, Failure> {
        let fire = if epoch <= 1 {
            lock(&core.fire).as_ref().map(|(fire, _)| fire.clone())
        } else {
            None
        };
        let fire = match fire {
            Some(fire) => fire,
            None => Arc::new(Guarded::new((core.make)()?)),
        };
        let old = lock(&core.fire).replace((fire.clone(), epoch));
        // Its drop may be the application's: not under the lock.
        drop(old);
        core.one_by_one.store(false, Ordering::Relaxed);
        Ok(Self {
            core,
            fire,
            epoch,
            at_hand: None,
            looks_at: None,
        })
    }

    /// Has a balancer's workers burn; what they have answered is burned.
    fn ask(&mut self, asking: Asking, cart: Cart, round: u64, ctx: &mut Context<Self>) {
        let core = self.core.clone();
        let began = core.works.clock.now();
        let cart = match core.begin(cart) {
            Ok(cart) => cart,
            Err(empty) => {
                core.untried(round);
                return empty.put(Leg::Return);
            }
        };
        let asked = async move {
            // Should this life end before the last answer, those that have theirs are burned.
            let mut told = Told::new(core.clone(), &cart);
            let settle =
                move |cart: &mut Cart, index: usize, _: Option<Book>| told.burned(cart, index);
            let Some((cart, condition)) = asking.all(cart, core.works.clone(), settle).await else {
                return;
            };
            core.weigh(round, condition.as_ref());
            if let (Some(cart), _) = core.done(cart, Some(began), true) {
                cart.put(Leg::Return);
            }
        };
        ctx.spawn(asked.into_actor(self));
    }

    /// True if whoever is on its thread may burn a cart there and then: burning does not wait, and no fault is in the way.
    fn burns_at_hand(&self) -> bool {
        let core = &self.core;
        !self.fire.blocks() && core.ask.get().is_none() && core.works.faults().is_none()
    }

    /// Burns a cart that arrived, here or by a balancer's workers, in this `round` of the pause. `began` is
    /// the time now. Returns the time afterwards, which saves the caller a second look at the clock.
    fn take_in(&mut self, cart: Cart, began: Time, round: u64, ctx: &mut Context<Self>) -> Time {
        if let Some(asking) = self.core.ask.get().cloned() {
            self.ask(asking, cart, round, ctx);
            return began;
        }
        if !self.fire.blocks() {
            let core = self.core.clone();
            match core.burn(cart, &self.fire, Some(began), round) {
                Ok((cart, now)) => {
                    if let Some(cart) = cart {
                        cart.put(Leg::Return);
                    }
                    return now.unwrap_or(began);
                }
                Err(text) => die(text),
            }
        }
        let (core, fire, epoch) = (self.core.clone(), self.fire.clone(), self.epoch);
        // What burns in the pool goes on whatever becomes of the actor.
        cart.hand_to(0);
        let most = fire.waits().then(|| fire.at_once());
        let burn = move || {
            if core.works.is_halting() {
                return;
            }
            let began = core.works.clock.now();
            match core.burn(cart, &fire, Some(began), round) {
                Ok((Some(cart), _)) => cart.put(Leg::Return),
                Ok((None, _)) => {}
                Err(text) => core.panicked(text, epoch),
            }
        };
        let core = &self.core;
        match most {
            Some(most) => core.turns.start(&core.works.pool, most, burn),
            None => core.works.pool.start(burn),
        }
        began
    }

    /// Takes in the carts that wait, as far as its sink takes anything. One that has waited for this life is due from now on.
    fn look(&mut self, mut now: Time, late: bool, ctx: &mut Context<Self>) {
        let core = self.core.clone();
        if core.pause.is_on() {
            core.give_back();
        }
        loop {
            let pauses = core.pause.is_on();
            let round = match core.pause.gate(now, Some(self.epoch)) {
                Gate::Try(round) => round,
                Gate::Wait(until) => return self.look_at(until, ctx),
                Gate::Shut => return,
            };
            let Some(mut cart) = lock(&core.waiting).pop_front() else {
                core.pause.untried(round);
                return;
            };
            core.works.fault(&core.name, Point::Deliver, None);
            if late || pauses {
                cart.not_before(now);
            }
            cart.hand_to(holder(core.node, self.epoch));
            now = self.take_in(cart, now, round, ctx);
        }
    }

    /// Looks again at the end of a pause.
    fn look_at(&mut self, until: Time, ctx: &mut Context<Self>) {
        if self.looks_at.replace(until) == Some(until) {
            return;
        }
        let rest = self.core.works.clock.sleep_until(until);
        ctx.spawn(rest.into_actor(self).map(move |(), fire, ctx| {
            if fire.looks_at == Some(until) {
                fire.looks_at = None;
                fire.look(fire.core.works.clock.now(), false, ctx);
            }
        }));
    }
}

impl Actor for Incinerator {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // After the port is bound: a cart that found nobody until then waits outside.
        ctx.spawn(
            tokio::task::yield_now()
                .into_actor(self)
                .map(|(), fire, ctx| {
                    if fire.burns_at_hand() {
                        fire.at_hand = Some(AtHand::new(fire.core.clone()));
                    }
                    fire.core.told.open();
                    fire.look(fire.core.works.clock.now(), true, ctx);
                }),
        );
    }
}

impl Handler<Deliver> for Incinerator {
    type Result = ();

    fn handle(&mut self, Deliver(cart): Deliver, ctx: &mut Self::Context) {
        let core = self.core.clone();
        // Before the look: what comes after it tells anew.
        core.told.open();
        if core.pause.is_on() {
            core.park(cart);
            return;
        }
        core.works.fault(&core.name, Point::Deliver, None);
        let now = core.works.clock.now();
        let now = self.take_in(cart, now, core.pause.round(), ctx);
        self.look(now, false, ctx);
    }
}

impl Handler<Look> for Incinerator {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Self::Context) {
        self.core.told.open();
        self.look(self.core.works.clock.now(), false, ctx);
    }
}

impl Handler<Panicked> for Incinerator {
    type Result = ();

    fn handle(&mut self, Panicked { text, epoch }: Panicked, _: &mut Self::Context) {
        // A burn that outlived its actor's life has no say in the next one.
        if epoch == self.epoch {
            die(text);
        }
    }
}
