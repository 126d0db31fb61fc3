//! A body in the making: in memory while it is small, in a temporary file beyond.

use std::io::{self, Write};
use std::path::PathBuf;

use bytes::Bytes;
use gopherworks_actors::book::{Body, BodyFile};
use gopherworks_actors::failure::Failure;
use tempfile::NamedTempFile;

use super::super::Site;
use super::BUFFER;
use super::scratch::{self, Scratch};

/// Collects the pieces of one body after another.
pub(super) struct Spill {
    // The whole body, or what was not yet written to the file.
    memory: Vec<u8>,
    file: Option<NamedTempFile>,
    in_file: u64,
    limit: u64,
    below: PathBuf,
    // From the first body that was spilled on.
    scratch: Option<Scratch>,
}

impl Spill {
    pub(super) fn new(site: &Site) -> Self {
        scratch::tidy(&site.scratch);
        Self {
            memory: Vec::new(),
            file: None,
            in_file: 0,
            limit: site.spill_above,
            below: site.scratch.clone(),
            scratch: None,
        }
    }

    pub(super) fn write(&mut self, piece: &[u8]) -> Result<(), Failure> {
        self.collect(piece).map_err(|error| self.refused(&error))
    }

    /// The body, and room for the next one.
    pub(super) fn take(&mut self) -> Result<Body, Failure> {
        let body = self.body().map_err(|error| self.refused(&error));
        self.clear();
        body
    }

    /// Forgets what was collected and deletes its file.
    pub(super) fn clear(&mut self) {
        self.memory.clear();
        self.file = None;
        self.in_file = 0;
    }

    fn collect(&mut self, piece: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            if (self.memory.len() + piece.len()) as u64 <= self.limit {
                self.memory.extend_from_slice(piece);
                return Ok(());
            }
            self.file = Some(self.create()?);
        }
        if self.memory.len() + piece.len() > BUFFER {
            self.flush()?;
        }
        if piece.len() >= BUFFER {
            self.append(piece)
        } else {
            self.memory.extend_from_slice(piece);
            Ok(())
        }
    }

    fn create(&mut self) -> io::Result<NamedTempFile> {
        // Mode 0600.
        let create = |scratch: &Scratch| {
            tempfile::Builder::new()
                .prefix("body-")
                .tempfile_in(scratch.path())
        };
        if let Some(scratch) = &self.scratch {
            match create(scratch) {
                // A program that tidies up has removed the folder.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => return other,
            }
        }
        create(self.scratch.insert(Scratch::below(&self.below)?))
    }

    fn append(&mut self, piece: &[u8]) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.as_file_mut().write_all(piece)?;
            self.in_file += piece.len() as u64;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let memory = std::mem::take(&mut self.memory);
        let written = self.append(&memory);
        self.memory = memory;
        self.memory.clear();
        written
    }

    fn body(&mut self) -> io::Result<Body> {
        if self.file.is_none() {
            // A copy of exact size keeps the collecting buffer for the next book; a large one is handed over instead.
            return Ok(Body::Bytes(if self.memory.len() <= BUFFER {
                Bytes::copy_from_slice(&self.memory)
            } else {
                std::mem::take(&mut self.memory).into()
            }));
        }
        self.flush()?;
        let size = self.in_file;
        match self.file.take() {
            Some(file) => {
                let path = file
                    .into_temp_path()
                    .keep()
                    .map_err(|refused| refused.error)?;
                Ok(Body::file(BodyFile::temporary(path), size))
            }
            None => Ok(Body::default()),
        }
    }

    /// The disk says no: it may have room later, so this is never the book's own fault.
    fn refused(&self, error: &io::Error) -> Failure {
        Failure::transient(format!("spilling to {}: {error}", self.below.display()))
    }
}
