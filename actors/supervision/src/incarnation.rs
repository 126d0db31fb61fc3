//! One life of an actor, from its creation to the report of its end.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use actix::dev::ContextFut;
use actix::dev::channel::{self, AddressSender};
use actix::{Actor, ActorContext};

use super::Exit;
use super::catch::{Caught, catch, catch_boxed};
use super::heartbeat::Registration;
use super::launch::LaunchContext;
use super::switch::{KILL, STOP, STRUCK, Strike};
use crate::clock::{Clock, Sleep};

/// Connects a life to its child, its supervisor and its port. Dropping it before `exited` reports
/// an end of unknown cause.
pub(super) trait LifeHooks<A: Actor> {
    fn context(&self) -> &LaunchContext;
    fn name(&self) -> Arc<str>;
    fn epoch(&self) -> u64;
    /// Its registration on its arbiter, if it runs in an arbiter slot.
    fn registration(&self) -> Option<&Registration>;

    /// Creates the actor; called once. May panic.
    fn make(&mut self) -> Result<A, String>;
    /// Drops the factory if it serves this life only. May panic, as the factory is the user's.
    fn drop_factory(&mut self) {}

    /// Must be called before the switch is read for the first time, or a wake-up may be lost.
    fn listen(&self, waker: &Waker);
    /// The flags of [`super::switch`] that were thrown; 0 if none.
    fn thrown(&self) -> u8;
    /// The next pending panic or hang.
    fn struck(&self) -> Option<Strike>;

    /// Binds the port; returns false if the epoch is fenced. No other address of the actor is kept.
    fn bind(&self, mailbox: AddressSender<A>) -> bool;
    /// Vacates the port and drops the waker.
    fn detach(&self);
    fn started(&self);
    fn exited(self, exit: Exit);
}

/// One life of an actor, as a future to spawn on the thread of that life.
///
/// Its first poll creates the actor and runs `started`. It completes when the actor ends, panics or
/// is killed. Before it reports the end, it has dropped the actor, the futures of its context and
/// the messages in its mailbox, outside any unwinding.
pub(super) struct Incarnation<A: Actor<Context = actix::Context<A>>, T: LifeHooks<A>> {
    stage: Stage<A>,
    /// Identifies the task registered with the switch, by its waker; 0 before the first poll. It
    /// does not change for a given task.
    task: usize,
    /// Equals `task` while the life is up and not simulated; a poll then checks only the switch.
    up: usize,
    /// End of a simulated hang on no simulated arbiter. Boxed to keep a million idle lives small.
    frozen: Option<Box<Sleep>>,
    // The last field, so that a future dropped before completion reports after everything else is
    // dropped.
    hooks: Option<T>,
    actor: PhantomData<fn(A)>,
}

#[allow(
    clippy::large_enum_variant,
    reason = "a life is new for one poll only, and living is the hot path"
)]
enum Stage<A: Actor<Context = actix::Context<A>>> {
    New,
    Living { body: ContextFut<A, actix::Context<A>>, stopping: bool },
    Over,
}

impl<A: Actor<Context = actix::Context<A>>, T: LifeHooks<A> + Unpin> Incarnation<A, T> {
    pub(super) fn new(hooks: T) -> Self {
        Self {
            stage: Stage::New,
            task: 0,
            up: 0,
            frozen: None,
            hooks: Some(hooks),
            actor: PhantomData,
        }
    }

