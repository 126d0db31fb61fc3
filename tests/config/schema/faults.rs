//! Mistakes in the tables of faults.

/// Changes to the base config, with the place of the wrong value or of its table.
pub(super) const MISTAKES: &[(&str, &str)] = &[
    ("expect.lots = 0", "expect"),
    ("expect.lost = -1", "expect.lost"),
    ("expect.throughput_dip = 2", "expect.throughput_dip"),
    ("faults.loader = {}", "faults.loader"),
    ("faults.loader = { target = \"solo\" }", "faults.loader"),
    ("faults.loader = { target = \"solo\", kind = \"kill\" }", "faults.loader"),
    ("faults.loader = { target = \"solo\", kind = \"kill\", actions = \"off\" }", "faults.loader"),
    ("faults.loader = { target = \"solo\", kind = \"slow\", when = { nth = 1 } }", "faults.loader"),
    (
        "faults.loader = { target = \"solo\", kind = \"kill\", when = { nth = 0 } }",
        "faults.loader.when.nth",
    ),
    (
        "faults.loader = { target = \"solo\", kind = \"kill\", when = { nth = 1, at = \"1s\" } }",
        "faults.loader.when",
    ),
    ("faults.loader = { target = \"solo\", kind = \"mix\", odds = 0 }", "faults.loader.odds"),
    (
        "faults.loader = { target = \"solo\", kind = \"unavailable\", when = { nth = 1 } }",
        "faults.loader",
    ),
    (
        "faults.loader = { target = \"solo\", kind = \"crash\", stored = 1, when = { nth = 1 } }",
        "faults.loader.stored",
    ),
    (
        "faults.loader = { target = \"solo\", kind = \"kil\", when = { nth = 1 } }",
        "faults.loader.kind",
    ),
];
