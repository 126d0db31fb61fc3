//! `http`: gives each body to somebody over HTTP.

use std::sync::Arc;

use gopherworks_actors::book::Book;
use gopherworks_actors::burn::Burn;
use gopherworks_actors::failure::Failure;
use tokio::runtime::Runtime;

use crate::catalog::Site;
use crate::catalog::http::{Asking, MOST_SENT, Options, make as client};

/// Makes the burn.
///
/// # Errors
/// A header that can't be sent; the system refusing a thread.
pub(super) fn make(options: &Options, site: &Site) -> Result<Given, Failure> {
    let asking = client(options, site)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("gopherworks-http")
        .enable_all()
        .build()
        .map_err(|error| Failure::io("starting a thread", &error))?;
    Ok(Given {
        asking,
        runtime: Some(Arc::new(runtime)),
    })
}

/// A book is burned when its request is answered with a success. It bears the header `Idempotency-Key`: after a crash a book may come
/// a second time, and whoever honours the header does it once.
pub(super) struct Given {
    asking: Asking,
    runtime: Option<Arc<Runtime>>,
}

impl Burn for Given {
    fn burn(&self, book: &Book) -> Result<(), Failure> {
        let body = book.body.read_all(MOST_SENT);
        let body = body.map_err(|error| Failure::io("reading a body", &error))?;
        let Some(runtime) = &self.runtime else {
            return Err(Failure::transient("the fire is out"));
        };
        runtime
            .block_on(self.asking.ask(Some(book), body))
            .map(drop)
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
