//! Layers of TOML text.

use std::ops::Range;
use std::sync::Arc;

use config::{Map, Value, ValueKind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::diagnostic::{Code, Diagnostic, Diagnostics, Origin, SourceFile};
use super::super::file::foreign;
use super::super::interpolate::{Environment, interpolate};
use super::super::normalise;
use super::overriding::outside;
use super::{Provenance, Provenances, TOO_LARGE, scalar_kind};

/// Maximum number of syntax errors that are reported, as one of them may cause many others.
const MISTAKES: usize = 1000;

/// Reads the layer of a file; diagnostics are added to `found`. `None` if the syntax is wrong.
pub(crate) fn file(
    file: Arc<SourceFile>,
    environment: &Environment,
    provenances: &mut Provenances,
    found: &mut Diagnostics,
) -> Option<Value> {
    let mut reader = FileReader { file, environment, provenances, found };
    reader.read()
}

struct FileReader<'a> {
    file: Arc<SourceFile>,
    environment: &'a Environment,
    provenances: &'a mut Provenances,
    found: &'a mut Diagnostics,
}

impl FileReader<'_> {
    fn read(&mut self) -> Option<Value> {
        let file = self.file.clone();
        let (table, errors) = DeTable::parse_recoverable(file.text());
        if !errors.is_empty()
            && let Some(hint) = foreign(self.file.path(), self.file.text())
        {
            let mistake =
                Diagnostic::error(Code::Syntax, "", self.origin(0..0, 0..0), "this is not TOML");
            self.found.push(mistake.help(hint));
            return None;
        }
        for error in errors.iter().take(MISTAKES) {
            let span = error.span().unwrap_or(0..0);
            let origin = self.origin(span.clone(), span);
            self.found.push(Diagnostic::error(Code::Syntax, "", origin, error.message()));
        }
        if !errors.is_empty() {
            return None;
        }
        let table = self.table(table.into_inner());
        let whole = Provenance::new(Origin::Code(String::new()));
        let mut root = self.provenances.value(whole, ValueKind::Table(table));
        normalise::root(&mut root);
        Some(root)
    }

    fn origin(&self, key: Range<usize>, value: Range<usize>) -> Origin {
        Origin::File { file: self.file.clone(), key, value, variable: None }
    }

    fn table(&mut self, table: DeTable<'_>) -> Map<String, Value> {
        (table.into_iter())
            .map(|(key, value)| {
                let value = self.value(key.span(), value);
                (key.into_inner().into_owned(), value)
            })
            .collect()
    }

    fn value(&mut self, key: Range<usize>, value: Spanned<DeValue<'_>>) -> Value {
        let mut provenance = Provenance::new(self.origin(key, value.span()));
        let kind = match value.into_inner() {
            DeValue::Table(table) => ValueKind::Table(self.table(table)),
            DeValue::Array(items) => {
                let items = items.into_iter().map(|item| self.value(item.span(), item));
                ValueKind::Array(items.collect())
            }
            DeValue::String(text) => match interpolate(&text, self.environment) {
                Ok(None) => text.into_owned().into(),
                Ok(Some(taken)) => {
                    provenance.text = !taken.literal;
                    provenance.current = taken.variable.is_some();
                    if let Origin::File { variable, .. } = &mut provenance.origin {
                        *variable = taken.variable;
                    }
                    if provenance.text {
                        return outside(taken.value, provenance, self.provenances);
                    }
                    taken.value.into()
                }
                Err(message) => {
                    provenance.broken = Some((Code::Interpolation, message));
                    ValueKind::Nil
                }
            },
            scalar => scalar_kind(&scalar).unwrap_or_else(|| {
                provenance.broken = Some((Code::OutOfBounds, TOO_LARGE.into()));
                ValueKind::Nil
            }),
        };
        self.provenances.value(provenance, kind)
    }
}
