//! Checks the server for operators.

use super::{Validator, servers};
use crate::config::Code;
use crate::config::elements::TopologyConfig;

/// Minimum number of characters of a token.
const SHORTEST_TOKEN: usize = 16;

pub(super) fn check(validator: &mut Validator<'_>, config: &TopologyConfig) {
    let Some(server) = &config.operations else {
        return;
    };
    let path = |key| ["operations", key];
    if cfg!(not(feature = "http")) {
        let mistake =
            validator.error(Code::MissingFeature, &["operations"], "this build can't serve HTTP");
        validator.report(mistake.help("build it with the feature `http`"));
    }
    let (allowed, help) = match (server.public, &server.token) {
        (true, Some(_)) => (true, ""),
        (true, None) => {
            (false, "set a `token`, such as \"${env.OPS_TOKEN}\", for requests to send")
        }
        (false, _) => (
            false,
            "set `public = true` and a `token` if that is intended; 127.0.0.1 accepts only this \
             machine",
        ),
    };
    servers::listens(validator, &path("listen"), &server.listen, allowed, help);
    servers::hosts(validator, &path("hosts"), &server.hosts);
    if server.token.as_ref().is_some_and(|token| token.length() < SHORTEST_TOKEN) {
        let message = format!("a token has at least {SHORTEST_TOKEN} characters");
        validator.report(validator.error(Code::OutOfBounds, &path("token"), message));
    }
}
