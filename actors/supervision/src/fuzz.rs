//! Randomised schedules: ready children are delayed now and then.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use crate::clock::Seed;

/// Maximum number of consecutive delays of a life: prevents starvation, and being mistaken for a
/// livelock.
const MOST: u32 = 12;

/// Delays polls of children at random. In a simulation, where all of them share one thread, each
/// seed gives a different order of events. Some children are hardly ever delayed and some nearly
/// always, so that long delays occur as well (after Burckhardt et al., "A randomized scheduler with
/// probabilistic guarantees of finding bugs", 2010).
#[derive(Debug, Clone)]
pub struct Fuzz(Arc<Mutex<FuzzState>>);

#[derive(Debug)]
struct FuzzState {
    seed: Seed,
    draws: ChaCha8Rng,
    /// Per child: the probability of a delay, in sixteenths, and the number of consecutive delays.
    lives: BTreeMap<Arc<str>, (u32, u32)>,
}

impl Fuzz {
    /// Schedule number `schedule` of `seed`.
    pub fn new(seed: Seed, schedule: u64) -> Self {
        let purpose = format!("schedule {schedule}");
        Self(Arc::new(Mutex::new(FuzzState {
            seed: Seed(seed.0 ^ schedule.rotate_left(32)),
            draws: seed.stream("", &purpose),
            lives: BTreeMap::new(),
        })))
    }

    /// True if the child `name` must wait for another turn although it is ready.
    pub(super) fn puts_off(&self, name: &Arc<str>) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let FuzzState { seed, draws, lives } = &mut *state;
        let (chance, in_a_row) = lives.entry(name.clone()).or_insert_with(|| {
            let of = [0, 1, 4, 8, 14];
            let mut own = seed.stream(name, "put off");
            (of[own.random_range(0..of.len())], 0)
        });
        if *in_a_row < MOST && draws.random_range(0..16) < *chance {
            *in_a_row += 1;
            return true;
        }
        *in_a_row = 0;
        false
    }
}
