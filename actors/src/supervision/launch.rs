//! The start of a life: where it is to be lived, and what it is surrounded by.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_rt::ArbiterHandle;
use tokio::sync::broadcast;

use super::pulse::{Pulse, Resident};
use super::report::Duty;
use super::switch::Switch;
use super::{ChildId, Fuzz, Heard, Place, SupervisionEvent};
use crate::clock::{Clock, Seed};

/// What all lives under one supervisor share.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) clock: Clock,
    pub(super) seed: Seed,
    pub(super) fuzz: Option<Fuzz>,
    pub(super) heard: Option<Heard>,
    pub(super) events: broadcast::Sender<SupervisionEvent>,
}

/// Everything that a life is started with.
pub(super) struct Launch {
    pub(super) name: Arc<str>,
    pub(super) child: ChildId,
    pub(super) epoch: u64,
    pub(super) restarts: u64,
    pub(super) place: Place,
    /// How long it may take to stop.
    pub(super) shutdown: Duration,
    pub(super) switch: Arc<Switch>,
    pub(super) duty: Duty,
    pub(super) around: Surroundings,
}

/// What a life has to know of itself.
pub(super) struct Life {
    pub(super) name: Arc<str>,
    pub(super) child: ChildId,
    pub(super) epoch: u64,
    pub(super) switch: Arc<Switch>,
    pub(super) duty: Duty,
    pub(super) around: Surroundings,
    /// How long its arbiter may be blocked, where somebody watches.
    pub(super) hang_after: Option<Duration>,
    /// It is simulated: more than its switch says when it is polled.
    pub(super) is_watched: bool,
}

impl Life {
    /// The arbiter on which it is lived, if that one is looked after, and its key there.
    pub(super) fn pulse(&self) -> Option<(&Arc<Pulse>, u64)> {
        let home = self.duty.residence()?;
        Some((&home.pulse, home.key))
    }
}

/// Spawns the future that `make` makes of a life, where it is to be lived.
pub(super) fn launch<F: Future<Output = ()> + 'static>(
    launch: Launch,
    make: impl FnOnce(Life) -> F + Send + 'static,
) {
    let Launch {
        name,
        child,
        epoch,
        place,
        switch,
        mut duty,
        around,
        ..
    } = launch;
    let mut hang_after = None;
    let arbiter: Option<ArbiterHandle> = match place {
        Place::Here => None,
        Place::Arbiter(arbiter) => Some(arbiter),
        Place::Slot(slot) => {
            hang_after = slot.hang_after();
            let (handle, residence) = slot.settle(|| Resident {
                name: name.clone(),
                child,
                epoch,
                to: duty.reporter(),
                switch: switch.clone(),
            });
            if let Some(residence) = residence {
                duty.lives_at(residence);
            }
            handle
        }
    };
    let is_watched = around.clock.is_simulated() || around.fuzz.is_some();
    let life = move |duty| Life {
        is_watched,
        name,
        child,
        epoch,
        switch,
        duty,
        around,
        hang_after,
    };
    let Some(arbiter) = arbiter else {
        actix_rt::spawn(make(life(duty)));
        return;
    };
    // The duty waits here, not in the closure: see below.
    let cradle = Arc::new(Mutex::new(Some(duty)));
    let taken = cradle.clone();
    let sent = arbiter.spawn_fn(move || {
        let duty = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(duty) = duty {
            actix_rt::spawn(make(life(duty)));
        }
    });
    // An arbiter that dies during the send may keep the closure in its closed queue, neither run nor dropped, as long as anyone
    // has its handle. It is alive after the send only if it has yet to empty that queue.
    if !(sent && arbiter.alive()) {
        drop(cradle.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}
