//! The watchdog: a thread that checks the heartbeat of every arbiter.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::heartbeat::Heartbeat;

/// Checks per `hang_after`.
const ROUNDS: u32 = 4;

/// An unanswered heartbeat request to one arbiter.
struct PendingHeartbeat {
    heartbeat: Arc<Heartbeat>,
    since: Instant,
    /// The life being polled at the last check.
    polled: u64,
}

/// Starts the watchdog thread. It runs until the sender is dropped or no arbiter is left.
#[allow(
    clippy::disallowed_methods,
    reason = "a thread that watches threads goes by the machine's time"
)]
pub(super) fn start(
    hang_after: Duration,
    heartbeats: impl Fn() -> Vec<Option<Arc<Heartbeat>>> + Send + 'static,
) -> mpsc::Sender<()> {
    let (alive, ended) = mpsc::channel();
    let round = (hang_after / ROUNDS).max(Duration::from_millis(1));
    let watch = move || {
        let mut pending: Vec<Option<PendingHeartbeat>> = Vec::new();
        let mut last = Instant::now();
        while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(round) {
            let now = Instant::now();
            // A watchdog that was itself suspended (a stopped process, a closed laptop) cannot
            // blame others.
            let slept = now - last > round * 2 + hang_after / 2;
            last = now;
            let present = heartbeats();
            if present.iter().all(Option::is_none) {
                return;
            }
            pending.resize_with(present.len(), || None);
            for (known, heartbeat) in pending.iter_mut().zip(present) {
                let Some(heartbeat) = heartbeat else {
                    *known = None;
                    continue;
                };
                let same = (known.as_ref())
                    .is_some_and(|pending| Arc::ptr_eq(&pending.heartbeat, &heartbeat));
                match known {
                    Some(pending) if same && !slept && !heartbeat.has_answered() => {
                        let polled = heartbeat.polled();
                        if polled != pending.polled {
                            // A different life is being polled, so the arbiter makes progress; its
                            // heartbeat task has just not had its turn yet.
                            (pending.since, pending.polled) = (now, polled);
                        } else if now - pending.since >= hang_after {
                            heartbeat.give_up(now - pending.since);
                        }
                    }
                    _ => {
                        heartbeat.ask();
                        let polled = heartbeat.polled();
                        let since = now;
                        *known = Some(PendingHeartbeat { heartbeat, since, polled });
                    }
                }
            }
        }
    };
    let spawned = std::thread::Builder::new().name("gopherworks-watchdog".to_owned()).spawn(watch);
    if let Err(error) = spawned {
        log::error!("no thread for the watchdog, so nothing is watched: {error}");
    }
    alive
}
