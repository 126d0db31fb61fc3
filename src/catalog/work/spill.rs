//! Collects a new body: in memory up to a limit, beyond it in a temporary file.

use std::io::{self, Write};
use std::path::PathBuf;

use bytes::Bytes;
use gopherworks_pipeline::book::{Body, BodyFile};
use gopherworks_supervision::failure::Failure;
use tempfile::NamedTempFile;

use super::super::Site;
use super::BUFFER;
use super::scratch::{self, Scratch};

/// Collects the pieces of one body at a time.
pub(super) struct Spill {
    // The whole body, or the part that is not yet written to the file.
    memory: Vec<u8>,
    file: Option<NamedTempFile>,
    in_file: u64,
    limit: u64,
    below: PathBuf,
    // Set once a body was spilled.
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

    /// Returns the collected body and starts a new one.
    pub(super) fn take(&mut self) -> Result<Body, Failure> {
        let body = self.body().map_err(|error| self.refused(&error));
        self.clear();
        body
    }

    /// Discards the collected bytes and deletes the file.
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
        // Created with mode 0600.
        let create = |scratch: &Scratch| {
            tempfile::Builder::new().prefix("body-").tempfile_in(scratch.path())
        };
        if let Some(scratch) = &self.scratch {
            match create(scratch) {
                // A cleanup tool has removed the folder: create it again.
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
            // Copying a small body keeps the buffer for the next book; a large buffer is handed
            // over.
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
                let path = file.into_temp_path().keep().map_err(|refused| refused.error)?;
                Ok(Body::file(BodyFile::temporary(path), size))
            }
            None => Ok(Body::default()),
        }
    }

    /// A disk error is transient: space may become free, and the book is not at fault.
    fn refused(&self, error: &io::Error) -> Failure {
        Failure::transient(format!("spilling to {}: {error}", self.below.display()))
    }
}
