//! Schemas of nodes.

use gopherworks_pipeline::steps::Step;
use serde_json::{Map, Value, json};

use super::parts::{
    bounded, duration, end, env, key, large, name, not_negative, or_short, share, size, table,
    whole_or_env,
};
use crate::config::label::NAME;
use crate::config::limits::{
    self, MOST_BOOKS, MOST_CARTS, MOST_COPIES, MOST_GOPHERS, MOST_SLOTS, MOST_TIMES,
};
use crate::config::schema::{CartsConfig, DumpConfig, PileConfig};
use crate::plan::RELAYED;

/// A table that stands by itself in `$defs`; editors that know how begin it with `keys`.
pub(super) fn node<const N: usize>(
    what: &str,
    keys: &[&str],
    properties: [(&str, Value); N],
) -> Value {
    let mut out = key(what, None, table(properties));
    if !keys.is_empty() {
        out["x-taplo"] = json!({ "initKeys": keys });
    }
    out
}

/// A pile.
pub(super) fn pile(source: Value) -> Value {
    let default = PileConfig::default();
    node(
        "A pile, where books wait for crews",
        &[],
        [
            (
                "source",
                key(
                    "Where the books come from: a kind's name, or a table with `kind` and its options; the application offers them where it is missing",
                    None,
                    source,
                ),
            ),
            (
                "capacity",
                capacity(
                    "Most books and bytes that are ready at once; a bare number is of books",
                    default.capacity.books,
                ),
            ),
            ("exclusive", exclusive(&["load"])),
            ("max_attempts", attempts(default.max_attempts)),
        ],
    )
}

/// A dump.
pub(super) fn dump() -> Value {
    let default = DumpConfig::default();
    node(
        "A dump, filled by some crews and emptied by others",
        &[],
        [
            (
                "capacity",
                capacity(
                    "Most books and bytes that are admitted at once; a bare number is of books; without it nothing holds back who fills the dump",
                    default.capacity.books,
                ),
            ),
            ("exclusive", exclusive(&["load", "unload"])),
            ("max_attempts", attempts(default.max_attempts)),
        ],
    )
}

/// An incinerator.
pub(super) fn incinerator(burn: Value) -> Value {
    node(
        "An incinerator, where books end",
        &["burn"],
        [
            (
                "burn",
                key(
                    "What becomes of the books: a kind's name, or a table with `kind` and its options; it must be said",
                    None,
                    burn,
                ),
            ),
            ("exclusive", exclusive(&["unload"])),
        ],
    )
}

fn capacity(what: &str, default: Option<u64>) -> Value {
    let bounds = table([
        ("books", key("Most books; no bound where it is missing", None, large(1, MOST_BOOKS))),
        (
            "bytes",
            key(
                "Most bytes of bodies, such as \"8MiB\" or a number of bytes; no bound where it is missing",
                None,
                size(),
            ),
        ),
    ]);
    let default = default.map(|books| json!({ "books": books }));
    key(what, default, or_short(bounds, &["integer", "string"], large(1, MOST_BOOKS)))
}

fn exclusive(steps: &[&str]) -> Value {
    let slots = |step: &&str| {
        let doing = format!("How many gophers {step} here at once; no limit where it is missing");
        ((*step).to_owned(), key(&doing, None, bounded(1, MOST_SLOTS)))
    };
    let slots: Map<String, Value> = steps.iter().map(slots).collect();
    let schema = json!({ "type": "object", "properties": slots, "additionalProperties": false });
    key("How many gophers are served at once", None, schema)
}

fn attempts(default: u32) -> Value {
    let what = "Attempts that a book has before it is a dead letter";
    key(what, Some(json!(default)), bounded(1, MOST_TIMES))
}

/// A crew.
pub(super) fn crew() -> Value {
    let default = CartsConfig::default();
    let carts = table([
        (
            "count",
            key("How many carts circulate", Some(json!(default.count)), bounded(1, MOST_CARTS)),
        ),
        ("books", key("Most books in one cart", Some(json!(default.books)), large(1, MOST_BOOKS))),
        (
            "bytes",
            key(
                "Most bytes in one cart, such as \"8MiB\" or a number of bytes; a larger book travels alone; no bound where it is missing",
                None,
                size(),
            ),
        ),
    ]);
    let times = step();
    let steps = Step::ALL.map(|step| {
        let cost = match step {
            Step::Load => "What it costs to fill a cart",
            Step::Push => "What it costs to carry a full cart over, besides the work",
            Step::Unload => "What it costs to empty a cart",
            Step::Return => "What it costs to bring an empty cart back",
        };
        let cost = format!("{cost}: a wait such as \"1ms\", or a table of `wait` and `cpu`; nothing where it is missing");
        (step.name(), key(&cost, None, times.clone()))
    });
    let mut work = key(
        "What is done to each book on the way, from left to right: a kind's name, a table with `kind` and its options, or a list of such",
        Some(json!([])),
        json!({ "type": ["string", "object", "array"] }),
    );
    work["if"] = json!({ "type": "array" });
    work["then"] = json!({ "items": { "$ref": "#/$defs/work" } });
    work["else"] = json!({ "$ref": "#/$defs/work" });
    // For completion; see `kinds::kind`.
    work["anyOf"] =
        json!([{ "$ref": "#/$defs/work" }, { "items": { "$ref": "#/$defs/work" } }, true]);
    node(
        "A crew of gophers with its carts",
        &["from", "to", "gophers"],
        [
            (
                "like",
                key(
                    "The crew that this one is a copy of but for its own keys; that one is like no other",
                    None,
                    name(),
                ),
            ),
            (
                "from",
                key(
                    "The pile or dump that it empties; one copy of it is written like middle[lane=1]",
                    None,
                    end(),
                ),
            ),
            (
                "to",
                key(
                    "The dump or incinerator that it fills; one copy of it is written like middle[lane=1]",
                    None,
                    end(),
                ),
            ),
            ("gophers", gophers()),
            (
                "carts",
                key(
                    "Its carts",
                    Some(json!({ "count": default.count, "books": default.books })),
                    carts,
                ),
            ),
            ("work", work),
            ("steps", key("What the steps cost for a whole cart", None, table(steps))),
            (
                "copies",
                key(
                    "Copies of this crew alone, with gophers and carts of their own: a number, or a table of numbers by axis",
                    None,
                    copies(),
                ),
            ),
        ],
    )
}

