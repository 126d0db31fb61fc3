//! Tests of lending: no cart is lost or duplicated, no gopher is forgotten or does two things at
//! once.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use actix::dev::Envelope;
use actix::dev::channel::{AddressReceiver, channel};
use futures_core::Stream;
use proptest::prelude::*;

use super::super::Seat;
use super::super::held::packed;
use super::*;
use crate::crew::steps::{Duties, Step};
use crate::custody::Want;
use crate::gopher::Gopher;
use crate::stats::NodeStats;
use gopherworks_supervision::Port;
use gopherworks_supervision::clock::{Clock, Seed};

/// One incarnation at a seat.
struct Life {
    doer: Arc<Doer>,
    mailbox: AddressReceiver<Gopher>,
    mail: Vec<Envelope<Gopher>>,
    /// It has not asked for work yet.
    fresh: bool,
}

/// A gopher at work, for itself or for another.
struct Up {
    doer: Arc<Doer>,
    cart: Cart,
    on: Option<Loan>,
}

struct Crew {
    yard: Arc<Yard>,
    ports: Vec<Port<Gopher>>,
    duties: Vec<Duties>,
    /// By seat: the current incarnation.
    lives: Vec<Option<Life>>,
    epochs: Vec<u64>,
    up: Vec<Up>,
    /// At piles and incinerators.
    away: Vec<Cart>,
}

/// Operation, seat or index, leg, and a choice.
type Act = (u8, usize, usize, usize);

const THREADS: u64 = 2;

impl Crew {
    fn new(carts: usize, duties: &[u8]) -> Self {
        let all = Step::ALL.into_iter();
        let duties: Vec<Duties> = duties
            .iter()
            .map(|bits| all.clone().filter(|step| bits >> step.index() & 1 == 1).collect())
            .collect();
        let ports: Vec<Port<Gopher>> = duties.iter().map(|_| Port::new()).collect();
        let seats = (duties.iter().zip(&ports).zip(1..))
            .map(|((duties, port), node)| Seat {
                duties: *duties,
                port: Arc::new(port.clone()),
                node,
            })
            .collect();
        let want = Want { books: 4, bytes: None };
        let clock = Clock::simulated();
        Self {
            yard: Yard::new(clock, "crew", want, carts, seats, None, None, false),
            lives: duties.iter().map(|_| None).collect(),
            epochs: vec![0; duties.len()],
            ports,
            duties,
            up: Vec::new(),
            away: Vec::new(),
        }
    }

    fn is_up(&self, doer: &Arc<Doer>) -> bool {
        self.up.iter().any(|up| Arc::ptr_eq(&up.doer, doer))
    }

    fn is_lent(&self, doer: &Arc<Doer>) -> bool {
        let mut loans = self.up.iter().filter_map(|up| up.on.as_ref()?.0.as_ref());
        loans.any(|lent| Arc::ptr_eq(lent, doer))
    }

    /// The incarnation at `seat`, if it can act now.
    fn free(&self, seat: usize) -> Option<Arc<Doer>> {
        let doer = &self.lives[seat].as_ref()?.doer;
        (!self.is_up(doer) && !self.is_lent(doer)).then(|| doer.clone())
    }

    /// A new incarnation; the one before it is dead, or hangs on another thread with its cart.
    fn settle(&mut self, seat: usize, thread: u64, lends: bool) {
        let before = self.lives[seat].take();
        let at_work =
            before.as_ref().filter(|life| self.is_up(&life.doer) || self.is_lent(&life.doer));
        let thread = at_work.map_or(thread, |life| THREADS + 1 - life.doer.thread);
        self.epochs[seat] += 1;
        let epoch = self.epochs[seat];
        let duties = self.duties[seat];
        let doer = Arc::new(Doer {
            yard: Arc::downgrade(&self.yard),
            core: Arc::new(GopherCore {
                name: seat.to_string(),
                index: seat,
                counts: Step::Load,
                stats: NodeStats::default(),
                chance: std::sync::Mutex::new(Seed(1).stream("a gopher", "steps")),
            }),
            holder: self.yard.holder_at(seat, epoch),
            epoch,
            thread,
            born: Time::ZERO,
            at_once: Leg::ALL.map(|leg| duties.has(leg.step())),
            lends,
        });
        self.yard.settle(&doer);
        if let Some(late) = &before {
            // As if it had started only now.
            self.yard.settle(&late.doer);
        }
        let (sender, mailbox) = channel(0);
        assert!(self.ports[seat].begin_and_bind(epoch, &sender));
        drop(before);
        self.lives[seat] = Some(Life { doer, mailbox, mail: Vec::new(), fresh: true });
    }

