//! Catalog methods that add kinds without options from plain closures.

use std::sync::Arc;

use gopherworks_pipeline::book::Book;
use gopherworks_pipeline::burn::Burn;
use gopherworks_pipeline::job::{Answer, Job, Serve, Service, Serving, WorkerSite};
use gopherworks_pipeline::source::Source;
use gopherworks_pipeline::transform::Transform;
use gopherworks_supervision::failure::Failure;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Catalog, Site};

/// Options of a kind that has none: any key is an error.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NoOptions {}

struct IterSource<I>(I);

impl<I: Iterator<Item = Book> + Send + 'static> Source for IterSource<I> {
    fn next(&mut self, want: usize) -> Result<Option<Vec<Book>>, Failure> {
        let books: Vec<Book> = self.0.by_ref().take(want).collect();
        Ok((!books.is_empty()).then_some(books))
    }
}

/// A closure as a work, a burn or a service.
struct Closure<F> {
    call: Arc<F>,
    blocks: bool,
}

impl<F> Closure<F> {
    /// Makes a closure for each site.
    fn maker(call: F, blocks: bool) -> impl Fn(&NoOptions, &Site) -> Result<Self, Failure> {
        let call = Arc::new(call);
        move |_, _| Ok(Self { call: call.clone(), blocks })
    }
}

impl<F> Transform for Closure<F>
where
    F: Fn(Book) -> Result<Option<Book>, Failure> + Send + Sync + 'static,
{
    fn apply(&mut self, book: Book) -> Result<Option<Book>, Failure> {
        (self.call)(book)
    }

    fn blocks(&self) -> bool {
        self.blocks
    }
}

impl<F: Fn(&Book) -> Result<(), Failure> + Send + Sync + 'static> Burn for Closure<F> {
    fn burn(&self, book: &Book) -> Result<(), Failure> {
        (self.call)(book)
    }

    fn blocks(&self) -> bool {
        self.blocks
    }
}

impl<F, Fut> Service for Closure<F>
where
    F: Fn(Job) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Answer> + 'static,
{
    fn worker(&self, _: &WorkerSite) -> Result<Box<dyn Serve>, Failure> {
        Ok(Box::new(ClosureWorker(self.call.clone())))
    }

    fn blocks(&self) -> bool {
        self.blocks
    }
}

struct ClosureWorker<F>(Arc<F>);

impl<F, Fut> Serve for ClosureWorker<F>
where
    F: Fn(Job) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Answer> + 'static,
{
    fn serve(&mut self, job: Job) -> Serving<'_> {
        Box::pin((self.0)(job))
    }
}

impl Catalog {
    /// Adds a kind of worker from a closure that may block: each worker calls it on a thread of its
    /// own.
    pub fn add_service_fn<F>(&mut self, name: &str, help: &str, serve: F) -> &mut Self
    where
        F: Fn(Job) -> Answer + Send + Sync + 'static,
    {
        let serve = move |job| std::future::ready(serve(job));
        self.add_service(name, help, Closure::maker(serve, true))
    }

    /// Adds a kind of worker from an async closure. It must not block, since it runs on the
    /// worker's arbiter.
    ///
    /// ```
    /// use gopherworks::Catalog;
    ///
    /// let mut catalog = Catalog::standard();
    /// catalog.add_async_service_fn("echo", "Answers what it was asked", async |job| Ok(job.book));
    /// assert!(catalog.service("echo").is_some());
    /// ```
    pub fn add_async_service_fn<F, Fut>(&mut self, name: &str, help: &str, serve: F) -> &mut Self
    where
        F: Fn(Job) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Answer> + 'static,
    {
        self.add_service(name, help, Closure::maker(serve, false))
    }

    /// Adds a kind of source from an iterator of books, which may block. `make` is called each time
    /// a source is made, at restarts too.
    pub fn add_source_iter<I>(
        &mut self,
        name: &str,
        help: &str,
        make: impl Fn() -> I + Send + Sync + 'static,
    ) -> &mut Self
    where
        I: IntoIterator<Item = Book>,
        I::IntoIter: Send + 'static,
    {
        self.add_source(name, help, move |_: &NoOptions, _| Ok(IterSource(make().into_iter())))
    }

    /// Adds a kind of work from a closure that may block: it runs in the blocking pool.
    pub fn add_work_fn<F>(&mut self, name: &str, help: &str, work: F) -> &mut Self
    where
        F: Fn(Book) -> Result<Option<Book>, Failure> + Send + Sync + 'static,
    {
        self.add_work(name, help, Closure::maker(work, true))
    }

    /// Adds a kind of work from a closure that runs on the arbiter: it must return within a few
    /// microseconds and not touch the disk.
    pub fn add_inline_work_fn<F>(&mut self, name: &str, help: &str, work: F) -> &mut Self
    where
        F: Fn(Book) -> Result<Option<Book>, Failure> + Send + Sync + 'static,
    {
        self.add_work(name, help, Closure::maker(work, false))
    }

    /// Adds a kind of burn from a closure that may block: it runs in the blocking pool, on several
    /// threads concurrently.
    pub fn add_burn_fn<F>(&mut self, name: &str, help: &str, burn: F) -> &mut Self
    where
        F: Fn(&Book) -> Result<(), Failure> + Send + Sync + 'static,
    {
        self.add_burn(name, help, Closure::maker(burn, true))
    }

    /// Adds a kind of burn from a closure that runs on the arbiter: it must return within a few
    /// microseconds and not touch the disk.
    pub fn add_inline_burn_fn<F>(&mut self, name: &str, help: &str, burn: F) -> &mut Self
    where
        F: Fn(&Book) -> Result<(), Failure> + Send + Sync + 'static,
    {
        self.add_burn(name, help, Closure::maker(burn, false))
    }
}
