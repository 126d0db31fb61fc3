//! Pure: the age of the first book of a pile, without a time stored in any book.
//!
//! Books have increasing positions in their pile. A mark is the next position with the present
//! time; the first mark beyond a book's position is a time by which the book had arrived.

use std::collections::VecDeque;
use std::time::Duration;

use gopherworks_supervision::clock::Time;

/// Maximum number of marks kept. Beyond it every second mark is dropped. From half of it on, marks
/// are as far apart as a 128th of the age of the first book, so that an age is off by little more.
const MOST: usize = 256;

/// Marks of one pile.
#[derive(Debug, Default)]
pub(super) struct Ages {
    /// Times, each with the position that was next then.
    marks: VecDeque<(Time, u64)>,
}

impl Ages {
    /// Marks the `next` position; `first` is that of the first book, if there is one.
    pub(super) fn mark(&mut self, now: Time, (first, next): (Option<u64>, u64)) {
        let Some(first) = first else {
            self.marks.clear();
            return;
        };
        while self.marks.front().is_some_and(|(_, next)| *next <= first) {
            self.marks.pop_front();
        }
        let gap = match self.marks.front() {
            Some((since, _)) if self.marks.len() >= MOST / 2 => (now - *since) / (MOST as u32 / 2),
            _ => Duration::ZERO,
        };
        if self.marks.back().is_none_or(|(at, last)| *last < next && now - *at >= gap) {
            self.marks.push_back((now, next));
        }
        if self.marks.len() > MOST {
            let mut at = 0;
            self.marks.retain(|_| {
                at += 1;
                at % 2 == 1
            });
        }
    }

    /// Minimum age of the first book.
    pub(super) fn oldest(&self, now: Time) -> Option<Duration> {
        self.marks.front().map(|(since, _)| now - *since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_age_is_that_of_the_first_book() {
        let mut ages = Ages::default();
        let at = |seconds: u32| Time::ZERO + SECOND * seconds;
        let age = |ages: &Ages, seconds: u32| ages.oldest(at(seconds)).map(|age| age.as_secs());
        ages.mark(at(0), (None, 0));
        assert_eq!(age(&ages, 0), None);
        ages.mark(at(1), (Some(0), 10));
        ages.mark(at(2), (Some(0), 20));
        ages.mark(at(5), (Some(0), 20));
        assert_eq!(age(&ages, 5), Some(4), "nothing has left");
        ages.mark(at(6), (Some(9), 20));
        assert_eq!(age(&ages, 6), Some(5), "the last of the first ten is there");
        ages.mark(at(7), (Some(10), 30));
        assert_eq!(age(&ages, 7), Some(5), "the second ten came at 2");
        ages.mark(at(8), (None, 30));
        assert_eq!(age(&ages, 8), None);
    }

    #[test]
    fn marks_are_bounded_and_the_first_one_stays() {
        let mut ages = Ages::default();
        for second in 0..10_000 {
            ages.mark(Time::ZERO + SECOND * second, (Some(0), u64::from(second) + 1));
            assert!(ages.marks.len() <= MOST);
        }
        let now = Time::ZERO + SECOND * 10_000;
        assert_eq!(ages.oldest(now), Some(SECOND * 10_000));
        // The book at 5,000 came at second 5,000.
        ages.mark(now, (Some(5_000), 10_001));
        let age = ages.oldest(now).map_or(0, |age| age.as_secs());
        assert!((4_900..=5_000).contains(&age), "{age}");
    }
}
