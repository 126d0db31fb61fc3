//! The service `command`: runs a program for each request.

use std::io::Read;

use bytes::{Buf, Bytes};
use gopherworks_pipeline::book::{Body, Book};
use gopherworks_pipeline::job::{Answer, Job, Serve, Service, Serving, WorkerSite};
use gopherworks_supervision::failure::Failure;

use crate::catalog::Site;
use crate::catalog::program::{
    Caller, Feed, Given, MOST_HELD, OutputTarget, Program, program_options,
};
use crate::config::units::{Size, size};

program_options! {
    pub(super) struct CommandWorkerOptions {
        /// Maximum size of a request body, which is held in memory (at most 4 GiB). A larger body
        /// is a permanent failure.
        #[serde(default = "size::<{ 64 << 20 }>")]
        #[schemars(extend("maximum" = MOST_HELD))]
        max_body: Size,
        /// Maximum size of the program's output, which is held in memory (at most 4 GiB). On more
        /// output the program is killed, which is a permanent failure.
        #[serde(default = "size::<{ 16 << 20 }>")]
        #[schemars(extend("maximum" = MOST_HELD))]
        max_output: Size,
    }
}

pub(super) fn make(options: &CommandWorkerOptions, site: &Site) -> Result<Programs, Failure> {
    Ok(Programs {
        caller: site.into(),
        program: options.program(),
        most_body: options.max_body.0,
        most_output: options.max_output.0,
    })
}

/// Runs a program per request. Exit code 0 returns its output; any other is a transient failure
/// that quotes the end of the program's standard error. Cancelling a request kills its program's
/// process group.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    caller: Caller,
    program: Program,
    most_body: u64,
    most_output: u64,
}

impl Service for Programs {
    fn worker(&self, site: &WorkerSite) -> Result<Box<dyn Serve>, Failure> {
        Ok(Box::new(Runner { programs: self.clone(), site: site.clone() }))
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

/// A body in memory, as the standard input of a program.
struct InMemory(Bytes);

impl Feed for InMemory {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        let read = (&mut self.0).reader().read(buffer);
        read.map_err(|error| Failure::io("reading a body", &error))
    }
}

impl Programs {
    async fn answer(&self, site: &WorkerSite, job: Job) -> Answer {
        let body = match &job.book {
            Some(book) => self.read(site, book).await?,
            None => Bytes::new(),
        };
        let given = Given {
            caller: &self.caller,
            book: job.book.as_ref(),
            books: usize::from(job.book.is_some()),
            request: Some((&job.from, job.number)),
            attempt: Some(job.attempt.saturating_add(job.copy)),
        };
        let output = OutputTarget::Answer(self.most_output);
        let ran = self.program.run_async(&given, InMemory(body), output).await;
        let answer = ran.map_err(|refused| refused.failure)?;
        Ok(job.book.map(|mut book| {
            book.body = Body::from(answer);
            book
        }))
    }

    /// Reads a book's body; files are read on the blocking pool.
    async fn read(&self, site: &WorkerSite, book: &Book) -> Result<Bytes, Failure> {
        let most = self.most_body;
        let body = match &book.body {
            Body::Bytes(bytes) if bytes.len() as u64 <= most => return Ok(bytes.clone()),
            Body::Bytes(_) => return Err(self.too_long()),
            file => file.clone(),
        };
        let reading = site.pool.wait_for(move || body.read_all(most)).await;
        let Ok(read) = reading else {
            return Err(Failure::transient("the run is being stopped"));
        };
        read.map_err(|error| match error.kind() {
            std::io::ErrorKind::FileTooLarge => self.too_long(),
            _ => Failure::io("reading a body", &error).internal(),
        })
    }

    fn too_long(&self) -> Failure {
        let (name, most) = (self.program.name(), Size(self.most_body));
        Failure::permanent(format!("{name}: a body of more than {most} (max_body)"))
    }
}
