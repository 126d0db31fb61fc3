//! Pure: marks of books, which are stored with them by sources whose order may change.

use bytes::{BufMut, Bytes, BytesMut};

use crate::source::Mark;
use crate::store::Checkpoint;

/// Version of the encoding; other positions have another one.
const VERSION: u8 = 2;

/// The marks of some books, to be added to the position of a source.
pub(super) fn encode(marks: &[Mark]) -> Bytes {
    let mut out = BytesMut::with_capacity(5 + size_of_val(marks));
    out.put_u8(VERSION);
    out.put_u32(marks.len() as u32);
    marks.iter().for_each(|mark| out.put_slice(mark));
    out.freeze()
}

/// All marks of a position; `None` if it is of another kind or damaged.
fn decode(mut position: &[u8]) -> Option<Vec<Mark>> {
    let mut marks = Vec::with_capacity(position.len() / size_of::<Mark>());
    while let Some((&version, rest)) = position.split_first() {
        let (count, rest) = rest.split_first_chunk()?;
        let size = (u32::from_be_bytes(*count) as usize).checked_mul(size_of::<Mark>())?;
        let (some, rest) = rest.split_at_checked(size).filter(|_| version == VERSION)?;
        marks.extend_from_slice(some.as_chunks().0);
        position = rest;
    }
    Some(marks)
}

/// The marks of a source's books in a store, of all shares; `None` if its positions are of another
/// kind.
pub(super) fn stored(name: &str, positions: &[Checkpoint]) -> Option<Vec<Mark>> {
    let own = positions.iter().filter(|stored| *stored.source == *name);
    let marks: Option<Vec<_>> = own.map(|stored| decode(&stored.position)).collect();
    marks.map(|marks| marks.concat())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn marks_are_read_as_they_were_added(parts: Vec<Vec<Mark>>) {
            let whole: Vec<u8> = parts.iter().flat_map(|part| encode(part)).collect();
            prop_assert_eq!(decode(&whole), Some(parts.concat()));
            if let Some(last) = parts.last() {
                let end = whole.len() - encode(last).len();
                for cut in end + 1..whole.len() {
                    prop_assert_eq!(decode(&whole[..cut]), None);
                }
            }
        }
    }
}
