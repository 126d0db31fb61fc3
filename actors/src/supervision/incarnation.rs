//! One life of an actor.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix::dev::ContextFut;
use actix::dev::channel::{self, AddressSender};
use actix::{Actor, ActorContext};

use super::catch::{Caught, catch, catch_boxed, drop_caught};
use super::child::{Birth, Factory};
use super::launch::Life;
use super::pulse::Pulse;
use super::switch::Strike;
use super::{Exit, Port};
use crate::clock::{Clock, Sleep};

/// The arbiter on which a life is lived, and its key there.
type Home = (Arc<Pulse>, u64);

/// One life of an actor, as a future to be spawned on the thread where it is to be lived.
///
/// Its first poll makes the actor and runs `started`. It ends when the actor ends, panics, or is killed; before it reports, it
/// has dropped the actor, the futures of its context and the messages in its mailbox, outside any unwinding.
pub(super) struct Incarnation<A: Actor<Context = actix::Context<A>>> {
    stage: Stage<A>,
    port: Port<A>,
    /// The task that the switch knows, as its waker names it; 0 before the first poll. A task's name does not change.
    task: usize,
    /// In a simulation, without an arbiter of its own: it hangs until then.
    frozen: Option<Sleep>,
    home: Option<Home>,
    // Last, so that even a future that is dropped unfinished reports after everything else is gone.
    life: Option<Life>,
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
        mailbox: AddressSender<A>,
        started: bool,
        stopping: bool,
    },
    Over,
}

/// How a poll went that looked at as little as possible.
enum Went {
    On,
    Over(Box<Exit>),
    /// All has to be looked at.
    NoFurther,
}

impl<A: Actor<Context = actix::Context<A>>> Incarnation<A> {
    pub(super) fn new(factory: Factory<A>, birth: Birth<A>, life: Life) -> Self {
        Self {
            port: birth.port.clone(),
            stage: Stage::Unborn { factory, birth },
            task: 0,
            frozen: None,
            home: (life.pulse()).map(|(pulse, key)| (pulse.clone(), key)),
            life: Some(life),
        }
    }

    /// Lives until there is nothing to do now; `Some` where life is over.
    fn live(&mut self, cx: &mut Context<'_>, home: Option<&Home>) -> Option<Exit> {
        let life = self.life.as_ref()?;
        // First, so that a throw during this poll wakes us again.
        let task = cx.waker().data() as usize;
        if self.task != task {
            life.switch.listen(cx.waker());
            self.task = task;
        }
        if life.around.clock.is_simulated() {
            // What stands still can't even be killed.
            if home.is_some_and(|(pulse, _)| pulse.is_frozen(cx.waker())) {
                return None;
            }
            if let Some(sleep) = &mut self.frozen {
                if Pin::new(sleep).poll(cx).is_pending() {
                    return None;
                }
                self.frozen = None;
            }
        }
        if life.switch.killed() {
            return Some(Exit::Killed);
        }
        match life.switch.struck() {
            None => {}
            Some(Strike::Panic(text)) => {
                log::error!("{} (life {}) panicked: {text}", life.name, life.epoch);
                let place = Exit::UNKNOWN_PLACE.to_owned();
                return Some(Exit::Panic { text, place });
            }
            Some(Strike::Hang(span)) if life.around.clock.is_simulated() => {
                let clock = &life.around.clock;
                match home {
                    Some((pulse, key)) => {
                        pulse.enter(*key);
                        pulse.freeze(clock, span, life.hang_after);
                    }
                    None => self.frozen = Some(clock.sleep(span)),
                }
                cx.waker().wake_by_ref();
                return None;
            }
            Some(Strike::Hang(span)) => {
                block(&life.around.clock, span, || life.switch.killed());
            }
            Some(Strike::Kill) => return Some(Exit::Killed),
            Some(Strike::Stop) => life.switch.stop(),
        }
        if let Some(fuzz) = &life.around.fuzz
            && fuzz.puts_off(&life.name)
        {
            cx.waker().wake_by_ref();
            return None;
        }
        if let Stage::Unborn { factory, birth } = &self.stage {
            if life.switch.stopped() {
                return Some(Exit::Normal);
            }
            match catch(|| factory(birth)) {
                Ok(Ok(actor)) => self.stage = born(actor),
                Ok(Err(reason)) => return Some(Exit::Failed(reason)),
                Err(caught) => return Some(panicked(life, caught)),
            }
        }
        let Stage::Living {
            body,
            mailbox,
            started,
            stopping,
        } = &mut self.stage
        else {
            return Some(Exit::Normal);
        };
        if !*stopping && life.switch.stopped() {
            *stopping = true;
            body.ctx().stop();
        }
        match catch(|| Pin::new(&mut *body).poll(cx)) {
            Ok(Poll::Ready(())) => Some(Exit::Normal),
            Ok(Poll::Pending) if *started => None,
            Ok(Poll::Pending) => {
                *started = true;
                if !self.port.bind(life.epoch, mailbox) {
                    // Fenced while it was being made: a zombie.
                    return Some(Exit::Killed);
                }
                life.duty.started();
                None
            }
            Err(caught) => Some(panicked(life, caught)),
        }
    }

