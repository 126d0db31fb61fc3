//! `graph`: the drawing goes to stdout, everything else to stderr, and an invalid config is not
//! drawn.

use crate::support;

use std::fs;
use std::path::Path;
use std::process::Stdio;

use predicates::prelude::*;
use predicates::str::{contains, is_empty, starts_with};
use support::command::{Place, shipped};

const LANES: &str = r#"
copies = { lane = 2 }
[piles.manuals]
source = { kind = "generate", books = 100 }
[dumps.middle]
capacity = { books = 80 }
[incinerators.furnace]
burn = "count"
[crews.near]
from = "manuals"
to = "middle"
gophers = ["load push", "unload return"]
carts = { count = 2, books = 10 }
[crews.far]
like = "near"
from = "middle"
to = "furnace"
"#;

fn place() -> Place {
    let place = Place::new();
    place.write("lanes.toml", LANES);
    place
}

#[test]
fn nodes_and_ways_in_json() {
    let place = Place::new();
    let mut command = place.run(["graph", "--format", "json"]);
    let out = command.arg(shipped("two-gophers-staged.toml")).output().expect("it runs");
    let drawn: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let names = |key: &str| {
        let all = drawn[key].as_array().expect("an array").iter();
        all.map(|one| one["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("nodes"), ["manuals", "middle", "furnace"]);
    assert_eq!(names("ways"), ["near", "far"]);
    assert_eq!(
        (&drawn["ways"][0]["from"], &drawn["ways"][0]["to"]),
        (&"manuals".into(), &"middle".into())
    );
}

#[test]
fn every_format_is_drawn_to_stdout_alone() {
    let place = place();
    for (format, start, more) in [
        ("text", "lanes: 8 gophers, 8 carts, 2 piles, 2 dumps", "2 lanes"),
        ("dot", "digraph \"lanes\" {\n", "subgraph \"cluster_near\""),
        ("mermaid", "---\ntitle: \"lanes\"\n---\nflowchart LR\n", "subgraph c0"),
        ("svg", "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=", "</svg>\n"),
    ] {
        let drawn = place.run(["graph", "lanes.toml", "--format", format]).assert().code(0);
        drawn.stdout(starts_with(start).and(contains(more))).stderr(is_empty());
    }
    // Text is the default format.
    let [plain, text] =
        [&["graph", "lanes.toml"][..], &["graph", "lanes.toml", "--format", "text"]]
            .map(|args| place.run(args).output().expect("it runs").stdout);
    assert_eq!(plain, text);
}

#[test]
fn copies_are_drawn_one_by_one_if_wanted() {
    let place = place();
    let copy = "near[lane=1]";
    place.run(["graph", "lanes.toml"]).assert().code(0).stdout(contains(copy).not());
    for format in ["text", "dot", "svg"] {
        let args = ["graph", "lanes.toml", "--expand", "--format", format];
        place.run(args).assert().code(0).stdout(contains(copy));
    }
    let args = ["graph", "lanes.toml", "--set", "crews.near.carts.count=7"];
    place.run(args).assert().code(0).stdout(contains("7 carts of 10 books"));
}

#[test]
fn warnings_are_no_part_of_a_picture() {
    let place = place();
    let args = ["graph", "lanes.toml", "--set", "crews.near.carts.count=1"];
    let warned = place.run(args).assert().code(0);
    warned.stdout(contains("warning").not()).stderr(contains("warning"));
    let quiet = place.run(args.into_iter().chain(["--quiet"])).assert().code(0);
    quiet.stderr(is_empty());
}

#[test]
fn an_invalid_config_is_told_and_not_drawn() {
    let place = place();
    place.write("wrong.toml", LANES.replace("to = \"middle\"", "to = \"midle\""));
    let wrong = place.run(["graph", "wrong.toml", "--format", "svg"]).assert().code(78);
    wrong.stdout(is_empty()).stderr(contains("called `midle`"));
    place.run(["graph", "nothing.toml"]).assert().code(78).stdout(is_empty());
    place.run(["graph", "lanes.toml", "--format", "png"]).assert().code(2).stdout(is_empty());
    place.run(["graph"]).assert().code(2).stdout(is_empty());
}

#[test]
fn a_picture_without_a_reader_is_no_failure() {
    let place = place();
    for format in ["text", "svg"] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let out = place
            .process(["graph", "lanes.toml", "--format", format])
            .stdin(Stdio::null())
            .stdout(writer)
            .output()
            .expect("it runs");
        assert_eq!(out.status.code(), Some(0), "{format}");
        assert_eq!(String::from_utf8_lossy(&out.stderr), "", "{format}");
    }
}

#[test]
fn docs_pictures_are_fresh() {
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/pictures");
    let place = Place::new();
    for name in ["four-gophers", "two-gophers-staged", "sixteen-gophers", "balancer"] {
        let config = shipped(&format!("{name}.toml"));
        let expand = (name == "sixteen-gophers").then_some("--expand");
        let out = place
            .run(["graph".as_ref(), config.as_os_str()])
            .args(["--format", "svg"])
            .args(expand)
            .output()
            .expect("it runs");
        let kept = fs::read(pictures.join(format!("{name}.svg"))).expect("a picture");
        let again = "cargo run -- graph FILE --format svg > docs/pictures/NAME.svg";
        assert!(out.stdout == kept, "{name} is drawn otherwise now: {again}");
    }
}
