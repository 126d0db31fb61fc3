//! Runs the `gopherworks` command as a user does: in a folder and an environment of its own, with a
//! time limit.
// The deadlines of tests are in real time.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Time limit of every wait; what takes longer is considered hung.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The built command.
pub fn program() -> &'static str {
    env!("CARGO_BIN_EXE_gopherworks")
}

/// The path of a shipped config.
pub fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

/// A temporary folder for a test; removed when dropped.
pub struct Place(TempDir);

impl Place {
    /// An empty folder.
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    /// Path of the folder.
    pub fn root(&self) -> &Path {
        self.0.path()
    }

    /// A path in the folder.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root().join(name)
    }

    /// Writes a file, and creates its parent folders.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(&path, content).expect("a file");
        path
    }

    /// The text of a file; empty if it does not exist.
    pub fn text(&self, name: impl AsRef<Path>) -> String {
        fs::read(self.path(name))
            .map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Makes a fifo.
    pub fn fifo(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.path(name);
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a fifo");
        path
    }

    /// `gopherworks` with these arguments, in the folder.
    pub fn run<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> Command {
        let mut command = Command::from_std(self.process(args));
        command.timeout(PATIENCE);
        command
    }

    /// As [`Place::run`], for a process that is started and signalled.
    pub fn process<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> Process {
        let mut process = Process::new(program());
        process.args(args).current_dir(self.root());
        plain(&mut process);
        process
    }

    /// The report that a run wrote with `--report`.
    pub fn report(&self, name: impl AsRef<Path>) -> Report {
        let text = fs::read(self.path(name)).expect("a report");
        Report(serde_json::from_slice(&text).expect("a report in JSON"))
    }
}

/// Removes variables of the tests' environment from a process.
pub fn plain(process: &mut Process) {
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"GOPHERWORKS") {
            process.env_remove(name);
        }
    }
    for name in ["RUST_LOG", "INBOX", "OUTBOX", "COLUMNS", "NO_COLOR", "CLICOLOR_FORCE"] {
        process.env_remove(name);
    }
}

/// A config with one crew from a pile `inbox` to an incinerator `fire`, with carts of `books`.
pub fn one_crew(source: &str, work: &str, burn: &str, books: u32) -> String {
    format!(
        "[piles.inbox]\nsource = {source}\nmax_attempts = 2\n\n[incinerators.fire]\nburn = {burn}\n\
         \n\
         [crews.crew]\nfrom = \"inbox\"\nto = \"fire\"\ngophers = [\"load push unload return\"]\n\
         carts = {{ count = 1, books = {books} }}\nwork = {work}\n"
    )
}

/// A run's report in JSON.
#[derive(Debug)]
pub struct Report(pub Value);

impl Report {
    /// Parses standard output with `--format json`.
    pub fn printed(stdout: &[u8]) -> Self {
        Self(serde_json::from_slice(stdout).expect("one report in JSON on stdout"))
    }

    /// A number of the ledger.
    pub fn ledger(&self, name: &str) -> i64 {
        let number = self.0["ledger"][name].as_i64();
        number.unwrap_or_else(|| panic!("no {name} in {}", self.0["ledger"]))
    }

    /// Asserts that every book is accounted for once.
    #[track_caller]
    pub fn balanced(&self) -> &Self {
        assert_eq!(self.ledger("lost"), 0, "{}", self.0);
        assert_eq!(self.ledger("duplicates"), 0, "{}", self.0);
        let ends: i64 =
            ["burned", "dead", "dropped", "in_flight"].iter().map(|name| self.ledger(name)).sum();
        assert_eq!(self.ledger("offered"), ends, "{}", self.0);
        self
    }
}

/// A running command that the test observes.
pub struct Running {
    child: Child,
    out: Option<JoinHandle<Vec<u8>>>,
    err: Option<JoinHandle<Vec<u8>>>,
    said: Arc<Said>,
}

/// Standard error so far.
#[derive(Default)]
struct Said {
    text: Mutex<Vec<u8>>,
    more: Condvar,
}

