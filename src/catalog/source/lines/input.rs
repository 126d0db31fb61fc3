//! Inputs of `lines`. A read from a stream waits 100 ms at most, so that its reader can be stopped.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, Timespec};

/// Time that a read waits for data from a stream before it fails with `WouldBlock`.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// An input of lines.
pub(super) trait Input: Read + Send {
    /// Continues at this byte offset. Only regular files support it.
    fn skip_to(&mut self, offset: u64) -> io::Result<()> {
        let _ = offset;
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Input for File {
    fn skip_to(&mut self, offset: u64) -> io::Result<()> {
        self.seek(SeekFrom::Start(offset)).map(drop)
    }
}

/// A pipe, a terminal or a device. A read fails with `WouldBlock` if no data arrives within 100 ms.
#[derive(Debug)]
struct Stream(File);

impl Input for Stream {}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // `poll` first: a read from a fifo that has had no writer yet would return end of file.
        let mut polled = [PollFd::new(&self.0, PollFlags::IN)];
        match poll(&mut polled, Some(&PATIENCE)) {
            Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
            // The read reports any error.
            Ok(_) | Err(_) => self.0.read(buffer),
        }
    }
}

/// Opens a file, a fifo or a device, without waiting for a fifo's writer. Also returns whether it
/// is a regular file. Fails for a folder.
pub(super) fn open(path: &Path) -> io::Result<(File, bool)> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    let kind = file.metadata()?;
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok((file, kind.is_file()))
}

/// Opens standard input. Also returns whether it is a regular file.
pub(super) fn standard_input() -> io::Result<(Box<dyn Input>, bool)> {
    let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let regular = file.metadata()?.is_file();
    Ok((of(file, regular), regular))
}

/// Wraps an open file: reads from a stream get a timeout.
pub(super) fn of(file: File, regular: bool) -> Box<dyn Input> {
    match regular {
        true => Box::new(file),
        false => Box::new(Stream(file)),
    }
}
