//! Schemas of balancers and requesters.

use gopherworks_actors::balancer::policy::{Full, Policy};
use gopherworks_actors::requester::load::{Arrivals, Order};
use serde_json::{Value, json};

use super::nodes::{node, span};
use super::parts::{
    any_of, bounded, duration, end, env, key, large, or_short, share, table, whole, whole_or_env,
    words,
};
use super::word;
use crate::config::read::{ARRIVALS, FULL, ORDERS};
use crate::config::schema::BalancerConfig;

fn yes() -> Value {
    json!({ "type": ["boolean", "string"], "pattern": env() })
}

fn number_or(word: &str, least: u32) -> Value {
    json!({
        "type": ["integer", "string"],
        "minimum": least,
        "maximum": u32::MAX,
        "pattern": whole_or_env(&format!(r"\s*{word}\s*")),
    })
}

fn not_negative() -> Value {
    json!({ "type": ["number", "string"], "minimum": 0, "pattern": env() })
}

fn positive() -> Value {
    json!({ "type": ["number", "string"], "exclusiveMinimum": 0, "pattern": env() })
}

/// Where a table says its kind, the keys of that kind and no other.
fn kinds(cases: &[(&str, &[&str])]) -> Value {
    let cases = cases.iter().map(|(kind, keys)| {
        let known = [&["kind"][..], keys].concat();
        json!({
            "if": { "properties": { "kind": { "const": kind } }, "required": ["kind"] },
            "then": { "propertyNames": { "enum": known } },
        })
    });
    Value::Array(cases.collect())
}

fn policy() -> Value {
    let ageing = key(
        "Seconds of cost that a second of waiting makes up for; 0 lets an expensive request starve under load",
        Some(json!(Policy::AGEING)),
        not_negative(),
    );
    let mut out = table([
        ("kind", words(Policy::NAMES)),
        (
            "per_worker",
            key(
                "Of central: requests for each place of a worker, running ones included",
                Some(json!(1)),
                whole(1),
            ),
        ),
        (
            "skip_slow",
            key(
                "Of central: leave a slow worker idle where waiting for a faster one promises an earlier answer",
                Some(json!(false)),
                yes(),
            ),
        ),
        ("ageing", ageing),
        (
            "workers",
            key(
                "Of reserve: workers that take only short requests",
                None,
                whole(0),
            ),
        ),
        (
            "short",
            key(
                "Of reserve: a request that costs at most this is short, such as \"5ms\"",
                None,
                duration(false),
            ),
        ),
    ]);
    let none: &[&str] = &[];
    out["allOf"] = kinds(&[
        ("central", &["per_worker", "skip_slow"]),
        ("least-loaded", none),
        ("two-choices", none),
        ("round-robin", none),
        ("random", none),
        ("short-first", &["ageing"]),
        ("reserve", &["workers", "short", "ageing"]),
    ]);
    // `allOf` speaks of tables only: its keywords pass over a bare word.
    let mut short = words(Policy::NAMES);
    short["pattern"] = json!(any_of(Policy::NAMES));
    or_short(out, &["string"], short)
}

fn hedge() -> Value {
    let out = table([
        (
            "after",
            key(
                "How long the first worker has, from its begin, such as \"30ms\"",
                None,
                duration(false),
            ),
        ),
        (
            "percentile",
            key(
                "The same as a share of the requests so far, such as 0.95: as long as these took at most",
                None,
                json!({
                    "type": ["number", "string"], "exclusiveMinimum": 0, "exclusiveMaximum": 1, "pattern": env(),
                }),
            ),
        ),
        (
            "budget",
            key(
                "Most second copies, as a share of all requests",
                Some(json!(BalancerConfig::BUDGET)),
                share(),
            ),
        ),
    ]);
    let mut out = or_short(out, &["string"], duration(false));
    out["not"] = json!({ "required": ["after", "percentile"] });
    out
}

