//! Many identical children: one specification and one factory; names are created on demand.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use actix::Actor;
use actix::dev::channel::AddressSender;

use super::heartbeat::{LifeControl, RegisteredLife, Registration};
use super::incarnation::{Incarnation, LifeHooks};
use super::launch::{LaunchContext, deliver};
use super::policy::derived;
use super::ports::{Claim, GroupPort, Ports};
use super::report::{LifeEvent, Reporter};
use super::switch::{KILL, STOP, STRUCK, Strike};
use super::{ChildId, ChildSpec, ChildThread, Exit, Guarded, Restart};

/// Identical children for [`SupervisorHandle::start_many`](super::SupervisorHandle::start_many),
/// one for each of some [`Ports`].
///
/// Child `index` is named `prefix/index`. Each is restarted, killed, looked up and reported like
/// any other child. A child in its first life takes its entry in the ports, its actix actor, and
/// one more byte.
pub struct Template {
    pub(super) spec: ChildSpec,
    pub(super) place: ChildThread,
    pub(super) count: usize,
    claim: Box<dyn Fn() -> Option<(Claim, u64)> + Send>,
    make: Box<dyn FnOnce(GroupContext) -> Arc<dyn GroupRunner> + Send>,
}

/// What the children receive from their supervisor.
pub(super) struct GroupContext {
    pub(super) first: ChildId,
    pub(super) launch: Arc<LaunchContext>,
    pub(super) reporter: Arc<Reporter>,
    prefix: Arc<str>,
    place: ChildThread,
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
        let (own, claimed) = (ports.clone(), ports.clone());
        Self {
            spec: ChildSpec {
                name: prefix.into(),
                restart: Restart::Permanent,
                shutdown: Duration::from_secs(5),
                first_epoch: 1,
            },
            place: ChildThread::Here,
            count: ports.len(),
            claim: Box::new(move || {
                let claim = claimed.claim()?;
                // Read after claiming: no other supervisor can begin an epoch now.
                Some((claim, claimed.last_epoch()))
            }),
            make: Box::new(move |context| {
                Arc::new(TemplateGroup {
                    ports: own,
                    factory,
                    context,
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
    pub fn place(mut self, place: ChildThread) -> Self {
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
    pub(super) fn into_runner(
        self,
        first: ChildId,
        launch: Arc<LaunchContext>,
        reporter: Arc<Reporter>,
    ) -> Arc<dyn GroupRunner> {
        (self.make)(GroupContext {
            first,
            launch,
            reporter,
            prefix: self.spec.name,
            place: self.place,
        })
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
pub(super) trait GroupRunner: Send + Sync {
    /// Starts first lives as one batch; [`LifeEvent::BatchDone`] is reported once each has started
    /// or ended.
    fn launch_batch(self: Arc<Self>, from: u32, count: u32, epoch: u64);

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
struct TemplateGroup<A: Actor> {
    ports: Ports<A>,
    factory: Guarded<Factory<A>>,
    context: GroupContext,
    /// Members of the current batch that have neither started nor ended.
    left: AtomicUsize,
    /// Pending strikes by index and epoch; few lives have any.
    strikes: Mutex<BTreeMap<(u32, u64), VecDeque<Strike>>>,
}

impl<A: Actor> TemplateGroup<A> {
    fn name(&self, index: u32) -> Arc<str> {
        derived(&self.context.prefix, index)
    }

    fn child(&self, index: u32) -> ChildId {
        ChildId(self.context.first.0 + index as usize)
    }

    fn strikes(&self) -> MutexGuard<'_, BTreeMap<(u32, u64), VecDeque<Strike>>> {
        self.strikes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A member of a batch has started or ended.
    fn leave_batch(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.context.reporter.tell(self.context.first, 0, LifeEvent::BatchDone);
        }
    }
}

impl<A: Actor<Context = actix::Context<A>>> TemplateGroup<A> {
    /// Spawns lives whose epoch has begun.
    fn spawn(self: Arc<Self>, from: u32, count: u32, epoch: u64) {
        if count == 0 {
            return;
        }
        self.context.reporter.begin(count as usize);
        // Created before delivery: if their thread is gone, dropping them reports the lives just
        // begun.
        let mut lives: Vec<GroupLife<A>> = (from..from + count)
            .map(|index| GroupLife {
                group: self.clone(),
                epoch,
                registration: None,
                index,
                done: false,
            })
            .collect();
        let (arbiter, registrations) = match &self.context.place {
            ChildThread::Here => (None, Vec::new()),
            ChildThread::Arbiter(arbiter) => (Some(arbiter.clone()), Vec::new()),
            ChildThread::Slot(slot) => slot.register(count as usize, |number| {
                let index = from + number as u32;
                RegisteredLife {
                    child: self.child(index),
                    epoch,
                    reporter: self.context.reporter.clone(),
                    control: Arc::new(MemberControl { group: self.clone(), index, epoch }),
                }
            }),
        };
        for (life, registration) in lives.iter_mut().zip(registrations) {
            life.registration = Some(Box::new(registration));
        }
        deliver(arbiter, lives, |lives| {
            for life in lives {
                actix_rt::spawn(Incarnation::new(life));
            }
        });
    }
}

impl<A: Actor<Context = actix::Context<A>>> GroupRunner for TemplateGroup<A> {
    fn launch_batch(self: Arc<Self>, from: u32, count: u32, epoch: u64) {
        self.left.store(count as usize, Ordering::Release);
        let (mut next, end) = (from, from + count);
        for index in from..end {
            if self.ports.port(index).begin(epoch, true) {
                continue;
            }
            // Its port has had a later life, so this one could never bind and would block its
            // batch.
            self.clone().spawn(next, index - next, epoch);
            next = index + 1;
            let exit = Exit::Failed("its port has had later lives".to_owned());
            let reporter = &self.context.reporter;
            reporter.tell(self.child(index), epoch, LifeEvent::Exited(exit));
            self.leave_batch();
        }
        self.spawn(next, end - next, epoch);
    }

    fn launch(self: Arc<Self>, index: u32, epoch: u64) {
        self.ports.port(index).begin(epoch, false);
        self.ports.some_left();
        self.spawn(index, 1, epoch);
    }

    fn strike(&self, index: u32, strike: Strike) {
        let port = self.ports.port(index);
        match strike {
            Strike::Stop => port.throw(STOP, None),
            Strike::Kill => port.throw(KILL, None),
            Strike::Panic(_) | Strike::Hang(_) => {
                let mut strikes = self.strikes();
                // Read under the lock: an ending life looks up its strikes after leaving the port.
                let Some(epoch) = port.living() else {
                    return;
                };
                strikes.entry((index, epoch)).or_default().push_back(strike);
                drop(strikes);
                port.throw(STRUCK, Some(epoch));
            }
        }
    }

    fn vacate(&self, index: u32, epoch: u64) {
        let port = self.ports.port(index);
        port.vacate(epoch);
        self.ports.some_left();
        if port.leave_batch(epoch) {
            self.leave_batch();
        }
    }

    fn rest(&self) {
        self.ports.all().for_each(GroupPort::rest);
        self.ports.some_left();
    }

    fn close(&self, index: u32) {
        self.ports.port(index).close();
        self.ports.some_left();
    }

    fn close_all(&self) {
        self.ports.all().for_each(GroupPort::close);
        self.ports.some_left();
    }

    fn kill_all(&self) {
        self.ports.all().for_each(|port| port.throw(KILL, None));
    }
}

/// One life, as seen by the watchdog.
struct MemberControl<A: Actor> {
    group: Arc<TemplateGroup<A>>,
    index: u32,
    epoch: u64,
}

impl<A: Actor<Context = actix::Context<A>>> LifeControl for MemberControl<A> {
    fn name(&self) -> Arc<str> {
        self.group.name(self.index)
    }

    fn kill(&self) {
        let port = self.group.ports.port(self.index);
        port.throw(KILL, Some(self.epoch));
    }
}

/// The `LifeHooks` of a life of a template's child, kept small. Dropping it before the end was
/// reported reports an end of unknown cause.
struct GroupLife<A: Actor> {
    group: Arc<TemplateGroup<A>>,
    epoch: u64,
    registration: Option<Box<Registration>>,
    index: u32,
    done: bool,
}

impl<A: Actor> GroupLife<A> {
    fn port(&self) -> &GroupPort<A> {
        self.group.ports.port(self.index)
    }

    fn report(&mut self, exit: Option<Exit>) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        let in_batch = self.port().leave_batch(self.epoch);
        // From here on, no strike can be added for this life.
        self.port().vacate(self.epoch);
        self.group.strikes().remove(&(self.index, self.epoch));
        let registration = self.registration.take().map(|registration| *registration);
        let (group, child) = (&self.group, self.group.child(self.index));
        group.context.reporter.end(child, self.epoch, exit, registration);
        if in_batch {
            group.leave_batch();
        }
    }
}

impl<A: Actor> Drop for GroupLife<A> {
    fn drop(&mut self) {
        self.report(None);
    }
}

impl<A: Actor> LifeHooks<A> for GroupLife<A> {
    fn context(&self) -> &LaunchContext {
        &self.group.context.launch
    }

    fn name(&self) -> Arc<str> {
        self.group.name(self.index)
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    #[inline]
    fn registration(&self) -> Option<&Registration> {
        self.registration.as_deref()
    }

    fn make(&mut self) -> Result<A, String> {
        (self.group.factory)(self.index as usize)
    }

    fn listen(&self, waker: &Waker) {
        self.port().listen(self.epoch, waker);
    }

    #[inline]
    fn thrown(&self) -> u8 {
        self.port().thrown(self.epoch, KILL)
    }

    fn struck(&self) -> Option<Strike> {
        let mut strikes = self.group.strikes();
        let own = strikes.get_mut(&(self.index, self.epoch));
        let (next, more) = match own {
            Some(own) => (own.pop_front(), !own.is_empty()),
            None => (None, false),
        };
        if !more {
            strikes.remove(&(self.index, self.epoch));
            self.port().unthrow(STRUCK, self.epoch);
        }
        next
    }

    fn bind(&self, mailbox: AddressSender<A>) -> bool {
        self.port().bind(self.epoch, mailbox)
    }

    fn detach(&self) {
        self.port().vacate(self.epoch);
        self.port().release(self.epoch);
    }

    fn started(&self) {
        let in_batch = self.port().leave_batch(self.epoch);
        let group = &self.group;
        // A batch is reported as a whole; single starts are only for subscribers.
        if !in_batch || group.context.launch.listened() {
            let child = group.child(self.index);
            group.context.reporter.tell(child, self.epoch, LifeEvent::Started);
        }
        if in_batch {
            group.leave_batch();
        }
    }

    fn exited(mut self, exit: Exit) {
        self.report(Some(exit));
    }
}