    /// Polls the life once; `Some` if it has ended.
    fn live(&mut self, cx: &mut Context<'_>) -> Option<Exit> {
        let hooks = self.hooks.as_mut()?;
        // Before anything else, so that a strike during this poll wakes the task again.
        let task = cx.waker().data() as usize;
        if self.task != task {
            hooks.listen(cx.waker());
            self.task = task;
        }
        let clock = &hooks.context().clock;
        if clock.is_simulated() {
            // A frozen life cannot even be killed.
            if (hooks.registration()).is_some_and(|at| at.heartbeat.is_frozen(cx.waker())) {
                return None;
            }
            if let Some(sleep) = &mut self.frozen {
                if Pin::new(&mut **sleep).poll(cx).is_pending() {
                    return None;
                }
                self.frozen = None;
            }
        }
        let mut thrown = hooks.thrown();
        if thrown & KILL != 0 {
            return Some(Exit::Killed);
        }
        if thrown & STRUCK != 0 {
            match hooks.struck() {
                None => {}
                Some(Strike::Panic(text)) => {
                    let (name, epoch) = (hooks.name(), hooks.epoch());
                    log::error!(node = &*name; "{name} (life {epoch}) panicked: {text}");
                    let place = Exit::UNKNOWN_PLACE.to_owned();
                    return Some(Exit::Panic { text, place });
                }
                Some(Strike::Hang(span)) if clock.is_simulated() => {
                    match hooks.registration() {
                        Some(at) => {
                            at.heartbeat.enter(at.key);
                            at.heartbeat.freeze(clock, span);
                        }
                        None => self.frozen = Some(Box::new(clock.sleep(span))),
                    }
                    cx.waker().wake_by_ref();
                    return None;
                }
                Some(Strike::Hang(span)) => block(clock, span, || hooks.thrown() & KILL != 0),
                Some(Strike::Kill) => return Some(Exit::Killed),
                Some(Strike::Stop) => thrown |= STOP,
            }
        }
        if let Some(fuzz) = &hooks.context().fuzz
            && fuzz.puts_off(&hooks.name())
        {
            cx.waker().wake_by_ref();
            return None;
        }
        // An actor without any address would stop, so this one is kept until the life is bound.
        let mut unbound = None;
        if let Stage::New = self.stage {
            if thrown & STOP != 0 {
                return Some(Exit::Normal);
            }
            match catch(|| hooks.make()) {
                Ok(Ok(actor)) => {
                    let (stage, mailbox) = start_actor(actor);
                    self.stage = stage;
                    unbound = Some(mailbox);
                }
                Ok(Err(reason)) => return Some(Exit::Failed(reason)),
                Err(caught) => return Some(panicked(hooks, caught)),
            }
        }
        let Stage::Living { body, stopping } = &mut self.stage else {
            return Some(Exit::Normal);
        };
        if !*stopping && (thrown | hooks.thrown()) & STOP != 0 {
            *stopping = true;
            body.ctx().stop();
        }
        match catch(|| Pin::new(&mut *body).poll(cx)) {
            Ok(Poll::Ready(())) => Some(Exit::Normal),
            Ok(Poll::Pending) => {
                if let Some(mailbox) = unbound {
                    if !hooks.bind(mailbox) {
                        // Fenced while it was being created.
                        return Some(Exit::Killed);
                    }
                    hooks.started();
                }
                if !hooks.context().is_watched() {
                    self.up = task;
                }
                None
            }
            Err(caught) => Some(panicked(hooks, caught)),
        }
    }

    /// Polls the life with all checks.
    #[cold]
    #[inline(never)]
    fn look_and_live(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(at) = self.watched() {
            at.heartbeat.enter(at.key);
            if let Stage::New = self.stage {
                // Creating many actors in a row can delay the heartbeat task although none of them
                // hangs.
                at.heartbeat.answer();
            }
        }
        let ended = self.live(cx);
        if ended.is_none()
            && let Some(at) = self.watched()
        {
            at.heartbeat.exit();
        }
        match ended {
            Some(exit) => self.end(exit),
            None => Poll::Pending,
        }
    }

    /// The body has completed or panicked.
    #[cold]
    #[inline(never)]
    fn is_over(&mut self, caught: Option<Box<Caught>>) -> Poll<()> {
        let exit = match (&self.hooks, caught) {
            (Some(hooks), Some(caught)) => panicked(hooks, *caught),
            _ => Exit::Normal,
        };
        self.end(exit)
    }

