//! The stacked config as a tree of values with their origins, and a reader that collects mistakes.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use config::{Value, ValueKind};

use super::diagnostic::{Code, Diagnostic, Diagnostics, Origin};
use super::layers::{Provenance, Provenances};
use super::suggestions::nearest;
use crate::catalog::Catalog;

/// A value with its provenance.
#[derive(Debug)]
pub(crate) struct ConfigNode {
    pub provenance: Arc<Provenance>,
    pub kind: NodeKind,
}

/// A value.
#[derive(Debug)]
pub(crate) enum NodeKind {
    /// A value with a mistake that is reported already.
    Broken,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    String(String),
    Array(Vec<ConfigNode>),
    Table(Entries),
}

/// The entries of a table, sorted by key: much smaller than a map, and a file may have very many.
#[derive(Debug)]
pub(crate) struct Entries(Box<[(String, ConfigNode)]>);

impl Entries {
    fn new(mut entries: Vec<(String, ConfigNode)>) -> Self {
        entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Self(entries.into_boxed_slice())
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&ConfigNode> {
        let at = self.0.binary_search_by(|(known, _)| known.as_str().cmp(key)).ok()?;
        Some(&self.0[at].1)
    }

    /// All keys with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &ConfigNode)> {
        self.0.iter().map(|(key, node)| (key, node))
    }
}

impl ConfigNode {
    /// The tree of a stacked value.
    pub fn new(value: Value, provenances: &Provenances, path: &Keys<'_>) -> ConfigNode {
        let provenance = provenances.of(&value).cloned().unwrap_or_else(|| {
            let code = Origin::Code(path.to_string());
            Arc::new(Provenance { current: true, ..Provenance::new(code) })
        });
        let child =
            |key: &dyn Display, value| ConfigNode::new(value, provenances, &path.below(key));
        let kind = match value.kind {
            ValueKind::Nil => NodeKind::Broken,
            ValueKind::Boolean(yes) => NodeKind::Boolean(yes),
            ValueKind::I64(n) => NodeKind::Integer(n),
            // Our layers make none of the wider numbers.
            ValueKind::U64(_) | ValueKind::I128(_) | ValueKind::U128(_) => NodeKind::Broken,
            ValueKind::Float(x) => NodeKind::Float(x),
            ValueKind::String(text) => NodeKind::String(text),
            ValueKind::Array(items) => {
                let items = items.into_iter().enumerate();
                NodeKind::Array(items.map(|(at, item)| child(&at, item)).collect())
            }
            ValueKind::Table(table) => {
                let entries = table.into_iter().map(|(key, value)| {
                    let node = child(&key, value);
                    (key, node)
                });
                NodeKind::Table(Entries::new(entries.collect()))
            }
        };
        ConfigNode { provenance, kind }
    }

    /// The type of the value, for messages.
    pub fn what(&self) -> Cow<'static, str> {
        match &self.kind {
            NodeKind::Broken => "nothing".into(),
            NodeKind::Boolean(yes) => format!("`{yes}`").into(),
            NodeKind::Integer(n) => format!("the number {n}").into(),
            NodeKind::Float(x) => format!("the number {x:?}").into(),
            NodeKind::String(text) if text.is_empty() => "an empty string".into(),
            NodeKind::String(text) => format!("the string {:?}", cut(text)).into(),
            NodeKind::Array(_) => "an array".into(),
            NodeKind::Table(_) => "a table".into(),
        }
    }

    /// Reports the values that are broken, and adds their paths to `out`.
    pub fn broken(&self, path: &Keys<'_>, found: &mut Diagnostics, out: &mut Vec<String>) {
        match &self.kind {
            NodeKind::Broken => {
                let origin = &self.provenance.origin;
                found.extend(self.provenance.broken.as_ref().map(|(code, message)| {
                    Diagnostic::error(*code, path.to_string(), origin.clone(), message)
                }));
                out.push(path.to_string());
            }
            NodeKind::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    item.broken(&path.below(&at), found, out);
                }
            }
            NodeKind::Table(table) => {
                for (key, value) in table.iter() {
                    value.broken(&path.below(key), found, out);
                }
            }
            _ => {}
        }
    }

    /// The value at `keys` below this one.
    pub fn at(&self, keys: &[&str]) -> Option<&ConfigNode> {
        let [key, below @ ..] = keys else {
            return Some(self);
        };
        let node = match &self.kind {
            NodeKind::Array(items) => items.get(key.parse::<usize>().ok()?),
            NodeKind::Table(table) => table.get(key),
            _ => None,
        };
        node?.at(below)
    }
}

/// The path of a value, which is only formatted for messages.
pub(crate) struct Keys<'a>(Option<(&'a Keys<'a>, &'a dyn Display)>);

