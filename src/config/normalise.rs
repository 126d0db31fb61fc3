//! Expands short forms before layers are merged, so that `burn = "count"` and `burn.kind = "count"`
//! are the same key.

use config::{Map, Value, ValueKind};

use super::element::{Element, TableSpec, Type};
use super::elements::TopologyConfig;

/// Expands every short form of a layer.
pub(crate) fn root(root: &mut Value) {
    expand(root, &TopologyConfig::TYPE);
}

fn expand(value: &mut Value, ty: &Type) {
    match *ty {
        Type::Table(table) => self::table(value, table),
        Type::Named(of) => {
            if let ValueKind::Table(nodes) = &mut value.kind {
                nodes.values_mut().for_each(|node| expand(node, of));
            }
        }
        Type::Copies => wrap(value, "copy", is_number),
        Type::Kind(_) | Type::Tagged(..) => wrap(value, "kind", is_text),
        Type::Works => works(value),
        _ => {}
    }
}

fn table(value: &mut Value, table: &TableSpec) {
    let short = !matches!(value.kind, ValueKind::Table(_));
    if let Some(key) = table.short {
        wrap(value, key, is_number);
    }
    let ValueKind::Table(keys) = &mut value.kind else {
        return;
    };
    if short {
        // Merged onto another table it replaces these keys too.
        let zero = |key: &&str| ((*key).to_owned(), Value::new(None, "0s"));
        keys.extend(table.resets.iter().map(zero));
    }
    for (name, value) in keys {
        if let Some(key) = table.key(name) {
            expand(value, &key.ty);
        }
    }
}

/// `work = "gzip"` and `work = { kind = "gzip" }` are lists of one.
fn works(work: &mut Value) {
    if !matches!(work.kind, ValueKind::Array(_) | ValueKind::Nil) {
        let only = work.clone();
        work.kind = ValueKind::Array(vec![only]);
    }
    if let ValueKind::Array(items) = &mut work.kind {
        for item in items {
            wrap(item, "kind", is_text);
        }
    }
}

fn is_text(kind: &ValueKind) -> bool {
    matches!(kind, ValueKind::String(_))
}

/// A string counts, for durations and `"${env.BOOKS}"`; the reader checks it.
fn is_number(kind: &ValueKind) -> bool {
    matches!(kind, ValueKind::I64(_) | ValueKind::Float(_) | ValueKind::String(_))
}

/// `value` becomes `{ key = value }` if it is short.
fn wrap(value: &mut Value, key: &str, short: impl Fn(&ValueKind) -> bool) {
    if short(&value.kind) {
        let inner = value.clone();
        value.kind = ValueKind::Table(Map::from_iter([(key.to_owned(), inner)]));
    }
}
