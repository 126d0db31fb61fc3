//! Many identical children: one specification and one factory; names are created on demand.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use actix::Actor;
use actix::dev::channel::AddressSender;

use super::incarnation::{Incarnation, Ties};
use super::launch::{Surroundings, deliver};
use super::policy::derived;
use super::ports::{Claim, Ports, Seat};
use super::pulse::{Doomed, Pulse, Residence, Resident};
use super::report::{News, Office};
use super::switch::{KILL, STOP, STRUCK, Strike};
use super::{ChildId, ChildSpec, Exit, Guarded, Place, Restart};

/// Identical children for [`SupervisorHandle::start_many`](super::SupervisorHandle::start_many),
/// one for each of some [`Ports`].
///
/// Child `index` is named `prefix/index`. Each is restarted, killed, looked up and reported like
/// any other child. A child in its first life takes its entry in the ports, its actix actor, and
/// one more byte.
pub struct Template {
    pub(super) spec: ChildSpec,
    pub(super) place: Place,
    pub(super) count: usize,
    claim: Box<dyn Fn() -> Option<(Claim, u64)> + Send>,
    make: Box<dyn FnOnce(Hire) -> Arc<dyn Row> + Send>,
}

/// What the children receive from their supervisor.
pub(super) struct Hire {
    pub(super) first: ChildId,
    pub(super) around: Arc<Surroundings>,
    pub(super) office: Arc<Office>,
    prefix: Arc<str>,
    place: Place,
}

impl Template {
    /// Permanent children on the supervisor's own thread, with 5 seconds to stop, one for each of
    /// `ports`.
    ///
    /// `factory` receives the index of the child. It runs once per life, on the thread of that
    /// life; an error or panic in it counts as a failure of the child.
    ///
    /// # Panics
    /// If there are 2^32 ports or more.
    pub fn new<A>(
        prefix: impl Into<Arc<str>>,
        ports: &Ports<A>,
        factory: impl Fn(usize) -> Result<A, String> + Send + Sync + 'static,
    ) -> Self
    where
        A: Actor<Context = actix::Context<A>>,
    {
        assert!(u32::try_from(ports.len()).is_ok(), "too many ports");
        // Guarded from here on, since the template may be dropped without being started.
        let factory = Guarded::new(Box::new(factory) as Factory<A>);
        let (seats, claimed) = (ports.clone(), ports.clone());
        Self {
            spec: ChildSpec {
                name: prefix.into(),
                restart: Restart::Permanent,
                shutdown: Duration::from_secs(5),
                first_epoch: 1,
            },
            place: Place::Here,
            count: ports.len(),
            claim: Box::new(move || {
                let claim = claimed.claim()?;
                // Read after claiming: no other supervisor can begin an epoch now.
                Some((claim, claimed.last_epoch()))
            }),
            make: Box::new(move |hire| {
                Arc::new(Roll {
                    ports: seats,
                    factory,
                    is_watched: hire.around.is_watched(),
                    hire,
                    left: AtomicUsize::new(0),
                    strikes: Mutex::default(),
                })
            }),
        }
    }