impl Keys<'_> {
    /// The path of the whole config.
    pub const ROOT: Keys<'static> = Keys(None);

    fn below<'a>(&'a self, key: &'a dyn Display) -> Keys<'a> {
        Keys(Some((self, key)))
    }
}

impl Display for Keys<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            None => Ok(()),
            Some((Keys(None), key)) => key.fmt(f),
            Some((above, key)) => write!(f, "{above}.{key}"),
        }
    }
}

/// The start of a text that a message quotes.
pub(crate) fn cut(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}...", &text[..at]).into(),
        None => text.into(),
    }
}

/// The path of a key in the table at `path`.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { [path, key].join(".") }
}

/// Context and results of reading.
pub(crate) struct Reading<'a> {
    pub catalog: &'a Catalog,
    /// The current folder.
    pub current: &'a Path,
    pub found: RefCell<Diagnostics>,
    /// True if a whole node could not be read: the graph is then not checked for missing nodes.
    pub holes: Cell<bool>,
    /// Origins of paths that the tree does not have: one entry may mean several gophers.
    pub aliases: RefCell<Vec<(String, Origin)>>,
}

/// A value at a path.
#[derive(Clone, Copy)]
pub(crate) struct Item<'a> {
    pub node: &'a ConfigNode,
    pub path: &'a str,
}

impl Item<'_> {
    /// True for a table.
    pub fn is_table(&self) -> bool {
        matches!(self.node.kind, NodeKind::Table(_))
    }

    /// True if an error about the value is reported already.
    pub fn is_broken(&self) -> bool {
        matches!(self.node.kind, NodeKind::Broken)
    }

    /// The value of a key of a table.
    pub fn below(&self, key: &str) -> Option<&ConfigNode> {
        match &self.node.kind {
            NodeKind::Table(entries) => entries.get(key),
            _ => None,
        }
    }

    /// An error about this value.
    pub fn error(&self, code: Code, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(code, self.path, self.node.provenance.origin.clone(), message)
    }
}

impl Reading<'_> {
    /// Adds a diagnostic.
    pub fn report(&self, diagnostic: Diagnostic) {
        self.found.borrow_mut().push(diagnostic);
    }

    /// Reports that `item` has the wrong type, unless it is reported already.
    pub fn expected<T>(&self, item: &Item<'_>, what: &str) -> Option<T> {
        if !matches!(item.node.kind, NodeKind::Broken) {
            let found = item.node.what();
            self.report(item.error(Code::WrongType, format!("expected {what}, found {found}")));
        }
        None
    }
}

/// Reads the keys of a table; keys that were never read are unknown.
pub(crate) struct TableReader<'a> {
    reading: &'a Reading<'a>,
    item: Item<'a>,
    entries: &'a Entries,
    known: Vec<&'static str>,
}

impl<'a> TableReader<'a> {
    /// Opens `item`, or reports that it is not a table.
    pub fn open(reading: &'a Reading<'a>, item: Item<'a>) -> Option<TableReader<'a>> {
        match &item.node.kind {
            NodeKind::Table(entries) => {
                Some(TableReader { reading, item, entries, known: Vec::new() })
            }
            _ => reading.expected(&item, "a table"),
        }
    }

    /// Reads `key` if it exists.
    pub fn opt<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Reading<'_>, Item<'_>) -> Option<T>,
    ) -> Option<T> {
        self.known.push(key);
        let node = self.entries.get(key)?;
        let path = join(self.item.path, key);
        read(self.reading, Item { node, path: &path })
    }

    /// True if `key` exists.
    pub fn has(&self, key: &str) -> bool {
        self.entries.get(key).is_some()
    }

    /// Like [`TableReader::opt`], but reports a missing key.
    pub fn req<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Reading<'_>, Item<'_>) -> Option<T>,
    ) -> Option<T> {
        if !self.has(key) {
            let mut missing =
                self.item.error(Code::MissingKey, format!("`{key}` is missing")).at_key();
            missing.path = join(self.item.path, key);
            self.reading.report(missing);
        }
        self.opt(key, read)
    }

    /// Reports every key that was not read.
    pub fn finish(self) {
        for (key, node) in self.entries.iter() {
            if self.known.contains(&key.as_str()) {
                continue;
            }
            let path = join(self.item.path, key);
            let item = Item { node, path: &path };
            self.reading.report(unknown_key(item, key, &self.known));
        }
    }
}

/// Reports an unknown key with the most similar known one, or with all known ones.
pub(crate) fn unknown_key(item: Item<'_>, key: &str, known: &[&str]) -> Diagnostic {
    let mistake = item.error(Code::UnknownKey, format!("unknown key `{key}`")).at_key();
    match nearest(key, known.iter().copied()) {
        Some(near) => mistake.suggest(Some(near)),
        None if known.is_empty() => mistake.help("no keys are known here"),
        None => mistake.help(format!("known keys: {}", known.join(", "))),
    }
}
