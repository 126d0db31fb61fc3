//! The work `sha256`: computes the SHA-256 digest of a body, which passes unchanged.

use gopherworks_pipeline::book::{Headers, header};
use gopherworks_supervision::failure::Failure;
use sha2::{Digest, Sha256};

use super::super::closures::NoOptions;
use super::super::{Site, names};
use super::filter::{Filter, Next};

/// Writes the digest to header `sha256`, and the name that the body has at this point of the chain
/// to `sha256.name`.
#[derive(Default)]
pub(super) struct Sha256Filter(Sha256);

pub(super) fn make(_: &NoOptions, _: &Site) -> Result<Sha256Filter, Failure> {
    Ok(Sha256Filter::default())
}

impl Filter for Sha256Filter {
    fn begin(&mut self, headers: &mut Headers) -> Result<(), Failure> {
        self.0.reset();
        match headers.get(header::NAME).cloned() {
            Some(name) => headers.set(header::SHA256_NAME, name),
            None => drop(headers.remove(header::SHA256_NAME)),
        }
        Ok(())
    }

    fn write(&mut self, piece: &[u8], next: &mut Next<'_>) -> Result<(), Failure> {
        self.0.update(piece);
        next.write(piece)
    }

    fn finish(&mut self, headers: &mut Headers, _: &mut Next<'_>) -> Result<(), Failure> {
        headers.set(header::SHA256, names::hex(&self.0.finalize_reset()));
        Ok(())
    }

    fn passes_on(&self) -> bool {
        true
    }
}
