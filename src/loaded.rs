//! A config file and its plan: what commands and [`Topology`](crate::Topology) start from.

use std::collections::BTreeSet;
use std::path::Path;

use crate::catalog::{Catalog, STANDARD_STREAM};
use crate::config::elements::TopologyConfig;
use crate::config::file::{self, STDIN};
use crate::config::{
    self, Code, Diagnostic, Diagnostics, Origin, Overrides, Places, ReadConfig, Severity,
    SourceFile, label,
};
use crate::plan::{self, Plan};

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
        let path = file.path().to_owned();
        let read = config::read(file, catalog, overrides)?;
        let ReadConfig { config, places, mut found, mut known, holes } = read;
        let (plan, more) =
            plan::resolve(&config, catalog, &|keys: &[&str]| places.locate(keys), holes);
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
