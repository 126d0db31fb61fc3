//! Kind name -> factory: the shipped sources, works and burns, and those that an application adds.
//!
//! A kind turns a table of options into a [`Factory`] in two steps. [`Kind::prepare`] reads the options and touches
//! nothing else, so a file can be checked on any machine; [`Factory::make`] opens what is needed, anew for every life
//! of the actor that uses the product.
//!
//! ```
//! use gopherworks::actors::book::{Body, Book};
//! use gopherworks::catalog::Catalog;
//!
//! let mut catalog = Catalog::standard();
//! catalog.add_work_fn("shout", "Turns letters into capitals", |mut book: Book| {
//!     let text = book.body.read_all(1 << 20).map_err(|e| gopherworks::actors::failure::Failure::io("reading", &e))?;
//!     book.body = Body::from(text.to_ascii_uppercase());
//!     Ok(Some(book))
//! });
//! assert!(catalog.work("shout").is_some());
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gopherworks_actors::burn::Burn;
use gopherworks_actors::failure::Failure;
use gopherworks_actors::job::Service;
use gopherworks_actors::source::Source;
use gopherworks_actors::transform::Transform;
pub use gopherworks_actors::works::Halt;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

pub mod burn;
mod closures;
pub mod http;
mod journal;
mod locks;
pub mod names;
pub mod options;
mod own;
mod program;
mod run_id;
mod run_state;
pub mod service;
pub mod source;
pub mod units;
pub mod work;

pub use options::{FilePath, OptionError, OptionHelp, OptionWarning, STANDARD_STREAM};
pub use run_id::RunId;
pub use run_state::RunState;
pub use work::compose;

use options::Access;
use work::filter::{Filter, FilterMake};

/// What a factory is told about the place that its product will have.
#[derive(Debug, Clone)]
pub struct Site {
    /// Name of the node or crew.
    pub node: String,
    /// Seed of the run.
    pub seed: u64,
    /// Identity of the run among all runs of all processes.
    pub run: RunId,
    /// Folder for bodies too large for memory.
    pub scratch: PathBuf,
    /// A body up to this many bytes stays in memory; a larger one streams through a file in `scratch`.
    pub spill_above: u64,
    /// Asks what waits for long to give up, since the run is being stopped at once.
    pub halt: Halt,
    /// True where the run was given a duration (`--for`): sources that make up their books then never end by themselves.
    pub endless: bool,
    /// What the products of the run know of each other.
    pub state: RunState,
}

type Make<T> = dyn Fn(&Site) -> Result<Box<T>, Failure> + Send + Sync;

/// Makes a product for a site; called again for every new life of the actor that uses it.
pub struct Factory<T: ?Sized> {
    make: Arc<Make<T>>,
    // Not empty: the product is a stream through exactly these, so `compose` may join it with its neighbours.
    filters: Arc<[FilterMake]>,
}

/// Makes a source.
pub type SourceFactory = Factory<dyn Source>;
/// Makes the work of one gopher.
pub type WorkFactory = Factory<dyn Transform>;
/// Makes a burn.
pub type BurnFactory = Factory<dyn Burn>;
/// Makes a kind of worker for one balancer.
pub type ServiceFactory = Factory<dyn Service>;

impl<T: ?Sized> Factory<T> {
    /// A factory from a closure.
    pub fn new(make: impl Fn(&Site) -> Result<Box<T>, Failure> + Send + Sync + 'static) -> Self {
        Self {
            make: Arc::new(make),
            filters: Arc::new([]),
        }
    }

    /// Makes one.
    ///
    /// # Errors
    /// Whatever the kind refuses at this site, e.g. an output folder that can't be created.
    pub fn make(&self, site: &Site) -> Result<Box<T>, Failure> {
        (self.make)(site)
    }
}

impl<T: ?Sized> Clone for Factory<T> {
    fn clone(&self) -> Self {
        Self {
            make: self.make.clone(),
            filters: self.filters.clone(),
        }
    }
}

impl<T: ?Sized> fmt::Debug for Factory<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Factory")
    }
}

type Look = dyn Fn() -> Vec<OptionWarning> + Send + Sync;

