//! Reads the config language.
//!
//! A file, the environment and flags are layers of a [`elements::TopologyConfig`], from which a
//! plan is made; otherwise the result is [`Diagnostics`] with every mistake and its place. A
//! [`builder`] makes such configs in code.
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
pub(crate) mod element;
pub mod elements;
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
mod reference;
mod suggestions;
mod tree;
pub mod units;
mod values;

#[cfg(test)]
mod tests;

pub use diagnostic::{Code, Diagnostic, Diagnostics, Origin, Severity, SourceFile};
pub use file::LARGEST;
pub use json_schema::json_schema;
pub use layers::PREFIX;
pub use reference::{diagnostics, reference};
pub(crate) use suggestions::begin;
pub use suggestions::nearest;

use crate::catalog::{Catalog, STANDARD_STREAM};
use crate::plan::Plan;
use elements::TopologyConfig;
use file::STDIN;
use tree::{ConfigNode, Keys, Reading};

/// Layers over a file, and the folder where their relative paths start.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// The environment. Variables named [`PREFIX`]`CREWS__NEAR__CARTS__COUNT` set config keys; all
    /// can be used as `${env.NAME}`.
    pub environment: Vec<(OsString, OsString)>,
    /// `--set` flags, such as `crews.near.carts.count=4`; the last one wins.
    pub sets: Vec<String>,
    /// The current folder.
    pub folder: PathBuf,
}

impl Overrides {
    /// The environment and current folder of this process.
    ///
    /// # Errors
    /// The current folder does not exist or may not be read.
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

/// A valid config and its plan.
#[derive(Debug)]
pub struct Loaded {
    /// The config in long form.
    pub config: TopologyConfig,
    /// The plan made from it.
    pub plan: Plan,
    /// Warnings about a valid config.
    pub warnings: Diagnostics,
    places: Places,
}

impl Loaded {
    /// Reads a file, or standard input if `path` is `-`.
    ///
    /// # Errors
    /// All mistakes in the file, the overrides, and the resulting topology.
    pub fn read(
        path: impl AsRef<Path>,
        catalog: &Catalog,
        overrides: &Overrides,
    ) -> Result<Self, Diagnostics> {
        let path = path.as_ref();
        match file::contents(path) {
            Ok(file::Contents { text, apart }) => {
                let path = if path.as_os_str() == STANDARD_STREAM { STDIN.as_ref() } else { path };
                let file = SourceFile::new(path, text).apart(apart);
                Self::validate(file, catalog, overrides)
            }
            Err(why) => {
                let mut found = Diagnostics::default();
                let place = Origin::Code(path.display().to_string());
                found.push(Diagnostic::error(Code::UnreadableFile, "", place, why));
                Err(found)
            }
        }
    }

    /// Reads `text` as the content of `path`; only files that it extends are read from disk.
    ///
    /// # Errors
    /// As [`Loaded::read`].
    pub fn parse(
        path: impl AsRef<Path>,
        text: impl Into<String>,
        catalog: &Catalog,
        overrides: &Overrides,
    ) -> Result<Self, Diagnostics> {
        Self::validate(SourceFile::new(path.as_ref(), text), catalog, overrides)
    }

