//! Layers: built-in defaults, the file, the environment, `--set`. The `config` crate stacks them.
//! Every value carries the number of a ticket with its origin, in the place that the crate has for
//! a value's origin.

use std::collections::BTreeMap;
use std::sync::Arc;

use config::{Config, ConfigError, Map, Source, Value, ValueKind};
use toml::de::DeValue;

use super::diagnostic::{Diagnostic, Diagnostics, Origin};
use super::suggestions::nearest;
use super::values::DISTRIBUTIONS;

mod overriding;
mod written;

use overriding::dotted;
pub(crate) use overriding::{environment, incomplete, sets, unquoted};
pub(crate) use written::{defaults, file};

/// Prefix of the environment variables that set config keys; two underscores also separate the
/// keys.
pub const PREFIX: &str = "GOPHERWORKS__";

/// The crate parses top keys as path expressions, so everything is below one fixed key.
const ROOT: &str = "topology";

pub(crate) const TOO_LARGE: &str = "this number is too large: it does not fit into 64 bits";

/// The origin of a value.
#[derive(Debug, Clone)]
pub(crate) struct Ticket {
    pub origin: Origin,
    /// True for a text from `${env.X}`, a variable or a flag: it is parsed by the type of its key.
    pub text: bool,
    /// True if a relative path in it starts at the current folder, not at the file's.
    pub current: bool,
    /// Why the value is invalid; it is then nil. Reported only if no higher layer replaces the
    /// value.
    pub broken: Option<String>,
    /// The text of an array or table from outside, for keys that take a string.
    pub raw: Option<Arc<str>>,
}

impl Ticket {
    /// The ticket of a value in a file or in code.
    pub fn new(origin: Origin) -> Self {
        Self { origin, text: false, current: false, broken: None, raw: None }
    }
}

/// All tickets of a config, and the tables' tickets by path.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    all: Vec<Ticket>,
    /// Stacking rebuilds tables without their tickets, so these are kept by path.
    tables: BTreeMap<Vec<String>, usize>,
}

impl Tickets {
    fn issue(&mut self, ticket: Ticket) -> usize {
        self.all.push(ticket);
        self.all.len() - 1
    }

    /// The ticket of a value, if it still has one.
    pub fn of(&self, value: &Value) -> Option<&Ticket> {
        self.all.get(value.origin()?.parse::<usize>().ok()?)
    }

    /// The ticket of the table at `path`.
    pub fn table(&self, path: &[String]) -> Option<&Ticket> {
        self.tables.get(path).map(|at| &self.all[*at])
    }

    /// Copies the tickets of the tables below `from` to the copied tables below `to`.
    pub fn copy(&mut self, from: &[String], to: &[String]) {
        let below: Vec<_> = self
            .tables
            .range(from.to_vec()..)
            .take_while(|(path, _)| path.starts_with(from))
            .map(|(path, at)| ([to, &path[from.len()..]].concat(), *at))
            .collect();
        for (path, at) in below {
            self.tables.entry(path).or_insert(at);
        }
    }

    /// Removes the tickets of the tables at `path` and below.
    fn forget(&mut self, path: &[String]) {
        let below: Vec<Vec<String>> = (self.tables.range(path.to_vec()..))
            .map(|(known, _)| known)
            .take_while(|known| known.starts_with(path))
            .cloned()
            .collect();
        for path in below {
            self.tables.remove(&path);
        }
    }

    fn remember(&mut self, value: &Value, path: &mut Vec<String>) {
        if let ValueKind::Table(table) = &value.kind {
            if let Some(at) = value.origin().and_then(|ticket| ticket.parse().ok()) {
                self.tables.entry(path.clone()).or_insert(at);
            }
            for (key, value) in table {
                path.push(key.clone());
                self.remember(value, path);
                path.pop();
            }
        }
    }
}

/// Attaches a ticket to a value.
fn stamped(ticket: usize, kind: impl Into<ValueKind>) -> Value {
    Value::new(Some(&ticket.to_string()), kind)
}

/// An empty table without an origin: the base of all layers.
pub(crate) fn lowest() -> Value {
    empty()
}

/// An empty table without an origin.
fn empty() -> Value {
    Value::new(None, Map::<String, Value>::new())
}

/// A layer in long form, and the keys that it removes from lower ones.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    value: Value,
    removes: Vec<Vec<String>>,
}

impl Layer {
    fn new(value: Value) -> Self {
        Self { value, removes: Vec::new() }
    }

    /// The values of the layer.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Removes and returns a top key.
    pub fn take(&mut self, key: &str) -> Option<Value> {
        match &mut self.value.kind {
            ValueKind::Table(table) => table.remove(key),
            _ => None,
        }
    }
}

/// Removes the value at `path` from `root`; false if there is none.
fn remove(root: &mut Value, path: &[String]) -> bool {
    let ValueKind::Table(table) = &mut root.kind else {
        return false;
    };
    match path {
        [] => false,
        [last] => table.remove(last).is_some(),
        [first, rest @ ..] => table.get_mut(first).is_some_and(|below| remove(below, rest)),
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(Map::from_iter([(ROOT.to_owned(), self.value.clone())]))
    }

    fn collect_to(&self, cache: &mut Value) -> Result<(), ConfigError> {
        for path in &self.removes {
            let inherited = [&[ROOT.to_owned()], path.as_slice()].concat();
            remove(cache, &inherited);
        }
        let below = Value::new(None, self.collect()?);
        merge(cache, &below);
        Ok(())
    }
}

