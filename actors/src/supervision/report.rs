//! News of a life, which can't get lost.

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
}

#[derive(Debug)]
pub(super) enum News {
    /// `started` returned and the port is bound.
    Started,
    /// The actor and all it held is gone.
    Exited(Exit),
    /// Its thread was given up: the life with it, whatever it still does.
    Lost { exit: Exit, charged: bool },
}

/// The duty to report one life's end. Whoever drops it reports: a life that ended, a closure that never ran, a dead runtime.
#[derive(Debug)]
pub(super) struct Duty {
    to: UnboundedSender<Report>,
    // Counts the lives that have not reported; it outlives the supervisor.
    lives: watch::Sender<usize>,
    child: ChildId,
    epoch: u64,
    exit: Exit,
    residence: Option<Residence>,
}

impl Duty {
    /// A duty that reports [`Exit::ArbiterDead`] until it learns better.
    pub(super) fn new(
        to: UnboundedSender<Report>,
        lives: watch::Sender<usize>,
        child: ChildId,
        epoch: u64,
    ) -> Self {
        lives.send_modify(|lives| *lives += 1);
        Self {
            to,
            lives,
            child,
            epoch,
            exit: Exit::ArbiterDead,
            residence: None,
        }
    }

    /// Where the life is lived, left when it is over.
    pub(super) fn lives_at(&mut self, residence: Residence) {
        self.residence = Some(residence);
    }

    pub(super) fn residence(&self) -> Option<&Residence> {
        self.residence.as_ref()
    }

    /// Where its reports go.
    pub(super) fn reporter(&self) -> UnboundedSender<Report> {
        self.to.clone()
    }

    /// Reports that the life has started.
    pub(super) fn started(&self) {
        self.tell(News::Started);
    }

    /// Reports the end, now.
    pub(super) fn exited(mut self, exit: Exit) {
        self.exit = exit;
    }

    fn tell(&self, news: News) {
        // Refused only when nobody is left who could care.
        let _ = self.to.send(Report {
            child: self.child,
            epoch: self.epoch,
            news,
        });
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        let exit = std::mem::replace(&mut self.exit, Exit::ArbiterDead);
        let residence = self.residence.take();
        let news = match residence {
            // One death of an arbiter counts once, however many lived there.
            Some(home) if exit == Exit::ArbiterDead => News::Lost {
                charged: home.pulse.charge(),
                exit,
            },
            _ => News::Exited(exit),
        };
        self.tell(news);
        self.lives.send_modify(|lives| *lives -= 1);
    }
}
