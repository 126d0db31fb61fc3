//! Output of `lines`: a locked regular file, truncated after a failed write, or a stream.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use gopherworks_pipeline::book::Book;
use gopherworks_supervision::failure::Failure;
use parking_lot::Mutex;

use super::super::super::locks::Locked;
use super::super::super::{FilePath, Site};
#[cfg(feature = "files")]
use super::named::{NameTemplate, NamedFiles};
use super::stream::Stream;

/// Maximum size of a write to a regular file, in bytes; only a single longer line exceeds it.
const WRITE: usize = 4 << 20;

/// Output shared by all instances of one run.
#[derive(Debug)]
pub(super) struct LineOutput {
    name: String,
    /// False for a stream, whose writes may wait for a reader.
    is_file: bool,
    /// Locked while a cart is written.
    target: Mutex<Target>,
}

#[derive(Debug)]
enum Target {
    File(Regular),
    #[cfg(feature = "files")]
    Named(NamedFiles),
    /// Standard output, a pipe or a device: written data cannot be taken back.
    Stream(Stream),
}

/// A locked regular file, opened for appending.
#[derive(Debug)]
pub(super) struct Regular {
    pub(super) file: Locked,
    pub(super) path: PathBuf,
    pub(super) beginning: Beginning,
    /// True if each cart is compressed.
    pub(super) gzip: bool,
}

/// Work due before the first line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beginning {
    /// Truncate the file.
    Anew,
    /// Terminate an incomplete last line, or cut off a torn gzip member, which a crash may have
    /// left.
    Append,
    Done,
}

impl LineOutput {
    /// Opens and locks the regular file at `path`. Its content stays unchanged until the first line
    /// or the end of the run. A pipe or a device is opened with the first line instead.
    pub(super) fn open(path: &FilePath, anew: bool, site: &Site) -> Result<Self, Failure> {
        let halt = &site.halt;
        if path.is_standard_stream() {
            let name = "standard output".to_owned();
            let stream = Stream::standard_output(halt)
                .map_err(|error| Failure::io(format_args!("opening {name}"), &error))?;
            return Ok(Self::new(name, Target::Stream(stream)));
        }
        let path = path.as_path();
        let name = path.display().to_string();
        let failed = |error: io::Error| Failure::io(format_args!("opening {name}"), &error);
        let kind = match path.metadata() {
            Ok(found) => Some(found.file_type()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        match kind {
            Some(kind) if kind.is_dir() => Err(failed(io::ErrorKind::IsADirectory.into())),
            Some(kind) if !kind.is_file() => {
                let stream = Stream::at(path, halt);
                Ok(Self::new(name, Target::Stream(stream)))
            }
            _ => {
                let file = regular(path).map_err(failed)?;
                let file = Locked::claim(file, |holder| {
                    format!("{name}: {holder} writes to it; only one node of one run can")
                })?;
                site.state.writes(&path.canonicalize().map_err(failed)?);
                let target = Target::File(Regular {
                    file,
                    path: path.to_owned(),
                    beginning: if anew { Beginning::Anew } else { Beginning::Append },
                    gzip: false,
                });
                Ok(Self::new(name, target))
            }
        }
    }

    /// Opens the folder at `path` for files that books name.
    #[cfg(feature = "files")]
    pub(super) fn named(
        path: &FilePath,
        (template, most): (&NameTemplate, usize),
        site: &Site,
    ) -> Result<Self, Failure> {
        let name = path.as_path().display().to_string();
        if path.is_standard_stream() {
            return Err(Failure::permanent("with `file`, `path` is a folder"));
        }
        let files = NamedFiles::open(path.as_path(), template.clone(), most, site)
            .map_err(|error| Failure::io(format_args!("opening {name}"), &error))?;
        Ok(Self::new(name, Target::Named(files)))
    }

    fn new(name: String, target: Target) -> Self {
        let is_file = !matches!(target, Target::Stream(_));
        Self { name, is_file, target: Mutex::new(target) }
    }

    /// Writes a line per book and returns one result per book, in order. If writing to a file
    /// fails, the file is truncated to its length before the cart and every book fails. A stream
    /// keeps the lines of the books that succeeded.
    pub(super) fn write(
        &self,
        books: &[&Book],
        line: impl Fn(&Book) -> Result<Bytes, Failure>,
    ) -> Vec<Result<(), Failure>> {
        match &mut *self.target.lock() {
            Target::File(file) => {
                let written = file.write(books, line);
                written.unwrap_or_else(|error| vec![Err(self.refused(&error)); books.len()])
            }
            #[cfg(feature = "files")]
            Target::Named(files) => {
                files.write(books, line, |path, error| refused(&path.display(), error))
            }
            Target::Stream(stream) => {
                let (results, error) = stream.write(books, line);
                let refused = error.map(|error| self.refused(&error));
                let unwritten = || refused.clone().map_or(Ok(()), Err);
                let results = results.into_iter();
                results.map(|result| result.unwrap_or_else(&unwritten)).collect()
            }
        }
    }

    /// Syncs the lines written so far to disk, if the output is a file.
    pub(super) fn sync(&self) -> Result<(), Failure> {
        if !self.is_file {
            return Ok(());
        }
        let synced = match &*self.target.lock() {
            Target::File(file) => file.sync(),
            #[cfg(feature = "files")]
            Target::Named(files) => files.sync(),
            Target::Stream(_) => Ok(()),
        };
        synced.map_err(|error| self.refused(&error))
    }

    /// Called after the last line: syncs a file to disk, or writes the rest of a stream's last
    /// line.
    pub(super) fn finish(&self) -> Result<(), Failure> {
        let finished = match &mut *self.target.lock() {
            Target::File(file) => file.finish(),
            #[cfg(feature = "files")]
            Target::Named(files) => files.finish(),
            Target::Stream(stream) => stream.finish(),
        };
        finished.map_err(|error| self.refused(&error))
    }

    /// Maps a write error to a failure of the output: no content of a book makes a write fail.
    fn refused(&self, error: &io::Error) -> Failure {
        refused(&self.name, error)
    }
}

fn refused(name: &dyn std::fmt::Display, error: &io::Error) -> Failure {
    let reason = format!("writing {name}: {error}");
    match error.kind() {
        // The file size limit of the process lasts for the whole run.
        io::ErrorKind::BrokenPipe | io::ErrorKind::FileTooLarge => Failure::closed(reason),
        _ => Failure::unavailable(reason),
    }
}

/// Opens a regular file for appending; creates it and missing parent folders.
fn regular(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        // Do not block if the path has become a fifo since it was checked.
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no longer a regular file")),
    }
}

impl Regular {
    /// Appends the lines of `books`. If that fails, the file is truncated to its length before.
    pub(super) fn write(
        &mut self,
        books: &[&Book],
        line: impl Fn(&Book) -> Result<Bytes, Failure>,
    ) -> io::Result<Vec<Result<(), Failure>>> {
        self.begin()?;
        let good = self.file.metadata()?.len();
        let file = &self.file;
        let mut part = CartWrite { file, pending: Vec::new(), good, written: 0, gzip: self.gzip };
        let written = books
            .iter()
            .map(|book| match line(book) {
                Ok(line) => part.push(&line).map(Ok),
                Err(failure) => Ok(Err(failure)),
            })
            .collect::<io::Result<Vec<_>>>()
            .and_then(|results| part.flush().map(|()| results));
        if written.is_err()
            && let Err(error) = part.cut_back()
        {
            let path = self.path.display();
            log::error!("{path}: a part of a cart could not be cut off: {error}");
        }
        written
    }

