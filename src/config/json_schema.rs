//! The config language as a JSON Schema, for editors.
//!
//! It takes whatever the reader takes in one file, and refuses what can be seen to be wrong without knowing the rest of the file:
//! that a name leads somewhere, that numbers fit each other, stays the loader's affair. Defaults, bounds and words are
//! those that the loader uses.

use serde_json::{Map, Value, json};

use super::label::NAME;
use super::limits::{MOST_COPIES, MOST_CORES, MOST_TIMES};
use super::read::UNLIMITED;
use super::read::{PLACEMENTS, STRATEGIES};
use super::schema::{BackoffConfig, ExecutionConfig, SupervisionConfig};
use crate::catalog::Catalog;
use kinds::Branch;
use nodes::{complete_span, copies, crew, dump, incinerator, pile, relay};
use parts::{bounded, duration, key, large, name, share, table, text, time, whole_or_env, words};

mod balancing;
mod faults;
mod kinds;
mod nodes;
mod parts;
mod requests;
mod resilience;

/// The JSON Schema (draft 2020-12) of config files, with the kinds of `catalog`.
///
/// ```
/// use gopherworks::catalog::Catalog;
/// use gopherworks::config::json_schema;
///
/// let schema = json_schema(&Catalog::standard());
/// assert_eq!(schema["$defs"]["work_gzip"]["properties"]["level"]["default"], 6);
/// ```
#[must_use]
pub fn json_schema(catalog: &Catalog) -> Value {
    let sources = kinds::branches("source", catalog.sources());
    let works = kinds::branches("work", catalog.works());
    let burns = kinds::branches("burn", catalog.burns());
    let services = kinds::branches("worker", catalog.services());
    let policies = balancing::policies();
    let loads = requests::loads(&complete_span());
    let otherwise = complete(
        [&sources, &burns],
        balancing::complete_balancer(&services, &policies),
        requests::complete_requester(&loads),
    );
    let mut defs = Map::new();
    let mut define = |key: &str, schema: Value| {
        defs.insert(key.to_owned(), schema);
    };
    define("pile", pile(kinds::kind("source", &sources)));
    define("dump", dump());
    define("incinerator", incinerator(kinds::kind("burn", &burns)));
    define("crew", crew());
    define("relay", relay());
    define("fault", faults::fault());
    let work = kinds::kind("worker", &services);
    define("balancer", balancing::balancer(work, &policies));
    define("requester", requests::requester(&loads));
    let mut work = kinds::kind("work", &works);
    // Lists replace each other whole, so nothing of a work is ever inherited.
    if let Value::Object(complete) = kinds::complete(&works)
        && let Some(rules) = work["then"]["allOf"].as_array_mut()
    {
        rules.push(complete["then"].clone());
        work["pattern"] = complete["pattern"].clone();
    }
    define("work", work);
    for branches in [sources, works, burns, services, policies, loads] {
        kinds::define(branches, &mut defs);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:gopherworks:config",
        "title": "gopherworks",
        "description": "A design: books move in carts from piles, through dumps, into incinerators; requesters ask balancers, which hand requests to workers.",
        "type": "object",
        "properties": top(),
        "additionalProperties": false,
        "if": { "required": ["extends"] },
        "else": otherwise,
        "$defs": defs,
    })
}

fn top() -> Value {
    let path = r#"\s*([A-Za-z0-9_-]+|"[^"]*"|'[^']*')\s*"#;
    let path = whole_or_env(&format!(r"{path}(\.{path})*"));
    let list = |items: Value| json!({ "type": "array", "items": items });
    json!({
        "extends": key(
            "The file that this one changes; a path that starts at the folder of this file", None, text()),
        "remove": key(
            "What is inherited and not wanted, as dotted paths such as crews.far", None,
            list(json!({ "type": "string", "pattern": path }))),
        "copies": key(
            &format!("Copies of every node that is not shared: a number, or a table of numbers by axis that multiply; {MOST_COPIES} in all at most"),
            None, copies()),
        "shared": key("Names of the nodes that all copies have in common", Some(json!([])), list(name())),
        "piles": by_name("Piles by name: where books wait for crews, and where sources put them", "pile"),
        "dumps": by_name("Dumps by name: piles in the middle that crews fill and empty", "dump"),
        "incinerators": by_name("Incinerators by name: where books end", "incinerator"),
        "crews": by_name("Crews by name: gophers that carry books from one node to another", "crew"),
        "relays": by_name("Relays by name: each carries one pile over to another, in order", "relay"),
        "balancers": by_name("Balancers by name: each hands requests to its workers", "balancer"),
        "requesters": by_name("Requesters by name: who asks balancers, and when", "requester"),
        "faults": by_name("Faults by name: what goes wrong on purpose, where and when; a plain run ignores them", "fault"),
        "expect": faults::expect(),
        "execution": execution(),
        "supervision": supervision(),
        "model": key("What is known of the times, for predictions", None, table([
            ("t1", key(
                "Time of one round trip of one gopher without dumps, such as \"4ms\"; more than 0; it is derived from the steps where it is missing",
                None, duration(true))),
        ])),
    })
}

/// A table of nodes by name.
fn by_name(what: &str, def: &str) -> Value {
    key(
        what,
        None,
        json!({
            "type": "object",
            "propertyNames": { "pattern": format!("^{NAME}$") },
            "additionalProperties": { "$ref": format!("#/$defs/{def}") },
        }),
    )
}

