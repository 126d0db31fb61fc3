//! `extends`: a file is a layer over its parent, which may extend another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::{Value, ValueKind};

use super::diagnostic::{Code, Diagnostic, Diagnostics, SourceFile};
use super::interpolate::Environment;
use super::layers::{Provenances, empty, extend, file, take};
use super::suggestions::nearest;

/// Maximum number of files in a chain.
const DEEPEST: usize = 16;

/// Where the paths of a config start that is in no folder.
const AT_CURRENT: &str = "relative paths of a config from a pipe start at the current folder";

/// Merges `root` over the files that it extends, the most distant parent first. `None` if a file
/// can't be read: the keys that only that file sets would be reported as missing.
pub(crate) fn chain(
    root: Arc<SourceFile>,
    current: &Path,
    environment: &Environment,
    provenances: &mut Provenances,
    found: &mut Diagnostics,
) -> Option<Value> {
    let mut layers: Vec<Value> = Vec::new();
    let mut seen: Vec<PathBuf> = Vec::new();
    let mut next = root;
    loop {
        let path = current.join(next.path());
        seen.push(path.canonicalize().unwrap_or(path));
        let mut layer = file(next.clone(), environment, provenances, found)?;
        let parent = take(&mut layer, "extends");
        layers.push(layer);
        let Some(value) = parent else {
            break;
        };
        let provenance = provenances.of(&value);
        let origin = provenances.origin(&value, "extends");
        let refuse =
            |message: String| Diagnostic::error(Code::Extends, "extends", origin.clone(), message);
        let ValueKind::String(said) = &value.kind else {
            let broken = provenance.and_then(|provenance| provenance.broken.as_ref());
            let message = broken.map_or(
                "`extends` is the path of one file, such as \"base.toml\"",
                |(_, message)| message,
            );
            found.push(refuse(message.to_owned()));
            return None;
        };
        let folder = match provenance {
            Some(provenance) if provenance.current => Path::new(""),
            _ => next.folder(),
        };
        let path = folder.join(said);
        let place = current.join(&path);
        let canonical = place.canonicalize().unwrap_or_else(|_| place.clone());
        if let Some(first) = seen.iter().position(|known| *known == canonical) {
            let names: Vec<String> = (seen[first..].iter())
                .chain([&canonical])
                .map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned())
                .collect();
            let message = format!("files extend each other in a circle: {}", names.join(" -> "));
            found.push(refuse(message).label("this closes the circle"));
            return None;
        }
        if seen.len() >= DEEPEST {
            found.push(refuse(format!("at most {DEEPEST} files extend each other")));
            return None;
        }
        match super::file::contents(&place) {
            Ok(text) => {
                let file = SourceFile::new(path, text.text).apart(text.apart);
                next = Arc::new(file.extended_by(origin));
            }
            Err(why) => {
                let near = neighbours(&place);
                let near = nearest(said, near.iter().map(String::as_str));
                let mut mistake = refuse(format!("`{said}`: {why}"));
                mistake.code = Code::UnreadableFile;
                if next.is_apart() && Path::new(said).is_relative() {
                    mistake = mistake.help(AT_CURRENT);
                }
                found.push(mistake.suggest(near));
                return None;
            }
        }
    }
    layers.reverse();
    axes(&layers, provenances, found);
    let mut base = empty();
    for layer in layers {
        extend(&mut base, layer, provenances, found);
    }
    Some(base)
}

/// Names of the files in the folder of `path`.
fn neighbours(path: &Path) -> Vec<String> {
    let listed = path.parent().and_then(|folder| folder.read_dir().ok());
    let names = (listed.into_iter().flatten().flatten().take(1000))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(".toml"));
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// Reports axes of copies that a file and one that it extends both have: copies along two axes
/// multiply.
fn axes(layers: &[Value], provenances: &Provenances, found: &mut Diagnostics) {
    if layers.len() < 2 {
        return;
    }
    let mut below: BTreeMap<String, Axes<'_>> = BTreeMap::new();
    for layer in layers {
        for (path, said) in copies(layer) {
            for (axis, count) in below.get(&path).into_iter().flatten() {
                let Some((_, again)) = said.iter().find(|(name, _)| name == axis) else {
                    continue;
                };
                let message = format!("the axis `{axis}` is used twice");
                let first = provenances.origin(count, &path);
                let again = provenances.origin(again, &path);
                let mistake = Diagnostic::error(
                    Code::DuplicateAxis,
                    format!("{path}.{axis}"),
                    again,
                    message,
                )
                .at_key()
                .related(first, "the file that this one extends has it already")
                .help(format!(
                    "rename it, such as `{path} = {{ rack = 2 }}`: copies along both \
                         axes multiply"
                ));
                found.push(mistake);
            }
            below.entry(path).or_default().extend(said);
        }
    }
}

type Axes<'a> = Vec<(&'a String, &'a Value)>;

/// The axes of copies in a layer: of the topology and of each crew.
fn copies<'a>(root: &'a Value) -> Vec<(String, Axes<'a>)> {
    let mut out = Vec::new();
    let ValueKind::Table(top) = &root.kind else {
        return out;
    };
    let mut add = |path: String, value: Option<&'a Value>| {
        if let Some(ValueKind::Table(axes)) = value.map(|value| &value.kind) {
            out.push((path, axes.iter().collect()));
        }
    };
    add("copies".to_owned(), top.get("copies"));
    if let Some(ValueKind::Table(crews)) = top.get("crews").map(|crews| &crews.kind) {
        for (name, crew) in crews {
            if let ValueKind::Table(crew) = &crew.kind {
                add(format!("crews.{name}.copies"), crew.get("copies"));
            }
        }
    }
    out
}
