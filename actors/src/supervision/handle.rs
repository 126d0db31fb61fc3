//! A supervisor from outside.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, watch};

use super::{ChildId, Outcome, SupervisionEvent};

/// Commands and questions to one supervisor, from any thread. Dropping all handles does not end it.
#[derive(Clone)]
pub struct SupervisorHandle {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) children: Vec<Public>,
    pub(super) events: broadcast::Sender<SupervisionEvent>,
    pub(super) progress: watch::Sender<Progress>,
    // Lives that have begun and not reported their end, hung ones included.
    pub(super) lives: watch::Sender<usize>,
}

#[derive(Debug, Default)]
pub(super) struct Progress {
    // Every child has been started once.
    pub(super) up: bool,
    pub(super) outcome: Option<Outcome>,
}

pub(super) struct Public {
    pub(super) name: Arc<str>,
    pub(super) restarts: AtomicU64,
}

#[derive(Debug)]
pub(super) enum Command {
    Kill(ChildId),
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
    /// hung, does not wait for. Never returns where a thread hangs for good.
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
        self.find(child.into()).map_or(0, |child| {
            self.shared.children[child.0]
                .restarts
                .load(Ordering::Acquire)
        })
    }

    /// The children in the order of their start.
    pub fn children(&self) -> impl Iterator<Item = (ChildId, &str)> {
        self.shared
            .children
            .iter()
            .enumerate()
            .map(|(index, child)| (ChildId(index), &*child.name))
    }

    fn find(&self, which: Which<'_>) -> Option<ChildId> {
        match which {
            Which::Id(id) => (id.0 < self.shared.children.len()).then_some(id),
            Which::Name(name) => self
                .children()
                .find(|(_, known)| *known == name)
                .map(|(id, _)| id),
        }
    }

    fn send(&self, command: Command) -> bool {
        // Refused only after the end, when there is nothing to command.
        let _ = self.shared.commands.send(command);
        true
    }
}

impl fmt::Debug for SupervisorHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.shared.children.iter().map(|child| &child.name);
        f.debug_list().entries(names).finish()
    }
}

/// The outcome of a supervisor whose own thread ended.
pub(super) fn lost() -> Outcome {
    Outcome::Escalated {
        reason: "the supervisor's own arbiter ended".into(),
    }
}
