//! Positions in a file of lines, for durable piles: the place, and what identifies the file.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use bytes::{BufMut, Bytes, BytesMut};

use super::place::{FINGERPRINT, fingerprint};

/// Identifies a file that is read for durable piles.
pub(super) struct Mark {
    file: File,
    /// Device, inode, and the number of bytes that the digest covers.
    identity: [u64; 3],
    /// Digest of the first bytes.
    digest: String,
}

impl Mark {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let (file, found) = (file.try_clone()?, file.metadata()?);
        let length = FINGERPRINT.min(found.len());
        let digest = fingerprint(&file, length)?;
        Ok(Self { file, identity: [found.dev(), found.ino(), length], digest })
    }

    /// The position of the line `number`, at byte `offset`.
    pub(super) fn position(&self, offset: u64, number: u64) -> Bytes {
        let mut out = BytesMut::with_capacity(40 + self.digest.len());
        for field in [offset, number].iter().chain(&self.identity) {
            out.put_u64(*field);
        }
        out.put_slice(self.digest.as_bytes());
        out.freeze()
    }

    /// Offset and number of the line at a position of an earlier run; `None` if the file was
    /// replaced, truncated or rewritten since.
    pub(super) fn find(&self, position: &[u8]) -> io::Result<Option<(u64, u64)>> {
        let field = |at: usize| {
            let bytes = position.get(8 * at..).and_then(|rest| rest.first_chunk());
            bytes.map(|bytes| u64::from_be_bytes(*bytes)).ok_or(io::ErrorKind::InvalidData)
        };
        let [offset, number, dev, ino, length] =
            [field(0)?, field(1)?, field(2)?, field(3)?, field(4)?];
        let digest = position.get(40..).unwrap_or_default();
        let same = [dev, ino] == self.identity[..2]
            && self.file.metadata()?.len() >= offset.max(length)
            && length <= FINGERPRINT
            && fingerprint(&self.file, length)?.as_bytes() == digest;
        Ok(same.then_some((offset, number)))
    }
}
