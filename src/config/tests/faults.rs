//! Faults in files: meaning, targets, and rendering of mistakes.

use gopherworks_supervision::clock::Time;
use gopherworks_supervision::fault::{FOR_EVER, Kind, Point, Rule, What, When};

use super::*;
use crate::plan::faults::{FaultPlan, FaultPlanWhat};

fn plan(more: &str) -> Plan {
    let loaded = parse(&format!("{STAGED}\n{more}"));
    loaded.unwrap_or_else(|mistakes| panic!("{mistakes}")).plan
}

fn rule(more: &str) -> Rule {
    let mut faults = plan(&format!("[faults.one]\n{more}")).faults;
    assert_eq!(faults.len(), 1);
    match faults.remove(0).what {
        FaultPlanWhat::Rule(rule) => rule,
        other => panic!("{other:?}"),
    }
}

/// Sites of a fault, as `node.point` and `sender -> node.point`.
fn sites(target: &str, kind: &str) -> Vec<String> {
    let rule = rule(&format!("target = \"{target}\"\n{kind}"));
    let sites = rule.sites.iter().map(|site| {
        let point = site.point.map_or_else(String::new, |point| format!(".{point}"));
        let from = site.sender.as_ref();
        let from = from.map_or_else(String::new, |from| format!("{from} -> "));
        format!("{from}{}{point}", site.node)
    });
    sites.collect()
}

const AT: &str = "when = { at = \"1s\" }\n";

#[test]
fn a_target_is_a_node_a_crew_a_point_a_pattern_or_an_edge() {
    let kill = format!("kind = \"kill\"\n{AT}");
    assert_eq!(sites("middle", &kill), ["middle"]);
    assert_eq!(sites("near", &kill), ["near/1"]);
    assert_eq!(sites("near/1", &kill), ["near/1"]);
    assert_eq!(sites("manuals.source", &kill), ["manuals.source"]);
    assert_eq!(sites("near.load", &kill), ["near/1.load"]);
    assert_eq!(sites("*ar.unload", &kill), ["far/1.unload", "near/1.unload"]);
    let all = ["far/1", "furnace", "manuals", "manuals.source", "middle", "near/1"];
    assert_eq!(sites("*", &kill), all);
    let drop = format!("kind = \"drop\"\n{AT}");
    assert_eq!(sites("near -> middle", &drop), ["near -> middle.take", "near -> middle.deliver"]);
    assert_eq!(sites("far -> middle.take", &drop), ["far -> middle.take"]);
    assert_eq!(sites("furnace", &drop), ["furnace.deliver"]);
    let error = format!("kind = \"error\"\n{AT}");
    assert_eq!(sites("*", &error), ["furnace.burn", "manuals.source.read"]);
    let by_visit = "kind = \"panic\"\nwhen = { nth = 3 }\n";
    assert_eq!(
        sites("middle", by_visit),
        ["middle.take", "middle.deliver", "middle.settle", "middle.look"]
    );
}

#[test]
fn the_store_is_a_target_unless_a_node_has_its_name() {
    let store = "[store]\nkind = \"sqlite\"\npath = \"x.db\"\n";
    let shared = "[store]\nkind = \"postgres\"\nurl = \"postgres://x/x\"\nworks = \"x\"\n";
    let of_store = |store: &str, more: &str| {
        let plan = plan(&format!("{store}[faults.one]\ntarget = \"store\"\n{more}"));
        let FaultPlanWhat::Rule(rule) = &plan.faults[0].what else {
            panic!("a rule");
        };
        rule.sites.iter().map(|site| (site.node.to_string(), site.point)).collect::<Vec<_>>()
    };
    let of = |more: &str| of_store(store, more);
    let store = |point| ("store".to_owned(), point);
    let (commit, fetch) = ([store(Some(Point::Commit))], [store(Some(Point::Fetch))]);
    let both = [commit[0].clone(), fetch[0].clone()];
    assert_eq!(of(&format!("kind = \"crash\"\n{AT}")), [store(None)]);
    assert_eq!(of("kind = \"crash\"\nwhen = { nth = 3 }"), [store(Some(Point::Commit))]);
    assert_eq!(of(&format!("kind = \"unknown_outcome\"\n{AT}")), both);
    assert_eq!(of(&format!("kind = \"error\"\n{AT}")), both);
    assert_eq!(of("kind = \"lost_sync\"\nwhen = { chance = 0.5 }"), commit);
    assert_eq!(of(&format!("kind = \"torn_write\"\nfor = \"2s\"\n{AT}")), commit);
    assert_eq!(of_store(shared, &format!("kind = \"lost_lease\"\n{AT}")), commit);
    assert_eq!(of_store(shared, "kind = \"redeliver\"\nwhen = { nth = 3 }"), fetch);
    assert_eq!(of(&format!("kind = \"unavailable\"\nfor = \"1s\"\n{AT}")), [store(None)]);
    assert_eq!(of(&format!("kind = \"full\"\nfor = \"1s\"\n{AT}")), [store(None)]);
    assert_eq!(of(&format!("kind = \"slow\"\nby = \"1s\"\n{AT}")), [store(None)]);
    for (target, kind) in [
        ("middle", "crash"),
        ("furnace", "unknown_outcome"),
        ("store", "kill"),
        // One process at a time needs no leases.
        ("store", "redeliver"),
        ("store", "lost_lease"),
    ] {
        let store = "[store]\nkind = \"sqlite\"\npath = \"x.db\"\n";
        let fault = format!("[faults.one]\ntarget = \"{target}\"\nkind = \"{kind}\"\n{AT}");
        let mistakes = parse(&format!("{STAGED}\n{store}{fault}")).expect_err("a mistake");
        assert!(mistakes.to_string().contains("does not apply"), "{mistakes}");
    }
    // Without a store there is none.
    let fault = format!("[faults.one]\ntarget = \"store\"\nkind = \"crash\"\n{AT}");
    assert!(parse(&format!("{STAGED}\n{fault}")).is_err());
}

