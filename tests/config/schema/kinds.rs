//! Kinds that an application adds are in the schema, too.

use std::collections::BTreeMap;

use gopherworks::config::units::{Size, Time};
use gopherworks::pipeline::transform::Transform;
use gopherworks::supervision::failure::Failure;
use gopherworks::{Book, Catalog};
use schemars::JsonSchema;
use serde::Deserialize;

use super::*;

/// Options of every sort.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "they are only read")]
struct Options {
    /// How loud.
    volume: u8,
    /// Which way, if any.
    #[serde(default)]
    way: Option<Way>,
    /// Other options.
    #[serde(default)]
    others: Vec<Other>,
    #[serde(default)]
    named: BTreeMap<String, Option<f64>>,
    #[serde(default)]
    longest: Option<Size>,
    #[serde(default)]
    pause: Option<Time>,
    #[serde(default)]
    letter: Option<char>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Way {
    Up,
    /// To the ground.
    Down,
}

/// An option that contains others.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "they are only read")]
struct Other {
    name: String,
    #[serde(default)]
    others: Vec<Other>,
}

/// Options that are one of several tables.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "mode", rename_all = "lowercase", deny_unknown_fields)]
#[allow(dead_code, reason = "they are only read")]
enum Choice {
    Plain { level: i8 },
    Fancy { colour: bool },
}

struct Nothing;

impl Transform for Nothing {
    fn apply(&mut self, book: Book) -> Result<Option<Book>, Failure> {
        Ok(Some(book))
    }
}

fn catalog() -> Catalog {
    let mut catalog = workers::catalog();
    catalog
        .add_work("shout/aloud", "Shouts", |_: &Options, _| Ok(Nothing))
        .add_work("choose", "Chooses", |_: &Choice, _| Ok(Nothing))
        .add_work_fn("pass", "Passes", |book: Book| Ok(Some(book)));
    catalog
}

#[test]
fn they_are_judged_as_the_loader_judges_them() {
    let catalog = catalog();
    let schema = json_schema(&catalog);
    assert!(jsonschema::meta::is_valid(&schema));
    // TOML has no null.
    assert!(!schema.to_string().contains("null"));
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let shout = |options: &str| format!("{{ kind = \"shout/aloud\", volume = 1, {options} }}");
    let both = |work: &str| {
        let tree = changed(&format!("crews.near.work = [{work}]"));
        let text = toml::to_string(&tree).expect("TOML");
        let loaded = Loaded::parse("t.toml", text, &catalog, &Overrides::default());
        (loaded.is_ok(), complaints(&validator, &tree).is_empty())
    };
    let right = [
        "\"pass\"".to_owned(),
        "{ kind = \"shout/aloud\", volume = \"${env.V:-7}\" }".to_owned(),
        shout("way = \"down\""),
        shout("way = \"${env.WAY:-up}\""),
        shout("others = [{ name = \"a\", others = [{ name = \"${env.B:-b}\" }] }]"),
        shout("named = { a = 1, b = 0.5, c = \"${env.C:-2}\" }"),
        shout("longest = 7, pause = \"2 d\""),
        shout("longest = \"7kB\", letter = \"x\""),
        "{ kind = \"choose\", mode = \"plain\", level = -1 }".to_owned(),
        "{ kind = \"choose\", mode = \"fancy\", colour = true }".to_owned(),
    ];
    for work in right {
        assert_eq!(both(&work), (true, true), "{work}");
    }
    let wrong = [
        "\"shout/aloud\"".to_owned(),
        "{ kind = \"pass\", x = 1 }".to_owned(),
        "{ kind = \"shout/aloud\", volume = 256 }".to_owned(),
        "{ kind = \"shout/aloud\", volume = \"7\" }".to_owned(),
        shout("way = \"left\""),
        shout("others = [{ name = 1 }]"),
        shout("others = [{ name = \"a\", others = [{ nam = \"b\" }] }]"),
        shout("named = { a = \"x\" }"),
        shout("longest = \"7mm\""),
        shout("pause = 7"),
        shout("letter = \"long\""),
    ];
    for work in wrong {
        assert_eq!(both(&work), (false, false), "{work}");
    }
}
