//! `kinds`.

use std::fmt::Write as _;

use gopherworks::catalog::{Catalog, Kind};
use gopherworks::config::nearest;
use serde_json::{Value, json};

use super::{Failed, Format, code, print};

/// Prints the kinds of the catalog.
pub fn kinds(only: Option<&str>, format: Format) -> Result<i32, Failed> {
    let catalog = Catalog::standard();
    let mut text = String::new();
    let mut all = Vec::new();
    let mut role = |title: &str, kinds: Vec<(String, Value)>| {
        let kinds: Vec<_> = kinds
            .into_iter()
            .filter(|(_, kind)| only.is_none_or(|only| kind["name"] == only))
            .collect();
        if kinds.is_empty() {
            return;
        }
        let _ = writeln!(text, "{title}s");
        for (lines, kind) in kinds {
            text.push_str(&lines);
            let mut kind = kind;
            kind["role"] = json!(title);
            all.push(kind);
        }
        text.push('\n');
    };
    role("source", catalog.sources().map(described).collect());
    role("work", catalog.works().map(described).collect());
    role("burn", catalog.burns().map(described).collect());
    role("worker", catalog.services().map(described).collect());
    if all.is_empty() {
        return Err(Failed {
            code: code::USAGE,
            message: unknown(&catalog, only.unwrap_or_default()),
        });
    }
    match format {
        Format::Text => print::line(text.trim_end(), false)?,
        Format::Json => print::line(&Value::Array(all).to_string(), false)?,
    }
    Ok(code::OK)
}

fn unknown(catalog: &Catalog, name: &str) -> String {
    let names = catalog.source_names().chain(catalog.work_names());
    let names = names.chain(catalog.burn_names()).chain(catalog.service_names());
    let near = nearest(name, names);
    let near = near.map_or_else(String::new, |near| format!("\n  help: did you mean `{near}`?"));
    format!("error: there is no kind `{name}`; `gopherworks kinds` lists all{near}")
}

fn described<T: ?Sized + 'static>(kind: &Kind<T>) -> (String, Value) {
    let mut lines = format!("  {:<10} {}\n", kind.name, kind.help);
    let options = kind.options();
    for option in &options {
        let default = match (&option.default, option.required) {
            (_, true) => "required".to_owned(),
            (Some(default), false) => format!("default {default}"),
            (None, false) => "optional".to_owned(),
        };
        let _ = writeln!(lines, "      {:<12} {} ({default})", option.name, option.ty);
        for line in option.help.lines() {
            let _ = writeln!(lines, "                   {line}");
        }
    }
    let kind = json!({ "name": kind.name, "help": kind.help, "options": options });
    (lines, kind)
}
