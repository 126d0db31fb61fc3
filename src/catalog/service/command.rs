//! `command`: a program for each request.

use std::io::Read;

use bytes::{Buf, Bytes};
use gopherworks_actors::book::{Body, Book};
use gopherworks_actors::failure::Failure;
use gopherworks_actors::job::{Answer, Job, Serve, Service, Serving, WorkerSite};

use crate::catalog::Site;
use crate::catalog::program::{Feed, Given, Held, Output, Place, Program, program_options};
use crate::catalog::units::Size;

program_options! {
    /// Options of `command`.
    pub(super) struct Options {
        /// Most bytes of a body that are given to the program, which are held in memory; a longer one fails for good. 4 GiB at
        /// most.
        #[serde(default = "most_body")]
        max_body: Held,
        /// Most bytes of output, which are held in memory; with more the request fails for good, and the program is killed.
        /// 4 GiB at most.
        #[serde(default = "most_output")]
        max_output: Held,
    }
}

fn most_body() -> Held {
    Held::mib(64)
}

fn most_output() -> Held {
    Held::mib(16)
}

pub(super) fn make(options: &Options, site: &Site) -> Result<Programs, Failure> {
    Ok(Programs {
        place: site.into(),
        program: options.program(),
        most_body: options.max_body.bytes(),
        most_output: options.max_output.bytes(),
    })
}

/// Exit code 0 answers, everything else is a transient failure of the request that ends with the last that the program wrote to its
/// standard error. A request that is cancelled kills its program with all that it has started.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    place: Place,
    program: Program,
    most_body: u64,
    most_output: u64,
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

/// A body in memory.
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
            place: &self.place,
            book: job.book.as_ref(),
            books: usize::from(job.book.is_some()),
            request: Some((&job.from, job.number)),
        };
        let output = Output::Answer(self.most_output);
        let ran = self.program.run_async(&given, InMemory(body), output).await;
        let answer = ran.map_err(|refused| refused.failure)?;
        Ok(job.book.map(|mut book| {
            book.body = Body::from(answer);
            book
        }))
    }

    /// A book's body, read where blocking is allowed.
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
            _ => Failure::io("reading a body", &error),
        })
    }

    fn too_long(&self) -> Failure {
        let (name, most) = (self.program.name(), Size(self.most_body));
        Failure::permanent(format!("{name}: a body of more than {most} (max_body)"))
    }
}
