//! The work `gunzip`: decompresses a body of one or more gzip members.

use flate2::{Decompress, FlushDecompress, Status};
use gopherworks_pipeline::book::Headers;
use gopherworks_supervision::failure::Failure;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::{Site, names};
use super::BUFFER;
use super::filter::{Filter, Next, spend};
use crate::config::units::{Size, size};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GunzipOptions {
    /// Maximum size of the decompressed body; a larger one is an error.
    #[serde(default = "size::<{ 16 << 30 }>")]
    max_size: Size,
}

/// Position of the next byte in a gzip stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    InMember,
    /// After a complete member; another may follow.
    BetweenMembers,
    /// In the zero padding after the last member, as found on tapes.
    InPadding,
}

pub(super) struct Gunzip {
    inflate: Decompress,
    out: Vec<u8>,
    position: Position,
    left: u64,
    max_size: Size,
}

pub(super) fn make(options: &GunzipOptions, _: &Site) -> Result<Gunzip, Failure> {
    Ok(Gunzip {
        inflate: Decompress::new_gzip(15),
        out: Vec::with_capacity(BUFFER),
        position: Position::InMember,
        left: 0,
        max_size: options.max_size,
    })
}

fn corrupt(what: &str) -> Failure {
    Failure::permanent(format!("gunzip: {what}"))
}

impl Gunzip {
    /// Decompresses `piece` until it or the member ends; returns how many bytes were consumed.
    fn expand(&mut self, piece: &[u8], next: &mut Next<'_>) -> Result<usize, Failure> {
        let start = self.inflate.total_in();
        loop {
            let used = (self.inflate.total_in() - start) as usize;
            self.out.clear();
            let status = self
                .inflate
                .decompress_vec(&piece[used..], &mut self.out, FlushDecompress::None)
                .map_err(|error| corrupt(&format!("not valid gzip: {error}")))?;
            let used = (self.inflate.total_in() - start) as usize;
            spend(&mut self.left, self.out.len(), self.max_size, "gunzip")?;
            next.write(&self.out)?;
            if status == Status::StreamEnd {
                self.position = Position::BetweenMembers;
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
        self.inflate.reset(true);
        self.position = Position::InMember;
        self.left = self.max_size.0;
        names::strip_suffix(headers, ".gz");
        Ok(())
    }

    fn write(&mut self, mut piece: &[u8], next: &mut Next<'_>) -> Result<(), Failure> {
        while let Some((&first, rest)) = piece.split_first() {
            match (self.position, first) {
                (Position::InMember, _) => {
                    let used = self.expand(piece, next)?;
                    piece = &piece[used..];
                }
                (Position::BetweenMembers, 0x1f) => {
                    self.inflate.reset(true);
                    self.position = Position::InMember;
                }
                (Position::BetweenMembers | Position::InPadding, 0) => {
                    self.position = Position::InPadding;
                    piece = rest;
                }
                _ => return Err(corrupt("garbage after the end")),
            }
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Headers, _: &mut Next<'_>) -> Result<(), Failure> {
        match self.position {
            Position::BetweenMembers | Position::InPadding => Ok(()),
            Position::InMember => Err(corrupt("ends too early")),
        }
    }
}
