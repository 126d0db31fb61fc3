//! Resolves kinds and their options to factories, and checks that inputs and outputs do not
//! overlap.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use gopherworks_pipeline::burn::Burn;
use gopherworks_pipeline::job::Service;
use gopherworks_pipeline::source::Source;
use gopherworks_pipeline::transform::Transform;

use super::Validator;
use crate::catalog::{Catalog, Kind, OptionError, Prepared, STANDARD_STREAM};
use crate::config::elements::{KindConfig, TopologyConfig};
use crate::config::{Code, Diagnostic, nearest};
use crate::glob::Glob;

/// Option that lists paths a source must not read.
const LEAVE_OUT: &str = "leave_out";

/// Maximum number of errors shown for the options of a kind: each needs another parse of all
/// options.
const MISTAKES: usize = 50;

/// Resolved kinds by the name of their node. A kind with an error has no entry.
#[derive(Default)]
pub(super) struct Kinds {
    pub sources: BTreeMap<String, Prepared<dyn Source>>,
    pub works: BTreeMap<String, Vec<Prepared<dyn Transform>>>,
    pub burns: BTreeMap<String, Prepared<dyn Burn>>,
    pub services: BTreeMap<String, Prepared<dyn Service>>,
}

/// Resolves all kinds and reports every error in their options.
pub(super) fn prepare(
    validator: &mut Validator<'_>,
    config: &TopologyConfig,
    catalog: &Catalog,
) -> Kinds {
    let mut kinds = Kinds::default();
    let mut outputs: Vec<(Vec<String>, PathBuf)> = Vec::new();
    for (name, fire) in &config.incinerators {
        let path = ["incinerators", name, "burn"];
        let kind = catalog.burn(&fire.burn.kind);
        if let Some(burn) = one(validator, &path, "burn", &fire.burn, kind, catalog.burn_names()) {
            note(&mut outputs, &path, &burn.writes);
            kinds.burns.insert(name.clone(), burn);
        }
    }
    twice_written(validator, config, &outputs);
    for (name, crew) in &config.crews {
        let mut works = Vec::new();
        for (at, work) in crew.work.iter().enumerate() {
            let path = ["crews", name, "work", &at.to_string()];
            let kind = catalog.work(&work.kind);
            if let Some(work) = one(validator, &path, "work", work, kind, catalog.work_names()) {
                note(&mut outputs, &path, &work.writes);
                works.push(work);
            }
        }
        kinds.works.insert(name.clone(), works);
    }
    for (name, balancer) in &config.balancers {
        let path = ["balancers", name, "workers", "work"];
        let (work, names) = (&balancer.workers.work, catalog.service_names());
        let kind = catalog.service(&work.kind);
        if let Some(service) = one(validator, &path, "kind of worker", work, kind, names) {
            note(&mut outputs, &path, &service.writes);
            kinds.services.insert(name.clone(), service);
        }
    }
    for (name, pile) in &config.piles {
        if let Some(source) = &pile.source {
            let path = ["piles", name, "source"];
            let kind = catalog.source(&source.kind);
            let ready = one(validator, &path, "source", source, kind, catalog.source_names());
            if let (Some(ready), Some(kind)) = (ready, kind) {
                let ready = apart(validator, &path, source, kind, ready, &outputs);
                kinds.sources.insert(name.clone(), ready);
            }
        }
    }
    kinds
}

fn note(outputs: &mut Vec<(Vec<String>, PathBuf)>, path: &[&str], writes: &[PathBuf]) {
    let path: Vec<String> = path.iter().map(|key| (*key).to_owned()).collect();
    // Standard output overlaps with no file.
    let files = writes.iter().filter(|output| output.as_os_str() != STANDARD_STREAM);
    outputs.extend(files.map(|output| (path.clone(), output.clone())));
}

/// The feature that adds a kind of this name, if it is not part of this build.
fn left_out(kind: &str) -> Option<&'static str> {
    match kind {
        "filter" | "map" | "split" if cfg!(not(feature = "expressions")) => Some("expressions"),
        "files" if cfg!(not(feature = "files")) => Some("files"),
        "gzip" | "gunzip" if cfg!(not(feature = "gzip")) => Some("gzip"),
        "http" if cfg!(not(feature = "http")) => Some("http"),
        "zstd" | "unzstd" if cfg!(not(feature = "zstd")) => Some("zstd"),
        _ => None,
    }
}