    /// Nearly always: it is up, nothing has happened to it since, and nobody plays with its time.
    #[inline]
    fn go_on(&mut self, cx: &mut Context<'_>) -> Went {
        let Some(life) = &self.life else {
            return Went::NoFurther;
        };
        if self.task != cx.waker().data() as usize || life.is_watched || !life.switch.is_at_rest() {
            return Went::NoFurther;
        }
        let Stage::Living {
            body,
            started: true,
            ..
        } = &mut self.stage
        else {
            return Went::NoFurther;
        };
        if let Some((pulse, key)) = &self.home {
            pulse.enter(*key);
        }
        match catch_boxed(|| Pin::new(body).poll(cx).is_pending()) {
            Ok(true) => {
                if let Some((pulse, _)) = &self.home {
                    pulse.exit();
                }
                Went::On
            }
            Ok(false) => Went::Over(Box::new(Exit::Normal)),
            Err(caught) => Went::Over(Box::new(panicked(life, *caught))),
        }
    }

    /// Looks at all that may have happened to it, and lives until there is nothing to do now.
    fn look_and_live(&mut self, cx: &mut Context<'_>) -> Poll<Exit> {
        // Taken out, so that a poll costs no counting of references.
        let home = self.home.take();
        let watched = home.as_ref().filter(|(pulse, _)| !pulse.is_simulated());
        if let Some((pulse, key)) = watched {
            pulse.enter(*key);
        }
        let ended = self.live(cx, home.as_ref());
        if ended.is_none()
            && let Some((pulse, _)) = watched
        {
            pulse.exit();
        }
        self.home = home;
        match ended {
            Some(exit) => Poll::Ready(exit),
            None => Poll::Pending,
        }
    }

    /// Vacates the port, drops the actor and all it holds. `Some` if a `Drop` panicked.
    fn bury(&mut self) -> Option<Caught> {
        // Before the mailbox closes: whoever comes from now on keeps his message.
        let life = self.life.as_ref()?;
        self.port.vacate(life.epoch);
        life.switch.release();
        let mut stage = std::mem::replace(&mut self.stage, Stage::Over);
        if let Stage::Living { body, .. } = &mut stage {
            // Without this, actix would poll the broken actor once more while dropping it.
            body.ctx().terminate();
        }
        drop_caught(&life.name, stage).err()
    }
}

fn panicked(life: &Life, caught: Caught) -> Exit {
    let backtrace = caught.backtrace.clone();
    let exit: Exit = caught.into();
    log::error!("{} (life {}) {exit}", life.name, life.epoch);
    if let Some(backtrace) = backtrace {
        log::error!("{backtrace}");
    }
    exit
}

/// Blocks this thread as a hung handler would, for `span` or until `given_up`.
fn block(clock: &Clock, span: Duration, given_up: impl Fn() -> bool) {
    let until = clock.now() + span;
    while clock.now() < until && !given_up() {
        std::thread::park_timeout(Duration::from_millis(5).min(until - clock.now()));
    }
}

fn born<A: Actor<Context = actix::Context<A>>>(actor: A) -> Stage<A> {
    // 0 is "without bound": the bounds that matter are those of what may be in flight.
    let (mailbox, messages) = channel::channel(0);
    let body = actix::Context::with_receiver(messages).into_future(actor);
    Stage::Living {
        body,
        mailbox,
        started: false,
        stopping: false,
    }
}

impl<A: Actor<Context = actix::Context<A>>> Future for Incarnation<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let exit = match this.go_on(cx) {
            Went::On => return Poll::Pending,
            Went::Over(exit) => *exit,
            Went::NoFurther => match this.look_and_live(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(exit) => exit,
            },
        };
        this.end(exit);
        Poll::Ready(())
    }
}

impl<A: Actor<Context = actix::Context<A>>> Incarnation<A> {
    #[cold]
    fn end(&mut self, mut exit: Exit) {
        if let Some(caught) = self.bury() {
            // The first panic is the one that explains.
            if !matches!(exit, Exit::Panic { .. }) {
                exit = caught.into();
            }
        }
        if let Some((pulse, _)) = (self.home.as_ref()).filter(|(pulse, _)| !pulse.is_simulated()) {
            pulse.exit();
        }
        if let Some(life) = self.life.take() {
            life.duty.exited(exit);
        }
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
