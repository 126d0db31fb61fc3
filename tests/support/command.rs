//! The `gopherworks` command as a user runs it: in a folder of its own, with an environment of its own, never for ever.
// A test's deadlines are of the real world.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Longest that anything may take; what takes longer hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The built command.
pub fn program() -> &'static str {
    env!("CARGO_BIN_EXE_gopherworks")
}

/// A config that is shipped.
pub fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("config")
        .join(name)
}

/// A folder that a test works in; gone afterwards.
pub struct Place(TempDir);

impl Place {
    /// An empty one.
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        self.0.path()
    }

    /// A path in it.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root().join(name)
    }

    /// Writes a file with the folders on the way to it.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(&path, content).expect("a file");
        path
    }

    /// The text of a file; empty if there is none.
    pub fn text(&self, name: impl AsRef<Path>) -> String {
        fs::read(self.path(name)).map_or_else(
            |_| String::new(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// Makes a fifo.
    pub fn fifo(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.path(name);
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a fifo");
        path
    }

    /// `gopherworks` with these arguments, here.
    pub fn run<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> Command {
        let mut command = Command::from_std(self.process(args));
        command.timeout(PATIENCE);
        command
    }

    /// The same to be started and signalled.
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

/// Takes what the tests' own surroundings would add out of a process.
pub fn plain(process: &mut Process) {
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"GOPHERWORKS") {
            process.env_remove(name);
        }
    }
    process
        .env_remove("RUST_LOG")
        .env_remove("INBOX")
        .env_remove("OUTBOX");
}

/// A topology of one crew from a pile `inbox` to an incinerator `fire`, in carts of `books`.
pub fn one_crew(source: &str, work: &str, burn: &str, books: u32) -> String {
    format!(
        "[piles.inbox]\nsource = {source}\nmax_attempts = 2\n\n[incinerators.fire]\nburn = {burn}\n\n\
         [crews.crew]\nfrom = \"inbox\"\nto = \"fire\"\ngophers = [\"load push unload return\"]\n\
         carts = {{ count = 1, books = {books} }}\nwork = {work}\n"
    )
}

/// A run's report in JSON.
#[derive(Debug)]
pub struct Report(pub Value);

impl Report {
    /// Out of standard output with `--format json`.
    pub fn printed(stdout: &[u8]) -> Self {
        Self(serde_json::from_slice(stdout).expect("one report in JSON on stdout"))
    }

    /// A number of the ledger.
    pub fn ledger(&self, name: &str) -> i64 {
        let number = self.0["ledger"][name].as_i64();
        number.unwrap_or_else(|| panic!("no {name} in {}", self.0["ledger"]))
    }

    /// Every book is somewhere, once.
    #[track_caller]
    pub fn balanced(&self) -> &Self {
        assert_eq!(self.ledger("lost"), 0, "{}", self.0);
        assert_eq!(self.ledger("duplicates"), 0, "{}", self.0);
        let ends: i64 = ["burned", "dead", "dropped", "in_flight"]
            .iter()
            .map(|name| self.ledger(name))
            .sum();
        assert_eq!(self.ledger("offered"), ends, "{}", self.0);
        self
    }
}

/// A command that runs on while the test looks at it.
pub struct Running {
    child: Child,
    out: Option<JoinHandle<Vec<u8>>>,
    err: Option<JoinHandle<Vec<u8>>>,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Running {
    /// Starts it.
    pub fn start(mut process: Process) -> Self {
        let spawned = process
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = spawned.expect("the command starts");
        let said = Arc::<Mutex<Vec<u8>>>::default();
        let out = child.stdout.take();
        let out = out.map(|pipe| collect(pipe, Arc::default()));
        let err = child.stderr.take();
        let err = err.map(|pipe| collect(pipe, said.clone()));
        Self {
            child,
            out,
            err,
            said,
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        let pid = Pid::from_raw(id).expect("a process id");
        kill_process(pid, signal).expect("the process is there");
    }

    /// True once this is on stderr.
    pub fn said(&self, what: &str) -> bool {
        let said = self.said.lock().expect("nobody panics with it");
        String::from_utf8_lossy(&said).contains(what)
    }

    /// What it has said on stderr so far.
    pub fn text(&self) -> String {
        let said = self.said.lock().expect("nobody panics with it");
        String::from_utf8_lossy(&said).into_owned()
    }

    /// Processor time that it has used, in hundredths of a second; `None` where the system does not
    /// tell.
    pub fn ticks(&self) -> Option<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
        let field = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(field(11)? + field(12)?)
    }

    /// True once it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// Waits for its end.
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
        // A test that failed leaves nothing behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut pipe: impl Read + Send + 'static, said: Arc<Mutex<Vec<u8>>>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = pipe.read(&mut buffer) {
            let mut said = said.lock().expect("nobody panics with it");
            said.extend_from_slice(&buffer[..length]);
        }
        std::mem::take(&mut *said.lock().expect("nobody panics with it"))
    })
}

/// Waits for an event that nobody announces; a failure after [`PATIENCE`].
#[track_caller]
pub fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < PATIENCE, "{what}: not in {PATIENCE:?}");
        std::thread::yield_now();
    }
}

/// A gate on a fifo: a program that reads a line of it waits until the test opens it.
pub struct Gate(File);

impl Gate {
    /// Holds both ends open, so that nobody blocks in `open`.
    pub fn new(fifo: &Path) -> Self {
        let opened = File::options()
            .read(true)
            .write(true)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
            .open(fifo);
        Self(opened.expect("a fifo"))
    }

    /// Lets this many through.
    pub fn open(&mut self, count: usize) {
        self.0
            .write_all("\n".repeat(count).as_bytes())
            .expect("room in the fifo");
    }
}

/// All files below a folder by their paths in it, with their contents; hidden folders at the top are left out.
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
    String::from_utf8_lossy(bytes)
        .lines()
        .map(str::to_owned)
        .collect()
}
