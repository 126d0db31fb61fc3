//! State machine of one running program: feeds its input, reads its output and enforces its limits,
//! without blocking. Callers choose how to wait: [`wait_here`] blocks the thread, [`wait_async`]
//! does not.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use gopherworks_supervision::clock::{Clock, Time};
use gopherworks_supervision::failure::Failure;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::groups::Leader;

/// Polling interval for a program's end on systems without `pidfd`.
const TICK: Duration = Duration::from_millis(20);

/// How long to wait for a killed program to die before a background thread reaps it.
const DYING: Duration = Duration::from_secs(1);

/// Limit on reads and writes per step, so that the timeout applies to a program that writes without
/// pause; a step can still empty any full pipe.
const ROUNDS: usize = 80;

/// Bytes per read or write.
const CHUNK: usize = 16 * 1024;

/// Source of a program's standard input.
pub(in crate::catalog) trait Feed {
    /// Reads the next bytes; returns 0 at the end.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Failure>;
}

/// Limits on one run of a program.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Maximum time from start to exit.
    pub timeout: Duration,
    /// Maximum bytes of standard output, if it is a pipe.
    pub output: u64,
    /// How many of the last bytes of standard error are kept.
    pub errors: usize,
    /// How long to keep reading after the exit while other processes hold the output open.
    pub linger: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// The program exited, or was killed by a signal from elsewhere.
    Exit(ExitStatus),
    TimedOut,
    /// The program wrote too much, and was killed unless it had already exited.
    TooMuch,
    /// The program was killed because the run is being stopped.
    Stopped,
}

#[derive(Debug)]
pub(super) struct Ended {
    pub how: How,
    pub output: Vec<u8>,
    pub errors: Vec<u8>,
}

/// A running program. Dropping it kills the whole process group.
pub(super) struct Session<P, F> {
    // Dropped first: the program must be killed before its input closes, or it would take part of a
    // body for all of it.
    leader: Leader,
    // Becomes readable when the program exits.
    end: Option<P>,
    input: Option<P>,
    output: Option<P>,
    errors: Option<P>,
    feed: F,
    // Bytes from the feed; those from index `from` on are not yet written.
    due: Vec<u8>,
    from: usize,
    written: Vec<u8>,
    tail: Vec<u8>,
    bounds: Bounds,
    began: Time,
    state: ProgramState,
}

#[derive(Debug, Clone, Copy)]
enum ProgramState {
    Runs,
    // The program is reaped; its pipes are still being read.
    Over { status: ExitStatus, at: Time },
    // Killed, but not yet dead.
    Dies { how: How, at: Time },
}

enum StepResult {
    Over(How),
    /// More can be read or written now.
    Again,
    /// Wait for an event, for at most this time.
    Wait(Duration),
}

impl<P: AsFd, F: Feed> Session<P, F> {
    /// Starts a program; `pipe` wraps its pipes for the caller's way of waiting.
    pub fn start(
        command: &mut Command,
        feed: F,
        bounds: Bounds,
        clock: &Clock,
        mut pipe: impl FnMut(OwnedFd) -> io::Result<P>,
    ) -> io::Result<Self> {
        let began = clock.now();
        let (leader, pipes) = Leader::start(command)?;
        let end = end_of(leader.pid()).map(&mut pipe).transpose()?;
        let mut open = |fd: Option<OwnedFd>| {
            fd.map(|fd| {
                let flags = fcntl_getfl(&fd)?;
                fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
                pipe(fd)
            })
            .transpose()
        };
        Ok(Self {
            end,
            input: open(pipes.stdin)?,
            output: open(pipes.stdout)?,
            errors: open(pipes.stderr)?,
            leader,
            feed,
            due: Vec::new(),
            from: 0,
            written: Vec::new(),
            tail: Vec::new(),
            bounds,
            began,
            state: ProgramState::Runs,
        })
    }

