//! The children of a supervisor: how they are configured and how a life is started.

use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use actix::Actor;
use actix::dev::channel::AddressSender;
use actix_rt::ArbiterHandle;

use super::heartbeat::Registration;
use super::incarnation::{Incarnation, LifeHooks};
use super::launch::{LaunchContext, Life, launch};
use super::switch::Strike;
use super::{ArbiterSlot, ChildSpec, Exit, Guarded, Port, Restart};

/// Creates the actor for one life.
pub(super) type Factory<A> = Arc<dyn Fn(&Birth<A>) -> Result<A, String> + Send + Sync>;

/// What a factory receives about the life it creates an actor for.
pub struct Birth<A: Actor> {
    /// The child's name.
    pub name: Arc<str>,
    /// The epoch: the number of this life at its port, from 1; never reused.
    pub epoch: u64,
    /// How often this supervisor has restarted the child, including this time; 0 for the first
    /// life.
    pub restarts: u64,
    /// The actor's own port. It is bound once `started` has returned.
    pub port: Port<A>,
}

impl<A: Actor> fmt::Debug for Birth<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Birth")
            .field("name", &self.name)
            .field("epoch", &self.epoch)
            .field("restarts", &self.restarts)
            .finish()
    }
}

/// The thread on which a child runs.
#[derive(Debug, Clone, Default)]
pub enum ChildThread {
    /// The supervisor's own thread.
    #[default]
    Here,
    /// The thread of this arbiter. If it ends, restarts of the child fail until the supervisor
    /// escalates.
    Arbiter(ArbiterHandle),
    /// An arbiter that is replaced when it dies, and is watched if its
    /// [`Arbiters`](super::Arbiters) are.
    Slot(ArbiterSlot),
}

/// A child for a supervisor: a name, a port, and a factory for the actor reached there; or a
/// supervisor with its own children ([`Child::supervisor`]).
#[derive(Clone)]
pub struct Child {
    pub(super) spec: ChildSpec,
    pub(super) place: ChildThread,
    pub(super) runner: Arc<dyn ChildRunner>,
}

impl Child {
    /// A permanent child on the supervisor's own thread, with 5 seconds to stop.
    ///
    /// `factory` runs once per life, on the thread of that life; an error or panic in it counts as
    /// a failure of the child. Names should be unique within a supervisor; a lookup by a duplicate
    /// name returns the first child with it.
    pub fn new<A>(
        name: impl Into<Arc<str>>,
        port: &Port<A>,
        factory: impl Fn(&Birth<A>) -> Result<A, String> + Send + Sync + 'static,
    ) -> Self
    where
        A: Actor<Context = actix::Context<A>>,
    {
        Self {
            spec: ChildSpec {
                name: name.into(),
                restart: Restart::Permanent,
                shutdown: Duration::from_secs(5),
                first_epoch: port.last_epoch() + 1,
            },
            place: ChildThread::Here,
            runner: Arc::new(ActorRunner {
                port: port.clone(),
                factory: Guarded::new(Arc::new(factory)),
            }),
        }
    }

    /// Sets the exits after which it is restarted.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.spec.restart = restart;
        self
    }

    /// Sets the thread on which it runs.
    #[must_use]
    pub fn place(mut self, place: ChildThread) -> Self {
        self.place = place;
        self
    }

    /// Sets the time it has to stop when asked to; then it is killed. Zero kills it immediately.
    /// Default: 5 s.
    #[must_use]
    pub fn shutdown(mut self, within: Duration) -> Self {
        self.spec.shutdown = within;
        self
    }

    /// The specification for the policy, with a first epoch that its port has not seen.
    pub(super) fn fresh_spec(&self) -> ChildSpec {
        ChildSpec { first_epoch: self.runner.last_epoch() + 1, ..self.spec.clone() }
    }

    /// Name of the child.
    pub fn name(&self) -> &str {
        &self.spec.name
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child").field("spec", &self.spec).field("place", &self.place).finish()
    }
}

/// A child, with its actor type erased.
pub(super) trait ChildRunner: Send + Sync {
    /// Starts a life. Its outcome is always reported, by its `ExitGuard`.
    fn launch(&self, place: ChildThread, life: Life);

    /// Ends `epoch` at the port.
    fn vacate(&self, epoch: u64);

    /// Makes the port vacant, whichever epoch is current.
    fn rest(&self);

    fn close(&self);

    /// The last epoch begun at the port.
    fn last_epoch(&self) -> u64;
}

struct ActorRunner<A: Actor> {
    port: Port<A>,
    /// Dropped by the supervisor.
    factory: Guarded<Factory<A>>,
}

impl<A: Actor<Context = actix::Context<A>>> ChildRunner for ActorRunner<A> {
    fn launch(&self, place: ChildThread, life: Life) {
        self.port.begin(life.epoch);
        // Guarded in case it never reaches its thread.
        let factory = Guarded::new((*self.factory).clone());
        let port = self.port.clone();
        launch(place, life, move |life| {
            Incarnation::new(PortLife { life, factory: Some(factory.into_inner()), port })
        });
    }

    fn vacate(&self, epoch: u64) {
        self.port.vacate(epoch);
    }

    fn rest(&self) {
        self.port.vacate(self.port.last_epoch());
    }

    fn close(&self) {
        self.port.close();
    }

    fn last_epoch(&self) -> u64 {
        self.port.last_epoch()
    }
}

/// The `LifeHooks` of a life with its own port.
struct PortLife<A: Actor> {
    life: Life,
    /// `None` once the actor is made.
    factory: Option<Factory<A>>,
    port: Port<A>,
}

impl<A: Actor> LifeHooks<A> for PortLife<A> {
    fn context(&self) -> &LaunchContext {
        &self.life.context
    }

    fn name(&self) -> Arc<str> {
        self.life.name.clone()
    }

    fn epoch(&self) -> u64 {
        self.life.epoch
    }

    #[inline]
    fn registration(&self) -> Option<&Registration> {
        self.life.guard.registration()
    }

    fn make(&mut self) -> Result<A, String> {
        let factory = self.factory.take();
        let birth = Birth {
            name: self.life.name.clone(),
            epoch: self.life.epoch,
            restarts: self.life.restarts,
            port: self.port.clone(),
        };
        factory.map_or_else(|| Err("made before".to_owned()), |factory| factory(&birth))
    }

    fn drop_factory(&mut self) {
        self.factory = None;
    }

    fn listen(&self, waker: &Waker) {
        self.life.switch.listen(waker);
    }

    #[inline]
    fn thrown(&self) -> u8 {
        self.life.switch.thrown()
    }

    fn struck(&self) -> Option<Strike> {
        self.life.switch.struck()
    }

    fn bind(&self, mailbox: AddressSender<A>) -> bool {
        self.port.bind(self.life.epoch, &mailbox)
    }

    fn detach(&self) {
        self.port.vacate(self.life.epoch);
        self.life.switch.release();
    }

    fn started(&self) {
        self.life.guard.started();
    }

    fn exited(self, exit: Exit) {
        self.life.guard.exited(exit);
    }
}
