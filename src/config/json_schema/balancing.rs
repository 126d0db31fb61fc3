//! Schemas of balancers.

use serde_json::{Map, Value, json};

use super::kinds::{self, Branch};
use super::nodes::node;
use super::parts::{
    at_least_one, between, boolean, bounded, duration, key, not_negative, or_short,
    share_above_zero, table, time, whole_or_env, words,
};
use super::resilience;
use crate::config::limits::{LARGEST_FACTOR, MOST_PLACES, MOST_TIMES, MOST_WAITING};
use crate::config::read::balancing::{ALL, FULL, POLICIES, UNBOUNDED};
use crate::config::schema::{BalancerConfig, HedgeConfig, PolicyConfig};

/// A balancer, with its workers' kinds and the policies.
pub(super) fn balancer(work: Value, policies: &[Branch]) -> Value {
    let mut out = node(
        "A balancer, which hands requests to its workers",
        &["workers"],
        [
            (
                "policy",
                key(
                    "Who gets a request, and when: a word, or a table with `kind` and its options",
                    Some(json!("central")),
                    kinds::kind("policy", policies),
                ),
            ),
            (
                "replicate",
                key(
                    "How many workers are asked the same at once, a number from 2 or \"all\"; the first answer wins; it excludes `hedge` and implies `idempotent`; one worker is asked where it is missing",
                    None,
                    number_or([2, MOST_PLACES], ALL),
                ),
            ),
            ("hedge", hedge()),
            (
                "queue",
                key(
                    "Most requests that wait, or \"unbounded\"",
                    Some(json!(BalancerConfig::QUEUE)),
                    number_or([1, MOST_WAITING], UNBOUNDED),
                ),
            ),
            (
                "full",
                key(
                    "What becomes of a request that finds the queue full: it waits, and its requester with it, or it is refused",
                    Some(json!(FULL[0].0)),
                    words(FULL.iter().map(|(word, _)| *word)),
                ),
            ),
            (
                "idempotent",
                key(
                    "True if a request may be executed more than once; it is true where `replicate` or `hedge` stands, else false",
                    None,
                    boolean(),
                ),
            ),
            (
                "max_attempts",
                key(
                    &format!(
                        "Attempts of an idempotent request whose worker died of it; {} where it is missing",
                        BalancerConfig::ATTEMPTS
                    ),
                    None,
                    bounded(1, MOST_TIMES),
                ),
            ),
            ("workers", workers(work)),
        ],
    );
    for (name, schema) in resilience::keys() {
        out["properties"][name] = schema;
    }
    out["not"] = json!({ "required": ["replicate", "hedge"] });
    out
}

/// A number, or the word that stands for no number.
fn number_or([least, most]: [u32; 2], word: &str) -> Value {
    let mut out = bounded(least, most);
    out["pattern"] = json!(whole_or_env(word));
    out["anyOf"] = json!([{ "enum": [word] }, true]);
    out
}

fn hedge() -> Value {
    let hedge = table([
        (
            "after",
            key(
                "When the first worker has been at it so long, such as \"30ms\"; more than 0; it excludes `percentile`",
                None,
                duration(true),
            ),
        ),
        (
            "percentile",
            key(
                "When the first worker has been at it longer than this share of all requests took so far, such as 0.95; between 0 and 1; it excludes `after`",
                None,
                between(),
            ),
        ),
        (
            "budget",
            key(
                "Most second requests, as a share of all requests; more than 0 and at most 1",
                Some(json!(HedgeConfig::BUDGET)),
                share_above_zero(),
            ),
        ),
    ]);
    let mut out = or_short(hedge, &["string"], duration(true));
    out["if"] = json!({ "type": "object" });
    out["then"] = json!({ "not": { "required": ["after", "percentile"] } });
    key(
        "When a second worker is asked the same: a duration, or a table of `after` or `percentile` and a `budget`; the first answer wins; it excludes `replicate` and implies `idempotent`; nobody is asked again where it is missing",
        None,
        out,
    )
}

