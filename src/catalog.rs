//! Registry of kinds: maps a kind's name to its factory, for shipped sources, works, burns and
//! services and for those an application adds.
//!
//! A kind turns a table of options into a [`Factory`] in two steps. [`Kind::prepare`] only parses
//! the options, so a file can be checked on any machine. [`Factory::make`] opens files and other
//! resources; it is called again at every restart of the actor that uses the product.
//!
//! ```
//! use gopherworks::{Body, Book, Catalog, Failure};
//!
//! let mut catalog = Catalog::standard();
//! catalog.add_work_fn("shout", "Turns letters into capitals", |mut book: Book| {
//!     let text = book.body.read_all(1 << 20).map_err(|e| Failure::io("reading", &e))?;
//!     book.body = Body::from(text.to_ascii_uppercase());
//!     Ok(Some(book))
//! });
//! assert!(catalog.work("shout").is_some());
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use gopherworks_pipeline::Halt;
use gopherworks_pipeline::burn::Burn;
use gopherworks_pipeline::job::Service;
use gopherworks_pipeline::source::Source;
use gopherworks_pipeline::transform::Transform;
use gopherworks_supervision::failure::Failure;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

pub(crate) mod burn;
mod closures;
pub mod http;
#[cfg_attr(not(feature = "files"), allow(dead_code, reason = "mostly for the kinds `files`"))]
mod journal;
pub(crate) mod locks;
pub mod names;
mod options;
#[cfg_attr(not(feature = "files"), allow(dead_code, reason = "mostly for the kinds `files`"))]
mod own;
mod program;
mod run_id;
#[cfg_attr(not(feature = "files"), allow(dead_code, reason = "mostly for the kinds `files`"))]
mod run_state;
pub(crate) mod service;
mod shape;
mod source;
pub mod work;

pub use options::{FilePath, OptionError, OptionHelp, OptionWarning, STANDARD_STREAM};
pub use program::kill_all;
pub use run_id::RunId;
pub use run_state::RunState;
pub(crate) use run_state::resolved;
pub use work::compose;

pub(crate) use shape::Shape;

use options::Access;
use work::filter::{Filter, FilterMake};
use work::records::RecordWork;

/// Context passed to a factory: the node that uses the product, and the run it belongs to.
#[derive(Debug, Clone)]
pub struct Site {
    /// Name of the node or crew.
    pub node: String,
    /// Random seed of the run.
    pub seed: u64,
    /// Id of the run, unique across processes.
    pub run: RunId,
    /// Folder for bodies too large to hold in memory.
    pub scratch: PathBuf,
    /// Largest body in bytes that stays in memory; a larger one is streamed through a file in
    /// `scratch`.
    pub spill_above: u64,
    /// Signal that the run is being stopped immediately; long waits must give up.
    pub halt: Halt,
    /// True if the run has a fixed duration (`--for`): sources that generate books then never end.
    pub endless: bool,
    /// State shared by all products of the run.
    pub state: RunState,
    /// Identity by which book ids are unique outside the process: that of the store, if piles are
    /// durable, else that of the run.
    pub books: RunId,
    /// True if piles are durable, so that outputs go on where an earlier run has ended.
    pub durable: bool,
}

type Make<T> = dyn Fn(&Site) -> Result<Box<T>, Failure> + Send + Sync;

/// Makes a product for a site. It is called again at every restart of the actor that uses it.
pub struct Factory<T: ?Sized> {
    make: Arc<Make<T>>,
    // If not empty, the product is exactly this chain of streams; `compose` may join it with
    // others.
    filters: Arc<[FilterMake]>,
    // Likewise a chain of works on records.
    records: Arc<[Arc<dyn RecordWork>]>,
}

/// Factory of sources.
pub type SourceFactory = Factory<dyn Source>;
/// Factory of the work of one gopher.
pub type WorkFactory = Factory<dyn Transform>;
/// Factory of burns.
pub type BurnFactory = Factory<dyn Burn>;
/// Factory of services, which create a balancer's workers.
pub type ServiceFactory = Factory<dyn Service>;

