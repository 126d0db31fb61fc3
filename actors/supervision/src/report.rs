//! News of a life, which can't get lost.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use super::pulse::Residence;
use super::{ChildId, Exit};

/// What a life tells its supervisor.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) child: ChildId,
    pub(super) epoch: u64,
    pub(super) news: News,
    /// Of a life's last report.
    pub(super) over: Option<Over>,
}

/// A life that is over, and counted until what follows from its end is done, or nobody is left to do it.
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
    /// Of the first child of a template: all that were started together have started, or ended before.
    LotDone,
    /// The actor and all it held is gone.
    Exited(Exit),
    /// Its thread was given up: the life with it, whatever it still does.
    Lost { exit: Exit, charged: bool },
}

/// Where all lives under one supervisor report. It outlives the supervisor.
#[derive(Debug)]
pub(super) struct Office {
    pub(super) to: UnboundedSender<Report>,
    /// Counts the lives that have begun and whose end was not reported, or not heard by a supervisor that is there.
    pub(super) lives: watch::Sender<usize>,
}

impl Office {
    pub(super) fn tell(&self, child: ChildId, epoch: u64, news: News) {
        self.send(child, epoch, news, None);
    }

    fn send(&self, child: ChildId, epoch: u64, news: News, over: Option<Over>) {
        // Refused only when nobody is left who could care.
        let _ = self.to.send(Report {
            child,
            epoch,
            news,
            over,
        });
    }

    /// So many lives begin.
    pub(super) fn begin(&self, lives: usize) {
        self.lives.send_modify(|all| *all += lives);
    }

    /// A life is over: `None` is an end that nobody saw, of the thread or the runtime. The residence is left before it is told.
    pub(super) fn end(
        &self,
        child: ChildId,
        epoch: u64,
        exit: Option<Exit>,
        residence: Option<Residence>,
    ) {
        let news = match (exit, residence) {
            // One death of an arbiter counts once, however many lived there.
            (None, Some(home)) => News::Lost {
                charged: home.pulse.charge(),
                exit: Exit::ArbiterDead,
            },
            (exit, _) => News::Exited(exit.unwrap_or(Exit::ArbiterDead)),
        };
        self.send(child, epoch, news, Some(Over(self.lives.clone())));
    }
}

/// The duty to report one life's end. Whoever drops it reports: a life that ended, a closure that never ran, a dead runtime.
#[derive(Debug)]
pub(super) struct Duty {
    office: Arc<Office>,
    child: ChildId,
    epoch: u64,
    residence: Option<Residence>,
    done: bool,
}

impl Duty {
    /// A duty that reports [`Exit::ArbiterDead`] until it learns better.
    pub(super) fn new(office: Arc<Office>, child: ChildId, epoch: u64) -> Self {
        office.begin(1);
        Self {
            office,
            child,
            epoch,
            residence: None,
            done: false,
        }
    }

    /// Where the life is lived, left when it is over.
    pub(super) fn lives_at(&mut self, residence: Residence) {
        self.residence = Some(residence);
    }

    pub(super) fn residence(&self) -> Option<&Residence> {
        self.residence.as_ref()
    }

    /// Where it reports.
    pub(super) fn office(&self) -> &Arc<Office> {
        &self.office
    }

    /// Reports that the life has started.
    pub(super) fn started(&self) {
        self.office.tell(self.child, self.epoch, News::Started);
    }

    /// Reports the end, now.
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
