//! Reads balancers and requesters.

use std::time::Duration;

use gopherworks_balancer::policy::Policy;

use super::super::options::{self, Role};
use super::super::schema::{
    ArrivalsConfig, BalancerConfig, FullConfig, HedgeConfig, HttpConfig, LoadConfig, OrderConfig,
    PolicyConfig, ReplicateConfig, RequesterConfig, SpanConfig, WorkersConfig,
};
use super::super::suggestions::nearest;
use super::super::tree::{Item, NodeKind, Reading, Table};
use super::super::values::{self, boolean, duration, number, real, size, span, text, verbatim};
use super::resilience::{PRIORITIES, resilience};
use super::{names, unread, word};

/// Word for a queue without a bound.
pub(crate) const UNBOUNDED: &str = "unbounded";

/// Word for as many copies of a request as there are workers.
pub(crate) const ALL: &str = "all";

/// Words for who gets a request, each with what its options are by default; those of `reserve` have none.
pub(crate) const POLICIES: [(&str, PolicyConfig); 9] = [
    ("central", PolicyConfig::CENTRAL),
    ("least-loaded", PolicyConfig::LeastLoaded),
    ("two-choices", PolicyConfig::TwoChoices),
    ("round-robin", PolicyConfig::RoundRobin),
    ("random", PolicyConfig::Random),
    ("short-first", PolicyConfig::ShortFirst { ageing: Policy::AGEING }),
    (
        "reserve",
        PolicyConfig::Reserve { workers: 0, short: Duration::ZERO, ageing: Policy::AGEING },
    ),
    ("latency-aware", PolicyConfig::LatencyAware { decay: Policy::DECAY }),
    ("affinity", PolicyConfig::Affinity { bound: Policy::BOUND }),
];

/// Words for what becomes of a request that finds the queue full.
pub(crate) const FULL: [(&str, FullConfig); 2] =
    [("wait", FullConfig::Wait), ("reject", FullConfig::Reject)];

/// Words for the order of answers.
pub(crate) const ORDERS: [(&str, OrderConfig); 2] =
    [("completion", OrderConfig::Completion), ("input", OrderConfig::Input)];

/// Words for the spread of arrivals.
pub(crate) const ARRIVALS: [(&str, ArrivalsConfig); 2] =
    [("poisson", ArrivalsConfig::Poisson), ("fixed", ArrivalsConfig::Fixed)];

/// Words for when a requester asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    Closed,
    Open,
    Batch,
    Http,
}

/// Words for when a requester asks.
pub(crate) const LOADS: [(&str, Asks); 4] =
    [("closed", Asks::Closed), ("open", Asks::Open), ("batch", Asks::Batch), ("http", Asks::Http)];

pub(super) fn balancer(reading: &Reading<'_>, item: Item<'_>) -> Option<BalancerConfig> {
    let mut table = Table::open(reading, item)?;
    let default = BalancerConfig::new(unread());
    let balancer = BalancerConfig {
        policy: table.opt("policy", policy).unwrap_or_default(),
        replicate: table.opt("replicate", replicate),
        hedge: table.opt("hedge", hedge),
        queue: table.opt("queue", queue).unwrap_or(default.queue),
        full: (table.opt("full", |r, i| word(r, i, &FULL))).unwrap_or_default(),
        idempotent: table.opt("idempotent", boolean),
        max_attempts: table.opt("max_attempts", number),
        resilience: resilience(&mut table),
        // The place is kept, so that requesters may still name it; the mistake is known.
        workers: table.req("workers", workers).unwrap_or(default.workers),
    };
    table.finish(&[]);
    Some(balancer)
}

fn policy(reading: &Reading<'_>, item: Item<'_>) -> Option<PolicyConfig> {
    let mut table = Table::open(reading, item)?;
    let policy = match table.req("kind", |r, i| word(r, i, &POLICIES))? {
        PolicyConfig::Central { per_worker, skip_slow } => Some(PolicyConfig::Central {
            per_worker: table.opt("per_worker", number).unwrap_or(per_worker),
            skip_slow: table.opt("skip_slow", boolean).unwrap_or(skip_slow),
        }),
        PolicyConfig::ShortFirst { ageing } => {
            Some(PolicyConfig::ShortFirst { ageing: table.opt("ageing", real).unwrap_or(ageing) })
        }
        PolicyConfig::Reserve { ageing, .. } => {
            let workers = table.req("workers", number);
            let short = table.req("short", duration);
            let ageing = table.opt("ageing", real).unwrap_or(ageing);
            workers.zip(short).map(|(workers, short)| PolicyConfig::Reserve {
                workers,
                short,
                ageing,
            })
        }
        PolicyConfig::LatencyAware { decay } => Some(PolicyConfig::LatencyAware {
            decay: table.opt("decay", duration).unwrap_or(decay),
        }),
        PolicyConfig::Affinity { bound } => {
            Some(PolicyConfig::Affinity { bound: table.opt("bound", real).unwrap_or(bound) })
        }
        plain => Some(plain),
    };
    table.finish(&[]);
    policy
}

fn replicate(reading: &Reading<'_>, item: Item<'_>) -> Option<ReplicateConfig> {
    match number_or(reading, item, ALL)? {
        Some(workers) => Some(ReplicateConfig::Some(workers)),
        None => Some(ReplicateConfig::All),
    }
}

