//! Tests of lending: no cart is lost or duplicated, and every gopher does one step at a time.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use actix::dev::Envelope;
use actix::dev::channel::{AddressReceiver, channel};
use futures_core::Stream;
use proptest::prelude::*;

use super::super::CrewMember;
use super::super::holders::packed;
use super::*;
use crate::crew::steps::{Duties, Step};
use crate::custody::Want;
use crate::gopher::Gopher;
use crate::stats::NodeStats;
use gopherworks_supervision::Port;
use gopherworks_supervision::clock::{Clock, Seed};

/// The current incarnation of a gopher, with its mailbox.
struct Present {
    acting: Arc<Incarnation>,
    mailbox: AddressReceiver<Gopher>,
    mail: Vec<Envelope<Gopher>>,
    /// It has not asked for work yet.
    fresh: bool,
}

/// A gopher at work, for itself or for another.
struct AtWork {
    acting: Arc<Incarnation>,
    cart: Cart,
    run: Option<InlineRun>,
}

struct TestCrew {
    queue: Arc<CrewQueue>,
    ports: Vec<Port<Gopher>>,
    duties: Vec<Duties>,
    /// By gopher: the current incarnation.
    lives: Vec<Option<Present>>,
    epochs: Vec<u64>,
    up: Vec<AtWork>,
    /// At piles and incinerators.
    away: Vec<Cart>,
}

/// Operation, gopher or index, step, and a choice.
type QueueOp = (u8, usize, usize, usize);

const THREADS: u64 = 2;

impl TestCrew {
    fn new(carts: usize, duties: &[u8]) -> Self {
        let all = Step::ALL.into_iter();
        let duties: Vec<Duties> = duties
            .iter()
            .map(|bits| all.clone().filter(|step| bits >> step.index() & 1 == 1).collect())
            .collect();
        let ports: Vec<Port<Gopher>> = duties.iter().map(|_| Port::new()).collect();
        let members = (duties.iter().zip(&ports).zip(1..))
            .map(|((duties, port), node)| CrewMember {
                duties: *duties,
                port: Arc::new(port.clone()),
                node,
            })
            .collect();
        let want = Want { books: 4, bytes: None };
        let clock = Clock::simulated();
        Self {
            queue: CrewQueue::new(clock, "crew", want, carts, members, None, None, false),
            lives: duties.iter().map(|_| None).collect(),
            epochs: vec![0; duties.len()],
            ports,
            duties,
            up: Vec::new(),
            away: Vec::new(),
        }
    }

    fn is_up(&self, acting: &Arc<Incarnation>) -> bool {
        self.up.iter().any(|up| Arc::ptr_eq(&up.acting, acting))
    }

    fn is_lent(&self, acting: &Arc<Incarnation>) -> bool {
        let mut runs = self.up.iter().filter_map(|up| up.run.as_ref()?.0.as_ref());
        runs.any(|lent| Arc::ptr_eq(lent, acting))
    }

    /// The incarnation of `gopher`, if it can act now.
    fn free(&self, gopher: usize) -> Option<Arc<Incarnation>> {
        let acting = &self.lives[gopher].as_ref()?.acting;
        (!self.is_up(acting) && !self.is_lent(acting)).then(|| acting.clone())
    }

    /// A new incarnation; the one before it is dead, or hangs on another thread with its cart.
    fn start(&mut self, gopher: usize, thread: u64, lends: bool) {
        let before = self.lives[gopher].take();
        let at_work =
            before.as_ref().filter(|life| self.is_up(&life.acting) || self.is_lent(&life.acting));
        let thread = at_work.map_or(thread, |life| THREADS + 1 - life.acting.thread);
        self.epochs[gopher] += 1;
        let epoch = self.epochs[gopher];
        let duties = self.duties[gopher];
        let acting = Arc::new(Incarnation {
            queue: Arc::downgrade(&self.queue),
            core: Arc::new(GopherCore {
                name: gopher.to_string(),
                index: gopher,
                counts: Step::Load,
                stats: NodeStats::default(),
                chance: std::sync::Mutex::new(Seed(1).stream("a gopher", "steps")),
            }),
            holder: self.queue.holder_at(gopher, epoch),
            epoch,
            thread,
            born: Time::ZERO,
            steps: NextSteps::of(duties),
            at_once: NextStep::ALL.map(|step| duties.has(step.duty())),
            lends,
        });
        self.queue.register(&acting);
        if let Some(late) = &before {
            // As if it had started only now.
            self.queue.register(&late.acting);
        }
        let (sender, mailbox) = channel(0);
        assert!(self.ports[gopher].begin_and_bind(epoch, &sender));
        drop(before);
        self.lives[gopher] = Some(Present { acting, mailbox, mail: Vec::new(), fresh: true });
    }

