//! The work `gunzip`: decompresses a body of one or more gzip members.

use flate2::{Crc, Decompress, FlushDecompress, Status};
use gopherworks_pipeline::book::Headers;
use gopherworks_supervision::failure::Failure;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::units::Size;
use super::super::{Site, names};
use super::BUFFER;
use super::filter::{Filter, Next};

/// Options of `gunzip`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Maximum size of the decompressed body; a larger one is an error.
    max_size: Size,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_size: Size(16 << 30) }
    }
}

/// Position of the next byte in a gzip stream. Header checksums are skipped, not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Fixed(usize),
    ExtraLow,
    ExtraHigh(u8),
    Extra(u16),
    Name,
    Comment,
    Check(u8),
    Deflate,
    Trailer(usize),
    /// After a complete member; another may follow.
    Between,
    /// In the zero padding after the last member, as found on tapes.
    Padding,
}

/// Gzip decompressor; its window is reused for every book.
#[derive(Debug)]
pub struct Gunzip {
    inflate: Decompress,
    crc: Crc,
    out: Vec<u8>,
    at: At,
    flags: u8,
    trailer: [u8; 8],
    left: u64,
    max_size: Size,
}

/// Creates the filter.
///
/// # Errors
/// Never.
pub fn make(options: &Options, _: &Site) -> Result<Gunzip, Failure> {
    Ok(Gunzip {
        inflate: Decompress::new(false),
        crc: Crc::new(),
        out: Vec::with_capacity(BUFFER),
        at: At::Fixed(0),
        flags: 0,
        trailer: [0; 8],
        left: 0,
        max_size: options.max_size,
    })
}

fn corrupt(what: &str) -> Failure {
    Failure::permanent(format!("gunzip: {what}"))
}

/// Deducts `length` decompressed bytes from `left`; fails if the limit is exceeded.
pub(super) fn spend(left: &mut u64, length: usize, limit: Size, who: &str) -> Result<(), Failure> {
    match left.checked_sub(length as u64) {
        Some(rest) => {
            *left = rest;
            Ok(())
        }
        None => Err(Failure::permanent(format!("{who}: expands to more than {limit} (max_size)"))),
    }
}

impl Gunzip {
    /// Returns the first optional header part, from number `part` on, that the flags announce.
    fn header_part(&mut self, part: u8) -> At {
        let parts =
            [(0x04, At::ExtraLow), (0x08, At::Name), (0x10, At::Comment), (0x02, At::Check(2))];
        let announced =
            parts.iter().skip(usize::from(part)).find(|(flag, _)| self.flags & flag != 0);
        match announced {
            Some((_, at)) => *at,
            None => {
                self.inflate.reset(false);
                self.crc.reset();
                At::Deflate
            }
        }
    }

    /// Processes one byte outside the compressed data.
    fn frame_byte(&mut self, byte: u8) -> Result<At, Failure> {
        Ok(match self.at {
            At::Fixed(at) => {
                match (at, byte) {
                    (0, 0x1f) | (1, 0x8b) | (2, 8) | (4.., _) => {}
                    (3, flags) if flags & 0xe0 == 0 => self.flags = flags,
                    (3, _) => return Err(corrupt("header with unknown flags")),
                    _ => return Err(corrupt("not in gzip format")),
                }
                if at < 9 { At::Fixed(at + 1) } else { self.header_part(0) }
            }
            At::ExtraLow => At::ExtraHigh(byte),
            At::ExtraHigh(low) => match u16::from_le_bytes([low, byte]) {
                0 => self.header_part(1),
                length => At::Extra(length),
            },
            At::Extra(1) => self.header_part(1),
            At::Extra(length) => At::Extra(length - 1),
            At::Name if byte == 0 => self.header_part(2),
            At::Comment if byte == 0 => self.header_part(3),
            At::Check(1) => self.header_part(4),
            At::Check(left) => At::Check(left - 1),
            At::Trailer(at) => {
                self.trailer[at] = byte;
                if at < 7 { At::Trailer(at + 1) } else { self.member_end()? }
            }
            At::Between if byte == 0x1f => At::Fixed(1),
            At::Between | At::Padding if byte == 0 => At::Padding,
            At::Between | At::Padding => return Err(corrupt("garbage after the end")),
            unchanged @ (At::Name | At::Comment | At::Deflate) => unchanged,
        })
    }

    fn member_end(&self) -> Result<At, Failure> {
        let mut expected = [0; 8];
        expected[..4].copy_from_slice(&self.crc.sum().to_le_bytes());
        expected[4..].copy_from_slice(&self.crc.amount().to_le_bytes());
        if self.trailer == expected {
            Ok(At::Between)
        } else {
            Err(corrupt("checksum or length does not match"))
        }
    }

    /// Decompresses `piece` until it or the member ends; returns how many bytes were consumed.
    fn expand(&mut self, piece: &[u8], next: &mut Next<'_>) -> Result<usize, Failure> {
        let start = self.inflate.total_in();
        loop {
            let used = (self.inflate.total_in() - start) as usize;
            self.out.clear();
            let status = self
                .inflate
                .decompress_vec(&piece[used..], &mut self.out, FlushDecompress::None)
                .map_err(|error| corrupt(&error.to_string()))?;
            let used = (self.inflate.total_in() - start) as usize;
            spend(&mut self.left, self.out.len(), self.max_size, "gunzip")?;
            self.crc.update(&self.out);
            next.write(&self.out)?;
            if status == Status::StreamEnd {
                self.at = At::Trailer(0);
                return Ok(used);
            }
            // A full buffer means that more output may follow without further input.
            if used == piece.len() && self.out.len() < self.out.capacity() {
                return Ok(used);
            }
        }
    }
}

impl Filter for Gunzip {
    fn begin(&mut self, headers: &mut Headers) -> Result<(), Failure> {
        self.at = At::Fixed(0);
        self.left = self.max_size.0;
        names::strip_suffix(headers, ".gz");
        Ok(())
    }

    fn write(&mut self, mut piece: &[u8], next: &mut Next<'_>) -> Result<(), Failure> {
        while let Some((&first, rest)) = piece.split_first() {
            if self.at == At::Deflate {
                let used = self.expand(piece, next)?;
                piece = &piece[used..];
            } else {
                self.at = self.frame_byte(first)?;
                piece = rest;
            }
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Headers, _: &mut Next<'_>) -> Result<(), Failure> {
        match self.at {
            At::Between | At::Padding => Ok(()),
            _ => Err(corrupt("ends too early")),
        }
    }
}
