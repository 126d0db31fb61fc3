//! A gopher's turn: runs legs that take no time one after the other, its own and those of idle
//! gophers on its thread.

use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::{Door, Gopher};
use crate::crew::cart::Cart;
use crate::crew::yard::{Doer, Leg, Loan, Next};
use crate::incinerator::IncineratorCore;

/// Budget of a turn, before the gopher yields to other tasks on the arbiter: 32 carts.
const TURN: usize = 32 * CART;

/// Cost of a cart in a turn. A cart handed from gopher to gopher by loans costs one per step
/// instead.
const CART: usize = 4;

/// Longest burning time in a turn.
const LONG: Duration = Duration::from_micros(200);

/// Burning time in a turn, for gophers that burn inline.
///
/// Two clock readings take longer than a short burn: of burns below a microsecond one in eight is
/// timed, and the others are taken to be as long.
#[derive(Debug, Default)]
pub(super) struct Burning {
    /// Sum in this turn.
    all: Duration,
    /// The last timed burn.
    last: Duration,
    /// Untimed burns since then, not yet reported.
    untimed: u32,
}

impl Burning {
    const SHORT: Duration = Duration::from_micros(1);
    const UNTIMED: u32 = 7;

    fn begin_turn(&mut self) {
        self.all = Duration::ZERO;
    }

    fn is_long(&self) -> bool {
        self.all > LONG
    }

    /// True if the next burn should be timed: the first of a turn always is.
    fn is_due(&self) -> bool {
        self.last >= Self::SHORT || self.untimed == Self::UNTIMED || self.all.is_zero()
    }

    /// Adds a burn, timed or not. Returns `took`.
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
    /// Runs legs until there is none or one takes time: its own, and legs without duration of idle
    /// gophers.
    pub(super) fn go_on(&mut self, next: Option<(Cart, Leg)>, ctx: &mut Context<Self>) {
        if self.crew.works.is_halting() {
            return self.hold(next);
        }
        self.burning.begin_turn();
        self.turn(next, ctx);
        if let Door::Incinerator(fire) = &self.crew.to {
            self.burning.tell(fire);
        }
    }

    /// The run is halting and all actors are about to be killed: keeps the cart until then, and
    /// does nothing more. The less the actors do, the sooner all of them are reached.
    #[cold]
    fn hold(&mut self, next: Option<(Cart, Leg)>) {
        self.busy = true;
        self.hands = next.map(|(cart, _)| cart).or(self.hands.take());
    }

    fn turn(&mut self, next: Option<(Cart, Leg)>, ctx: &mut Context<Self>) {
        let mut next = next.map(|(cart, leg)| Next { cart, leg, on: None });
        let mut left = TURN;
        while left > 0 {
            let Some(Next { cart, leg, mut on }) = next.take() else {
                return;
            };
            let doer = on.as_ref().and_then(Loan::doer);
            let Doer { at_once, core, .. } = doer.unwrap_or(&self.me);
            let (at_once, whose) = (*at_once, core.index);
            let put = match self.unseen && at_once[leg as usize] {
                true => self.pass_by(cart, leg, doer, &mut left),
                false => self.leg(cart, leg, ctx),
            };
            if self.busy {
                return;
            }
            let yard = &self.crew.yard;
            let here = (self.me.lends && left > CART).then_some(self.me.thread);
            next = match (put, here) {
                // What takes no time is done immediately, whatever waits. Exception: waiting carts
                // go before a cart that would be sent for books again, since it may then be
                // coupled with others.
                (Some((cart, leg)), _)
                    if at_once[leg as usize]
                        && (leg != Leg::Take
                            || self.coupling < 2
                            || !(yard.is_wanted(self.core.index) || yard.is_wanted(whose))) =>
                {
                    left = left.saturating_sub(CART * usize::from(leg == Leg::Take));
                    Some(Next { cart, leg, on })
                }
                (Some((cart, leg)), Some(here)) if yard.hand_over(&cart, leg, &mut on, here) => {
                    left -= 1;
                    Some(Next { cart, leg, on })
                }
                (put, here) => {
                    left = left.saturating_sub(CART);
                    yard.next(self.core.index, self.epoch, put, on, here)
                }
            };
        }
        match next {
            None => {}
            // The turn is over. A lent gopher continues by itself, and a waiting cart goes before
            // an empty one that would start anew.
            Some(Next { cart, leg, on }) if on.is_some() || self.is_passed_over(leg) => {
                let put = Some((cart, leg));
                let next = (self.crew.yard).next(self.core.index, self.epoch, put, on, None);
                if let Some(Next { cart, leg, .. }) = next {
                    self.give_way(cart, leg, ctx);
                }
            }
            Some(Next { cart, leg, .. }) => self.give_way(cart, leg, ctx),
        }
    }