    /// The incarnation of `gopher` ends, and its mailbox with it.
    fn end(&mut self, gopher: usize) {
        if let Some(life) = self.lives[gopher].take() {
            self.ports[gopher].end(life.acting.epoch);
        }
    }

    fn steps(&self, gopher: usize) -> NextSteps {
        NextSteps::of(self.duties[gopher])
    }

    fn wanted(&self) -> NextSteps {
        self.queue.lock().wanted
    }

    /// True if some gopher could be lent for one of `steps` on thread `here`.
    fn has_lender(&self, steps: NextSteps, here: u64) -> bool {
        let state = self.queue.lock();
        (self.lives.iter().enumerate()).any(|(gopher, life)| {
            life.as_ref().is_some_and(|life| {
                let able = life.acting.lends && life.acting.thread == here;
                let asked = !self.steps(gopher).and(steps).is_empty();
                able && asked && state.idle.contains(&gopher)
            })
        })
    }

    /// `acting` hands back its cart and gets the next one.
    fn next(
        &mut self,
        acting: &Arc<Incarnation>,
        put: Option<(Cart, NextStep)>,
        run: Option<InlineRun>,
        lends: bool,
    ) {
        let (gopher, queue) = (acting.core.index, self.queue.clone());
        let here = (lends && acting.lends).then_some(acting.thread);
        if let Some(life) =
            self.lives[gopher].as_mut().filter(|life| Arc::ptr_eq(&life.acting, acting))
        {
            life.fresh = false;
        }
        let next = queue.next(gopher, acting.epoch, put, run, here);
        let Some(NextCart { cart, step, run }) = next else {
            return;
        };
        self.check(acting, &cart, step, &run);
        self.up.push(AtWork { acting: acting.clone(), cart, run });
    }

    /// The cart is the right one and has the right holder.
    fn check(
        &self,
        acting: &Arc<Incarnation>,
        cart: &Cart,
        step: NextStep,
        run: &Option<InlineRun>,
    ) {
        let lender = run.as_ref().map(|run| run.lent().expect("a gopher is lent"));
        let whose = lender.unwrap_or(acting);
        assert!(self.duties[whose.core.index].has(step.duty()), "{step:?} is not its duty");
        let body = cart.body();
        let held = self.queue.holders.held[body.number as usize - 1].load(Ordering::SeqCst);
        assert_eq!(held, packed(body.generation, whose.holder));
        if let Some(lender) = lender {
            assert_eq!(lender.thread, acting.thread, "lent to another thread");
            assert!(self.ports[lender.core.index].is_at(lender.epoch), "lent after its end");
            assert!(lender.lends);
        }
    }