fn one<'a, T: ?Sized + 'static>(
    validator: &mut Validator<'_>,
    path: &[&str],
    role: &str,
    config: &KindConfig,
    kind: Option<&Kind<T>>,
    names: impl Iterator<Item = &'a str>,
) -> Option<Prepared<T>> {
    let Some(kind) = kind else {
        let message = format!("no {role} is called `{}`", config.kind);
        let at = [path, &["kind"]].concat();
        let names: Vec<&str> = names.collect();
        let feature = left_out(&config.kind);
        let code = feature.map_or(Code::UnknownKind, |_| Code::MissingFeature);
        let mistake = validator.error(code, &at, message);
        let near = nearest(&config.kind, names.iter().copied());
        validator.report(match (feature, near) {
            (Some(feature), _) => {
                mistake.help(format!("build gopherworks with the feature `{feature}`"))
            }
            (None, Some(near)) => mistake.suggest(Some(near)),
            (None, None) => mistake.help(format!("known kinds: {}", names.join(", "))),
        });
        return None;
    };
    let mut options = Cow::Borrowed(&config.options);
    let mut removed: Vec<String> = Vec::new();
    let mut told = 0;
    // Parsing stops at the first error: report it, remove the option and parse again.
    loop {
        let error = match kind.prepare(options.as_ref().clone()) {
            Ok(prepared) if removed.is_empty() => {
                lacking(validator, path, &prepared);
                return Some(prepared);
            }
            Ok(_) => return None,
            Err(error) => error,
        };
        if quoted(&error.message, "missing field ").is_some() {
            missing(validator, path, kind, config, &options, &removed, &error);
            return None;
        }
        let at = blamed(&error, &options);
        told += 1;
        if told > MISTAKES {
            let mistake = validator.error(
                Code::InvalidValue,
                path,
                "there are more mistakes in these options",
            );
            validator.report(mistake.at_key());
            return None;
        }
        let rephrase = || rephrased(validator, path, kind, &error, &at);
        #[cfg(feature = "expressions")]
        let mistake = super::expressions::mistake(validator, path, kind, &options, &at)
            .unwrap_or_else(rephrase);
        #[cfg(not(feature = "expressions"))]
        let mistake = rephrase();
        validator.report(mistake);
        if !take_out(options.to_mut(), &at) {
            return None;
        }
        removed.extend(at.into_iter().next());
    }
}

/// Warns of anything on this machine that the options require but is absent.
fn lacking<T: ?Sized>(validator: &mut Validator<'_>, path: &[&str], prepared: &Prepared<T>) {
    for found in prepared.look() {
        let keys: Vec<&str> = found.path.iter().map(String::as_str).collect();
        let mut warning =
            validator.warning(Code::MissingProgram, &[path, &keys].concat(), found.message);
        if let Some(help) = found.help {
            warning = warning.help(help);
        }
        let known = found.known.iter().map(String::as_str);
        validator.report(warning.suggest(nearest(&found.said, known)));
    }
}

/// Reports all required options that are absent, except those removed because they were invalid.
fn missing<T: ?Sized + 'static>(
    validator: &mut Validator<'_>,
    path: &[&str],
    kind: &Kind<T>,
    config: &KindConfig,
    options: &toml::Table,
    removed: &[String],
    error: &OptionError,
) {
    let mut lacking: Vec<String> = Vec::new();
    if error.path.len() <= 1 {
        let required = kind.shape().required();
        let absent = required.into_iter().filter(|key| !options.contains_key(*key));
        lacking.extend(absent.map(str::to_owned));
    }
    let named = quoted(&error.message, "missing field ").unwrap_or_default();
    if !lacking.iter().any(|key| key == named) {
        lacking.push(named.to_owned());
    }
    for key in lacking.iter().filter(|key| !removed.contains(key)) {
        let above: Vec<&str> =
            (error.path.iter().map(String::as_str)).filter(|step| step != key).collect();
        let table = [path, &above].concat();
        let mut mistake = validator
            .error(
                Code::MissingKey,
                &table,
                format!("`{key}` is missing from the options of `{}`", config.kind),
            )
            .at_key();
        mistake.path = [&table[..], &[key.as_str()]].concat().join(".");
        validator.report(mistake);
    }
}

/// Keys of the option that an error refers to, as far as they exist.
fn blamed(error: &OptionError, options: &toml::Table) -> Vec<String> {
    let mut at = error.path.clone();
    if let Some(field) = quoted(&error.message, "unknown field ")
        && at.last().is_none_or(|last| last != field)
    {
        at.push(field.to_owned());
    }
    // serde may report a longer path than exists.
    let mut known = 0;
    let mut table = Some(options);
    while let Some(value) = at.get(known).and_then(|key| table?.get(key)) {
        known += 1;
        table = value.as_table();
        if value.is_array() {
            return at;
        }
    }
    at.truncate(known);
    at
}

