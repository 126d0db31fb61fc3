//! What is wrong with a requester that serves HTTP, and what becomes of it in a plan.

use std::net::SocketAddr;

use super::Judge;
use crate::config::schema::HttpConfig;
use crate::plan::HttpPlan;

/// Most headers that a request may be allowed: more are refused before anybody here sees them.
pub(crate) const MOST_HEADERS: u32 = 96;

pub(super) fn check(judge: &mut Judge<'_>, name: &str, http: &HttpConfig) {
    let path = |key| ["requesters", name, "load", key];
    if cfg!(not(feature = "http")) {
        let mistake = judge.error(&path("kind"), "this build can't serve HTTP");
        judge.report(mistake.help("build it with the feature `http`"));
    }
    match http.listen.parse::<SocketAddr>() {
        Ok(address) if !address.ip().is_loopback() && !http.public => {
            let message = format!("anybody could reach {address}");
            let mistake = judge.error(&path("listen"), message);
            judge.report(
                mistake.help(
                    "say `public = true` if that is meant; 127.0.0.1 is for this machine alone",
                ),
            );
        }
        Ok(_) => {}
        Err(_) => {
            let message = format!("`{}` is no address with a port", http.listen);
            let mistake = judge.error(&path("listen"), message);
            judge.report(mistake.help("write it like \"127.0.0.1:8080\""));
        }
    }
    let admin = http.admin.as_deref();
    for (key, value) in [("path", Some(http.path.as_str())), ("admin", admin)] {
        let right = value.is_none_or(|value| value.starts_with('/'));
        judge.ensure(right, &path(key), "a path begins with /");
    }
    if admin.is_some_and(|admin| admin.trim_end_matches('/').is_empty()) {
        let message = "the admin path needs a name of its own, such as \"/admin\"";
        judge.ensure(false, &path("admin"), message);
    }
    let named = |name: &str| {
        let part = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        !name.is_empty() && name.chars().all(part)
    };
    let right = http.key_header.as_deref().is_none_or(named);
    judge.ensure(right, &path("key_header"), "no header is called so");
    let message = "a body has at least one byte";
    judge.ensure(http.body > 0, &path("body"), message);
    let message = format!("a request has 1 to {MOST_HEADERS} headers");
    let right = (1..=MOST_HEADERS).contains(&http.headers);
    judge.ensure(right, &path("headers"), &message);
    let message = "at least one connection is taken";
    judge.ensure(http.connections > 0, &path("connections"), message);
    for (key, span) in [
        ("read_timeout", http.read_timeout),
        ("keep_alive", http.keep_alive),
    ] {
        judge.ensure(!span.is_zero(), &path(key), "it takes some time");
    }
}

pub(super) fn plan(http: &HttpConfig) -> Option<HttpPlan> {
    Some(HttpPlan {
        listen: http.listen.parse().ok()?,
        path: http.path.clone(),
        admin: http.admin.clone(),
        body: http.body,
        headers: http.headers,
        connections: http.connections,
        key_header: (http.key_header.as_ref()).map(|name| name.to_ascii_lowercase()),
        read_timeout: http.read_timeout,
        keep_alive: http.keep_alive,
        requests: http.requests,
    })
}
