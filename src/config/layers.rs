//! Layers: built-in defaults, then the file, then the environment, then `--set`. The `config` crate stacks them; every value
//! carries a ticket of who wrote it through the stacking, in the place that the crate has for a value's origin.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

use config::{Config, ConfigError, Map, Source, Value, ValueKind};
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Diagnostics, Origin, SourceFile, nearest};
use super::interpolate::{Environment, interpolate};
use super::normalise;

/// Prefix of the environment variables that set config keys; the keys below it are parted by the same two underscores.
pub const PREFIX: &str = "GOPHERWORKS__";

/// The crate reads top keys as path expressions, so everything lies below one key of our own.
const ROOT: &str = "topology";

const TOO_LARGE: &str = "this number is too large";

/// Deepest key that an environment variable may name.
const DEEPEST: usize = 32;

/// Who wrote a value.
#[derive(Debug, Clone)]
pub(crate) struct Ticket {
    pub origin: Origin,
    /// True if `${env.X}` made it: a number may then be written as a string.
    pub text: bool,
    /// True if a relative path in it starts at the current folder rather than at the file's.
    pub current: bool,
    /// What is wrong with the value, which is then nil. It counts only if no layer above replaces the value.
    pub broken: Option<String>,
}

/// All tickets of a config, and which tables were written where.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    all: Vec<Ticket>,
    /// Stacking rebuilds tables and loses their tickets, so they are kept by path.
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

    /// Tables of `from` also stand for those of `to`, which was copied from it.
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

    /// Whatever was written at `path` and below is not there any more.
    fn forget(&mut self, path: &[String]) {
        self.tables.retain(|known, _| !known.starts_with(path));
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

/// Stamps a value with its ticket.
fn stamped(ticket: usize, kind: impl Into<ValueKind>) -> Value {
    Value::new(Some(&ticket.to_string()), kind)
}

/// An empty table that nobody wrote.
fn empty() -> Value {
    Value::new(None, Map::<String, Value>::new())
}

/// One layer, in long form, and what it removes of those below.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    value: Value,
    removes: Vec<Vec<String>>,
}

impl Layer {
    fn new(value: Value) -> Self {
        Self {
            value,
            removes: Vec::new(),
        }
    }

    /// What it says.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Takes a top key out of it.
    pub fn take(&mut self, key: &str) -> Option<Value> {
        match &mut self.value.kind {
            ValueKind::Table(table) => table.remove(key),
            _ => None,
        }
    }
}

