//! Steps that take no time: a gopher runs its own, and those of idle gophers on its thread, one
//! after the other in a batch.

use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::{Destination, Gopher};
use crate::crew::cart::Cart;
use crate::crew::queue::{Incarnation, InlineRun, NextCart, NextStep};
use crate::incinerator::IncineratorCore;
use crate::tap::Passing;

/// Budget of a batch, before the gopher yields to other tasks on the arbiter: 32 carts.
const BATCH: usize = 32 * CART;

/// Cost of a cart in a batch. A cart handed from gopher to gopher by inline runs costs one per step
/// instead.
const CART: usize = 4;

/// Longest burning time in a batch.
const LONG: Duration = Duration::from_micros(200);

/// Burning time in a batch, for gophers that burn inline.
///
/// Two clock readings take longer than a short burn: of burns below a microsecond one in eight is
/// timed, and the others are taken to be as long.
#[derive(Debug, Default)]
pub(super) struct Burning {
    /// Sum in this batch.
    all: Duration,
    /// The last timed burn.
    last: Duration,
    /// Untimed burns since then, not yet reported.
    untimed: u32,
}

impl Burning {
    const SHORT: Duration = Duration::from_micros(1);
    const UNTIMED: u32 = 7;

    fn begin_batch(&mut self) {
        self.all = Duration::ZERO;
    }

    fn is_long(&self) -> bool {
        self.all > LONG
    }

    /// True if the next burn should be timed: the first of a batch always is.
    fn is_due(&self) -> bool {
        self.last >= Self::SHORT || self.untimed == Self::UNTIMED || self.all.is_zero()
    }

    /// Counts a burned book and its burn time, if that was measured. Returns `took`.
    fn burned(&mut self, took: Option<Duration>, fire: &IncineratorCore) -> Option<Duration> {
        match took {
            Some(took) => {
                self.all += took;
                self.last = took;
                self.tell(fire);
            }
            None => {
                self.all += self.last;
                self.untimed += 1;
            }
        }
        took
    }

    /// Reports untimed burns to the incinerator's statistics.
    fn tell(&mut self, fire: &IncineratorCore) {
        let untimed = std::mem::take(&mut self.untimed);
        if untimed > 0 {
            fire.burned_untimed(self.last * untimed);
        }
    }
}

impl Gopher {
    /// Runs steps until there is none or one takes time: its own, and those of idle gophers that
    /// take no time.
    pub(super) fn go_on(&mut self, next: Option<(Cart, NextStep)>, ctx: &mut Context<Self>) {
        if self.crew.context.is_halting() {
            return self.hold(next);
        }
        self.burning.begin_batch();
        self.run_batch(next, ctx);
        if let Destination::Incinerator(fire) = &self.crew.to {
            self.burning.tell(fire);
        }
    }

    /// The run is halting and all actors are about to be killed: keeps the cart until then, and
    /// does nothing more. The less the actors do, the sooner all of them are reached.
    #[cold]
    fn hold(&mut self, next: Option<(Cart, NextStep)>) {
        self.busy = true;
        self.hands = next.map(|(cart, _)| cart).or(self.hands.take());
    }

    /// Runs steps of at most one batch, then yields.
    fn run_batch(&mut self, next: Option<(Cart, NextStep)>, ctx: &mut Context<Self>) {
        let mut next = next.map(|(cart, step)| NextCart { cart, step, run: None });
        let mut left = BATCH;
        while left > 0 {
            let Some(NextCart { cart, step, mut run }) = next.take() else {
                return;
            };
            let lent = run.as_ref().and_then(InlineRun::lent);
            let Incarnation { at_once, steps, .. } = lent.unwrap_or(&self.me);
            let (at_once, whose) = (*at_once, *steps);
            let put = match self.unseen && at_once[step as usize] {
                true => self.run_inline(cart, step, lent, &mut left),
                false => self.start_step(cart, step, ctx),
            };
            if self.busy {
                return;
            }
            let queue = &self.crew.queue;
            let here = (self.me.lends && left > CART).then_some(self.me.thread);
            next = match (put, here) {
                // What takes no time is done immediately, whatever waits. Exception: waiting carts
                // go before a cart that would be sent for books again, since it may then be
                // coupled with others.
                (Some((cart, step)), _)
                    if at_once[step as usize]
                        && (step != NextStep::Take
                            || self.coupling < 2
                            || !(queue.is_wanted(self.me.steps) || queue.is_wanted(whose))) =>
                {
                    left = left.saturating_sub(CART * usize::from(step == NextStep::Take));
                    Some(NextCart { cart, step, run })
                }
                (Some((cart, step)), Some(here))
                    if queue.hand_over(&cart, step, &mut run, here) =>
                {
                    left -= 1;
                    Some(NextCart { cart, step, run })
                }
                (put, here) => {
                    left = left.saturating_sub(CART);
                    queue.next(self.core.index, self.epoch, put, run, here)
                }
            };
        }
        match next {
            None => {}
            // The batch is over. A lent gopher continues by itself, and a waiting cart goes before
            // an empty one that would start anew.
            Some(NextCart { cart, step, run }) if run.is_some() || self.is_passed_over(step) => {
                let put = Some((cart, step));
                let next = (self.crew.queue).next(self.core.index, self.epoch, put, run, None);
                if let Some(NextCart { cart, step, .. }) = next {
                    self.give_way(cart, step, ctx);
                }
            }
            Some(NextCart { cart, step, .. }) => self.give_way(cart, step, ctx),
        }
    }