/// A balancer.
pub(super) fn balancer(work: Value) -> Value {
    let workers = table([
        (
            "count",
            key("How many", Some(json!(1)), bounded(1, 100_000)),
        ),
        (
            "concurrency",
            key(
                "Requests that one worker does at a time",
                Some(json!(1)),
                bounded(1, 100_000),
            ),
        ),
        (
            "work",
            key(
                "What a worker does: a kind's name, or a table with `kind` and its options; it must be said",
                None,
                work,
            ),
        ),
    ]);
    let mut out = node(
        "A balancer, which gives requests to its workers",
        &["workers"],
        [
            (
                "policy",
                key(
                    "Who gets a request: a word, or a table with `kind` and its options",
                    Some(json!(Policy::CENTRAL.name())),
                    policy(),
                ),
            ),
            (
                "replicate",
                key(
                    "Workers that are asked the same at once, or \"all\"; the first answer wins",
                    None,
                    number_or("all", 1),
                ),
            ),
            (
                "hedge",
                key(
                    "When a second worker is asked the same: a duration, or a table; the first answer wins",
                    None,
                    hedge(),
                ),
            ),
            (
                "queue",
                key(
                    "Requests that wait at most, besides one for each place of a worker, or \"unbounded\"",
                    Some(json!(BalancerConfig::QUEUE)),
                    number_or("unbounded", 0),
                ),
            ),
            (
                "full",
                key(
                    "What becomes of a request that finds the queue full",
                    word(&FULL, &Full::Wait),
                    words(FULL.iter().map(|(word, _)| *word)),
                ),
            ),
            (
                "idempotent",
                key(
                    "True if a request may be begun again after its worker was lost",
                    Some(json!(false)),
                    yes(),
                ),
            ),
            (
                "max_attempts",
                key(
                    "How often an idempotent request may be the end of a worker",
                    Some(json!(BalancerConfig::ATTEMPTS)),
                    whole(1),
                ),
            ),
            ("workers", key("Its workers", None, workers)),
        ],
    );
    out["not"] = json!({ "required": ["replicate", "hedge"] });
    out
}

/// A requester.
pub(super) fn requester() -> Value {
    let mut load = table([
        ("kind", words(["closed", "open", "batch"])),
        (
            "count",
            key("Of closed: clients", None, bounded(1, 100_000)),
        ),
        (
            "think",
            key(
                "Of closed: what a client thinks before each request: a duration, or a distribution; nothing where it is missing",
                None,
                span(),
            ),
        ),
        ("rate", key("Of open: requests a second", None, positive())),
        (
            "utilisation",
            key(
                "Of open: the rate as a share of what the workers can do when none is ever idle",
                None,
                positive(),
            ),
        ),
        (
            "arrivals",
            key(
                "Of open: independent of each other, or in equal gaps",
                word(&ARRIVALS, &Arrivals::Poisson),
                words(ARRIVALS.iter().map(|(word, _)| *word)),
            ),
        ),
        (
            "requests",
            key(
                "How many in all; without it they never end by themselves",
                None,
                large(0),
            ),
        ),
    ]);
    load["allOf"] = kinds(&[
        ("closed", &["count", "think", "requests"]),
        ("open", &["rate", "utilisation", "arrivals", "requests"]),
        ("batch", &["requests"]),
    ]);
    load["not"] = json!({ "required": ["rate", "utilisation"] });
    node(
        "A requester, which asks a balancer",
        &["to", "load"],
        [
            ("to", key("The balancer that it asks", None, end())),
            (
                "load",
                key(
                    "When it asks: clients in a loop (closed), arrivals (open), or all at once (batch)",
                    None,
                    load,
                ),
            ),
            (
                "order",
                key(
                    "The order in which it takes the answers to a batch",
                    word(&ORDERS, &Order::Completion),
                    words(ORDERS.iter().map(|(word, _)| *word)),
                ),
            ),
        ],
    )
}
