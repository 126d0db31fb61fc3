//! Starts a life on its thread, with the context shared under its supervisor.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_rt::ArbiterHandle;
use tokio::sync::broadcast;

use super::pulse::Resident;
use super::report::Duty;
use super::switch::Switch;
use super::{ChildId, Fuzz, Heard, Place, SupervisionEvent};
use crate::clock::{Clock, Seed};

/// The context shared by all lives under one supervisor.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) clock: Clock,
    pub(super) seed: Seed,
    pub(super) fuzz: Option<Fuzz>,
    pub(super) heard: Option<Heard>,
    pub(super) events: broadcast::Sender<SupervisionEvent>,
}

impl Surroundings {
    /// True if a poll must check more than the switch of the life.
    pub(super) fn is_watched(&self) -> bool {
        self.clock.is_simulated() || self.fuzz.is_some()
    }

    /// True if the events have a subscriber.
    pub(super) fn listened(&self) -> bool {
        self.heard.is_some() || self.events.receiver_count() > 0
    }
}

/// The parameters for starting a life.
pub(super) struct Launch {
    pub(super) name: Arc<str>,
    pub(super) child: ChildId,
    pub(super) epoch: u64,
    pub(super) restarts: u64,
    pub(super) place: Place,
    /// Time it has to stop.
    pub(super) shutdown: Duration,
    pub(super) switch: Arc<Switch>,
    pub(super) duty: Duty,
    pub(super) around: Arc<Surroundings>,
}

/// The identity and context of a running life.
pub(super) struct Life {
    pub(super) name: Arc<str>,
    pub(super) child: ChildId,
    pub(super) epoch: u64,
    pub(super) switch: Arc<Switch>,
    pub(super) duty: Duty,
    pub(super) around: Arc<Surroundings>,
    /// How long its arbiter may be blocked, if it is watched.
    pub(super) hang_after: Option<Duration>,
    /// True if a poll must check more than the switch of the life.
    pub(super) is_watched: bool,
}

/// Spawns the future that `make` creates, on the thread of the life.
pub(super) fn launch<F: Future<Output = ()> + 'static>(
    launch: Launch,
    make: impl FnOnce(Life) -> F + Send + 'static,
) {
    let Launch { name, child, epoch, place, switch, mut duty, around, .. } = launch;
    let mut hang_after = None;
    let arbiter: Option<ArbiterHandle> = match place {
        Place::Here => None,
        Place::Arbiter(arbiter) => Some(arbiter),
        Place::Slot(slot) => {
            hang_after = slot.hang_after();
            let resident = || Resident {
                child,
                epoch,
                office: duty.office().clone(),
                who: Arc::new((name.clone(), switch.clone())),
            };
            let (handle, residences) = slot.settle(1, |_| resident());
            if let Some(residence) = residences.into_iter().next() {
                duty.lives_at(residence);
            }
            handle
        }
    };
    let is_watched = around.is_watched();
    let life =
        move |duty| Life { is_watched, name, child, epoch, switch, duty, around, hang_after };
    deliver(arbiter, duty, move |duty| {
        actix_rt::spawn(make(life(duty)));
    });
}

/// Passes `duty` to `spawn` on the thread of `arbiter`, or on this thread if `None`; drops it if
/// the arbiter is dead.
pub(super) fn deliver<D: Send + 'static>(
    arbiter: Option<ArbiterHandle>,
    duty: D,
    spawn: impl FnOnce(D) + Send + 'static,
) {
    let Some(arbiter) = arbiter else {
        return spawn(duty);
    };
    // Kept here rather than in the closure; see below.
    let cradle = Arc::new(Mutex::new(Some(duty)));
    let taken = cradle.clone();
    let sent = arbiter.spawn_fn(move || {
        let duty = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(duty) = duty {
            spawn(duty);
        }
    });
    // An arbiter that dies during the send may keep the closure in its closed queue, neither run
    // nor dropped, as long as a handle to it exists. If it is alive after the send, it still has to
    // drain that queue.
    if !(sent && arbiter.alive()) {
        drop(cradle.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}
