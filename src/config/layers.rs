//! Layers of a config: files, then the environment, then `--set`. The `config` crate stacks them.
//! The origin that it keeps with each value is an index into [`Provenances`].

use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use config::{ConfigError, Map, Source, Value, ValueKind};
use toml::de::DeValue;

use super::diagnostic::{Code, Diagnostic, Diagnostics, Origin};
use super::element::{Element, Rule, TableSpec, Type};
use super::elements::{Span, TopologyConfig};
use super::suggestions::nearest;

mod overriding;
mod written;

use overriding::dotted;
pub(crate) use overriding::{environment, incomplete, sets, unquoted};
pub(crate) use written::file;

/// Prefix of the environment variables that set config keys. The keys after it are separated by two
/// underscores.
pub const PREFIX: &str = "GOPHERWORKS__";

pub(crate) const TOO_LARGE: &str = "this number is too large: it does not fit into 64 bits";

/// Origin of a value, and how to read it.
#[derive(Debug, Clone)]
pub(crate) struct Provenance {
    pub origin: Origin,
    /// True for a text of `${env.X}`, a variable or a flag: it is parsed as the type of its key.
    pub text: bool,
    /// True if a relative path in it starts at the current folder, not at the file's.
    pub current: bool,
    /// What is wrong with the value, which is then nil. Reported only if no layer above replaces
    /// the value.
    pub broken: Option<(Code, String)>,
    /// The text of an array or table of a variable or flag, used instead of it where its key takes
    /// a string.
    pub raw: Option<Arc<str>>,
}

impl Provenance {
    /// Provenance of a value of a file or of code.
    pub fn new(origin: Origin) -> Self {
        Self { origin, text: false, current: false, broken: None, raw: None }
    }
}

/// Provenances of all values of a config.
#[derive(Debug, Default)]
pub(crate) struct Provenances(Vec<Arc<Provenance>>);

impl Provenances {
    /// Makes a value with this provenance.
    fn value(&mut self, provenance: Provenance, kind: impl Into<ValueKind>) -> Value {
        let at = self.add(provenance);
        stamped(at, kind)
    }

    fn add(&mut self, provenance: Provenance) -> usize {
        self.0.push(Arc::new(provenance));
        self.0.len() - 1
    }

    /// The provenance of a value; `None` for one that no layer wrote.
    pub fn of(&self, value: &Value) -> Option<&Arc<Provenance>> {
        self.0.get(value.origin()?.parse::<usize>().ok()?)
    }

    /// The origin of a value; `path` in a config made by code for one that no layer wrote.
    pub fn origin(&self, value: &Value, path: &str) -> Origin {
        self.of(value).map_or_else(|| Origin::Code(path.into()), |it| it.origin.clone())
    }
}

/// Makes a value with the provenance of this index.
fn stamped(provenance: usize, kind: impl Into<ValueKind>) -> Value {
    Value::new(Some(&provenance.to_string()), kind)
}

/// An empty table without provenance.
pub(crate) fn empty() -> Value {
    Value::new(None, Map::<String, Value>::new())
}

/// The entries of a table; `None` for another value.
fn table(value: &Value) -> Option<&Map<String, Value>> {
    match &value.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    }
}

/// Removes a key from a table.
pub(crate) fn take(value: &mut Value, key: &str) -> Option<Value> {
    match &mut value.kind {
        ValueKind::Table(table) => table.remove(key),
        _ => None,
    }
}

/// Removes what is at `path` in `root`; false if nothing is there.
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

/// A layer on its way into the stack, which moves its value out, as copies of large files would
/// cost most of the time.
#[derive(Debug, Clone)]
struct Layer(Arc<Mutex<Value>>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let mut value = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *value, empty()).into_table()
    }

    fn collect_to(&self, cache: &mut Value) -> Result<(), ConfigError> {
        merge(cache, Value::new(None, self.collect()?), Some(&TopologyConfig::TYPE));
        Ok(())
    }
}

