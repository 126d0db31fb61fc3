//! Notes that pictures show at requesters and balancers.

use super::model::Team;
use super::words::{counted, kind, span};
use crate::config::elements::{BalancerConfig, LoadConfig, ReplicateConfig, WorkersConfig};

/// Lines of text about a requester's load, without its clients.
pub(super) fn asked(load: &LoadConfig) -> Vec<String> {
    let mut out = Vec::new();
    let requests = match *load {
        LoadConfig::Closed { requests, .. } => requests,
        LoadConfig::Open { rate, utilisation, requests, .. } => {
            out.extend(rate.map(|rate| format!("{rate} a second")));
            out.extend(utilisation.map(|share| format!("load {share}")));
            requests
        }
        LoadConfig::Http(ref http) => {
            out.push(format!("serves {}", http.listen));
            http.requests
        }
        LoadConfig::Batch { requests } => Some(requests),
    };
    out.extend(requests.map(|requests| counted(requests, "request")));
    out
}

/// The clients of a closed load; other loads don't say how many there are.
pub(super) fn clients(load: &LoadConfig) -> Option<Team> {
    let LoadConfig::Closed { count, think, .. } = *load else {
        return None;
    };
    let notes = span(think).map(|time| format!("think {time}")).into_iter().collect();
    Some(Team { count, title: counted(count.into(), "client"), notes })
}

/// Lines of text about a balancer's policy.
pub(super) fn balanced(balancer: &BalancerConfig) -> Vec<String> {
    let mut out = vec![balancer.policy.name().to_owned()];
    out.extend(balancer.replicate.map(|copies| match copies {
        ReplicateConfig::All => "asks all".to_owned(),
        ReplicateConfig::Some(copies) => format!("asks {copies} at once"),
    }));
    out.extend(balancer.hedge.map(|_| "hedges".to_owned()));
    out
}

pub(super) fn workers(workers: &WorkersConfig) -> Team {
    let mut notes = vec![kind(&workers.work)];
    if workers.concurrency > 1 {
        notes.push(format!("{} at a time", workers.concurrency));
    }
    Team { count: workers.count, title: counted(workers.count.into(), "worker"), notes }
}
