//! What is kept apart for each thread, so that two cores don't write to the same lines of memory.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static THREADS: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static NUMBER: u64 = THREADS.fetch_add(1, Relaxed);
}

/// This thread's number, from 1; never used again.
pub fn number() -> u64 {
    NUMBER.with(|number| *number)
}

/// Shares no line of a cache with its neighbours (two lines, as processors fetch them in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Apart<T>(pub T);

/// One for each of some threads; threads that follow each other have different ones.
#[derive(Debug, Default)]
pub struct PerThread<T>([Apart<T>; 8]);

impl<T> PerThread<T> {
    pub fn mine(&self) -> &T {
        &self.0[number() as usize % self.0.len()].0
    }

    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|one| &one.0)
    }
}

/// A count that many threads add to and somebody reads once in a while.
#[derive(Debug, Default)]
pub struct Count(PerThread<AtomicU64>);

impl Count {
    pub fn add(&self, count: u64) {
        self.0.mine().fetch_add(count, Relaxed);
    }

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
            threads
                .into_iter()
                .map(|one| one.join().expect("no panic"))
                .collect()
        });
        assert_eq!((seen.len(), count.get()), (20, 60));
    }
}
