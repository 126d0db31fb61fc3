//! The stacked config as a tree in which every value knows who wrote it, and a reader that collects mistakes.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;

use config::{Value, ValueKind};

use super::diagnostic::{Diagnostic, Diagnostics, Origin};
use super::layers::{Ticket, Tickets};
use super::suggestions::nearest;
use crate::catalog::Catalog;

/// A value and who wrote it.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub ticket: Ticket,
    pub kind: NodeKind,
}

/// A value.
#[derive(Debug, Clone)]
pub(crate) enum NodeKind {
    /// There was one, but a mistake in it is reported already.
    Broken,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    String(String),
    Array(Vec<Node>),
    Table(BTreeMap<String, Node>),
}

impl Node {
    /// The tree of a stacked value.
    pub fn new(value: &Value, tickets: &Tickets, path: &mut Vec<String>) -> Node {
        let kind = match &value.kind {
            ValueKind::Nil => NodeKind::Broken,
            ValueKind::Boolean(yes) => NodeKind::Boolean(*yes),
            ValueKind::I64(n) => NodeKind::Integer(*n),
            // Our layers make none of the wider numbers.
            ValueKind::U64(_) | ValueKind::I128(_) | ValueKind::U128(_) => NodeKind::Broken,
            ValueKind::Float(x) => NodeKind::Float(*x),
            ValueKind::String(text) => NodeKind::String(text.clone()),
            ValueKind::Array(items) => NodeKind::Array(
                (items.iter().enumerate())
                    .map(|(at, item)| child(&at.to_string(), item, tickets, path).1)
                    .collect(),
            ),
            ValueKind::Table(table) => NodeKind::Table(
                (table.iter()).map(|(key, value)| child(key, value, tickets, path)).collect(),
            ),
        };
        let ticket = ticket_of(value, &kind, tickets, path);
        Node { ticket, kind }
    }

    /// What it is, for messages.
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

    /// Reports the values that were broken before they came here, and notes their paths.
    pub fn broken(&self, path: &str, found: &mut Diagnostics, out: &mut Vec<String>) {
        match &self.kind {
            NodeKind::Broken => {
                let origin = &self.ticket.origin;
                found.extend(
                    (self.ticket.broken.as_ref())
                        .map(|message| Diagnostic::error(path, origin.clone(), message)),
                );
                out.push(path.to_owned());
            }
            NodeKind::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    item.broken(&join(path, &at.to_string()), found, out);
                }
            }
            NodeKind::Table(table) => {
                for (key, value) in table {
                    value.broken(&join(path, key), found, out);
                }
            }
            _ => {}
        }
    }

    /// Who wrote what, by path.
    pub fn index(&self, path: &str, out: &mut BTreeMap<String, Origin>) {
        out.insert(path.to_owned(), self.ticket.origin.clone());
        match &self.kind {
            NodeKind::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    item.index(&join(path, &at.to_string()), out);
                }
            }
            NodeKind::Table(table) => {
                for (key, value) in table {
                    value.index(&join(path, key), out);
                }
            }
            _ => {}
        }
    }
}

fn child(key: &str, value: &Value, tickets: &Tickets, path: &mut Vec<String>) -> (String, Node) {
    path.push(key.to_owned());
    let node = Node::new(value, tickets, path);
    path.pop();
    (key.to_owned(), node)
}

/// Stacking keeps the tickets of leaves; a table has the one of its place, or that of what is in it.
fn ticket_of(value: &Value, kind: &NodeKind, tickets: &Tickets, path: &[String]) -> Ticket {
    if let Some(ticket) = tickets.of(value) {
        return ticket.clone();
    }
    let written = tickets.table(path);
    let inside = match kind {
        NodeKind::Table(table) => table.get("kind").or_else(|| table.values().next()),
        _ => None,
    };
    let inside = inside.map(|node| &node.ticket);
    // A kind that comes from elsewhere has replaced the table that the file wrote.
    let replaced = inside.filter(|ticket| {
        matches!(kind, NodeKind::Table(table) if table.contains_key("kind"))
            && !matches!(ticket.origin, Origin::File { .. })
    });
    (replaced.or(written).or(inside).cloned())
        .unwrap_or_else(|| Ticket { current: true, ..Ticket::new(Origin::Code(path.join("."))) })
}

