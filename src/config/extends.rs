//! `extends`: a file is a layer over its parent, which may extend another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::{Value, ValueKind};

use super::diagnostic::{Diagnostic, Diagnostics, Origin, SourceFile};
use super::interpolate::Environment;
use super::layers::{Layer, Tickets, file};
use super::suggestions::nearest;

/// Most files in a chain.
const DEEPEST: usize = 16;

/// Where the paths of a config start that is in no folder.
const AT_CURRENT: &str = "relative paths of a config from a pipe start at the current folder";

/// Layers of `root` and of all files that it extends, the most distant parent first. `None` if one
/// can't be read, as its missing keys would be reported as mistakes of the others.
pub(crate) fn chain(
    root: Arc<SourceFile>,
    current: &Path,
    environment: &Environment,
    tickets: &mut Tickets,
    found: &mut Diagnostics,
) -> Option<Vec<Layer>> {
    let mut layers: Vec<Layer> = Vec::new();
    let mut seen: Vec<PathBuf> = Vec::new();
    let mut next = root;
    loop {
        let path = current.join(next.path());
        seen.push(path.canonicalize().unwrap_or(path));
        let mut layer = file(next.clone(), environment, tickets, found)?;
        let parent = layer.take("extends");
        layers.push(layer);
        let Some(value) = parent else {
            break;
        };
        let ticket = tickets.of(&value).cloned();
        let origin = ticket.as_ref().map_or(Origin::Code("extends".into()), |t| t.origin.clone());
        let refuse = |message: String| Diagnostic::error("extends", origin.clone(), message);
        let ValueKind::String(said) = &value.kind else {
            let broken = ticket.as_ref().and_then(|ticket| ticket.broken.clone());
            let message = broken.unwrap_or_else(|| {
                "`extends` is the path of one file, such as \"base.toml\"".to_owned()
            });
            found.push(refuse(message));
            return None;
        };
        let folder = match &ticket {
            Some(ticket) if ticket.current => Path::new(""),
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
                if next.is_apart() && Path::new(said).is_relative() {
                    mistake = mistake.help(AT_CURRENT);
                }
                found.push(mistake.suggest(near));
                return None;
            }
        }
    }
    layers.reverse();
    axes(&layers, tickets, found);
    Some(layers)
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

/// Reports axes that several files of a chain name: copies multiply, and each axis counts once.
fn axes(layers: &[Layer], tickets: &Tickets, found: &mut Diagnostics) {
    let mut below: BTreeMap<String, Axes<'_>> = BTreeMap::new();
    for layer in layers {
        for (path, said) in copies(layer.value()) {
            for (axis, count) in below.get(&path).into_iter().flatten() {
                let Some((_, again)) = said.iter().find(|(name, _)| name == axis) else {
                    continue;
                };
                let origin = |value: &Value| {
                    let ticket = tickets.of(value);
                    ticket.map_or(Origin::Code(path.clone()), |ticket| ticket.origin.clone())
                };
                let message = format!("the axis `{axis}` is used twice");
                let mistake = Diagnostic::error(format!("{path}.{axis}"), origin(again), message)
                    .at_key()
                    .related(origin(count), "the file that this one extends has it already")
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

/// The `copies` of a layer: at the top and of each crew.
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
