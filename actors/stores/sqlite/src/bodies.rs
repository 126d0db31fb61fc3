//! Large bodies: files in a folder beside the database.
//!
//! Each file belongs to one stored book, so that it needs no reference count. It is synced before
//! its row, and deleted after its row, and after the last book in memory that reads it. Files
//! without a row are left by a crash, and removed at the next start.

use std::collections::HashSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gopherworks_pipeline::book::{Body, BodyFile};
use gopherworks_pipeline::store::StoreError;

use crate::encode::StoredBody;
use crate::error;

/// Larger bodies, in bytes, are files.
pub(crate) const LARGEST_INLINE: u64 = 256 * 1024;

#[derive(Debug)]
pub(crate) struct Bodies {
    folder: PathBuf,
    epoch: u64,
    written: u64,
    /// Files whose rows are deleted, and that may still be read.
    condemned: Vec<Arc<BodyFile>>,
}

/// A body that was made ready for its row.
pub(crate) struct Staged {
    pub body: StoredBody,
    pub size: u64,
    /// The file of a large one.
    pub file: Option<Arc<BodyFile>>,
}

impl Bodies {
    pub fn new(folder: PathBuf, epoch: u64) -> Self {
        Self { folder, epoch, written: 0, condemned: Vec::new() }
    }

    /// Copies a body: into memory, or to a synced file if it is large.
    ///
    /// # Errors
    /// `Full`; `Other` if the body can't be read.
    pub fn stage(&mut self, body: &Body) -> Result<Staged, StoreError> {
        if let Body::Bytes(bytes) = body
            && bytes.len() as u64 <= LARGEST_INLINE
        {
            let size = bytes.len() as u64;
            return Ok(Staged { body: StoredBody::Inline(bytes.clone()), size, file: None });
        }
        let unreadable = |error: io::Error| StoreError::Other(format!("a body: {error}").into());
        let mut reader = body.open().map_err(unreadable)?;
        let mut start = Vec::new();
        (&mut reader).take(LARGEST_INLINE + 1).read_to_end(&mut start).map_err(unreadable)?;
        if start.len() as u64 <= LARGEST_INLINE {
            let size = start.len() as u64;
            return Ok(Staged { body: StoredBody::Inline(start.into()), size, file: None });
        }
        self.written += 1;
        let name = format!("{:x}-{:x}", self.epoch, self.written);
        let path = self.folder.join(&name);
        let copied = self.copy(&path, &start, &mut reader);
        match copied {
            Ok(size) => {
                let body = StoredBody::File { name, size };
                Ok(Staged { body, size, file: Some(BodyFile::kept(path)) })
            }
            Err(problem) => {
                let _ = std::fs::remove_file(&path);
                Err(match problem {
                    Copying::Store(error) => error,
                    Copying::Reading(error) => unreadable(error),
                })
            }
        }
    }

    /// Writes and syncs a file. An error is that of the store, or of reading the body.
    fn copy(&self, path: &Path, start: &[u8], rest: &mut impl Read) -> Result<u64, Copying> {
        let ours = |error: io::Error| Copying::Store(error::io("the body", path, &error));
        let create = || {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(0o600).open(path)
        };
        let opened = match create() {
            // The folder is made with the first large body.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new().mode(0o700).create(&self.folder).map_err(ours)?;
                sync_folder(self.folder.parent().unwrap_or(Path::new("."))).map_err(ours)?;
                create()
            }
            opened => opened,
        };
        let mut file = opened.map_err(ours)?;
        file.write_all(start).map_err(ours)?;
        let mut size = start.len() as u64;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match rest.read(&mut buffer) {
                Ok(0) => break,
                Ok(got) => {
                    file.write_all(&buffer[..got]).map_err(ours)?;
                    size += got as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Copying::Reading(error)),
            }
        }
        file.sync_all().map_err(ours)?;
        Ok(size)
    }

    /// Makes the names of new files durable.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn sync(&self) -> Result<(), StoreError> {
        sync_folder(&self.folder).map_err(|error| error::io("the folder", &self.folder, &error))
    }

    /// The body of a record.
    pub fn body(&self, stored: StoredBody) -> (Body, Option<Arc<BodyFile>>) {
        match stored {
            StoredBody::Inline(bytes) => (Body::Bytes(bytes), None),
            StoredBody::File { name, size } => {
                let file = BodyFile::kept(self.path(&name));
                (Body::range(file.clone(), 0, size), Some(file))
            }
        }
    }

    /// The file with this name; a damaged name leads to no other folder.
    pub fn path(&self, name: &str) -> PathBuf {
        let is_plain = !name.is_empty() && name.bytes().all(|c| c == b'-' || c.is_ascii_hexdigit());
        self.folder.join(if is_plain { name } else { "damaged" })
    }

    /// Deletes files whose rows are gone, once no book in memory reads them.
    pub fn condemn(&mut self, files: impl IntoIterator<Item = Arc<BodyFile>>) {
        self.condemned.extend(files);
        self.condemned.retain(|file| {
            let is_read = Arc::strong_count(file) > 1;
            if !is_read {
                let _ = std::fs::remove_file(file.path());
            }
            is_read
        });
    }

    /// Removes files that no row names. Answers how many there were.
    pub fn collect(&self, named: &HashSet<String>, really: bool) -> u64 {
        let mut found = 0;
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let is_named = entry.file_name().to_str().is_some_and(|name| named.contains(name));
            if !is_named {
                found += 1;
                if really {
                    let _ = std::fs::remove_file(entry.path());
                }
            }
        }
        found
    }
}

enum Copying {
    Store(StoreError),
    Reading(io::Error),
}

/// Makes the entries of a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}
