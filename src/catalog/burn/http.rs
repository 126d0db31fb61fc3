//! `http`: sends each body to a server over HTTP.

use std::sync::Arc;

use gopherworks_actors::book::Book;
use gopherworks_actors::burn::Burn;
use gopherworks_actors::failure::Failure;
use tokio::runtime::Runtime;

use crate::catalog::http::{Asking, Blocking, Options, Question, make as client};
use crate::catalog::{RunId, Site, names};

/// Makes the burn.
///
/// # Errors
/// A header that can't be sent; the system refusing a thread.
pub(super) fn make(options: &Options, site: &Site) -> Result<Given, Failure> {
    let asking = client(options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("gopherworks-http")
        .enable_all()
        .build()
        .map_err(|error| Failure::io("starting a thread", &error))?;
    Ok(Given {
        asking,
        run: site.run.clone(),
        runtime: Some(Arc::new(runtime)),
    })
}

/// A book is burned when its request is answered with a success. It bears the header `Idempotency-Key`: a book may be sent again after a
/// failure or a crash, and a server that honours the header acts on it once.
pub(super) struct Given {
    asking: Asking,
    run: RunId,
    runtime: Option<Arc<Runtime>>,
}

impl Burn for Given {
    fn burn(&self, book: &Book) -> Result<(), Failure> {
        let Some(runtime) = &self.runtime else {
            return Err(Failure::transient("the fire is out"));
        };
        let key = names::key_of(book, &self.run);
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

impl Drop for Given {
    fn drop(&mut self) {
        // It may be dropped on an arbiter, where a runtime may not be waited for.
        if let Some(runtime) = self.runtime.take().and_then(Arc::into_inner) {
            runtime.shutdown_background();
        }
    }
}