    /// Sets the exits after which they are restarted.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.spec.restart = restart;
        self
    }

    /// Sets the thread on which all of them run.
    #[must_use]
    pub fn place(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// Sets the time each has to stop when asked to; then it is killed. Zero kills it immediately.
    /// Default: 5 s.
    #[must_use]
    pub fn shutdown(mut self, within: Duration) -> Self {
        self.spec.shutdown = within;
        self
    }

    /// Claims the ports and returns the specification for the policy, with a first epoch that none
    /// of the ports has seen. `None` if they already serve a supervisor.
    pub(super) fn claim(&self) -> Option<(Claim, ChildSpec)> {
        let (claim, last_epoch) = (self.claim)()?;
        let spec = ChildSpec { first_epoch: last_epoch + 1, ..self.spec.clone() };
        Some((claim, spec))
    }

    /// Registers the children without starting any.
    pub(super) fn seat(
        self,
        first: ChildId,
        around: Arc<Surroundings>,
        office: Arc<Office>,
    ) -> Arc<dyn Row> {
        (self.make)(Hire { first, around, office, prefix: self.spec.name, place: self.place })
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template")
            .field("spec", &self.spec)
            .field("place", &self.place)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// The children of a template, by index, with their actor type erased.
pub(super) trait Row: Send + Sync {
    /// Starts first lives as one batch; [`News::LotDone`] is reported once each has started or
    /// ended.
    fn launch_lot(self: Arc<Self>, from: u32, count: u32, epoch: u64);

    fn launch(self: Arc<Self>, index: u32, epoch: u64);

    /// Applies a strike to the current life.
    fn strike(&self, index: u32, strike: Strike);

    /// Ends `epoch` at its port; a batch no longer waits for its start.
    fn vacate(&self, index: u32, epoch: u64);

    /// Makes all ports vacant, whichever epochs are current.
    fn rest(&self);

    fn close(&self, index: u32);

    fn close_all(&self);

    fn kill_all(&self);
}

/// Creates the actor with a given index.
type Factory<A> = Box<dyn Fn(usize) -> Result<A, String> + Send + Sync>;

/// The state shared by all children of one template.
struct Roll<A: Actor> {
    ports: Ports<A>,
    factory: Guarded<Factory<A>>,
    hire: Hire,
    is_watched: bool,
    /// Members of the current batch that have neither started nor ended.
    left: AtomicUsize,
    /// Pending strikes by index and epoch; few lives have any.
    strikes: Mutex<BTreeMap<(u32, u64), VecDeque<Strike>>>,
}

impl<A: Actor> Roll<A> {
    fn name(&self, index: u32) -> Arc<str> {
        derived(&self.hire.prefix, index)
    }

    fn child(&self, index: u32) -> ChildId {
        ChildId(self.hire.first.0 + index as usize)
    }

    fn strikes(&self) -> MutexGuard<'_, BTreeMap<(u32, u64), VecDeque<Strike>>> {
        self.strikes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A member of a batch has started or ended.
    fn count_off(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.hire.office.tell(self.hire.first, 0, News::LotDone);
        }
    }
}

impl<A: Actor<Context = actix::Context<A>>> Roll<A> {
    /// Spawns lives whose epoch has begun.
    fn spawn(self: Arc<Self>, from: u32, count: u32, epoch: u64) {
        if count == 0 {
            return;
        }
        self.hire.office.begin(count as usize);
        // Created before delivery: if their thread is gone, dropping them reports the lives just
        // begun.
        let mut lives: Vec<Bond<A>> = (from..from + count)
            .map(|index| Bond { roll: self.clone(), epoch, residence: None, index, done: false })
            .collect();
        let (arbiter, residences) = match &self.hire.place {
            Place::Here => (None, Vec::new()),
            Place::Arbiter(arbiter) => (Some(arbiter.clone()), Vec::new()),
            Place::Slot(slot) => slot.settle(count as usize, |number| {
                let index = from + number as u32;
                Resident {
                    child: self.child(index),
                    epoch,
                    office: self.hire.office.clone(),
                    who: Arc::new(Seated { roll: self.clone(), index, epoch }),
                }
            }),
        };
        for (life, residence) in lives.iter_mut().zip(residences) {
            life.residence = Some(Box::new(residence));
        }
        deliver(arbiter, lives, |lives| {
            for life in lives {
                actix_rt::spawn(Incarnation::new(life));
            }
        });
    }
}

impl<A: Actor<Context = actix::Context<A>>> Row for Roll<A> {
    fn launch_lot(self: Arc<Self>, from: u32, count: u32, epoch: u64) {
        self.left.store(count as usize, Ordering::Release);
        let (mut next, end) = (from, from + count);
        for index in from..end {
            if self.ports.seat(index).begin(epoch, true) {
                continue;
            }
            // Its port has had a later life, so this one could never bind and would block its
            // batch.
            self.clone().spawn(next, index - next, epoch);
            next = index + 1;
            let exit = Exit::Failed("its port has had later lives".to_owned());
            let office = &self.hire.office;
            office.tell(self.child(index), epoch, News::Exited(exit));
            self.count_off();
        }
        self.spawn(next, end - next, epoch);
    }

    fn launch(self: Arc<Self>, index: u32, epoch: u64) {
        self.ports.seat(index).begin(epoch, false);
        self.ports.some_left();
        self.spawn(index, 1, epoch);
    }

    fn strike(&self, index: u32, strike: Strike) {
        let seat = self.ports.seat(index);
        match strike {
            Strike::Stop => seat.throw(STOP, None),
            Strike::Kill => seat.throw(KILL, None),
            Strike::Panic(_) | Strike::Hang(_) => {
                let mut strikes = self.strikes();
                // Read under the lock: an ending life looks up its strikes after leaving the port.
                let Some(epoch) = seat.living() else {
                    return;
                };
                strikes.entry((index, epoch)).or_default().push_back(strike);
                drop(strikes);
                seat.throw(STRUCK, Some(epoch));
            }
        }
    }

    fn vacate(&self, index: u32, epoch: u64) {
        let seat = self.ports.seat(index);
        seat.vacate(epoch);
        self.ports.some_left();
        if seat.leaves_lot(epoch) {
            self.count_off();
        }
    }

    fn rest(&self) {
        self.ports.all().for_each(Seat::rest);
        self.ports.some_left();
    }

    fn close(&self, index: u32) {
        self.ports.seat(index).close();
        self.ports.some_left();
    }

    fn close_all(&self) {
        self.ports.all().for_each(Seat::close);
        self.ports.some_left();
    }

    fn kill_all(&self) {
        self.ports.all().for_each(|seat| seat.throw(KILL, None));
    }
}

/// One life, as seen by the watchdog.
struct Seated<A: Actor> {
    roll: Arc<Roll<A>>,
    index: u32,
    epoch: u64,
}

impl<A: Actor<Context = actix::Context<A>>> Doomed for Seated<A> {
    fn name(&self) -> Arc<str> {
        self.roll.name(self.index)
    }

    fn kill(&self) {
        let seat = self.roll.ports.seat(self.index);
        seat.throw(KILL, Some(self.epoch));
    }
}

/// The `Ties` of a life of a template's child, kept small. Dropping it before the end was reported
/// reports an end of unknown cause.
struct Bond<A: Actor> {
    roll: Arc<Roll<A>>,
    epoch: u64,
    residence: Option<Box<Residence>>,
    index: u32,
    done: bool,
}

impl<A: Actor> Bond<A> {
    fn seat(&self) -> &Seat<A> {
        self.roll.ports.seat(self.index)
    }

    fn report(&mut self, exit: Option<Exit>) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        let in_lot = self.seat().leaves_lot(self.epoch);
        // From here on, no strike can be added for this life.
        self.seat().vacate(self.epoch);
        self.roll.strikes().remove(&(self.index, self.epoch));
        let residence = self.residence.take().map(|residence| *residence);
        let (roll, child) = (&self.roll, self.roll.child(self.index));
        roll.hire.office.end(child, self.epoch, exit, residence);
        if in_lot {
            roll.count_off();
        }
    }
}

