//! Every design and balancer of `config/chaos` in virtual time: 1,000 seeds each, with a mix of
//! faults that is drawn anew from each seed. Files with a store or reloads have fewer seeds, as
//! each of these runs has several lives or plans; GOPHERWORKS_STORE_SEEDS sets their number.

use std::collections::BTreeSet;
use std::path::PathBuf;

use gopherworks::Catalog;
use gopherworks::Loaded;
use gopherworks::config::Overrides;
use gopherworks::topology::Topology;
use gopherworks::verdict::sweep::{Sweep, Swept};

const SEEDS: u64 = 1_000;

/// Seeds of files with a store or reloads.
const STORE_SEEDS: u64 = 40;

/// All files except `storm`, which is for real threads.
fn files() -> Vec<PathBuf> {
    let folder = format!("{}/config/chaos", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder of the suite")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.file_stem().is_some_and(|name| name != "storm"))
        .collect();
    files.sort();
    files
}

fn sweep(file: &PathBuf, seeds: u64, schedules: u64) -> Swept {
    // The placement of nodes depends on the cores, so their number is fixed.
    let overrides = Overrides::default().set("execution.cores=2");
    let loaded = Loaded::read(file, &Catalog::standard(), &overrides).expect("a file of the suite");
    let topology = Topology::from_plan(loaded.plan);
    let sweep = Sweep {
        first: 1,
        seeds,
        schedules,
        threads: 2,
        limit: None,
        config_sha256: String::new(),
        command: format!("gopherworks simulate {}", file.display()),
    };
    sweep.run(&topology, &|_| ()).expect("it starts")
}

fn takes_long(file: &PathBuf) -> bool {
    let text = std::fs::read_to_string(file).expect("a file of the suite");
    text.contains("\n[store]\n") || text.contains("\nkind = \"reload\"\n")
}

fn seeds(file: &PathBuf) -> u64 {
    match takes_long(file) {
        true => std::env::var("GOPHERWORKS_STORE_SEEDS")
            .map_or(STORE_SEEDS, |seeds| seeds.parse().expect("a number of seeds")),
        false => SEEDS,
    }
}

#[test]
fn nothing_is_lost_and_nothing_done_twice_whatever_goes_wrong() {
    let mut kinds = BTreeSet::new();
    let files = files();
    assert!(files.len() >= 22, "the suite has a file for each design");
    for file in files {
        let seeds = seeds(&file);
        let swept = sweep(&file, seeds, 1);
        if let Some(failure) = swept.failure {
            panic!("{}\n{failure}", file.display());
        }
        assert_eq!(swept.runs, seeds);
        println!("{}: {} faults", file.display(), swept.faults);
        kinds.extend(swept.kinds.into_iter().map(|(kind, _)| kind));
    }
    let all = [
        "crash",
        "delay",
        "drop",
        "duplicate",
        "error",
        "full",
        "hang",
        "kill",
        "lost_lease",
        "panic",
        "poison",
        "redeliver",
        "reload",
        "slow",
        "stop",
        "torn_write",
        "unavailable",
        "unknown_outcome",
    ];
    assert_eq!(kinds, all.map(str::to_owned).into_iter().collect(), "every kind was there");
}

#[test]
fn schedules_that_chance_draws_change_nothing_of_it() {
    for file in files() {
        let (seeds, schedules) = if takes_long(&file) { (4, 5) } else { (30, 10) };
        let swept = sweep(&file, seeds, schedules);
        if let Some(failure) = swept.failure {
            panic!("{}\n{failure}", file.display());
        }
    }
}