fn queue(reading: &Reading<'_>, item: Item<'_>) -> Option<Option<u32>> {
    number_or(reading, item, UNBOUNDED)
}

/// A number, or `None` for the word that stands for no number.
fn number_or(reading: &Reading<'_>, item: Item<'_>, word: &str) -> Option<Option<u32>> {
    match &item.node.kind {
        NodeKind::String(text) if values::outside(item, text).trim() == word => Some(None),
        NodeKind::String(text) if !item.node.ticket.text || values::integer(text).is_none() => {
            let found = item.node.what();
            let message = format!("expected a whole number or \"{word}\", found {found}");
            reading.report(item.error(message).suggest(nearest(text, [word])));
            None
        }
        NodeKind::String(_) | NodeKind::Integer(_) => number(reading, item).map(Some),
        _ => reading.expected(&item, &format!("a whole number or \"{word}\"")),
    }
}

fn hedge(reading: &Reading<'_>, item: Item<'_>) -> Option<HedgeConfig> {
    let mut table = Table::open(reading, item)?;
    let hedge = HedgeConfig {
        after: table.opt("after", duration),
        percentile: table.opt("percentile", real),
        budget: table.opt("budget", real).unwrap_or(HedgeConfig::BUDGET),
    };
    table.finish(&[]);
    Some(hedge)
}

fn workers(reading: &Reading<'_>, item: Item<'_>) -> Option<WorkersConfig> {
    let count = match &item.node.kind {
        NodeKind::Integer(_) => true,
        NodeKind::String(text) => item.node.ticket.text && values::integer(text).is_some(),
        _ => false,
    };
    if count {
        let mistake = item.error(format!("expected a table, found {}", item.node.what()));
        reading.report(mistake.help("say what they do: `workers = { count = 4, work = \"...\" }`"));
        return None;
    }
    let mut table = Table::open(reading, item)?;
    let workers = WorkersConfig {
        count: table.opt("count", number).unwrap_or(1),
        concurrency: table.opt("concurrency", number).unwrap_or(1),
        work: (table.req("work", |r, i| options::kind(r, i, Role::Service))).unwrap_or_else(unread),
    };
    table.finish(&[]);
    Some(workers)
}

pub(super) fn requester(reading: &Reading<'_>, item: Item<'_>) -> Option<RequesterConfig> {
    let mut table = Table::open(reading, item)?;
    let requester = RequesterConfig {
        to: table.req("to", text).unwrap_or_default(),
        load: (table.req("load", load)).unwrap_or(LoadConfig::Batch { requests: 1 }),
        order: (table.opt("order", |r, i| word(r, i, &ORDERS))).unwrap_or_default(),
        priority: (table.opt("priority", |r, i| word(r, i, &PRIORITIES))).unwrap_or_default(),
        keys: table.opt("keys", number),
    };
    table.finish(&[]);
    Some(requester)
}

fn http(table: &mut Table<'_>) -> Option<LoadConfig> {
    let listen = table.req("listen", verbatim);
    let usual = HttpConfig::new("");
    let http = HttpConfig {
        public: table.opt("public", boolean).unwrap_or(usual.public),
        path: table.opt("path", verbatim).unwrap_or(usual.path),
        admin: table.opt("admin", verbatim),
        body: table.opt("body", size).unwrap_or(usual.body),
        headers: table.opt("headers", number).unwrap_or(usual.headers),
        connections: (table.opt("connections", number)).unwrap_or(usual.connections),
        key_header: table.opt("key_header", verbatim),
        status: table.opt("status", number).unwrap_or(usual.status),
        methods: table.opt("methods", names),
        hosts: table.opt("hosts", names).unwrap_or_default(),
        read_timeout: (table.opt("read_timeout", duration)).unwrap_or(usual.read_timeout),
        write_timeout: (table.opt("write_timeout", duration)).unwrap_or(usual.write_timeout),
        min_rate: table.opt("min_rate", size).unwrap_or(usual.min_rate),
        keep_alive: (table.opt("keep_alive", duration)).unwrap_or(usual.keep_alive),
        grace: table.opt("grace", duration).unwrap_or(usual.grace),
        shutdown_timeout: (table.opt("shutdown_timeout", duration))
            .unwrap_or(usual.shutdown_timeout),
        requests: table.opt("requests", number),
        listen: String::new(),
    };
    listen.map(|listen| LoadConfig::Http(HttpConfig { listen, ..http }))
}

fn load(reading: &Reading<'_>, item: Item<'_>) -> Option<LoadConfig> {
    let mut table = Table::open(reading, item)?;
    let load = match table.req("kind", |r, i| word(r, i, &LOADS))? {
        Asks::Closed => {
            let count = table.req("count", number);
            let think = table.opt("think", span);
            let requests = table.opt("requests", number);
            count.map(|count| LoadConfig::Closed {
                count,
                think: think.unwrap_or(SpanConfig::Fixed(Duration::ZERO)),
                requests,
            })
        }
        Asks::Open => Some(LoadConfig::Open {
            rate: table.opt("rate", real),
            utilisation: table.opt("utilisation", real),
            arrivals: (table.opt("arrivals", |r, i| word(r, i, &ARRIVALS))).unwrap_or_default(),
            requests: table.opt("requests", number),
        }),
        Asks::Http => http(&mut table),
        Asks::Batch => {
            (table.req("requests", number)).map(|requests| LoadConfig::Batch { requests })
        }
    };
    table.finish(&[]);
    load
}
