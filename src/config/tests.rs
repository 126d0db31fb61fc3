//! The config language as a whole: meaning of files, and rendering of mistakes.

use std::path::Path;
use std::time::Duration;

use super::builder::{kind, wait};
use super::elements::*;
use super::*;
use crate::Loaded;
use crate::plan::{Plan, Target};

mod balancing;
mod bounds;
mod faults;
mod layering;
mod many;
mod mistakes;
mod outside;

const STAGED: &str = include_str!("../../config/two-gophers-staged.toml");

fn parse(text: &str) -> Result<Loaded, Diagnostics> {
    parse_with(text, &Overrides::default())
}

fn parse_with(text: &str, overrides: &Overrides) -> Result<Loaded, Diagnostics> {
    Loaded::parse("bad.toml", text, &Catalog::standard(), overrides)
}

/// The rendered mistakes or warnings.
fn shown(text: &str) -> String {
    shown_with(text, &Overrides::default())
}

fn shown_with(text: &str, overrides: &Overrides) -> String {
    match parse_with(text, overrides) {
        Ok(loaded) => loaded.warnings.render(false),
        Err(mistakes) => mistakes.render(false),
    }
}

/// A small valid topology with `extra` lines in its crew, and `more` after it.
fn small(extra: &str, more: &str) -> String {
    format!(
        r#"[piles.manuals]
source = {{ kind = "generate", books = 100 }}
[incinerators.furnace]
burn = "count"
[crews.solo]
from = "manuals"
to = "furnace"
{extra}
{more}"#
    )
}

const ALL: &str = r#"gophers = ["load push unload return"]"#;

#[test]
fn shipped_files_load_without_warnings() {
    for name in ["one-gopher", "two-gophers", "two-gophers-staged"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("config/{name}.toml"));
        let loaded = Loaded::read(path, &Catalog::standard(), &Overrides::default());
        let loaded = loaded.unwrap_or_else(|mistakes| panic!("{mistakes}"));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
        assert_eq!(loaded.config.name, name);
    }
}

#[test]
fn a_file_and_a_builder_say_the_same() {
    let ms = |ms: f64| wait(Duration::from_secs_f64(ms / 1000.0));
    let crew = |crew: CrewConfig| {
        crew.gophers(1, "load push unload return")
            .carts(1)
            .cart_books(10)
            .load(ms(1.0))
            .push(ms(0.5))
            .unload(ms(1.0))
            .return_(ms(0.5))
    };
    let built = TopologyConfig::builder("bad")
        .pile("manuals", |pile| pile.source(kind("generate").option("books", 10_000)))
        .dump("middle", |dump| dump.capacity_books(80))
        .incinerator("furnace", |fire| fire.burn("count"))
        .crew("near", "manuals", "middle", crew)
        .crew("far", "middle", "furnace", crew)
        .build();
    assert_eq!(parse(STAGED).unwrap().config, built);
}

#[test]
fn tables_that_are_not_written_have_their_defaults() {
    let config = parse(&small(ALL, "")).unwrap().config;
    assert_eq!(config.execution, ExecutionConfig::default());
    assert_eq!(config.supervision, SupervisionConfig::default());
    assert_eq!(config.model, ModelConfig::default());
}

#[test]
fn upstream_stands_before_downstream() {
    let text = STAGED.replace("manuals", "zoo").replace("near", "zebra");
    let plan = parse(&text).unwrap().plan;
    let piles: Vec<_> = plan.piles.iter().map(|pile| pile.name.as_str()).collect();
    assert_eq!(piles, ["zoo", "middle"]);
    let ends: Vec<_> =
        (plan.crews.iter()).map(|crew| (crew.name.as_str(), crew.from, crew.to)).collect();
    assert_eq!(ends, [("zebra", 0, Target::Dump(1)), ("far", 1, Target::Incinerator(0))]);
}

#[test]
fn every_form_of_a_value() {
    let text = small(
        r#"gophers = ["2 * load push", "unload return"]
carts = { count = 3, books = 5, bytes = "8MiB" }
work = ["sha256", { kind = "gzip", level = 6 }]
[crews.solo.steps]
load = { cpu = "1ms", wait = { uniform = ["0s", "10s"] } }
push = "1.5s"
return = { wait = { exponential = "500us" } }"#,
        r#"[execution]
cores = 2
placement = "spread"
seed = 7
scratch = "tmp"
drain_deadline = "2m"
[supervision]
strategy = "rest_for_one"
backoff = { jitter = 1 }
[model]
t1 = "4ms""#,
    )
    .replace(r#"burn = "count""#, "burn = { kind = \"count\" }\nexclusive = { unload = 1 }")
    .replace("books = 100 }", "books = 100 }\ncapacity = 80");
    let config = parse(&text).unwrap().config;
    let crew = &config.crews["solo"];
    let words = |words: &str| words.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(crew.gophers, [words("load push"), words("load push"), words("unload return")]);
    let carts = CartsConfig { count: 3, books: 5, bytes: Some(8 << 20) };
    assert_eq!(crew.carts, carts);
    assert_eq!(crew.work, [kind("sha256"), kind("gzip").option("level", 6)]);
    let ms = Duration::from_millis;
    let load = StepTime { wait: Span::Uniform(ms(0), ms(10_000)), cpu: Span::Fixed(ms(1)) };
    assert_eq!(crew.steps.load, load);
    assert_eq!(crew.steps.push, wait(ms(1500)));
    assert_eq!(crew.steps.unload, StepTime::default());
    let mean = Span::Exponential(Duration::from_micros(500));
    assert_eq!(crew.steps.return_.wait, mean);
    assert_eq!(config.piles["manuals"].capacity.books, Some(80));
    assert_eq!(config.incinerators["furnace"].exclusive.unload, Some(1));
    assert_eq!(config.execution.cores, 2);
    assert_eq!(config.execution.placement, Placement::Spread);
    assert_eq!(config.execution.drain_deadline, Some(ms(120_000)));
    assert_eq!(config.supervision.strategy, Strategy::RestForOne);
    assert_eq!(config.supervision.backoff.jitter, 1.0);
    assert_eq!(config.supervision.backoff.max, ms(30_000));
    assert_eq!(config.model.t1, Some(ms(4)));
}

#[test]
fn an_output_inside_an_input_is_left_out() {
    let text = small(ALL, "")
        .replace(r#"{ kind = "generate", books = 100 }"#, r#"{ kind = "files", root = "in" }"#)
        .replace(r#"burn = "count""#, r#"burn = { kind = "files", root = "in/./out" }"#);
    insta::assert_snapshot!(shown(&text));
}
