//! What a supervisor has to know of a child.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::Actor;
use actix_rt::ArbiterHandle;

use super::incarnation::Incarnation;
use super::report::Duty;
use super::switch::Switch;
use super::{ChildSpec, Port, Restart};

/// How to make an actor for one life.
pub(super) type Factory<A> = Arc<dyn Fn(&Birth<A>) -> Result<A, String> + Send + Sync>;

/// What a factory is told of the life that it makes an actor for.
pub struct Birth<A: Actor> {
    /// The child's name.
    pub name: Arc<str>,
    /// The number of this life at this port: 1 for the first, never used again.
    pub epoch: u64,
    /// How often this supervisor has started the child again, this time included; 0 for the first life.
    pub restarts: u64,
    /// The actor's own port. It is bound after `started` has returned.
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

/// Where a child lives.
#[derive(Debug, Clone, Default)]
pub enum Place {
    /// On the supervisor's own thread.
    #[default]
    Here,
    /// On the thread of this arbiter.
    Arbiter(ArbiterHandle),
}

/// A child as its supervisor gets it: a name, a port, and how to make the actor that is reached there.
pub struct Child {
    pub(super) spec: ChildSpec,
    pub(super) place: Place,
    pub(super) body: Box<dyn Body>,
}

impl Child {
    /// A permanent child on the supervisor's own thread, with 5 seconds to stop in.
    ///
    /// `factory` runs for every life, on the thread where that life will be; its error or panic counts as a failure of the
    /// child. Names should be unique within a supervisor; where they are not, a name means the first child that has it.
    pub fn new<A>(
        name: impl Into<Arc<str>>,
        port: &Port<A>,
        factory: impl Fn(&Birth<A>) -> Result<A, String> + Send + Sync + 'static,
    ) -> Self
    where
        A: Actor<Context = actix::Context<A>>,
    {
        let name = name.into();
        Self {
            spec: ChildSpec {
                name: name.clone(),
                restart: Restart::Permanent,
                shutdown: Duration::from_secs(5),
                first_epoch: port.last_epoch() + 1,
            },
            place: Place::Here,
            body: Box::new(TypedBody {
                name,
                port: port.clone(),
                factory: Arc::new(factory),
            }),
        }
    }

    /// Which exits it is started again after.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.spec.restart = restart;
        self
    }

    /// Where it lives.
    #[must_use]
    pub fn place(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// How long it may take to stop when asked to; it is killed then. Zero kills at once.
    #[must_use]
    pub fn shutdown(mut self, within: Duration) -> Self {
        self.spec.shutdown = within;
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("spec", &self.spec)
            .field("place", &self.place)
            .finish()
    }
}

/// A child without its actor's type.
pub(super) trait Body: Send + Sync {
    /// Starts a life in `place`; whatever comes of it, `duty` reports it.
    fn launch(&self, place: &Place, epoch: u64, restarts: u64, switch: Arc<Switch>, duty: Duty);

    /// Ends `epoch` at the port.
    fn vacate(&self, epoch: u64);

    /// Closes the port.
    fn close(&self);
}

struct TypedBody<A: Actor> {
    name: Arc<str>,
    port: Port<A>,
    factory: Factory<A>,
}

impl<A: Actor<Context = actix::Context<A>>> Body for TypedBody<A> {
    fn launch(&self, place: &Place, epoch: u64, restarts: u64, switch: Arc<Switch>, duty: Duty) {
        self.port.begin(epoch);
        let birth = Birth {
            name: self.name.clone(),
            epoch,
            restarts,
            port: self.port.clone(),
        };
        let factory = self.factory.clone();
        match place {
            Place::Here => {
                actix_rt::spawn(Incarnation::new(factory, birth, switch, duty));
            }
            Place::Arbiter(arbiter) => {
                // The duty waits here, not in the closure: see below.
                let cradle = Arc::new(Mutex::new(Some(duty)));
                let taken = cradle.clone();
                let sent = arbiter.spawn_fn(move || {
                    let duty = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
                    if let Some(duty) = duty {
                        actix_rt::spawn(Incarnation::new(factory, birth, switch, duty));
                    }
                });
                // An arbiter that dies during the send may keep the closure in its closed queue, neither run nor dropped, as
                // long as anyone has its handle. It is alive after the send only if it has yet to empty that queue.
                if !(sent && arbiter.alive()) {
                    drop(cradle.lock().unwrap_or_else(PoisonError::into_inner).take());
                }
            }
        }
    }

    fn vacate(&self, epoch: u64) {
        self.port.vacate(epoch);
    }

    fn close(&self) {
        self.port.close();
    }
}