    fn begin(&mut self) -> io::Result<()> {
        match self.beginning {
            Beginning::Anew => self.file.set_len(0)?,
            #[cfg(feature = "gzip")]
            Beginning::Append if self.gzip => {
                let whole = super::gzip::whole(&self.file)?;
                if whole < self.file.metadata()?.len() {
                    let path = self.path.display();
                    log::warn!("{path}: its end was torn; it was cut back to {whole} bytes");
                    self.file.set_len(whole)?;
                }
            }
            Beginning::Append if self.ends_torn() => {
                let path = self.path.display();
                log::warn!("{path}: its last line had no newline; one was added");
                (&*self.file).write_all(b"\n")?;
            }
            Beginning::Append | Beginning::Done => {}
        }
        self.beginning = Beginning::Done;
        Ok(())
    }

    /// True if the last line lacks its newline; false if the file is empty or cannot be read.
    fn ends_torn(&self) -> bool {
        let last = || {
            let mut file = File::open(&self.path)?;
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            Ok::<_, io::Error>(last)
        };
        last().is_ok_and(|last| last != *b"\n")
    }

    /// Syncs what was written to disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    pub(super) fn finish(&mut self) -> io::Result<()> {
        if self.beginning == Beginning::Anew {
            self.begin()?;
        }
        let synced = self.file.sync_all();
        // Unlock now: the next run may start before the last instance of this one is dropped.
        let _ = self.file.unlock();
        synced
    }
}

/// Lines of one cart that are being written to a file.
struct CartWrite<'a> {
    file: &'a File,
    pending: Vec<u8>,
    /// Length of the file before the cart, in bytes.
    good: u64,
    written: u64,
    gzip: bool,
}

impl CartWrite<'_> {
    fn push(&mut self, line: &[u8]) -> io::Result<()> {
        if !self.pending.is_empty() && !self.gzip && self.pending.len() + line.len() >= WRITE {
            self.flush()?;
        }
        self.pending.extend_from_slice(line);
        self.pending.push(b'\n');
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        #[cfg(feature = "gzip")]
        if self.gzip && !self.pending.is_empty() {
            self.pending = super::gzip::member(&self.pending)?;
        }
        let mut rest = self.pending.as_slice();
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.written += count as u64;
                    rest = &rest[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.pending.clear();
        Ok(())
    }

    /// Truncates the file to its length before the cart. Fails if another process has written to
    /// it, as that data would be lost.
    fn cut_back(&self) -> io::Result<()> {
        if self.written == 0 {
            return Ok(());
        }
        if self.file.metadata()?.len() != self.good + self.written {
            return Err(io::Error::other("another process writes to the file"));
        }
        self.file.set_len(self.good)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(file: &File, good: u64) -> CartWrite<'_> {
        CartWrite { file, pending: Vec::new(), good, written: 0, gzip: false }
    }

    #[test]
    fn a_cart_that_fails_part_way_is_cut_off() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"kept\n").unwrap();
        let mut part = part(&file, 5);
        // The two lines together exceed `WRITE`, so the first is written before the second is
        // added.
        part.push(&vec![b'x'; WRITE]).unwrap();
        part.push(b"y").unwrap();
        assert!(file.metadata().unwrap().len() > 5);
        part.cut_back().unwrap();
        assert_eq!(file.metadata().unwrap().len(), 5);
    }

    #[test]
    fn what_another_process_wrote_is_not_cut_off() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"kept\n").unwrap();
        let ours = OpenOptions::new().append(true).open(file.path()).unwrap();
        let mut part = part(&ours, 5);
        part.push(b"ours").unwrap();
        part.flush().unwrap();
        file.write_all(b"theirs\n").unwrap();
        let refused = part.cut_back().unwrap_err();
        assert!(refused.to_string().contains("another process"), "{refused}");
        assert!(std::fs::read(file.path()).unwrap().ends_with(b"theirs\n"));
    }
}
