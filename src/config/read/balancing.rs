//! Balancers and requesters.

use gopherworks_actors::balancer::policy::{After, Full, Hedge, Policy, Spread};
use gopherworks_actors::requester::load::{Arrivals, Order, Rate};

use super::word;
use crate::config::diagnostic::nearest;
use crate::config::options::{self, Role};
use crate::config::schema::{
    BalancerConfig, KindConfig, LoadConfig, RequesterConfig, SpanConfig, WorkersConfig,
};
use crate::config::tree::{Item, NodeKind, Reading, Table};
use crate::config::values::{duration, number, real, span, text};

/// Words for what becomes of a request that finds the queue full.
pub(crate) const FULL: [(&str, Full); 2] = [("wait", Full::Wait), ("reject", Full::Reject)];

/// Words for the spread of arrivals.
pub(crate) const ARRIVALS: [(&str, Arrivals); 2] =
    [("poisson", Arrivals::Poisson), ("fixed", Arrivals::Fixed)];

/// Words for the order of answers.
pub(crate) const ORDERS: [(&str, Order); 2] =
    [("completion", Order::Completion), ("input", Order::Input)];

pub(super) fn balancer(reading: &Reading<'_>, item: Item<'_>) -> Option<BalancerConfig> {
    let mut table = Table::open(reading, item)?;
    let policy = table.opt("policy", policy).unwrap_or_default();
    let replicate = table.opt("replicate", replicate);
    let hedge = table.opt("hedge", hedge);
    if let NodeKind::Table(entries) = &item.node.kind
        && entries.contains_key("replicate")
        && entries.contains_key("hedge")
    {
        let message = "`replicate` asks all at once, `hedge` asks a second one later: say one";
        reading.report(item.error(message));
    }
    let spread = replicate.or(hedge.map(Spread::Hedged)).unwrap_or_default();
    let full = (table.opt("full", |r, i| word(r, i, &FULL))).unwrap_or_default();
    let queue = (table.opt("queue", queue)).unwrap_or(Some(BalancerConfig::QUEUE));
    let idempotent = table.opt("idempotent", yes).unwrap_or_default();
    let max_attempts = (table.opt("max_attempts", number)).unwrap_or(BalancerConfig::ATTEMPTS);
    let workers = table.req("workers", workers);
    table.finish(&[]);
    Some(BalancerConfig {
        policy,
        spread,
        queue,
        full,
        idempotent,
        max_attempts,
        // The place is kept, so that requesters may still name it; the mistake is known.
        workers: workers.unwrap_or_else(|| WorkersConfig {
            count: 1,
            concurrency: 1,
            work: nothing(),
        }),
    })
}

fn nothing() -> KindConfig {
    KindConfig {
        kind: String::new(),
        options: toml::Table::new(),
    }
}

fn yes(reading: &Reading<'_>, item: Item<'_>) -> Option<bool> {
    match &item.node.kind {
        NodeKind::Boolean(yes) => Some(*yes),
        NodeKind::String(text) if item.node.ticket.text => match text.trim() {
            "true" => Some(true),
            "false" => Some(false),
            _ => reading.expected(&item, "true or false"),
        },
        _ => reading.expected(&item, "true or false"),
    }
}

/// A number, or `"unbounded"`.
fn queue(reading: &Reading<'_>, item: Item<'_>) -> Option<Option<u32>> {
    match &item.node.kind {
        NodeKind::String(text) if text.trim() == "unbounded" => Some(None),
        NodeKind::String(_) if !item.node.ticket.text => {
            reading.expected(&item, "an integer, or \"unbounded\"")
        }
        _ => number(reading, item).map(Some),
    }
}

/// A number, or `"all"`.
fn replicate(reading: &Reading<'_>, item: Item<'_>) -> Option<Spread> {
    match &item.node.kind {
        NodeKind::String(text) if text.trim() == "all" => Some(Spread::Replicated(None)),
        NodeKind::String(_) if !item.node.ticket.text => {
            reading.expected(&item, "an integer, or \"all\"")
        }
        _ => number(reading, item).map(|copies| Spread::Replicated(Some(copies))),
    }
}

