//! A supervisor from outside.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::listed::Listed;
use super::switch::Strike;
use super::{Child, ChildId, Outcome, SupervisionEvent, Template};

/// Commands and questions to one supervisor, from any thread. Dropping all handles does not end it.
#[derive(Clone)]
pub struct SupervisorHandle {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) children: RwLock<Listed>,
    pub(super) events: broadcast::Sender<SupervisionEvent>,
    // Told after every change of the children.
    pub(super) changed: watch::Sender<()>,
    pub(super) progress: watch::Sender<Progress>,
    // Lives that have begun and are not over, hung ones included.
    pub(super) lives: watch::Sender<usize>,
}

impl Shared {
    pub(super) fn read<T>(&self, f: impl FnOnce(&Listed) -> T) -> T {
        f(&self.children.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn change(&self, f: impl FnOnce(&mut Listed)) {
        f(&mut self
            .children
            .write()
            .unwrap_or_else(PoisonError::into_inner));
        self.changed.send_replace(());
    }

    fn kept(&self, child: ChildId) -> bool {
        self.read(|listed| listed.contains(child))
    }
}

/// A child that was added did not start: the supervisor has ended or is about to, or the child ended before it was up and will not come back, or
/// its ports serve another supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotStarted(());

impl fmt::Display for NotStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the child did not start, and will not")
    }
}

impl std::error::Error for NotStarted {}

#[derive(Debug, Default)]
pub(super) struct Progress {
    // Every child has been started once.
    pub(super) up: bool,
    pub(super) outcome: Option<Outcome>,
}

pub(super) enum Command {
    Kill(ChildId),
    Strike(ChildId, Strike),
    Start(Box<Child>, oneshot::Sender<ChildId>),
    StartMany(Box<Template>, oneshot::Sender<ChildId>),
    Remove(ChildId),
    GiveUp(ChildId, u64),
    Stop(Duration),
    KillAll,
    Draining(bool),
}

/// A child, by its id or its name.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    /// By its place in the order of starts.
    Id(ChildId),
    /// The first child of this name.
    Name(&'a str),
}

impl From<ChildId> for Which<'_> {
    fn from(id: ChildId) -> Self {
        Which::Id(id)
    }
}

impl<'a> From<&'a str> for Which<'a> {
    fn from(name: &'a str) -> Self {
        Which::Name(name)
    }
}

