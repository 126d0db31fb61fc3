//! The works `zstd` and `unzstd`: Zstandard compression, with checksums, and decompression.

use gopherworks_pipeline::book::Headers;
use gopherworks_supervision::failure::Failure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zstd::stream::raw::{CParameter, Decoder, Encoder, InBuffer, Operation, OutBuffer};

use super::super::units::Size;
use super::super::{Site, names};
use super::BUFFER;
use super::filter::{Filter, Next};
use super::gunzip::spend;

/// Options of `zstd`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EncoderOptions {
    /// Compression level, from 1 (fastest) to 22 (smallest); default 3.
    level: Level,
}

/// Compression level.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "i64")]
#[schemars(inline, extend("minimum" = FASTEST, "maximum" = SMALLEST))]
struct Level(i32);

const FASTEST: i32 = 1;
const SMALLEST: i32 = 22;

impl Default for Level {
    fn default() -> Self {
        Self(3)
    }
}

impl TryFrom<i64> for Level {
    type Error = String;

    fn try_from(level: i64) -> Result<Self, String> {
        match i32::try_from(level) {
            Ok(level @ FASTEST..=SMALLEST) => Ok(Self(level)),
            _ => Err(format!(
                "{level} is not a level of zstd, which go from {FASTEST} to {SMALLEST}"
            )),
        }
    }
}

/// Options of `unzstd`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DecoderOptions {
    /// Maximum size of the decompressed body; a larger one is an error.
    max_size: Size,
}

impl Default for DecoderOptions {
    fn default() -> Self {
        Self { max_size: Size(16 << 30) }
    }
}

/// Zstandard compressor; its context is reused for every book.
pub struct Zstd {
    encoder: Encoder<'static>,
    out: Vec<u8>,
}

/// Zstandard decompressor for one or more frames; its context is reused for every book.
pub struct Unzstd {
    decoder: Decoder<'static>,
    out: Vec<u8>,
    // True within a frame, and before the first one.
    open: bool,
    left: u64,
    max_size: Size,
}

/// Creates the compressor.
///
/// # Errors
/// If the library rejects the level.
pub fn make_encoder(options: &EncoderOptions, _: &Site) -> Result<Zstd, Failure> {
    let make = || {
        let mut encoder = Encoder::new(options.level.0)?;
        encoder.set_parameter(CParameter::ChecksumFlag(true))?;
        Ok(encoder)
    };
    Ok(Zstd {
        encoder: make().map_err(|error: std::io::Error| refused("zstd", &error))?,
        out: vec![0; BUFFER],
    })
}

/// Creates the decompressor.
///
/// # Errors
/// If the library can't allocate memory.
pub fn make_decoder(options: &DecoderOptions, _: &Site) -> Result<Unzstd, Failure> {
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
