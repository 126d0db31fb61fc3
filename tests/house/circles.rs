//! Checks that files of different folders of a crate do not import each other in a circle.

use std::collections::{BTreeMap, BTreeSet};

use super::tidy::{code, sources};

/// Sources of the crates that are checked.
const CRATES: &[&str] =
    &["actors/balancer/src", "actors/pipeline/src", "actors/supervision/src", "src"];

/// Module paths without `crate`, as in `["table", "heap"]`; the crate's root is empty.
type Module = Vec<String>;

/// Imports between the modules of a crate, from their files: (path below `src`, text).
fn imports(files: &[(String, String)]) -> BTreeMap<Module, BTreeSet<Module>> {
    let modules: BTreeMap<Module, String> =
        files.iter().map(|(path, text)| (module(path), without_tests(text))).collect();
    let root = modules.get(&Module::new()).map_or("", String::as_str);
    let named = |path: &[String]| {
        let known = (0..=path.len()).rev().find(|end| modules.contains_key(&path[..*end]));
        path[..known.unwrap_or(0)].to_vec()
    };
    // A name of the crate's root is the module that it is exported from.
    let mut uses = Vec::new();
    for (at, word) in root.match_indices("use ") {
        group(&root[at + word.len()..], &[], &mut uses);
    }
    let exports: BTreeMap<String, Module> = (uses.into_iter())
        .filter_map(|path| Some((path.last()?.clone(), named(&absolute(&[], &path)?))))
        .collect();
    let mut graph = BTreeMap::new();
    for (module, text) in modules.iter().filter(|(module, _)| !module.is_empty()) {
        let mut targets = BTreeSet::new();
        for path in paths(text).into_iter().filter_map(|path| absolute(module, &path)) {
            let target = match (named(&path), path.first()) {
                (target, Some(name)) if target.is_empty() => exports.get(name).cloned(),
                (target, _) => Some(target),
            };
            targets.extend(target.filter(|target| target != module && !target.is_empty()));
        }
        graph.insert(module.clone(), targets);
    }
    graph
}

fn module(path: &str) -> Module {
    let path = path.trim_end_matches(".rs");
    let path = if path == "lib" { "" } else { path };
    path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn without_tests(text: &str) -> String {
    let code = code(text);
    let end = code.find("#[cfg(test)]\nmod tests {").unwrap_or(code.len());
    code[..end].to_owned()
}

/// All paths of the code that begin with `crate`, `super` or `self`, with groups taken apart.
fn paths(code: &str) -> Vec<Module> {
    let mut found = Vec::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if !before.is_some_and(|c| c.is_alphanumeric() || "_:".contains(c)) {
                group(&code[at..], &[], &mut found);
            }
        }
    }
    found
}

/// Reads a path or a group, `a::{b, c::d}`, after `parent`. Returns what is left of the text.
fn group<'a>(text: &'a str, parent: &[String], found: &mut Vec<Module>) -> &'a str {
    let mut path = parent.to_vec();
    let mut rest = text.trim_start();
    loop {
        if let Some(mut inner) = rest.strip_prefix('{') {
            loop {
                inner = group(inner, &path, found).trim_start_matches([',', ' ', '\n']);
                if let Some(after) = inner.strip_prefix('}') {
                    return after;
                }
                if inner.is_empty() {
                    return inner;
                }
            }
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        path.push(rest[..end].to_owned());
        match rest[end..].strip_prefix("::") {
            Some(after) => rest = after,
            None => {
                found.push(path);
                // Skips `as name`, and what is no path.
                let next = rest[end..].find([',', '}', ';', '\n']).unwrap_or(rest.len() - end);
                return &rest[end + next..];
            }
        }
    }
}

/// The path from the crate's root; `None` if it leads out of the crate.
fn absolute(module: &[String], path: &[String]) -> Option<Module> {
    let mut from = module.to_vec();
    let mut path = path;
    while let Some((first, rest)) = path.split_first() {
        match first.as_str() {
            "crate" => from.clear(),
            "self" => {}
            "super" => _ = from.pop()?,
            _ => break,
        }
        path = rest;
    }
    from.extend(path.iter().cloned());
    Some(from)
}

/// The modules that `from` imports, directly or not.
fn reachable(graph: &BTreeMap<Module, BTreeSet<Module>>, from: &Module) -> BTreeSet<Module> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(targets) = open.pop().map(|module| &graph[module]) {
        open.extend(targets.iter().filter(|target| seen.insert((*target).clone())));
    }
    seen
}

/// Circles through several folders, one line each. A file beside a folder of its name counts as a
/// file of that folder.
fn circles(files: &[(String, String)]) -> Vec<String> {
    let graph = imports(files);
    let folder = |module: &Module| {
        let nested = graph.keys().any(|other| other.len() > 1 && other[0] == module[0]);
        if nested { module[0].clone() } else { String::new() }
    };
    let reach: BTreeMap<&Module, BTreeSet<Module>> =
        graph.keys().map(|module| (module, reachable(&graph, module))).collect();
    let mut found = Vec::new();
    for (module, targets) in &graph {
        for target in targets {
            if folder(module) != folder(target) && reach[target].contains(module) {
                found.push(format!("{} <-> {}", module.join("::"), target.join("::")));
            }
        }
    }
    found
}

#[test]
fn folders_do_not_import_each_other_in_a_circle() {
    let mut found = Vec::new();
    for folder in CRATES {
        let mut files = Vec::new();
        sources(folder, &mut files);
        let files: Vec<_> = (files.into_iter())
            .map(|(name, text)| (name[folder.len() + 1..].to_owned(), text))
            .filter(|(name, _)| !name.split(['/', '.']).any(|part| part == "tests"))
            .collect();
        assert!(files.len() > 20, "{folder}: the sources were not found");
        found.extend(circles(&files).into_iter().map(|circle| format!("{folder}: {circle}")));
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn planted_circles_are_found() {
    let found = |texts: &[(&str, &str)]| {
        let files: Vec<_> =
            texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        circles(&files)
    };
    let direct =
        [("a/x.rs", "use crate::b::{self, y::Y as Z};"), ("b/y.rs", "use crate::a::x::X;")];
    assert_eq!(found(&direct), ["a::x <-> b::y", "b::y <-> a::x"]);
    let inline = [("a/x.rs", "fn f() -> crate::b::y::Y {}"), ("b/y.rs", "use super::super::a::x;")];
    assert_eq!(found(&inline).len(), 2);
    let long = [("a/x.rs", "use crate::c;"), ("c.rs", "use crate::b::y;"), direct[1]];
    assert_eq!(found(&long), ["a::x <-> c", "b::y <-> a::x", "c <-> b::y"]);
    let exported = [("lib.rs", "pub use self::b::y::Y;"), ("a/x.rs", "use crate::Y;"), direct[1]];
    assert_eq!(found(&exported), ["a::x <-> b::y", "b::y <-> a::x"]);
}

#[test]
fn one_way_and_one_folder_are_fine() {
    let fine = |texts: &[(&str, &str)]| {
        let files: Vec<_> =
            texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        assert_eq!(circles(&files), [""; 0]);
    };
    fine(&[("a/x.rs", "use crate::b::y;"), ("b/y.rs", "// use crate::a::x;")]);
    fine(&[("a.rs", "mod x;\nuse self::x::X;"), ("a/x.rs", "use super::A;")]);
    fine(&[
        ("a/x.rs", "use crate::b::y;"),
        ("b/y.rs", "#[cfg(test)]\nmod tests {\nuse crate::a::x;"),
    ]);
    fine(&[("a.rs", "use crate::b;"), ("b.rs", "use crate::a;")]);
}