impl SupervisorHandle {
    /// Kills a child at its next poll, as a fault would: the policy decides whether it comes back. Its queued messages are
    /// dropped. Says whether there is such a child; where it is not alive nothing happens.
    pub fn kill<'a>(&self, child: impl Into<Which<'a>>) -> bool {
        self.find(child.into())
            .is_some_and(|child| self.send(Command::Kill(child)))
    }

    /// Does to a child what a fault does, at its next poll: the policy decides whether it comes back. Nothing happens to one that does not
    /// live. Says whether there is such a child.
    pub fn strike<'a>(&self, child: impl Into<Which<'a>>, strike: Strike) -> bool {
        self.find(child.into())
            .is_some_and(|child| self.send(Command::Strike(child, strike)))
    }

    /// Adds a child and starts it, after all that are being started; it is the last in the order of starts. Returns when its `started`
    /// has, in this life or (as the policy decides) a later one. It is forgotten when it ends and will not come back. Dropping the
    /// future changes nothing.
    ///
    /// # Errors
    /// [`NotStarted`]: the supervisor ends, or the child did before it was up and will not come back.
    pub fn start_child(
        &self,
        child: Child,
    ) -> impl Future<Output = Result<ChildId, NotStarted>> + Send + use<> {
        let (say, started) = oneshot::channel();
        self.send(Command::Start(Box::new(child), say));
        async move { started.await.map_err(|_| NotStarted(())) }
    }

    /// Adds the children of a template and starts them, after all that are being started; they are the last in the order of starts, by index.
    /// 256 start together, then the next. Returns the id of the first (nobody's where there are no children), those of the others follow, when
    /// each has started once or failed to; what failed is started again or not as the policy decides, and one that will not come back is
    /// forgotten. Dropping the future changes nothing.
    ///
    /// # Errors
    /// [`NotStarted`]: the supervisor ends before, or all of them are stopped before their turn, or the ports serve another supervisor (or this
    /// one already).
    pub fn start_many(
        &self,
        template: Template,
    ) -> impl Future<Output = Result<ChildId, NotStarted>> + Send + use<> {
        let (say, started) = oneshot::channel();
        self.send(Command::StartMany(Box::new(template), say));
        async move { started.await.map_err(|_| NotStarted(())) }
    }

    /// Stops a child for good, in the time that it has to stop, whichever its restart kind is; then it is forgotten. The future waits until it
    /// is gone (or fenced), and says whether there was such a child; dropping it changes nothing.
    pub fn stop_child(&self, child: Which<'_>) -> impl Future<Output = bool> + Send + use<> {
        let child = self.find(child);
        let mut changed = self.shared.changed.subscribe();
        if let Some(child) = child {
            self.send(Command::Remove(child));
        }
        let (shared, over) = (self.shared.clone(), self.ended());
        async move {
            let Some(child) = child else {
                return false;
            };
            let mut over = std::pin::pin!(over);
            while shared.kept(child) {
                tokio::select! {
                    biased;
                    _ = changed.changed() => {}
                    _ = &mut over => return true,
                }
            }
            true
        }
    }

    /// Gives up the life `epoch` of a child, which a watchdog found hung: it exits as `Hung` now, whatever its thread does.
    /// Ignored if that life is not the present one. Says whether there is such a child.
    pub fn give_up<'a>(&self, child: impl Into<Which<'a>>, epoch: u64) -> bool {
        self.find(child.into())
            .is_some_and(|child| self.send(Command::GiveUp(child, epoch)))
    }

    /// Stops the children in the reverse order of their start, each within its own time to stop and all within `deadline`;
    /// who is not gone by then is killed. Begins at once; the future waits for the end.
    pub fn stop(&self, deadline: Duration) -> impl Future<Output = Outcome> + Send + use<> {
        self.send(Command::Stop(deadline));
        self.ended()
    }

    /// Kills all children at once and ends the supervisor.
    pub fn kill_all(&self) {
        self.send(Command::KillAll);
    }

    /// From now on restarts come with the least backoff, those that wait included.
    pub fn draining(&self) {
        self.send(Command::Draining(true));
    }

    /// Events from now on; a receiver that falls more than [`Self::EVENTS`] behind misses the oldest.
    pub fn events(&self) -> broadcast::Receiver<SupervisionEvent> {
        self.shared.events.subscribe()
    }

    /// How many events a slow receiver may be behind.
    pub const EVENTS: usize = 4096;

    /// Waits until every child has been started once. A temporary child that failed at its start does not hinder it.
    ///
    /// # Errors
    /// The outcome, where the supervisor ends before.
    pub fn wait_started(&self) -> impl Future<Output = Result<(), Outcome>> + Send + use<> {
        let mut progress = self.shared.progress.subscribe();
        async move {
            let seen = progress
                .wait_for(|progress| progress.up || progress.outcome.is_some())
                .await;
            match seen.as_deref() {
                Ok(Progress { up: true, .. }) => Ok(()),
                Ok(Progress { outcome, .. }) => Err(outcome.clone().unwrap_or_else(lost)),
                Err(_) => Err(lost()),
            }
        }
    }

    /// Waits for the end: all children gone (or fenced), all ports closed.
    pub fn ended(&self) -> impl Future<Output = Outcome> + Send + use<> {
        let mut progress = self.shared.progress.subscribe();
        async move {
            let seen = progress
                .wait_for(|progress| progress.outcome.is_some())
                .await;
            let outcome = seen.ok().and_then(|progress| progress.outcome.clone());
            outcome.unwrap_or_else(lost)
        }
    }

    /// Waits until no life that was ever begun here is left, hung ones included: what the supervisor itself, which fences the
    /// hung, does not wait for. It has done what follows from their ends. Never returns where a thread hangs for good.
    pub fn buried(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut lives = self.shared.lives.subscribe();
        async move {
            // The sender is never gone before the last life, which holds it.
            let _ = lives.wait_for(|lives| *lives == 0).await;
        }
    }

    /// Lives that have begun and are not over, hung ones included.
    pub fn lives(&self) -> usize {
        *self.shared.lives.borrow()
    }

    /// How often a child has been started again; 0 for an unknown one.
    pub fn restarts<'a>(&self, child: impl Into<Which<'a>>) -> u64 {
        let Some(child) = self.find(child.into()) else {
            return 0;
        };
        self.shared.read(|listed| listed.restarts(child))
    }

    /// How often each child has been started again, by name; those that never were are left out.
    pub fn all_restarts(&self) -> std::collections::BTreeMap<Arc<str>, u64> {
        self.shared.read(Listed::all_restarts)
    }

    /// The children in the order of their start. The names of a template's children are made here.
    pub fn children(&self) -> Vec<(ChildId, Arc<str>)> {
        self.shared.read(Listed::all)
    }

    fn find(&self, which: Which<'_>) -> Option<ChildId> {
        self.shared.read(|listed| listed.find(which))
    }

    fn send(&self, command: Command) -> bool {
        // Refused only after the end, when there is nothing to command.
        let _ = self.shared.commands.send(command);
        true
    }
}

impl fmt::Debug for SupervisorHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.children().into_iter().map(|(_, name)| name);
        f.debug_list().entries(names).finish()
    }
}

/// The outcome of a supervisor whose own thread ended.
pub(super) fn lost() -> Outcome {
    Outcome::Escalated {
        reason: "the supervisor's own arbiter ended".into(),
    }
}
