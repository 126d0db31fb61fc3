//! Controls a supervisor from any thread.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::child_list::ChildList;
use super::switch::Strike;
use super::{Child, ChildId, SupervisionEvent, SupervisorOutcome, Template};

/// Sends commands to one supervisor from any thread. Dropping all handles does not end the
/// supervisor.
#[derive(Clone)]
pub struct SupervisorHandle {
    pub(super) shared: Arc<SupervisorShared>,
}

pub(super) struct SupervisorShared {
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) children: RwLock<ChildList>,
    pub(super) events: broadcast::Sender<SupervisionEvent>,
    // Notified after every change of the children.
    pub(super) changed: watch::Sender<()>,
    pub(super) progress: watch::Sender<Progress>,
    // Number of lives that have begun and not ended, including hung ones.
    pub(super) lives: watch::Sender<usize>,
}

impl SupervisorShared {
    pub(super) fn read<T>(&self, f: impl FnOnce(&ChildList) -> T) -> T {
        f(&self.children.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn change(&self, f: impl FnOnce(&mut ChildList)) {
        f(&mut self.children.write().unwrap_or_else(PoisonError::into_inner));
        self.changed.send_replace(());
    }
}

/// An added child did not start: the supervisor has ended or is ending, the child ended before it
/// was up and will not be restarted, or its ports serve another supervisor.
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
    pub(super) outcome: Option<SupervisorOutcome>,
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

/// Selects a child by id or name.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    /// By id.
    Id(ChildId),
    /// The first child with this name.
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
    /// Kills a child at its next poll, as a fault would; the policy decides whether it is
    /// restarted. Its queued messages are dropped. No effect if it is not alive. Returns whether
    /// the child exists.
    pub fn kill<'a>(&self, child: impl Into<Which<'a>>) -> bool {
        self.find(child.into()).is_some_and(|child| self.send(Command::Kill(child)))
    }

