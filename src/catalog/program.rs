//! Runs programs for `command` burns and `command` workers.
//!
//! Each program leads its own process group. Once it exits, its result is its exit code and the
//! output written so far; processes that it leaves running are neither awaited nor killed. The
//! whole group is killed on timeout, on too much output, when its request is cancelled, when the
//! run is stopped, and when this process dies for any reason.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use gopherworks_pipeline::book::Book;
use gopherworks_supervision::clock::Clock;
use gopherworks_supervision::failure::Failure;
use rustix::io::Errno;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FilePath, RunId, Site, names};
use crate::config::units::{Size, Time};

mod child;
mod groups;
mod places;
#[cfg(test)]
mod tests;

pub(in crate::catalog) use child::Feed;
pub use groups::kill_all;
pub(in crate::catalog) use places::look;

use child::{Bounds, Ended, Fault, How, Session};

/// How long to keep reading after a program has exited while other processes hold its output open.
const LINGER: Duration = Duration::from_millis(100);

/// Largest limit for a body or an output held in memory, in bytes.
pub(in crate::catalog) const MOST_HELD: u64 = 4 << 30;

#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "Vec<String>")]
#[schemars(
    inline,
    extend("minItems" = 1, "prefixItems" = [{ "type": "string", "format": "program" }])
)]
pub(in crate::catalog) struct Words(pub(in crate::catalog) Vec<String>);

impl TryFrom<Vec<String>> for Words {
    type Error = String;

    fn try_from(words: Vec<String>) -> Result<Self, String> {
        match words.first() {
            Some(program) if !program.is_empty() => Ok(Self(words)),
            _ => Err("names no program".to_owned()),
        }
    }
}

/// Declares the options of a kind that runs programs: the common ones, followed by its own.
macro_rules! program_options {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($own:tt)* }) => {
        $(#[$meta])*
        #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        $vis struct $name {
            /// The program and its arguments, run without a shell. A name without `/` is looked up
            /// on the `PATH`; one with `/` is relative to the folder of the config file that
            /// contains it.
            command: $crate::catalog::program::Words,
            /// A program that runs longer is killed with its whole process group.
            #[serde(default = "crate::config::units::millis::<60_000>")]
            timeout: $crate::config::units::Time,
            /// Environment variables to add. These are always set: `GOPHERWORKS_NODE` (name of the
            /// burn or balancer), `GOPHERWORKS_RUN` (unique to each run) and `GOPHERWORKS_BOOKS`
            /// (number of books); for a single book also `GOPHERWORKS_NAME` and
            /// `GOPHERWORKS_BOOK_ID` (unique across runs); for a request also `GOPHERWORKS_FROM`
            /// and `GOPHERWORKS_NUMBER`; for either `GOPHERWORKS_ATTEMPT` (from 1).
            #[serde(default)]
            env: std::collections::BTreeMap<String, String>,
            /// Working directory of the program, relative to the folder of the config file that
            /// contains it. Default: the current directory.
            #[serde(default)]
            #[schemars(extend("x-access" = "none"))]
            folder: Option<$crate::catalog::FilePath>,
            /// How many of the last bytes of the program's standard error are quoted when it fails,
            /// at most 1 MiB.
            #[serde(default = "crate::config::units::size::<4096>")]
            #[schemars(extend("maximum" = 1 << 20))]
            keep_stderr: $crate::config::units::Size,
            $($own)*
        }

        impl $name {
            fn program(&self) -> $crate::catalog::program::Program {
                $crate::catalog::program::Program {
                    words: self.command.0.clone(),
                    timeout: self.timeout.0,
                    env: self.env.clone(),
                    folder: self.folder.clone(),
                    kept: self.keep_stderr.0 as usize,
                }
            }

            /// Reports problems with the program on this machine.
            pub(in crate::catalog) fn look(&self) -> Vec<$crate::catalog::OptionWarning> {
                $crate::catalog::program::look(&self.program())
            }
        }
    };
}

pub(in crate::catalog) use program_options;

#[derive(Debug, Clone)]
pub(in crate::catalog) struct Program {
    pub words: Vec<String>,
    pub timeout: Duration,
    pub env: BTreeMap<String, String>,
    pub folder: Option<FilePath>,
    /// How many of the last bytes of standard error are kept.
    pub kept: usize,
}

