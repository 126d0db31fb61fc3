//! Checks of balancers and requesters, and the resolution of references between them.

use std::collections::{BTreeMap, BTreeSet};

use super::Validator;
use super::limits;
use crate::config::elements::{
    BalancerConfig, HedgeConfig, KindConfig, LoadConfig, LoadPolicy, Order, ReplicateConfig,
    RequesterConfig, TopologyConfig, WhenFull, WorkersConfig,
};
use crate::config::label::base;
use crate::config::limits::MOST_PLACES;
use crate::config::{Code, nearest};

mod http;
mod plans;
mod resilience;
mod rings;

pub(super) use plans::{numbered, plans, sorted};

/// Checks each balancer and requester by itself.
pub(super) fn check(validator: &mut Validator<'_>, config: &TopologyConfig) {
    for (name, balancer) in &config.balancers {
        workers(validator, name, &balancer.workers);
        policy(validator, name, balancer);
        spread(validator, name, balancer);
        let path = |key| ["balancers", name, key];
        if balancer.queue.is_none() && balancer.full == WhenFull::Reject {
            let message = "nothing is refused: the queue is unbounded";
            let warning = validator.warning(Code::NoEffect, &path("full"), message);
            validator.report(warning);
        }
        retries(validator, name, balancer);
        resilience::check(validator, name, balancer);
    }
    rings::check(validator, config);
    for (name, requester) in &config.requesters {
        load(validator, name, requester);
    }
}

fn workers(validator: &mut Validator<'_>, name: &str, workers: &WorkersConfig) {
    let path = |key| ["balancers", name, "workers", key];
    let (count, each) = (workers.count, workers.concurrency);
    if u64::from(count) * u64::from(each) > MOST_PLACES.into() {
        let key = if count > MOST_PLACES { "count" } else { "concurrency" };
        let message = format!(
            "the workers of `{name}` would serve {} requests at a time; at most {MOST_PLACES}",
            u64::from(count) * u64::from(each)
        );
        validator.ensure(false, Code::OutOfBounds, &path(key), &message);
    }
}

/// Checks that workers are left for requests that are not short.
fn policy(validator: &mut Validator<'_>, name: &str, balancer: &BalancerConfig) {
    let count = balancer.workers.count;
    if let LoadPolicy::Reserve { workers, .. } = balancer.policy
        && workers >= count
        && workers > 0
        && count > 0
    {
        let message = format!(
            "all workers of `{name}` ({count}) would be reserved for short requests: no \
             worker is left for the others"
        );
        let other = validator.locate(&["balancers", name, "workers", "count"]);
        let mistake = validator.error(
            Code::TooFewWorkers,
            &["balancers", name, "policy", "workers"],
            message,
        );
        validator.report(mistake.related(other, "all workers"));
    }
}

/// Checks `replicate` and `hedge`.
fn spread(validator: &mut Validator<'_>, name: &str, balancer: &BalancerConfig) {
    let path = |key| ["balancers", name, key];
    if let Some(hedge) = balancer.hedge {
        self::hedge(validator, name, hedge);
        if balancer.replicate.is_some() {
            let mistake = validator
                .error(
                    Code::ExclusiveKeys,
                    &path("hedge"),
                    "`replicate` and `hedge` exclude each other",
                )
                .at_key()
                .related(validator.locate(&path("replicate")), "the other one");
            validator.report(mistake);
        }
    }
    let count = balancer.workers.count;
    let both = [("replicate", balancer.replicate.is_some()), ("hedge", balancer.hedge.is_some())];
    for (key, _) in both.iter().filter(|(_, said)| *said) {
        if count == 1 {
            let message = format!(
                "balancer `{name}` has one worker; hedging and replication need at least two"
            );
            let other = validator.locate(&["balancers", name, "workers"]);
            let mistake = validator.error(Code::TooFewWorkers, &path(key), message);
            validator.report(mistake.related(other, "its workers"));
        }
        if balancer.idempotent == Some(false) {
            let message =
                format!("`{key}` executes a request more than once, so it has to be idempotent");
            let mistake = validator
                .error(Code::NotIdempotent, &path("idempotent"), message)
                .related(validator.locate(&path(key)), "this sends a request to several workers");
            validator.report(mistake);
        }
    }
    if let Some(ReplicateConfig::Some(copies)) = balancer.replicate
        && copies > count
        && copies >= 2
        && count > 1
    {
        let message = format!("`{name}` has {count} workers, which is less than {copies}");
        let other = validator.locate(&["balancers", name, "workers", "count"]);
        let mistake = validator.error(Code::TooFewWorkers, &path("replicate"), message);
        let mistake = mistake.related(other, "its workers");
        validator.report(mistake.help("`replicate = \"all\"` sends each request to every worker"));
    }
}

