//! Process groups of running programs. All can be killed at once, and all are killed if this
//! process dies.

use std::collections::BTreeSet;
use std::io::{self, PipeWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use parking_lot::Mutex;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// The running groups, and the shell that kills them if this process dies.
struct Groups {
    running: BTreeSet<i32>,
    /// Number of calls of [`kill_all`].
    kills: u64,
    warden: Warden,
}

static GROUPS: Mutex<Groups> =
    Mutex::new(Groups { running: BTreeSet::new(), kills: 0, warden: Warden::NotStarted });

/// Kills every program that a `command` burn or a `command` worker of this process is running or
/// starting, with its process group. Returns the number that were running. Programs started
/// afterwards are not affected.
pub fn kill_all() -> usize {
    let mut groups = GROUPS.lock();
    groups.kills += 1;
    let running = groups.running.iter();
    running.filter_map(|number| Pid::from_raw(*number)).for_each(kill_group);
    groups.running.len()
}

fn kill_group(leader: Pid) {
    // An error means that the group no longer exists.
    let _ = kill_process_group(leader, Signal::KILL);
}

/// The parent's ends of a program's pipes.
pub(super) struct Pipes {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

/// A program that leads its own process group. Dropping it before it is reaped kills the group.
pub(super) struct Leader {
    child: Option<Child>,
    pid: Pid,
    // Value of `Groups::kills` before the start.
    kills: u64,
}

impl Leader {
    /// Starts the program; returns it with the parent's ends of its pipes.
    pub fn start(command: &mut Command) -> io::Result<(Self, Pipes)> {
        let kills = {
            let mut groups = GROUPS.lock();
            if matches!(groups.warden, Warden::NotStarted) {
                // The warden starts first, so that it can watch the program from the beginning.
                groups.watch();
            }
            groups.kills
        };
        // Without the lock: `kill_all` must not wait for a file system that hangs.
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
        let leader = Self { child: Some(child), pid, kills };
        let mut groups = GROUPS.lock();
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

    /// True once the program has exited. It is not reaped, so its process id is not reused.
    pub fn has_ended(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        loop {
            match waitid(WaitId::Pid(self.pid), options) {
                Err(rustix::io::Errno::INTR) => {}
                other => return Ok(other?.is_some()),
            }
        }
    }

    /// Kills the program's process group.
    pub fn kill(&self) {
        kill_group(self.pid);
    }

    /// True if [`kill_all`] was called since the program was started.
    pub fn is_killed_with_all(&self) -> bool {
        GROUPS.lock().kills != self.kills
    }

    /// Reaps an exited program. Other processes of its group continue.
    pub fn reap(&mut self) -> io::Result<ExitStatus> {
        match self.child.take() {
            Some(mut child) => {
                self.forget();
                child.wait()
            }
            None => Err(io::Error::other("its status was taken before")),
        }
    }

    /// Called before reaping, since the process id may be reused afterwards.
    fn forget(&self) {
        let number = self.pid.as_raw_nonzero().get();
        let mut groups = GROUPS.lock();
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
            // Waiting may take as long as a slow file system, and an arbiter must not block.
            let reaper = std::thread::Builder::new().name("gopherworks-reaper".to_owned());
            // Without this thread the program stays a zombie until this process ends.
            let _ = reaper.spawn(move || child.wait());
        }
    }
}

/// A shell that kills the registered process groups once this process has ended, even by SIGKILL.
/// `PR_SET_PDEATHSIG` can't replace it: that acts when the *thread* that started the program ends,
/// is only on Linux, and spares the program's own children.
enum Warden {
    NotStarted,
    Watches {
        shell: Child,
        pipe: PipeWriter,
    },
    /// No shell is available, or it can't be started.
    Missing,
}

/// Script of the warden: reads `+ <group>` and `- <group>`, and at the end of its input, which
/// means that this process has ended, kills the remaining groups. It uses only shell builtins, so
/// it starts no process.
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
    /// Tells the warden that a group was added (`+`) or removed (`-`).
    fn tell(&mut self, sign: char, number: i32) {
        let told = match &mut self.warden {
            Warden::NotStarted | Warden::Missing => return,
            Warden::Watches { pipe, .. } => pipe.write_all(format!("{sign} {number}\n").as_bytes()),
        };
        if told.is_err() {
            // The warden was killed, or it is stopped and its pipe is full.
            self.watch();
        }
    }

    /// Starts a new warden in place of the old one, and registers all running groups with it.
    fn watch(&mut self) {
        if let Warden::Watches { shell, pipe } =
            std::mem::replace(&mut self.warden, Warden::Missing)
        {
            dismiss(shell, pipe);
        }
        match self.start_warden() {
            Ok(warden) => self.warden = warden,
            Err(error) => log::warn!(
                "no shell guards the programs, so they would outlive a killed gopherworks: {error}"
            ),
        }
    }

    fn start_warden(&self) -> io::Result<Warden> {
        let (input, mut pipe) = io::pipe()?;
        let shell = Command::new("/bin/sh")
            .args(["-c", WARDEN, "gopherworks-warden"])
            .env_clear()
            .current_dir("/")
            // Signals from a terminal or a service manager to our group must not reach the warden.
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

/// Kills the shell before its input ends, so that it does not kill running groups.
fn dismiss(mut shell: Child, pipe: PipeWriter) {
    let _ = shell.kill();
    let _ = shell.wait();
    drop(pipe);
}