/// Lays `over` on `base`, a value of the type `ty`. Tables of equal kinds merge deeply; everything
/// else is replaced. One of several alternative keys replaces the others.
pub(crate) fn merge(base: &mut Value, mut over: Value, ty: Option<&'static Type>) {
    if let ValueKind::Table(upper) = &mut over.kind
        && let ValueKind::Table(lower) = &mut base.kind
        && !replaces(lower, upper)
    {
        let kind = upper.get("kind").or(lower.get("kind")).map(|kind| &kind.kind);
        let described = ty.and_then(|ty| described(ty, kind));
        if let Some(Rule::ExactlyOne(keys)) = described.and_then(|table| table.rule)
            && keys.iter().any(|key| upper.contains_key(*key))
        {
            lower.retain(|key, _| !keys.contains(&key.as_str()) || upper.contains_key(key));
        }
        for (key, value) in upper.drain() {
            let below = match ty {
                Some(Type::Named(of)) => Some(*of),
                // An option may be a distribution.
                Some(Type::Kind(_)) => Some(&Span::TYPE),
                _ => described.and_then(|table| Some(&table.key(&key)?.ty)),
            };
            match lower.entry(key) {
                Entry::Occupied(mut old) => merge(old.get_mut(), value, below),
                Entry::Vacant(free) => {
                    free.insert(value);
                }
            }
        }
    } else {
        *base = over;
    }
}

/// The description of a table whose key `kind` is this.
fn described(ty: &Type, kind: Option<&ValueKind>) -> Option<&'static TableSpec> {
    match (ty, kind) {
        (Type::Tagged(_, variants), Some(ValueKind::String(kind))) => {
            variants.iter().find(|variant| variant.name == kind).map(|variant| variant.table)
        }
        _ => ty.table(),
    }
}

/// True for nodes of different kinds.
fn replaces(lower: &Map<String, Value>, upper: &Map<String, Value>) -> bool {
    match (lower.get("kind"), upper.get("kind")) {
        (Some(old), Some(new)) => old.kind != new.kind,
        _ => false,
    }
}

/// Merges a file over the files that it extends, after removing the keys that it resets there.
pub(crate) fn extend(
    base: &mut Value,
    mut file: Value,
    provenances: &Provenances,
    found: &mut Diagnostics,
) {
    removals(&mut file, &mut [base], provenances, found);
    merge(base, file, Some(&TopologyConfig::TYPE));
}

/// Merges the environment and then the flags over the files. Each first removes the keys that it
/// resets in the layers below it.
pub(crate) fn stack(
    mut files: Value,
    mut environment: Value,
    mut sets: Value,
    provenances: &Provenances,
    found: &mut Diagnostics,
) -> Result<Value, ConfigError> {
    removals(&mut environment, &mut [&mut files], provenances, found);
    removals(&mut sets, &mut [&mut files, &mut environment], provenances, found);
    // Not by the crate's builder: it rebuilds all tables, which lose their origins.
    let layers = [files, environment, sets].map(|layer| Layer(Arc::new(Mutex::new(layer))));
    Ok(Value::new(None, layers.to_vec().collect()?))
}

/// Takes `remove = [...]` out of a layer, and what it names out of the layers below. A path that
/// none of them has is a mistake.
fn removals(
    layer: &mut Value,
    below: &mut [&mut Value],
    provenances: &Provenances,
    found: &mut Diagnostics,
) {
    let Some(said) = take(layer, "remove") else {
        return;
    };
    let items = match &said.kind {
        ValueKind::Array(items) => items.as_slice(),
        // Reported as one item that is wrong.
        _ => std::slice::from_ref(&said),
    };
    for item in items {
        let mut refuse = |message: String, near: Option<String>| {
            let origin = provenances.origin(item, "remove");
            found.push(
                Diagnostic::error(Code::Remove, "remove", origin, message).suggest(near.as_deref()),
            );
        };
        let path = match &item.kind {
            ValueKind::String(text) if matches!(said.kind, ValueKind::Array(_)) => dotted(text),
            _ => None,
        };
        let Some(path) = path else {
            let broken = provenances.of(item).and_then(|provenance| provenance.broken.as_ref());
            let message = broken
                .map_or("`remove` is an array of keys, such as [\"crews.far\"]", |(_, message)| {
                    message
                });
            refuse(message.to_owned(), None);
            continue;
        };
        let mut removed = false;
        for layer in below.iter_mut() {
            removed |= remove(layer, &path);
        }
        if !removed {
            let message = format!("no inherited key is called `{}`", path.join("."));
            refuse(message, below.iter().find_map(|layer| nearby(layer, &path)));
        }
    }
}

/// The key that is most similar to `path`, which exists up to the part that is replaced.
fn nearby(root: &Value, path: &[String]) -> Option<String> {
    let mut at = root;
    for (depth, part) in path.iter().enumerate() {
        let table = table(at)?;
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
