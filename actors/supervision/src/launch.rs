//! Starts a life on its thread, with the context shared under its supervisor.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_rt::ArbiterHandle;
use tokio::sync::broadcast;

use super::heartbeat::RegisteredLife;
use super::report::ExitGuard;
use super::switch::Switch;
use super::{ChildId, ChildThread, EventListener, Fuzz, SupervisionEvent};
use crate::clock::{Clock, Seed};

/// The context shared by all lives under one supervisor.
#[derive(Clone)]
pub(super) struct LaunchContext {
    pub(super) clock: Clock,
    pub(super) seed: Seed,
    pub(super) fuzz: Option<Fuzz>,
    pub(super) listener: Option<EventListener>,
    pub(super) events: broadcast::Sender<SupervisionEvent>,
}

impl LaunchContext {
    /// True if a poll must check more than the switch of the life.
    pub(super) fn is_watched(&self) -> bool {
        self.clock.is_simulated() || self.fuzz.is_some()
    }

    /// True if the events have a subscriber.
    pub(super) fn listened(&self) -> bool {
        self.listener.is_some() || self.events.receiver_count() > 0
    }
}

/// The identity and context of a life.
pub(super) struct Life {
    pub(super) name: Arc<str>,
    pub(super) child: ChildId,
    pub(super) epoch: u64,
    pub(super) restarts: u64,
    /// Time it has to stop.
    pub(super) shutdown: Duration,
    pub(super) switch: Arc<Switch>,
    pub(super) guard: ExitGuard,
    pub(super) context: Arc<LaunchContext>,
}

/// Spawns the future that `make` creates, on the thread of the life.
pub(super) fn launch<F: Future<Output = ()> + 'static>(
    place: ChildThread,
    mut life: Life,
    make: impl FnOnce(Life) -> F + Send + 'static,
) {
    let arbiter: Option<ArbiterHandle> = match place {
        ChildThread::Here => None,
        ChildThread::Arbiter(arbiter) => Some(arbiter),
        ChildThread::Slot(slot) => {
            let (handle, registrations) = slot.register(1, |_| RegisteredLife {
                child: life.child,
                epoch: life.epoch,
                reporter: life.guard.reporter().clone(),
                control: Arc::new((life.name.clone(), life.switch.clone())),
            });
            if let Some(registration) = registrations.into_iter().next() {
                life.guard.set_registration(registration);
            }
            handle
        }
    };
    deliver(arbiter, life, move |life| {
        actix_rt::spawn(make(life));
    });
}

/// Passes `life` to `spawn` on the thread of `arbiter`, or on this thread if `None`; drops it if
/// the arbiter is dead.
pub(super) fn deliver<D: Send + 'static>(
    arbiter: Option<ArbiterHandle>,
    life: D,
    spawn: impl FnOnce(D) + Send + 'static,
) {
    let Some(arbiter) = arbiter else {
        return spawn(life);
    };
    // Kept here rather than in the closure; see below.
    let pending = Arc::new(Mutex::new(Some(life)));
    let taken = pending.clone();
    let sent = arbiter.spawn_fn(move || {
        let life = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(life) = life {
            spawn(life);
        }
    });
    // An arbiter that dies during the send may keep the closure in its closed queue, neither run
    // nor dropped, as long as a handle to it exists. If it is alive after the send, it still has to
    // drain that queue.
    if !(sent && arbiter.alive()) {
        drop(pending.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}
