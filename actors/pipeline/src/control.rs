//! What an operator may do to a node of a running pipeline.

use std::fmt;

/// A change that an operator makes to one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ControlAct {
    /// What is in hand is finished, and nothing new is begun until [`ControlAct::Resume`] or a
    /// drain. A crew sends no cart for books and gives back loads that it has not begun; a source
    /// is not read; an incinerator lets its carts wait.
    Pause,
    /// Ends a pause.
    Resume,
    /// Gives a crew this many gophers. Added ones repeat the duties of the file in its order;
    /// removed ones, the last, first finish what they have in hand.
    Scale(u32),
    /// Kills one actor of the node, as a fault of this kind does. It is restarted, and what it held
    /// goes back to where it came from.
    Kill,
    /// Closes the sources of the whole run, which ends once everything in flight is completed.
    Drain,
    /// Reads the file of the whole run again, and goes on with it.
    Reload,
}

impl ControlAct {
    /// The act as a word, such as `pause`.
    pub fn name(self) -> &'static str {
        match self {
            ControlAct::Pause => "pause",
            ControlAct::Resume => "resume",
            ControlAct::Scale(_) => "scale",
            ControlAct::Kill => "kill",
            ControlAct::Drain => "drain",
            ControlAct::Reload => "reload",
        }
    }

    /// Name of the event that tells of it, such as `paused`.
    pub(crate) fn event(self) -> &'static str {
        match self {
            ControlAct::Pause => "paused",
            ControlAct::Resume => "resumed",
            ControlAct::Scale(_) => "scaled",
            ControlAct::Kill => "killed",
            ControlAct::Drain => "drain_ordered",
            ControlAct::Reload => "reload_ordered",
        }
    }
}

impl fmt::Display for ControlAct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            ControlAct::Scale(gophers) => write!(f, " to {gophers}"),
            _ => Ok(()),
        }
    }
}