    /// True if a cart waits for this gopher while its own, empty, is about to start anew.
    fn is_passed_over(&self, leg: Leg) -> bool {
        leg == Leg::Take && self.crew.yard.is_wanted(self.core.index)
    }

    /// Yields to other tasks on the arbiter, then continues.
    fn give_way(&mut self, cart: Cart, leg: Leg, ctx: &mut Context<Self>) {
        self.busy = true;
        self.hands = Some(cart);
        ctx.spawn(tokio::task::yield_now().into_actor(self).map(move |(), gopher, ctx| {
            gopher.busy = false;
            if let Some(cart) = gopher.hands.take() {
                gopher.go_on(Some((cart, leg)), ctx);
            }
        }));
    }

    /// Runs legs that take no time and need no events until the cart is sent on, a leg takes time,
    /// or the turn is over. `on`: the idle gopher in whose name they run, if not its own.
    fn pass_by(
        &mut self,
        mut cart: Cart,
        mut leg: Leg,
        on: Option<&Doer>,
        left: &mut usize,
    ) -> Option<(Cart, Leg)> {
        let at_once = on.map_or(self.me.at_once, |doer| doer.at_once);
        loop {
            cart.not_before(on.map_or(self.free_at, |doer| doer.born));
            let core = on.map_or(&self.core, |doer| &doer.core);
            if leg.step() == core.counts && !matches!(leg, Leg::Take | Leg::Reserve) {
                core.stats.carts_with(cart.carts(), cart.body().books);
            }
            if leg == Leg::Take {
                self.couple(&mut cart, at_once[Leg::Return as usize]);
            }
            (cart, leg) = self.onward(cart, leg, on)?;
            if self.burning.is_long() {
                *left = (*left).min(1);
            }
            if leg == Leg::Take || !at_once[leg as usize] {
                return Some((cart, leg));
            }
        }
    }

    /// Couples other waiting empty carts to one that is about to be sent for books.
    fn couple(&self, cart: &mut Cart, returns: bool) {
        let carts = self.crew.yard.coupling();
        if cart.carts() < carts {
            self.crew.yard.couple(cart, carts, returns);
        } else {
            cart.uncouple(carts);
        }
    }

    /// Adapts the coupling to the burning time: coupled carts burn in one go, which has to stay
    /// short.
    fn burned_in(&self, span: Duration) {
        let yard = &self.crew.yard;
        let now = yard.coupling();
        if span > LONG / 2 {
            yard.couple_up_to((now / 2).max(1));
        } else if span < LONG / 8 && now < self.coupling {
            yard.couple_up_to((now * 2).min(self.coupling));
        }
    }

    /// Moves a cart on from a finished leg; returns it with its next leg, or `None` if it was sent
    /// on or parked.
    pub(super) fn onward(
        &mut self,
        mut cart: Cart,
        leg: Leg,
        on: Option<&Doer>,
    ) -> Option<(Cart, Leg)> {
        match leg {
            Leg::Take => {
                let holder = on.unwrap_or(&self.me).holder;
                let loaded = self.crew.from.take(cart, holder)?;
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
                // The slot is for the unloading step only, not for the burn.
                cart.leave_slot();
                match &self.crew.to {
                    Door::Dump(dump) => dump.deliver(cart),
                    Door::Incinerator(fire) => {
                        let timed = !self.me.lends || self.burning.is_due();
                        let (cart, took) = fire.deliver(cart, timed)?;
                        if let Some(took) = self.burning.burned(took, fire) {
                            self.burned_in(took);
                        }
                        Some((cart, Leg::Return))
                    }
                }
            }
            Leg::Return => Some((cart, Leg::Take)),
        }
    }
}