#[test]
fn a_crash_and_a_lost_answer_say_what_was_stored() {
    let s = Duration::from_secs;
    let of = |more: &str| {
        let store = "[store]\nkind = \"sqlite\"\npath = \"x.db\"\n";
        let plan = plan(&format!("{store}[faults.one]\ntarget = \"store\"\n{more}\n{AT}"));
        match plan.faults.into_iter().next().map(|fault| fault.what) {
            Some(FaultPlanWhat::Rule(Rule { what: What::Kind(kind, _), .. })) => kind,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(of("kind = \"crash\""), Kind::Crash { span: s(1), stored: None });
    let crash = "kind = \"crash\"\nfor = \"2s\"\nstored = true";
    assert_eq!(of(crash), Kind::Crash { span: s(2), stored: Some(true) });
    let unknown = "kind = \"unknown_outcome\"\nstored = false";
    assert_eq!(of(unknown), Kind::UnknownOutcome { stored: Some(false) });
}

#[test]
fn brackets_pick_copies() {
    let text = |target: &str| {
        format!(
            "extends = \"config/eight-gophers.toml\"\n[faults.one]\nkind = \"kill\"\n\
             target = \"{target}\"\n{AT}"
        )
    };
    let nodes = |target: &str| -> Vec<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let overrides = Overrides { folder: folder.to_owned(), ..Overrides::default() };
        let loaded =
            Loaded::parse(folder.join("own.toml"), text(target), &Catalog::standard(), &overrides);
        let plan = loaded.unwrap_or_else(|mistakes| panic!("{mistakes}")).plan;
        let FaultPlanWhat::Rule(rule) = &plan.faults[0].what else {
            panic!("a rule");
        };
        rule.sites.iter().map(|site| site.node.to_string()).collect()
    };
    assert_eq!(nodes("haul/1[copy=1]"), ["haul[copy=1]/1"]);
    assert_eq!(nodes("haul[copy=1]/1"), ["haul[copy=1]/1"]);
    assert_eq!(nodes("haul/1[copy=*]"), ["haul[copy=0]/1", "haul[copy=1]/1"]);
    assert_eq!(nodes("manuals[copy=0]"), ["manuals[copy=0]"]);
}

#[test]
fn kinds_and_times_are_read_with_their_defaults() {
    let s = Duration::from_secs;
    let hang = rule(&format!(
        "target = \"near\"\nkind = \"hang\"\nfrom = \"2s\"\nuntil = \"9s\"\ntimes = 3\n{AT}"
    ));
    assert_eq!((hang.from, hang.until, hang.times), (Time::ZERO + s(2), Time::ZERO + s(9), 3));
    assert_eq!(
        hang.what,
        What::Kind(Kind::Hang { span: FOR_EVER }, When::At(vec![Time::ZERO + s(1)]))
    );
    let slow = rule(
        "target = \"near\"\nkind = \"slow\"\nby = \"1s\"\nfor = \"2s\"\n\
         when = { poisson = \"5s\" }",
    );
    let kind = Kind::Slow { by: s(1), span: s(2) };
    assert_eq!(slow.what, What::Kind(kind, When::Poisson(s(5))));
    let poison = rule("target = \"furnace\"\nkind = \"poison\"\nwhen = { items = [3, 5] }");
    assert_eq!(poison.what, What::Kind(Kind::Poison, When::Items([3, 5].into_iter().collect())));
    let script = rule("target = \"near.push\"\nactions = \"5%2*panic(oops)->hang(10ms)->off\"");
    assert!(matches!(&script.what, What::Script(terms) if terms.len() == 3));
    assert_eq!(script.sites[0].point, Some(Point::Push));
    let mix = plan("[faults.one]\nkind = \"mix\"\ntarget = \"*\"\nodds = 0.5");
    let [FaultPlan { odds, what: FaultPlanWhat::Mix { most, parts, .. } }] = &mix.faults[..] else {
        panic!("{:?}", mix.faults);
    };
    assert_eq!((*odds, *most, parts.len()), (0.5, 6, 6));
}

#[test]
fn faults_merge_and_are_removed_by_name() {
    let more = format!("[faults.one]\nkind = \"kill\"\ntarget = \"near\"\n{AT}");
    let overrides = Overrides::default().set("faults.one.target=far");
    let loaded = parse_with(&format!("{STAGED}\n{more}"), &overrides).expect("a file");
    assert_eq!(loaded.config.faults["one"].target, "far");
}

#[test]
fn every_mistake_is_reported_at_once() {
    let text = r#"
[faults.a]
kind = "panik"
target = "near"
when = { at = "1s" }
[faults.b]
kind = "kill"
target = "nera"
when = { every = "50" }
[faults.c]
kind = "error"
target = "middle"
when = { at = "1s" }
[faults.j]
kind = "kill"
target = "nera"
odds = 0
when = { chance = 1.5 }
[faults.k]
kind = "kill"
target = "near.laod"
when = { every = "0s" }
[faults.d]
kind = "slow"
target = "near"
when = { at = "1s" }
[faults.e]
kind = "kill"
target = "near"
when = { at = "1s", every = "1s" }
[faults.f]
target = "near"
[faults.g]
target = "near"
actions = "5%explode"
[faults.h]
kind = "kill"
target = "near"
text = "why"
when = { chance = 1.5 }
[faults.i]
kind = "kill"
target = "near"
[expect]
lots = 1
recovery_p99 = "< 5"
throughput_dip = 2
"#;
    insta::assert_snapshot!(shown(&format!("{STAGED}\n{text}")));
}