/// Rewords serde's error in terms of config files.
fn rephrased<T: ?Sized + 'static>(
    validator: &Validator<'_>,
    path: &[&str],
    kind: &Kind<T>,
    error: &OptionError,
    at: &[String],
) -> Diagnostic {
    let keys: Vec<&str> = at.iter().map(String::as_str).collect();
    let place = [path, &keys].concat();
    let message = error.message.lines().next().unwrap_or_default();
    if let Some(field) = quoted(message, "unknown field ") {
        let mut shape = kind.shape();
        for key in &keys[..keys.len().saturating_sub(1)] {
            shape = shape.property(key);
        }
        let mut known = shape.keys();
        if known.is_empty() {
            known = words(message).skip(1).collect();
        }
        known.retain(|key| *key != LEAVE_OUT);
        let mistake = validator
            .error(Code::UnknownKey, &place, format!("unknown key `{field}` for `{}`", kind.name))
            .at_key();
        return match nearest(field, known.iter().copied()) {
            Some(near) => mistake.suggest(Some(near)),
            None if known.is_empty() => mistake.help(format!("`{}` has no options", kind.name)),
            None => mistake.help(format!("known keys: {}", known.join(", "))),
        };
    }
    if let Some(said) = quoted(message, "unknown variant ") {
        let known: Vec<&str> = words(message).skip(1).collect();
        let message = format!("`{said}` is none of {}", known.join(", "));
        return validator.error(Code::UnknownWord, &place, message).suggest(nearest(said, known));
    }
    let wrong = ["invalid type: ", "invalid value: "]
        .iter()
        .find_map(|start| message.strip_prefix(start)?.rsplit_once(", expected "));
    match wrong {
        Some((found, wanted)) => {
            let wanted = match wanted.trim_end_matches('.') {
                rust if is_rust(rust) => kind.shape().at(&keys).wanted(),
                words => words.to_owned(),
            };
            validator.error(
                Code::WrongType,
                &place,
                format!("expected {wanted}, found {}", toml_words(found)),
            )
        }
        None => validator.error(Code::InvalidValue, &place, message),
    }
}

/// True for a type name that serde uses but that means nothing in a config file.
fn is_rust(wanted: &str) -> bool {
    let number = wanted.strip_prefix(['u', 'i', 'f']).unwrap_or_default();
    let sized = ["8", "16", "32", "64", "128", "size"].contains(&number);
    let plain = [
        "a string",
        "a boolean",
        "a sequence",
        "a map",
        "a borrowed string",
        "path string",
        "variant identifier",
        "string or map",
    ];
    sized || plain.contains(&wanted) || wanted.starts_with("struct ") || wanted.starts_with("enum ")
}

/// Rewords what serde has found in terms of TOML.
fn toml_words(found: &str) -> String {
    match found.split_once(' ') {
        Some(("string", rest)) => format!("the string {rest}"),
        Some(("integer", rest)) => format!("the number {}", rest.trim_matches('`')),
        Some(("floating", rest)) => {
            let number = rest.trim_start_matches("point ").trim_matches('`');
            format!("the number {number}")
        }
        Some(("boolean", rest)) => rest.to_owned(),
        None if found == "map" => "a table".to_owned(),
        None if found == "sequence" => "an array".to_owned(),
        _ => found.to_owned(),
    }
}

/// The text in backticks after `start`.
fn quoted<'a>(message: &'a str, start: &str) -> Option<&'a str> {
    let rest = message.strip_prefix(start)?;
    rest.strip_prefix('`')?.split('`').next()
}

/// All texts in backticks.
fn words(message: &str) -> impl Iterator<Item = &str> {
    message.split('`').skip(1).step_by(2)
}

/// Removes the value at `at`, or the array that contains it; false if there is none.
fn take_out(options: &mut toml::Table, at: &[String]) -> bool {
    match at {
        [] => false,
        [key] => options.remove(key).is_some(),
        [key, below @ ..] => match options.get_mut(key) {
            Some(toml::Value::Table(table)) => take_out(table, below),
            Some(_) => options.remove(key).is_some(),
            None => false,
        },
    }
}

/// Name of the kind, both a source and a burn, whose path is a single file.
const LINES: &str = "lines";

/// True for devices and streams, which can be read and written concurrently.
fn is_device(path: &Path) -> bool {
    let path = plain(path);
    path.starts_with("/dev") || path.starts_with("/proc")
}

