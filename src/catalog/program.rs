//! Programs that `command` burns and `command` workers run: one set of rules for both.
//!
//! A program leads a process group of its own. It is judged when it ends itself, by its exit code and by what it had written by
//! then: what it has left running is neither waited for nor killed. At its timeout, when it writes more than it may, when its
//! request is cancelled, when the run is stopped, and when this process dies in whatever way, its whole group is killed.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use gopherworks_actors::book::Book;
use gopherworks_actors::clock::Clock;
use gopherworks_actors::failure::Failure;
use rustix::io::Errno;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{Size, Time};
use super::{FilePath, RunId, Site, names};

mod child;
mod groups;
mod places;
#[cfg(test)]
mod tests;

pub(in crate::catalog) use child::Feed;
pub use groups::kill_all;
pub(in crate::catalog) use places::look;

use child::{Bounds, Ended, Fault, How, Session};

/// How long to read on after a program has ended where others hold its output open.
const LINGER: Duration = Duration::from_millis(100);

/// Most bytes of a body or of an output that may be held in memory.
const MOST_HELD: u64 = 4 << 30;

/// Most bytes of standard error that may be kept.
const MOST_KEPT: u64 = 1 << 20;

/// A program and its arguments.
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

macro_rules! bounded {
    ($(#[$doc:meta])* $name:ident, $most:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
        #[serde(try_from = "Size", into = "Size")]
        #[schemars(inline, with = "Size", extend("maximum" = $most))]
        pub(in crate::catalog) struct $name(u64);

        impl TryFrom<Size> for $name {
            type Error = String;

            fn try_from(size: Size) -> Result<Self, String> {
                match size.0 <= $most {
                    true => Ok(Self(size.0)),
                    false => Err(format!("{size} is more than {}", Size($most))),
                }
            }
        }

        impl From<$name> for Size {
            fn from(size: $name) -> Size {
                Size(size.0)
            }
        }
    };
}

bounded! {
    /// Bytes that are held in memory.
    Held, MOST_HELD
}

impl Held {
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    pub fn bytes(self) -> u64 {
        self.0
    }
}

bounded! {
    /// Bytes of standard error that are kept.
    Kept, MOST_KEPT
}

pub(in crate::catalog) fn a_minute() -> Time {
    Time(Duration::from_secs(60))
}

pub(in crate::catalog) fn four_kib() -> Kept {
    Kept(4096)
}

/// Declares the options of a kind that runs programs: those that every such kind has, and its own.
macro_rules! program_options {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($own:tt)* }) => {
        $(#[$meta])*
        #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        $vis struct $name {
            /// The program and its arguments. No shell reads them. A bare name is looked up on the `PATH`; one with a `/`
            /// starts at the folder of the file that wrote it.
            command: $crate::catalog::program::Words,
            /// A process that takes longer is killed with all that it has started.
            #[serde(default = "crate::catalog::program::a_minute")]
            timeout: $crate::catalog::units::Time,
            /// Variables that are added to the environment, beside those of gopherworks: `GOPHERWORKS_NODE` (the burn's or
            /// the balancer's name) and `GOPHERWORKS_RUN` (different for every run); for one book `GOPHERWORKS_NAME` and `GOPHERWORKS_BOOK_ID` (unique over runs); the number
            /// of books in `GOPHERWORKS_BOOKS`; for a request `GOPHERWORKS_FROM` and `GOPHERWORKS_NUMBER`.
            #[serde(default)]
            env: std::collections::BTreeMap<String, String>,
            /// The folder in which the program runs, from the folder of the file that wrote it; otherwise the current one.
            #[serde(default)]
            #[schemars(extend("x-access" = "none"))]
            folder: Option<$crate::catalog::FilePath>,
            /// How much of what the program writes to its standard error is kept for the reason of a failure: the last bytes,
            /// 1 MiB at most.
            #[serde(default = "crate::catalog::program::four_kib")]
            keep_stderr: $crate::catalog::program::Kept,
            $($own)*
        }

        impl $name {
            fn program(&self) -> $crate::catalog::program::Program {
                $crate::catalog::program::Program {
                    words: self.command.0.clone(),
                    timeout: self.timeout.0,
                    env: self.env.clone().into_iter().collect(),
                    folder: self.folder.clone(),
                    kept: self.keep_stderr,
                }
            }

            /// What is wrong with the program on this machine.
            pub(in crate::catalog) fn look(&self) -> Vec<$crate::catalog::OptionWarning> {
                $crate::catalog::program::look(&self.program())
            }
        }
    };
}

