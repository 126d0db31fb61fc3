//! Pure: positions of sources, which are stored with their books.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

use crate::book::Book;

/// Version of the encoding.
const VERSION: u8 = 1;

/// Position of one share of a source: the books of the source that go to one copy of a pile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    /// Number of shares, and whether each has a reader of its own.
    pub(super) shares: u32,
    pub(super) split: bool,
    /// Number of books that the reader had given before `anchor`.
    pub(super) index: u64,
    /// Where the reader went on from there.
    pub(super) anchor: Bytes,
    /// Number of books of the share that are stored, from the beginning of the source.
    pub(super) taken: u64,
}

impl Position {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(22 + self.anchor.len());
        out.put_u8(VERSION);
        out.put_u32(self.shares);
        out.put_u8(self.split.into());
        out.put_u64(self.index);
        out.put_u64(self.taken);
        out.put_slice(&self.anchor);
        out.freeze()
    }

    /// `None` if it is of another version or damaged.
    pub(super) fn decode(bytes: &Bytes) -> Option<Self> {
        let number = |at: usize| Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        Some(Self {
            shares: u32::from_be_bytes(*bytes.get(1..)?.first_chunk()?),
            split: *bytes.get(5)? != 0,
            index: number(6)?,
            taken: number(14)?,
            anchor: (*bytes.first()? == VERSION).then(|| bytes.slice(22..))?,
        })
    }

    /// Number of books of `share` among the first `index` of the reader.
    pub(super) fn before(&self, share: u32, index: u64) -> u64 {
        match self.split {
            true => index,
            false => (index + u64::from(self.shares - 1 - share)) / u64::from(self.shares),
        }
    }
}

/// Books of a share between the reader and its pile.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Books that the reader will give again although they are stored.
    skip: u64,
    taken: u64,
    /// Runs that are not stored whole: books left, books of the reader before the run, and its
    /// anchor.
    runs: VecDeque<(usize, u64, Bytes)>,
}

impl Progress {
    /// Progress of a share of which `taken` books are stored, where the reader begins after
    /// `before` of them.
    pub(super) fn new(taken: u64, before: u64) -> Self {
        Self { skip: taken.saturating_sub(before), taken, runs: VecDeque::new() }
    }

    /// Removes books that are stored already.
    pub(super) fn skip(&mut self, books: &mut Vec<Book>) {
        let count = self.skip.min(books.len() as u64);
        self.skip -= count;
        books.drain(..count as usize);
    }

    /// Adds a run of `books` for this share, read after `index` books of the reader, at `anchor`.
    pub(super) fn add(&mut self, books: usize, index: u64, anchor: Bytes) {
        if books > 0 {
            self.runs.push_back((books, index, anchor));
        }
    }

    /// Index, anchor and taken books after the next `books`, which are of one run.
    pub(super) fn after(&self, books: usize) -> Option<(u64, Bytes, u64)> {
        let (_, index, anchor) = self.runs.front()?;
        Some((*index, anchor.clone(), self.taken + books as u64))
    }

    /// The next `books` are on their way to the store.
    pub(super) fn take(&mut self, books: usize) {
        self.taken += books as u64;
        if let Some((left, ..)) = self.runs.front_mut() {
            *left = left.saturating_sub(books);
            if *left == 0 {
                self.runs.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None, ..ProptestConfig::default()
        })]

        #[test]
        fn positions_are_read_as_they_were_written(
            shares in 1..9u32, split: bool, index: u64, taken: u64, anchor: Vec<u8>,
        ) {
            let position = Position { shares, split, index, taken, anchor: anchor.into() };
            prop_assert_eq!(Position::decode(&position.encode()), Some(position.clone()));
            for length in 0..22 {
                prop_assert_eq!(Position::decode(&position.encode().slice(..length)), None);
            }
        }

        /// However often a reader of equal runs is killed, and whatever was stored of each share by
        /// then, each share gets each of its books once.
        #[test]
        fn each_share_goes_on_where_it_was(
            shares in 1..4u32,
            run in 1..9usize,
            lives in prop::collection::vec(prop::collection::vec(0..30usize, 4), 1..6),
        ) {
            let mut stored: Vec<Vec<u64>> = vec![Vec::new(); shares as usize];
            let mut positions: Vec<Option<Position>> = vec![None; shares as usize];
            for takes in lives {
                let all: Option<Vec<&Position>> = positions.iter().map(Option::as_ref).collect();
                let index = all.and_then(|all| all.iter().map(|at| at.index).min()).unwrap_or(0);
                let mut progress: Vec<Progress> = (0..shares).map(|share| {
                    positions[share as usize].as_ref().map_or_else(Progress::default, |at| {
                        Progress::new(at.taken, at.before(share, index))
                    })
                }).collect();
                let mut boxes: Vec<Vec<u64>> = vec![Vec::new(); shares as usize];
                for at in 0..12 {
                    let first = index + (at * run) as u64;
                    for share in 0..shares {
                        let own = (first..first + run as u64)
                            .filter(|book| book % u64::from(shares) == u64::from(share));
                        let mut books: Vec<Book> = own.clone().map(|id| Book {
                            id: crate::book::BookId(id), ..Book::default()
                        }).collect();
                        let progress = &mut progress[share as usize];
                        progress.skip(&mut books);
                        let anchor = first.to_be_bytes().to_vec().into();
                        progress.add(books.len(), first, anchor);
                        boxes[share as usize].extend(books.iter().map(|book| book.id.0));
                    }
                }
                for share in 0..shares as usize {
                    let progress = &mut progress[share];
                    for _ in 0..takes[share] {
                        let Some((index, anchor, taken)) = progress.after(1) else {
                            break;
                        };
                        progress.take(1);
                        stored[share].push(boxes[share].remove(0));
                        prop_assert_eq!(&anchor[..], &index.to_be_bytes());
                        let split = false;
                        positions[share] = Some(Position { shares, split, index, anchor, taken });
                    }
                }
            }
            for (share, stored) in stored.iter().enumerate() {
                let wanted = (share as u64..).step_by(shares as usize).take(stored.len());
                prop_assert_eq!(stored, &wanted.collect::<Vec<_>>());
            }
        }
    }
}
