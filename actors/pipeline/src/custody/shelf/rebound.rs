//! Other bounds for a shelf in use.

use super::{Bound, Shelf};

impl Shelf {
    /// Changes the bound, and the attempts (>= 1) after which a book becomes a dead letter.
    pub fn rebound(&mut self, bound: Bound, max_attempts: u32) {
        self.bound = bound;
        self.max_attempts = max_attempts.max(1);
    }
}
