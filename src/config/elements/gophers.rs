//! `gophers` of `[crews.x]`: entries such as `"2 * load push"`, each for one gopher or several.

use gopherworks_pipeline::steps::Step;
use serde_json::json;

use crate::config::Code;
use crate::config::element::{Element, Item, Json, Reading, Type};
use crate::config::json_schema::parts::{env, or_env, whole_or_env};
use crate::config::limits::MOST_GOPHERS;
use crate::config::tree::{NodeKind, join};
use crate::config::values::text;

/// Longest entry, in bytes.
const LONGEST_ENTRY: usize = 1000;

/// The gophers of a crew, each as the names of its steps.
pub(crate) struct Gophers;

impl Element for Gophers {
    type Value = Vec<Vec<String>>;
    const TYPE: Type = Type::Other("array of strings", schema);

    fn read(reading: &Reading<'_>, item: Item<'_>) -> Option<Self::Value> {
        let what = "strings, one a gopher, such as [\"load push\", \"unload return\"]";
        let NodeKind::Array(entries) = &item.node.kind else {
            return reading.expected(&item, &format!("an array of {what}"));
        };
        let mut out = Vec::new();
        for (at, node) in entries.iter().enumerate() {
            // Paths count gophers by their own numbers, and entries in brackets.
            let path = format!("{}[{at}]", item.path);
            // An entry that can't be read is left out, so that the others are checked.
            let Some((times, words)) = gopher(reading, Item { node, path: &path }) else {
                continue;
            };
            if times > MOST_GOPHERS - out.len() {
                reading.report(item.error(
                    Code::OutOfBounds,
                    format!("a crew has at most {MOST_GOPHERS} gophers"),
                ));
                break;
            }
            let origin = &node.provenance.origin;
            let (first, next) = (out.len(), out.len() + times);
            // While each entry is for one gopher, their numbers are equal.
            for gopher in (first..next).filter(|gopher| *gopher != at) {
                let alias = join(item.path, &gopher.to_string());
                reading.aliases.borrow_mut().push((alias, origin.clone()));
            }
            out.extend(std::iter::repeat_n(words, times));
        }
        Some(out)
    }
}

/// An entry such as `load push` or `2 * load push`: how many gophers, and their duties.
fn gopher(reading: &Reading<'_>, item: Item<'_>) -> Option<(usize, Vec<String>)> {
    let entry = text(reading, item)?;
    if entry.len() > LONGEST_ENTRY {
        let message = format!("an entry has at most {LONGEST_ENTRY} bytes");
        let help = "a gopher does each of the four steps once at most, such as \"2 * load push\"";
        reading.report(item.error(Code::OutOfBounds, message).help(help));
        return None;
    }
    let (times, words) = match entry.split_once('*') {
        None => (1, entry.as_str()),
        Some((times, words)) => match times.trim().parse() {
            Ok(times @ 1..) => (times, words),
            _ => {
                let message = format!("`{}` is no number of gophers", times.trim());
                reading.report(
                    item.error(Code::InvalidValue, message).help("write \"2 * load push\""),
                );
                return None;
            }
        },
    };
    Some((times, words.split_whitespace().map(str::to_owned).collect()))
}

fn schema() -> Json {
    let names = Step::ALL.map(Step::name);
    let step = format!("({})", names.join("|"));
    let times = format!(r"(\s*\+?0*[1-9][0-9]{{0,{}}}\s*\*)?", MOST_GOPHERS.ilog10());
    let more = names.len() - 1;
    let entry = whole_or_env(&format!(r"{times}\s*{step}(\s+{step}){{0,{more}}}\s*"));
    let twice = names.map(|step| format!(r"\b{step}\b[^*]*\b{step}\b"));
    let done = names.map(|step| {
        let done = json!({ "pattern": format!(r"\b{step}\b") });
        json!({ "contains": { "anyOf": [done, { "pattern": env() }] } })
    });
    or_env(json!({
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "string",
            "pattern": entry,
            "if": { "pattern": env() },
            "else": { "not": { "pattern": twice.join("|") } },
        },
        // Below a condition, since some editors pass over the description beside `allOf`.
        "if": { "minItems": 1 },
        "then": { "allOf": done },
    }))
}