    /// The incarnation at `seat` ends, and its mailbox with it.
    fn end(&mut self, seat: usize) {
        if let Some(life) = self.lives[seat].take() {
            self.ports[seat].end(life.doer.epoch);
        }
    }

    fn legs(&self, gopher: usize) -> Legs {
        Legs::of(self.duties[gopher])
    }

    fn wanted(&self) -> Legs {
        self.yard.lock().wanted
    }

    /// True if some gopher could be lent for one of `legs` on thread `here`.
    fn has_lender(&self, legs: Legs, here: u64) -> bool {
        let state = self.yard.lock();
        (self.lives.iter().enumerate()).any(|(seat, life)| {
            life.as_ref().is_some_and(|life| {
                let able = life.doer.lends && life.doer.thread == here;
                let asked = !self.legs(seat).and(legs).is_empty();
                able && asked && state.idle.contains(&seat)
            })
        })
    }

    /// `doer` hands back its cart and gets the next one.
    fn next(&mut self, doer: &Arc<Doer>, put: Option<(Cart, Leg)>, on: Option<Loan>, lends: bool) {
        let (seat, yard) = (doer.core.index, self.yard.clone());
        let here = (lends && doer.lends).then_some(doer.thread);
        if let Some(life) = self.lives[seat].as_mut().filter(|life| Arc::ptr_eq(&life.doer, doer)) {
            life.fresh = false;
        }
        let next = yard.next(seat, doer.epoch, put, on, here);
        let Some(Next { cart, leg, on }) = next else {
            return;
        };
        self.check(doer, &cart, leg, &on);
        self.up.push(Up { doer: doer.clone(), cart, on });
    }

    /// The cart is the right one and has the right holder.
    fn check(&self, doer: &Arc<Doer>, cart: &Cart, leg: Leg, on: &Option<Loan>) {
        let lender = on.as_ref().map(|loan| loan.doer().expect("a loan of somebody"));
        let whose = lender.unwrap_or(doer);
        assert!(self.duties[whose.core.index].has(leg.step()), "{leg:?} is not its duty");
        let body = cart.body();
        let held = self.yard.held[body.number as usize - 1].load(Ordering::SeqCst);
        assert_eq!(held, packed(body.generation, whose.holder));
        if let Some(lender) = lender {
            assert_eq!(lender.thread, doer.thread, "lent to another thread");
            assert!(self.ports[lender.core.index].is_at(lender.epoch), "lent after its end");
            assert!(lender.lends);
        }
    }

