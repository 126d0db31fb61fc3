//! Plans balancers and requesters that have passed all checks.

use std::collections::BTreeMap;

use gopherworks_balancer::policy::{After, Hedge, Spread};
use gopherworks_pipeline::load::{Load, Rate};

use super::{http, idempotent};
use crate::config::elements::{BalancerConfig, LoadConfig, ReplicateConfig, TopologyConfig};
use crate::config::label::{base, compare};
use crate::plan::kinds::Kinds;
use crate::plan::{BalancerPlan, RequesterPlan};

/// Names of nodes in natural order.
pub(in crate::plan) fn sorted<T>(nodes: &BTreeMap<String, T>) -> Vec<&str> {
    let mut names: Vec<&str> = nodes.keys().map(String::as_str).collect();
    names.sort_by(|a, b| compare(a, b));
    names
}

/// Index of each balancer in [`Plan::balancers`](crate::plan::Plan::balancers).
pub(in crate::plan) fn numbered(config: &TopologyConfig) -> BTreeMap<&str, usize> {
    (sorted(&config.balancers).into_iter().enumerate()).map(|(at, name)| (name, at)).collect()
}

/// Plans all balancers and requesters. Returns `None` only if a check rejected something without
/// reporting it.
pub(in crate::plan) fn plans(
    config: &TopologyConfig,
    kinds: &Kinds,
) -> Option<(Vec<BalancerPlan>, Vec<RequesterPlan>)> {
    let names = sorted(&config.balancers);
    let places = numbered(config);
    let balancers: Option<Vec<BalancerPlan>> =
        (names.iter()).map(|name| balancer_plan(name, &config.balancers[*name], kinds)).collect();
    let requesters: Option<Vec<RequesterPlan>> = (sorted(&config.requesters).into_iter())
        .map(|name| {
            let requester = &config.requesters[name];
            Some(RequesterPlan {
                name: name.to_owned(),
                to: *places.get(requester.to.as_str())?,
                load: load_plan(&requester.load)?,
                http: match &requester.load {
                    LoadConfig::Http(config) => Some(http::plan(config)),
                    _ => None,
                },
                order: requester.order,
                priority: requester.priority,
                keys: requester.keys,
            })
        })
        .collect();
    Some((balancers?, requesters?))
}

fn balancer_plan(name: &str, config: &BalancerConfig, kinds: &Kinds) -> Option<BalancerPlan> {
    let service = kinds.services.get(base(name))?;
    Some(BalancerPlan {
        name: name.to_owned(),
        policy: config.policy,
        spread: match (config.replicate, config.hedge) {
            (None, None) => Spread::One,
            (Some(ReplicateConfig::All), _) => Spread::Replicated(None),
            (Some(ReplicateConfig::Some(copies)), _) => Spread::Replicated(Some(copies)),
            (None, Some(hedge)) => Spread::Hedged(Hedge {
                after: match hedge.after {
                    Some(after) => After::Delay(after),
                    None => After::Percentile(hedge.percentile?),
                },
                budget: hedge.budget,
            }),
        },
        queue: config.queue,
        full: config.full,
        idempotent: idempotent(config),
        max_attempts: config.max_attempts.unwrap_or(BalancerConfig::ATTEMPTS),
        resilience: config.resilience,
        workers: config.workers.count,
        concurrency: config.workers.concurrency,
        service: service.factory.clone(),
        kind: config.workers.work.kind.clone(),
        reads: service.reads.clone(),
        writes: service.writes.clone(),
    })
}

fn load_plan(load: &LoadConfig) -> Option<Load> {
    Some(match *load {
        LoadConfig::Closed { count, think, requests } => Load::Closed { count, think, requests },
        LoadConfig::Open { rate, utilisation, arrivals, requests } => Load::Open {
            rate: match rate {
                Some(rate) => Rate::PerSecond(rate),
                None => Rate::Utilisation(utilisation?),
            },
            arrivals,
            requests,
        },
        LoadConfig::Batch { requests } => Load::Batch { requests },
        LoadConfig::Http(ref http) => Load::Outside { requests: http.requests },
    })
}
