//! Mistakes in requesters and in distributions of times.

/// Changes to the base config, with the place of the wrong value or of its table.
pub(super) const MISTAKES: &[(&str, &str)] = &[
    // Requesters.
    ("requesters.users.form = 1", "requesters.users"),
    ("requesters.users.to = \"Front\"", "requesters.users.to"),
    ("requesters.users.order = \"output\"", "requesters.users.order"),
    ("requesters.users.load = 5", "requesters.users.load"),
    ("requesters.users.load = \"batch\"", "requesters.users.load"),
    ("requesters.users.load = { kind = \"burst\" }", "requesters.users.load.kind"),
    (
        "requesters.users.load = { kind = \"batch\", count = 1, requests = 1 }",
        "requesters.users.load",
    ),
    (
        "requesters.users.load = { kind = \"batch\", requests = 0 }",
        "requesters.users.load.requests",
    ),
    ("requesters.users.load = { kind = \"closed\" }", "requesters.users.load"),
    ("requesters.users.load = { kind = \"closed\", count = 0 }", "requesters.users.load.count"),
    (
        "requesters.users.load = { kind = \"closed\", count = 1, think = {} }",
        "requesters.users.load.think",
    ),
    ("requesters.users.load = { kind = \"open\" }", "requesters.users.load"),
    (
        "requesters.users.load = { kind = \"open\", rate = 1, utilisation = 0.5 }",
        "requesters.users.load",
    ),
    ("requesters.users.load = { kind = \"open\", rate = 0 }", "requesters.users.load.rate"),
    (
        "requesters.users.load = { kind = \"open\", rate = 1, arrivals = \"even\" }",
        "requesters.users.load.arrivals",
    ),
    ("requesters.more = { to = \"front\" }", "requesters.more"),
    // Distributions.
    (
        "crews.near.steps.load.wait = { lognormal = { mean = \"1s\" } }",
        "crews.near.steps.load.wait.lognormal",
    ),
    (
        "crews.near.steps.load.wait = { lognormal = { mean = \"1s\", cv2 = -1 } }",
        "crews.near.steps.load.wait.lognormal.cv2",
    ),
    ("crews.near.steps.load.wait = { lognormal = \"1s\" }", "crews.near.steps.load.wait.lognormal"),
    (
        "crews.near.steps.load.wait = { bimodal = { short = \"1s\", long = \"2s\", share = 2 } }",
        "crews.near.steps.load.wait.bimodal.share",
    ),
    (
        "crews.near.steps.load.wait = { bimodal = { short = \"1s\", long = \"2s\" } }",
        "crews.near.steps.load.wait.bimodal",
    ),
];
