//! The incinerator: burns books and settles their carts.

mod core;
mod told;

use std::sync::Arc;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};

use crate::book::Book;
use crate::burn::Burn;
use crate::cart::Cart;
use crate::failure::Failure;
use crate::fault::Point;
use crate::gopher::asking::Asking;
use crate::gopher::yard::holder;
use crate::pile::{Deliver, Look};
use crate::pool::die;
use crate::supervision::Guarded;

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

/// The actor of an incinerator.
pub struct Incinerator {
    core: Arc<IncineratorCore>,
    fire: Fire,
    epoch: u64,
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
            lock(&core.fire).clone()
        } else {
            None
        };
        let fire = match fire {
            Some(fire) => fire,
            None => Arc::new(Guarded::new((core.make)()?)),
        };
        let old = lock(&core.fire).replace(fire.clone());
        // Its drop may be the application's: not under the lock.
        drop(old);
        Ok(Self { core, fire, epoch })
    }

    /// Has a balancer's workers burn; what they have answered is burned.
    fn ask(&mut self, asking: Asking, cart: Cart, ctx: &mut Context<Self>) {
        let core = self.core.clone();
        let began = core.works.clock.now();
        let Some(cart) = core.begin(cart) else {
            return;
        };
        let asked = async move {
            // Should this life end before the last answer, those that have theirs are burned.
            let mut told = Told::new(core.clone(), &cart);
            let settle =
                move |cart: &mut Cart, index: usize, _: Option<Book>| told.burned(cart, index);
            if let Some(cart) = asking.all(cart, core.works.clone(), settle).await {
                core.done(cart, began, true);
            }
        };
        ctx.spawn(asked.into_actor(self));
    }

    fn take_in(&mut self, cart: Cart, ctx: &mut Context<Self>) {
        if let Some(asking) = self.core.ask.get().cloned() {
            return self.ask(asking, cart, ctx);
        }
        if !self.fire.blocks() {
            let core = self.core.clone();
            if let Err(text) = core.burn(cart, &self.fire) {
                die(text);
            }
            return;
        }
        let (core, fire, epoch) = (self.core.clone(), self.fire.clone(), self.epoch);
        // What burns in the pool goes on whatever becomes of the actor.
        cart.hand_to(0);
        self.core.works.pool.start(move || {
            if core.works.is_halting() {
                return;
            }
            if let Err(text) = core.burn(cart, &fire) {
                let _ = core.port.send(Panicked { text, epoch });
            }
        });
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        loop {
            let Some(mut cart) = lock(&self.core.waiting).pop_front() else {
                return;
            };
            cart.not_before(self.core.works.clock.now());
            cart.hand_to(holder(self.core.node, self.epoch));
            self.take_in(cart, ctx);
        }
    }
}

impl Actor for Incinerator {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // After the port is bound: a cart that found nobody until then waits outside.
        ctx.spawn(
            tokio::task::yield_now()
                .into_actor(self)
                .map(|(), fire, ctx| fire.look(ctx)),
        );
    }
}

impl Handler<Deliver> for Incinerator {
    type Result = ();

    fn handle(&mut self, Deliver(cart): Deliver, ctx: &mut Self::Context) {
        let core = self.core.clone();
        core.works.fault(&core.name, Point::Deliver, None);
        self.take_in(cart, ctx);
    }
}

impl Handler<Look> for Incinerator {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Self::Context) {
        self.look(ctx);
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
