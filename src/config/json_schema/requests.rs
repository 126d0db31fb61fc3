//! Schemas of requesters, and of when they ask.

use serde_json::{Map, Value, json};

use super::kinds::{self, Branch};
use super::nodes::{node, span};
use super::parts::{
    above_zero, boolean, bounded, duration, end, key, large, size, size_up_to, time, whole_or_env,
    words,
};
use crate::config::limits::{
    self, LARGEST_BODY, LARGEST_FACTOR, MOST_CLIENTS, MOST_CONNECTIONS, MOST_HEADERS, MOST_KEYS,
    MOST_RATE, MOST_REQUESTS,
};
use crate::config::read::balancing::{ARRIVALS, ORDERS};
use crate::config::read::resilience::PRIORITIES;
use crate::config::schema::HttpConfig;

/// What a method's name may consist of (RFC 9110, token).
const TOKEN: &str = r"!#$%&'*+.^_`|~0-9A-Za-z-";

/// A requester.
pub(super) fn requester(loads: &[Branch]) -> Value {
    node(
        "A requester, which asks a balancer",
        &["to", "load"],
        [
            (
                "to",
                key(
                    "The balancer that it asks; one copy of it is written like front[lane=1]",
                    None,
                    end(),
                ),
            ),
            (
                "load",
                key(
                    "When it asks: a table with `kind` and its options; it must be said",
                    None,
                    kinds::kind("load", loads),
                ),
            ),
            (
                "order",
                key(
                    "In which order it takes the answers to a batch: as they come, or as the requests were sent",
                    Some(json!(ORDERS[0].0)),
                    words(ORDERS.iter().map(|(word, _)| *word)),
                ),
            ),
            (
                "priority",
                key(
                    "Which requests go first where they wait",
                    Some(json!(PRIORITIES[1].0)),
                    words(PRIORITIES.iter().map(|(word, _)| *word)),
                ),
            ),
            (
                "keys",
                key(
                    "Its requests are about so many things in turn, for the policy `affinity`; about nothing where it is missing",
                    None,
                    bounded(1, MOST_KEYS),
                ),
            ),
        ],
    )
}

/// The loads. `distribution` is what a distribution must say where nothing is inherited.
pub(super) fn loads(distribution: &Value) -> Vec<Branch> {
    let requests = |what: &str, most| (what.to_owned(), large(1, most));
    let (until_done, all) = (
        requests("Requests after which it is done; no end where it is missing", MOST_REQUESTS),
        requests("How many requests; it must be said", limits::MOST_IN_BATCH),
    );
    let options = |options: Vec<(&str, Value)>| -> Map<String, Value> {
        let options = options.into_iter();
        options.map(|(name, schema)| (name.to_owned(), schema)).collect()
    };
    let closed = options(vec![
        ("count", key("How many clients; it must be said", None, bounded(1, MOST_CLIENTS))),
        (
            "think",
            key(
                "What a client thinks before each request: a duration or a distribution",
                Some(json!("0s")),
                span(),
            ),
        ),
        ("requests", key(&until_done.0, None, until_done.1.clone())),
    ]);
    let open = options(vec![
        (
            "rate",
            key(
                "Requests a second; more than 0; it excludes `utilisation`",
                None,
                above_zero(MOST_RATE),
            ),
        ),
        (
            "utilisation",
            key(
                "The share of what the workers can do that is asked for, such as 0.9; more than 0; it excludes `rate`",
                None,
                above_zero(LARGEST_FACTOR),
            ),
        ),
        (
            "arrivals",
            key(
                "The spread of arrivals: independent of each other, or in equal gaps",
                Some(json!(ARRIVALS[0].0)),
                words(ARRIVALS.iter().map(|(word, _)| *word)),
            ),
        ),
        ("requests", key(&until_done.0, None, until_done.1.clone())),
    ]);
    let batch = options(vec![("requests", key(&all.0, None, all.1))]);
    let either = json!({ "anyOf": [{ "required": ["rate"] }, { "required": ["utilisation"] }] });
    let mut open = Branch::new(
        "load",
        "open",
        "Requests come when they come, however many are under way",
        open,
        Some(either),
    );
    open.forbid(json!({ "required": ["rate", "utilisation"] }));
    vec![
        http(&until_done),
        Branch::new(
            "load",
            "batch",
            "All requests at once, at the start",
            batch,
            Some(json!({ "required": ["requests"] })),
        ),
        Branch::new(
            "load",
            "closed",
            "Clients in a loop: each thinks, asks and waits for its answer",
            closed,
            Some(json!({ "required": ["count"], "properties": { "think": distribution } })),
        ),
        open,
    ]
}

