//! The process groups of the programs that run: killed together, and never left behind.

use std::collections::BTreeSet;
use std::io::{self, PipeWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// The groups that run, and what kills them should this process die.
struct Groups {
    running: BTreeSet<i32>,
    /// How often all groups were killed.
    kills: u64,
    warden: Warden,
}

static GROUPS: Mutex<Groups> = Mutex::new(Groups {
    running: BTreeSet::new(),
    kills: 0,
    warden: Warden::NotStarted,
});

fn groups() -> MutexGuard<'static, Groups> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills every program that a `command` burn or a `command` worker of this process runs at the
/// moment, with all that they have started, and those that are just being started; returns how
/// many ran. Programs that are started afterwards are not concerned.
pub fn kill_all() -> usize {
    let mut groups = groups();
    groups.kills += 1;
    let running = groups.running.iter();
    running
        .filter_map(|number| Pid::from_raw(*number))
        .for_each(kill_group);
    groups.running.len()
}

fn kill_group(leader: Pid) {
    // Nothing is left to kill where this fails.
    let _ = kill_process_group(leader, Signal::KILL);
}

/// Our ends of a program's pipes.
pub(super) struct Pipes {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

/// A program that leads a process group of its own. Dropped before it was reaped, it is killed with
/// all that it has started.
pub(super) struct Leader {
    child: Option<Child>,
    pid: Pid,
    // `Groups::kills` before the program was started.
    kills: u64,
}

impl Leader {
    /// Starts the program; gives our ends of its pipes.
    pub fn start(command: &mut Command) -> io::Result<(Self, Pipes)> {
        let kills = {
            let mut groups = groups();
            if matches!(groups.warden, Warden::NotStarted) {
                // Before the program: it is to be watched from its first moment on.
                groups.watch();
            }
            groups.kills
        };
        // Not under the lock: a file system that hangs must not keep `kill_all` waiting.
        let mut child = command.process_group(0).spawn()?;
        let number = child.id().cast_signed();
        let Some(pid) = Pid::from_raw(number) else {
            let _ = child.kill();
            return Err(io::Error::other("a process without a number"));
        };
        let pipes = Pipes {
            stdin: child.stdin.take().map(OwnedFd::from),
            stdout: child.stdout.take().map(OwnedFd::from),
            stderr: child.stderr.take().map(OwnedFd::from),
        };
        let leader = Self {
            child: Some(child),
            pid,
            kills,
        };
        let mut groups = groups();
        groups.running.insert(number);
        groups.tell('+', number);
        if groups.kills != kills {
            kill_group(pid);
        }
        drop(groups);
        Ok((leader, pipes))
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// True once the program has ended; it is not reaped, so its number stays its own.
    pub fn has_ended(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        loop {
            match waitid(WaitId::Pid(self.pid), options) {
                Err(rustix::io::Errno::INTR) => {}
                other => return Ok(other?.is_some()),
            }
        }
    }

    /// Kills the program with all that it has started.
    pub fn kill(&self) {
        kill_group(self.pid);
    }

    /// True if [`kill_all`] has concerned this program.
    pub fn is_killed_with_all(&self) -> bool {
        groups().kills != self.kills
    }

    /// Takes the status of a program that has ended. What it has left running goes on.
    pub fn reap(&mut self) -> io::Result<ExitStatus> {
        match self.child.take() {
            Some(mut child) => {
                self.forget();
                child.wait()
            }
            None => Err(io::Error::other("its status was taken before")),
        }
    }

    /// Before it is reaped: afterwards the number may be another process's.
    fn forget(&self) {
        let number = self.pid.as_raw_nonzero().get();
        let mut groups = groups();
        groups.running.remove(&number);
        groups.tell('-', number);
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        self.kill();
        self.forget();
        if matches!(child.try_wait(), Ok(None)) {
            // It dies within moments, or when its file system answers; an arbiter can't wait for it.
            let reaper = std::thread::Builder::new().name("gopherworks-reaper".to_owned());
            // Without a thread it stays a zombie until this process ends.
            let _ = reaper.spawn(move || child.wait());
        }
    }
}

/// A shell that kills the groups which it was told of once this process is gone, however it went:
/// the system can kill a program with its parent (`PR_SET_PDEATHSIG`), but only when the *thread*
/// that started it ends, only on Linux, and not what the program has started in its turn.
enum Warden {
    NotStarted,
    Watches {
        shell: Child,
        pipe: PipeWriter,
    },
    /// There is no shell, or it can't be started.
    Missing,
}

/// Reads `+ <group>` and `- <group>`; at the end of its input, which is the end of this process,
/// kills what is left. All in words that a shell has built in: it starts no process.
pub(super) const WARDEN: &str = r#"trap '' HUP INT QUIT TERM
groups=' '
while read -r sign group; do
  case $sign in
  +) groups="$groups$group " ;;
  -) case $groups in *" $group "*) groups="${groups%% $group *} ${groups#* $group }" ;; esac ;;
  esac
done
for group in $groups; do kill -s KILL -- "-$group" 2>/dev/null; done"#;

impl Groups {
    /// Tells the warden that a group has come (`+`) or gone (`-`).
    fn tell(&mut self, sign: char, number: i32) {
        let told = match &mut self.warden {
            Warden::NotStarted | Warden::Missing => return,
            Warden::Watches { pipe, .. } => pipe.write_all(format!("{sign} {number}\n").as_bytes()),
        };
        if told.is_err() {
            // Killed, or stopped with a full pipe.
            self.watch();
        }
    }

    /// Starts a warden, in the place of the one before, and tells it of every group that runs.
    fn watch(&mut self) {
        if let Warden::Watches { shell, pipe } =
            std::mem::replace(&mut self.warden, Warden::Missing)
        {
            dismiss(shell, pipe);
        }
        match self.start_warden() {
            Ok(warden) => self.warden = warden,
            Err(error) => log::warn!(
                "no shell watches over programs, which would outlive a killed gopherworks: {error}"
            ),
        }
    }

    fn start_warden(&self) -> io::Result<Warden> {
        let (input, mut pipe) = io::pipe()?;
        let shell = Command::new("/bin/sh")
            .args(["-c", WARDEN, "gopherworks-warden"])
            .env_clear()
            .current_dir("/")
            // What a terminal or a service manager signals to our group is not for it.
            .process_group(0)
            .stdin(input)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let running = self.running.iter();
        let running: String = running.map(|number| format!("+ {number}\n")).collect();
        let told = pipe.write_all(running.as_bytes()).and_then(|()| {
            let flags = fcntl_getfl(&pipe)?;
            Ok(fcntl_setfl(&pipe, flags | OFlags::NONBLOCK)?)
        });
        match told {
            Ok(()) => Ok(Warden::Watches { shell, pipe }),
            Err(error) => {
                dismiss(shell, pipe);
                Err(error)
            }
        }
    }
}

/// Dead before its input ends: it must not kill what goes on.
fn dismiss(mut shell: Child, pipe: PipeWriter) {
    let _ = shell.kill();
    let _ = shell.wait();
    drop(pipe);
}
