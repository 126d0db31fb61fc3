//! `generate`: synthetic books, at minimal cost per book.

use bytes::Bytes;
use gopherworks_pipeline::book::Book;
use gopherworks_pipeline::source::Source;
use gopherworks_supervision::failure::Failure;
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::super::Site;
use crate::config::units::Size;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GenerateOptions {
    /// Number of books (default 1000). Unlimited if the run has a duration.
    #[schemars(range(max = 1_000_000_000_000_000_u64))]
    books: u64,
    /// Size of each body, which is held in memory (default 64 bytes).
    #[schemars(extend("maximum" = 1 << 30))]
    size: Size,
    /// Text that is repeated to fill a body.
    pattern: String,
    /// Gives each book a body of its own instead of the pattern: pseudo-random bytes that depend on
    /// the seed, the node and the book's number. Default: false.
    distinct: bool,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self { books: 1000, size: Size(64), pattern: "gopherworks ".to_owned(), distinct: false }
    }
}

#[derive(Clone)]
enum Content {
    /// The body that all books share.
    Shared(Bytes),
    /// Pseudo-random bytes for each book.
    Distinct { stream: u64, size: usize },
}

pub(super) struct Generate {
    /// Number of the next book; `step` is the distance to the one after it.
    next: u64,
    step: u64,
    // Remaining books; `None` if the source never ends.
    left: Option<u64>,
    content: Content,
}

pub(super) fn make(options: &GenerateOptions, site: &Site) -> Result<Generate, Failure> {
    let size = options.size.0 as usize;
    let content = if options.distinct {
        let node = Sha256::digest(site.node.as_bytes());
        let mut stream = [0; 8];
        stream.copy_from_slice(&node[..8]);
        Content::Distinct { stream: u64::from_le_bytes(stream) ^ mixed(site.seed), size }
    } else if options.pattern.is_empty() && size > 0 {
        return Err(Failure::permanent("an empty pattern fills no body"));
    } else {
        let pattern = options.pattern.as_bytes();
        let mut body = pattern.repeat(size.div_ceil(pattern.len().max(1)));
        body.truncate(size);
        Content::Shared(body.into())
    };
    Ok(Generate { next: 0, step: 1, left: (!site.endless).then_some(options.books), content })
}

/// One step of splitmix64: spreads consecutive numbers over the whole range.
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Content {
    fn of(&self, number: u64) -> Bytes {
        match self {
            Content::Shared(bytes) => bytes.clone(),
            Content::Distinct { stream, size } => {
                let start = mixed(stream ^ mixed(number));
                let mut body = Vec::with_capacity(size + 8);
                let mut word = start;
                while body.len() < *size {
                    body.extend_from_slice(&mixed(word).to_le_bytes());
                    word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
                }
                body.truncate(*size);
                body.into()
            }
        }
    }
}

impl Source for Generate {
    fn next(&mut self, want: usize) -> Result<Option<Vec<Book>>, Failure> {
        let count = (want as u64).min(self.left.unwrap_or(u64::MAX));
        if count == 0 {
            return Ok(None);
        }
        let books =
            (0..count).map(|at| Book::new(self.content.of(self.next + at * self.step))).collect();
        self.next += count * self.step;
        self.left = self.left.map(|left| left - count);
        Ok(Some(books))
    }

    fn split(&mut self, copies: usize) -> Option<Vec<Box<dyn Source>>> {
        let copies = copies as u64;
        let part = |at: u64| -> Box<dyn Source> {
            Box::new(Generate {
                next: self.next + at * self.step,
                step: self.step * copies,
                left: (self.left).map(|left| left.saturating_sub(at).div_ceil(copies)),
                content: self.content.clone(),
            })
        };
        Some((0..copies).map(part).collect())
    }

    fn position(&self) -> Option<Bytes> {
        Some(Bytes::copy_from_slice(&self.next.to_be_bytes()))
    }

    fn resume(&mut self, position: &[u8]) -> Result<bool, Failure> {
        let next = position.try_into().map(u64::from_be_bytes).ok();
        let given = next.and_then(|next| next.checked_sub(self.next));
        let given = given.ok_or_else(|| Failure::permanent("its position can't be read"))?;
        self.next += given;
        self.left = self.left.map(|left| left.saturating_sub(given / self.step));
        Ok(true)
    }

    fn blocks(&self) -> bool {
        false
    }