/// Mutually exclusive keys: one in an upper layer replaces the other in a lower layer.
const ALTERNATIVES: [&[&str]; 3] =
    [&DISTRIBUTIONS, &["after", "percentile"], &["rate", "utilisation"]];

/// Merges `over` into `base`: tables merge deeply, other values and tables of another kind are
/// replaced.
pub(crate) fn merge(base: &mut Value, over: &Value) {
    if let ValueKind::Table(upper) = &over.kind
        && let ValueKind::Table(lower) = &mut base.kind
        && !replaces(lower, upper)
    {
        for keys in ALTERNATIVES {
            if keys.iter().any(|key| upper.contains_key(*key)) {
                lower.retain(|key, _| !keys.contains(&key.as_str()) || upper.contains_key(key));
            }
        }
        for (key, value) in upper {
            match lower.get_mut(key) {
                Some(old) => merge(old, value),
                None => {
                    lower.insert(key.clone(), value.clone());
                }
            }
        }
    } else {
        *base = over.clone();
    }
}

/// True if the node changes its kind.
fn replaces(lower: &Map<String, Value>, upper: &Map<String, Value>) -> bool {
    match (lower.get("kind"), upper.get("kind")) {
        (Some(old), Some(new)) => old.kind != new.kind,
        _ => false,
    }
}

/// Stacks the layers, the last one on top. What a layer removes is taken out of lower ones; missing
/// keys are mistakes.
pub(crate) fn stack(
    layers: Vec<Layer>,
    tickets: &mut Tickets,
    found: &mut Diagnostics,
) -> Result<Value, ConfigError> {
    let cores = crate::config::schema::ExecutionConfig::default().cores;
    let mut builder =
        Config::builder().set_default(format!("{ROOT}.execution.cores"), i64::from(cores))?;
    // The result so far, to check what can be removed.
    let mut below = empty();
    for mut layer in layers {
        if let Some(said) = layer.take("remove") {
            layer.removes = removals(&said, &mut below, tickets, found);
        }
        merge(&mut below, &layer.value);
        tickets.remember(&layer.value, &mut Vec::new());
        builder = builder.add_source(layer);
    }
    let cache = builder.build()?.cache;
    let ValueKind::Table(mut roots) = cache.kind else {
        return Ok(empty());
    };
    Ok(roots.remove(ROOT).unwrap_or_else(empty))
}

/// The paths in `remove = [...]`, each removed from the lower layers.
fn removals(
    said: &Value,
    below: &mut Value,
    tickets: &mut Tickets,
    found: &mut Diagnostics,
) -> Vec<Vec<String>> {
    let mut out = Vec::new();
    let items = match &said.kind {
        ValueKind::Array(items) => items.as_slice(),
        // Not an array: reported as a single wrong item.
        _ => std::slice::from_ref(said),
    };
    for item in items {
        let ticket = tickets.of(item);
        let origin = ticket.map_or(Origin::Code("remove".into()), |it| it.origin.clone());
        let mut refuse = |message: String, near: Option<String>| {
            let mistake = Diagnostic::error("remove", origin.clone(), message);
            found.push(mistake.suggest(near.as_deref()));
        };
        let path = match &item.kind {
            ValueKind::String(text) if matches!(said.kind, ValueKind::Array(_)) => dotted(text),
            _ => None,
        };
        let Some(path) = path else {
            let broken = ticket.and_then(|ticket| ticket.broken.clone());
            let message = broken.unwrap_or_else(|| {
                "`remove` is an array of keys, such as [\"crews.far\"]".to_owned()
            });
            refuse(message, None);
            continue;
        };
        if remove(below, &path) {
            tickets.forget(&path);
            out.push(path);
        } else {
            let message = format!("no inherited key is called `{}`", path.join("."));
            refuse(message, nearby(below, &path));
        }
    }
    out
}

/// The existing key most similar to `path`, up to its first unknown part.
fn nearby(root: &Value, path: &[String]) -> Option<String> {
    let mut at = root;
    for (depth, part) in path.iter().enumerate() {
        let ValueKind::Table(table) = &at.kind else {
            return None;
        };
        match table.get(part) {
            Some(below) => at = below,
            None => {
                let near = nearest(part, table.keys().map(String::as_str))?;
                let known = path[..depth].iter().map(String::as_str);
                return Some(known.chain([near]).collect::<Vec<_>>().join("."));
            }
        }
    }
    None
}

/// A scalar other than a string; `None` if the number does not fit.
fn scalar_kind(value: &DeValue<'_>) -> Option<ValueKind> {
    Some(match value {
        DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix()).ok()?.into(),
        DeValue::Float(x) => x.as_str().parse::<f64>().ok()?.into(),
        DeValue::Boolean(yes) => (*yes).into(),
        DeValue::Datetime(time) => time.to_string().into(),
        DeValue::String(text) => text.to_string().into(),
        DeValue::Array(_) | DeValue::Table(_) => ValueKind::Nil,
    })
}
