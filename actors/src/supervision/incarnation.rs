//! One life of an actor.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix::dev::ContextFut;
use actix::{Actor, ActorContext, Addr};

use super::catch::{Caught, catch, drop_caught};
use super::child::{Birth, Factory};
use super::report::Duty;
use super::switch::Switch;
use super::{Exit, Port};

/// One life of an actor, as a future to be spawned on the thread where it is to be lived.
///
/// Its first poll makes the actor and runs `started`. It ends when the actor ends, panics, or is killed; before it reports, it
/// has dropped the actor, the futures of its context and the messages in its mailbox, outside any unwinding.
pub(super) struct Incarnation<A: Actor<Context = actix::Context<A>>> {
    stage: Stage<A>,
    switch: Arc<Switch>,
    port: Port<A>,
    epoch: u64,
    name: Arc<str>,
    // Last, so that even a future that is dropped unfinished reports after everything else is gone.
    duty: Option<Duty>,
}

#[allow(
    clippy::large_enum_variant,
    reason = "a life is unborn for one poll only, and living is the hot path"
)]
enum Stage<A: Actor<Context = actix::Context<A>>> {
    Unborn {
        factory: Factory<A>,
        birth: Birth<A>,
    },
    Living {
        body: ContextFut<A, actix::Context<A>>,
        // Held, or an actor that nobody else knows yet would stop for want of addresses.
        addr: Addr<A>,
        started: bool,
        stopping: bool,
    },
    Over,
}

impl<A: Actor<Context = actix::Context<A>>> Incarnation<A> {
    pub(super) fn new(
        factory: Factory<A>,
        birth: Birth<A>,
        switch: Arc<Switch>,
        duty: Duty,
    ) -> Self {
        Self {
            switch,
            port: birth.port.clone(),
            epoch: birth.epoch,
            name: birth.name.clone(),
            stage: Stage::Unborn { factory, birth },
            duty: Some(duty),
        }
    }

    /// Lives until there is nothing to do now; `Some` where life is over.
    fn live(&mut self, cx: &mut Context<'_>) -> Option<Exit> {
        // First, so that a throw during this poll wakes us again.
        self.switch.listen(cx.waker());
        if self.switch.killed() {
            return Some(Exit::Killed);
        }
        if let Stage::Unborn { factory, birth } = &self.stage {
            if self.switch.stopped() {
                return Some(Exit::Normal);
            }
            match catch(|| factory(birth)) {
                Ok(Ok(actor)) => self.stage = born(actor),
                Ok(Err(reason)) => return Some(Exit::Failed(reason)),
                Err(caught) => return Some(self.panicked(caught)),
            }
        }
        let Stage::Living {
            body,
            addr,
            started,
            stopping,
        } = &mut self.stage
        else {
            return Some(Exit::Normal);
        };
        if !*stopping && self.switch.stopped() {
            *stopping = true;
            body.ctx().stop();
        }
        match catch(|| Pin::new(&mut *body).poll(cx)) {
            Ok(Poll::Ready(())) => Some(Exit::Normal),
            Ok(Poll::Pending) if *started => None,
            Ok(Poll::Pending) => {
                *started = true;
                if !self.port.bind(self.epoch, addr) {
                    // Fenced while it was being made: a zombie.
                    return Some(Exit::Killed);
                }
                if let Some(duty) = &self.duty {
                    duty.started();
                }
                None
            }
            Err(caught) => Some(self.panicked(caught)),
        }
    }

    /// Vacates the port, drops the actor and all it holds. `Some` if a `Drop` panicked.
    fn bury(&mut self) -> Option<Caught> {
        // Before the mailbox closes: whoever comes from now on keeps his message.
        self.port.vacate(self.epoch);
        self.switch.release();
        let mut stage = std::mem::replace(&mut self.stage, Stage::Over);
        if let Stage::Living { body, .. } = &mut stage {
            // Without this, actix would poll the broken actor once more while dropping it.
            body.ctx().terminate();
        }
        drop_caught(&self.name, stage).err()
    }

    fn panicked(&self, caught: Caught) -> Exit {
        let backtrace = caught.backtrace.clone();
        let exit: Exit = caught.into();
        log::error!("{} (life {}) {exit}", self.name, self.epoch);
        if let Some(backtrace) = backtrace {
            log::error!("{backtrace}");
        }
        exit
    }
}

fn born<A: Actor<Context = actix::Context<A>>>(actor: A) -> Stage<A> {
    let mut ctx = actix::Context::new();
    // 0 is "without bound". A bounded mailbox would say "full" to a port, whose senders could only try again;
    // the bounds that matter are those of what may be in flight.
    ctx.set_mailbox_capacity(0);
    let body = ctx.into_future(actor);
    let addr = body.address();
    Stage::Living {
        body,
        addr,
        started: false,
        stopping: false,
    }
}

impl<A: Actor<Context = actix::Context<A>>> Future for Incarnation<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let Some(mut exit) = this.live(cx) else {
            return Poll::Pending;
        };
        if let Some(caught) = this.bury() {
            // The first panic is the one that explains.
            if !matches!(exit, Exit::Panic { .. }) {
                exit = caught.into();
            }
        }
        if let Some(duty) = this.duty.take() {
            duty.exited(exit);
        }
        Poll::Ready(())
    }
}

impl<A: Actor<Context = actix::Context<A>>> Drop for Incarnation<A> {
    /// A life that is dropped unfinished has lost its runtime: `duty` says so after this.
    fn drop(&mut self) {
        if !matches!(self.stage, Stage::Over) {
            self.bury();
        }
    }
}
