//! Standard output, pipes and devices: what they took can't be taken back, and they may take nothing for long.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use gopherworks_actors::book::Book;
use gopherworks_actors::failure::Failure;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, Timespec};

use super::super::super::Halt;

/// A pipe that has room takes this much without waiting (PIPE_BUF on Linux; POSIX promises 512).
const CHUNK: usize = if cfg!(target_os = "linux") { 4096 } else { 512 };

/// Bytes of lines that are collected before they are written.
const WRITE: usize = 1 << 16;

/// How often a write that waits for room looks whether the run is being stopped.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// A stream of lines.
#[derive(Debug)]
pub(super) struct Stream {
    file: Option<File>,
    /// Where it is opened, if it is not standard output.
    path: Option<PathBuf>,
    /// A regular file, to which standard output may lead, never waits for a reader.
    waits: bool,
    /// The end of the last line, which is owed: its book counts as burned.
    owed: Vec<u8>,
    halt: Halt,
}

/// A book's own result; `None` where its line was not written.
type Written = Option<Result<(), Failure>>;

impl Stream {
    pub(super) fn standard_output(halt: &Halt) -> io::Result<Self> {
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let waits = !file.metadata()?.is_file();
        Ok(Self {
            file: Some(file),
            path: None,
            waits,
            owed: Vec::new(),
            halt: halt.clone(),
        })
    }

    /// A pipe or a device, opened with the first line: opening a fifo would else wait for its reader.
    pub(super) fn at(path: &Path, halt: &Halt) -> Self {
        Self {
            file: None,
            path: Some(path.to_owned()),
            waits: true,
            owed: Vec::new(),
            halt: halt.clone(),
        }
    }

    /// Writes a line for each book, and gives the results of those that were written or failed by themselves, and why there are not more. A line of which
    /// a part was taken counts as written; the rest of it goes out before all others.
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
            // Nothing is owed to a reader that is gone.
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

    /// Writes what is owed of the last line.
    fn pay(&mut self) -> io::Result<()> {
        let owed = std::mem::take(&mut self.owed);
        let (count, sent) = self.push(&owed);
        self.owed = owed[count..].to_vec();
        sent
    }

    /// Writes as much as is taken, and says how much that was.
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
        let opened = OpenOptions::new()
            .write(true)
            .custom_flags(flags.bits() as i32)
            .open(path);
        opened.map_err(|error| match error.raw_os_error() {
            Some(code) if code == rustix::io::Errno::NXIO.raw_os_error() => {
                io::Error::new(io::ErrorKind::NotConnected, "no process reads from it")
            }
            _ => error,
        })
    }

    /// Writes what is owed, without waiting long for it.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.halt = Halt::default();
        self.halt.ask();
        match self.pay() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            paid => paid,
        }
    }
}

/// Waits until the file takes something, or the run is being stopped. What is no file to wait for takes it at once.
fn wait_for_room(file: &File, halt: &Halt) -> io::Result<()> {
    loop {
        let mut polled = [PollFd::new(file, PollFlags::OUT)];
        match poll(&mut polled, Some(&LOOK)) {
            Ok(0) if halt.is_asked() => {
                let why = "it took nothing before the run was stopped";
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            // The write says what is wrong.
            Ok(_) | Err(_) => return Ok(()),
        }
    }
}

/// Lines that go out together.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Positions of the books and the ends of their lines.
    ends: Vec<(usize, usize)>,
}

impl Batch {
    fn push(&mut self, at: usize, line: &[u8]) {
        self.bytes.extend_from_slice(line);
        self.bytes.push(b'\n');
        self.ends.push((at, self.bytes.len()));
    }
}