fn workers(work: Value) -> Value {
    key(
        "Its workers; they must be said",
        None,
        table([
            ("count", key("How many workers", Some(json!(1)), bounded(1, MOST_PLACES))),
            (
                "concurrency",
                key(
                    "Requests that one worker does at a time",
                    Some(json!(1)),
                    bounded(1, MOST_PLACES),
                ),
            ),
            (
                "work",
                key(
                    "What the workers do: a kind's name, or a table with `kind` and its options; it must be said",
                    None,
                    work,
                ),
            ),
        ]),
    )
}

/// The policies, in the order of their words.
pub(super) fn policies() -> Vec<Branch> {
    let ageing = |default: f64| {
        key(
            "Seconds of cost that a second of waiting makes up for; 0 lets an expensive request starve",
            Some(json!(default)),
            not_negative(LARGEST_FACTOR),
        )
    };
    let branch = |(word, policy): &(&str, PolicyConfig)| {
        let mut options = Map::new();
        let mut complete = None;
        let mut option = |name: &str, schema| drop(options.insert(name.to_owned(), schema));
        let help = match *policy {
            PolicyConfig::Central { per_worker, skip_slow } => {
                option(
                    "per_worker",
                    key(
                        "Requests at a worker for each of its places, running ones included; 2 hides the hand-over of short requests",
                        Some(json!(per_worker)),
                        bounded(1, MOST_TIMES),
                    ),
                );
                option(
                    "skip_slow",
                    key(
                        "True leaves a slow worker idle where a faster one promises an earlier answer",
                        Some(json!(skip_slow)),
                        boolean(),
                    ),
                );
                "The backlog stays in the balancer: first come, first served"
            }
            PolicyConfig::LeastLoaded => "At once to the worker with the fewest pending requests",
            PolicyConfig::TwoChoices => "At once to the less loaded of two drawn by chance",
            PolicyConfig::RoundRobin => "At once to the next in turn",
            PolicyConfig::Random => "At once to any worker",
            PolicyConfig::ShortFirst { ageing: default } => {
                option("ageing", ageing(default));
                "The backlog stays in the balancer: the cheapest request first, by its known cost"
            }
            PolicyConfig::Reserve { ageing: default, .. } => {
                option(
                    "workers",
                    key(
                        "How many workers take only short requests, fewer than all; it must be said",
                        None,
                        bounded(1, MOST_PLACES),
                    ),
                );
                option(
                    "short",
                    key(
                        "What a short request costs at most, such as \"5ms\"; more than 0; it must be said",
                        None,
                        duration(true),
                    ),
                );
                option("ageing", ageing(default));
                complete = Some(json!({ "required": ["workers", "short"] }));
                "Some workers take only short requests, the others short ones first"
            }
            PolicyConfig::LatencyAware { decay } => {
                option(
                    "decay",
                    key(
                        "How soon the past of a worker that is not asked is forgotten; more than 0",
                        time(decay),
                        duration(true),
                    ),
                );
                "At once to the worker that promises the earliest answer, by what requests have taken there"
            }
            PolicyConfig::Affinity { bound } => {
                option(
                    "bound",
                    key(
                        "Most pending requests of a worker, as a multiple of the mean; at least 1",
                        Some(json!(bound)),
                        at_least_one(LARGEST_FACTOR),
                    ),
                );
                "At once to the worker of the request's key; the least loaded where there is no key"
            }
        };
        Branch::new("policy", word, help, options, complete)
    };
    POLICIES.iter().map(branch).collect()
}

/// What a balancer must say where nothing is inherited.
pub(super) fn complete_balancer(works: &[Branch], policies: &[Branch]) -> Value {
    let hedge = json!({
        "if": { "type": "object" },
        "then": { "anyOf": [{ "required": ["after"] }, { "required": ["percentile"] }] },
    });
    json!({
        "required": ["workers"],
        "properties": {
            "policy": kinds::complete(policies),
            "hedge": hedge,
            "workers": {
                "required": ["work"],
                "properties": { "work": kinds::complete(works) },
            },
        },
    })
}
