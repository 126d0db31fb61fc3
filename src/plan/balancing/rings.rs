//! Detects cycles of balancers whose `http` workers send requests, through HTTP requesters, back to
//! the same balancer.

use std::net::{IpAddr, SocketAddr};

use super::Validator;
use crate::config::Code;
use crate::config::elements::{BalancerConfig, LoadConfig, TopologyConfig};

/// Reports each cycle once. Requests in it never finish, because its workers wait for each other.
pub(super) fn check(validator: &mut Validator<'_>, config: &TopologyConfig) {
    let mut told: Vec<&str> = Vec::new();
    for name in config.balancers.keys() {
        let mut way: Vec<(&str, &str)> = Vec::new();
        let mut at = name.as_str();
        while let Some((requester, to)) = asked(config, at) {
            way.push((at, requester));
            at = to;
            if at == name || way.len() > config.balancers.len() {
                break;
            }
        }
        // A balancer that leads to a cycle without being part of it never returns to itself.
        if at != name || way.is_empty() || way.iter().any(|(one, _)| told.contains(one)) {
            continue;
        }
        told.extend(way.iter().map(|(balancer, _)| *balancer));
        let steps = way.iter().map(|(one, by)| format!("`{one}` asks `{by}`"));
        let message = format!(
            "workers of `{name}` would wait for workers of `{name}`: {}",
            steps.collect::<Vec<_>>().join(", ")
        );
        let requester = way[way.len() - 1].1;
        let other = validator.locate(&["requesters", requester, "load", "listen"]);
        let mistake = validator
            .error(Code::Cycle, &["balancers", name, "workers", "work", "url"], message)
            .related(other, "this is where their requests go");
        let help = "a request would circulate endlessly; use another server";
        validator.report(mistake.help(help));
    }
}

/// The requester whose server a balancer's workers call, and the balancer to which it sends.
fn asked<'a>(config: &'a TopologyConfig, balancer: &str) -> Option<(&'a str, &'a str)> {
    let (host, port) = target(config.balancers.get(balancer)?)?;
    config.requesters.iter().find_map(|(name, requester)| {
        let LoadConfig::Http(http) = &requester.load else {
            return None;
        };
        let listens: SocketAddr = http.listen.parse().ok()?;
        let here = match host.parse::<IpAddr>() {
            Ok(ip) => ip == listens.ip() || ip.is_loopback() && listens.ip().is_unspecified(),
            Err(_) => {
                host == "localhost" && (listens.ip().is_loopback() || listens.ip().is_unspecified())
            }
        };
        (here && port != 0 && port == listens.port())
            .then_some((name.as_str(), requester.to.as_str()))
    })
}

/// Host and port that workers of kind `http` call.
fn target(balancer: &BalancerConfig) -> Option<(String, u16)> {
    let work = &balancer.workers.work;
    if work.kind != "http" {
        return None;
    }
    let url = work.options.get("url")?.as_str()?;
    let (scheme, rest) = url.split_once("://")?;
    let place = rest.split(['/', '?', '#']).next()?;
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    let standard = if scheme == "https" { 443 } else { 80 };
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (place, standard),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some((host.to_ascii_lowercase(), port))
}