    fn validate(
        file: SourceFile,
        catalog: &Catalog,
        overrides: &Overrides,
    ) -> Result<Self, Diagnostics> {
        begin();
        let path = file.path().to_owned();
        let file = Arc::new(file);
        let mut found = Diagnostics::default();
        let mut provenances = layers::Provenances::default();
        let environment = interpolate::Environment::new(&overrides.environment);
        let files =
            extends::chain(file, &overrides.folder, &environment, &mut provenances, &mut found);
        let Some(files) = files else {
            // Values after a syntax error are unreliable, so they are not checked.
            return Err(found.sorted());
        };
        let mut sets = layers::sets(&overrides.sets, &mut provenances, &mut found);
        let mut environment = layers::environment(
            &overrides.environment,
            [&files, &sets],
            catalog,
            &mut provenances,
            &mut found,
        );
        layers::incomplete(&files, [&mut environment, &mut sets], &provenances, &mut found);
        let mut root = match layers::stack(files, environment, sets, &provenances, &mut found) {
            Ok(root) => root,
            Err(error) => {
                let origin = Origin::Code(String::new());
                found.push(Diagnostic::error(Code::Syntax, "", origin, error.to_string()));
                return Err(found.sorted());
            }
        };
        let holes = like::expand(&mut root, &provenances, &mut found);
        let tree = ConfigNode::new(root, &provenances, &Keys::ROOT);
        drop(provenances);

        let mut known = Vec::new();
        tree.broken(&Keys::ROOT, &mut found, &mut known);

        let reading = Reading {
            catalog,
            current: &overrides.folder,
            found: RefCell::new(found),
            holes: Cell::new(holes),
            aliases: RefCell::default(),
        };
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = name.trim_matches(['<', '>']);
        let config = TopologyConfig::read_root(&reading, &tree, name);

        let aliases = reading.aliases.into_inner().into_iter().collect();
        let places = Places { tree, aliases };
        let mut found = reading.found.into_inner();
        let (plan, more) = crate::plan::resolve(
            &config,
            catalog,
            &|keys: &[&str]| places.locate(keys),
            reading.holes.get(),
        );
        let mistakes = found.iter().filter(|one| one.severity == Severity::Error);
        known.extend(mistakes.map(|mistake| mistake.path.clone()));
        let mut known = BTreeSet::from_iter(known);
        // A mistake without a path excuses no other.
        known.remove("");
        found.extend(more.into_iter().filter(|mistake| !follows(&mistake.path, &known)));
        let piles = plan.iter().flat_map(|plan| &plan.piles).filter(|_| path == Path::new(STDIN));
        for pile in piles.filter(|pile| pile.reads.iter().any(|read| read == STANDARD_STREAM)) {
            let keys = ["piles", label::base(&pile.name), "source", "path"];
            let message = "standard input is read as the config already";
            found.push(Diagnostic::error(
                Code::StandardInputTaken,
                keys.join("."),
                places.locate(&keys),
                message,
            ));
        }
        let found = found.sorted();
        match plan {
            Some(plan) if !found.has_errors() => Ok(Self { config, plan, warnings: found, places }),
            _ => Err(found),
        }
    }

    /// The origin of the value at a config path, e.g. `["crews", "near", "to"]`.
    pub fn locate(&self, path: &[&str]) -> Origin {
        self.places.locate(path)
    }
}

/// Origins by config path.
#[derive(Debug)]
struct Places {
    tree: ConfigNode,
    /// Origins of paths that the tree lacks, see [`Reading::aliases`].
    aliases: BTreeMap<String, Origin>,
}

impl Places {
    fn origin(&self, keys: &[&str]) -> Option<&Origin> {
        let alias = self.aliases.get(&keys.join("."));
        alias.or_else(|| Some(&self.tree.at(keys)?.provenance.origin))
    }

    /// The origin of the value at `keys`, or of the nearest enclosing value.
    fn locate(&self, keys: &[&str]) -> Origin {
        (0..=keys.len())
            .rev()
            .find_map(|most| Some((most, self.origin(&keys[..most])?)))
            .and_then(|(most, origin)| match origin.clone() {
                Origin::Code(_) => None,
                // A missing key is shown at the name of its table.
                Origin::File { file, key, variable, .. } if most < keys.len() => {
                    Some(Origin::File { file, value: key.clone(), key, variable })
                }
                origin => Some(origin),
            })
            .unwrap_or_else(|| Origin::Code(keys.join(".")))
    }
}

/// True if a mistake at `path` follows from a known one: its value could not be read.
fn follows(path: &str, known: &BTreeSet<String>) -> bool {
    let ends = path.match_indices(['.', '[']).map(|(at, _)| at);
    if ends.chain([path.len()]).any(|end| known.contains(&path[..end])) {
        return true;
    }
    // A mistake inside a node excuses that part of it, but not the whole node.
    let below = |edge: char| {
        let below = format!("{path}{edge}");
        let next = known.range(below.clone()..).next();
        next.is_some_and(|known| known.starts_with(&below))
    };
    path.split('.').count() > 2 && (below('.') || below('['))
}