fn hedge(reading: &Reading<'_>, item: Item<'_>) -> Option<Hedge> {
    let mut table = Table::open(reading, item)?;
    let after = table.opt("after", duration).map(After::Delay);
    let percentile = table.opt("percentile", real).map(After::Percentile);
    let budget = table.opt("budget", real).unwrap_or(BalancerConfig::BUDGET);
    table.finish(&[]);
    let NodeKind::Table(entries) = &item.node.kind else {
        return None;
    };
    if entries.contains_key("after") == entries.contains_key("percentile") {
        reading.report(item.error("expected one of `after` and `percentile`"));
        return None;
    }
    let after = after.or(percentile)?;
    Some(Hedge { after, budget })
}

fn policy(reading: &Reading<'_>, item: Item<'_>) -> Option<Policy> {
    let mut table = Table::open(reading, item)?;
    let kind = table.req("kind", text)?;
    let policy = match kind.as_str() {
        "central" => Some(Policy::Central {
            per_worker: table.opt("per_worker", number).unwrap_or(1),
            skip_slow: table.opt("skip_slow", yes).unwrap_or_default(),
        }),
        "least-loaded" => Some(Policy::LeastLoaded),
        "two-choices" => Some(Policy::TwoChoices),
        "round-robin" => Some(Policy::RoundRobin),
        "random" => Some(Policy::Random),
        "short-first" => Some(Policy::ShortFirst {
            ageing: table.opt("ageing", real).unwrap_or(Policy::AGEING),
        }),
        "reserve" => {
            let workers = table.req("workers", number);
            let short = table.req("short", duration);
            let ageing = table.opt("ageing", real).unwrap_or(Policy::AGEING);
            workers.zip(short).map(|(workers, short)| Policy::Reserve {
                workers,
                short,
                ageing,
            })
        }
        _ => {
            let all = Policy::NAMES.join(", ");
            let mistake = item
                .error(format!("`{kind}` is none of {all}"))
                .suggest(nearest(&kind, Policy::NAMES));
            reading.report(mistake);
            return None;
        }
    };
    table.finish(&[]);
    policy
}

fn workers(reading: &Reading<'_>, item: Item<'_>) -> Option<WorkersConfig> {
    let mut table = Table::open(reading, item)?;
    let workers = WorkersConfig {
        count: table.opt("count", number).unwrap_or(1),
        concurrency: table.opt("concurrency", number).unwrap_or(1),
        work: (table.req("work", |r, i| options::kind(r, i, Role::Service)))
            .unwrap_or_else(nothing),
    };
    table.finish(&[]);
    Some(workers)
}

pub(super) fn requester(reading: &Reading<'_>, item: Item<'_>) -> Option<RequesterConfig> {
    let mut table = Table::open(reading, item)?;
    let requester = RequesterConfig {
        to: table.req("to", text).unwrap_or_default(),
        load: table.req("load", load),
        order: (table.opt("order", |r, i| word(r, i, &ORDERS))).unwrap_or_default(),
    };
    table.finish(&[]);
    Some(requester)
}

/// Words for loads.
pub(crate) const LOADS: [&str; 3] = ["closed", "open", "batch"];

fn load(reading: &Reading<'_>, item: Item<'_>) -> Option<LoadConfig> {
    let mut table = Table::open(reading, item)?;
    let kind = table.req("kind", text)?;
    let load = match kind.as_str() {
        "closed" => {
            let count = table.req("count", number);
            let think = table.opt("think", span);
            let requests = table.opt("requests", number);
            count.map(|count| LoadConfig::Closed {
                count,
                think: think.unwrap_or(SpanConfig::Fixed(std::time::Duration::ZERO)),
                requests,
            })
        }
        "open" => {
            let rate = table.opt("rate", real).map(Rate::PerSecond);
            let share = table.opt("utilisation", real).map(Rate::Utilisation);
            let arrivals = table.opt("arrivals", |r, i| word(r, i, &ARRIVALS));
            let requests = table.opt("requests", number);
            if let NodeKind::Table(entries) = &item.node.kind
                && entries.contains_key("rate") == entries.contains_key("utilisation")
            {
                let message = "expected one of `rate` (requests a second) and `utilisation` (a share of what the workers can do)";
                reading.report(item.error(message));
            }
            rate.or(share).map(|rate| LoadConfig::Open {
                rate,
                arrivals: arrivals.unwrap_or_default(),
                requests,
            })
        }
        "batch" => {
            let requests = table.req("requests", number);
            requests.map(|requests| LoadConfig::Batch { requests })
        }
        _ => {
            let all = LOADS.join(", ");
            let mistake = item
                .error(format!("`{kind}` is none of {all}"))
                .suggest(nearest(&kind, LOADS));
            reading.report(mistake);
            return None;
        }
    };
    table.finish(&[]);
    load
}