/// Reports incinerators of kind `lines` that write to one file: each would truncate the lines of
/// the other.
fn twice_written(
    validator: &mut Validator<'_>,
    config: &TopologyConfig,
    outputs: &[(Vec<String>, PathBuf)],
) {
    let is_lines = |path: &[String]| {
        let fire = path.get(1).and_then(|name| config.incinerators.get(name));
        fire.is_some_and(|fire| fire.burn.kind == LINES)
    };
    let files = outputs.iter().filter(|(path, output)| is_lines(path) && !is_device(output));
    let mut known: BTreeMap<PathBuf, Vec<&str>> = BTreeMap::new();
    for (path, output) in files {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        if let Some(first) = known.get(&plain(output)) {
            let message = format!(
                "the incinerator `{}` writes to {} already",
                first.get(1).unwrap_or(&""),
                output.display()
            );
            let mistake = validator
                .error(Code::SharedOutput, &path, message)
                .related(validator.locate(first), "the other one")
                .help("let both crews unload at one incinerator, or give each a file of its own");
            validator.report(mistake);
        }
        known.entry(plain(output)).or_insert(path);
    }
}

/// Keeps a source from reading what the topology writes. An output inside its input is added to
/// `leave_out` with a warning; a `lines` file that is both input and output is an error.
fn apart(
    validator: &mut Validator<'_>,
    path: &[&str],
    config: &KindConfig,
    kind: &Kind<dyn Source>,
    ready: Prepared<dyn Source>,
    outputs: &[(Vec<String>, PathBuf)],
) -> Prepared<dyn Source> {
    let mut left_out = Vec::new();
    let can = kind.shape().has(LEAVE_OUT);
    for (writer, output) in outputs.iter().filter(|_| !ready.reads.is_empty()) {
        let inside = |input: &&PathBuf| plain(output).starts_with(plain(input));
        let Some(input) = ready.reads.iter().find(inside) else {
            continue;
        };
        if excluded(&config.options, &plain(input), &plain(output)) {
            // The config already excludes it.
            continue;
        }
        let writer: Vec<&str> = writer.iter().map(String::as_str).collect();
        let same = plain(input) == plain(output);
        let what = if same || !can {
            "its output there may be read as input again"
        } else {
            left_out.push(toml::Value::String(output.to_string_lossy().into_owned()));
            "it is left out of the input"
        };
        if same && config.kind == LINES && !is_device(output) {
            let message = format!("the output {} is also the input", output.display());
            let mistake = validator
                .error(Code::OutputIsInput, &writer, message)
                .related(validator.locate(path), "the input")
                .help("write to another file, and rename it when the run is over");
            validator.report(mistake);
            continue;
        }
        let relation = if same { "is also" } else { "is inside" };
        let message = format!(
            "the output {} {relation} the input {}: {what}",
            output.display(),
            input.display()
        );
        let warning = validator
            .warning(Code::OutputInInput, &writer, message)
            .related(validator.locate(path), "the input");
        validator.report(warning);
    }
    if left_out.is_empty() {
        return ready;
    }
    let mut options = config.options.clone();
    match options.get_mut(LEAVE_OUT) {
        Some(toml::Value::Array(named)) => named.append(&mut left_out),
        _ => {
            options.insert(LEAVE_OUT.into(), toml::Value::Array(left_out));
        }
    }
    match kind.prepare(options) {
        Ok(prepared) => prepared,
        Err(error) => {
            validator.report(validator.error(Code::InvalidValue, path, error.message));
            ready
        }
    }
}

/// Normalises a path lexically: absolute, without `.` and `..`. Does not access the disk.
fn plain(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

/// True if the option `exclude` covers everything below `output` in `input`.
fn excluded(options: &toml::Table, input: &Path, output: &Path) -> bool {
    let (Some(toml::Value::Array(patterns)), Ok(below)) =
        (options.get("exclude"), output.strip_prefix(input))
    else {
        return false;
    };
    let patterns = patterns.iter().filter_map(toml::Value::as_str);
    let globs: Vec<_> = patterns.filter_map(|pattern| Glob::of_paths(pattern).ok()).collect();
    // A pattern that matches an enclosing folder also covers it.
    let covered = |folder: &Path| {
        let anything_in_it = folder.join("x");
        globs.iter().any(|glob| glob.is_match(folder) || glob.is_match(&anything_in_it))
    };
    let mut folders = below.ancestors().filter(|folder| !folder.as_os_str().is_empty());
    folders.any(covered)
}