impl<T: ?Sized> Factory<T> {
    /// Creates a factory from a closure.
    pub fn new(make: impl Fn(&Site) -> Result<Box<T>, Failure> + Send + Sync + 'static) -> Self {
        Self { make: Arc::new(make), filters: Arc::new([]), records: Arc::new([]) }
    }

    /// Makes one product.
    ///
    /// # Errors
    /// If the kind can't work at this site, e.g. an output folder can't be created.
    pub fn make(&self, site: &Site) -> Result<Box<T>, Failure> {
        (self.make)(site)
    }
}

impl<T: ?Sized> Clone for Factory<T> {
    fn clone(&self) -> Self {
        let Self { make, filters, records } = self;
        Self { make: make.clone(), filters: filters.clone(), records: records.clone() }
    }
}

impl<T: ?Sized> fmt::Debug for Factory<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Factory")
    }
}

type Look = dyn Fn() -> Vec<OptionWarning> + Send + Sync;

/// Result of checking a kind's options: the factory, and the paths that it will read and write.
pub struct Prepared<T: ?Sized> {
    /// Factory of the product.
    pub factory: Factory<T>,
    /// Files and folders that the product reads.
    pub reads: Vec<PathBuf>,
    /// Files and folders that the product writes.
    pub writes: Vec<PathBuf>,
    look: Box<Look>,
}

impl<T: ?Sized> Prepared<T> {
    /// Checks whether this machine has what the options name. Unlike [`Kind::prepare`], this reads
    /// the disk.
    pub fn look(&self) -> Vec<OptionWarning> {
        (self.look)()
    }
}

impl<T: ?Sized> fmt::Debug for Prepared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared")
            .field("reads", &self.reads)
            .field("writes", &self.writes)
            .finish_non_exhaustive()
    }
}

type Prepare<T> = dyn Fn(toml::Table) -> Result<Prepared<T>, OptionError> + Send + Sync;

/// One kind of source, work, burn or service.
pub struct Kind<T: ?Sized> {
    /// Name of the kind in config files.
    pub name: String,
    /// One-line description.
    pub help: String,
    /// JSON Schema of the options; properties with `format: "path"` are file paths.
    pub schema: schemars::Schema,
    prepare: Box<Prepare<T>>,
}

impl<T: ?Sized> fmt::Debug for Kind<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kind")
            .field("name", &self.name)
            .field("help", &self.help)
            .finish_non_exhaustive()
    }
}

impl<T: ?Sized + 'static> Kind<T> {
    /// Checks options and creates a factory from them, without touching the disk. Relative paths
    /// must be resolved first, e.g. by [`Kind::resolve_paths`].
    ///
    /// # Errors
    /// The first invalid option.
    pub fn prepare(&self, options: toml::Table) -> Result<Prepared<T>, OptionError> {
        (self.prepare)(options)
    }

    /// The options with type, default and help text, sorted by name.
    pub fn options(&self) -> Vec<OptionHelp> {
        options::help(&self.schema)
    }

    pub(crate) fn shape(&self) -> Shape<'_> {
        Shape::new(self.schema.as_value())
    }

    /// Resolves every relative path among `options` against `base`. `-` is kept where the kind
    /// accepts it as a standard stream.
    pub fn resolve_paths(&self, options: &mut toml::Table, base: &Path) {
        options::visit_paths(&self.schema, options, &mut |text, path| {
            if !(path.takes_dash && text == options::STANDARD_STREAM) {
                // TOML strings are UTF-8: a path below a base that is not UTF-8 is left relative.
                if let Some(joined) = base.join(&*text).to_str() {
                    *text = joined.to_owned();
                }
            }
        });
    }

    /// A kind whose product `make` makes and `boxed` boxes; `look` reports what this machine lacks.
    fn new<O: KindOptions, P: 'static>(
        name: &str,
        help: &str,
        access: Access,
        make: impl Fn(&O, &Site) -> Result<P, Failure> + Send + Sync + 'static,
        boxed: fn(P) -> Box<T>,
        look: fn(&O) -> Vec<OptionWarning>,
    ) -> Self {
        let make = Arc::new(make);
        let build = move |options: Arc<O>| {
            let make = make.clone();
            Factory::new(move |site| make(&options, site).map(boxed))
        };
        Self::from_factory(name, help, access, build, look)
    }

    fn from_factory<O: KindOptions>(
        name: &str,
        help: &str,
        access: Access,
        build: impl Fn(Arc<O>) -> Factory<T> + Send + Sync + 'static,
        look: fn(&O) -> Vec<OptionWarning>,
    ) -> Self {
        let schema = schemars::schema_for!(O);
        let known = schema.clone();
        Self {
            name: name.to_owned(),
            help: help.to_owned(),
            schema,
            prepare: Box::new(move |mut table| {
                let (reads, writes) = options::reads_and_writes(&known, &mut table, access);
                let said = table.clone();
                let options: Arc<O> = Arc::new(options::parse(table)?);
                options::check_bounds(&known, &said)?;
                Ok(Prepared {
                    factory: build(options.clone()),
                    reads,
                    writes,
                    look: Box::new(move || look(&options)),
                })
            }),
        }
    }
}