impl Running {
    /// Starts the process.
    pub fn start(mut process: Process) -> Self {
        let spawned =
            process.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.expect("the command starts");
        let said = Arc::<Said>::default();
        let out = child.stdout.take();
        let out = out.map(|pipe| collect(pipe, Arc::default()));
        let err = child.stderr.take();
        let err = err.map(|pipe| collect(pipe, said.clone()));
        Self { child, out, err, said }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        let pid = Pid::from_raw(id).expect("a process id");
        kill_process(pid, signal).expect("the process is there");
    }

    /// True if `what` is on stderr. If it is not, waits briefly for more, so that a loop over this
    /// keeps neither a core nor the lock from the thread that reads stderr.
    pub fn said(&self, what: &str) -> bool {
        let text = self.said.text.lock().expect("not poisoned");
        if String::from_utf8_lossy(&text).contains(what) {
            return true;
        }
        let briefly = Duration::from_millis(20);
        drop(self.said.more.wait_timeout(text, briefly));
        false
    }

    /// Waits until `what` is on stderr; panics with all of stderr after [`PATIENCE`].
    #[track_caller]
    pub fn waits_for(&self, what: &str) {
        let start = Instant::now();
        while !self.said(what) {
            let patient = start.elapsed() < PATIENCE;
            assert!(patient, "no `{what}` in {PATIENCE:?}:\n{}", self.text());
        }
    }

    /// Standard error so far.
    pub fn text(&self) -> String {
        let text = self.said.text.lock().expect("not poisoned");
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Core time used so far, in hundredths of a second; `None` if the system does not report it.
    pub fn ticks(&self) -> Option<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
        let field = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(field(11)? + field(12)?)
    }

    /// True once the process has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// Waits for the process to end.
    #[track_caller]
    pub fn end(mut self) -> Output {
        let mut status: Option<ExitStatus> = None;
        until("the command ends", || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        let text = |handle: &mut Option<JoinHandle<Vec<u8>>>| {
            let handle = handle.take().expect("read once");
            handle.join().expect("a pipe is read")
        };
        Output {
            status: status.expect("it has ended"),
            stdout: text(&mut self.out),
            stderr: text(&mut self.err),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A failed test leaves no process behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut pipe: impl Read + Send + 'static, said: Arc<Said>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = pipe.read(&mut buffer) {
            let mut text = said.text.lock().expect("not poisoned");
            text.extend_from_slice(&buffer[..length]);
            drop(text);
            said.more.notify_all();
        }
        // A copy: `said` is also asked after the process has ended.
        said.text.lock().expect("not poisoned").clone()
    })
}

/// Polls until `happened` is true; panics after [`PATIENCE`].
#[track_caller]
pub fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < PATIENCE, "{what}: not in {PATIENCE:?}");
        // A spin would take from the process, which is waited for, one of few cores.
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// A gate on a fifo: a program that reads a line of it waits until the test opens it.
pub struct Gate(File);

impl Gate {
    /// Holds both ends open, so that no open call blocks.
    pub fn new(fifo: &Path) -> Self {
        let opened = File::options()
            .read(true)
            .write(true)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
            .open(fifo);
        Self(opened.expect("a fifo"))
    }

    /// Lets `count` readers through.
    pub fn open(&mut self, count: usize) {
        self.0.write_all("\n".repeat(count).as_bytes()).expect("room in the fifo");
    }
}

/// All files below a folder, by relative path, with their contents; hidden folders at the top are
/// skipped.
pub fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let entry = entry.expect("an entry");
            let kind = entry.file_type().expect("a type");
            if kind.is_dir() && entry.file_name() != ".gopherworks" {
                open.push(entry.path());
            } else if kind.is_file() {
                let path = entry.path();
                let name = path.strip_prefix(root).expect("below").to_path_buf();
                files.insert(name, fs::read(&path).expect("a file"));
            }
        }
    }
    files
}

/// The lines of a stream.
pub fn lines(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect()
}
