//! News of a life, which can't get lost.

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

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
        }
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
        self.tell(News::Exited(exit));
        self.lives.send_modify(|lives| *lives -= 1);
    }
}