pub(in crate::catalog) use program_options;

/// A program as the options describe it.
#[derive(Debug, Clone)]
pub(in crate::catalog) struct Program {
    pub words: Vec<String>,
    pub timeout: Duration,
    pub env: Vec<(String, String)>,
    pub folder: Option<FilePath>,
    pub kept: Kept,
}

/// Where a program's standard output goes.
#[derive(Debug, Clone, Copy)]
pub(in crate::catalog) enum Output {
    /// Nowhere.
    Discard,
    /// To the standard output of this process.
    Inherit,
    /// It is the answer, of at most this many bytes.
    Answer(u64),
}

/// Why a program did not do what it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::catalog) enum Cause {
    /// It said no, or broke.
    Program,
    /// It took too long.
    Time,
    /// What it was to be fed with could not be read.
    Feed,
    /// It can't be started now, whatever it is given, or the run is being stopped.
    Elsewhere,
}

/// A failure and what it is about.
#[derive(Debug, Clone)]
pub(in crate::catalog) struct Refusal {
    pub cause: Cause,
    pub failure: Failure,
}

/// Where a program is run: the burn's or the balancer's name, and the run.
#[derive(Debug, Clone)]
pub(in crate::catalog) struct Place {
    node: String,
    run: RunId,
}

impl From<&Site> for Place {
    fn from(site: &Site) -> Self {
        Self {
            node: site.node.clone(),
            run: site.run.clone(),
        }
    }
}

/// What a program is told about what it is given; the same names for burns and workers.
#[derive(Debug)]
pub(in crate::catalog) struct Given<'a> {
    /// Where it is run.
    pub place: &'a Place,
    /// The one book that it is given.
    pub book: Option<&'a Book>,
    /// How many books it is given.
    pub books: usize,
    /// The name of what asks, and its number of the request.
    pub request: Option<(&'a str, u64)>,
}

/// All variables that tell a program what it is given.
const VARIABLES: [&str; 7] = [
    "GOPHERWORKS_NODE",
    "GOPHERWORKS_RUN",
    "GOPHERWORKS_NAME",
    "GOPHERWORKS_BOOK_ID",
    "GOPHERWORKS_BOOKS",
    "GOPHERWORKS_FROM",
    "GOPHERWORKS_NUMBER",
];

impl Given<'_> {
    fn variables(&self) -> Vec<(&'static str, OsString)> {
        let Place { node, run } = self.place;
        let mut all = vec![
            ("GOPHERWORKS_NODE", node.into()),
            ("GOPHERWORKS_RUN", run.as_str().into()),
            ("GOPHERWORKS_BOOKS", self.books.to_string().into()),
        ];
        if let Some(book) = self.book {
            let name = names::os_string(&names::name_of(book, run));
            all.push(("GOPHERWORKS_NAME", name));
            all.push(("GOPHERWORKS_BOOK_ID", names::key_of(book, run).into()));
        }
        if let Some((from, number)) = self.request {
            all.push(("GOPHERWORKS_FROM", from.into()));
            all.push(("GOPHERWORKS_NUMBER", number.to_string().into()));
        }
        all
    }
}

/// What to do about a program that is there and can't be started.
fn remedy(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT) => "; the interpreter of its `#!` line is not there",
        Some(Errno::NOEXEC) => "; a script begins with a line such as `#!/bin/sh`",
        Some(Errno::MFILE | Errno::NFILE) => "; raise `ulimit -n`, or run fewer at once",
        Some(Errno::AGAIN | Errno::NOMEM) => "; raise `ulimit -u`, or run fewer at once",
        Some(Errno::TXTBSY) => "; it is just being written",
        _ => "",
    }
}

impl Program {
    /// The program's name, for people.
    pub fn name(&self) -> &str {
        &self.words[0]
    }

