//! Expands short forms before layers are merged, so that `burn = "count"` and `burn.kind = "count"`
//! meet.

use config::{Map, Value, ValueKind};

/// Expands every short form of a layer.
pub(crate) fn root(root: &mut Value) {
    each(root, "piles", |pile| {
        at(pile, "source", |source| wrap(source, "kind", is_text));
        at(pile, "capacity", |capacity| {
            wrap(capacity, "books", is_number);
        });
    });
    each(root, "dumps", |dump| {
        at(dump, "capacity", |capacity| {
            wrap(capacity, "books", is_number);
        });
    });
    each(root, "incinerators", |incinerator| {
        at(incinerator, "burn", |burn| wrap(burn, "kind", is_text));
    });
    each(root, "balancers", |balancer| {
        at(balancer, "policy", |policy| wrap(policy, "kind", is_text));
        at(balancer, "hedge", |hedge| {
            wrap(hedge, "after", |kind| is_text(kind) || is_number(kind));
        });
        at(balancer, "shed", |shed| {
            wrap(shed, "target", |kind| is_text(kind) || is_number(kind));
        });
        at(balancer, "retry_budget", |budget| {
            wrap(budget, "share", is_number);
        });
        at(balancer, "eject", |eject| wrap(eject, "failures", is_number));
        at(balancer, "workers", |workers| {
            at(workers, "work", |work| wrap(work, "kind", is_text));
        });
    });
    each(root, "requesters", |requester| {
        at(requester, "load", |load| wrap(load, "kind", is_text));
    });
    at(root, "copies", copies);
    each(root, "crews", |crew| {
        at(crew, "copies", copies);
        at(crew, "work", works);
        each(crew, "steps", |step| {
            let short = !matches!(step.kind, ValueKind::Table(_));
            wrap(step, "wait", |kind| is_text(kind) || is_number(kind));
            // A bare duration is a whole step: it replaces the distribution below it.
            if let ValueKind::Table(both) = &mut step.kind
                && short
            {
                both.insert("cpu".to_owned(), Value::new(None, "0s"));
            }
        });
    });
}

/// `copies = 2` means two copies along the axis `copy`.
fn copies(copies: &mut Value) {
    wrap(copies, "copy", is_number);
}

/// `work = "gzip"` and `work = { kind = "gzip" }` become lists of one.
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

/// True for strings too, such as `"${env.BOOKS}"`; the reader checks them.
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

fn at(value: &mut Value, key: &str, change: impl FnOnce(&mut Value)) {
    if let ValueKind::Table(table) = &mut value.kind
        && let Some(below) = table.get_mut(key)
    {
        change(below);
    }
}

fn each(value: &mut Value, key: &str, mut change: impl FnMut(&mut Value)) {
    at(value, key, |below| {
        if let ValueKind::Table(table) = &mut below.kind {
            table.values_mut().for_each(&mut change);
        }
    });
}
