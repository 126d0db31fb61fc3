//! Judges balancers and requesters, and plans them.

use std::collections::BTreeMap;

use gopherworks_actors::balancer::policy::{After, Policy, Spread};
use gopherworks_actors::requester::load::{Load, Rate};

use super::kinds::Kinds;
use super::{BalancerPlan, Judge, RequesterPlan};
use crate::config::label::{base, compare};
use crate::config::nearest;
use crate::config::schema::{BalancerConfig, KindConfig, LoadConfig, SpanConfig, TopologyConfig};

/// Most workers of a balancer, and clients of a requester.
const MOST: u32 = 100_000;

/// Reports what is wrong with single balancers and requesters.
pub(super) fn check(judge: &mut Judge<'_>, config: &TopologyConfig) {
    for (name, balancer) in &config.balancers {
        workers(judge, name, balancer);
        policy(judge, name, balancer);
        spread(judge, name, balancer);
        let path = ["balancers", name, "max_attempts"];
        judge.ensure(
            balancer.max_attempts > 0,
            &path,
            "a request needs at least one attempt",
        );
    }
    for (name, requester) in &config.requesters {
        let path = |key| ["requesters", name.as_str(), "load", key];
        match requester.load {
            Some(LoadConfig::Closed { count, think, .. }) => {
                judge.ensure(count > 0, &path("count"), "at least one client asks");
                judge.ensure(
                    count <= MOST,
                    &path("count"),
                    &format!("at most {MOST} clients"),
                );
                span(judge, &path("think"), Some(think));
            }
            Some(LoadConfig::Open { rate, .. }) => {
                let (key, rate) = match rate {
                    Rate::PerSecond(rate) => ("rate", rate),
                    Rate::Utilisation(share) => ("utilisation", share),
                };
                let holds = rate > 0.0 && rate <= 1e9;
                judge.ensure(
                    holds,
                    &path(key),
                    "this is more than 0, and at most a thousand million",
                );
                if key == "utilisation" && rate >= 1.0 && holds {
                    let message = "more is asked for than the workers can do: the queue only grows";
                    let warning = judge.warning(&path(key), message);
                    judge.report(warning);
                }
            }
            Some(LoadConfig::Batch { .. }) | None => {}
        }
    }
}

fn workers(judge: &mut Judge<'_>, name: &str, balancer: &BalancerConfig) {
    let path = |key| ["balancers", name, "workers", key];
    let of = &balancer.workers;
    for (key, number) in [("count", of.count), ("concurrency", of.concurrency)] {
        judge.ensure(number > 0, &path(key), "at least one is needed");
        judge.ensure(number <= MOST, &path(key), &format!("at most {MOST}"));
    }
}

fn policy(judge: &mut Judge<'_>, name: &str, balancer: &BalancerConfig) {
    let path = |key| ["balancers", name, "policy", key];
    match balancer.policy {
        Policy::Central { per_worker, .. } => {
            judge.ensure(
                per_worker > 0,
                &path("per_worker"),
                "a worker needs at least one request",
            );
        }
        Policy::ShortFirst { ageing } => aged(judge, &path("ageing"), ageing),
        Policy::Reserve {
            workers, ageing, ..
        } => {
            aged(judge, &path("ageing"), ageing);
            if workers >= balancer.workers.count && balancer.workers.count > 0 {
                let message = format!(
                    "{workers} of {} workers are reserved for short requests: nobody is left for the others",
                    balancer.workers.count
                );
                let other = judge.locate(&["balancers", name, "workers", "count"]);
                let mistake = judge.error(&path("workers"), message);
                judge.report(mistake.related(other, "the workers"));
            }
        }
        _ => {}
    }
}

fn aged(judge: &mut Judge<'_>, path: &[&str], ageing: f64) {
    let message = "ageing is not negative: seconds of cost that a second of waiting makes up for";
    judge.ensure(ageing >= 0.0 && ageing.is_finite(), path, message);
}

fn spread(judge: &mut Judge<'_>, name: &str, balancer: &BalancerConfig) {
    let count = balancer.workers.count;
    match balancer.spread {
        Spread::One => {}
        Spread::Replicated(copies) => {
            let path = ["balancers", name, "replicate"];
            judge.ensure(copies != Some(0), &path, "at least one worker is asked");
            if let Some(copies) = copies.filter(|copies| *copies > count && count > 0) {
                let message = format!("{copies} workers are to be asked, and there are {count}");
                judge.ensure(false, &path, &message);
            }
            alone(judge, &path, count);
        }
        Spread::Hedged(hedge) => {
            let path = |key| ["balancers", name, "hedge", key];
            let budget = (0.0..=1.0).contains(&hedge.budget);
            judge.ensure(budget, &path("budget"), "a budget is a share from 0 to 1");
            if let After::Percentile(share) = hedge.after {
                let between = share > 0.0 && share < 1.0;
                judge.ensure(
                    between,
                    &path("percentile"),
                    "a percentile is a share between 0 and 1, such as 0.95",
                );
            }
            alone(judge, &["balancers", name, "hedge"], count);
        }
    }
}

fn alone(judge: &mut Judge<'_>, path: &[&str], count: u32) {
    if count == 1 {
        let warning = judge.warning(path, "there is no second worker to ask");
        judge.report(warning);
    }
}