    fn command(&self, given: &Given<'_>, output: Output) -> Command {
        let mut command = Command::new(self.name());
        // One gopherworks may run another: what is not said here is not to come from there.
        for name in VARIABLES {
            command.env_remove(name);
        }
        command
            .args(&self.words[1..])
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .envs(given.variables())
            .stdin(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(folder) = &self.folder {
            command.current_dir(folder.as_path());
        }
        command.stdout(match output {
            Output::Discard => Stdio::null(),
            Output::Inherit => Stdio::inherit(),
            Output::Answer(_) => Stdio::piped(),
        });
        command
    }

    fn bounds(&self, output: Output) -> Bounds {
        Bounds {
            timeout: self.timeout,
            output: match output {
                Output::Answer(most) => most,
                Output::Discard | Output::Inherit => u64::MAX,
            },
            errors: usize::try_from(self.kept.0).unwrap_or(usize::MAX),
            linger: LINGER,
        }
    }

    /// Runs the program to its end and blocks this thread; gives what it wrote to its standard output.
    ///
    /// # Errors
    /// Why it did not do what it was given.
    pub fn run(
        &self,
        given: &Given<'_>,
        feed: impl Feed,
        output: Output,
    ) -> Result<Vec<u8>, Refusal> {
        let clock = Clock::real();
        let mut command = self.command(given, output);
        let started = Session::start(&mut command, feed, self.bounds(output), &clock, Ok);
        let session = started.map_err(|error| self.not_started(&error))?;
        self.judged(child::wait_here(session, &clock), output)
    }

    /// Runs the program to its end, which blocks no thread but for its start. Dropped, it kills the program.
    ///
    /// # Errors
    /// As for [`Program::run`].
    pub async fn run_async(
        &self,
        given: &Given<'_>,
        feed: impl Feed,
        output: Output,
    ) -> Result<Vec<u8>, Refusal> {
        let clock = Clock::real();
        let mut command = self.command(given, output);
        let bounds = self.bounds(output);
        let started = Session::start(&mut command, feed, bounds, &clock, child::watched);
        drop(command);
        let session = started.map_err(|error| self.not_started(&error))?;
        self.judged(child::wait_async(session, &clock).await, output)
    }

    fn judged(&self, ended: Result<Ended, Fault>, output: Output) -> Result<Vec<u8>, Refusal> {
        let name = self.name();
        let ended = ended.map_err(|fault| match fault {
            Fault::Feed(failure) => Refusal {
                cause: Cause::Feed,
                failure,
            },
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
                let most = match output {
                    Output::Answer(most) => most,
                    Output::Discard | Output::Inherit => u64::MAX,
                };
                let what = format!("{name}: more than {} of output (max_output)", Size(most));
                return Err(Refusal {
                    cause: Cause::Program,
                    failure: Failure::permanent(what),
                });
            }
        };
        let tail = String::from_utf8_lossy(&ended.errors);
        let tail = tail.trim_end();
        let reason = match tail {
            "" => what,
            tail => format!("{what}: {tail}"),
        };
        let failure = match cause {
            Cause::Elsewhere => Failure::unavailable(reason),
            Cause::Program | Cause::Time | Cause::Feed => Failure::transient(reason),
        };
        Err(Refusal { cause, failure })
    }

    /// A program that can't be started is no book's fault, unless it is what the book puts into the environment.
    fn not_started(&self, error: &io::Error) -> Refusal {
        let name = self.name();
        if matches!(
            error.kind(),
            io::ErrorKind::InvalidInput | io::ErrorKind::ArgumentListTooLong
        ) {
            return Refusal {
                cause: Cause::Program,
                failure: Failure::permanent(format!("starting {name}: {error}")),
            };
        }
        let reason = match places::wrong(self) {
            Some(wrong) => wrong.to_string(),
            None => format!("starting {name}: {error}{}", remedy(error)),
        };
        Refusal {
            cause: Cause::Elsewhere,
            failure: Failure::unavailable(reason),
        }
    }

    /// The `PATH` that the program is looked up on.
    fn path(&self) -> OsString {
        let own = self.env.iter().find(|(name, _)| name == "PATH");
        match own {
            Some((_, path)) => path.into(),
            // What `execvp` takes where there is none.
            None => std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into()),
        }
    }

    fn folder(&self) -> Option<&Path> {
        self.folder.as_ref().map(FilePath::as_path)
    }

    /// Where the program's relative paths start.
    fn base(&self) -> PathBuf {
        self.folder().map_or_else(PathBuf::new, Path::to_owned)
    }
}
