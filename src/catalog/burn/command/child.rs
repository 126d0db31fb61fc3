//! One child process: fed, listened to, and ended in time.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gopherworks_actors::clock::Clock;
use gopherworks_actors::failure::Failure;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// What is kept of standard error: its end.
const KEPT: usize = 4096;

/// How often to look for the end of a process where the system can't tell of it.
const TICK: Duration = Duration::from_millis(20);

/// What a child is fed with.
pub(super) trait Feed {
    /// The next bytes; 0 at the end.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Failure>;
}

/// How a child ended.
pub(super) enum Ended {
    /// By itself, or by a signal that was not ours.
    Exit { status: ExitStatus, stderr: Vec<u8> },
    /// By our hand.
    TimedOut { stderr: Vec<u8> },
}

/// The groups that run. A group leaves before its leader is reaped, so no number in here belongs to anybody else.
static RUNNING: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn running() -> MutexGuard<'static, BTreeSet<i32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills every program that a `command` burn of this process runs at the moment, with all that they have started; returns how many. Their books fail and
/// return to their piles. Programs that are started afterwards are not concerned.
pub fn kill_all() -> usize {
    let running = running();
    running
        .iter()
        .filter_map(|number| Pid::from_raw(*number))
        .for_each(kill_group);
    running.len()
}

fn kill_group(leader: Pid) {
    // Nothing is left to kill where this fails.
    let _ = kill_process_group(leader, Signal::KILL);
}

/// A program that somebody else waits for, until it is [`Group::ended`]; dropped before, it is killed with all that it has started.
pub(in crate::catalog) struct Group(Option<Pid>);

impl Group {
    /// Starts a program that leads a group of its own; `spawn` gives it with its number.
    pub fn start<T>(spawn: impl FnOnce() -> io::Result<(T, u32)>) -> io::Result<(T, Self)> {
        // As above: who kills all sees every child or comes before it.
        let mut running = running();
        let (child, number) = spawn()?;
        let number = number.cast_signed();
        running.insert(number);
        Ok((child, Self(Pid::from_raw(number))))
    }

    /// It has ended by itself: its number is not ours any more.
    pub fn ended(mut self) {
        if let Some(pid) = self.0.take() {
            running().remove(&pid.as_raw_nonzero().get());
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0.take() {
            let mut running = running();
            if running.remove(&pid.as_raw_nonzero().get()) {
                kill_group(pid);
            }
        }
    }
}

/// A running child; dropped, it is killed with its group and reaped.
struct Running {
    child: Child,
    pid: Pid,
    // Readable once the child has ended.
    ended: Option<OwnedFd>,
}

impl Running {
    fn start(command: &mut Command) -> io::Result<Self> {
        // The registry is locked across the start: who kills all sees every child or comes before it.
        let mut running = running();
        let mut child = command
            .process_group(0)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let Some(pid) = Pid::from_raw(child.id().cast_signed()) else {
            let _ = child.kill();
            return Err(io::Error::other("a process without a number"));
        };
        running.insert(child.id().cast_signed());
        Ok(Self {
            child,
            pid,
            ended: ended_fd(pid),
        })
    }

    /// True once the child has ended; it is not reaped, so its number stays its own.
    fn has_ended(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        loop {
            match waitid(WaitId::Pid(self.pid), options) {
                Err(rustix::io::Errno::INTR) => {}
                other => return Ok(other?.is_some()),
            }
        }
    }

