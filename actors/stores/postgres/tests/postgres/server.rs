//! A PostgreSQL server of the tests: Debian's package, in a temporary folder, on a socket there.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::sync::OnceLock;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A server that ends with this process.
pub struct Server {
    pub folder: TempDir,
    bin: PathBuf,
    /// The user that it runs as, if this process may not be it.
    user: Option<(u32, u32)>,
    running: Option<Child>,
    /// Its end tells the shell to end the server.
    _stdin: Option<ChildStdin>,
}

/// A program of PostgreSQL: in the folder of Debian's package, or where `PATH` says.
fn programs() -> Result<PathBuf, String> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|entry| entry.path().join("bin")).collect();
    folders.sort();
    folders.reverse();
    folders.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    let has = |folder: &PathBuf| ["initdb", "postgres"].iter().all(|it| folder.join(it).exists());
    folders.into_iter().find(has).ok_or("PostgreSQL is not installed".to_owned())
}

/// The user that runs the server if the tests run as root, which the server refuses.
fn other_user(folder: &Path) -> Result<Option<(u32, u32)>, String> {
    if fs::metadata(folder).map_err(|error| error.to_string())?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").map_err(|error| error.to_string())?;
    let number = |field: Option<&str>| field.and_then(|field| field.parse().ok());
    let found = ["postgres:", "nobody:"].iter().find_map(|name| {
        let line = users.lines().find(|line| line.starts_with(name))?;
        let mut fields = line.split(':').skip(2);
        Some((number(fields.next())?, number(fields.next())?))
    });
    found.map(Some).ok_or("no user `postgres` or `nobody`".to_owned())
}

impl Server {
    /// Makes a database cluster, and starts the server.
    pub fn start(settings: &[&str]) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let user = other_user(folder.path())?;
        if let Some((user, group)) = user {
            chown(folder.path(), Some(user), Some(group)).map_err(|error| error.to_string())?;
        }
        let bin = programs()?;
        let mut server = Self { folder, bin, user, running: None, _stdin: None };
        let made = server
            .command("initdb")
            .args(["-D", "data", "-U", "works", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"])
            .output()
            .map_err(|error| error.to_string())?;
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stderr).into_owned());
        }
        server.run(settings)?;
        Ok(server)
    }

    fn command(&self, program: &str) -> Command {
        self.as_user(Command::new(self.bin.join(program)))
    }

    fn as_user(&self, mut command: Command) -> Command {
        command.current_dir(self.folder.path());
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }

    /// Starts the server on its data, and waits until it accepts connections.
    fn run(&mut self, settings: &[&str]) -> Result<(), String> {
        let mut said = String::new();
        // Another attempt if processes of a killed server still have its memory.
        for _ in 0..100 {
            let mut command = self.command("postgres");
            command.args(["-D", "data", "-k"]).arg(self.folder.path());
            command.args(["-c", "listen_addresses=", "-c", "logging_collector=off"]);
            settings.iter().for_each(|setting| _ = command.args(["-c", setting]));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            let mut child = command.spawn().map_err(|error| error.to_string())?;
            said.clear();
            if is_ready(&mut child, &mut said) {
                self.running = Some(child);
                return Ok(());
            }
            let _ = child.wait();
            if !said.contains("still in use") && !said.contains("lock file") {
                break;
            }
        }
        Err(said)
    }

    /// For the driver: a URL without a password.
    pub fn url(&self) -> String {
        format!("host={} user=works dbname=postgres", self.folder.path().display())
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join(".s.PGSQL.5432")
    }

    /// `kill -9` of the postmaster and all of its children; waits for its end.
    pub fn kill(&mut self) {
        let Some(mut child) = self.running.take() else { return };
        let pid = child.id();
        let children = format!("/proc/{pid}/task/{pid}/children");
        let children = fs::read_to_string(children).unwrap_or_default();
        child.kill().expect("a postmaster");
        for child in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            // It may have ended by itself.
            let _ = kill_process(Pid::from_raw(child).expect("a process"), Signal::KILL);
        }
        // Before it is reaped, its successor takes it for alive.
        child.wait().expect("its end");
    }

    /// Starts a killed server again; it recovers.
    pub fn restart(&mut self) {
        self.run(&[]).expect("it starts again");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads the log until the server is ready; false if it ends before. Then goes on reading.
fn is_ready(child: &mut Child, said: &mut String) -> bool {
    let Some(log) = child.stderr.take() else { return false };
    let mut log = BufReader::new(log);
    while log.read_line(said).is_ok_and(|read| read > 0) {
        if said.contains("ready to accept connections") {
            std::thread::spawn(move || drain(log));
            return true;
        }
    }
    false
}

/// A full pipe would stop the server.
fn drain(mut log: BufReader<ChildStderr>) {
    let _ = std::io::copy(&mut log, &mut std::io::sink());
}

/// Ends a server, and removes its folder, when this process ends, however it does.
fn guard(server: &mut Server) {
    let script = "cat > /dev/null; kill -9 $1; rm -rf \"$2\"";
    let pid = server.running.as_ref().map(Child::id).unwrap_or_default().to_string();
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh", &pid]).arg(server.folder.path());
    let shell = shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    server._stdin = shell.expect("a shell").stdin.take();
}

/// The server that all tests of this process share; `None`, and a line that says so, without one.
pub fn shared(test: &str) -> Option<&'static Server> {
    static SERVER: OnceLock<Result<Server, String>> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let mut server = Server::start(&["max_connections=400"])?;
        guard(&mut server);
        Ok(server)
    });
    server.as_ref().map_err(|why| skip(test, why)).ok()
}

/// Says that a test is skipped, past the capture of its output; fails where it must not be.
pub fn skip(test: &str, why: &str) {
    let required = std::env::var_os("GOPHERWORKS_REQUIRE_SERVERS").is_some();
    assert!(!required, "{test} needs a server: {why}");
    let _ = writeln!(std::io::stderr(), "skipped {test}: {}", why.trim());
}
