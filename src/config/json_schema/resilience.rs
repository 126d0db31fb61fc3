//! Schemas of what protects a balancer.

use serde_json::{Value, json};

use super::parts::{
    above_zero, bounded, duration, key, not_negative, or_short, share_above_zero, table, time,
};
use crate::config::limits::{LARGEST_FACTOR, MOST_TIMES};
use crate::config::schema::{EjectConfig, RetryBudgetConfig, ShedConfig};

/// The keys of a balancer that are about it.
pub(super) fn keys() -> [(&'static str, Value); 5] {
    [
        (
            "deadline",
            key(
                "Time that a request has from being asked to its answer, such as \"200ms\"; more than 0; then it is given up, wherever it is; without an end where it is missing",
                None,
                duration(true),
            ),
        ),
        ("shed", shed()),
        ("retry_budget", retry_budget()),
        (
            "slow_start",
            key(
                "A worker that was started again gets its full share only after so long, such as \"10s\"; more than 0; at once where it is missing",
                None,
                duration(true),
            ),
        ),
        ("eject", eject()),
    ]
}

fn shed() -> Value {
    let usual = ShedConfig::default();
    let shed = table([
        (
            "target",
            key(
                "Longest wait while requests have been waiting for all of the last `interval`; more than 0",
                time(usual.target),
                duration(true),
            ),
        ),
        (
            "interval",
            key(
                "Longest wait otherwise; at least the `target`",
                time(usual.interval),
                duration(true),
            ),
        ),
    ]);
    key(
        "Refuses at once, under overload, what would be answered late (CoDel): the `target` as a duration, or a table; nothing is refused where it is missing",
        None,
        or_short(shed, &["string"], duration(true)),
    )
}

fn retry_budget() -> Value {
    let usual = RetryBudgetConfig::default();
    let budget = table([
        (
            "share",
            key("Retries for each request", Some(json!(usual.share)), not_negative(LARGEST_FACTOR)),
        ),
        (
            "per_second",
            key(
                "Retries for each second",
                Some(json!(usual.per_second)),
                not_negative(LARGEST_FACTOR),
            ),
        ),
    ]);
    key(
        "How much may be tried again in all: the `share` as a number, or a table; as much as `max_attempts` allows where it is missing",
        None,
        or_short(budget, &["number", "string"], not_negative(LARGEST_FACTOR)),
    )
}

fn eject() -> Value {
    let usual = EjectConfig::default();
    let eject = table([
        (
            "failures",
            key(
                "Requests that failed one after the other: an error for an answer, or the worker's death",
                Some(json!(usual.failures)),
                bounded(1, MOST_TIMES),
            ),
        ),
        (
            "slower",
            key(
                "Times as slow as half of the workers; more than 1; nobody looks where it is missing",
                None,
                {
                    let mut more = above_zero(LARGEST_FACTOR);
                    more["exclusiveMinimum"] = json!(1);
                    more
                },
            ),
        ),
        (
            "pause",
            key(
                "For how long the first time; more than 0; longer each further time",
                time(usual.pause),
                duration(true),
            ),
        ),
        (
            "at_most",
            key(
                "Most workers that are out, as a share of those that are up",
                Some(json!(usual.at_most)),
                share_above_zero(),
            ),
        ),
    ]);
    key(
        "Leaves a worker out for a while that fails or is slow: the `failures` as a number, or a table; nobody is left out where it is missing",
        None,
        or_short(eject, &["integer", "string"], bounded(1, MOST_TIMES)),
    )
}