/// What a kind makes of its options: the factory, and what it would read and write.
pub struct Prepared<T: ?Sized> {
    /// Makes the product.
    pub factory: Factory<T>,
    /// Files and folders that it would read.
    pub reads: Vec<PathBuf>,
    /// Files and folders that it would write.
    pub writes: Vec<PathBuf>,
    look: Box<Look>,
}

impl<T: ?Sized> Prepared<T> {
    /// Looks whether this machine has what the options name. Unlike preparing, this reads the disk.
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

/// One kind of source, work or burn.
pub struct Kind<T: ?Sized> {
    /// Its name in config files.
    pub name: String,
    /// What it does, in a line.
    pub help: String,
    /// JSON Schema of its options; properties of `format: "path"` are file paths.
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
    /// Checks options and makes a factory of them. Touches no disk. Relative paths must have been resolved before,
    /// e.g. by [`Kind::resolve_paths`].
    ///
    /// # Errors
    /// The first mistake in the options.
    pub fn prepare(&self, options: toml::Table) -> Result<Prepared<T>, OptionError> {
        (self.prepare)(options)
    }

    /// The options with type, default and help, in the order of their names.
    pub fn options(&self) -> Vec<OptionHelp> {
        options::help(&self.schema)
    }

    /// Makes every relative path among `options` absolute against `base`; where the kind takes `-` for a standard
    /// stream, `-` is left as it is.
    pub fn resolve_paths(&self, options: &mut toml::Table, base: &Path) {
        options::visit_paths(&self.schema, options, &mut |text, path| {
            if !(path.takes_dash && text == options::STANDARD_STREAM) {
                // A path that came from TOML and a base that is not UTF-8 can't be written back as TOML: left alone.
                if let Some(joined) = base.join(&*text).to_str() {
                    *text = joined.to_owned();
                }
            }
        });
    }

    fn new<O>(
        name: &str,
        help: &str,
        access: Access,
        build: impl Fn(Arc<O>) -> Factory<T> + Send + Sync + 'static,
    ) -> Self
    where
        O: DeserializeOwned + JsonSchema + Send + Sync + 'static,
    {
        Self::with_look(name, help, access, build, |_: &O| Vec::new())
    }

