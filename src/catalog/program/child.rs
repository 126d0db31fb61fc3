//! One running program: fed, listened to, and ended in time, without ever blocking. What waits in between is the caller's:
//! [`wait_here`] blocks a thread, [`wait_async`] none.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use gopherworks_actors::clock::{Clock, Time};
use gopherworks_actors::failure::Failure;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::groups::Leader;

/// How often to look for the end of a program where the system can't tell of it.
const TICK: Duration = Duration::from_millis(20);

/// How long a killed program may take to die before it is left to be reaped later.
const DYING: Duration = Duration::from_secs(1);

/// Reads and writes of one step, so that a program that never stops talking can be stopped; more than any pipe holds.
const ROUNDS: usize = 80;

/// Bytes that are moved at once.
const CHUNK: usize = 16 * 1024;

/// What a program is fed with.
pub(in crate::catalog) trait Feed {
    /// The next bytes; 0 at the end.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Failure>;
}

/// Bounds of one run of a program.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// From its start to its end.
    pub timeout: Duration,
    /// Most bytes of standard output, where that is a pipe.
    pub output: u64,
    /// Bytes of standard error that are kept: the last.
    pub errors: usize,
    /// How long to read on after its end where others hold its output open.
    pub linger: Duration,
}

/// What became of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// It ended by itself, or by a signal that was not ours.
    Exit(ExitStatus),
    /// It was killed after its time.
    TimedOut,
    /// It wrote more than it may, and was killed for it if it had not ended.
    TooMuch,
    /// It was killed with all others, as the run is being stopped.
    Stopped,
}

/// How a program ended, and what it had written by then.
#[derive(Debug)]
pub(super) struct Ended {
    pub how: How,
    pub output: Vec<u8>,
    pub errors: Vec<u8>,
}

/// A program that runs. Dropped, it is killed with its group.
pub(super) struct Session<P, F> {
    // Dropped first: a program that is given up is killed before its input closes, or it would take half a body for a whole one.
    leader: Leader,
    // Readable once the program has ended.
    end: Option<P>,
    input: Option<P>,
    output: Option<P>,
    errors: Option<P>,
    feed: F,
    // What is due of the feed.
    due: Vec<u8>,
    from: usize,
    written: Vec<u8>,
    tail: Vec<u8>,
    bounds: Bounds,
    began: Time,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Runs,
    // The program is reaped; what is in its pipes is read.
    Over { status: ExitStatus, at: Time },
    // It is being killed.
    Dies { how: How, at: Time },
}

/// What a session waits for.
enum Next {
    Over(How),
    /// A pipe is not exhausted yet.
    Again,
    /// Something happens, or this is over.
    Wait(Duration),
}

