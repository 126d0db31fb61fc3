//! Where lines go: a file that is locked and can be cut back, or a stream.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bytes::Bytes;
use gopherworks_actors::book::Book;
use gopherworks_actors::failure::Failure;

use super::super::super::{FilePath, Halt, locks};
use super::lock;
use super::stream::Stream;

/// Bytes that are written to a file at once at most.
const WRITE: usize = 4 << 20;

/// What all instances of one run write to.
#[derive(Debug)]
pub(super) struct Output {
    name: String,
    /// Held while a cart is written.
    target: Mutex<Target>,
}

#[derive(Debug)]
enum Target {
    /// A regular file.
    File(Regular),
    /// What can't be cut back: standard output, a pipe, a device.
    Stream(Stream),
}

/// A regular file, locked.
#[derive(Debug)]
struct Regular {
    file: File,
    path: PathBuf,
    beginning: Beginning,
}

/// What is still to be done before the first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beginning {
    /// The file is to be emptied.
    Anew,
    /// A last line without an end, which a crash may have left, is to be ended.
    Append,
    /// Nothing.
    Done,
}

impl Output {
    /// The output at `path`, locked where it is a regular file. Nothing of the file is changed before the first line, or the end of the run;
    /// what is no regular file is opened with the first line.
    pub(super) fn open(path: &FilePath, anew: bool, halt: &Halt) -> Result<Self, Failure> {
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
                claim(&file, &name)?;
                let target = Target::File(Regular {
                    file,
                    path: path.to_owned(),
                    beginning: if anew {
                        Beginning::Anew
                    } else {
                        Beginning::Append
                    },
                });
                Ok(Self::new(name, target))
            }
        }
    }

    fn new(name: String, target: Target) -> Self {
        Self {
            name,
            target: Mutex::new(target),
        }
    }

    /// Writes a line for each book, and gives a result for each. Where a file refuses one, no line of the cart is in it; a stream has taken the
    /// lines of those that succeeded.
    pub(super) fn write(
        &self,
        books: &[&Book],
        line: impl Fn(&Book) -> Result<Bytes, Failure>,
    ) -> Vec<Result<(), Failure>> {
        match &mut *lock(&self.target) {
            Target::File(file) => {
                let written = file.write(books, line);
                written.unwrap_or_else(|error| vec![Err(self.refused(&error)); books.len()])
            }
            Target::Stream(stream) => {
                let (results, error) = stream.write(books, line);
                let refused = error.map(|error| self.refused(&error));
                let unwritten = || refused.clone().map_or(Ok(()), Err);
                let results = results.into_iter();
                results
                    .map(|result| result.unwrap_or_else(&unwritten))
                    .collect()
            }
        }
    }

    /// The last line is written: makes it durable.
    pub(super) fn finish(&self) -> Result<(), Failure> {
        let finished = match &mut *lock(&self.target) {
            Target::File(file) => file.finish(),
            Target::Stream(stream) => stream.finish(),
        };
        finished.map_err(|error| self.refused(&error))
    }

    /// What a book holds makes no write fail: whatever is refused is a condition of the output.
    fn refused(&self, error: &io::Error) -> Failure {
        let reason = format!("writing {}: {error}", self.name);
        match error.kind() {
            // A limit on the size of files stays for the whole run.
            io::ErrorKind::BrokenPipe | io::ErrorKind::FileTooLarge => Failure::closed(reason),
            _ => Failure::unavailable(reason),
        }
    }
}

/// Opens a regular file for appending; creates it, and the folders on the way to it.
fn regular(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        // A fifo may have taken its place.
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file any more",
        )),
    }
}

/// Locks the file for this run, so that no other one cuts back or empties what this one writes.
fn claim(file: &File, name: &str) -> Result<(), Failure> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(Failure::permanent(format!(
            "{name}: {} writes to it; only one node of one run can",
            locks::holder(file)
        ))),
        // Some file systems know no locks.
        Err(TryLockError::Error(error)) => {
            log::debug!("{name} can't be locked: {error}");
            Ok(())
        }
    }
}

impl Regular {
    fn write(
        &mut self,
        books: &[&Book],
        line: impl Fn(&Book) -> Result<Bytes, Failure>,
    ) -> io::Result<Vec<Result<(), Failure>>> {
        self.begin()?;
        let good = self.file.metadata()?.len();
        let mut part = Part {
            file: &self.file,
            pending: Vec::new(),
            good,
            written: 0,
        };
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
            Beginning::Append if self.ends_torn() => {
                let path = self.path.display();
                log::warn!("{path}: its last line had no end; it was given one");
                (&self.file).write_all(b"\n")?;
            }
            Beginning::Append | Beginning::Done => {}
        }
        self.beginning = Beginning::Done;
        Ok(())
    }

    /// True if its last line has no end; a file that can't be read is taken to be whole.
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

    fn finish(&mut self) -> io::Result<()> {
        if self.beginning == Beginning::Anew {
            self.begin()?;
        }
        let synced = self.file.sync_all();
        // The next run may begin while an instance of this one still lives.
        let _ = self.file.unlock();
        synced
    }
}

/// The lines of one cart on their way into a file.
struct Part<'a> {
    file: &'a File,
    pending: Vec<u8>,
    /// Length of the file when the cart began.
    good: u64,
    written: u64,
}

impl Part<'_> {
    fn push(&mut self, line: &[u8]) -> io::Result<()> {
        if !self.pending.is_empty() && self.pending.len() + line.len() >= WRITE {
            self.flush()?;
        }
        self.pending.extend_from_slice(line);
        self.pending.push(b'\n');
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
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

    /// Cuts off what was written of the cart, unless something that another process wrote would go with it.
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

    fn part(file: &File, good: u64) -> Part<'_> {
        Part {
            file,
            pending: Vec::new(),
            good,
            written: 0,
        }
    }

    #[test]
    fn a_cart_that_fails_part_way_is_cut_off() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"kept\n").unwrap();
        let mut part = part(&file, 5);
        // Two pieces, of which the first has to go out before the second.
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
