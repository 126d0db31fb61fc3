//! Reads the sources and checks the directions of dependencies, the length of files, and the use of
//! clocks and loggers.

use std::fs;
use std::path::{Path, PathBuf};

/// Maximum number of lines of a file.
const LONGEST: usize = 500;

/// Maximum number of characters of a line, strings and comments included.
const WIDEST: usize = 100;

/// Files whose path begins with one of `rooms` must not name any of `banned`.
struct Rule {
    rooms: &'static [&'static str],
    banned: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule {
        rooms: &["actors/"],
        banned: &["config::", "toml::", "env_logger::", "gopherworks::", "clap::", "schemars::"],
    },
    Rule {
        // The API of NATS JetStream is JSON; all other crates store and send bytes.
        rooms: &[
            "actors/balancer/",
            "actors/pipeline/",
            "actors/stores/postgres/",
            "actors/stores/sqlite/",
            "actors/supervision/",
        ],
        banned: &["serde::", "serde_json::"],
    },
    Rule {
        rooms: &["actors/supervision/"],
        banned: &["gopherworks_balancer::", "gopherworks_pipeline::"],
    },
    Rule { rooms: &["actors/balancer/"], banned: &["gopherworks_pipeline::"] },
    Rule {
        rooms: &[
            "actors/pipeline/src/custody/shelf.rs",
            "actors/pipeline/src/custody/lease.rs",
            "actors/pipeline/src/custody/ledger.rs",
            "actors/pipeline/src/crew/steps.rs",
            "actors/supervision/src/restart",
            "actors/supervision/src/policy.rs",
            "actors/balancer/src/table",
        ],
        banned: &["actix::", "actix_rt::", "tokio::"],
    },
    Rule { rooms: &["src/config/element"], banned: &["crate::plan", "crate::topology"] },
    Rule {
        rooms: &["src/config", "src/plan", "src/catalog"],
        banned: &["crate::topology", "crate::cli", "crate::web", "crate::http"],
    },
    Rule {
        rooms: &["src/web", "src/http"],
        banned: &["crate::cli", "crate::plan::Plan", "crate::simulate"],
    },
    Rule {
        // HTTP is an optional feature of the other crate.
        rooms: &["actors/"],
        banned: &["actix_web::", "reqwest::", "prometheus_client::"],
    },
    Rule {
        rooms: &[
            "src/plan",
            "src/catalog",
            "src/topology",
            "src/report.rs",
            "src/report/",
            "src/dead.rs",
            "src/dead/",
            "src/config",
            "actors/",
        ],
        banned: &["env_logger", "clap::", "indicatif::"],
    },
    Rule {
        // A drawing is a pure function of a config.
        rooms: &["src/diagram"],
        banned: &[
            "actix::",
            "gopherworks_pipeline::",
            "gopherworks_balancer::",
            "crate::topology",
            "crate::cli",
            "std::fs",
            "std::io",
            "HashMap",
        ],
    },
    Rule { rooms: &["src/", "actors/", "tests/"], banned: &["thread::sleep"] },
];

/// Every Rust file below `folder`, as (path from the project's root with `/`, text).
pub(super) fn sources(folder: &str, found: &mut Vec<(String, String)>) {
    files(folder, "rs", found);
}

/// Every file with this extension below `folder`, apart from build outputs.
pub(super) fn files(folder: &str, extension: &str, found: &mut Vec<(String, String)>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the project") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.extend((!path.ends_with("target")).then_some(path));
            } else if path.extension().is_some_and(|ending| ending == extension) {
                let name = path.strip_prefix(root).expect("below the root");
                let text = fs::read_to_string(&path).expect("UTF-8");
                found.push((name.to_string_lossy().replace('\\', "/"), text));
            }
        }
    }
}

/// The code of a file without comments and contents of strings.
pub(super) fn code(text: &str) -> String {
    split(text).0
}

/// The code of a file without comments and contents of strings, and its `//` comments with the
/// numbers of their lines.
pub(super) fn split(text: &str) -> (String, Vec<(usize, &str)>) {
    let mut out = String::new();
    let mut comments = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            let end = rest.find('\n').unwrap_or(rest.len());
            comments.push((line, &rest[..end]));
            end
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(raw) = rest.strip_prefix("r#\"") {
            raw.find("\"#").map_or(rest.len(), |end| end + 5)
        } else if first == '"' {
            string_end(rest)
        } else if rest.starts_with("'\"'") {
            3
        } else {
            out.push(first);
            first.len_utf8()
        };
        let keep = rest[..skipped].matches('\n').count();
        if skipped != first.len_utf8() || first == '"' {
            out.extend(std::iter::repeat_n('\n', keep));
        }
        line += keep;
        rest = &rest[skipped..];
    }
    (out, comments)
}