    fn regains(&self) -> bool {
        true
    }

    fn total(&self) -> Option<u64> {
        self.left
    }
}

#[cfg(test)]
mod tests {
    use gopherworks_pipeline::book::Body;

    use super::super::super::tests::{bytes_of, site, source};
    use super::*;

    #[test]
    fn gives_what_was_asked_for_and_ends() {
        let mut source = source("generate", "books = 10\nsize = '5B'\npattern = 'ab'", &site());
        assert_eq!(source.total(), Some(10));
        assert!(!source.blocks());
        let mut sizes = Vec::new();
        while let Some(books) = source.next(4).unwrap() {
            assert!(books.iter().all(|book| bytes_of(&book.body) == "ababa"));
            sizes.push(books.len());
        }
        assert_eq!(sizes, [4, 4, 2]);
    }

    #[test]
    fn parts_give_what_one_reader_would_deal() {
        let options = "books = 50\ndistinct = true\nsize = '33B'";
        let all = |source: &mut dyn Source| {
            let mut bodies = Vec::new();
            while let Some(books) = source.next(7).unwrap() {
                bodies.extend(books.iter().map(|book| bytes_of(&book.body)));
            }
            bodies
        };
        let whole = all(&mut *source("generate", options, &site()));
        for copies in 2..5 {
            let parts = source("generate", options, &site()).split(copies).unwrap();
            assert_eq!(parts.len(), copies);
            for (at, mut part) in parts.into_iter().enumerate() {
                let dealt: Vec<_> = whole.iter().skip(at).step_by(copies).cloned().collect();
                assert_eq!(all(&mut *part), dealt);
            }
        }
    }

    #[test]
    fn goes_on_where_it_was() {
        let options = "books = 50\ndistinct = true\nsize = '9B'";
        let rest = |source: &mut dyn Source| {
            let mut bodies = Vec::new();
            while let Some(books) = source.next(7).unwrap() {
                bodies.extend(books.iter().map(|book| bytes_of(&book.body)));
            }
            bodies
        };
        for (copies, part) in [(1, 0), (3, 2)] {
            let part = || match copies {
                1 => source("generate", options, &site()),
                _ => source("generate", options, &site()).split(copies).unwrap().remove(part),
            };
            let (mut first, mut later) = (part(), part());
            let begun = first.next(5).unwrap().unwrap();
            assert!(later.resume(&first.position().unwrap()).unwrap());
            assert_eq!(later.total(), first.total());
            assert_eq!(later.position(), first.position());
            assert_eq!(rest(&mut *later), rest(&mut *first));
            assert_eq!(begun.len(), 5);
        }
        assert!(source("generate", options, &site()).resume(b"?").is_err());
    }

    #[test]
    fn books_share_one_body() {
        let mut source = source("generate", "books = 2", &site());
        let books = source.next(2).unwrap().unwrap();
        let pointer = |book: &Book| match &book.body {
            Body::Bytes(bytes) => bytes.as_ptr(),
            Body::File { .. } => panic!("generated bodies are in memory"),
        };
        assert_eq!(pointer(&books[0]), pointer(&books[1]));
    }

    #[test]
    fn does_not_end_in_a_run_of_given_length() {
        let endless = Site { endless: true, ..site() };
        let mut source = source("generate", "books = 1", &endless);
        assert_eq!(source.total(), None);
        assert_eq!(source.next(100).unwrap().unwrap().len(), 100);
    }

    #[test]
    fn distinct_bodies_depend_on_seed_node_and_number_only() {
        let options = "books = 50\ndistinct = true\nsize = '33B'";
        let all = |site: &Site, want: usize| {
            let mut source = source("generate", options, site);
            let mut bodies = Vec::new();
            while let Some(books) = source.next(want).unwrap() {
                bodies.extend(books.iter().map(|book| bytes_of(&book.body)));
            }
            bodies
        };
        let first = all(&site(), 7);
        assert_eq!(first, all(&site(), 50));
        let unlike: std::collections::BTreeSet<_> = first.iter().collect();
        assert_eq!(unlike.len(), 50);
        assert!(first.iter().all(|body| body.len() == 33));
        let seeded = Site { seed: 2, ..site() };
        assert_ne!(first, all(&seeded, 7));
        let renamed = Site { node: "other".to_owned(), ..site() };
        assert_ne!(first, all(&renamed, 7));
    }
}
