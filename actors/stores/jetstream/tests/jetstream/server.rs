//! A nats-server for the tests: started once, on a port and in a folder of its own.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

/// The path of nats-server.
const PROGRAM: &str = "GOPHERWORKS_NATS_SERVER";

/// In the environment of CI: a server that is missing is a failure.
const REQUIRED: &str = "GOPHERWORKS_REQUIRE_SERVERS";

/// nats-server, if it is installed. Without it the test says that it is skipped.
pub fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let named = std::env::var_os(PROGRAM).map(PathBuf::from);
    let found = named.or_else(|| {
        std::env::split_paths(&path).map(|at| at.join("nats-server")).find(|file| file.is_file())
    });
    if found.is_none() {
        static SKIPPED: AtomicU32 = AtomicU32::new(0);
        let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
        let why = format!("no nats-server in the PATH, and {PROGRAM} names none");
        assert!(std::env::var_os(REQUIRED).is_none_or(|set| set != "1"), "{why}");
        // Not by a macro, whose output is kept from the terminal if the test passes.
        let _ = writeln!(std::io::stderr(), "skipped ({count} tests so far): {why}");
    }
    found
}

/// A port that is free at present.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A running server; killed when this is dropped.
pub struct Server {
    child: Child,
    pub port: u16,
}

impl Server {
    /// Starts a server and waits until it is ready.
    pub fn start(program: &Path, folder: &Path, port: u16) -> Self {
        Self::configured(program, folder, port, "")
    }

    /// Starts a server with more in its configuration.
    pub fn configured(program: &Path, folder: &Path, port: u16, more: &str) -> Self {
        let sync = std::env::var("GOPHERWORKS_NATS_SYNC").unwrap_or_else(|_| "2m".to_owned());
        Self::with(program, folder, port, &sync, more)
    }

    /// Starts a server that syncs its files at this interval, or `always`.
    pub fn syncing(program: &Path, folder: &Path, port: u16, interval: &str) -> Self {
        Self::with(program, folder, port, interval, "")
    }

    fn with(program: &Path, folder: &Path, port: u16, sync: &str, more: &str) -> Self {
        let config = folder.join("server.conf");
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\n\
             jetstream {{ store_dir: {:?}, sync_interval: {sync} }}\n{more}\n",
            folder.join("data")
        );
        std::fs::write(&config, text).unwrap();
        // Dies with the test, whatever ends that: the shell reads until the pipe is closed.
        let script = "\"$0\" -c \"$1\" & read -r _; kill -9 $!; wait";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .args([program, &config])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut lines = String::new();
        while !lines.ends_with("Server is ready\n") {
            assert_ne!(log.read_line(&mut lines).unwrap(), 0, "it does not start:\n{lines}");
        }
        // The rest of what it says is read, so that it is never held up.
        std::thread::spawn(move || log.lines().for_each(drop));
        Self { child, port }
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }

    pub fn url(&self) -> String {
        url(self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

pub fn url(port: u16) -> String {
    format!("nats://127.0.0.1:{port}")
}

/// The server of all tests that do not kill it.
pub fn server() -> Option<&'static str> {
    static SERVER: OnceLock<Option<(Server, String, TempDir)>> = OnceLock::new();
    let start = || {
        let (program, folder) = (program()?, tempfile::tempdir().unwrap());
        let server = Server::start(&program, folder.path(), free_port());
        let url = server.url();
        Some((server, url, folder))
    };
    let started = SERVER.get_or_init(start).as_ref();
    if started.is_none() {
        program();
    }
    started.map(|(_, url, _)| url.as_str())
}
