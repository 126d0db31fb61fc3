//! A set of ids that uses a bit an id, and a few bytes for each 4,096 that are complete.

use std::collections::BTreeMap;

const CHUNK: u64 = 4096;

#[derive(Debug)]
enum Chunk {
    Some { bits: Box<[u64; (CHUNK / 64) as usize]>, set: u32 },
    Full,
}

/// Sparse: ids may be far apart.
#[derive(Debug, Default)]
pub(crate) struct IdSet(BTreeMap<u64, Chunk>);

impl IdSet {
    pub fn insert(&mut self, id: u64) {
        let empty = || Chunk::Some { bits: Box::new([0; (CHUNK / 64) as usize]), set: 0 };
        let chunk = self.0.entry(id / CHUNK).or_insert_with(empty);
        if let Chunk::Some { bits, set } = chunk {
            let (word, mask) = Self::bit(id);
            *set += u32::from(bits[word] & mask == 0);
            bits[word] |= mask;
            if u64::from(*set) == CHUNK {
                *chunk = Chunk::Full;
            }
        }
    }

    pub fn contains(&self, id: u64) -> bool {
        match self.0.get(&(id / CHUNK)) {
            None => false,
            Some(Chunk::Full) => true,
            Some(Chunk::Some { bits, .. }) => {
                let (word, mask) = Self::bit(id);
                bits[word] & mask != 0
            }
        }
    }

    fn bit(id: u64) -> (usize, u64) {
        let at = id % CHUNK;
        ((at / 64) as usize, 1 << (at % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_set() {
        let mut set = IdSet::default();
        let ids = (0..9_000).step_by(3).chain(4_000..9_000).chain([u64::MAX, 1 << 40]);
        for id in ids.clone() {
            set.insert(id);
        }
        let wanted: std::collections::HashSet<u64> = ids.collect();
        for id in (0..20_000).chain([u64::MAX, u64::MAX - 1, 1 << 40]) {
            assert_eq!(set.contains(id), wanted.contains(&id), "{id}");
        }
        assert!(matches!(set.0[&1], Chunk::Full), "4096..8192 is complete");
    }
}