/// The start of a text that a message quotes.
pub(crate) fn cut(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}...", &text[..at]).into(),
        None => text.into(),
    }
}

/// A key below a path.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// What a reader needs, and where it leaves what it finds.
pub(crate) struct Reading<'a> {
    pub catalog: &'a Catalog,
    /// Current folder.
    pub current: &'a Path,
    pub found: RefCell<Diagnostics>,
    /// True once a whole node could not be read: the graph is then not judged by what it lacks.
    pub holes: Cell<bool>,
    /// Places of paths that the written tree does not have: one entry may stand for several gophers.
    pub aliases: RefCell<Vec<(String, Origin)>>,
}

/// A value at a path.
#[derive(Clone, Copy)]
pub(crate) struct Item<'a> {
    pub node: &'a Node,
    pub path: &'a str,
}

impl Item<'_> {
    /// An error about this value.
    pub fn error(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(self.path, self.node.ticket.origin.clone(), message)
    }
}

impl Reading<'_> {
    /// Notes a mistake.
    pub fn report(&self, diagnostic: Diagnostic) {
        self.found.borrow_mut().push(diagnostic);
    }

    /// Notes that `item` should be something else, unless that is known already.
    pub fn expected<T>(&self, item: &Item<'_>, what: &str) -> Option<T> {
        if !matches!(item.node.kind, NodeKind::Broken) {
            let found = item.node.what();
            self.report(item.error(format!("expected {what}, found {found}")));
        }
        None
    }
}

/// Reads the keys of a table; what was not asked for in the end is unknown.
pub(crate) struct Table<'a> {
    reading: &'a Reading<'a>,
    item: Item<'a>,
    entries: &'a BTreeMap<String, Node>,
    known: Vec<&'static str>,
}

impl<'a> Table<'a> {
    /// Opens `item`, or notes that it is no table.
    pub fn open(reading: &'a Reading<'a>, item: Item<'a>) -> Option<Table<'a>> {
        match &item.node.kind {
            NodeKind::Table(entries) => Some(Table { reading, item, entries, known: Vec::new() }),
            _ => reading.expected(&item, "a table"),
        }
    }

    /// What `read` makes of `key`, if it is there.
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

    /// The same, and a mistake if it is not there.
    pub fn req<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Reading<'_>, Item<'_>) -> Option<T>,
    ) -> Option<T> {
        if !self.entries.contains_key(key) {
            let mut missing = self.item.error(format!("`{key}` is missing")).at_key();
            missing.path = join(self.item.path, key);
            self.reading.report(missing);
        }
        self.opt(key, read)
    }

    /// Notes every key that nobody asked for; `later` are words of the language that this version does not know yet.
    pub fn finish(self, later: &[&str]) {
        for (key, node) in self.entries {
            if self.known.contains(&key.as_str()) {
                continue;
            }
            let path = join(self.item.path, key);
            let item = Item { node, path: &path };
            self.reading.report(if later.contains(&key.as_str()) {
                item.error(format!("`{key}` is not supported yet")).at_key()
            } else {
                unknown_key(item, key, &self.known)
            });
        }
    }
}

/// An unknown key, with the nearest or else all of the known ones.
pub(crate) fn unknown_key(item: Item<'_>, key: &str, known: &[&str]) -> Diagnostic {
    let mistake = item.error(format!("unknown key `{key}`")).at_key();
    match nearest(key, known.iter().copied()) {
        Some(near) => mistake.suggest(Some(near)),
        None if known.is_empty() => mistake.help("no keys are known here"),
        None => mistake.help(format!("known keys: {}", known.join(", "))),
    }
}