fn hedge(validator: &mut Validator<'_>, name: &str, hedge: HedgeConfig) {
    let whole = ["balancers", name, "hedge"];
    let path = |key| ["balancers", name, "hedge", key];
    match (hedge.after, hedge.percentile) {
        (Some(_), Some(_)) => {
            let message = "`after` and `percentile` exclude each other";
            let mistake =
                validator.error(Code::ExclusiveKeys, &path("percentile"), message).at_key();
            validator.report(mistake.related(validator.locate(&path("after")), "the other one"));
        }
        (None, None) => {
            let mistake =
                validator.error(Code::MissingKey, &whole, "`after` or `percentile` is missing");
            validator.report(mistake.help("write `hedge = \"30ms\"`, or `{ percentile = 0.95 }`"));
        }
        (Some(after), None) if after.is_zero() => {
            let mistake = validator.error(
                Code::OutOfBounds,
                &path("after"),
                "a hedge must wait longer than 0",
            );
            validator
                .report(mistake.help("`replicate = 2` sends each request to two workers at once"));
        }
        (None, Some(share)) if !(share > 0.0 && share < 1.0) => {
            let message = "a percentile is a share between 0 and 1";
            let mistake = validator.error(Code::OutOfBounds, &path("percentile"), message);
            let meant = share / 100.0;
            validator.report(if share > 1.0 && meant < 1.0 {
                mistake.help(format!("write {meant} for {share} %"))
            } else {
                mistake
            });
        }
        _ => {}
    }
}

fn retries(validator: &mut Validator<'_>, name: &str, balancer: &BalancerConfig) {
    let path = ["balancers", name, "max_attempts"];
    let said = balancer.max_attempts;
    if said.is_some_and(|attempts| attempts > 1) && !idempotent(balancer) {
        let message = format!("`{name}` never retries: it is not idempotent");
        let warning = validator.warning(Code::NoEffect, &path, message);
        validator
            .report(warning.help("set `idempotent = true` if a request may be executed twice"));
    }
}

/// True if a request may be executed more than once. Default: true if `replicate` or `hedge` is
/// set, else false.
fn idempotent(balancer: &BalancerConfig) -> bool {
    let several = balancer.replicate.is_some() || balancer.hedge.is_some();
    balancer.idempotent.unwrap_or(several)
}

fn load(validator: &mut Validator<'_>, name: &str, requester: &RequesterConfig) {
    let whole = ["requesters", name, "load"];
    let path = |key| ["requesters", name, "load", key];
    match requester.load {
        LoadConfig::Closed { think, .. } => limits::span(validator, &path("think"), think),
        LoadConfig::Open { rate, utilisation, .. } => {
            if rate.is_some() && utilisation.is_some() {
                let message = "`rate` and `utilisation` exclude each other";
                let mistake =
                    validator.error(Code::ExclusiveKeys, &path("utilisation"), message).at_key();
                validator.report(mistake.related(validator.locate(&path("rate")), "the other one"));
            }
            if rate.is_none() && utilisation.is_none() {
                let mistake =
                    validator.error(Code::MissingKey, &whole, "`rate` or `utilisation` is missing");
                validator.report(mistake.help("write `rate = 100` for 100 requests a second"));
            }
        }
        LoadConfig::Batch { .. } => {}
        LoadConfig::Http(ref http) => http::check(validator, name, http),
    }
    let batch = matches!(requester.load, LoadConfig::Batch { .. });
    if requester.order == Order::Input && !batch {
        let message = "`order` applies only to the answers of a batch";
        let warning = validator.warning(Code::NoEffect, &["requesters", name, "order"], message);
        validator.report(warning);
    }
}

/// Checks references to balancers in an unfolded config; false if one is unresolved. With `holes`,
/// some node could not be read, so unused balancers are not reported.
pub(super) fn graph(validator: &mut Validator<'_>, config: &TopologyConfig, holes: bool) -> bool {
    let mut right = true;
    let bases: BTreeSet<&str> = config.balancers.keys().map(|name| base(name)).collect();
    for (name, requester) in &config.requesters {
        right &= leads(validator, config, (name, &requester.to), &bases);
    }
    right &= joins(validator, config);
    if right && !holes {
        let asked = asked(config);
        let idle = config.balancers.keys();
        for name in idle.filter(|name| !asked.contains(name.as_str())) {
            let message = format!("the balancer `{name}` is not used");
            let warning =
                validator.warning(Code::UnusedNode, &["balancers", name], message).at_key();
            validator.report(warning);
        }
    }
    overload(validator, config);
    right
}