fn gophers() -> Value {
    let names = Step::ALL.map(Step::name);
    let step = format!("({})", names.join("|"));
    let times = format!(r"(\s*\+?0*[1-9][0-9]{{0,{}}}\s*\*)?", MOST_GOPHERS.ilog10());
    let more = names.len() - 1;
    let entry = whole_or_env(&format!(r"{times}\s*{step}(\s+{step}){{0,{more}}}\s*"));
    let twice = names.map(|step| format!(r"\b{step}\b[^*]*\b{step}\b"));
    let done = names.map(|step| {
        let done = json!({ "pattern": format!(r"\b{step}\b") });
        json!({ "contains": { "anyOf": [done, { "pattern": env() }] } })
    });
    let mut out = key(
        "One entry for each gopher: the steps that it does, such as \"load push\"; \"2 * load push\" is two of them; somebody does each step",
        None,
        json!({
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "string",
                "pattern": entry,
                "if": { "pattern": env() },
                "else": { "not": { "pattern": twice.join("|") } },
            },
        }),
    );
    // Below a condition, since some editors pass over the description beside `allOf`.
    out["if"] = json!({ "minItems": 1 });
    out["then"] = json!({ "allOf": done });
    out
}

/// What a step costs.
fn step() -> Value {
    let times = table([
        (
            "wait",
            key(
                "Time that passes without a core: a duration such as \"1ms\", or a distribution; nothing where it is missing",
                None,
                span(),
            ),
        ),
        (
            "cpu",
            key(
                "Time on a core: a duration such as \"1ms\", or a distribution; nothing where it is missing",
                None,
                span(),
            ),
        ),
    ]);
    or_short(times, &["string"], duration(false))
}

/// A duration, or a distribution of durations.
pub(super) fn span() -> Value {
    let uniform = json!({
        "type": "array", "items": duration(false), "minItems": 2, "maxItems": 2,
    });
    let mut distribution = table([
        (
            "uniform",
            key("Any time between two, such as [\"0s\", \"10s\"], the least first", None, uniform),
        ),
        (
            "exponential",
            key(
                "Times around this mean, such as \"500us\", short ones more often than long ones",
                None,
                duration(false),
            ),
        ),
        ("lognormal", lognormal()),
        ("bimodal", bimodal()),
    ]);
    distribution["maxProperties"] = json!(1);
    or_short(distribution, &["string"], duration(false))
}

fn lognormal() -> Value {
    key(
        "Times with a heavy tail: most are below the mean, a few far above it",
        None,
        table([
            ("mean", key("The mean, such as \"1ms\"; it must be said", None, duration(false))),
            (
                "cv2",
                key(
                    "The variance by the square of the mean; 1 is as wide as an exponential; it must be said",
                    None,
                    not_negative(limits::LARGEST_FACTOR),
                ),
            ),
        ]),
    )
}

fn bimodal() -> Value {
    let time = |what: &str| key(what, None, duration(false));
    key(
        "Mostly one time, now and then another",
        None,
        table([
            ("short", time("The usual time, such as \"500us\"; it must be said")),
            (
                "long",
                time(
                    "The rare time, such as \"100ms\", not less than the usual one; it must be said",
                ),
            ),
            ("share", key("The share of the rare time; it must be said", None, share())),
        ]),
    )
}

/// What a distribution must say where nothing is inherited.
pub(super) fn complete_span() -> Value {
    json!({
        "minProperties": 1,
        "properties": {
            "lognormal": { "required": ["mean", "cv2"] },
            "bimodal": { "required": ["short", "long", "share"] },
        },
    })
}

/// A relay.
pub(super) fn relay() -> Value {
    node(
        "A relay, which carries one pile over to another, in order",
        &["from", "to"],
        [
            (
                "from",
                key(
                    "The pile or dump that it empties; one copy of it is written like middle[lane=1]",
                    None,
                    end(),
                ),
            ),
            (
                "to",
                key(
                    "The pile without a source, dump or incinerator that it fills; one copy of it is written like middle[lane=1]",
                    None,
                    end(),
                ),
            ),
            (
                "books",
                key(
                    "Most books that it carries at once; fewer by default where an end holds less",
                    Some(json!(RELAYED)),
                    large(1, MOST_BOOKS),
                ),
            ),
        ],
    )
}

/// Copies along each axis; a bare number is of the axis `copy`.
pub(super) fn copies() -> Value {
    let most = u32::try_from(MOST_COPIES).unwrap_or(u32::MAX);
    let axes = json!({
        "propertyNames": { "pattern": format!("^{NAME}$") },
        "additionalProperties": key("Copies along this axis", None, bounded(1, most)),
    });
    or_short(axes, &["integer", "string"], bounded(1, most))
}
