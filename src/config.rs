//! Reads the config language.
//!
//! A file, the environment and flags are layers of a [`elements::TopologyConfig`]. [`Loaded`] makes
//! its plan; otherwise the result is [`Diagnostics`] with every mistake and its place. A
//! [`builder`] makes such configs in code.
//!
//! [`Loaded`]: crate::Loaded
//!
//! ```
//! use gopherworks::catalog::Catalog;
//! use gopherworks::Loaded;
//! use gopherworks::config::Overrides;
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
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

pub mod builder;
mod diagnostic;
pub(crate) mod element;
pub mod elements;
mod extends;
pub(crate) mod file;
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

use crate::catalog::Catalog;
use elements::TopologyConfig;
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

/// A config that was read, with what judging its plan needs.
#[derive(Debug)]
pub(crate) struct ReadConfig {
    pub(crate) config: TopologyConfig,
    pub(crate) places: Places,
    /// Mistakes and warnings so far.
    pub(crate) found: Diagnostics,
    /// Paths of values that could not be read; mistakes that follow from them are not reported.
    pub(crate) known: Vec<String>,
    /// True if something that others refer to could not be read.
    pub(crate) holes: bool,
}

/// Reads a file and the layers over it.
///
/// # Errors
/// All mistakes, if there is no config to be judged because of them.
pub(crate) fn read(
    file: SourceFile,
    catalog: &Catalog,
    overrides: &Overrides,
) -> Result<ReadConfig, Diagnostics> {
    begin();
    let path = file.path().to_owned();
    let file = Arc::new(file);
    let mut found = Diagnostics::default();
    let mut provenances = layers::Provenances::default();
    let environment = interpolate::Environment::new(&overrides.environment);
    let files = extends::chain(file, &overrides.folder, &environment, &mut provenances, &mut found);
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
    let holes = reading.holes.get();
    Ok(ReadConfig { config, places, found: reading.found.into_inner(), known, holes })
}

/// Origins by config path.
#[derive(Debug)]
pub(crate) struct Places {
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
    pub(crate) fn locate(&self, keys: &[&str]) -> Origin {
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