    /// True if a cart waits for this gopher while its own, empty, is about to start anew.
    fn is_passed_over(&self, step: NextStep) -> bool {
        step == NextStep::Take && self.crew.queue.is_wanted(self.me.steps)
    }

    /// Yields to other tasks on the arbiter, then continues.
    fn give_way(&mut self, cart: Cart, step: NextStep, ctx: &mut Context<Self>) {
        self.busy = true;
        self.hands = Some(cart);
        ctx.spawn(tokio::task::yield_now().into_actor(self).map(move |(), gopher, ctx| {
            gopher.busy = false;
            if let Some(cart) = gopher.hands.take() {
                gopher.go_on(Some((cart, step)), ctx);
            }
        }));
    }

    /// Runs steps that take no time and need no events, until the cart is sent on, a step takes
    /// time, or the batch is over. They run in the name of the idle gopher `lent`, or in that of
    /// this gopher if `None`.
    fn run_inline(
        &mut self,
        mut cart: Cart,
        mut step: NextStep,
        lent: Option<&Incarnation>,
        left: &mut usize,
    ) -> Option<(Cart, NextStep)> {
        let at_once = lent.map_or(self.me.at_once, |lent| lent.at_once);
        loop {
            cart.not_before(lent.map_or(self.free_at, |lent| lent.born));
            let core = lent.map_or(&self.core, |lent| &lent.core);
            if step.duty() == core.counts && !matches!(step, NextStep::Take | NextStep::Reserve) {
                core.stats.carts_with(cart.carts(), cart.body().books);
            }
            if step == NextStep::Take {
                self.couple(&mut cart, at_once[NextStep::Return as usize]);
            }
            (cart, step) = self.onward(cart, step, lent)?;
            if self.burning.is_long() {
                *left = (*left).min(1);
            }
            if step == NextStep::Take || !at_once[step as usize] {
                return Some((cart, step));
            }
        }
    }

    /// Couples other waiting empty carts to one that is about to be sent for books.
    fn couple(&self, cart: &mut Cart, returns: bool) {
        let carts = self.crew.queue.coupling();
        if cart.carts() < carts {
            self.crew.queue.couple(cart, carts, returns);
        } else {
            cart.uncouple(carts);
        }
    }

    /// Adapts the coupling to the burning time: coupled carts burn in one go, which has to stay
    /// short.
    fn burned_in(&self, span: Duration) {
        let queue = &self.crew.queue;
        let now = queue.coupling();
        if span > LONG / 2 {
            queue.couple_up_to((now / 2).max(1));
        } else if span < LONG / 8 && now < self.coupling {
            queue.couple_up_to((now * 2).min(self.coupling));
        }
    }

    /// Moves a cart on from a finished step; returns it with its next step, or `None` if it was
    /// sent on or parked.
    pub(super) fn onward(
        &mut self,
        mut cart: Cart,
        step: NextStep,
        lent: Option<&Incarnation>,
    ) -> Option<(Cart, NextStep)> {
        match step {
            NextStep::Take => {
                let Incarnation { core, holder, .. } = lent.unwrap_or(&self.me);
                if !self.crew.queue.may_take(core.index) {
                    cart.put(NextStep::Take);
                    return None;
                }
                let loaded = self.crew.from.take(cart, *holder)?;
                Some((loaded, NextStep::Load))
            }
            NextStep::Reserve => match &self.crew.to {
                Destination::Dump(dump) => dump.deliver(cart),
                Destination::Incinerator(_) => None,
            },
            NextStep::Load => {
                cart.leave_slot();
                Some((cart, NextStep::Push))
            }
            NextStep::Push => {
                let ask = self.crew.queue.unloads_in_time()
                    && matches!(self.crew.to, Destination::Dump(_));
                Some((cart, if ask { NextStep::Reserve } else { NextStep::Unload }))
            }
            NextStep::Unload => {
                // The slot is for the unloading step only, not for the burn.
                cart.leave_slot();
                let crew = self.crew.queue.name();
                self.crew.context.show(crew, &cart, Passing::Brought);
                match &self.crew.to {
                    Destination::Dump(dump) => dump.deliver(cart),
                    Destination::Incinerator(fire) => {
                        let timed = !self.me.lends || self.burning.is_due();
                        let (cart, took) = fire.deliver(cart, timed)?;
                        if let Some(took) = self.burning.burned(took, fire) {
                            self.burned_in(took);
                        }
                        Some((cart, NextStep::Return))
                    }
                }
            }
            NextStep::Return => Some((cart, NextStep::Take)),
        }
    }
}