/// A list of texts that match `pattern`.
fn list(pattern: &str) -> Value {
    let one = json!({ "type": "string", "pattern": whole_or_env(pattern) });
    json!({ "type": "array", "items": one, "minItems": 1 })
}

fn http((until, requests): &(String, Value)) -> Branch {
    let usual = HttpConfig::new("");
    let path = || json!({ "type": "string", "pattern": whole_or_env("/.*") });
    let options = [
        (
            "listen",
            key(
                "Address and port, such as \"127.0.0.1:8080\"; port 0 is any that is free; it must be said",
                None,
                json!({ "type": "string", "minLength": 1 }),
            ),
        ),
        (
            "public",
            key(
                "True where others than this machine may come",
                Some(json!(usual.public)),
                boolean(),
            ),
        ),
        (
            "path",
            key(
                "Requests whose path begins with it are served, others are not found",
                Some(json!(usual.path)),
                path(),
            ),
        ),
        (
            "admin",
            key(
                "Where health, metrics and a snapshot are, below this path, such as \"/admin\"; nowhere where it is missing",
                None,
                path(),
            ),
        ),
        (
            "body",
            key(
                "Most bytes of a request's body; at most 1 GiB",
                Some(json!(usual.body)),
                size_up_to(LARGEST_BODY),
            ),
        ),
        (
            "headers",
            key("Most headers of a request", Some(json!(usual.headers)), bounded(1, MOST_HEADERS)),
        ),
        (
            "connections",
            key(
                "Most connections at once; further ones wait until one ends, and idle ones are closed for them",
                Some(json!(usual.connections)),
                bounded(1, MOST_CONNECTIONS),
            ),
        ),
        (
            "key_header",
            key(
                "Requests that have the same value of this header have one key, for the policy `affinity`; none has a key where it is missing",
                None,
                json!({ "type": "string", "minLength": 1 }),
            ),
        ),
        (
            "status",
            key(
                "Status of successful answers that bring none of their own",
                Some(json!(usual.status)),
                bounded(200, 299),
            ),
        ),
        (
            "methods",
            key(
                "Methods that are served, such as [\"GET\", \"POST\"] (HEAD with GET); others are answered 405. All but CONNECT and TRACE where it is missing",
                None,
                list(&format!("[{TOKEN}]+")),
            ),
        ),
        (
            "hosts",
            key(
                "Hosts that a request for `admin` may name besides the addresses that are listened on, such as [\"ops.example\"]; [\"*\"] is any",
                None,
                list(r"\*|[^\s/@*]+"),
            ),
        ),
        (
            "read_timeout",
            key(
                "How long a client may take to send a request's head, and may stall while it sends a body; more than 0, at most 1 day",
                time(usual.read_timeout),
                duration(true),
            ),
        ),
        (
            "write_timeout",
            key(
                "How long a client may stall while it takes an answer: its connection is cut then; more than 0, at most 1 day",
                time(usual.write_timeout),
                duration(true),
            ),
        ),
        (
            "min_rate",
            key(
                "Bytes a second of a body or an answer that a client has to keep up; one that is slower for longer than the timeout is cut",
                Some(json!(usual.min_rate)),
                size(),
            ),
        ),
        (
            "keep_alive",
            key(
                "How long a connection may be idle between two requests; more than 0, at most 1 day",
                time(usual.keep_alive),
                duration(true),
            ),
        ),
        (
            "grace",
            key(
                "How long it serves on after the first signal while /health/ready says 503, before the port is closed; at most 1 day",
                time(usual.grace),
                duration(false),
            ),
        ),
        (
            "shutdown_timeout",
            key(
                "How long requests and answers may take once the port is closed; then their connections are cut; more than 0, at most 1 day",
                time(usual.shutdown_timeout),
                duration(true),
            ),
        ),
        ("requests", key(until, None, requests.clone())),
    ];
    let options = options.map(|(name, schema)| (name.to_owned(), schema));
    Branch::new(
        "load",
        "http",
        "Requests come over HTTP; the answer's body is the response's",
        Map::from_iter(options),
        Some(json!({ "required": ["listen"] })),
    )
}

/// What a requester must say where nothing is inherited.
pub(super) fn complete_requester(loads: &[Branch]) -> Value {
    json!({
        "required": ["to", "load"],
        "properties": { "load": kinds::complete(loads) },
    })
}
