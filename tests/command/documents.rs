//! Checks README.md and docs/: every TOML block is a valid config, and every command line runs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command as Process;

use gopherworks::Catalog;
use gopherworks::Loaded;
use gopherworks::config::Overrides;

use crate::support::command::{Place, program};

/// A fenced block of a document.
struct Block {
    /// Location of its fence, such as `README.md:38`.
    at: String,
    language: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All blocks of README.md and docs/.
fn blocks() -> Vec<Block> {
    let docs = fs::read_dir(root().join("docs")).expect("docs");
    let docs = docs.map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = docs
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .chain([root().join("README.md")])
        .collect();
    files.sort();
    let mut found = Vec::new();
    for path in files {
        let name = path.strip_prefix(root()).expect("below").display().to_string();
        let text = fs::read_to_string(&path).expect("UTF-8");
        let mut open: Option<Block> = None;
        for (line, number) in text.lines().zip(1..) {
            match (line.strip_prefix("```"), &mut open) {
                (Some(language), None) => {
                    open = Some(Block {
                        at: format!("{name}:{number}"),
                        language: language.to_owned(),
                        text: String::new(),
                    });
                }
                (Some(_), Some(_)) => found.extend(open.take()),
                (None, Some(block)) => {
                    block.text += line;
                    block.text += "\n";
                }
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{name}: a block has no end");
    }
    found
}

#[test]
fn every_toml_block_is_a_right_config() {
    let mut judged = 0;
    for block in blocks().iter().filter(|block| block.language == "toml") {
        if block.text.starts_with("[dependencies]") {
            dependencies(block);
            continue;
        }
        // A block without nodes belongs to a config that extends another one, which is looked up
        // among the shipped configs.
        let nodes = ["[piles", "[balancers.", "extends = "];
        let whole = nodes.iter().any(|start| block.text.contains(start));
        let parent = "extends = \"four-gophers.toml\"\n";
        let text = format!("{}{}", if whole { "" } else { parent }, block.text);
        let path = root().join("config/a-document.toml");
        let loaded = Loaded::parse(path, text, &Catalog::standard(), &Overrides::default());
        if let Err(mistakes) = loaded {
            panic!("{}:\n{mistakes}", block.at);
        }
        judged += 1;
    }
    assert!(judged >= 6, "{judged}");
}

/// Checks that dependencies in a document have the versions that this package is built with.
fn dependencies(block: &Block) {
    let own = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let own: toml::Table = own.parse().expect("TOML");
    let said: toml::Table = block.text.parse().expect("TOML");
    for (name, value) in said["dependencies"].as_table().expect("a table") {
        if name == "gopherworks" {
            continue;
        }
        let version = |value: &toml::Value| {
            let text = value.as_str().or_else(|| value.get("version")?.as_str());
            text.map(str::to_owned)
        };
        let known = version(&own["workspace"]["dependencies"][name.as_str()]);
        let (known, said) = (known.expect("a version"), version(value).expect("a version"));
        let at = &block.at;
        assert!(known.starts_with(&said), "{at}: {name} {said}, not {known}");
    }
}

/// Commands that are not run, by their first words, with the reason.
const NOT_RUN: [(&str, &str); 17] = [
    ("cargo test", "it is this run"),
    ("cargo bench", "takes long, and measures"),
    ("cargo new", "needs a registry"),
    ("cargo add", "needs a registry"),
    ("benches/", "takes long, and measures"),
    (".ci/instructions", "takes long, and measures"),
    ("curl", "asks the service of the line before, as tests of it do"),
    ("gopherworks run config/web-service.toml", "serves until it is stopped"),
    ("gopherworks pile ", "needs a store with books: tests/command/piles.rs runs each"),
    ("gopherworks dead ", "needs a store with letters: tests/command/dead_stores.rs runs each"),
    ("export GOPHERWORKS_TOKEN", "sets a variable for the next lines"),
    ("gopherworks ctl", "needs a run: tests/command/tap.rs runs it"),
    ("gopherworks tap", "needs a run: tests/command/tap.rs runs it"),
    ("gopherworks top", "needs a run: tests/command/top.rs runs it"),
    ("cd /srv/in", "the digests are checked by tests of the archive"),
    ("gopherworks simulate own.toml", "shows a design that is broken on purpose"),
    ("gopherworks validate design.toml", "shows a mistake, which tests/config know"),
];

/// Replacements for paths of the reader, and for what would take long.
const STANDS_FOR: [(&str, &str); 12] = [
    ("cargo run --release --", "gopherworks"),
    ("/srv/in", "in"),
    ("/srv/out", "out"),
    ("FILE", "config/chaos/four-gophers.toml"),
    ("--seeds 1000", "--seeds 2"),
    ("--schedules 10", "--schedules 2"),
    ("--for 60s --operations", "--for 1s --operations=127.0.0.1:0"),
    ("--for 60s", "--for 1s"),
    ("--for 20s", "--for 1s"),
    ("--seeds 2 --service", "--seeds 1 --service"),
    (" --policies", " --requests 200 --policies"),
    (
        "gopherworks chaos config/chaos/storm.toml",
        "gopherworks chaos config/chaos/four-gophers.toml",
    ),
];

#[test]
fn every_command_line_runs() {
    let place = Place::new();
    symlink(root().join("config"), place.path("config")).expect("a link");
    place.write("in/a", "a");
    let bin = Path::new(program()).parent().expect("a folder");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let mut unused: Vec<&str> = NOT_RUN.iter().map(|(start, _)| *start).collect();
    let mut ran = 0;
    for block in blocks() {
        if !matches!(block.language.as_str(), "console" | "sh" | "bash") {
            continue;
        }
        for line in block.text.lines().filter_map(|line| line.strip_prefix("$ ")) {
            if let Some((start, _)) = NOT_RUN.iter().find(|(start, _)| line.starts_with(start)) {
                unused.retain(|known| known != start);
                continue;
            }
            let mut command = line.to_owned();
            for (said, meant) in STANDS_FOR {
                command = command.replace(said, meant);
            }
            let out = Process::new("sh")
                .args(["-c", &command])
                .current_dir(place.root())
                .env("PATH", &path)
                .output()
                .expect("a shell");
            // An expectation may fail on a busy machine (exit code 1); all other codes are errors.
            let right = match out.status.code() {
                Some(0) => true,
                Some(1) => command.contains(" chaos ") || command.contains("--faults"),
                _ => false,
            };
            let said = String::from_utf8_lossy(&out.stderr);
            assert!(right, "{}: {command}: {}\n{said}", block.at, out.status);
            ran += 1;
        }
    }
    assert_eq!(unused, [""; 0], "these stand in no document any more");
    assert!(ran >= 10, "{ran}");
}