/// The end of the string that `text` begins with.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The position of `word` as a whole path, not as the tail of another word.
fn names(code: &str, word: &str) -> Option<usize> {
    code.match_indices(word).map(|(at, _)| at).find(|at| {
        let before = code[..*at].chars().next_back();
        let tail_of_path = code[..*at].ends_with("::") && !word.starts_with("thread");
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_') && !tail_of_path
    })
}

/// The violations of the rules in one file.
fn mistakes(name: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let mut found = Vec::new();
    for rule in RULES {
        if !rule.rooms.iter().any(|room| name.starts_with(room)) {
            continue;
        }
        for word in rule.banned {
            if let Some(at) = names(&code, word) {
                let line = code[..at].matches('\n').count() + 1;
                found.push(format!("{name}:{line}: `{word}` has no business here"));
            }
        }
    }
    let lines = text.lines().count();
    if lines > LONGEST {
        found.push(format!("{name}: {lines} lines; two subjects want two files"));
    }
    found
}

#[test]
fn the_rooms_lean_one_way() {
    let mut files = Vec::new();
    for folder in ["src", "actors", "tests", "examples"] {
        sources(folder, &mut files);
    }
    assert!(files.len() > 60, "the sources were not found");
    let found: Vec<String> = files
        .iter()
        .filter(|(name, _)| name != "tests/house/tidy.rs")
        .flat_map(|(name, text)| mistakes(name, text))
        .collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// The lines of a file that are too wide.
fn wide(name: &str, text: &str) -> Vec<String> {
    let lines = text.lines().enumerate();
    let wide = lines.filter(|(_, line)| line.chars().count() > WIDEST);
    wide.map(|(at, _)| format!("{name}:{}: more than {WIDEST} columns", at + 1)).collect()
}

#[test]
fn no_line_is_too_wide() {
    let mut files = Vec::new();
    for folder in ["src", "actors", "tests", "examples", "benches"] {
        sources(folder, &mut files);
    }
    let found: Vec<String> = files.iter().flat_map(|(name, text)| wide(name, text)).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
    assert_eq!(wide("x.rs", &"é".repeat(WIDEST)), [""; 0]);
    assert_eq!(wide("x.rs", &format!("\n{}", "x".repeat(WIDEST + 1))).len(), 1);
}

#[test]
fn every_room_of_the_rules_exists() {
    let mut files = Vec::new();
    for folder in ["src", "actors", "tests"] {
        sources(folder, &mut files);
    }
    for room in RULES.iter().flat_map(|rule| rule.rooms) {
        assert!(
            files.iter().any(|(name, _)| name.starts_with(room)),
            "{room} is gone: the rule holds nothing"
        );
    }
}

#[test]
fn the_logger_is_set_up_in_one_place() {
    let mut files = Vec::new();
    sources("src", &mut files);
    let named: Vec<&String> = files
        .iter()
        .filter(|(_, text)| code(text).contains("env_logger"))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(named, ["src/cli/logging.rs"]);
}

#[test]
fn planted_mistakes_are_caught() {
    let caught = |name: &str, text: &str| !mistakes(name, text).is_empty();
    assert!(caught("actors/pipeline/src/pile.rs", "use serde::Deserialize;"));
    assert!(caught(
        "actors/supervision/src/port.rs",
        "fn f(b: &gopherworks_pipeline::book::Book) {}"
    ));
    assert!(caught(
        "actors/pipeline/src/custody/shelf.rs",
        "use std::fmt;\nuse tokio::sync::Notify;"
    ));
    assert!(caught("src/config/elements/pile.rs", "use crate::plan::Plan;"));
    assert!(caught("src/plan/graph.rs", "use crate::topology::Topology;"));
    assert!(caught("src/diagram/svg.rs", "use std::fs::File;"));
    assert!(caught("tests/x.rs", "std::thread::sleep(d);"));
    assert!(caught("src/x.rs", &"\n".repeat(LONGEST + 1)));
}

#[test]
fn words_that_only_look_like_mistakes_are_not() {
    let fine = |name: &str, text: &str| assert_eq!(mistakes(name, text), [""; 0]);
    fine(
        "actors/pipeline/src/pile.rs",
        "// like serde::Deserialize\n/* toml::Value */ let s = \"config::x\";",
    );
    fine("actors/pipeline/src/pile.rs", "let a = '\"'; // tokio is fine here\nuse my_config::x;");
    fine("actors/pipeline/src/custody/shelf.rs", "let text = r#\"use tokio::x;\"#;");
    fine("actors/supervision/src/port.rs", "//! knows nothing of gopherworks_pipeline::book");
}
