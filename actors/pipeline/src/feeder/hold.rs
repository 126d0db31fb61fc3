//! The pause of a source by an operator.

use std::sync::atomic::Ordering;

use super::FeederCore;

impl FeederCore {
    /// Reads no further books until [`FeederCore::resume`]; those that are read or being read still
    /// go to their piles. False if it is held already.
    pub fn hold(&self) -> bool {
        !self.held.swap(true, Ordering::AcqRel)
    }

    /// Ends the pause that [`FeederCore::hold`] began; false if there is none.
    pub fn resume(&self) -> bool {
        let ends = self.held.swap(false, Ordering::AcqRel);
        if ends {
            self.ring();
            self.ask();
        }
        ends
    }

    /// True while an operator pauses it.
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }
}