impl<P: AsFd, F: Feed> Session<P, F> {
    /// Starts a program; `pipe` makes what can be waited for.
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
            state: State::Runs,
        })
    }

    /// Does all that can be done now.
    fn step(&mut self, now: Time) -> Result<Next, Fault> {
        // Asked before the pipes are read: what it wrote before its end is in them.
        let ended = match self.state {
            State::Over { .. } => false,
            State::Runs | State::Dies { .. } => self.leader.has_ended()?,
        };
        let mut again = self.listen()?;
        match self.state {
            State::Runs if ended => {
                self.input = None;
                let status = self.leader.reap()?;
                self.state = State::Over { status, at: now };
            }
            State::Runs => {
                if self.is_too_much() {
                    self.kill(How::TooMuch, now);
                } else if now - self.began >= self.bounds.timeout {
                    self.kill(How::TimedOut, now);
                } else {
                    again |= self.write()?;
                }
            }
            State::Over { .. } | State::Dies { .. } => {}
        }
        Ok(match self.state {
            State::Runs if again => Next::Again,
            State::Runs => Next::Wait(self.bounds.timeout.saturating_sub(now - self.began)),
            State::Over { status, at } => {
                let left = self.bounds.linger.saturating_sub(now - at);
                if left.is_zero() || self.is_too_much() || !self.is_held_open(status) {
                    Next::Over(self.judged(status))
                } else if again {
                    Next::Again
                } else {
                    Next::Wait(left)
                }
            }
            State::Dies { how, at } => {
                let left = DYING.saturating_sub(now - at);
                if ended || left.is_zero() {
                    if ended {
                        self.leader.reap()?;
                    }
                    Next::Over(how)
                } else {
                    Next::Wait(left)
                }
            }
        })
    }

    fn kill(&mut self, how: How, now: Time) {
        self.leader.kill();
        self.input = None;
        self.state = State::Dies { how, at: now };
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

    /// True if another process may write to what is wanted of a program that has ended.
    fn is_held_open(&self, status: ExitStatus) -> bool {
        match status.success() {
            true => self.output.is_some(),
            false => self.errors.is_some(),
        }
    }

    fn ended(self, how: How) -> Ended {
        Ended {
            how,
            output: self.written,
            errors: self.tail,
        }
    }

    /// Reads what is there; true if there may be more.
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

    /// Writes what the pipe takes now; closes it at the end, and where the program no longer listens. True if there is more.
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

/// Why a program could not be run to its end.
#[derive(Debug)]
pub(super) enum Fault {
    /// What it was to be fed with could not be read.
    Feed(Failure),
    /// The system refused something.
    System(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// Reads a pipe until it is empty; true if it may not be.
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
    // An old kernel has none; the clock helps then.
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
}

#[cfg(not(target_os = "linux"))]
fn end_of(_: Pid) -> Option<OwnedFd> {
    None
}

/// Runs a session to its end on this thread.
pub(super) fn wait_here(
    mut session: Session<OwnedFd, impl Feed>,
    clock: &Clock,
) -> Result<Ended, Fault> {
    loop {
        match session.step(clock.now())? {
            Next::Over(how) => return Ok(session.ended(how)),
            Next::Again => {}
            Next::Wait(left) => session.block(left)?,
        }
    }
}

impl<F: Feed> Session<OwnedFd, F> {
    /// Waits until something happens, or `left` is over.
    fn block(&self, left: Duration) -> io::Result<()> {
        let over = matches!(self.state, State::Over { .. });
        let end = self.end.as_ref().filter(|_| !over);
        let left = match (end, over) {
            (None, false) => left.min(TICK),
            _ => left,
        };
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

/// What can be waited for in this thread's runtime.
#[expect(
    deprecated,
    reason = "sound for an `OwnedFd`, which closes itself; what replaces it is unsafe"
)]
pub(super) fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE | Interest::WRITABLE)
}

/// Runs a session to its end without blocking its thread.
pub(super) async fn wait_async(
    mut session: Session<AsyncFd<OwnedFd>, impl Feed>,
    clock: &Clock,
) -> Result<Ended, Fault> {
    loop {
        match session.step(clock.now())? {
            Next::Over(how) => return Ok(session.ended(how)),
            Next::Again => tokio::task::yield_now().await,
            Next::Wait(left) => session.pause(left, clock).await?,
        }
    }
}

impl<F: Feed> Session<AsyncFd<OwnedFd>, F> {
    /// Waits until something happens, or `left` is over.
    async fn pause(&self, left: Duration, clock: &Clock) -> io::Result<()> {
        let over = matches!(self.state, State::Over { .. });
        let end = self.end.as_ref().filter(|_| !over);
        let left = match (end, over) {
            (None, false) => left.min(TICK),
            _ => left,
        };
        tokio::select! {
            ready = ready(end, Interest::READABLE) => ready,
            ready = ready(self.input.as_ref(), Interest::WRITABLE) => ready,
            ready = ready(self.output.as_ref(), Interest::READABLE) => ready,
            ready = ready(self.errors.as_ref(), Interest::READABLE) => ready,
            () = clock.sleep(left) => Ok(()),
        }
    }
}

/// Waits until a pipe is ready once more: every step uses it until it is not, so what was ready before counts no more.
async fn ready(pipe: Option<&AsyncFd<OwnedFd>>, interest: Interest) -> io::Result<()> {
    match pipe {
        Some(pipe) => {
            pipe.ready(interest).await?.clear_ready();
            Ok(())
        }
        None => std::future::pending().await,
    }
}