/// Name of the balancer to which a work or a burn delegates.
pub(crate) fn named(kind: &KindConfig) -> Option<&str> {
    (kind.kind == "balancer").then(|| kind.options.get("to")?.as_str())?
}

/// Works and burns that delegate to a balancer, each with its config path.
fn joined(config: &TopologyConfig) -> Vec<(Vec<String>, &str)> {
    let path = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
    let works = config.crews.iter().flat_map(|(name, crew)| {
        let works = crew.work.iter().enumerate();
        works.filter_map(move |(at, work)| {
            Some((path(&["crews", name, "work", &at.to_string()]), named(work)?))
        })
    });
    let burns = config.incinerators.iter().filter_map(|(name, fire)| {
        Some((path(&["incinerators", name, "burn"]), named(&fire.burn)?))
    });
    works.chain(burns).collect()
}

/// Checks works and burns that delegate to a balancer; true if each names an existing one.
fn joins(validator: &mut Validator<'_>, config: &TopologyConfig) -> bool {
    let mut right = true;
    let bases: BTreeSet<&str> = config.balancers.keys().map(|name| base(name)).collect();
    for (path, to) in joined(config) {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        if let ["crews", name, ..] = path[..]
            && config.crews[name].work.len() > 1
        {
            let message = "a balancer must be the only work of a crew: use several crews";
            let mistake = validator.error(Code::WorkBesideBalancer, &path, message);
            validator.report(mistake);
        }
        if config.balancers.contains_key(to) {
            continue;
        }
        right = false;
        if !bases.contains(base(to)) {
            let known = config.balancers.keys().map(|name| base(name));
            let mistake = validator
                .error(
                    Code::UnknownNode,
                    &[&path[..], &["to"]].concat(),
                    format!("no balancer is called `{to}`"),
                )
                .suggest(nearest(base(to), known));
            validator.report(mistake);
        }
    }
    right
}

/// Balancers that receive requests from requesters, works or burns.
fn asked(config: &TopologyConfig) -> BTreeSet<&str> {
    let requesters = config.requesters.values();
    let requested = requesters.map(|requester| requester.to.as_str());
    let named = joined(config).into_iter().map(|(_, to)| to);
    requested.chain(named).collect()
}

fn leads(
    validator: &mut Validator<'_>,
    config: &TopologyConfig,
    (name, to): (&str, &str),
    bases: &BTreeSet<&str>,
) -> bool {
    if config.balancers.contains_key(to) {
        return true;
    }
    if bases.contains(base(to)) {
        // Refers to a nonexistent copy, which `unfold` has reported.
        return false;
    }
    let other = [
        (config.piles.contains_key(to), "a pile"),
        (config.dumps.contains_key(to), "a dump"),
        (config.incinerators.contains_key(to), "an incinerator"),
        (config.crews.contains_key(to), "a crew"),
        (config.relays.contains_key(to), "a relay"),
        (config.requesters.contains_key(to), "a requester"),
    ];
    let path = ["requesters", name, "to"];
    let mistake = match other.iter().find(|(is, _)| *is) {
        Some((_, what)) => validator.error(
            Code::WrongEnd,
            &path,
            format!("`{to}` is {what}: a requester asks a balancer"),
        ),
        None => {
            let known = config.balancers.keys().map(|name| base(name));
            let near = nearest(base(to), known);
            let mistake =
                validator.error(Code::UnknownNode, &path, format!("no balancer is called `{to}`"));
            mistake.suggest(near)
        }
    };
    validator.report(mistake);
    false
}

/// Warns if the requested utilisation of a balancer's workers adds up to 1 or more.
fn overload(validator: &mut Validator<'_>, config: &TopologyConfig) {
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    let asking = |requester: &RequesterConfig| match requester.load {
        LoadConfig::Open { utilisation, .. } => utilisation,
        _ => None,
    };
    for requester in config.requesters.values() {
        if let Some(share) = asking(requester) {
            *sums.entry(&requester.to).or_default() += share;
        }
    }
    for (name, requester) in &config.requesters {
        let Some(all) = asking(requester).and(sums.get(requester.to.as_str())) else {
            continue;
        };
        // Sums of decimal fractions may fall short of 1 by a rounding error.
        if *all < 1.0 - 1e-9 {
            continue;
        }
        let message = format!(
            "the workers of `{}` are overloaded: the load is {} of their capacity",
            requester.to,
            (all * 1000.0).round() / 1000.0
        );
        let warning = validator.warning(
            Code::Overload,
            &["requesters", name, "load", "utilisation"],
            message,
        );
        validator.report(warning);
    }
}
