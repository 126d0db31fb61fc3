//! Where lines are read from. A stream is never waited for without end: its reader may have to stop.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, Timespec};

/// How long a read waits for a stream before it says that there is nothing at present.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// Something to read from.
pub(super) trait Input: Read + Send {
    /// Goes on at this byte.
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

/// A pipe, a terminal or a device. A read that finds nothing for a while is an error of kind `WouldBlock`.
#[derive(Debug)]
struct Stream(File);

impl Input for Stream {}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // A fifo that no program has opened for writing yet is no fifo at its end: `poll` tells them apart.
        let mut polled = [PollFd::new(&self.0, PollFlags::IN)];
        match poll(&mut polled, Some(&PATIENCE)) {
            Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
            // The read says what is wrong.
            Ok(_) | Err(_) => self.0.read(buffer),
        }
    }
}

/// Opens a file, a fifo or a device, without waiting for the other end of a fifo. True for a regular file.
pub(super) fn open(path: &Path) -> io::Result<(File, bool)> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)?;
    let kind = file.metadata()?;
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok((file, kind.is_file()))
}

/// Standard input; true where it is a regular file.
pub(super) fn standard_input() -> io::Result<(Box<dyn Input>, bool)> {
    let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let regular = file.metadata()?.is_file();
    Ok((of(file, regular), regular))
}

/// A file that was opened, to be read as what it is.
pub(super) fn of(file: File, regular: bool) -> Box<dyn Input> {
    match regular {
        true => Box::new(file),
        false => Box::new(Stream(file)),
    }
}