    fn act(&mut self, (act, which, step, choice): QueueOp) {
        let step = NextStep::ALL[step % NextStep::ALL.len()];
        let gopher = which % self.lives.len();
        let up = which.checked_rem(self.up.len());
        match act {
            0 => self.start(gopher, 1 + choice as u64 % THREADS, choice % 5 != 0),
            1 if self.free(gopher).is_some() => self.end(gopher),
            // It asks for work after its start, or handles a cart it was sent, which is dropped
            // here and returns to the queue.
            2 | 3 => {
                if let Some(acting) = self.free(gopher)
                    && let Some(life) = &mut self.lives[gopher]
                    && (life.fresh || !life.mail.is_empty())
                {
                    drop(life.mail.pop());
                    self.next(&acting, None, None, choice % 2 == 0);
                }
            }
            4..=6 if let Some(at) = up => {
                let AtWork { acting, cart, run } = self.up.remove(at);
                self.next(&acting, Some((cart, step)), run, choice % 4 != 0);
            }
            7..=9 if let Some(at) = up => {
                let AtWork { acting, cart, mut run } = self.up.remove(at);
                let mut steps = NextSteps::default();
                steps.set(step, true);
                let nothing_waits = self.wanted().is_empty();
                let could = acting.lends && nothing_waits && self.has_lender(steps, acting.thread);
                let handed =
                    acting.lends && self.queue.hand_over(&cart, step, &mut run, acting.thread);
                assert_eq!(
                    handed,
                    could,
                    "for {step:?}, {}",
                    if nothing_waits { "nothing waits" } else { "others wait" }
                );
                if handed {
                    self.check(&acting, &cart, step, &run);
                }
                self.up.push(AtWork { acting, cart, run });
            }
            // The cart is at a pile or an incinerator.
            10 if let Some(at) = up => {
                let AtWork { acting, cart, run } = self.up.remove(at);
                self.away.push(cart);
                self.next(&acting, None, run, choice % 4 != 0);
            }
            11 if !self.away.is_empty() => self.away.remove(which % self.away.len()).put(step),
            12 if !self.away.is_empty() => drop(self.away.remove(which % self.away.len())),
            // It panics, or its inline run ends before it has handed back a cart.
            13 if let Some(at) = up => {
                let AtWork { acting, cart, run } = self.up.remove(at);
                let gopher = acting.core.index;
                let lives = |life: &Present| Arc::ptr_eq(&life.acting, &acting);
                if choice % 2 == 0 {
                    drop(run);
                    drop(cart);
                    if self.lives[gopher].as_ref().is_some_and(lives) {
                        self.end(gopher);
                    }
                } else {
                    drop(run);
                    let run = None;
                    self.up.push(AtWork { acting, cart, run });
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
        let state = self.queue.lock();
        let waiting: usize = state.waiting.iter().map(std::collections::VecDeque::len).sum();
        assert_eq!(
            (state.out, waiting + out),
            (out, self.queue.carts()),
            "carts are lost or doubled"
        );
        for (gopher, life) in self.lives.iter().enumerate() {
            let idle = state.idle.iter().filter(|idle| **idle == gopher).count();
            assert!(idle <= 1, "{gopher} is idle twice");
            let waits = state.wanted.and(self.steps(gopher));
            assert!(idle == 0 || waits.is_empty(), "a cart waits while {gopher} is idle");
            let Some(Present { acting, mail, fresh, .. }) = life else {
                continue;
            };
            let (up, lent) = (self.is_up(acting), self.is_lent(acting));
            assert!(!(lent && idle > 0), "{gopher} is idle and lent");
            assert_eq!(
                state.lendable[gopher].is_some(),
                acting.lends && !lent,
                "{gopher} may lend itself"
            );
            assert!(up || lent || idle > 0 || *fresh || !mail.is_empty(), "{gopher} is forgotten");
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
        let mut crew = TestCrew::new(carts, &duties);
        for gopher in 0..duties.len() {
            crew.start(gopher, 1 + u64::from(gopher == 4), true);
        }
        for act in acts {
            crew.act(act);
            crew.collect();
            crew.assert_all_is_well();
        }
        // Everything is released.
        while let Some(AtWork { acting, cart, run }) = crew.up.pop() {
            drop(cart);
            crew.next(&acting, None, run, false);
            let is_same = |other: &Arc<Incarnation>| Arc::ptr_eq(other, &acting);
            if let Some(AtWork { cart, .. }) = crew.up.pop_if(|up| is_same(&up.acting)) {
                crew.away.push(cart);
                crew.up.retain(|up| !is_same(&up.acting));
                let gopher = acting.core.index;
                if crew.lives[gopher].as_ref().is_some_and(|life| is_same(&life.acting)) {
                    crew.end(gopher);
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
