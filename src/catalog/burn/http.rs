//! `http`: sends each body to a server over HTTP.

use std::sync::Arc;

use gopherworks_pipeline::book::Book;
use gopherworks_pipeline::burn::Burn;
use gopherworks_supervision::failure::Failure;
use tokio::runtime::Runtime;

use crate::catalog::http::{Blocking, HttpClient, HttpOptions, Question, make as client};
use crate::catalog::{RunId, Site, names};

/// Creates the HTTP client and a runtime with one thread.
///
/// # Errors
/// Fails if a configured header is invalid, or if the client or the runtime's thread cannot be
/// created.
pub(super) fn make(options: &HttpOptions, site: &Site) -> Result<HttpBurn, Failure> {
    let asking = client(options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("gopherworks-http")
        .enable_all()
        .build()
        .map_err(|error| Failure::io("starting a thread", &error))?;
    Ok(HttpBurn { asking, books: site.books.clone(), runtime: Some(Arc::new(runtime)) })
}

/// Sends one request per book; the book is burned when the response is a success. Each request has
/// the header `Idempotency-Key`, because a book may be sent again after a failure or a crash: a
/// server that honours the header acts on it once.
pub(super) struct HttpBurn {
    asking: HttpClient,
    books: RunId,
    runtime: Option<Arc<Runtime>>,
}

impl Burn for HttpBurn {
    fn burn(&self, book: &Book) -> Result<(), Failure> {
        let Some(runtime) = &self.runtime else {
            return Err(Failure::transient("the fire is out"));
        };
        let key = names::key_of(book, &self.books);
        let question = Question {
            book: Some(book),
            key: &key,
            blocking: Blocking::Runtime(runtime.handle().clone()),
        };
        runtime.block_on(self.asking.ask(question)).map(drop)
    }

    fn waits(&self) -> bool {
        true
    }
}

impl Drop for HttpBurn {
    fn drop(&mut self) {
        // Blocking is not allowed on an arbiter, so this does not wait for the runtime to shut
        // down.
        if let Some(runtime) = self.runtime.take().and_then(Arc::into_inner) {
            runtime.shutdown_background();
        }
    }
}