    /// `look` finds what this machine lacks for the options.
    fn with_look<O>(
        name: &str,
        help: &str,
        access: Access,
        build: impl Fn(Arc<O>) -> Factory<T> + Send + Sync + 'static,
        look: fn(&O) -> Vec<OptionWarning>,
    ) -> Self
    where
        O: DeserializeOwned + JsonSchema + Send + Sync + 'static,
    {
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

/// All kinds, by role and name. A kind added under a name that is taken replaces the one before.
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
    /// The shipped kinds.
    pub fn standard() -> Self {
        let mut catalog = Self::empty();
        source::register(&mut catalog);
        work::register(&mut catalog);
        burn::register(&mut catalog);
        service::register(&mut catalog);
        catalog
    }

    /// No kinds at all.
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

    /// All kinds of source, in the order of their names.
    pub fn sources(&self) -> impl Iterator<Item = &Kind<dyn Source>> {
        self.sources.values()
    }

    /// All kinds of work, in the order of their names.
    pub fn works(&self) -> impl Iterator<Item = &Kind<dyn Transform>> {
        self.works.values()
    }

    /// All kinds of burn, in the order of their names.
    pub fn burns(&self) -> impl Iterator<Item = &Kind<dyn Burn>> {
        self.burns.values()
    }

    /// All kinds of worker, in the order of their names.
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

    /// Adds a kind of source with options `O`. Options should deny unknown fields, so that a slip of the pen is found.
    pub fn add_source<O, S>(
        &mut self,
        name: &str,
        help: &str,
        make: impl Fn(&O, &Site) -> Result<S, Failure> + Send + Sync + 'static,
    ) -> &mut Self
    where
        O: DeserializeOwned + JsonSchema + Send + Sync + 'static,
        S: Source,
    {
        let make = Arc::new(make);
        let kind = Kind::new(name, help, Access::Read, move |options: Arc<O>| {
            let make = make.clone();
            Factory::new(move |site| Ok(Box::new(make(&options, site)?) as Box<dyn Source>))
        });
        self.sources.insert(name.to_owned(), kind);
        self
    }

    /// Adds a kind of work with options `O`.
    pub fn add_work<O, W>(
        &mut self,
        name: &str,
        help: &str,
        make: impl Fn(&O, &Site) -> Result<W, Failure> + Send + Sync + 'static,
    ) -> &mut Self
    where
        O: DeserializeOwned + JsonSchema + Send + Sync + 'static,
        W: Transform,
    {
        let make = Arc::new(make);
        let kind = Kind::new(name, help, Access::Read, move |options: Arc<O>| {
            let make = make.clone();
            Factory::new(move |site| Ok(Box::new(make(&options, site)?) as Box<dyn Transform>))
        });
        self.works.insert(name.to_owned(), kind);
        self
    }

    /// Adds a kind of work through which bodies stream; neighbours of this sort share one pass over the body.
    pub fn add_filter<O, F>(
        &mut self,
        name: &str,
        help: &str,
        make: impl Fn(&O, &Site) -> Result<F, Failure> + Send + Sync + 'static,
    ) -> &mut Self
    where
        O: DeserializeOwned + JsonSchema + Send + Sync + 'static,
        F: Filter,
    {
        let make = Arc::new(make);
        let kind = Kind::new(name, help, Access::Read, move |options: Arc<O>| {
            let make = make.clone();
            WorkFactory::from_filter(move |site| make(&options, site))
        });
        self.works.insert(name.to_owned(), kind);
        self
    }

    /// Adds a kind of burn with options `O`.
    pub fn add_burn<O, B>(
        &mut self,
        name: &str,
        help: &str,
        make: impl Fn(&O, &Site) -> Result<B, Failure> + Send + Sync + 'static,
    ) -> &mut Self
    where
        O: DeserializeOwned + JsonSchema + Send + Sync + 'static,
        B: Burn,
    {
        self.add_burn_with_look(name, help, make, |_| Vec::new())
    }

    fn add_burn_with_look<O, B>(
        &mut self,
        name: &str,
        help: &str,
        make: impl Fn(&O, &Site) -> Result<B, Failure> + Send + Sync + 'static,
        look: fn(&O) -> Vec<OptionWarning>,
    ) -> &mut Self
    where
        O: DeserializeOwned + JsonSchema + Send + Sync + 'static,
        B: Burn,
    {
        let make = Arc::new(make);
        let build = move |options: Arc<O>| {
            let make = make.clone();
            Factory::new(move |site| Ok(Box::new(make(&options, site)?) as Box<dyn Burn>))
        };
        let kind = Kind::with_look(name, help, Access::Write, build, look);
        self.burns.insert(name.to_owned(), kind);
        self
    }

    /// Adds a kind of worker, for balancers, with options `O`.
    pub fn add_service<O, S>(
        &mut self,
        name: &str,
        help: &str,
        make: impl Fn(&O, &Site) -> Result<S, Failure> + Send + Sync + 'static,
    ) -> &mut Self
    where
        O: DeserializeOwned + JsonSchema + Send + Sync + 'static,
        S: Service,
    {
        self.add_service_with_look(name, help, make, |_| Vec::new())
    }

    fn add_service_with_look<O, S>(
        &mut self,
        name: &str,
        help: &str,
        make: impl Fn(&O, &Site) -> Result<S, Failure> + Send + Sync + 'static,
        look: fn(&O) -> Vec<OptionWarning>,
    ) -> &mut Self
    where
        O: DeserializeOwned + JsonSchema + Send + Sync + 'static,
        S: Service,
    {
        let make = Arc::new(make);
        let build = move |options: Arc<O>| {
            let make = make.clone();
            Factory::new(move |site| Ok(Box::new(make(&options, site)?) as Box<dyn Service>))
        };
        let kind = Kind::with_look(name, help, Access::Read, build, look);
        self.services.insert(name.to_owned(), kind);
        self
    }
}

#[cfg(test)]
mod tests;
