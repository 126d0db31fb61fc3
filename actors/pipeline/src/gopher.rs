//! The gopher actor: takes carts from a pile to a dump or an incinerator and back, doing some or
//! all of the four steps.

mod crew;
mod inline;
mod work;

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};

use crate::book::Book;
use crate::crew::cart::Cart;
use crate::crew::queue::{Incarnation, NextStep, NextSteps};
use crate::crew::steps::Step;
use crate::crew::{Carrier, GopherCore};
use crate::custody::HolderId;
use crate::custody::lease::{DropReason, LeaseVerdict};
use crate::pause::PauseGate;
use crate::trace::Act;
use crate::transform::Transform;
use gopherworks_supervision::__private::{die, threads};
use gopherworks_supervision::clock::Time;
use gopherworks_supervision::failure::Failure;
use gopherworks_supervision::fault::{FaultAction, Point};
use gopherworks_supervision::{Guarded, Port};

use inline::Burning;
use work::CartJob;

pub use self::crew::{CrewCore, Destination, MakeWork};

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

/// A gopher's actor.
pub struct Gopher {
    crew: Arc<CrewCore>,
    core: Arc<GopherCore>,
    epoch: u64,
    me: Arc<Incarnation>,
    /// True if neither faults nor traces are configured, so steps without duration need no events.
    unseen: bool,
    /// Maximum number of carts that may be coupled.
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
        let coupling = crew.coupling();
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
            steps: NextSteps::of(duties),
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
            Some(FaultAction::Slow(by)) => by,
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

    /// Works on the cart's books: in the thread pool if the work may block, otherwise here.
    fn do_work(&mut self, cart: Cart, ctx: &mut Context<Self>) -> Option<(Cart, NextStep)> {
        if self.crew.gives_back(&cart) {
            return None;
        }
        let context = self.crew.context.clone();
        let round = match self.crew.pause.gate(context.clock.now(), None) {
            PauseGate::Try(round) => round,
            gate => return self.rest(cart, gate, ctx),
        };
        let mut tool = self.work.take()?;
        if !tool.blocks() {
            let mut job = CartJob::new(cart, &self.crew, self.core.clone());
            let crash = job.run(&mut tool);
            self.work = Some(tool);
            if let Some(text) = crash {
                drop(job);
                die(text);
            }
            self.weigh(round, job.condition.as_ref());
            return self.worked(job.cart?, ctx);
        }
        self.busy = true;
        let began = context.clock.now();
        let done = context.pool.run({
            let (crew, gopher) = (self.crew.clone(), self.core.clone());
            move || {
                let mut job = CartJob::new(cart, &crew, gopher);
                let crash = job.run(&mut tool);
                (job.cart, tool, crash, job.condition)
            }
        });
        ctx.spawn(done.into_actor(self).map(move |done, gopher, ctx| {
            gopher.busy = false;
            let Ok((cart, tool, crash, condition)) = done else {
                return;
            };
            let now = gopher.crew.context.clock.now();
            gopher.core.stats.busy_for(now - began);
            gopher.work = Some(tool);
            if let Some(text) = crash {
                drop(cart);
                die(text);
            }
            gopher.weigh(round, condition.as_ref());
            let put = cart.and_then(|mut cart| {
                cart.not_before(now);
                gopher.worked(cart, ctx)
            });
            if !gopher.busy {
                let next = match put {
                    // What takes no time is done immediately, so that finished books do not wait
                    // for the work on others.
                    Some((cart, step)) if gopher.me.at_once[step as usize] => Some((cart, step)),
                    put => (gopher.crew.queue).advance(gopher.core.index, gopher.epoch, put),
                };
                gopher.go_on(next, ctx);
            }
        }));
        None
    }

    /// Reports the outcome of work begun in this `round` to the crew's pause.
    fn weigh(&self, round: u64, condition: Option<&Failure>) {
        let CrewCore { pause, context, from, .. } = &*self.crew;
        if condition.is_some() || pause.is_on() {
            let waiting = || {
                let counts = from.counts();
                counts.ready + counts.leased + counts.inbox
            };
            pause.weigh(context, round, condition, waiting);
        }
    }

    /// Holds the cart until the pause ends, then retries.
    fn rest(
        &mut self,
        cart: Cart,
        gate: PauseGate,
        ctx: &mut Context<Self>,
    ) -> Option<(Cart, NextStep)> {
        self.hands = Some(cart);
        self.busy = true;
        let PauseGate::Wait(until) = gate else {
            // Paused until the end of the run, which takes the cart back.
            return None;
        };
        let (crew, due) = (self.crew.clone(), self.crew.context.clock.sleep_until(until));
        let rest = async move { crew.pause.over(due, &crew.context.clock).await };
        ctx.spawn(rest.into_actor(self).map(|(), gopher, ctx| {
            gopher.busy = false;
            if let Some(cart) = gopher.hands.take() {
                gopher.go_on(Some((cart, NextStep::Push)), ctx);
            }
        }));
        None
    }

    /// Sends the work on a cart to a balancer's workers.
    fn ask(&mut self, cart: Cart, ctx: &mut Context<Self>) -> Option<(Cart, NextStep)> {
        let asking = self.crew.ask.clone()?;
        if self.crew.gives_back(&cart) {
            return None;
        }
        let round = match self.crew.pause.gate(self.crew.context.clock.now(), None) {
            PauseGate::Try(round) => round,
            gate => return self.rest(cart, gate, ctx),
        };
        self.busy = true;
        let began = self.crew.context.clock.now();
        let mut worked: Vec<Option<Book>> = vec![None; cart.len()];
        let context = self.crew.context.clone();
        let asked = async move {
            let settle = |cart: &mut Cart, index: usize, book: Option<Book>| {
                if book.is_none()
                    && let Some(lease) = &mut cart.body_mut().lease
                {
                    lease.mark(index, LeaseVerdict::Drop(DropReason::Work));
                }
                worked[index] = book;
            };
            let answered = asking.all(cart, context, settle).await;
            answered.map(|(mut cart, condition)| {
                cart.body_mut().worked = Some(worked);
                (cart, condition)
            })
        };
        ctx.spawn(asked.into_actor(self).map(move |answered, gopher, ctx| {
            gopher.busy = false;
            let cart = answered.map(|(cart, condition)| {
                gopher.weigh(round, condition.as_ref());
                cart
            });
            let now = gopher.crew.context.clock.now();
            gopher.core.stats.busy_for(now - began);
            let put = cart.and_then(|mut cart| {
                cart.not_before(now);
                gopher.worked(cart, ctx)
            });
            if !gopher.busy {
                let queue = &gopher.crew.queue;
                let next = queue.advance(gopher.core.index, gopher.epoch, put);
                gopher.go_on(next, ctx);
            }
        }));
        None
    }

    /// After the work: the time of the push step itself.
    fn worked(&mut self, mut cart: Cart, ctx: &mut Context<Self>) -> Option<(Cart, NextStep)> {
        if let Some(lease) = &mut cart.body_mut().lease {
            lease.refused_at(self.crew.queue.name());
        }
        self.spend(cart, NextStep::Push, ctx)
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
