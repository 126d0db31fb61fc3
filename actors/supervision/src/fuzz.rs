//! Schedules that chance decides: who is ready is made to wait now and then.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::clock::Seed;

/// How often in a row a life is put off at most: none is starved, and no simulation mistakes waiting for a livelock.
const MOST: u32 = 12;

/// Puts off polls of children, as chance decides: in a simulation, where all share one thread, another order of events for every seed.
/// Some children are hardly ever put off and some nearly always, so that long delays come about as well (after Burckhardt et al., "A
/// randomized scheduler with probabilistic guarantees of finding bugs", 2010).
#[derive(Debug, Clone)]
pub struct Fuzz(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    seed: Seed,
    draws: ChaCha8Rng,
    /// By child: how often it is put off, of 16, and how often in a row it was.
    lives: BTreeMap<Arc<str>, (u32, u32)>,
}

impl Fuzz {
    /// Schedule number `schedule` of `seed`.
    pub fn new(seed: Seed, schedule: u64) -> Self {
        let purpose = format!("schedule {schedule}");
        Self(Arc::new(Mutex::new(State {
            seed: Seed(seed.0 ^ schedule.rotate_left(32)),
            draws: seed.stream("", &purpose),
            lives: BTreeMap::new(),
        })))
    }

    /// True if `name`, which could go on, is to wait for another turn.
    pub(super) fn puts_off(&self, name: &Arc<str>) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let State { seed, draws, lives } = &mut *state;
        let (chance, row) = lives.entry(name.clone()).or_insert_with(|| {
            let of = [0, 1, 4, 8, 14];
            let mut own = seed.stream(name, "put off");
            (of[own.random_range(0..of.len())], 0)
        });
        if *row < MOST && draws.random_range(0..16) < *chance {
            *row += 1;
            return true;
        }
        *row = 0;
        false
    }
}