/// Options of a kind, read from a config file. They should deny unknown fields, so that misspelt
/// keys are reported.
pub trait KindOptions: DeserializeOwned + JsonSchema + Send + Sync + 'static {}

impl<O: DeserializeOwned + JsonSchema + Send + Sync + 'static> KindOptions for O {}

/// All kinds, by role and name. Adding a kind under an existing name replaces the earlier one.
#[derive(Default)]
pub struct Catalog {
    sources: BTreeMap<String, Kind<dyn Source>>,
    works: BTreeMap<String, Kind<dyn Transform>>,
    burns: BTreeMap<String, Kind<dyn Burn>>,
    services: BTreeMap<String, Kind<dyn Service>>,
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog")
            .field("sources", &self.sources.keys())
            .field("works", &self.works.keys())
            .field("burns", &self.burns.keys())
            .field("services", &self.services.keys())
            .finish()
    }
}

impl Catalog {
    /// A catalog of the shipped kinds.
    pub fn standard() -> Self {
        let mut catalog = Self::empty();
        source::register(&mut catalog);
        work::register(&mut catalog);
        burn::register(&mut catalog);
        service::register(&mut catalog);
        catalog
    }

    /// A catalog without kinds.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The kind of source called `name`.
    pub fn source(&self, name: &str) -> Option<&Kind<dyn Source>> {
        self.sources.get(name)
    }

    /// The kind of work called `name`.
    pub fn work(&self, name: &str) -> Option<&Kind<dyn Transform>> {
        self.works.get(name)
    }

    /// The kind of burn called `name`.
    pub fn burn(&self, name: &str) -> Option<&Kind<dyn Burn>> {
        self.burns.get(name)
    }

    /// The kind of worker called `name`.
    pub fn service(&self, name: &str) -> Option<&Kind<dyn Service>> {
        self.services.get(name)
    }

    /// All kinds of source, sorted by name.
    pub fn sources(&self) -> impl Iterator<Item = &Kind<dyn Source>> {
        self.sources.values()
    }

    /// All kinds of work, sorted by name.
    pub fn works(&self) -> impl Iterator<Item = &Kind<dyn Transform>> {
        self.works.values()
    }

    /// All kinds of burn, sorted by name.
    pub fn burns(&self) -> impl Iterator<Item = &Kind<dyn Burn>> {
        self.burns.values()
    }

    /// All kinds of worker, sorted by name.
    pub fn services(&self) -> impl Iterator<Item = &Kind<dyn Service>> {
        self.services.values()
    }

    /// Names of all kinds of source, sorted.
    pub fn source_names(&self) -> impl Iterator<Item = &str> {
        self.sources.keys().map(String::as_str)
    }

    /// Names of all kinds of work, sorted.
    pub fn work_names(&self) -> impl Iterator<Item = &str> {
        self.works.keys().map(String::as_str)
    }

    /// Names of all kinds of burn, sorted.
    pub fn burn_names(&self) -> impl Iterator<Item = &str> {
        self.burns.keys().map(String::as_str)
    }

