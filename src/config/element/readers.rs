//! What the derived readers have in common.

use super::super::diagnostic::Code;
use super::super::suggestions::nearest;
use super::super::values::text;
use super::{Group, Item, Reading, TableReader, TableSpec};

/// Opens a table, or reports that the value is none.
fn open<'a>(
    reading: &'a Reading<'a>,
    item: Item<'a>,
    described: &TableSpec,
) -> Option<TableReader<'a>> {
    if item.is_table() || item.is_broken() || described.hint.is_empty() {
        return TableReader::open(reading, item);
    }
    let mistake =
        item.error(Code::WrongType, format!("expected a table, found {}", item.node.what()));
    reading.report(mistake.help(described.hint));
    None
}

/// Reads a table.
pub(crate) fn read_group<T: Group>(reading: &Reading<'_>, item: Item<'_>) -> Option<T> {
    let mut table = open(reading, item, T::TABLE)?;
    for key in T::TABLE.extra {
        table.opt(key.name, |_, _| None::<()>);
    }
    let value = T::read_keys(&mut table);
    table.finish();
    value
}

/// Reads a table of which exactly one key may stand.
pub(crate) fn one_key<T>(
    reading: &Reading<'_>,
    item: Item<'_>,
    described: &TableSpec,
    read: impl FnOnce(&mut TableReader<'_>) -> Option<T>,
) -> Option<T> {
    let mut table = open(reading, item, described)?;
    let value = read(&mut table);
    let there = described.keys.iter().filter(|key| table.has(key.name)).count();
    table.finish();
    if there == 1 {
        return value;
    }
    let keys: Vec<String> = described.keys.iter().map(|key| format!("`{}`", key.name)).collect();
    let code = if there == 0 { Code::MissingKey } else { Code::ExclusiveKeys };
    reading.report(item.error(code, format!("expected one of {}", keys.join(", "))));
    None
}

/// Reads one of a few words.
pub(crate) fn word<T: Copy>(
    reading: &Reading<'_>,
    item: Item<'_>,
    words: &[(&str, T)],
) -> Option<T> {
    let said = text(reading, item)?;
    let found = words.iter().find(|(word, _)| *word == said);
    if found.is_none() {
        let known = || words.iter().map(|(word, _)| *word);
        let all: Vec<_> = known().collect();
        let mistake = item
            .error(Code::UnknownWord, format!("`{said}` is none of {}", all.join(", ")))
            .suggest(nearest(&said, known()));
        reading.report(mistake);
    }
    found.map(|(_, value)| *value)
}
