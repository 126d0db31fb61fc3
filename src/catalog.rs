//! Kind name -> factory: the shipped sources, works and burns, and those that an application adds.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use gopherworks_actors::burn::Burn;
use gopherworks_actors::failure::Failure;
use gopherworks_actors::source::Source;
use gopherworks_actors::transform::Transform;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

/// What a factory is told about the place that its product will have.
#[derive(Debug, Clone)]
pub struct Site {
    /// Name of the node or crew.
    pub node: String,
    /// Seed of the run.
    pub seed: u64,
    /// Folder for bodies too large for memory.
    pub scratch: PathBuf,
    /// A body up to this many bytes stays in memory; a larger one streams through a file in `scratch`.
    pub spill_above: u64,
    /// True where the run was given a duration (`--for`): sources that make up their books then never end by themselves.
    pub endless: bool,
}

/// Makes a product for a site; called again for every new life of the actor that uses it.
pub struct Factory<T: ?Sized>(Arc<dyn Fn(&Site) -> Result<Box<T>, Failure> + Send + Sync>);

/// Makes a source.
pub type SourceFactory = Factory<dyn Source>;
/// Makes the work of one gopher.
pub type WorkFactory = Factory<dyn Transform>;
/// Makes a burn.
pub type BurnFactory = Factory<dyn Burn>;

impl<T: ?Sized> Factory<T> {
    /// A factory from a closure.
    pub fn new(make: impl Fn(&Site) -> Result<Box<T>, Failure> + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }

    /// Makes one.
    ///
    /// # Errors
    /// Whatever the kind refuses at this site, e.g. an output folder that can't be created.
    pub fn make(&self, site: &Site) -> Result<Box<T>, Failure> {
        (self.0)(site)
    }
}

impl<T: ?Sized> Clone for Factory<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: ?Sized> fmt::Debug for Factory<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Factory")
    }
}

/// What options were refused, with the path of the offending key below the kind's table.
#[derive(Debug, Clone)]
pub struct OptionError {
    /// Keys from the options table to the value at fault; empty for the table itself.
    pub path: Vec<String>,
    /// serde's message, e.g. ``unknown field `lvel`, expected `level` ``.
    pub message: String,
}

/// What a kind makes of its options: the factory, and what it would read and write.
pub struct Prepared<T: ?Sized> {
    /// Makes the product.
    pub factory: Factory<T>,
    /// Files and folders that it would read.
    pub reads: Vec<PathBuf>,
    /// Files and folders that it would write.
    pub writes: Vec<PathBuf>,
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

impl<T: ?Sized> Kind<T> {
    /// Checks options and makes a factory of them. Touches no disk.
    ///
    /// # Errors
    /// The first mistake in the options.
    pub fn prepare(&self, options: toml::Table) -> Result<Prepared<T>, OptionError> {
        (self.prepare)(options)
    }
}

/// All kinds, by role and name.
#[derive(Default)]
pub struct Catalog {
    sources: BTreeMap<String, Arc<Kind<dyn Source>>>,
    works: BTreeMap<String, Arc<Kind<dyn Transform>>>,
    burns: BTreeMap<String, Arc<Kind<dyn Burn>>>,
}

// `Catalog::standard()`, `add_source::<O>(name, help, |options: O, site: &Site| ...)`, `add_work`, `add_burn`,
// `source(name)`, `sources()`, ... follow.

// TEMP-STUB: replaced by the catalog branch at the merge. Just enough to compile and test against.
#[derive(serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GenerateStub {
    books: u64,
    #[serde(default)]
    #[allow(dead_code)]
    size: Option<String>,
}
#[derive(serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct FilesStub {
    #[schemars(extend("format" = "path"))]
    folder: PathBuf,
    #[serde(default)]
    glob: Option<String>,
    #[serde(default)]
    leave_out: Vec<PathBuf>,
}
#[derive(serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NoneStub {}
#[derive(serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GzipStub {
    #[serde(default)]
    #[allow(dead_code)]
    level: Option<u32>,
}
fn stub<O: DeserializeOwned + JsonSchema + 'static, T: ?Sized + 'static>(
    name: &str,
    reads: fn(&O) -> Vec<PathBuf>,
    writes: fn(&O) -> Vec<PathBuf>,
) -> (String, Arc<Kind<T>>) {
    let prepare = move |options: toml::Table| {
        let options: O =
            serde_path_to_error::deserialize(options).map_err(|error| OptionError {
                path: error
                    .path()
                    .iter()
                    .map(|step| step.to_string())
                    .filter(|step| step != "?")
                    .collect(),
                message: error.inner().message().to_owned(),
            })?;
        Ok(Prepared {
            reads: reads(&options),
            writes: writes(&options),
            factory: Factory::new(|_| Err(Failure::permanent("stub"))),
        })
    };
    let kind = Kind {
        name: name.into(),
        help: String::new(),
        schema: schemars::schema_for!(O),
        prepare: Box::new(prepare),
    };
    (name.into(), Arc::new(kind))
}
#[allow(missing_docs)]
impl Catalog {
    pub fn standard() -> Self {
        let none = |_: &_| Vec::new();
        Self {
            sources: BTreeMap::from([
                stub(
                    "generate",
                    |o: &GenerateStub| {
                        let _ = o.books;
                        vec![]
                    },
                    |_| vec![],
                ),
                stub("files", |o: &FilesStub| vec![o.folder.clone()], |_| vec![]),
            ]),
            works: BTreeMap::from([
                stub::<GzipStub, _>("gzip", |_| vec![], |_| vec![]),
                stub::<NoneStub, _>("sha256", none, |_| vec![]),
            ]),
            burns: BTreeMap::from([
                stub::<NoneStub, _>("count", |_| vec![], |_| vec![]),
                stub("files", |_| vec![], |o: &FilesStub| vec![o.folder.clone()]),
            ]),
        }
    }
    pub fn source(&self, name: &str) -> Option<&Kind<dyn Source>> {
        self.sources.get(name).map(|kind| &**kind)
    }
    pub fn work(&self, name: &str) -> Option<&Kind<dyn Transform>> {
        self.works.get(name).map(|kind| &**kind)
    }
    pub fn burn(&self, name: &str) -> Option<&Kind<dyn Burn>> {
        self.burns.get(name).map(|kind| &**kind)
    }
    pub fn source_names(&self) -> impl Iterator<Item = &str> {
        self.sources.keys().map(String::as_str)
    }
    pub fn work_names(&self) -> impl Iterator<Item = &str> {
        self.works.keys().map(String::as_str)
    }
    pub fn burn_names(&self) -> impl Iterator<Item = &str> {
        self.burns.keys().map(String::as_str)
    }
}
#[allow(missing_docs)]
pub fn compose(mut works: Vec<WorkFactory>) -> WorkFactory {
    works.remove(0)
}
