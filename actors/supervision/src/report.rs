//! Reports from lives to their supervisor. The end of a life is always reported, since dropping a
//! life reports it.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use super::pulse::Residence;
use super::{ChildId, Exit};

/// A report of one life.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) child: ChildId,
    pub(super) epoch: u64,
    pub(super) news: News,
    /// Present in the last report of a life.
    pub(super) over: Option<Over>,
}

/// Keeps an ended life counted until its supervisor has acted on the end, or is gone.
#[derive(Debug)]
pub(super) struct Over(watch::Sender<usize>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.send_modify(|lives| *lives -= 1);
    }
}

#[derive(Debug)]
pub(super) enum News {
    /// `started` returned and the port is bound.
    Started,
    /// Reported for the first child of a template: every member of the batch has started or ended.
    LotDone,
    /// The actor and everything it held has been dropped.
    Exited(Exit),
    /// Its thread was given up or ended, and the life with it.
    Lost { exit: Exit, charged: bool },
}

/// Where all lives under one supervisor report. It outlives the supervisor.
#[derive(Debug)]
pub(super) struct Office {
    pub(super) to: UnboundedSender<Report>,
    /// Number of lives that have begun and whose end the supervisor has not yet acted on.
    pub(super) lives: watch::Sender<usize>,
}

impl Office {
    pub(super) fn tell(&self, child: ChildId, epoch: u64, news: News) {
        self.send(child, epoch, news, None);
    }

    fn send(&self, child: ChildId, epoch: u64, news: News, over: Option<Over>) {
        // Fails only if the supervisor is gone.
        let _ = self.to.send(Report { child, epoch, news, over });
    }

    /// Counts `lives` new lives.
    pub(super) fn begin(&self, lives: usize) {
        self.lives.send_modify(|all| *all += lives);
    }

    /// Reports the end of a life; `exit` is `None` if its thread or runtime ended. The residence is
    /// dropped before the report is sent.
    pub(super) fn end(
        &self,
        child: ChildId,
        epoch: u64,
        exit: Option<Exit>,
        residence: Option<Residence>,
    ) {
        let news = match (exit, residence) {
            // The death of an arbiter counts as one failure, however many lives ran on it.
            (None, Some(home)) => {
                News::Lost { charged: home.pulse.charge(), exit: Exit::ArbiterDead }
            }
            (exit, _) => News::Exited(exit.unwrap_or(Exit::ArbiterDead)),
        };
        self.send(child, epoch, news, Some(Over(self.lives.clone())));
    }
}

/// The obligation to report the end of one life. Dropping it reports too: an unrun closure or a
/// dead runtime.
#[derive(Debug)]
pub(super) struct Duty {
    office: Arc<Office>,
    child: ChildId,
    epoch: u64,
    residence: Option<Residence>,
    done: bool,
}

impl Duty {
    /// Reports [`Exit::ArbiterDead`] on drop, unless another exit is reported first.
    pub(super) fn new(office: Arc<Office>, child: ChildId, epoch: u64) -> Self {
        office.begin(1);
        Self { office, child, epoch, residence: None, done: false }
    }

    /// Sets the registration on its arbiter, dropped when the life ends.
    pub(super) fn lives_at(&mut self, residence: Residence) {
        self.residence = Some(residence);
    }

    pub(super) fn residence(&self) -> Option<&Residence> {
        self.residence.as_ref()
    }

    pub(super) fn office(&self) -> &Arc<Office> {
        &self.office
    }

    pub(super) fn started(&self) {
        self.office.tell(self.child, self.epoch, News::Started);
    }

    pub(super) fn exited(mut self, exit: Exit) {
        self.report(Some(exit));
    }

    fn report(&mut self, exit: Option<Exit>) {
        if !std::mem::replace(&mut self.done, true) {
            let residence = self.residence.take();
            self.office.end(self.child, self.epoch, exit, residence);
        }
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        self.report(None);
    }
}
