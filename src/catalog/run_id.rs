//! Id of a run, unique across processes.

use std::fmt;
use std::sync::Arc;

use gopherworks_supervision::clock::Seed;
use rand::rngs::SysRng;
use rand::{Rng, TryRng};

/// Crockford's base 32, which leaves out letters that look like digits.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Id of a run, unique across processes: 80 random bits as 16 lower-case letters and digits.
///
/// Book ids begin at 1 in every run. Names that leave the process (files, idempotency keys,
/// environment variables) therefore contain the run id as well; see [`super::names::key_of`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RunId(Arc<str>);

impl RunId {
    /// Creates an id from the operating system's random numbers.
    ///
    /// # Panics
    /// If the operating system provides no random numbers.
    #[expect(clippy::new_without_default, reason = "every call gives another one")]
    pub fn new() -> Self {
        let mut bits = [0; 16];
        SysRng.try_fill_bytes(&mut bits).expect("the operating system gives random numbers");
        Self::of_bits(u128::from_le_bytes(bits))
    }

    /// Derives an id from a seed, so that a simulation can be repeated byte for byte.
    pub fn of_seed(seed: u64) -> Self {
        let mut bits = [0; 16];
        Seed(seed).stream("", "run id").fill_bytes(&mut bits);
        Self::of_bits(u128::from_le_bytes(bits))
    }

    /// The identity of the books of a store, which has this name in all runs.
    pub fn of_store(name: &str) -> Self {
        Self(name.into())
    }

    fn of_bits(bits: u128) -> Self {
        let digit = |at: u32| char::from(DIGITS[(bits >> (5 * at)) as usize & 31]);
        Self((0..16).map(digit).collect::<String>().into())
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn runs_differ_and_simulated_runs_of_one_seed_do_not() {
        let ids: BTreeSet<_> = (0..1000).map(|_| RunId::new().to_string()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.len() == 16));
        assert_eq!(RunId::of_seed(7), RunId::of_seed(7));
        assert_ne!(RunId::of_seed(7), RunId::of_seed(8));
    }
}