    /// The registration with the heartbeat to update for polls, if the arbiter is a real thread.
    fn watched(&self) -> Option<&Registration> {
        let registration = self.hooks.as_ref()?.registration();
        registration.filter(|at| !at.heartbeat.is_simulated())
    }

    fn end(&mut self, mut exit: Exit) -> Poll<()> {
        if let Some(caught) = self.drop_actor() {
            // The first panic is the relevant one.
            if !matches!(exit, Exit::Panic { .. }) {
                exit = caught.into();
            }
        }
        if let Some(at) = self.watched() {
            at.heartbeat.exit();
        }
        if let Some(hooks) = self.hooks.take() {
            hooks.exited(exit);
        }
        Poll::Ready(())
    }
}

impl<A: Actor<Context = actix::Context<A>>, T: LifeHooks<A>> Incarnation<A, T> {
    /// Vacates the port and drops the actor with everything it holds. `Some` if a `Drop` panicked.
    fn drop_actor(&mut self) -> Option<Caught> {
        let hooks = self.hooks.as_mut()?;
        // Before the mailbox closes, so that later messages are returned to their senders.
        hooks.detach();
        let mut stage = std::mem::replace(&mut self.stage, Stage::Over);
        if let Stage::Living { body, .. } = &mut stage {
            // Otherwise actix would poll the broken actor once more while dropping it.
            body.ctx().terminate();
        }
        let dropped = catch(|| drop(stage)).and_then(|()| catch(|| hooks.drop_factory()));
        dropped.err().inspect(|caught| {
            log::error!("dropping {} panicked at {}: {}", hooks.name(), caught.place, caught.text);
        })
    }
}

fn panicked<A: Actor>(hooks: &impl LifeHooks<A>, caught: Caught) -> Exit {
    let backtrace = caught.backtrace.clone();
    let exit: Exit = caught.into();
    log::error!(node = &*hooks.name(); "{} (life {}) {exit}", hooks.name(), hooks.epoch());
    if let Some(backtrace) = backtrace {
        log::error!("{backtrace}");
    }
    exit
}

/// Blocks this thread like a hung handler, for `span` or until `given_up`.
fn block(clock: &Clock, span: Duration, given_up: impl Fn() -> bool) {
    let until = clock.now() + span;
    while clock.now() < until && !given_up() {
        std::thread::park_timeout(Duration::from_millis(5).min(until - clock.now()));
    }
}

fn start_actor<A: Actor<Context = actix::Context<A>>>(actor: A) -> (Stage<A>, AddressSender<A>) {
    // 0 means unbounded: memory is bounded by what may be in flight, not by mailboxes.
    let (mailbox, messages) = channel::channel(0);
    let body = actix::Context::with_receiver(messages).into_future(actor);
    let stopping = false;
    (Stage::Living { body, stopping }, mailbox)
}

impl<A: Actor<Context = actix::Context<A>>, T: LifeHooks<A> + Unpin> Future for Incarnation<A, T> {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.up == cx.waker().data() as usize
            && let Some(hooks) = &this.hooks
            && hooks.thrown() == 0
            && let Stage::Living { body, .. } = &mut this.stage
        {
            let registration = hooks.registration();
            if let Some(at) = registration {
                at.heartbeat.enter(at.key);
            }
            return match catch_boxed(|| Pin::new(body).poll(cx).is_pending()) {
                Ok(true) => {
                    if let Some(at) = registration {
                        at.heartbeat.exit();
                    }
                    Poll::Pending
                }
                Ok(false) => this.is_over(None),
                Err(caught) => this.is_over(Some(caught)),
            };
        }
        this.look_and_live(cx)
    }
}

impl<A: Actor<Context = actix::Context<A>>, T: LifeHooks<A>> Drop for Incarnation<A, T> {
    /// A life dropped before completion has lost its runtime; its `LifeHooks` report that
    /// afterwards.
    fn drop(&mut self) {
        if !matches!(self.stage, Stage::Over) {
            self.drop_actor();
        }
    }
}
