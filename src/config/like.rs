//! `like = "near"`: a crew with the keys of another crew, except those that it has itself.

use std::collections::BTreeSet;

use config::{Map, Value, ValueKind};

use super::diagnostic::{Code, Diagnostic, Diagnostics};
use super::element::Element;
use super::elements::CrewConfig;
use super::layers::{Provenances, merge, take};
use super::suggestions::nearest;

/// Expands every `like`. True if one is wrong: its crew then lacks keys.
pub(crate) fn expand(root: &mut Value, provenances: &Provenances, found: &mut Diagnostics) -> bool {
    let ValueKind::Table(top) = &mut root.kind else {
        return false;
    };
    let Some(ValueKind::Table(crews)) = top.get_mut("crews").map(|crews| &mut crews.kind) else {
        return false;
    };
    let likes: BTreeSet<String> = (crews.iter())
        .filter(|(_, crew)| matches!(&crew.kind, ValueKind::Table(own) if own.contains_key("like")))
        .map(|(name, _)| name.clone())
        .collect();
    let mut holes = false;
    for name in &likes {
        let Some(like) = crews.get_mut(name).and_then(|crew| take(crew, "like")) else {
            continue;
        };
        let model = model(crews, &likes, name, &like);
        let model = model.cloned().map_err(|(code, message, near)| {
            let path = format!("crews.{name}.like");
            let origin = provenances.origin(&like, &path);
            found.push(Diagnostic::error(code, path, origin, message).suggest(near));
        });
        let Some(crew) = crews.get_mut(name) else {
            continue;
        };
        if let Ok(mut model) = model {
            adopt(&mut model, crew);
            let own = std::mem::replace(crew, model);
            merge(crew, own, Some(&CrewConfig::TYPE));
        } else if let ValueKind::Table(own) = &mut crew.kind {
            // Its own keys stay, so that mistakes in them are found; keys that it may have
            // inherited are not reported as missing.
            holes = true;
            for key in ["from", "to", "gophers"] {
                own.entry(key.to_owned()).or_insert_with(|| Value::new(None, ValueKind::Nil));
            }
        }
    }
    holes
}

/// Gives the tables of `model` the origins of those in `own`, which are to be merged into them.
fn adopt(model: &mut Value, own: &Value) {
    if let (ValueKind::Table(inherited), ValueKind::Table(tables)) = (&mut model.kind, &own.kind) {
        for (key, below) in tables {
            if let Some(model) = inherited.get_mut(key) {
                adopt(model, below);
            }
        }
        let origin = own.origin().map(str::to_owned);
        *model = Value::new(origin.as_ref(), std::mem::take(&mut model.kind));
    }
}

type Refusal<'a> = (Code, String, Option<&'a str>);

fn model<'a>(
    crews: &'a Map<String, Value>,
    likes: &BTreeSet<String>,
    name: &str,
    like: &Value,
) -> Result<&'a Value, Refusal<'a>> {
    let ValueKind::String(sibling) = &like.kind else {
        return Err((Code::Like, "`like` is the name of a crew".into(), None));
    };
    if sibling == name {
        return Err((Code::Like, format!("`{name}` can't be like itself"), None));
    }
    let Some(model) = crews.get(sibling) else {
        let others = crews.keys().map(String::as_str).filter(|crew| *crew != name);
        let message = format!("no crew is called `{sibling}`");
        return Err((Code::UnknownNode, message, nearest(sibling, others)));
    };
    if likes.contains(sibling) {
        let message = format!("`{sibling}` is itself like another crew; chains are not followed");
        return Err((Code::Like, message, None));
    }
    match &model.kind {
        ValueKind::Table(_) => Ok(model),
        _ => Err((Code::WrongType, format!("`{sibling}` is not a crew"), None)),
    }
}
