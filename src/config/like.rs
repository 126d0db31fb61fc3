//! `like = "near"`: copies a crew and replaces the keys that are given.

use config::{Map, Value, ValueKind};

use super::diagnostic::{Diagnostic, Diagnostics, Origin};
use super::layers::{Tickets, merge};
use super::suggestions::nearest;

/// Expands every `like`. True if one can't be: its crew is then left out.
pub(crate) fn expand(root: &mut Value, tickets: &mut Tickets, found: &mut Diagnostics) -> bool {
    let ValueKind::Table(top) = &mut root.kind else {
        return false;
    };
    let Some(ValueKind::Table(crews)) = top.get_mut("crews").map(|crews| &mut crews.kind) else {
        return false;
    };
    let written = crews.clone();
    let mut holes = false;
    for (name, crew) in crews.iter_mut() {
        let ValueKind::Table(own) = &mut crew.kind else {
            continue;
        };
        let Some(like) = own.remove("like") else {
            continue;
        };
        match model(&written, name, &like) {
            Ok((sibling, model)) => {
                let mut base = model.clone();
                merge(&mut base, crew);
                *crew = base;
                let path = |crew: &str| ["crews".to_owned(), crew.to_owned()];
                tickets.copy(&path(sibling), &path(name));
            }
            Err((message, near)) => {
                // Its own keys stay, so that their mistakes are found as well.
                let origin = tickets.of(&like).map(|ticket| ticket.origin.clone());
                let path = format!("crews.{name}.like");
                let origin = origin.unwrap_or_else(|| Origin::Code(path.clone()));
                found.push(Diagnostic::error(path, origin, message).suggest(near));
                holes = true;
                // Without its model, the crew lacks required keys through no fault of its own.
                for key in ["from", "to", "gophers"] {
                    own.entry(key.to_owned()).or_insert_with(|| Value::new(None, ValueKind::Nil));
                }
            }
        }
    }
    holes
}

type Refusal<'a> = (String, Option<&'a str>);

fn model<'a>(
    crews: &'a Map<String, Value>,
    name: &str,
    like: &'a Value,
) -> Result<(&'a str, &'a Value), Refusal<'a>> {
    let ValueKind::String(sibling) = &like.kind else {
        return Err(("`like` is the name of a crew".into(), None));
    };
    if sibling == name {
        return Err((format!("`{name}` can't be like itself"), None));
    }
    let Some(model) = crews.get(sibling) else {
        let others = crews.keys().map(String::as_str).filter(|crew| *crew != name);
        return Err((format!("no crew is called `{sibling}`"), nearest(sibling, others)));
    };
    match &model.kind {
        ValueKind::Table(table) if table.contains_key("like") => {
            let message =
                format!("`{sibling}` is itself like another crew; chains are not followed");
            Err((message, None))
        }
        ValueKind::Table(_) => Ok((sibling, model)),
        _ => Err((format!("`{sibling}` is not a crew"), None)),
    }
}
