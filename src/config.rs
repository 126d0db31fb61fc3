//! Reading the config language.
//!
//! A file is layered with the environment and with flags, and becomes a [`schema::TopologyConfig`] and its plan; or it becomes
//! [`Diagnostics`], every mistake at once, each with its place. The same data can be made in code with a [`builder`].
//!
//! ```
//! use gopherworks::catalog::Catalog;
//! use gopherworks::config::{Loaded, Overrides};
//!
//! let file = r#"
//!     [piles.manuals]
//!     source = { kind = "generate", books = 100 }
//!     [incinerators.furnace]
//!     burn = "count"
//!     [crews.solo]
//!     from = "manuals"
//!     to = "furnace"
//!     gophers = ["load push unload return"]
//! "#;
//! let overrides = Overrides::default().set("crews.solo.carts.books=10");
//! let loaded = Loaded::parse("solo.toml", file, &Catalog::standard(), &overrides)?;
//! assert_eq!(loaded.config.crews["solo"].carts.books, 10);
//! # Ok::<(), gopherworks::config::Diagnostics>(())
//! ```

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub mod builder;
mod diagnostic;
mod extends;
mod file;
mod interpolate;
mod json_schema;
pub mod label;
mod layers;
mod like;
pub(crate) mod limits;
mod normalise;
mod options;
mod read;
pub mod schema;
mod suggestions;
mod tree;
mod values;

#[cfg(test)]
mod tests;

pub use diagnostic::{Diagnostic, Diagnostics, Origin, Severity, SourceFile};
pub use file::LARGEST;
pub use json_schema::json_schema;
pub use layers::PREFIX;
pub(crate) use options::Shape;
pub(crate) use suggestions::begin;
pub use suggestions::nearest;

use crate::catalog::Catalog;
use crate::plan::Plan;
use schema::TopologyConfig;
use tree::{Node, Reading};

/// What is laid over a file, and where relative paths in it start.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// The environment. Variables named [`PREFIX`]`CREWS__NEAR__CARTS__COUNT` set config keys, all may be used as `${env.NAME}`.
    pub environment: Vec<(OsString, OsString)>,
    /// `crews.near.carts.count=4`, each from a `--set` flag; the last one wins.
    pub sets: Vec<String>,
    /// The current folder.
    pub folder: PathBuf,
}

impl Overrides {
    /// The environment and the current folder of this process.
    ///
    /// # Errors
    /// There is no current folder, or it may not be read.
    pub fn of_process() -> io::Result<Self> {
        Ok(Self {
            environment: std::env::vars_os().collect(),
            sets: Vec::new(),
            folder: std::env::current_dir()?,
        })
    }

    /// Adds `key=value`, as `--set` does.
    #[must_use]
    pub fn set(mut self, set: impl Into<String>) -> Self {
        self.sets.push(set.into());
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }
}

/// A config that can run.
#[derive(Debug)]
pub struct Loaded {
    /// What was said, in long form.
    pub config: TopologyConfig,
    /// What was made of it.
    pub plan: Plan,
    /// What it may not have been meant to say.
    pub warnings: Diagnostics,
    places: Places,
}

impl Loaded {
    /// Reads a file.
    ///
    /// # Errors
    /// Every mistake in the file, in the overrides, and in the topology that they draw.
    pub fn read(
        path: impl AsRef<Path>,
        catalog: &Catalog,
        overrides: &Overrides,
    ) -> Result<Self, Diagnostics> {
        let path = path.as_ref();
        match file::contents(path) {
            Ok(file::Contents { text, apart }) => {
                let file = SourceFile::new(path, text).apart(apart);
                Self::judge(file, catalog, overrides)
            }
            Err(why) => {
                let mut found = Diagnostics::default();
                let place = Origin::Code(path.display().to_string());
                found.push(Diagnostic::error("", place, why));
                Err(found)
            }
        }
    }

    /// Reads `text` as the contents of `path`; only files that it extends are read from the disk.
    ///
    /// # Errors
    /// As [`Loaded::read`].
    pub fn parse(
        path: impl AsRef<Path>,
        text: impl Into<String>,
        catalog: &Catalog,
        overrides: &Overrides,
    ) -> Result<Self, Diagnostics> {
        Self::judge(SourceFile::new(path.as_ref(), text), catalog, overrides)
    }