/// The word for `value`.
fn word<T: PartialEq>(table: &[(&str, T)], value: &T) -> Option<Value> {
    let found = table.iter().find(|(_, meant)| meant == value)?;
    Some(json!(found.0))
}

fn execution() -> Value {
    let default = ExecutionConfig::default();
    let placements = words(PLACEMENTS.iter().map(|(word, _)| *word));
    key(
        "How it runs; this changes no result",
        None,
        table([
            (
                "cores",
                key(
                    "Cores that are used, for actors and again for blocking work; by default as many as the machine has",
                    None,
                    bounded(1, MOST_CORES),
                ),
            ),
            (
                "placement",
                key(
                    "How nodes are laid on cores: together keeps a crew with its ends, spread takes the next core for every node",
                    word(&PLACEMENTS, &default.placement),
                    placements,
                ),
            ),
            (
                "seed",
                key(
                    "Seed of every random stream, a whole number that is not negative",
                    Some(json!(default.seed)),
                    large(0, i64::MAX as u64),
                ),
            ),
            (
                "scratch",
                key(
                    "Folder for bodies too large for memory; the system's temporary folder by default",
                    None,
                    text(),
                ),
            ),
            (
                "drain_deadline",
                key(
                    "How long a drain may take before the run gives up, such as \"30s\"; no bound where it is missing",
                    None,
                    duration(false),
                ),
            ),
        ]),
    )
}

fn supervision() -> Value {
    let default = SupervisionConfig::default();
    let BackoffConfig { min, max, jitter, reset } = default.backoff;
    let strategies = words(STRATEGIES.iter().map(|(word, _)| *word));
    let backoff = table([
        ("min", key("First delay, such as \"10ms\"", time(min), duration(false))),
        ("max", key("Longest delay, such as \"30s\"", time(max), duration(false))),
        ("jitter", key("Share by which a delay is spread", Some(json!(jitter)), share())),
        (
            "reset",
            key(
                "A life of this time, such as \"60s\", starts the count of failures in a row anew",
                time(reset),
                duration(false),
            ),
        ),
    ]);
    key(
        "What happens when an actor fails",
        None,
        table([
            (
                "strategy",
                key(
                    "Who is restarted with the failed one: nobody, all, or those started after it",
                    word(&STRATEGIES, &default.strategy),
                    strategies,
                ),
            ),
            (
                "intensity",
                key(
                    "Restarts allowed within `period`, a whole number that is not negative, or \"unlimited\"; one more ends the run",
                    Some(json!(default.intensity)),
                    limit(),
                ),
            ),
            (
                "period",
                key(
                    "The time over which `intensity` counts, such as \"10s\"; more than 0",
                    time(default.period),
                    duration(true),
                ),
            ),
            (
                "in_a_row",
                key(
                    "Failures of one actor in a row that end the run, a whole number that is not negative, or \"unlimited\"",
                    Some(json!(default.in_a_row)),
                    limit(),
                ),
            ),
            (
                "backoff",
                key(
                    "The delay before a restart: it doubles with each failure in a row",
                    None,
                    backoff,
                ),
            ),
            (
                "shutdown",
                key(
                    "How long an ordered shutdown waits for each actor, such as \"5s\"",
                    time(default.shutdown),
                    duration(false),
                ),
            ),
            (
                "hang_after",
                key(
                    "How long a thread may be blocked, such as \"10s\", before its actors are given up and started on another; more than 0",
                    time(default.hang_after),
                    duration(true),
                ),
            ),
        ]),
    )
}

/// A whole number, or the word for none.
fn limit() -> Value {
    json!({ "anyOf": [bounded(0, MOST_TIMES), { "const": UNLIMITED }] })
}

/// What must be there in a file that inherits nothing.
fn complete([sources, burns]: [&[Branch]; 2], balancer: Value, requester: Value) -> Value {
    let named = |node: Value| json!({ "additionalProperties": node });
    let steps = named(named(complete_span()));
    let some = |group: &str| {
        let nodes = json!({ "type": "object", "minProperties": 1 });
        json!({ "required": [group], "properties": { group: nodes } })
    };
    let any = |groups: &[&str]| {
        let groups: Vec<Value> = groups.iter().map(|group| some(group)).collect();
        json!({ "anyOf": groups })
    };
    let asks = any(&["balancers", "requesters"]);
    let carries = any(&["piles", "dumps", "incinerators", "crews", "relays"]);
    let least = json!({ "minProperties": 1 });
    json!({
        "if": { "allOf": [asks, { "not": carries }] },
        "else": {
            "required": ["piles", "incinerators"],
            "properties": { "piles": least, "incinerators": least },
            "if": { "properties": { "crews": { "maxProperties": 0 } } },
            "then": { "required": ["relays"] },
        },
        "allOf": [{ "if": some("requesters"), "then": some("balancers") }],
        "properties": {
            "piles": named(json!({ "properties": { "source": kinds::complete(sources) } })),
            "incinerators": named(json!({
                "required": ["burn"],
                "properties": { "burn": kinds::complete(burns) },
            })),
            "crews": named(json!({
                "if": { "required": ["like"] },
                "else": {
                    "required": ["from", "to", "gophers"],
                    "properties": { "steps": steps },
                },
            })),
            "relays": named(json!({ "required": ["from", "to"] })),
            "balancers": named(balancer),
            "requesters": named(requester),
            "faults": named(faults::complete()),
        },
    })
}
