//! Per-thread slots and counters, so that threads do not contend for the same cache lines.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub use crossbeam_utils::CachePadded;

static THREADS: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static NUMBER: u64 = THREADS.fetch_add(1, Relaxed);
}

/// The number of this thread in the process, from 1; never reused.
#[inline]
pub fn number() -> u64 {
    NUMBER.with(|number| *number)
}

/// Eight slots, assigned to threads by thread number modulo 8; threads started in sequence use
/// different slots.
#[derive(Debug, Default)]
pub struct PerThread<T>([CachePadded<T>; 8]);

impl<T> PerThread<T> {
    /// The value of the calling thread, which it may share with some others.
    pub fn mine(&self) -> &T {
        &self.0[number() as usize % self.0.len()]
    }

    /// The values of all threads.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|one| &**one)
    }
}

/// A counter for frequent increments from many threads and rare reads.
#[derive(Debug, Default)]
pub struct Count(PerThread<AtomicU64>);

impl Count {
    /// Adds to the value of the calling thread.
    #[inline]
    pub fn add(&self, count: u64) {
        self.0.mine().fetch_add(count, Relaxed);
    }

    /// The sum over all threads.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.all().map(|one| one.load(Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn threads_have_numbers_of_their_own_and_counts_are_sums() {
        let count = Count::default();
        let seen: HashSet<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..20)
                .map(|_| {
                    scope.spawn(|| {
                        count.add(3);
                        number()
                    })
                })
                .collect();
            threads.into_iter().map(|one| one.join().expect("no panic")).collect()
        });
        assert_eq!((seen.len(), count.get()), (20, 60));
    }
}