    fn judge(
        file: SourceFile,
        catalog: &Catalog,
        overrides: &Overrides,
    ) -> Result<Self, Diagnostics> {
        begin();
        let path = file.path().to_owned();
        let file = Arc::new(file);
        let mut found = Diagnostics::default();
        let mut tickets = layers::Tickets::default();
        let environment = interpolate::Environment::new(&overrides.environment);
        let files = extends::chain(file, &overrides.folder, &environment, &mut tickets, &mut found);
        let Some(files) = files else {
            // What the parser could save of the rest would be blamed for what it lost.
            return Err(found.sorted());
        };
        let mut known = layers::lowest();
        for layer in &files {
            layers::merge(&mut known, layer.value());
        }
        let sets = layers::sets(&overrides.sets, &known, &mut tickets, &mut found);
        layers::merge(&mut known, sets.value());
        let environment =
            layers::environment(&overrides.environment, &known, catalog, &mut tickets, &mut found);
        let mut stack = vec![layers::defaults(&mut tickets)];
        stack.extend(files);
        stack.extend([environment, sets]);
        let mut root = match layers::stack(stack, &mut tickets, &mut found) {
            Ok(root) => root,
            Err(error) => {
                let origin = Origin::Code(String::new());
                found.push(Diagnostic::error("", origin, error.to_string()));
                return Err(found.sorted());
            }
        };
        let holes = like::expand(&mut root, &mut tickets, &mut found);
        let tree = Node::new(&root, &tickets, &mut Vec::new());

        let mut known = Vec::new();
        tree.broken("", &mut found, &mut known);

        let reading = Reading {
            catalog,
            current: &overrides.folder,
            found: RefCell::new(found),
            holes: Cell::new(holes),
            aliases: RefCell::default(),
        };
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let config = read::topology(&reading, &tree, &name);

        let mut places = BTreeMap::new();
        tree.index("", &mut places);
        places.extend(reading.aliases.into_inner());
        let places = Places(places);
        let mut found = reading.found.into_inner();
        let (plan, judged) = crate::plan::resolve(
            &config,
            catalog,
            &|keys: &[&str]| places.locate(keys),
            reading.holes.get(),
        );
        let mistakes = found.iter().filter(|one| one.severity == Severity::Error);
        known.extend(mistakes.map(|mistake| mistake.path.clone()));
        let mut known = BTreeSet::from_iter(known);
        // A mistake without a path says nothing of the rest.
        known.remove("");
        let news = judged.into_iter();
        found.extend(news.filter(|mistake| !follows(&mistake.path, &known)));
        let found = found.sorted();
        match plan {
            Some(plan) if !found.has_errors() => Ok(Self { config, plan, warnings: found, places }),
            _ => Err(found),
        }
    }

    /// Who wrote the value at a config path, e.g. `["crews", "near", "to"]`.
    pub fn locate(&self, path: &[&str]) -> Origin {
        self.places.locate(path)
    }
}

/// Who wrote what, by config path.
#[derive(Debug)]
struct Places(BTreeMap<String, Origin>);

impl Places {
    /// The origin of the value at `keys`, or of the nearest thing around it.
    fn locate(&self, keys: &[&str]) -> Origin {
        (0..=keys.len())
            .rev()
            .find_map(|most| Some((most, self.0.get(&keys[..most].join("."))?)))
            .and_then(|(most, origin)| match origin.clone() {
                Origin::Code(_) => None,
                // What is not there is shown by the name of what it is not in.
                Origin::File { file, key, variable, .. } if most < keys.len() => {
                    Some(Origin::File { file, value: key.clone(), key, variable })
                }
                origin => Some(origin),
            })
            .unwrap_or_else(|| Origin::Code(keys.join(".")))
    }
}

/// True if a mistake at `path` only follows from one that is known: it is about a value that could not be read.
fn follows(path: &str, known: &BTreeSet<String>) -> bool {
    let ends = path.match_indices(['.', '[']).map(|(at, _)| at);
    if ends.chain([path.len()]).any(|end| known.contains(&path[..end])) {
        return true;
    }
    // A whole node is not excused by a mistake somewhere in it, but a part of one is.
    let below = |edge: char| {
        let below = format!("{path}{edge}");
        let next = known.range(below.clone()..).next();
        next.is_some_and(|known| known.starts_with(&below))
    };
    path.split('.').count() > 2 && (below('.') || below('['))
}
