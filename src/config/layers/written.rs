//! Layers from TOML: files with their spans, and the built-in defaults.

use std::sync::Arc;

use config::{Map, Value, ValueKind};
use toml::de::{DeTable, DeValue};

use super::super::diagnostic::{Diagnostic, Diagnostics, Origin, SourceFile};
use super::super::file::foreign;
use super::super::interpolate::{Environment, interpolate};
use super::super::normalise;
use super::overriding::outside;
use super::{Layer, TOO_LARGE, Ticket, Tickets, empty, scalar_kind, stamped};

/// Most syntax errors that are reported, since one may cause all others.
const MISTAKES: usize = 1000;

/// The layer of built-in defaults.
pub(crate) fn defaults(tickets: &mut Tickets) -> Layer {
    let text = include_str!("../defaults.toml");
    let mut reader = FileReader {
        file: Arc::new(SourceFile::new("defaults", text)),
        environment: &Environment::default(),
        tickets,
        found: &mut Diagnostics::default(),
        written: false,
    };
    reader.read().unwrap_or(Layer::new(empty()))
}

/// The layer of a file; `None` if its syntax is broken. Mistakes go to `found`.
pub(crate) fn file(
    file: Arc<SourceFile>,
    environment: &Environment,
    tickets: &mut Tickets,
    found: &mut Diagnostics,
) -> Option<Layer> {
    let mut reader = FileReader { file, environment, tickets, found, written: true };
    reader.read()
}

struct FileReader<'a> {
    file: Arc<SourceFile>,
    environment: &'a Environment,
    tickets: &'a mut Tickets,
    found: &'a mut Diagnostics,
    /// False for built-in defaults, which have no place to show.
    written: bool,
}

impl FileReader<'_> {
    fn read(&mut self) -> Option<Layer> {
        let file = self.file.clone();
        let (table, errors) = DeTable::parse_recoverable(file.text());
        if !errors.is_empty()
            && let Some(hint) = foreign(self.file.path(), self.file.text())
        {
            let origin = self.origin(0..0, 0..0, None);
            let mistake = Diagnostic::error("", origin, "this is not TOML");
            self.found.push(mistake.help(hint));
            return None;
        }
        for error in errors.iter().take(MISTAKES) {
            let span = error.span().unwrap_or(0..0);
            let origin = self.origin(span.clone(), span, None);
            self.found.push(Diagnostic::error("", origin, error.message()));
        }
        if !errors.is_empty() {
            return None;
        }
        let whole = self.tickets.issue(Ticket::new(Origin::Code(String::new())));
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
            Origin::File { file: self.file.clone(), key, value, variable }
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
        let mut ticket = Ticket::new(self.origin(key, span.clone(), None));
        match value {
            DeValue::Table(table) => {
                let ticket = self.tickets.issue(ticket);
                self.table(table, ticket)
            }
            DeValue::Array(items) => {
                let items =
                    items.iter().map(|item| self.value(item.span(), item.span(), item.get_ref()));
                let out: Vec<Value> = items.collect();
                stamped(self.tickets.issue(ticket), out)
            }
            DeValue::String(text) => {
                let text = match interpolate(text, self.environment) {
                    Ok(None) => text.to_string(),
                    Ok(Some(taken)) => {
                        ticket.text = !taken.literal;
                        ticket.current = taken.variable.is_some();
                        if let Origin::File { variable, .. } = &mut ticket.origin {
                            *variable = taken.variable;
                        }
                        if ticket.text {
                            return outside(taken.value, ticket, self.tickets);
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