#[derive(Debug, Clone, Copy)]
pub(in crate::catalog) enum OutputTarget {
    Discard,
    /// Output goes to the standard output of this process.
    Inherit,
    /// Output is the answer, up to this many bytes; a program that writes more is killed.
    Answer(u64),
}

impl OutputTarget {
    /// Maximum number of bytes to read.
    fn most(self) -> u64 {
        match self {
            OutputTarget::Answer(most) => most,
            OutputTarget::Discard | OutputTarget::Inherit => u64::MAX,
        }
    }
}

/// What made a program run fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::catalog) enum Cause {
    /// The program failed, wrote too much, or could not take its arguments or environment.
    Program,
    Time,
    Feed,
    /// The program can't be started or run on this system now, or the run is being stopped.
    Elsewhere,
}

#[derive(Debug, Clone)]
pub(in crate::catalog) struct Refusal {
    pub cause: Cause,
    pub failure: Failure,
}

/// The burn or balancer that runs a program, and the run.
#[derive(Debug, Clone)]
pub(in crate::catalog) struct Caller {
    node: String,
    run: RunId,
    /// See [`Site::books`].
    books: RunId,
}

impl From<&Site> for Caller {
    fn from(site: &Site) -> Self {
        Self { node: site.node.clone(), run: site.run.clone(), books: site.books.clone() }
    }
}

/// The input of a program run, passed to it in environment variables.
#[derive(Debug)]
pub(in crate::catalog) struct Given<'a> {
    pub caller: &'a Caller,
    /// The book, if there is exactly one.
    pub book: Option<&'a Book>,
    pub books: usize,
    /// The requester's name and its request number.
    pub request: Option<(&'a str, u64)>,
    /// Attempt of the book or request, from 1; `None` for several books.
    pub attempt: Option<u32>,
}

/// All environment variables that describe the input.
const VARIABLES: [&str; 8] = [
    "GOPHERWORKS_NODE",
    "GOPHERWORKS_RUN",
    "GOPHERWORKS_NAME",
    "GOPHERWORKS_BOOK_ID",
    "GOPHERWORKS_BOOKS",
    "GOPHERWORKS_ATTEMPT",
    "GOPHERWORKS_FROM",
    "GOPHERWORKS_NUMBER",
];

impl Given<'_> {
    fn variables(&self) -> Vec<(&'static str, OsString)> {
        let Caller { node, run, books } = self.caller;
        let mut all = vec![
            ("GOPHERWORKS_NODE", node.into()),
            ("GOPHERWORKS_RUN", run.as_str().into()),
            ("GOPHERWORKS_BOOKS", self.books.to_string().into()),
        ];
        if let Some(book) = self.book {
            let name = names::os_string(&names::name_of(book, books));
            all.push(("GOPHERWORKS_NAME", name));
            all.push(("GOPHERWORKS_BOOK_ID", names::key_of(book, books).into()));
        }
        if let Some(attempt) = self.attempt {
            all.push(("GOPHERWORKS_ATTEMPT", attempt.to_string().into()));
        }
        if let Some((from, number)) = self.request {
            all.push(("GOPHERWORKS_FROM", from.into()));
            all.push(("GOPHERWORKS_NUMBER", number.to_string().into()));
        }
        all
    }
}

/// Advice for a program that exists but can't be started.
fn remedy(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT) => "; the interpreter in its `#!` line does not exist",
        Some(Errno::NOEXEC) => "; a script begins with a line such as `#!/bin/sh`",
        Some(Errno::MFILE | Errno::NFILE) => "; raise `ulimit -n`, or run fewer at once",
        Some(Errno::AGAIN | Errno::NOMEM) => "; raise `ulimit -u`, or run fewer at once",
        Some(Errno::TXTBSY) => "; it is just being written",
        _ => "",
    }
}

impl Program {
    pub fn name(&self) -> &str {
        &self.words[0]
    }

    fn start<P: AsFd, F: Feed>(
        &self,
        given: &Given<'_>,
        feed: F,
        output: OutputTarget,
        clock: &Clock,
        pipe: impl FnMut(OwnedFd) -> io::Result<P>,
    ) -> Result<Session<P, F>, Refusal> {
        let bounds = Bounds {
            timeout: self.timeout,
            output: output.most(),
            errors: self.kept,
            linger: LINGER,
        };
        let mut command = self.command(given, output);
        let started = Session::start(&mut command, feed, bounds, clock, pipe);
        started.map_err(|error| self.not_started(&error))
    }

