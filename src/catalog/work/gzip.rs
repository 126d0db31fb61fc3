//! The work `gzip`: compresses a body. Equal bodies give equal output, since it contains neither
//! name nor time.

use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use gopherworks_pipeline::book::Headers;
use gopherworks_supervision::failure::Failure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{Site, names};
use super::BUFFER;
use super::filter::{Filter, Next};

/// Options of `gzip`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Compression level: 0 (none), 1 (fastest) to 9 (smallest); default 6.
    level: Level,
}

/// Compression level.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "i64")]
#[schemars(inline, extend("minimum" = 0, "maximum" = SMALLEST))]
struct Level(u32);

const SMALLEST: u32 = 9;

impl Default for Level {
    fn default() -> Self {
        Self(6)
    }
}

impl TryFrom<i64> for Level {
    type Error = String;

    fn try_from(level: i64) -> Result<Self, String> {
        match u32::try_from(level) {
            Ok(level @ 0..=SMALLEST) => Ok(Self(level)),
            _ => Err(format!("{level} is not a level of gzip, which go from 0 to {SMALLEST}")),
        }
    }
}

// Deflate, no flags, no time, no hint, "unknown" operating system: nothing varies between runs.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// Gzip compressor; its tables are reused for every book.
#[derive(Debug)]
pub struct Gzip {
    deflate: Compress,
    crc: Crc,
    out: Vec<u8>,
}

/// Creates the filter.
///
/// # Errors
/// Never.
pub fn make(options: &Options, _: &Site) -> Result<Gzip, Failure> {
    Ok(Gzip {
        deflate: Compress::new(Compression::new(options.level.0), false),
        crc: Crc::new(),
        out: Vec::with_capacity(BUFFER),
    })
}

impl Gzip {
    fn make_room(&mut self, room: usize, next: &mut Next<'_>) -> Result<(), Failure> {
        if self.out.capacity() - self.out.len() < room {
            next.write(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }

    /// Makes one compression call; returns how many bytes of `piece` were consumed.
    fn step(&mut self, piece: &[u8], flush: FlushCompress) -> Result<(usize, Status), Failure> {
        let before = self.deflate.total_in();
        let status = self
            .deflate
            .compress_vec(piece, &mut self.out, flush)
            .map_err(|error| Failure::permanent(format!("gzip: {error}")))?;
        Ok(((self.deflate.total_in() - before) as usize, status))
    }
}

impl Filter for Gzip {
    fn begin(&mut self, headers: &mut Headers) -> Result<(), Failure> {
        self.deflate.reset();
        self.crc.reset();
        self.out.clear();
        self.out.extend_from_slice(&HEADER);
        names::append_suffix(headers, ".gz");
        Ok(())
    }

    fn write(&mut self, mut piece: &[u8], next: &mut Next<'_>) -> Result<(), Failure> {
        self.crc.update(piece);
        while !piece.is_empty() {
            self.make_room(1, next)?;
            let (used, _) = self.step(piece, FlushCompress::None)?;
            piece = &piece[used..];
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Headers, next: &mut Next<'_>) -> Result<(), Failure> {
        loop {
            self.make_room(1, next)?;
            if let (_, Status::StreamEnd) = self.step(&[], FlushCompress::Finish)? {
                break;
            }
        }
        self.make_room(8, next)?;
        self.out.extend_from_slice(&self.crc.sum().to_le_bytes());
        self.out.extend_from_slice(&self.crc.amount().to_le_bytes());
        next.write(&self.out)
    }
}