impl<A: Actor> Drop for Bond<A> {
    fn drop(&mut self) {
        self.report(None);
    }
}

impl<A: Actor> Ties<A> for Bond<A> {
    fn around(&self) -> &Surroundings {
        &self.roll.hire.around
    }

    #[inline]
    fn is_watched(&self) -> bool {
        self.roll.is_watched
    }

    fn name(&self) -> Arc<str> {
        self.roll.name(self.index)
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    #[inline]
    fn home(&self) -> Option<(&Arc<Pulse>, u64)> {
        let home = self.residence.as_ref()?;
        Some((&home.pulse, home.key))
    }

    fn hang_after(&self) -> Option<Duration> {
        match &self.roll.hire.place {
            Place::Slot(slot) => slot.hang_after(),
            Place::Here | Place::Arbiter(_) => None,
        }
    }

    fn make(&mut self) -> Result<A, String> {
        (self.roll.factory)(self.index as usize)
    }

    fn forget_how(&mut self) {}

    fn listen(&self, waker: &Waker) {
        self.seat().listen(self.epoch, waker);
    }

    #[inline]
    fn thrown(&self) -> u8 {
        self.seat().thrown(self.epoch, KILL)
    }

    fn struck(&self) -> Option<Strike> {
        let mut strikes = self.roll.strikes();
        let own = strikes.get_mut(&(self.index, self.epoch));
        let (next, more) = match own {
            Some(own) => (own.pop_front(), !own.is_empty()),
            None => (None, false),
        };
        if !more {
            strikes.remove(&(self.index, self.epoch));
            self.seat().unthrow(STRUCK, self.epoch);
        }
        next
    }

    fn bind(&self, mailbox: AddressSender<A>) -> bool {
        self.seat().bind(self.epoch, mailbox)
    }

    fn part(&self) {
        self.seat().vacate(self.epoch);
        self.seat().release(self.epoch);
    }

    fn started(&self) {
        let in_lot = self.seat().leaves_lot(self.epoch);
        let roll = &self.roll;
        // A batch is reported as a whole; single starts are only for subscribers.
        if !in_lot || roll.hire.around.listened() {
            let child = roll.child(self.index);
            roll.hire.office.tell(child, self.epoch, News::Started);
        }
        if in_lot {
            roll.count_off();
        }
    }

    fn exited(mut self, exit: Exit) {
        self.report(Some(exit));
    }
}
