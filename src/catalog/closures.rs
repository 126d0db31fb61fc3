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

use super::Catalog;

/// Options of a kind that has none: any key is an error.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NoOptions {}

struct IterSource<I>(I);

impl<I: Iterator<Item = Book> + Send + 'static> Source for IterSource<I> {
    fn next(&mut self, want: usize) -> Result<Option<Vec<Book>>, Failure> {
        let books: Vec<Book> = self.0.by_ref().take(want).collect();
        Ok((!books.is_empty()).then_some(books))
    }
}

struct FnWork<F> {
    work: Arc<F>,
    blocks: bool,
}

impl<F> Transform for FnWork<F>
where
    F: Fn(Book) -> Result<Option<Book>, Failure> + Send + Sync + 'static,
{
    fn apply(&mut self, book: Book) -> Result<Option<Book>, Failure> {
        (self.work)(book)
    }

    fn blocks(&self) -> bool {
        self.blocks
    }
}

struct FnBurn<F> {
    burn: Arc<F>,
    blocks: bool,
}

impl<F> Burn for FnBurn<F>
where
    F: Fn(&Book) -> Result<(), Failure> + Send + Sync + 'static,
{
    fn burn(&self, book: &Book) -> Result<(), Failure> {
        (self.burn)(book)
    }

    fn blocks(&self) -> bool {
        self.blocks
    }
}

struct FnService<F> {
    serve: Arc<F>,
    blocks: bool,
}

struct FnServe<F>(Arc<F>);

impl<F, Fut> Service for FnService<F>
where
    F: Fn(Job) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Answer> + 'static,
{
    fn worker(&self, _: &WorkerSite) -> Result<Box<dyn Serve>, Failure> {
        Ok(Box::new(FnServe(self.serve.clone())))
    }

    fn blocks(&self) -> bool {
        self.blocks
    }
}

impl<F, Fut> Serve for FnServe<F>
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
        let serve = Arc::new(move |job| std::future::ready(serve(job)));
        self.add_service(name, help, move |_: &NoOptions, _| {
            let serve = serve.clone();
            Ok(FnService { serve, blocks: true })
        })
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
        let serve = Arc::new(serve);
        self.add_service(name, help, move |_: &NoOptions, _| {
            let serve = serve.clone();
            Ok(FnService { serve, blocks: false })
        })
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
        self.work_fn(name, help, work, true)
    }

    /// Adds a kind of work from a closure that runs on the arbiter: it must return within a few
    /// microseconds and not touch the disk.
    pub fn add_inline_work_fn<F>(&mut self, name: &str, help: &str, work: F) -> &mut Self
    where
        F: Fn(Book) -> Result<Option<Book>, Failure> + Send + Sync + 'static,
    {
        self.work_fn(name, help, work, false)
    }

    fn work_fn<F>(&mut self, name: &str, help: &str, work: F, blocks: bool) -> &mut Self
    where
        F: Fn(Book) -> Result<Option<Book>, Failure> + Send + Sync + 'static,
    {
        let work = Arc::new(work);
        self.add_work(name, help, move |_: &NoOptions, _| {
            let work = work.clone();
            Ok(FnWork { work, blocks })
        })
    }

    /// Adds a kind of burn from a closure that may block: it runs in the blocking pool, on several
    /// threads concurrently.
    pub fn add_burn_fn<F>(&mut self, name: &str, help: &str, burn: F) -> &mut Self
    where
        F: Fn(&Book) -> Result<(), Failure> + Send + Sync + 'static,
    {
        self.burn_fn(name, help, burn, true)
    }

    /// Adds a kind of burn from a closure that runs on the arbiter: it must return within a few
    /// microseconds and not touch the disk.
    pub fn add_inline_burn_fn<F>(&mut self, name: &str, help: &str, burn: F) -> &mut Self
    where
        F: Fn(&Book) -> Result<(), Failure> + Send + Sync + 'static,
    {
        self.burn_fn(name, help, burn, false)
    }

    fn burn_fn<F>(&mut self, name: &str, help: &str, burn: F, blocks: bool) -> &mut Self
    where
        F: Fn(&Book) -> Result<(), Failure> + Send + Sync + 'static,
    {
        let burn = Arc::new(burn);
        self.add_burn(name, help, move |_: &NoOptions, _| {
            let burn = burn.clone();
            Ok(FnBurn { burn, blocks })
        })
    }
}