    fn act(&mut self, (act, which, leg, choice): Act) {
        let leg = Leg::ALL[leg % Leg::ALL.len()];
        let seat = which % self.lives.len();
        let up = which.checked_rem(self.up.len());
        match act {
            0 => self.settle(seat, 1 + choice as u64 % THREADS, choice % 5 != 0),
            1 if self.free(seat).is_some() => self.end(seat),
            // It asks for work after its start, or handles a cart it was sent, which is dropped
            // here and returns to the queue.
            2 | 3 => {
                if let Some(doer) = self.free(seat)
                    && let Some(life) = &mut self.lives[seat]
                    && (life.fresh || !life.mail.is_empty())
                {
                    drop(life.mail.pop());
                    self.next(&doer, None, None, choice % 2 == 0);
                }
            }
            4..=6 if let Some(at) = up => {
                let Up { doer, cart, on } = self.up.remove(at);
                self.next(&doer, Some((cart, leg)), on, choice % 4 != 0);
            }
            7..=9 if let Some(at) = up => {
                let Up { doer, cart, mut on } = self.up.remove(at);
                let mut legs = Legs::default();
                legs.set(leg, true);
                let nothing_waits = self.wanted().is_empty();
                let could = doer.lends && nothing_waits && self.has_lender(legs, doer.thread);
                let handed = doer.lends && self.yard.hand_over(&cart, leg, &mut on, doer.thread);
                assert_eq!(
                    handed,
                    could,
                    "for {leg:?}, {}",
                    if nothing_waits { "nothing waits" } else { "others wait" }
                );
                if handed {
                    self.check(&doer, &cart, leg, &on);
                }
                self.up.push(Up { doer, cart, on });
            }
            // The cart is at a pile or an incinerator.
            10 if let Some(at) = up => {
                let Up { doer, cart, on } = self.up.remove(at);
                self.away.push(cart);
                self.next(&doer, None, on, choice % 4 != 0);
            }
            11 if !self.away.is_empty() => self.away.remove(which % self.away.len()).put(leg),
            12 if !self.away.is_empty() => drop(self.away.remove(which % self.away.len())),
            // It panics, or its loan ends before it has handed back a cart.
            13 if let Some(at) = up => {
                let Up { doer, cart, on } = self.up.remove(at);
                let seat = doer.core.index;
                let lives = |life: &Life| Arc::ptr_eq(&life.doer, &doer);
                if choice % 2 == 0 {
                    drop(on);
                    drop(cart);
                    if self.lives[seat].as_ref().is_some_and(lives) {
                        self.end(seat);
                    }
                } else {
                    drop(on);
                    let on = None;
                    self.up.push(Up { doer, cart, on });
                }
            }
            _ => {}
        }
    }

    /// Carts in mailboxes are held by their addressees.
    fn collect(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        for life in self.lives.iter_mut().flatten() {
            while let Poll::Ready(Some(mail)) = Pin::new(&mut life.mailbox).poll_next(&mut context)
            {
                life.mail.push(mail);
            }
        }
    }

    fn assert_all_is_well(&self) {
        let mail: usize = self.lives.iter().flatten().map(|life| life.mail.len()).sum();
        let out = mail + self.up.len() + self.away.len();
        let state = self.yard.lock();
        let waiting: usize = state.waiting.iter().map(std::collections::VecDeque::len).sum();
        assert_eq!(
            (state.out, waiting + out),
            (out, self.yard.carts()),
            "carts are lost or doubled"
        );
        for (seat, life) in self.lives.iter().enumerate() {
            let idle = state.idle.iter().filter(|idle| **idle == seat).count();
            assert!(idle <= 1, "{seat} is idle twice");
            let waits = state.wanted.and(self.legs(seat));
            assert!(idle == 0 || waits.is_empty(), "a cart waits while {seat} is idle");
            let Some(Life { doer, mail, fresh, .. }) = life else {
                continue;
            };
            let (up, lent) = (self.is_up(doer), self.is_lent(doer));
            assert!(!(lent && idle > 0), "{seat} is idle and on loan");
            assert_eq!(state.doers[seat].is_some(), doer.lends && !lent, "{seat} may lend itself");
            assert!(up || lent || idle > 0 || *fresh || !mail.is_empty(), "{seat} is forgotten");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_gopher_starves_and_no_cart_waits_for_an_idle_one(
        carts in 1usize..6,
        duties in prop::collection::vec(1u8..16, 1..6),
        acts in prop::collection::vec((0u8..14, 0usize..30, 0usize..6, 0usize..60), 1..120),
    ) {
        let mut crew = Crew::new(carts, &duties);
        for seat in 0..duties.len() {
            crew.settle(seat, 1 + u64::from(seat == 4), true);
        }
        for act in acts {
            crew.act(act);
            crew.collect();
            crew.assert_all_is_well();
        }
        // Everything is released.
        while let Some(Up { doer, cart, on }) = crew.up.pop() {
            drop(cart);
            crew.next(&doer, None, on, false);
            if let Some(Up { cart, .. }) = crew.up.pop_if(|up| Arc::ptr_eq(&up.doer, &doer)) {
                crew.away.push(cart);
                crew.up.retain(|up| !Arc::ptr_eq(&up.doer, &doer));
                let seat = doer.core.index;
                if crew.lives[seat].as_ref().is_some_and(|life| Arc::ptr_eq(&life.doer, &doer)) {
                    crew.end(seat);
                }
            }
            crew.collect();
            crew.assert_all_is_well();
        }
        crew.away.clear();
        crew.collect();
        crew.assert_all_is_well();
    }
}
