//! Random streams that depend only on a seed, a node name and a purpose.

use std::fmt;

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

/// The seed of a run. Each node draws from its own streams, so a restart does not shift the draws
/// of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Seed(pub u64);

impl Seed {
    /// The stream of `node` for `purpose`: identical for equal seed, node and purpose, on every
    /// platform and in every release.
    pub fn stream(self, node: &str, purpose: &str) -> ChaCha8Rng {
        let mut key = [0u8; 32];
        for (lane, bytes) in key.chunks_exact_mut(8).enumerate() {
            bytes.copy_from_slice(&self.lane(lane as u64, node, purpose).to_le_bytes());
        }
        ChaCha8Rng::from_seed(key)
    }

    /// FNV-1a over the lane, seed, node and purpose, then the finaliser of SplitMix64. The hashers
    /// of `std` do not guarantee stable values.
    fn lane(self, lane: u64, node: &str, purpose: &str) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut eat = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        };
        eat(&lane.to_le_bytes());
        eat(&self.0.to_le_bytes());
        // Lengths first, or ("ab", "c") and ("a", "bc") would share a stream.
        eat(&(node.len() as u64).to_le_bytes());
        eat(node.as_bytes());
        eat(&(purpose.len() as u64).to_le_bytes());
        eat(purpose.as_bytes());
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^ (hash >> 31)
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