    /// Does everything that is possible without waiting.
    fn step(&mut self, now: Time) -> Result<StepResult, Fault> {
        // Checked before the pipes are read, so that all output written before the exit is seen.
        let ended = match self.state {
            ProgramState::Over { .. } => false,
            ProgramState::Runs | ProgramState::Dies { .. } => self.leader.has_ended()?,
        };
        let mut again = self.listen()?;
        match self.state {
            ProgramState::Runs if ended => {
                self.input = None;
                let status = self.leader.reap()?;
                self.state = ProgramState::Over { status, at: now };
            }
            ProgramState::Runs => {
                if self.is_too_much() {
                    self.kill(How::TooMuch, now);
                } else if now - self.began >= self.bounds.timeout {
                    self.kill(How::TimedOut, now);
                } else {
                    again |= self.write()?;
                }
            }
            ProgramState::Over { .. } | ProgramState::Dies { .. } => {}
        }
        Ok(match self.state {
            ProgramState::Runs if again => StepResult::Again,
            ProgramState::Runs => {
                StepResult::Wait(self.bounds.timeout.saturating_sub(now - self.began))
            }
            ProgramState::Over { status, at } => {
                let left = self.bounds.linger.saturating_sub(now - at);
                if left.is_zero() || self.is_too_much() || !self.is_held_open(status) {
                    StepResult::Over(self.judged(status))
                } else if again {
                    StepResult::Again
                } else {
                    StepResult::Wait(left)
                }
            }
            ProgramState::Dies { how, at } => {
                let left = DYING.saturating_sub(now - at);
                if ended || left.is_zero() {
                    if ended {
                        self.leader.reap()?;
                    }
                    StepResult::Over(how)
                } else {
                    StepResult::Wait(left)
                }
            }
        })
    }

    fn kill(&mut self, how: How, now: Time) {
        self.leader.kill();
        self.input = None;
        self.state = ProgramState::Dies { how, at: now };
    }

    fn judged(&self, status: ExitStatus) -> How {
        if self.is_too_much() {
            How::TooMuch
        } else if !status.success() && self.leader.is_killed_with_all() {
            How::Stopped
        } else {
            How::Exit(status)
        }
    }

    fn is_too_much(&self) -> bool {
        self.written.len() as u64 > self.bounds.output
    }

    /// True if another process may still write to the output needed for the result of an exited
    /// program.
    fn is_held_open(&self, status: ExitStatus) -> bool {
        match status.success() {
            true => self.output.is_some(),
            false => self.errors.is_some(),
        }
    }

    /// What becomes readable when the program exits, and for how long to wait if `left` remains. A
    /// program that can't be waited for is polled.
    fn awaited(&self, left: Duration) -> (Option<&P>, Duration) {
        match (&self.end, self.state) {
            (_, ProgramState::Over { .. }) => (None, left),
            (Some(end), _) => (Some(end), left),
            (None, _) => (None, left.min(TICK)),
        }
    }

    fn ended(self, how: How) -> Ended {
        Ended { how, output: self.written, errors: self.tail }
    }

    /// Reads the output pipes; true if there may be more to read now.
    fn listen(&mut self) -> io::Result<bool> {
        let most = self.bounds.output;
        let written = &mut self.written;
        let more = drain(&mut self.output, |bytes| {
            let room = most.saturating_add(1).saturating_sub(written.len() as u64);
            let taken = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            written.extend_from_slice(&bytes[..taken]);
        })?;
        let (tail, kept) = (&mut self.tail, self.bounds.errors);
        let more_errors = drain(&mut self.errors, |bytes| {
            tail.extend_from_slice(bytes);
            tail.drain(..tail.len().saturating_sub(kept));
        })?;
        Ok(more || more_errors)
    }

    /// Writes input until the pipe is full. Closes the pipe at the end of the input or if the
    /// program has closed its end. True if more can be written now.
    fn write(&mut self) -> Result<bool, Fault> {
        for _ in 0..ROUNDS {
            let Some(pipe) = &self.input else {
                return Ok(false);
            };
            if self.from == self.due.len() {
                self.due.resize(CHUNK, 0);
                let length = self.feed.read(&mut self.due).map_err(Fault::Feed)?;
                self.due.truncate(length);
                self.from = 0;
                if length == 0 {
                    self.input = None;
                    return Ok(false);
                }
            }
            match rustix::io::write(pipe, &self.due[self.from..]) {
                Ok(length) => self.from += length,
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(Errno::PIPE) => self.input = None,
                Err(error) => return Err(Fault::System(error.into())),
            }
        }
        Ok(self.input.is_some())
    }
}

