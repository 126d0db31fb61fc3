//! What an engine promises.

use std::fmt;
use std::time::Duration;

/// What an engine's books survive, and what else may be relied on. Printed by `validate` and
/// `run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promises {
    /// Books survive the death of any actor.
    pub actor_death: bool,
    /// Books survive `kill -9` of the process.
    pub kill: bool,
    /// Books survive the loss of power.
    pub power_loss: bool,
    /// Several processes may share it.
    pub shared: bool,
    /// Passing books between two of its piles is atomic.
    pub atomic_pass: bool,
    /// A whole commit is atomic.
    pub atomic_commit: bool,
    /// A holder whose lease ended can't settle, pass or extend.
    pub fenced_ack: bool,
    /// A pile delivers in the order of arrival, a returned book in its former place.
    pub ordered: bool,
    /// Returned books may be delayed.
    pub delay: bool,
    /// A source's position is stored in the transaction of its books.
    pub checkpoints: bool,
    /// Books whose work had begun are charged an attempt if the process dies; in a shared store
    /// from the second process on that dies with them.
    pub begun_marks: bool,
    /// The longest time for which keys of offered books are remembered; `None` if they are not.
    pub dedupe: Option<Duration>,
}

impl Promises {
    /// Promises of custody without a backend.
    pub const MEMORY: Promises = Promises {
        actor_death: true,
        kill: false,
        power_loss: false,
        shared: false,
        atomic_pass: true,
        atomic_commit: false,
        fenced_ack: true,
        ordered: true,
        delay: true,
        checkpoints: false,
        begun_marks: false,
        dedupe: None,
    };
}

impl fmt::Display for Promises {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let yes = [
            (self.actor_death, "the death of any actor"),
            (self.kill, "kill -9"),
            (self.power_loss, "power loss"),
        ];
        let kept: Vec<&str> = yes.iter().filter(|(yes, _)| *yes).map(|(_, what)| *what).collect();
        let lost: Vec<&str> = yes.iter().filter(|(yes, _)| !*yes).map(|(_, what)| *what).collect();
        write!(f, "books survive {}", kept.join(", "))?;
        if !lost.is_empty() {
            write!(f, "; not {}", lost.join(", "))?;
        }
        if !self.kill {
            return Ok(());
        }
        // What distinguishes durable engines from each other.
        let more = [
            (self.shared, "shared by processes", "one process at a time"),
            (self.atomic_pass, "passes are atomic", "a pass may leave two copies"),
            (self.fenced_ack, "late acks are refused", "a late ack may end another's lease"),
            (self.checkpoints, "sources are read once", "sources may be read again"),
        ];
        for (yes, kept, missing) in more {
            write!(f, "; {}", if yes { kept } else { missing })?;
        }
        Ok(())
    }
}
