//! The service `http`: forwards each request to another server.

use gopherworks_pipeline::book::{Book, BookId};
use gopherworks_pipeline::job::{Answer, Job, Serve, Service, Serving, WorkerSite};
use gopherworks_supervision::failure::Failure;

use crate::catalog::http::{Blocking, HttpClient, HttpOptions, Question, make as client};
use crate::catalog::{RunId, Site, names};

pub(super) fn make(options: &HttpOptions, site: &Site) -> Result<HttpService, Failure> {
    Ok(HttpService(client(options)?, site.run.clone(), site.books.clone()))
}

/// Returns the book with the response's body, status and header fields. If a request is cancelled,
/// its connection is closed.
pub(super) struct HttpService(HttpClient, RunId, RunId);

impl Service for HttpService {
    fn worker(&self, site: &WorkerSite) -> Result<Box<dyn Serve>, Failure> {
        let HttpService(asking, run, books) = self;
        let (asking, run, books) = (asking.clone(), run.clone(), books.clone());
        Ok(Box::new(HttpWorker { asking, run, books, site: site.clone() }))
    }
}

struct HttpWorker {
    asking: HttpClient,
    run: RunId,
    /// See [`Site::books`].
    books: RunId,
    site: WorkerSite,
}

impl Serve for HttpWorker {
    fn serve(&mut self, job: Job) -> Serving<'_> {
        Box::pin(self.answer(job))
    }
}

impl HttpWorker {
    async fn answer(&self, job: Job) -> Answer {
        let key = names::key_of_job(&job, &self.run, &self.books);
        let mut book = job.book.unwrap_or_default();
        let known: Option<&Book> =
            (book.id != BookId::UNASSIGNED || !book.headers.is_empty()).then_some(&book);
        let question =
            Question { book: known, key: &key, blocking: Blocking::Pool(self.site.pool.clone()) };
        let answered = self.asking.ask(question).await?;
        answered.put(self.asking.dropped(), &mut book);
        Ok(Some(book))
    }
}