/// Takes what is at `path` out of `root`; false if nothing is there.
fn remove(root: &mut Value, path: &[String]) -> bool {
    let ValueKind::Table(table) = &mut root.kind else {
        return false;
    };
    match path {
        [] => false,
        [last] => table.remove(last).is_some(),
        [first, rest @ ..] => table
            .get_mut(first)
            .is_some_and(|below| remove(below, rest)),
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

/// Lays `over` on `base`: tables merge deeply, everything else replaces whole, and so does a table of another kind.
pub(crate) fn merge(base: &mut Value, over: &Value) {
    if let ValueKind::Table(upper) = &over.kind
        && let ValueKind::Table(lower) = &mut base.kind
        && !replaces(lower, upper)
    {
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

/// True for another kind of node, and for another distribution of a time.
fn replaces(lower: &Map<String, Value>, upper: &Map<String, Value>) -> bool {
    let distribution = |table: &Map<String, Value>| {
        ["uniform", "exponential"]
            .iter()
            .any(|key| table.contains_key(*key))
    };
    match (lower.get("kind"), upper.get("kind")) {
        (Some(old), Some(new)) => old.kind != new.kind,
        _ => distribution(lower) && distribution(upper),
    }
}

/// Stacks the layers, the last one uppermost. What a layer removes goes out of those below it, or is a mistake.
pub(crate) fn stack(
    layers: Vec<Layer>,
    tickets: &mut Tickets,
    found: &mut Diagnostics,
) -> Result<Value, ConfigError> {
    let cores = crate::config::schema::ExecutionConfig::default().cores;
    let mut builder =
        Config::builder().set_default(format!("{ROOT}.execution.cores"), i64::from(cores))?;
    // What is known so far, only to tell what can be removed.
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

/// The paths that `remove = [...]` names, each taken out of what lies below.
fn removals(
    said: &Value,
    below: &mut Value,
    tickets: &mut Tickets,
    found: &mut Diagnostics,
) -> Vec<Vec<String>> {
    let mut out = Vec::new();
    let items = match &said.kind {
        ValueKind::Array(items) => items.as_slice(),
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
            ValueKind::String(text) => dotted(text),
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
        let near = nearby(below, &path);
        if remove(below, &path) {
            tickets.forget(&path);
            out.push(path);
        } else {
            let message = format!("nothing that is inherited is called `{}`", path.join("."));
            refuse(message, near);
        }
    }
    out
}

/// The key that is most like `path`: right up to the first part that leads nowhere.
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

/// The layer of built-in defaults.
pub(crate) fn defaults(tickets: &mut Tickets) -> Layer {
    let text = include_str!("defaults.toml");
    let mut reader = FileReader {
        file: Arc::new(SourceFile::new("defaults", text)),
        environment: &Environment::default(),
        tickets,
        found: &mut Diagnostics::default(),
        written: false,
    };
    reader.read().unwrap_or(Layer::new(empty()))
}

/// The layer of a file, its mistakes going to `found`; `None` if its syntax is broken.
pub(crate) fn file(
    file: Arc<SourceFile>,
    environment: &Environment,
    tickets: &mut Tickets,
    found: &mut Diagnostics,
) -> Option<Layer> {
    let mut reader = FileReader {
        file,
        environment,
        tickets,
        found,
        written: true,
    };
    reader.read()
}

struct FileReader<'a> {
    file: Arc<SourceFile>,
    environment: &'a Environment,
    tickets: &'a mut Tickets,
    found: &'a mut Diagnostics,
    /// False for built-in defaults, which have no place to point at.
    written: bool,
}

impl FileReader<'_> {
    fn read(&mut self) -> Option<Layer> {
        let file = self.file.clone();
        let (table, errors) = DeTable::parse_recoverable(file.text());
        for error in &errors {
            let span = error.span().unwrap_or(0..0);
            let origin = self.origin(span.clone(), span, None);
            self.found
                .push(Diagnostic::error("", origin, error.message()));
        }
        if !errors.is_empty() {
            return None;
        }
        let whole = self.tickets.issue(Ticket {
            origin: Origin::Code(String::new()),
            text: false,
            current: false,
            broken: None,
        });
        let mut root = self.table(table.get_ref(), whole);
        normalise::root(&mut root);
        Some(Layer::new(root))
    }

    fn origin(
        &self,
        key: std::ops::Range<usize>,
        value: std::ops::Range<usize>,
        variable: Option<String>,
    ) -> Origin {
        if self.written {
            Origin::File {
                file: self.file.clone(),
                key,
                value,
                variable,
            }
        } else {
            Origin::Code(String::new())
        }
    }

    fn table(&mut self, table: &DeTable<'_>, ticket: usize) -> Value {
        let mut out = Map::new();
        for (key, value) in table {
            let value = self.value(key.span(), value.span(), value.get_ref());
            out.insert(key.get_ref().to_string(), value);
        }
        stamped(ticket, out)
    }

    fn value(
        &mut self,
        key: std::ops::Range<usize>,
        span: std::ops::Range<usize>,
        value: &DeValue<'_>,
    ) -> Value {
        let mut ticket = Ticket {
            origin: self.origin(key, span.clone(), None),
            text: false,
            current: false,
            broken: None,
        };
        match value {
            DeValue::Table(table) => {
                let ticket = self.tickets.issue(ticket);
                self.table(table, ticket)
            }
            DeValue::Array(items) => {
                let items = items
                    .iter()
                    .map(|item| self.value(item.span(), item.span(), item.get_ref()));
                let out: Vec<Value> = items.collect();
                stamped(self.tickets.issue(ticket), out)
            }
            DeValue::String(text) => {
                let text = match interpolate(text, self.environment) {
                    Ok(None) => text.to_string(),
                    Ok(Some(taken)) => {
                        ticket.text = true;
                        ticket.current = taken.variable.is_some();
                        if let Origin::File { variable, .. } = &mut ticket.origin {
                            *variable = taken.variable;
                        }
                        taken.value
                    }
                    Err(message) => {
                        ticket.broken = Some(message);
                        return stamped(self.tickets.issue(ticket), ValueKind::Nil);
                    }
                };
                stamped(self.tickets.issue(ticket), text)
            }
            scalar => {
                let kind = scalar_kind(scalar).unwrap_or_else(|| {
                    ticket.broken = Some(TOO_LARGE.into());
                    ValueKind::Nil
                });
                stamped(self.tickets.issue(ticket), kind)
            }
        }
    }
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

/// The layer of the environment.
pub(crate) fn environment(
    variables: &[(OsString, OsString)],
    tickets: &mut Tickets,
    found: &mut Diagnostics,
) -> Layer {
    // Sorted, so that the order in which the system lists them changes nothing.
    let mut ours: Vec<_> = variables
        .iter()
        .filter_map(|(name, value)| Some((name.to_str()?, value)))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    ours.sort();
    let mut layer = empty();
    for (name, value) in ours {
        let origin = Origin::Variable(name.to_owned());
        let keys: Vec<String> = name[PREFIX.len()..]
            .split("__")
            .map(str::to_ascii_lowercase)
            .collect();
        let mut refuse = |message: &str| {
            found.push(Diagnostic::error(keys.join("."), origin.clone(), message));
        };
        let Some(value) = value.to_str() else {
            refuse("the value is not UTF-8");
            continue;
        };
        if keys.iter().any(String::is_empty) || keys.len() > DEEPEST {
            refuse("this names no config key: keys are parted by two underscores each");
            continue;
        }
        add(&mut layer, &keys, value, origin, tickets);
    }
    Layer::new(layer)
}

/// The layer of `--set key=value` flags.
pub(crate) fn sets(sets: &[String], tickets: &mut Tickets, found: &mut Diagnostics) -> Layer {
    let mut layer = empty();
    for set in sets {
        let Some((key, value)) = set.split_once('=') else {
            let origin = Origin::Flag(set.clone());
            found.push(
                Diagnostic::error("", origin, "there is no `=`")
                    .help("write `--set crews.near.carts.count=4`"),
            );
            continue;
        };
        let origin = Origin::Flag(key.trim().to_owned());
        match dotted(key) {
            Some(keys) => add(&mut layer, &keys, value, origin, tickets),
            None => found.push(Diagnostic::error("", origin, "this is no dotted key")),
        }
    }
    Layer::new(layer)
}

/// The parts of a dotted key, read as TOML reads it.
fn dotted(key: &str) -> Option<Vec<String>> {
    let line = format!("{key} = 0");
    let table = DeTable::parse(&line).ok()?;
    let mut parts = Vec::new();
    let mut table = table.into_inner();
    loop {
        if table.len() != 1 {
            return None;
        }
        let (key, value) = table.into_iter().next()?;
        parts.push(key.into_inner().into_owned());
        match value.into_inner() {
            DeValue::Table(inner) => table = inner,
            DeValue::Integer(_) => return Some(parts),
            _ => return None,
        }
    }
}

/// Adds `keys = value`: a TOML value where it parses as one, else a string.
fn add(layer: &mut Value, keys: &[String], value: &str, origin: Origin, tickets: &mut Tickets) {
    let ticket = tickets.issue(Ticket {
        origin,
        text: false,
        current: true,
        broken: None,
    });
    let parsed = DeValue::parse(value.trim()).ok();
    let value = match &parsed {
        Some(parsed) => overriding(parsed.get_ref(), ticket, tickets),
        None => stamped(ticket, value),
    };
    let mut root = keys.iter().rev().fold(value, |below, key| {
        stamped(ticket, Map::from_iter([(key.clone(), below)]))
    });
    normalise::root(&mut root);
    merge(layer, &root);
}

fn overriding(value: &DeValue<'_>, ticket: usize, tickets: &mut Tickets) -> Value {
    match value {
        DeValue::Table(table) => {
            let entries = table.iter().map(|(key, value)| {
                let value = overriding(value.get_ref(), ticket, tickets);
                (key.get_ref().to_string(), value)
            });
            stamped(ticket, entries.collect::<Map<_, _>>())
        }
        DeValue::Array(items) => {
            let items = items
                .iter()
                .map(|item| overriding(item.get_ref(), ticket, tickets));
            stamped(ticket, items.collect::<Vec<_>>())
        }
        scalar => match scalar_kind(scalar) {
            Some(kind) => stamped(ticket, kind),
            None => {
                let broken = Ticket {
                    broken: Some(TOO_LARGE.into()),
                    ..tickets.all[ticket].clone()
                };
                stamped(tickets.issue(broken), ValueKind::Nil)
            }
        },
    }
}
