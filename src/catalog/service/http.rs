//! `http`: a request to somebody else for each request.

use gopherworks_actors::book::{Body, Book, BookId};
use gopherworks_actors::failure::Failure;
use gopherworks_actors::job::{Answer, Job, Serve, Service, Serving, WorkerSite};

use crate::catalog::Site;
use crate::catalog::http::{Asking, MOST_SENT, Options, STATUS, TYPE, make as client};

pub(super) fn make(options: &Options, site: &Site) -> Result<Asked, Failure> {
    Ok(Asked(client(options, site)?))
}

/// The answer is the book with the body, the media type and the status of the response. Cancelling it closes the connection.
pub(super) struct Asked(Asking);

impl Service for Asked {
    fn worker(&self, site: &WorkerSite) -> Result<Box<dyn Serve>, Failure> {
        Ok(Box::new(Asker {
            asking: self.0.clone(),
            site: site.clone(),
        }))
    }
}

struct Asker {
    asking: Asking,
    site: WorkerSite,
}

impl Serve for Asker {
    fn serve(&mut self, job: Job) -> Serving<'_> {
        Box::pin(answer(&self.asking, &self.site, job))
    }
}

async fn answer(asking: &Asking, site: &WorkerSite, job: Job) -> Answer {
    let mut book = job.book.unwrap_or_default();
    let body = match &book.body {
        Body::Bytes(bytes) => bytes.clone(),
        file => {
            let file = file.clone();
            let read = site.pool.wait_for(move || file.read_all(MOST_SENT));
            let read = read
                .await
                .map_err(|_| Failure::transient("the run is being stopped"))?;
            read.map_err(|error| Failure::io("reading a body", &error))?
        }
    };
    let known: Option<&Book> =
        (book.id != BookId::UNASSIGNED || !book.headers.is_empty()).then_some(&book);
    let answered = asking.ask(known, body).await?;
    book.body = answered.body.into();
    book.headers
        .set(STATUS, answered.status.as_u16().to_string());
    match answered.kind {
        Some(kind) => book.headers.set(TYPE, kind),
        None => drop(book.headers.remove(TYPE)),
    }
    Ok(Some(book))
}
