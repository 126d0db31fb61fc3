//! Checks and plans requesters that serve HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use super::Validator;
use crate::config::limits::{LARGEST_BODY, MOST_CONNECTIONS, MOST_HEADERS};
use crate::config::schema::HttpConfig;
use crate::plan::HttpPlan;

/// Upper bound of all timeouts.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn check(validator: &mut Validator<'_>, name: &str, http: &HttpConfig) {
    let path = |key| ["requesters", name, "load", key];
    if cfg!(not(feature = "http")) {
        let mistake = validator.error(&path("kind"), "this build can't serve HTTP");
        validator.report(mistake.help("build it with the feature `http`"));
    }
    match http.listen.parse::<SocketAddr>() {
        Ok(address) if !address.ip().is_loopback() && !http.public => {
            let message = format!("{address} is reachable from other machines");
            validator.report(validator.error(&path("listen"), message).help(
                "set `public = true` if that is intended; 127.0.0.1 accepts only this machine",
            ));
        }
        Ok(_) => {}
        Err(_) => {
            let message = format!("`{}` is not an address with a port", http.listen);
            let mistake = validator.error(&path("listen"), message);
            validator.report(mistake.help("write it like \"127.0.0.1:8080\""));
        }
    }
    let admin = http.admin.as_deref();
    for (key, value) in [("path", Some(http.path.as_str())), ("admin", admin)] {
        let right = value.is_none_or(|value| value.starts_with('/'));
        validator.ensure(right, &path(key), "a path begins with /");
    }
    if admin.is_some_and(|admin| admin.trim_end_matches('/').is_empty()) {
        let message = "the admin path needs a name of its own, such as \"/admin\"";
        validator.ensure(false, &path("admin"), message);
    }
    let right = http.key_header.as_deref().is_none_or(is_token);
    validator.ensure(right, &path("key_header"), "this is not a valid header name");
    let message = format!("a body has 1 byte to {} GiB", LARGEST_BODY >> 30);
    let right = (1..=LARGEST_BODY).contains(&http.body);
    validator.ensure(right, &path("body"), &message);
    let message = format!("a request has 1 to {MOST_HEADERS} headers");
    let right = (1..=MOST_HEADERS).contains(&http.headers);
    validator.ensure(right, &path("headers"), &message);
    let message = format!("1 to {MOST_CONNECTIONS} connections are accepted");
    let right = (1..=MOST_CONNECTIONS).contains(&http.connections);
    validator.ensure(right, &path("connections"), &message);
    let message = "a successful answer has a status from 200 to 299";
    let right = (200..=299).contains(&http.status);
    validator.ensure(right, &path("status"), message);
    validator.ensure(http.min_rate > 0, &path("min_rate"), "at least 1 byte a second");
    for (key, span) in [
        ("read_timeout", http.read_timeout),
        ("write_timeout", http.write_timeout),
        ("keep_alive", http.keep_alive),
        ("shutdown_timeout", http.shutdown_timeout),
    ] {
        let right = !span.is_zero() && span <= LONGEST;
        validator.ensure(right, &path(key), "it must be longer than 0 and at most a day");
    }
    validator.ensure(http.grace <= LONGEST, &path("grace"), "at most a day");
    methods(validator, name, http);
    let is_host = |host: &String| {
        host == "*"
            || !(host.is_empty() || host.contains(|c: char| c.is_whitespace() || "/@*".contains(c)))
    };
    if let Some(wrong) = http.hosts.iter().find(|host| !is_host(host)) {
        let mistake = validator.error(&path("hosts"), format!("`{wrong}` is not a host"));
        validator.report(mistake.help("write names like \"ops.example\", or \"*\" for any"));
    }
}

fn methods(validator: &mut Validator<'_>, name: &str, http: &HttpConfig) {
    let path = ["requesters", name, "load", "methods"];
    let Some(methods) = &http.methods else {
        return;
    };
    validator.ensure(!methods.is_empty(), &path, "at least one method is served");
    for method in methods {
        let wrong = match method.to_ascii_uppercase().as_str() {
            "CONNECT" => "CONNECT asks for a tunnel, which is not served",
            "TRACE" => "TRACE asks for the request itself, which is not served",
            method if !is_token(method) => "this is not a valid method",
            _ => continue,
        };
        validator.report(validator.error(&path, wrong).help("write them like [\"GET\", \"POST\"]"));
    }
}

/// True for a valid name of a header or method (`token` in RFC 9110).
fn is_token(name: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !name.is_empty() && name.chars().all(part)
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
        status: http.status,
        methods: (http.methods.as_ref())
            .map(|all| all.iter().map(|one| one.to_ascii_uppercase()).collect()),
        hosts: http.hosts.clone(),
        read_timeout: http.read_timeout,
        write_timeout: http.write_timeout,
        min_rate: http.min_rate,
        keep_alive: http.keep_alive,
        grace: http.grace,
        shutdown_timeout: http.shutdown_timeout,
        requests: http.requests,
    })
}
