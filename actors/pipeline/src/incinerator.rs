//! The incinerator actor: burns books and settles their carts.

mod burn_queue;
mod burning;
mod core;
mod unreported;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};

use crate::asking::Asking;
use crate::book::Book;
use crate::burn::Burn;
use crate::crew::cart::Cart;
use crate::crew::queue::NextStep;
use crate::custody::HolderId;
use crate::pause::PauseGate;
use crate::pile::{Deliver, Look};
use gopherworks_supervision::__private::{die, threads};
use gopherworks_supervision::Guarded;
use gopherworks_supervision::clock::Time;
use gopherworks_supervision::failure::Failure;
use gopherworks_supervision::fault::Point;

use self::core::lock;
use unreported::UnreportedBurns;

pub use self::core::IncineratorCore;

/// Makes a burn, anew for every incarnation of the incinerator.
pub type MakeBurn = Arc<dyn Fn() -> Result<Box<dyn Burn>, Failure> + Send + Sync>;

/// The burn, shared by the carts that are burning.
type Fire = Arc<Guarded<Box<dyn Burn>>>;

/// A burn panicked outside the actor: the actor has to fail with it.
#[derive(Debug)]
struct Panicked {
    text: String,
    epoch: u64,
}

impl Message for Panicked {
    type Result = ();
}

/// Marks an incinerator's thread, on which carts are burned inline; reset when the incarnation
/// ends.
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
        // A later incarnation may have set its own thread.
        let ours = &self.core.thread;
        let _ = ours.compare_exchange(self.thread, 0, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// An incinerator's actor.
pub struct Incinerator {
    core: Arc<IncineratorCore>,
    fire: Fire,
    epoch: u64,
    at_hand: Option<AtHand>,
    /// When the timer of a pause fires.
    looks_at: Option<Time>,
}

impl std::fmt::Debug for Incinerator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incinerator").field("core", &self.core).finish()
    }
}

impl Incinerator {
    /// Creates the actor over `core`, in incarnation `epoch`. The first one uses the burn made
    /// before the start, later ones make a new one.
    ///
    /// # Errors
    /// The error of the burn's factory.
    pub fn new(core: Arc<IncineratorCore>, epoch: u64) -> Result<Self, Failure> {
        let fire =
            if epoch <= 1 { lock(&core.fire).as_ref().map(|(fire, _)| fire.clone()) } else { None };
        let fire = match fire {
            Some(fire) => fire,
            None => Arc::new(Guarded::new((core.make)()?)),
        };
        let old = lock(&core.fire).replace((fire.clone(), epoch));
        // Outside the lock: the drop is user code.
        drop(old);
        core.one_by_one.store(false, Ordering::Relaxed);
        Ok(Self { core, fire, epoch, at_hand: None, looks_at: None })
    }

    /// Sends the cart's books to a balancer's workers to be burned.
    fn ask(&mut self, asking: Asking, cart: Cart, round: u64, ctx: &mut Context<Self>) {
        let core = self.core.clone();
        let began = core.context.clock.now();
        let cart = match core.begin(cart) {
            Ok(cart) => cart,
            Err(empty) => {
                core.untried(round);
                return empty.put(NextStep::Return);
            }
        };
        core.begin_burn(&cart, 0..cart.len());
        let asked = async move {
            // Should this incarnation end early, the books burned by then are reported.
            let mut unreported = UnreportedBurns::new(core.clone(), &cart);
            let settle = move |cart: &mut Cart, index: usize, _: Option<Book>| {
                unreported.burned(cart, index)
            };
            let Some((cart, condition)) = asking.all(cart, core.context.clone(), settle).await
            else {
                return;
            };
            core.weigh(round, condition.as_ref());
            if let (Some(cart), _) = core.done(cart, Some(began), true) {
                cart.put(NextStep::Return);
            }
        };
        ctx.spawn(asked.into_actor(self));
    }

    /// True if carts may be burned inline by callers on the actor's thread: burning does not
    /// block, and no faults are configured.
    fn burns_at_hand(&self) -> bool {
        let core = &self.core;
        !self.fire.blocks() && core.ask.get().is_none() && core.context.faults().is_none()
    }

