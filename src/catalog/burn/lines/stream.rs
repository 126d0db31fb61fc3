//! Lines to standard output, pipes and devices: written data cannot be taken back, and a slow
//! reader may block a write for a long time.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use gopherworks_pipeline::book::Book;
use gopherworks_supervision::failure::Failure;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, Timespec};

use super::super::super::Halt;

/// Bytes per write to a pipe: one that is ready for writing takes this many without blocking
/// (PIPE_BUF is 4096 on Linux; POSIX guarantees 512).
const CHUNK: usize = if cfg!(target_os = "linux") { 4096 } else { 512 };

/// Bytes of lines that are collected before they are written.
const WRITE: usize = 1 << 16;

/// Interval at which a blocked write checks whether the run is being stopped (100 ms).
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

#[derive(Debug)]
pub(super) struct Stream {
    file: Option<File>,
    /// Path to open with the first line; `None` for standard output.
    path: Option<PathBuf>,
    /// False if standard output is redirected to a regular file, which never blocks.
    waits: bool,
    /// Rest of a line that was written in part. Its book counts as burned already.
    owed: Vec<u8>,
    halt: Halt,
}

/// Result of one book; `None` if its line was not written.
type Written = Option<Result<(), Failure>>;

impl Stream {
    pub(super) fn standard_output(halt: &Halt) -> io::Result<Self> {
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let waits = !file.metadata()?.is_file();
        Ok(Self { file: Some(file), path: None, waits, owed: Vec::new(), halt: halt.clone() })
    }

    /// A pipe or a device. It is opened with the first line: a fifo cannot be opened without a
    /// reader.
    pub(super) fn at(path: &Path, halt: &Halt) -> Self {
        Self {
            file: None,
            path: Some(path.to_owned()),
            waits: true,
            owed: Vec::new(),
            halt: halt.clone(),
        }
    }

    /// Writes a line per book. Returns the results of those books whose line was written or could
    /// not be made, and the error that stopped the others. A line written in part counts as
    /// written; its rest is written before any other line.
    pub(super) fn write(
        &mut self,
        books: &[&Book],
        line: impl Fn(&Book) -> Result<Bytes, Failure>,
    ) -> (Vec<Written>, Option<io::Error>) {
        let mut results: Vec<Written> = vec![None; books.len()];
        let mut batch = Batch::default();
        if let Err(error) = self.pay() {
            return (results, Some(error));
        }
        for (at, book) in books.iter().enumerate() {
            match line(book) {
                Ok(line) => batch.push(at, &line),
                Err(failure) => results[at] = Some(Err(failure)),
            }
            if batch.bytes.len() >= WRITE
                && let Err(error) = self.send(&mut batch, &mut results)
            {
                return (results, Some(error));
            }
        }
        let sent = self.send(&mut batch, &mut results);
        (results, sent.err())
    }

    fn send(&mut self, batch: &mut Batch, results: &mut [Written]) -> io::Result<()> {
        let (count, sent) = self.push(&batch.bytes);
        let closed = matches!(&sent, Err(error) if error.kind() == io::ErrorKind::BrokenPipe);
        let mut begin = 0;
        for (at, end) in batch.ends.drain(..) {
            let torn = begin < count && count < end;
            // A reader that has closed the pipe will not read the rest of the line.
            if end <= count || (torn && !closed) {
                results[at] = Some(Ok(()));
            }
            if torn && !closed {
                self.owed.extend_from_slice(&batch.bytes[count..end]);
            }
            begin = end;
        }
        batch.bytes.clear();
        sent
    }

    /// Writes the rest of a line that was written in part.
    fn pay(&mut self) -> io::Result<()> {
        let owed = std::mem::take(&mut self.owed);
        let (count, sent) = self.push(&owed);
        self.owed = owed[count..].to_vec();
        sent
    }

    /// Writes until an error occurs, and returns the number of bytes written.
    fn push(&mut self, bytes: &[u8]) -> (usize, io::Result<()>) {
        let mut count = 0;
        while count < bytes.len() {
            match self.push_some(&bytes[count..]) {
                Ok(more) => count += more,
                Err(error) => return (count, Err(error)),
            }
        }
        (count, Ok(()))
    }

    fn push_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.file.is_none() {
            self.file = Some(self.opened()?);
        }
        let Some(file) = &mut self.file else {
            return Ok(0);
        };
        let bytes = match self.waits {
            true => &bytes[..bytes.len().min(CHUNK)],
            false => bytes,
        };
        loop {
            if self.waits {
                wait_for_room(file, &self.halt)?;
            }
            match file.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                    ) => {}
                other => return other,
            }
        }
    }

    fn opened(&self) -> io::Result<File> {
        let path = self.path.as_deref().unwrap_or(Path::new("/dev/stdout"));
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = OpenOptions::new().write(true).custom_flags(flags.bits() as i32).open(path);
        opened.map_err(|error| match error.raw_os_error() {
            Some(code) if code == rustix::io::Errno::NXIO.raw_os_error() => {
                io::Error::new(io::ErrorKind::NotConnected, "no process reads from it")
            }
            _ => error,
        })
    }

    /// Writes the rest of a line that was written in part; fails if nothing is accepted for 100 ms.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.halt = Halt::default();
        self.halt.ask();
        match self.pay() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            paid => paid,
        }
    }
}

/// Waits until the file is writable. Fails with `TimedOut` if the run is being stopped and nothing
/// was accepted for 100 ms. A file that cannot be polled counts as writable.
fn wait_for_room(file: &File, halt: &Halt) -> io::Result<()> {
    loop {
        let mut polled = [PollFd::new(file, PollFlags::OUT)];
        match poll(&mut polled, Some(&LOOK)) {
            Ok(0) if halt.is_asked() => {
                let why = "it accepted nothing before the run was stopped";
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            // The write that follows reports any error.
            Ok(_) | Err(_) => return Ok(()),
        }
    }
}

/// Lines that are written together.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Index of each book, and the end of its line in `bytes`.
    ends: Vec<(usize, usize)>,
}

impl Batch {
    fn push(&mut self, at: usize, line: &[u8]) {
        self.bytes.extend_from_slice(line);
        self.bytes.push(b'\n');
        self.ends.push((at, self.bytes.len()));
    }
}