/// Reports what is wrong with a time.
pub(super) fn span(judge: &mut Judge<'_>, path: &[&str], span: Option<SpanConfig>) {
    let at = |key| [path, &[key][..]].concat();
    match span {
        Some(SpanConfig::Uniform(least, most)) => {
            judge.ensure(least <= most, &at("uniform"), "the least time stands first");
        }
        Some(SpanConfig::LogNormal { cv2, .. }) => {
            let path = [&at("lognormal")[..], &["cv2"]].concat();
            judge.ensure(cv2 >= 0.0 && cv2.is_finite(), &path, "this is not negative");
        }
        Some(SpanConfig::Bimodal { share, .. }) => {
            let path = [&at("bimodal")[..], &["share"]].concat();
            judge.ensure(
                (0.0..=1.0).contains(&share),
                &path,
                "this is a share from 0 to 1",
            );
        }
        _ => {}
    }
}

/// Reports requesters that ask nobody, and balancers that nobody asks.
pub(super) fn linked(judge: &mut Judge<'_>, config: &TopologyConfig, holes: bool) {
    for (name, requester) in &config.requesters {
        let to = requester.to.as_str();
        if to.is_empty() || config.balancers.contains_key(to) {
            continue;
        }
        let known = config.balancers.keys().map(|name| base(name));
        let mistake = judge
            .error(
                &["requesters", name, "to"],
                format!("no balancer is called `{to}`"),
            )
            .suggest(nearest(base(to), known));
        judge.report(mistake);
    }
    let mut all = Vec::new();
    for (name, crew) in &config.crews {
        for (at, work) in crew.work.iter().enumerate() {
            let at = at.to_string();
            let path = ["crews", name, "work", &at].map(str::to_owned);
            if asked(work).is_some() && crew.work.len() > 1 {
                let path = path.each_ref().map(String::as_str);
                let message = "a balancer does all of a crew's work: put it between two crews";
                let mistake = judge.error(&path, message);
                judge.report(mistake);
            }
            all.extend(asked(work).map(|to| (path.to_vec(), to)));
        }
    }
    for (name, fire) in &config.incinerators {
        let path = ["incinerators", name, "burn"].map(str::to_owned);
        all.extend(asked(&fire.burn).map(|to| (path.to_vec(), to)));
    }
    for (path, to) in &all {
        if !config.balancers.contains_key(*to) {
            let path: Vec<&str> = path.iter().map(String::as_str).chain(["to"]).collect();
            let known = config.balancers.keys().map(|name| base(name));
            let mistake = judge
                .error(&path, format!("no balancer is called `{to}`"))
                .suggest(nearest(base(to), known));
            judge.report(mistake);
        }
    }
    if holes {
        return;
    }
    for name in config.balancers.keys() {
        let requested = config
            .requesters
            .values()
            .any(|requester| requester.to == *name);
        let named = all.iter().any(|(_, to)| to == name);
        if !(requested || named) {
            let message = format!("nobody asks the balancer `{name}`");
            let warning = judge.warning(&["balancers", name], message).at_key();
            judge.report(warning);
        }
    }
}

/// The balancer that a work or a burn names.
pub(super) fn asked(kind: &KindConfig) -> Option<&str> {
    (kind.kind == "balancer").then(|| kind.options.get("to")?.as_str())?
}

/// Positions of the balancers in a plan.
pub(super) fn numbered(config: &TopologyConfig) -> BTreeMap<&str, usize> {
    let mut names: Vec<&str> = config.balancers.keys().map(String::as_str).collect();
    names.sort_by(|a, b| compare(a, b));
    (names.into_iter().enumerate())
        .map(|(at, name)| (name, at))
        .collect()
}

/// Balancers and requesters in the order in which people count; `None` only where a judge found an error.
pub(super) fn plans(
    config: &TopologyConfig,
    kinds: &Kinds,
) -> Option<(Vec<BalancerPlan>, Vec<RequesterPlan>)> {
    let at = numbered(config);
    let mut names: Vec<&String> = config.balancers.keys().collect();
    names.sort_by(|a, b| compare(a, b));
    let balancers: Option<Vec<BalancerPlan>> = (names.iter())
        .map(|name| {
            let balancer = &config.balancers[*name];
            let service = kinds.services.get(base(name))?;
            Some(BalancerPlan {
                name: (*name).clone(),
                policy: balancer.policy,
                spread: balancer.spread,
                queue: balancer.queue,
                full: balancer.full,
                idempotent: balancer.idempotent,
                max_attempts: balancer.max_attempts,
                workers: balancer.workers.count,
                concurrency: balancer.workers.concurrency,
                service: service.factory.clone(),
                kind: balancer.workers.work.kind.clone(),
                reads: service.reads.clone(),
                writes: service.writes.clone(),
            })
        })
        .collect();
    let mut names: Vec<&String> = config.requesters.keys().collect();
    names.sort_by(|a, b| compare(a, b));
    let requesters: Option<Vec<RequesterPlan>> = (names.iter())
        .map(|name| {
            let requester = &config.requesters[*name];
            Some(RequesterPlan {
                name: (*name).clone(),
                to: *at.get(requester.to.as_str())?,
                load: match requester.load? {
                    LoadConfig::Closed {
                        count,
                        think,
                        requests,
                    } => Load::Closed {
                        count,
                        think: think.into(),
                        requests,
                    },
                    LoadConfig::Open {
                        rate,
                        arrivals,
                        requests,
                    } => Load::Open {
                        rate,
                        arrivals,
                        requests,
                    },
                    LoadConfig::Batch { requests } => Load::Batch { requests },
                },
                order: requester.order,
            })
        })
        .collect();
    Some((balancers?, requesters?))
}