    fn reap(&mut self) -> io::Result<ExitStatus> {
        running().remove(&self.child.id().cast_signed());
        self.child.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = running();
        if running.remove(&self.child.id().cast_signed()) {
            kill_group(self.pid);
            drop(running);
            let _ = self.child.wait();
        }
    }
}

#[cfg(target_os = "linux")]
fn ended_fd(pid: Pid) -> Option<OwnedFd> {
    // An old kernel has none; the clock helps then.
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
}

#[cfg(not(target_os = "linux"))]
fn ended_fd(_: Pid) -> Option<OwnedFd> {
    None
}

/// Runs `command` to its end, at most for `timeout`.
pub(super) fn run(
    command: &mut Command,
    feed: impl Feed,
    timeout: Duration,
    program: &str,
) -> Result<Ended, Failure> {
    let trouble = |error: io::Error| Failure::io(format_args!("running {program}"), &error);
    let clock = Clock::real();
    let started = clock.now();
    // Declared first, dropped last: a program that is given up is killed before its input closes, or it would take half a body for
    // a whole one.
    let (mut input, mut stderr);
    let mut running = Running::start(command)
        .map_err(|error| Failure::io(format_args!("starting {program}"), &error))?;
    input = Input::new(running.child.stdin.take(), feed).map_err(trouble)?;
    stderr = Tail::new(running.child.stderr.take()).map_err(trouble)?;
    loop {
        if running.has_ended().map_err(trouble)? {
            // What it wrote is in the pipe by now; a grandchild that holds the pipe open is not waited for.
            stderr.read().map_err(trouble)?;
            let status = running.reap().map_err(trouble)?;
            return Ok(Ended::Exit {
                status,
                stderr: stderr.kept,
            });
        }
        let left = timeout.saturating_sub(clock.now() - started);
        if left.is_zero() {
            kill_group(running.pid);
            running.reap().map_err(trouble)?;
            stderr.read().map_err(trouble)?;
            return Ok(Ended::TimedOut {
                stderr: stderr.kept,
            });
        }
        wait(&running, &input, &stderr, left).map_err(trouble)?;
        stderr.read().map_err(trouble)?;
        input.write(trouble)?;
    }
}

/// Waits until the child ends, takes input, writes to standard error, or `left` is over.
fn wait<F>(running: &Running, input: &Input<F>, stderr: &Tail, left: Duration) -> io::Result<()> {
    let mut left = left;
    let mut fds = Vec::with_capacity(3);
    match &running.ended {
        Some(ended) => fds.push(PollFd::new(ended, PollFlags::IN)),
        None => left = left.min(TICK),
    }
    if let Some(pipe) = &input.pipe {
        fds.push(PollFd::new(pipe, PollFlags::OUT));
    }
    if let Some(pipe) = &stderr.pipe {
        fds.push(PollFd::new(pipe, PollFlags::IN));
    }
    let timeout = Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    };
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn never_wait(pipe: impl AsFd) -> io::Result<()> {
    let flags = fcntl_getfl(&pipe)?;
    Ok(fcntl_setfl(&pipe, flags | OFlags::NONBLOCK)?)
}

/// The child's standard input, and what is to go there.
struct Input<F> {
    pipe: Option<ChildStdin>,
    feed: F,
    buffer: Vec<u8>,
    from: usize,
    to: usize,
}

impl<F> Input<F> {
    fn new(pipe: Option<ChildStdin>, feed: F) -> io::Result<Self> {
        if let Some(pipe) = &pipe {
            never_wait(pipe)?;
        }
        Ok(Self {
            pipe,
            feed,
            buffer: vec![0; 64 * 1024],
            from: 0,
            to: 0,
        })
    }
}

impl<F: Feed> Input<F> {
    /// Writes what the pipe takes now, but not for ever, since the time has to be looked at; closes it at the end, and where
    /// the child no longer listens.
    fn write(&mut self, trouble: impl Fn(io::Error) -> Failure) -> Result<(), Failure> {
        for _ in 0..16 {
            let Some(pipe) = &mut self.pipe else { break };
            if self.from == self.to {
                self.from = 0;
                self.to = self.feed.read(&mut self.buffer)?;
                if self.to == 0 {
                    self.pipe = None;
                    break;
                }
            }
            match pipe.write(&self.buffer[self.from..self.to]) {
                Ok(length) => self.from += length,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => break,
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::BrokenPipe => self.pipe = None,
                    _ => return Err(trouble(error)),
                },
            }
        }
        Ok(())
    }
}

/// The child's standard error, of which the end is kept.
struct Tail {
    pipe: Option<ChildStderr>,
    kept: Vec<u8>,
}

impl Tail {
    fn new(pipe: Option<ChildStderr>) -> io::Result<Self> {
        if let Some(pipe) = &pipe {
            never_wait(pipe)?;
        }
        Ok(Self {
            pipe,
            kept: Vec::new(),
        })
    }

    /// Reads what is there. No more than a pipe holds, so that a child that never stops talking can be stopped.
    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        for _ in 0..64 {
            let Some(pipe) = &mut self.pipe else { break };
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(length) => {
                    self.kept.extend_from_slice(&buffer[..length]);
                    let surplus = self.kept.len().saturating_sub(KEPT);
                    self.kept.drain(..surplus);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => break,
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }
}
