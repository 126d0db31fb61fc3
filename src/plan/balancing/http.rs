//! Checks and plans requesters that serve HTTP.

use super::super::servers;
use super::Validator;
use crate::config::Code;
use crate::config::elements::HttpConfig;

pub(super) fn check(validator: &mut Validator<'_>, name: &str, http: &HttpConfig) {
    let path = |key| ["requesters", name, "load", key];
    if cfg!(not(feature = "http")) {
        let mistake =
            validator.error(Code::MissingFeature, &path("kind"), "this build can't serve HTTP");
        validator.report(mistake.help("build it with the feature `http`"));
    }
    let help = "set `public = true` if that is intended; 127.0.0.1 accepts only this machine";
    servers::listens(validator, &path("listen"), &http.listen, http.public, help);
    let admin = http.admin.as_deref();
    for (key, value) in [("path", Some(http.path.as_str())), ("admin", admin)] {
        let right = value.is_none_or(|value| value.starts_with('/'));
        validator.ensure(right, Code::InvalidValue, &path(key), "a path begins with /");
    }
    if admin.is_some_and(|admin| admin.trim_end_matches('/').is_empty()) {
        let message = "the admin path needs a name of its own, such as \"/admin\"";
        validator.ensure(false, Code::InvalidValue, &path("admin"), message);
    }
    let right = http.key_header.as_deref().is_none_or(is_token);
    validator.ensure(
        right,
        Code::InvalidValue,
        &path("key_header"),
        "this is not a valid header name",
    );
    methods(validator, name, http);
    servers::hosts(validator, &path("hosts"), &http.hosts);
}

fn methods(validator: &mut Validator<'_>, name: &str, http: &HttpConfig) {
    let path = ["requesters", name, "load", "methods"];
    let Some(methods) = &http.methods else {
        return;
    };
    for method in methods {
        let wrong = match method.to_ascii_uppercase().as_str() {
            "CONNECT" => "CONNECT asks for a tunnel, which is not served",
            "TRACE" => "TRACE asks for the request itself, which is not served",
            method if !is_token(method) => "this is not a valid method",
            _ => continue,
        };
        let mistake = validator.error(Code::InvalidValue, &path, wrong);
        validator.report(mistake.help("write them like [\"GET\", \"POST\"]"));
    }
}

/// True for a valid name of a header or method (`token` in RFC 9110).
fn is_token(name: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !name.is_empty() && name.chars().all(part)
}

/// The settings, with header and methods in the case in which they are compared.
pub(super) fn plan(http: &HttpConfig) -> HttpConfig {
    let upper = |names: &Vec<String>| names.iter().map(|name| name.to_ascii_uppercase()).collect();
    HttpConfig {
        key_header: http.key_header.as_ref().map(|name| name.to_ascii_lowercase()),
        methods: http.methods.as_ref().map(upper),
        ..http.clone()
    }
}
