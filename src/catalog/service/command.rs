//! `command`: a program for each request.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use gopherworks_actors::book::{Body, Book};
use gopherworks_actors::clock::Clock;
use gopherworks_actors::failure::Failure;
use gopherworks_actors::job::{Answer, Job, Serve, Service, Serving, WorkerSite};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::catalog::burn::command::{Group, Words};
use crate::catalog::units::{Size, Time};
use crate::catalog::{FilePath, RunId, Site, names};

/// Most bytes of a body that are given to a program.
const MOST_INPUT: u64 = 64 * 1024 * 1024;

/// What is kept of standard error: its end.
const KEPT: usize = 4096;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// The program and its arguments. No shell reads them.
    command: Words,
    /// A process that takes longer is killed with all that it has started.
    #[serde(default = "a_minute")]
    timeout: Time,
    /// Most bytes of output; with more the request fails, and the program is killed.
    #[serde(default = "some")]
    max_output: Size,
    /// Variables that are added to the environment.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// The folder in which the program runs; otherwise the current one.
    #[serde(default)]
    #[schemars(extend("x-access" = "none"))]
    folder: Option<FilePath>,
}

fn a_minute() -> Time {
    Time(Duration::from_secs(60))
}

fn some() -> Size {
    Size(16 * 1024 * 1024)
}

pub(super) fn make(options: &Options, site: &Site) -> Result<Programs, Failure> {
    Ok(Programs {
        words: options.command.0.clone(),
        timeout: options.timeout.0,
        most: options.max_output.0,
        env: options.env.clone(),
        folder: options.folder.clone(),
        run: site.run.clone(),
    })
}

/// Exit code 0 answers, everything else is a transient failure of the request that ends with the last 4 KiB of the program's standard
/// error. A request that is cancelled kills its program with all that it has started.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    words: Vec<String>,
    timeout: Duration,
    most: u64,
    env: BTreeMap<String, String>,
    folder: Option<FilePath>,
    run: RunId,
}

impl Service for Programs {
    fn worker(&self, site: &WorkerSite) -> Result<Box<dyn Serve>, Failure> {
        Ok(Box::new(Runner {
            programs: self.clone(),
            site: site.clone(),
        }))
    }
}

struct Runner {
    programs: Programs,
    site: WorkerSite,
}

impl Serve for Runner {
    fn serve(&mut self, job: Job) -> Serving<'_> {
        Box::pin(self.programs.answer(&self.site, job))
    }
}

impl Programs {
    fn command(&self, job: &Job) -> Command {
        let mut command = Command::new(&self.words[0]);
        command
            .args(&self.words[1..])
            .envs(&self.env)
            .env("GOPHERWORKS_FROM", &*job.from)
            .env("GOPHERWORKS_NUMBER", job.number.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(book) = &job.book {
            let name = names::os_string(&names::name_of(book, &self.run));
            command.env("GOPHERWORKS_NAME", name);
        }
        if let Some(folder) = &self.folder {
            command.current_dir(folder.as_path());
        }
        command
    }

    async fn answer(&self, site: &WorkerSite, mut job: Job) -> Answer {
        let program = &self.words[0];
        let trouble =
            |error: std::io::Error| Failure::io(format_args!("running {program}"), &error);
        let command = self.command(&job);
        let input = match job.book.take() {
            Some(book) => Some(read(site, book).await?),
            None => None,
        };
        let (book, input) = input.unzip();
        let mut command = command;
        let start = || {
            let child = command.spawn()?;
            let number = child.id().unwrap_or_default();
            Ok((child, number))
        };
        let (mut child, group) = Group::start(start)
            .map_err(|error| Failure::io(format_args!("starting {program}"), &error))?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feeding = async {
            if let (Some(mut stdin), Some(input)) = (stdin, input) {
                // A program that does not read all of its input is judged by its exit code.
                let _ = stdin.write_all(&input).await;
            }
        };
        let work = async {
            let output = all(stdout, self.most);
            let ((), output, errors) = tokio::join!(feeding, output, tail(stderr));
            let output = output.map_err(trouble)?;
            let status = child.wait().await.map_err(trouble)?;
            Ok::<_, Failure>((status, output, errors))
        };
        let late = Clock::real();
        let (status, output, errors) = tokio::select! {
            biased;
            ended = work => ended?,
            () = late.sleep(self.timeout) => {
                let after = Time(self.timeout);
                return Err(Failure::transient(format!("{program}: killed after {after}")));
            }
        };
        group.ended();
        if !status.success() {
            let tail = String::from_utf8_lossy(&errors);
            let tail = tail.trim_end();
            let colon = if tail.is_empty() { "" } else { ": " };
            return Err(Failure::transient(format!(
                "{program}: {status}{colon}{tail}"
            )));
        }
        let Some(output) = output else {
            let most = Size(self.most);
            return Err(Failure::permanent(format!(
                "{program}: more than {most} of output"
            )));
        };
        Ok(book.map(|mut book| {
            book.body = Body::from(output);
            book
        }))
    }
}

/// A book and its body, read where blocking is allowed.
async fn read(site: &WorkerSite, book: Book) -> Result<(Book, Vec<u8>), Failure> {
    let reading = site.pool.wait_for(move || {
        let body = book.body.read_all(MOST_INPUT);
        (book, body)
    });
    let Ok((book, body)) = reading.await else {
        return Err(Failure::transient("the run is being stopped"));
    };
    let body = body.map_err(|error| Failure::io("reading a body", &error))?;
    Ok((book, body.to_vec()))
}

/// All that comes; `None` if it is more than `most` bytes. The pipe is closed then, so that the program does not go on for ever.
async fn all(pipe: Option<impl AsyncRead + Unpin>, most: u64) -> std::io::Result<Option<Vec<u8>>> {
    let mut out = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(most.saturating_add(1))
            .read_to_end(&mut out)
            .await?;
    }
    Ok((out.len() as u64 <= most).then_some(out))
}

/// The end of all that comes.
async fn tail(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut pipe) = pipe else {
        return kept;
    };
    let mut buffer = vec![0; 4096];
    while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..length]);
        let surplus = kept.len().saturating_sub(KEPT);
        kept.drain(..surplus);
    }
    kept
}
