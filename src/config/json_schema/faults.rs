//! Schemas of faults and expectations.

use serde_json::{Value, json};

use super::parts::{
    boolean, bounded, duration, key, large, share, share_above_zero, table, text, whole_or_env,
    words,
};
use crate::catalog::units::duration_pattern;
use crate::config::limits::MOST_MIXED;
use crate::config::read::faults::{KINDS, MIXED, TEXT, WHENS};
use crate::config::schema::ExpectConfig;

/// One fault.
pub(super) fn fault() -> Value {
    let mut fault = table([
        (
            "target",
            key(
                "Where: a node such as near, near/1 or front/*; a point in its work, such as near.load; or messages, such as \"near -> middle\"; * and ? stand for any letters, [lane=1] picks copies",
                None,
                text(),
            ),
        ),
        ("kind", key("What goes wrong", None, words(KINDS))),
        ("when", when()),
        (
            "actions",
            key(
                "Instead of `kind` and `when`: what happens at each visit of a point, such as \"5%2*panic(oops)->hang(10ms)->off\"",
                None,
                text(),
            ),
        ),
        (
            "for",
            key(
                "How long a hang, a slow or a full lasts, such as \"1s\"; a hang until it is given up, and slowness to the end, where it is missing",
                None,
                duration(false),
            ),
        ),
        (
            "by",
            key(
                "How much longer a step takes, or how late a message is, such as \"10ms\"",
                None,
                duration(false),
            ),
        ),
        ("text", key("What a panic or an error says", Some(json!(TEXT)), text())),
        ("permanent", key("An error that is not tried again", Some(json!(false)), boolean())),
        (
            "most",
            key("A mix has one to so many faults", Some(json!(MIXED)), bounded(1, MOST_MIXED)),
        ),
        ("from", key("Not before this time from the start, such as \"1s\"", None, duration(false))),
        ("until", key("Not from this time on, such as \"10s\"", None, duration(false))),
        ("times", key("So many times at most", None, large(0, i64::MAX as u64))),
        (
            "odds",
            key(
                "The share of seeds that it is there for, above 0",
                Some(json!(1.0)),
                share_above_zero(),
            ),
        ),
    ]);
    fault["allOf"] = json!([
        { "not": { "required": ["kind", "actions"] } },
    ]);
    fault
}

/// What must be there in a file that inherits nothing.
pub(super) fn complete() -> Value {
    let of = |words: &[&str], key: &str| {
        json!({
            "if": { "required": ["kind"], "properties": { "kind": { "enum": words } } },
            "then": { "required": [key] },
        })
    };
    let timed: Vec<&str> = KINDS.into_iter().filter(|word| *word != "mix").collect();
    json!({
        "required": ["target"],
        "anyOf": [{ "required": ["kind"] }, { "required": ["actions"] }],
        "allOf": [
            of(&timed, "when"),
            of(&["slow", "delay"], "by"),
            of(&["full"], "for"),
        ],
    })
}

fn when() -> Value {
    let list = |one: Value| json!({ "anyOf": [one, { "type": "array", "items": one }] });
    let mut when = table([
        (
            "at",
            key(
                "At this time from the start, or these, such as \"2s\"",
                None,
                list(duration(false)),
            ),
        ),
        ("every", key("Again and again, this far apart; at least 1ms", None, duration(true))),
        (
            "poisson",
            key(
                "Again and again by chance, this far apart on average; at least 1ms",
                None,
                duration(true),
            ),
        ),
        ("nth", key("At the visit of this number", None, large(1, i64::MAX as u64))),
        ("chance", key("At each visit with this chance, above 0", None, share_above_zero())),
        (
            "items",
            key(
                "With this book or request, or these, by number",
                None,
                list(large(0, i64::MAX as u64)),
            ),
        ),
        (
            "share",
            key(
                "With this share of books or requests, above 0, the same ones every time",
                None,
                share_above_zero(),
            ),
        ),
    ]);
    let one: Vec<Value> = WHENS.iter().map(|word| json!({ "required": [word] })).collect();
    when["oneOf"] = json!(one);
    key("When it fires: one of these", None, when)
}

/// What is expected.
pub(super) fn expect() -> Value {
    let usual = ExpectConfig::default();
    let at_most = whole_or_env(&format!(r"\s*(<=)?{}", duration_pattern(false)));
    key(
        "What is expected of a run with faults",
        None,
        table([
            (
                "lost",
                key(
                    "Most books and requests that may be lost",
                    Some(json!(usual.lost)),
                    large(0, i64::MAX as u64),
                ),
            ),
            (
                "duplicates",
                key(
                    "Most books burned, and requests answered, more than once",
                    Some(json!(usual.duplicates)),
                    large(0, i64::MAX as u64),
                ),
            ),
            (
                "in_flight",
                key(
                    "Most books and requests under way at the end",
                    Some(json!(usual.in_flight)),
                    large(0, i64::MAX as u64),
                ),
            ),
            (
                "escalations",
                key(
                    "Most times that supervision may give up",
                    Some(json!(usual.escalations)),
                    large(0, i64::MAX as u64),
                ),
            ),
            (
                "recovery_p99",
                key(
                    "Longest time from an actor's end to its next life's first work, for 99 of 100, such as \"<= 100ms\"",
                    None,
                    json!({ "type": "string", "pattern": at_most }),
                ),
            ),
            (
                "throughput_dip",
                key("Largest share of the throughput that may be missing", None, share()),
            ),
        ]),
    )
}
