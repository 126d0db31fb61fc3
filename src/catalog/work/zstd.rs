//! The works `zstd` and `unzstd`: Zstandard compression, with checksums, and decompression.

use gopherworks_pipeline::book::Headers;
use gopherworks_supervision::failure::Failure;
use schemars::JsonSchema;
use serde::Deserialize;
use zstd::stream::raw::{CParameter, Decoder, Encoder, InBuffer, Operation, OutBuffer};

use super::super::{Site, names};
use super::BUFFER;
use super::filter::{Filter, Next, spend};
use crate::config::units::{Size, number, size};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ZstdOptions {
    /// Compression level, from 1 (fastest) to 22 (smallest); default 3.
    #[serde(default = "number::<3>")]
    #[schemars(range(min = 1, max = 22))]
    level: u32,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UnzstdOptions {
    /// Maximum size of the decompressed body; a larger one is an error.
    #[serde(default = "size::<{ 16 << 30 }>")]
    max_size: Size,
}

/// Zstandard compressor; its context is reused for every book.
pub(super) struct Zstd {
    encoder: Encoder<'static>,
    out: Vec<u8>,
}

/// Zstandard decompressor for one or more frames; its context is reused for every book.
pub(super) struct Unzstd {
    decoder: Decoder<'static>,
    out: Vec<u8>,
    // True within a frame, and before the first one.
    open: bool,
    left: u64,
    max_size: Size,
}

pub(super) fn make_encoder(options: &ZstdOptions, _: &Site) -> Result<Zstd, Failure> {
    let make = || {
        let mut encoder = Encoder::new(options.level.cast_signed())?;
        encoder.set_parameter(CParameter::ChecksumFlag(true))?;
        Ok(encoder)
    };
    Ok(Zstd {
        encoder: make().map_err(|error: std::io::Error| refused("zstd", &error))?,
        out: vec![0; BUFFER],
    })
}

pub(super) fn make_decoder(options: &UnzstdOptions, _: &Site) -> Result<Unzstd, Failure> {
    Ok(Unzstd {
        decoder: Decoder::new().map_err(|error| refused("unzstd", &error))?,
        out: vec![0; BUFFER],
        open: true,
        left: 0,
        max_size: options.max_size,
    })
}

fn refused(who: &str, error: &std::io::Error) -> Failure {
    Failure::permanent(format!("{who}: {error}"))
}

impl Filter for Zstd {
    fn begin(&mut self, headers: &mut Headers) -> Result<(), Failure> {
        names::append_suffix(headers, ".zst");
        self.encoder.reinit().map_err(|error| refused("zstd", &error))
    }

    fn write(&mut self, piece: &[u8], next: &mut Next<'_>) -> Result<(), Failure> {
        let mut input = InBuffer::around(piece);
        while input.pos() < piece.len() {
            let mut output = OutBuffer::around(&mut self.out[..]);
            self.encoder.run(&mut input, &mut output).map_err(|error| refused("zstd", &error))?;
            next.write(output.as_slice())?;
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Headers, next: &mut Next<'_>) -> Result<(), Failure> {
        loop {
            let mut output = OutBuffer::around(&mut self.out[..]);
            let left =
                self.encoder.finish(&mut output, true).map_err(|error| refused("zstd", &error))?;
            next.write(output.as_slice())?;
            if left == 0 {
                return Ok(());
            }
        }
    }
}

impl Filter for Unzstd {
    fn begin(&mut self, headers: &mut Headers) -> Result<(), Failure> {
        names::strip_suffix(headers, ".zst");
        self.open = true;
        self.left = self.max_size.0;
        self.decoder.reinit().map_err(|error| refused("unzstd", &error))
    }

    fn write(&mut self, piece: &[u8], next: &mut Next<'_>) -> Result<(), Failure> {
        let mut input = InBuffer::around(piece);
        loop {
            let mut output = OutBuffer::around(&mut self.out[..]);
            let hint = self
                .decoder
                .run(&mut input, &mut output)
                .map_err(|error| refused("unzstd", &error))?;
            self.open = hint != 0;
            let expanded = output.as_slice();
            let full = expanded.len() == BUFFER;
            spend(&mut self.left, expanded.len(), self.max_size, "unzstd")?;
            next.write(expanded)?;
            // A full buffer within a frame means that more output may follow without further input.
            if input.pos() == piece.len() && !(full && self.open) {
                return Ok(());
            }
        }
    }

    fn finish(&mut self, _: &mut Headers, _: &mut Next<'_>) -> Result<(), Failure> {
        if self.open {
            return Err(Failure::permanent("unzstd: ends too early"));
        }
        Ok(())
    }
}