    /// Applies a fault to a child at its next poll; the policy decides whether it is restarted. No
    /// effect if it is not alive. Returns whether the child exists.
    pub fn strike<'a>(&self, child: impl Into<Which<'a>>, strike: Strike) -> bool {
        self.find(child.into()).is_some_and(|child| self.send(Command::Strike(child, strike)))
    }

    /// Adds a child, last in the start order, and starts it after all pending starts. Resolves when
    /// its `started` has returned, in its first life or (as the policy decides) a later one. The
    /// child is removed when it ends and will not be restarted. Dropping the future changes
    /// nothing.
    ///
    /// # Errors
    /// [`NotStarted`] if the supervisor ends, or the child ends before it is up and will not be
    /// restarted.
    pub fn start_child(
        &self,
        child: Child,
    ) -> impl Future<Output = Result<ChildId, NotStarted>> + Send + use<> {
        let (reply, started) = oneshot::channel();
        self.send(Command::Start(Box::new(child), reply));
        async move { started.await.map_err(|_| NotStarted(())) }
    }

    /// Adds the children of a template, last in the start order by index, and starts them after all
    /// pending starts, in batches of 256. Resolves when each has started once or failed to; it
    /// returns the id of the first child (an unused id if there are none), and the ids of the
    /// others follow. The policy decides about restarts; a child that will not be restarted is
    /// removed. Dropping the future changes nothing.
    ///
    /// # Errors
    /// [`NotStarted`] if the supervisor ends first, if all of the children are stopped before they
    /// start, or if the ports already serve a supervisor.
    pub fn start_many(
        &self,
        template: Template,
    ) -> impl Future<Output = Result<ChildId, NotStarted>> + Send + use<> {
        let (reply, started) = oneshot::channel();
        self.send(Command::StartMany(Box::new(template), reply));
        async move { started.await.map_err(|_| NotStarted(())) }
    }

    /// Stops a child permanently, within its own shutdown time and regardless of its restart kind,
    /// and removes it. Sends the command immediately; the future waits until the child is gone (or
    /// fenced) and returns whether it existed. Dropping the future changes nothing.
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
            while shared.read(|list| list.contains(child)) {
                tokio::select! {
                    biased;
                    _ = changed.changed() => {}
                    _ = &mut over => return true,
                }
            }
            true
        }
    }

    /// Gives up life `epoch` of a child, which a watchdog found hung: it exits as `Hung` now,
    /// whatever its thread does. No effect if that life is not the current one. Returns whether the
    /// child exists.
    pub fn give_up<'a>(&self, child: impl Into<Which<'a>>, epoch: u64) -> bool {
        self.find(child.into()).is_some_and(|child| self.send(Command::GiveUp(child, epoch)))
    }

    /// Stops the children in the reverse order of their start, each within its own shutdown time
    /// and all within `deadline`; a child still alive then is killed. Begins immediately; the
    /// future waits for the end.
    pub fn stop(
        &self,
        deadline: Duration,
    ) -> impl Future<Output = SupervisorOutcome> + Send + use<> {
        self.send(Command::Stop(deadline));
        self.ended()
    }

    /// Kills all children immediately and ends the supervisor.
    pub fn kill_all(&self) {
        self.send(Command::KillAll);
    }

    /// From now on, restarts use the minimum backoff, including those already waiting.
    pub fn draining(&self) {
        self.send(Command::Draining(true));
    }

    /// Subscribes to the events from now on. A receiver more than [`Self::EVENTS`] events behind
    /// loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<SupervisionEvent> {
        self.shared.events.subscribe()
    }

    /// How many events a receiver may lag behind.
    pub const EVENTS: usize = 4096;

    /// Waits until every child has been started once. A temporary child that failed to start does
    /// not prevent this.
    ///
    /// # Errors
    /// The outcome, if the supervisor ends first.
    pub fn wait_started(
        &self,
    ) -> impl Future<Output = Result<(), SupervisorOutcome>> + Send + use<> {
        let mut progress = self.shared.progress.subscribe();
        async move {
            let seen =
                progress.wait_for(|progress| progress.up || progress.outcome.is_some()).await;
            match seen.as_deref() {
                Ok(Progress { up: true, .. }) => Ok(()),
                Ok(Progress { outcome, .. }) => Err(outcome.clone().unwrap_or_else(lost)),
                Err(_) => Err(lost()),
            }
        }
    }

    /// Waits for the end: all children have ended (or are fenced), and all ports are closed.
    pub fn ended(&self) -> impl Future<Output = SupervisorOutcome> + Send + use<> {
        let mut progress = self.shared.progress.subscribe();
        async move {
            let seen = progress.wait_for(|progress| progress.outcome.is_some()).await;
            let outcome = seen.ok().and_then(|progress| progress.outcome.clone());
            outcome.unwrap_or_else(lost)
        }
    }

    /// Waits until every life ever begun here has ended and the supervisor has acted on its end.
    /// This includes hung lives, which the supervisor itself fences instead of awaiting; never
    /// returns if a thread hangs permanently.
    pub fn lives_ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut lives = self.shared.lives.subscribe();
        async move {
            // The sender outlives the last life, which holds it.
            let _ = lives.wait_for(|lives| *lives == 0).await;
        }
    }

    /// Number of lives that have begun and not ended, including hung ones.
    pub fn lives(&self) -> usize {
        *self.shared.lives.borrow()
    }

    /// How often a child has been restarted; 0 if it does not exist.
    pub fn restarts<'a>(&self, child: impl Into<Which<'a>>) -> u64 {
        let Some(child) = self.find(child.into()) else {
            return 0;
        };
        self.shared.read(|list| list.restarts(child))
    }

    /// How often each child has been restarted, by name; children never restarted are omitted.
    pub fn all_restarts(&self) -> std::collections::BTreeMap<Arc<str>, u64> {
        self.shared.read(ChildList::all_restarts)
    }

    /// The children in the order of their start. The names of a template's children are created by
    /// this call.
    pub fn children(&self) -> Vec<(ChildId, Arc<str>)> {
        self.shared.read(ChildList::all)
    }

    fn find(&self, which: Which<'_>) -> Option<ChildId> {
        self.shared.read(|list| list.find(which))
    }

    fn send(&self, command: Command) -> bool {
        // Fails only after the end, when no child is left.
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

/// The outcome if the supervisor's own thread ends.
pub(super) fn lost() -> SupervisorOutcome {
    SupervisorOutcome::Escalated { reason: "the supervisor's own arbiter ended".into() }
}