    /// Burns a cart, here, in the thread pool or by a balancer's workers, in this `round` of the
    /// pause. `began` is the current time; returns the time afterwards, to spare the caller a
    /// clock reading.
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
                        cart.put(NextStep::Return);
                    }
                    return now.unwrap_or(began);
                }
                Err(text) => die(text),
            }
        }
        let (core, fire, epoch) = (self.core.clone(), self.fire.clone(), self.epoch);
        // In the pool a cart burns whether or not the actor lives.
        cart.hand_to(HolderId::NONE);
        let most = fire.waits().then(|| fire.at_once());
        let burn = move || {
            if core.context.is_halting() {
                return;
            }
            let began = core.context.clock.now();
            match core.burn(cart, &fire, Some(began), round) {
                Ok((Some(cart), _)) => cart.put(NextStep::Return),
                Ok((None, _)) => {}
                Err(text) => core.panicked(text, epoch),
            }
        };
        let core = &self.core;
        match most {
            Some(most) => core.burn_queue.start(&core.context.pool, most, burn),
            None => core.context.pool.start(burn),
        }
        began
    }

    /// Burns waiting carts while the sink accepts books. With `late`, the carts have waited for
    /// this incarnation to start and are due from `now`, not from their scheduled times.
    fn look(&mut self, mut now: Time, late: bool, ctx: &mut Context<Self>) {
        let core = self.core.clone();
        if core.pause.is_on() {
            core.give_back();
        }
        loop {
            let pauses = core.pause.is_on();
            let round = match core.pause.gate(now, Some(self.epoch)) {
                PauseGate::Try(round) => round,
                PauseGate::Wait(until) => return self.look_at(until, ctx),
                PauseGate::Shut => return,
            };
            let Some(mut cart) = lock(&core.waiting).pop_front() else {
                core.pause.untried(round);
                return;
            };
            core.context.fault(&core.name, Point::Deliver, None);
            if late || pauses {
                cart.not_before(now);
            }
            cart.hand_to(HolderId::new(core.node, self.epoch));
            now = self.take_in(cart, now, round, ctx);
        }
    }

    /// Sets a timer for the end of a pause.
    fn look_at(&mut self, until: Time, ctx: &mut Context<Self>) {
        if self.looks_at.replace(until) == Some(until) {
            return;
        }
        let rest = self.core.context.clock.sleep_until(until);
        ctx.spawn(rest.into_actor(self).map(move |(), fire, ctx| {
            if fire.looks_at == Some(until) {
                fire.looks_at = None;
                fire.look(fire.core.context.clock.now(), false, ctx);
            }
        }));
    }
}

impl Actor for Incinerator {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // Once the port is bound: earlier carts are parked.
        ctx.spawn(tokio::task::yield_now().into_actor(self).map(|(), fire, ctx| {
            if fire.burns_at_hand() {
                fire.at_hand = Some(AtHand::new(fire.core.clone()));
            }
            fire.core.wake_pending.open();
            fire.look(fire.core.context.clock.now(), true, ctx);
        }));
    }
}

impl Handler<Deliver> for Incinerator {
    type Result = ();

    fn handle(&mut self, Deliver(cart): Deliver, ctx: &mut Self::Context) {
        let core = self.core.clone();
        // Cleared before looking, so that later carts send a new wake-up.
        core.wake_pending.open();
        if core.pause.is_on() {
            core.park(cart);
            return;
        }
        core.context.fault(&core.name, Point::Deliver, None);
        let now = core.context.clock.now();
        let now = self.take_in(cart, now, core.pause.round(), ctx);
        self.look(now, false, ctx);
    }
}

impl Handler<Look> for Incinerator {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Self::Context) {
        self.core.wake_pending.open();
        self.look(self.core.context.clock.now(), false, ctx);
    }
}

impl Handler<Panicked> for Incinerator {
    type Result = ();

    fn handle(&mut self, Panicked { text, epoch }: Panicked, _: &mut Self::Context) {
        // Ignored if it belongs to an earlier incarnation.
        if epoch == self.epoch {
            die(text);
        }
    }
}