/// Error that kept a program from running to its end.
#[derive(Debug)]
pub(super) enum Fault {
    Feed(Failure),
    System(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// Reads until the pipe is empty or the limit of the step is reached; true if there may be more.
fn drain(pipe: &mut Option<impl AsFd>, mut take: impl FnMut(&[u8])) -> io::Result<bool> {
    let mut buffer = [0; CHUNK];
    for _ in 0..ROUNDS {
        let Some(open) = pipe else {
            return Ok(false);
        };
        match rustix::io::read(open, &mut buffer) {
            Ok(0) => *pipe = None,
            Ok(length) => take(&buffer[..length]),
            Err(Errno::AGAIN) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(pipe.is_some())
}

#[cfg(target_os = "linux")]
fn end_of(pid: Pid) -> Option<OwnedFd> {
    // Old kernels have no `pidfd`; the program is then polled.
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
}

#[cfg(not(target_os = "linux"))]
fn end_of(_: Pid) -> Option<OwnedFd> {
    None
}

/// Runs a session to its end, blocking this thread.
pub(super) fn wait_here(
    mut session: Session<OwnedFd, impl Feed>,
    clock: &Clock,
) -> Result<Ended, Fault> {
    loop {
        match session.step(clock.now())? {
            StepResult::Over(how) => return Ok(session.ended(how)),
            StepResult::Again => {}
            StepResult::Wait(left) => session.block(left)?,
        }
    }
}

impl<F: Feed> Session<OwnedFd, F> {
    /// Blocks until a pipe is ready, the program exits, or `left` has passed.
    fn block(&self, left: Duration) -> io::Result<()> {
        let (end, left) = self.awaited(left);
        let open = |pipe: Option<_>, flags| pipe.map(|pipe| PollFd::new(pipe, flags));
        let mut fds: Vec<PollFd<'_>> = [
            open(end, PollFlags::IN),
            open(self.input.as_ref(), PollFlags::OUT),
            open(self.output.as_ref(), PollFlags::IN),
            open(self.errors.as_ref(), PollFlags::IN),
        ]
        .into_iter()
        .flatten()
        .collect();
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Registers a pipe with the runtime of this thread.
#[expect(
    deprecated,
    reason = "sound for an `OwnedFd`, which closes itself; what replaces it is unsafe"
)]
pub(super) fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE | Interest::WRITABLE)
}

/// Runs a session to its end without blocking the thread.
pub(super) async fn wait_async(
    mut session: Session<AsyncFd<OwnedFd>, impl Feed>,
    clock: &Clock,
) -> Result<Ended, Fault> {
    loop {
        match session.step(clock.now())? {
            StepResult::Over(how) => return Ok(session.ended(how)),
            StepResult::Again => tokio::task::yield_now().await,
            StepResult::Wait(left) => session.pause(left, clock).await?,
        }
    }
}

impl<F: Feed> Session<AsyncFd<OwnedFd>, F> {
    /// Waits until a pipe is ready, the program exits, or `left` has passed.
    async fn pause(&self, left: Duration, clock: &Clock) -> io::Result<()> {
        let (end, left) = self.awaited(left);
        tokio::select! {
            ready = ready(end, Interest::READABLE) => ready,
            ready = ready(self.input.as_ref(), Interest::WRITABLE) => ready,
            ready = ready(self.output.as_ref(), Interest::READABLE) => ready,
            ready = ready(self.errors.as_ref(), Interest::READABLE) => ready,
            () = clock.sleep(left) => Ok(()),
        }
    }
}

/// Waits until a pipe becomes ready. Every step uses a pipe until it is exhausted, so earlier
/// readiness is cleared.
async fn ready(pipe: Option<&AsyncFd<OwnedFd>>, interest: Interest) -> io::Result<()> {
    match pipe {
        Some(pipe) => {
            pipe.ready(interest).await?.clear_ready();
            Ok(())
        }
        None => std::future::pending().await,
    }
}
