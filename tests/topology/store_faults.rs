//! Faults of a store in virtual time: what each does to a run, and what the verdict says of it.

use gopherworks::Catalog;
use gopherworks::Loaded;
use gopherworks::config::Overrides;
use gopherworks::topology::Topology;
use gopherworks::verdict::Verdict;
use gopherworks::verdict::sweep::{Sweep, Swept};

const DESIGN: &str = r#"
[store]
kind = "sqlite"
path = "state/never.db"
[piles.inbox]
source = { kind = "generate", books = 400 }
[dumps.middle]
capacity = { books = 30 }
[incinerators.done]
burn = "count"
[crews.near]
from = "inbox"
to = "middle"
gophers = ["load push unload return"]
carts = { count = 2, books = 10 }
steps = { load = "1ms", unload = "1ms" }
[crews.far]
from = "middle"
to = "done"
gophers = ["load push unload return"]
carts = { count = 2, books = 10 }
steps = { load = "1ms", unload = "1ms" }
[execution]
cores = 2
"#;

/// The store of the design, and one that processes share.
const STORES: [&str; 2] = [
    "kind = \"sqlite\"\npath = \"state/never.db\"",
    "kind = \"postgres\"\nurl = \"postgres://never/never\"\nworks = \"never\"",
];

fn swept(faults: &str, seeds: u64) -> Swept {
    swept_in(STORES[0], faults, seeds)
}

fn swept_in(store: &str, faults: &str, seeds: u64) -> Swept {
    let text = format!("{}\n{faults}", DESIGN.replace(STORES[0], store));
    let loaded = Loaded::parse("own.toml", text, &Catalog::standard(), &Overrides::default());
    let topology = Topology::from_plan(loaded.unwrap_or_else(|why| panic!("{why}")).plan);
    let sweep = Sweep {
        first: 1,
        seeds,
        schedules: 1,
        threads: 2,
        limit: None,
        config_sha256: String::new(),
        command: String::new(),
    };
    sweep.run(&topology, &|_| ()).expect("it starts")
}

fn verdict(store: &str, fault: &str) -> Verdict {
    let swept = swept_in(store, &format!("[faults.it]\n{fault}"), 1);
    swept.failure.or(swept.last).expect("a verdict")
}

#[test]
fn a_store_may_fail_in_all_ways_and_the_process_may_die() {
    for (fault, least) in [
        ("kind = \"unavailable\"\nfor = \"300ms\"\nwhen = { at = \"40ms\" }", 1),
        ("kind = \"full\"\nfor = \"300ms\"\nwhen = { at = \"20ms\" }", 1),
        ("kind = \"slow\"\nby = \"30ms\"\nwhen = { at = \"0s\" }", 1),
        ("kind = \"slow\"\nby = \"200ms\"\npoint = \"commit\"\nwhen = { nth = 3 }", 1),
        ("kind = \"error\"\npoint = \"commit\"\nwhen = { chance = 0.3 }", 2),
        ("kind = \"unknown_outcome\"\npoint = \"commit\"\nwhen = { chance = 0.5 }", 2),
        ("kind = \"crash\"\nwhen = { at = [\"17ms\", \"60ms\", \"1100ms\"] }", 3),
        ("kind = \"crash\"\nfor = \"1ms\"\nwhen = { every = \"20ms\" }\ntimes = 9", 5),
        ("kind = \"crash\"\npoint = \"commit\"\nwhen = { nth = 4 }", 1),
        ("kind = \"torn_write\"\npoint = \"commit\"\nwhen = { nth = 4 }", 1),
        ("kind = \"torn_write\"\nfor = \"1ms\"\npoint = \"commit\"\nwhen = { chance = 0.2 }", 3),
        ("kind = \"lost_lease\"\npoint = \"commit\"\nwhen = { chance = 0.2 }", 3),
        ("kind = \"redeliver\"\nwhen = { chance = 0.2 }", 3),
        ("kind = \"lost_sync\"\npoint = \"commit\"\nwhen = { chance = 1.0 }", 9),
    ] {
        let (point, fault) = match fault.split_once("point = \"commit\"\n") {
            Some((before, after)) => (".commit", format!("{before}{after}")),
            None => ("", fault.to_owned()),
        };
        let is_of_leases = fault.contains("lost_lease") || fault.contains("redeliver");
        let store = STORES[usize::from(is_of_leases)];
        let verdict = verdict(store, &format!("target = \"store{point}\"\n{fault}"));
        assert!(verdict.pass, "{fault}\n{verdict}");
        assert!(verdict.faults >= least, "{fault}\n{verdict}");
    }
}

#[test]
fn a_disk_that_does_not_sync_loses_what_it_had_confirmed() {
    let lying = "[faults.lies]\nkind = \"lost_sync\"\ntarget = \"store\"\n\
                 when = { chance = 1.0 }\n[faults.dies]\nkind = \"crash\"\n\
                 target = \"store\"\nwhen = { at = \"60ms\" }";
    let verdict = swept(lying, 1).failure.expect("books are lost");
    let failed: Vec<_> = verdict.checks.iter().filter(|check| !check.pass).collect();
    assert!(failed.iter().any(|check| ["lost", "duplicates"].contains(&check.name)), "{verdict}");
    assert_eq!(verdict.minimal_faults, Some(2), "{verdict}");
    let minimal = verdict.minimal.expect("a regression file");
    let kinds = |kind: &str| minimal.matches(&format!("kind = \"{kind}\"")).count();
    assert_eq!((kinds("crash"), kinds("lost_sync")), (1, 1), "{minimal}");
    // The regression file reproduces it.
    assert!(swept(&minimal, 1).failure.is_some(), "{minimal}");
}

#[test]
fn a_seed_gives_the_same_lives_again() {
    let mix = "[faults.it]\nkind = \"mix\"\ntarget = \"*\"\n\
               [faults.dies]\nkind = \"crash\"\ntarget = \"store\"\nwhen = { poisson = \"50ms\" }\n\
               times = 3";
    let (first, second) = (swept(mix, 8), swept(mix, 8));
    assert!(first.failure.is_none(), "{}", first.failure.expect("a verdict"));
    assert!(first.kinds.iter().any(|(kind, times)| kind == "crash" && *times >= 16));
    assert_eq!(first.traces_sha256, second.traces_sha256);
}