    /// Names of all kinds of worker, sorted.
    pub fn service_names(&self) -> impl Iterator<Item = &str> {
        self.services.keys().map(String::as_str)
    }

    /// Adds a kind of source.
    pub fn add_source<O: KindOptions, S: Source>(
        &mut self,
        name: &str,
        help: &str,
        make: impl Fn(&O, &Site) -> Result<S, Failure> + Send + Sync + 'static,
    ) -> &mut Self {
        let boxed = |source: S| Box::new(source) as Box<dyn Source>;
        let kind = Kind::new(name, help, Access::Read, make, boxed, |_| Vec::new());
        self.sources.insert(name.to_owned(), kind);
        self
    }

    /// Adds a kind of work.
    pub fn add_work<O: KindOptions, W: Transform>(
        &mut self,
        name: &str,
        help: &str,
        make: impl Fn(&O, &Site) -> Result<W, Failure> + Send + Sync + 'static,
    ) -> &mut Self {
        let boxed = |work: W| Box::new(work) as Box<dyn Transform>;
        let kind = Kind::new(name, help, Access::Read, make, boxed, |_| Vec::new());
        self.works.insert(name.to_owned(), kind);
        self
    }

    /// Adds a kind of work that streams bodies. Adjacent filters share one pass over the body.
    pub fn add_filter<O: KindOptions, F: Filter>(
        &mut self,
        name: &str,
        help: &str,
        make: impl Fn(&O, &Site) -> Result<F, Failure> + Send + Sync + 'static,
    ) -> &mut Self {
        let make = Arc::new(make);
        let build = move |options: Arc<O>| {
            let make = make.clone();
            WorkFactory::from_filter(move |site| make(&options, site))
        };
        let kind = Kind::from_factory(name, help, Access::Read, build, |_| Vec::new());
        self.works.insert(name.to_owned(), kind);
        self
    }

    /// Adds a kind of work on records.
    fn add_record_work<O: KindOptions>(
        &mut self,
        name: &str,
        help: &str,
        make: fn(Arc<O>) -> Arc<dyn RecordWork>,
    ) -> &mut Self {
        let build = move |options: Arc<O>| WorkFactory::from_records(vec![make(options)]);
        let kind = Kind::from_factory(name, help, Access::Read, build, |_| Vec::new());
        self.works.insert(name.to_owned(), kind);
        self
    }

    /// Adds a kind of burn.
    pub fn add_burn<O: KindOptions, B: Burn>(
        &mut self,
        name: &str,
        help: &str,
        make: impl Fn(&O, &Site) -> Result<B, Failure> + Send + Sync + 'static,
    ) -> &mut Self {
        self.add_burn_with_look(name, help, make, |_| Vec::new())
    }

    fn add_burn_with_look<O: KindOptions, B: Burn>(
        &mut self,
        name: &str,
        help: &str,
        make: impl Fn(&O, &Site) -> Result<B, Failure> + Send + Sync + 'static,
        look: fn(&O) -> Vec<OptionWarning>,
    ) -> &mut Self {
        let boxed = |burn: B| Box::new(burn) as Box<dyn Burn>;
        let kind = Kind::new(name, help, Access::Write, make, boxed, look);
        self.burns.insert(name.to_owned(), kind);
        self
    }

    /// Adds a kind of worker for balancers.
    pub fn add_service<O: KindOptions, S: Service>(
        &mut self,
        name: &str,
        help: &str,
        make: impl Fn(&O, &Site) -> Result<S, Failure> + Send + Sync + 'static,
    ) -> &mut Self {
        self.add_service_with_look(name, help, make, |_| Vec::new())
    }

    fn add_service_with_look<O: KindOptions, S: Service>(
        &mut self,
        name: &str,
        help: &str,
        make: impl Fn(&O, &Site) -> Result<S, Failure> + Send + Sync + 'static,
        look: fn(&O) -> Vec<OptionWarning>,
    ) -> &mut Self {
        let boxed = |service: S| Box::new(service) as Box<dyn Service>;
        let kind = Kind::new(name, help, Access::Read, make, boxed, look);
        self.services.insert(name.to_owned(), kind);
        self
    }
}

#[cfg(test)]
mod tests;
