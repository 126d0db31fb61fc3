//! Notes that pictures show at requesters and balancers.

use super::words::{counted, kind, span};
use crate::config::elements::{BalancerConfig, LoadConfig, ReplicateConfig};

/// Lines of text about a requester's load.
pub(super) fn asked(load: &LoadConfig) -> Vec<String> {
    let mut out = Vec::new();
    let requests = match *load {
        LoadConfig::Closed { count, think, requests } => {
            out.push(counted(count.into(), "client"));
            out.extend(span(think).map(|time| format!("think {time}")));
            requests
        }
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

/// Lines of text about a balancer's policy and workers.
pub(super) fn balanced(balancer: &BalancerConfig) -> Vec<String> {
    let mut out = vec![balancer.policy.name().to_owned()];
    out.extend(balancer.replicate.map(|copies| match copies {
        ReplicateConfig::All => "asks all".to_owned(),
        ReplicateConfig::Some(copies) => format!("asks {copies} at once"),
    }));
    out.extend(balancer.hedge.map(|_| "hedges".to_owned()));
    let workers = &balancer.workers;
    out.push(counted(workers.count.into(), "worker"));
    if workers.concurrency > 1 {
        out.push(format!("{} at a time", workers.concurrency));
    }
    out.push(kind(&workers.work));
    out
}
