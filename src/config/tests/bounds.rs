//! Every number of a config has a bound that its message gives, alone and multiplied by copies.

use super::*;

/// The mistakes of a topology that uses every number, with `sets` over it.
fn said(sets: &[&str]) -> String {
    let text = small(
        ALL,
        "[balancers.b]\nworkers = { work = { kind = \"sleep\", time = \"1ms\" } }\n[requesters.r]\n\
         to = \"b\"\nload = { kind = \"batch\", requests = 10 }\n",
    );
    let overrides = sets.iter().fold(Overrides::default(), |overrides, set| overrides.set(*set));
    shown_with(&text, &overrides)
}

#[test]
fn what_is_too_large_is_refused_with_its_bound() {
    for (set, wanted) in [
        (
            "crews.solo.carts.count=4_000_000_000",
            "4,000,000,000 carts need 900 GB: a crew has at most 1,000,000",
        ),
        ("crews.solo.carts.books=9223372036854775807", "too large: at most 1,000,000,000,000"),
        ("crews.solo.carts.bytes=1025TiB", "at most 1024TiB"),
        ("crews.solo.gophers=[\"200000 * load push unload return\"]", "at most 100000 gophers"),
        ("crews.solo.copies=10001", "at most 10000 copies"),
        ("execution.cores=1025", "1,025 is too large: at most 1,024"),
        ("execution.drain_deadline=36601d", "at most 100 years"),
        ("supervision.intensity=4294967295", "at most 1,000,000"),
        ("piles.manuals.source.size=2GiB", "2GiB is too large: at most 1GiB"),
        ("balancers.b.queue=4294967295", "at most 1,000,000,000"),
        ("balancers.b.workers.count=4294967295", "at most 100000"),
        ("balancers.b.policy={ kind = \"affinity\", bound = 1e300 }", "at most 1000000000"),
        ("requesters.r.load={ kind = \"closed\", count = 2_000_000 }", "at most 1,000,000"),
        ("requesters.r.load={ kind = \"open\", rate = 1e300 }", "at most 1000000000"),
        ("requesters.r.load.requests=9223372036854775807", "at most 1,000,000,000"),
        (
            "faults.f={ kind = \"mix\", target = \"*\", most = 1001 }",
            "1,001 is too large: at most 1,000",
        ),
        ("faults.f={ kind = \"mix\", target = \"*\", most = 0 }", "at least one fault"),
        ("balancers.b.workers.work.slow={ workers = 1, factor = nan }", "not a number"),
    ] {
        let said = said(&[set]);
        assert!(said.contains("error") && said.contains(wanted), "{set}: {said}");
    }
}

#[test]
fn copies_count() {
    for (sets, wanted) in [
        (
            &["copies=100", "crews.solo.carts.count=1000000"][..],
            "100,000,000 carts in all: at most 10,000,000",
        ),
        (
            &["copies=1000", "balancers.b.workers.concurrency=100000"],
            "100,000,000 requests at a time in all: at most 1,000,000",
        ),
        (
            &["copies=10000", "balancers.b.workers.count=100"],
            "actors in all, copies counted: at most 200,000",
        ),
        (
            &["copies=10", "requesters.r.load={ kind = \"closed\", count = 1000000 }"],
            "10,000,000 clients of closed loads in all: at most 1,000,000",
        ),
    ] {
        let said = said(sets);
        assert!(said.contains("error") && said.contains(wanted), "{sets:?}: {said}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn too_much_memory_is_reported() {
    let said =
        said(&["piles.manuals.capacity=1000000000000", "piles.manuals.source.books=1000000000000"]);
    let wanted = "warning[memory]: this topology needs about 160 TB of memory; this machine has";
    assert!(said.contains(wanted) && !said.contains("connections"), "{said}");
    let http =
        "{ kind = \"http\", listen = \"127.0.0.1:0\", body = \"1GiB\", connections = 100_000 }";
    let said = self::said(&[&format!("requesters.r.load={http}")]);
    for wanted in [
        "this topology needs about 107 TB of memory",
        "100,000 connections of 1GiB need 107 TB: lower `connections` or `body`",
    ] {
        assert!(said.contains(wanted), "{said}");
    }
}

#[test]
fn configs_made_in_code_are_bounded_too() {
    let config = TopologyConfig::builder("own")
        .pile("manuals", |pile| pile.source("generate"))
        .incinerator("furnace", |fire| fire.burn("count"))
        .crew("solo", "manuals", "furnace", |crew| {
            crew.gophers(1, "load push unload return").carts(u32::MAX).load(wait(Duration::MAX))
        })
        .build();
    let mistakes = Plan::new(&config, &Catalog::standard()).unwrap_err();
    let said = mistakes.render(false);
    assert!(said.contains("4,294,967,295 carts need"), "{said}");
    assert!(said.contains("too long: at most 100 years"), "{said}");
}
