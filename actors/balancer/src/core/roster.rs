//! The workers of a balancer: names, ports, wake-ups, and how many are wanted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use super::serving::{Begin, Worker};
use crate::worker::Work;
use gopherworks_supervision::Port;

/// The balancer's record of one worker.
pub(crate) struct WorkerCore<W: Work> {
    pub(crate) name: Arc<str>,
    pub(crate) port: Port<Worker<W>>,
    /// Wakes the current incarnation only: one that hangs must not consume its successor's
    /// wake-ups.
    bell: ArcSwap<Notify>,
    /// True if a `Begin` is already in the mailbox.
    wake_pending: AtomicBool,
}

impl<W: Work> WorkerCore<W> {
    pub(crate) fn bell(&self) -> Arc<Notify> {
        self.bell.load_full()
    }

    pub(crate) fn notify(&self) {
        self.bell.load().notify_one();
    }

    /// True if it has queued requests to serve.
    #[inline]
    pub(crate) fn is_wake_pending(&self) -> bool {
        self.wake_pending.load(Ordering::Relaxed)
    }

    /// Sends a wake-up, unless one is pending.
    pub(crate) fn wake(&self) {
        // Vacant or gone: its queue is returned when its presence guard drops.
        if !self.wake_pending.swap(true, Ordering::AcqRel) && self.port.send(Begin).is_err() {
            self.wake_pending.store(false, Ordering::Release);
        }
    }

    /// Notes that the worker has received its wake-up.
    pub(crate) fn heard(&self) {
        // Cleared before the notification, so that later requests send a new wake-up.
        self.wake_pending.store(false, Ordering::Release);
        self.notify();
    }

    /// A new incarnation is up: later wake-ups belong to it.
    pub(crate) fn renew(&self) {
        self.bell.store(Arc::default());
        self.wake_pending.store(false, Ordering::Release);
    }
}

/// The workers of one balancer.
pub(crate) struct Roster<W: Work> {
    pub(super) workers: Vec<WorkerCore<W>>,
    /// Number of workers wanted.
    pub(super) size: watch::Sender<usize>,
    /// Held during a resize, so that the table and the workers see sizes in the same order.
    pub(super) resizing: Mutex<()>,
}

impl<W: Work> Roster<W> {
    pub(crate) fn new(balancer: &str, workers: usize) -> Self {
        let worker = |number| WorkerCore {
            name: format!("{balancer}/{number}").into(),
            port: Port::new(),
            bell: ArcSwap::default(),
            wake_pending: AtomicBool::new(false),
        };
        Self {
            workers: (1..=workers).map(worker).collect(),
            size: watch::Sender::new(workers),
            resizing: Mutex::default(),
        }
    }

    /// True if the worker with this number (from 0) is wanted.
    pub(crate) fn wants(&self, worker: usize) -> bool {
        worker < *self.size.borrow()
    }
}
