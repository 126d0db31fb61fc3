//! Reports from lives to their supervisor. The end of a life is always reported, since dropping a
//! life reports it.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use super::heartbeat::Registration;
use super::{ChildId, Exit};

/// A report of one life.
#[derive(Debug)]
pub(super) struct LifeReport {
    pub(super) child: ChildId,
    pub(super) epoch: u64,
    pub(super) event: LifeEvent,
    /// Present in the last report of a life.
    pub(super) counted: Option<CountedLife>,
}

/// Keeps an ended life counted until its supervisor has acted on the end, or is gone.
#[derive(Debug)]
pub(super) struct CountedLife(watch::Sender<usize>);

impl Drop for CountedLife {
    fn drop(&mut self) {
        self.0.send_modify(|lives| *lives -= 1);
    }
}

#[derive(Debug)]
pub(super) enum LifeEvent {
    /// `started` returned and the port is bound.
    Started,
    /// Reported for the first child of a template: every member of the batch has started or ended.
    BatchDone,
    /// The actor and everything it held has been dropped.
    Exited(Exit),
    /// Its thread was given up or ended, and the life with it.
    Lost { exit: Exit, charged: bool },
}

/// Where all lives under one supervisor report. It outlives the supervisor.
#[derive(Debug)]
pub(super) struct Reporter {
    pub(super) to: UnboundedSender<LifeReport>,
    /// Number of lives that have begun and whose end the supervisor has not yet acted on.
    pub(super) lives: watch::Sender<usize>,
}

impl Reporter {
    pub(super) fn tell(&self, child: ChildId, epoch: u64, event: LifeEvent) {
        self.send(child, epoch, event, None);
    }

    fn send(&self, child: ChildId, epoch: u64, event: LifeEvent, counted: Option<CountedLife>) {
        // Fails only if the supervisor is gone.
        let _ = self.to.send(LifeReport { child, epoch, event, counted });
    }

    /// Counts `lives` new lives.
    pub(super) fn begin(&self, lives: usize) {
        self.lives.send_modify(|all| *all += lives);
    }

    /// Reports the end of a life; `exit` is `None` if its thread or runtime ended. The registration
    /// is dropped before the report is sent.
    pub(super) fn end(
        &self,
        child: ChildId,
        epoch: u64,
        exit: Option<Exit>,
        registration: Option<Registration>,
    ) {
        let event = match (exit, registration) {
            // The death of an arbiter counts as one failure, however many lives ran on it.
            (None, Some(registration)) => LifeEvent::Lost {
                charged: registration.heartbeat.charge(),
                exit: Exit::ArbiterDead,
            },
            (exit, _) => LifeEvent::Exited(exit.unwrap_or(Exit::ArbiterDead)),
        };
        self.send(child, epoch, event, Some(CountedLife(self.lives.clone())));
    }
}

/// The obligation to report the end of one life. Dropping it reports too: an unrun closure or a
/// dead runtime.
#[derive(Debug)]
pub(super) struct ExitGuard {
    reporter: Arc<Reporter>,
    child: ChildId,
    epoch: u64,
    registration: Option<Registration>,
    done: bool,
}

impl ExitGuard {
    /// Reports [`Exit::ArbiterDead`] on drop, unless another exit is reported first.
    pub(super) fn new(reporter: Arc<Reporter>, child: ChildId, epoch: u64) -> Self {
        reporter.begin(1);
        Self { reporter, child, epoch, registration: None, done: false }
    }

    /// Sets the registration on its arbiter, dropped when the life ends.
    pub(super) fn set_registration(&mut self, registration: Registration) {
        self.registration = Some(registration);
    }

    pub(super) fn registration(&self) -> Option<&Registration> {
        self.registration.as_ref()
    }

    pub(super) fn reporter(&self) -> &Arc<Reporter> {
        &self.reporter
    }

    pub(super) fn started(&self) {
        self.reporter.tell(self.child, self.epoch, LifeEvent::Started);
    }

    pub(super) fn exited(mut self, exit: Exit) {
        self.report(Some(exit));
    }

    fn report(&mut self, exit: Option<Exit>) {
        if !std::mem::replace(&mut self.done, true) {
            let registration = self.registration.take();
            self.reporter.end(self.child, self.epoch, exit, registration);
        }
    }
}

impl Drop for ExitGuard {
    fn drop(&mut self) {
        self.report(None);
    }
}
