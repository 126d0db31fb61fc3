//! The work `gzip`: compresses a body. Equal bodies give equal output, since it contains neither
//! name nor time.

use flate2::{Compress, Compression, FlushCompress, Status};
use gopherworks_pipeline::book::Headers;
use gopherworks_supervision::failure::Failure;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::{Site, names};
use super::BUFFER;
use super::filter::{Filter, Next};
use crate::config::units::number;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GzipOptions {
    /// Compression level: 0 (none), 1 (fastest) to 9 (smallest); default 6.
    #[serde(default = "number::<6>")]
    #[schemars(range(max = 9))]
    level: u32,
}

/// Gzip compressor; its tables are reused for every book.
pub(super) struct Gzip {
    deflate: Compress,
    out: Vec<u8>,
}

pub(super) fn make(options: &GzipOptions, _: &Site) -> Result<Gzip, Failure> {
    Ok(Gzip {
        deflate: Compress::new_gzip(Compression::new(options.level), 15),
        out: Vec::with_capacity(BUFFER),
    })
}

impl Gzip {
    /// Makes one compression call; returns how many bytes of `piece` were consumed.
    fn step(
        &mut self,
        piece: &[u8],
        flush: FlushCompress,
        next: &mut Next<'_>,
    ) -> Result<(usize, Status), Failure> {
        if self.out.len() == self.out.capacity() {
            next.write(&self.out)?;
            self.out.clear();
        }
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
        self.out.clear();
        names::append_suffix(headers, ".gz");
        Ok(())
    }

    fn write(&mut self, mut piece: &[u8], next: &mut Next<'_>) -> Result<(), Failure> {
        while !piece.is_empty() {
            let (used, _) = self.step(piece, FlushCompress::None, next)?;
            piece = &piece[used..];
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Headers, next: &mut Next<'_>) -> Result<(), Failure> {
        while self.step(&[], FlushCompress::Finish, next)?.1 != Status::StreamEnd {}
        next.write(&self.out)
    }
}