    fn command(&self, given: &Given<'_>, output: OutputTarget) -> Command {
        let mut command = Command::new(self.name());
        // Values inherited from an outer gopherworks process must not reach the program.
        for name in VARIABLES {
            command.env_remove(name);
        }
        command
            .args(&self.words[1..])
            .envs(&self.env)
            .envs(given.variables())
            .stdin(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(folder) = &self.folder {
            command.current_dir(folder.as_path());
        }
        command.stdout(match output {
            OutputTarget::Discard => Stdio::null(),
            OutputTarget::Inherit => Stdio::inherit(),
            OutputTarget::Answer(_) => Stdio::piped(),
        });
        command
    }

    /// Runs the program to its end, blocking this thread; returns its standard output.
    ///
    /// # Errors
    /// The cause and the failure.
    pub fn run(
        &self,
        given: &Given<'_>,
        feed: impl Feed,
        output: OutputTarget,
    ) -> Result<Vec<u8>, Refusal> {
        let clock = Clock::real();
        let session = self.start(given, feed, output, &clock, Ok)?;
        self.judged(child::wait_here(session, &clock), output)
    }

    /// Runs the program to its end; only starting it blocks. Dropping the future kills the program.
    ///
    /// # Errors
    /// As for [`Program::run`].
    pub async fn run_async(
        &self,
        given: &Given<'_>,
        feed: impl Feed,
        output: OutputTarget,
    ) -> Result<Vec<u8>, Refusal> {
        let clock = Clock::real();
        let session = self.start(given, feed, output, &clock, child::watched)?;
        self.judged(child::wait_async(session, &clock).await, output)
    }

    fn judged(
        &self,
        ended: Result<Ended, Fault>,
        output: OutputTarget,
    ) -> Result<Vec<u8>, Refusal> {
        let name = self.name();
        let ended = ended.map_err(|fault| match fault {
            Fault::Feed(failure) => Refusal { cause: Cause::Feed, failure },
            Fault::System(error) => Refusal {
                cause: Cause::Elsewhere,
                failure: Failure::unavailable(format!("running {name}: {error}")),
            },
        })?;
        let (cause, what) = match ended.how {
            How::Exit(status) if status.success() => return Ok(ended.output),
            How::Exit(status) => (Cause::Program, format!("{name}: {status}")),
            How::TimedOut => {
                let after = Time(self.timeout);
                (Cause::Time, format!("{name}: killed after {after}"))
            }
            How::Stopped => {
                let what = format!("{name}: killed, as the run is being stopped");
                (Cause::Elsewhere, what)
            }
            How::TooMuch => {
                let most = Size(output.most());
                let what = format!("{name}: more than {most} of output (max_output)");
                let failure = Failure::permanent(what).internal();
                return Err(Refusal { cause: Cause::Program, failure });
            }
        };
        let reason = match String::from_utf8_lossy(&ended.errors).trim_end() {
            "" => what,
            tail => format!("{what}: {tail}"),
        };
        let failure = match cause {
            Cause::Elsewhere => Failure::unavailable(reason),
            Cause::Time => Failure::transient(reason).late(),
            Cause::Program | Cause::Feed => Failure::transient(reason),
        };
        Err(Refusal { cause, failure })
    }

    /// A program that can't be started is not the book's fault, unless its arguments or environment
    /// were refused.
    fn not_started(&self, error: &io::Error) -> Refusal {
        let name = self.name();
        if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::ArgumentListTooLong)
        {
            return Refusal {
                cause: Cause::Program,
                failure: Failure::permanent(format!("starting {name}: {error}")).internal(),
            };
        }
        let reason = match places::wrong(self) {
            Some(wrong) => wrong.to_string(),
            None => format!("starting {name}: {error}{}", remedy(error)),
        };
        Refusal { cause: Cause::Elsewhere, failure: Failure::unavailable(reason) }
    }

    /// The `PATH` on which the program is looked up.
    fn path(&self) -> OsString {
        match self.env.get("PATH") {
            Some(path) => path.into(),
            // Default of `execvp` if `PATH` is unset.
            None => std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into()),
        }
    }

    /// Folder to which the program's relative paths refer.
    fn base(&self) -> &Path {
        self.folder.as_ref().map_or(Path::new(""), FilePath::as_path)
    }
}
