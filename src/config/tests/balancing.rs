//! Balancers and requesters: meaning of files, precedence of layers, rendering of mistakes.

use gopherworks_balancer::policy::{After, Hedge, LoadPolicy, Spread, WhenFull};
use gopherworks_pipeline::job::{Serve, Service, WorkerSite};
use gopherworks_pipeline::load::{Arrivals, Load, Order, Rate};
use gopherworks_supervision::failure::Failure;
use gopherworks_supervision::span::Span;
use schemars::JsonSchema;
use serde::Deserialize;

use super::*;
use crate::catalog::FilePath;
use crate::config::builder::{closed, utilisation};
use crate::config::units::Time;
use crate::plan::Plan;

mod planned;
mod services;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nap {
    #[serde(default)]
    #[allow(dead_code, reason = "it is only read")]
    time: Time,
    #[serde(default)]
    #[allow(dead_code, reason = "it is only read")]
    diary: Option<FilePath>,
}

struct Never;

impl Service for Never {
    fn worker(&self, _: &WorkerSite) -> Result<Box<dyn Serve>, Failure> {
        Err(Failure::permanent("there are no workers"))
    }
}

fn catalog() -> Catalog {
    let mut catalog = Catalog::standard();
    catalog.add_service("nap", "Sleeps", |_: &Nap, _| Ok(Never)).add_service(
        "command",
        "Starts a program",
        |_: &Nap, _| Ok(Never),
    );
    catalog
}

fn load(text: &str, overrides: &Overrides) -> Result<Loaded, Diagnostics> {
    Loaded::parse("bad.toml", text, &catalog(), overrides)
}

fn plan(text: &str) -> Plan {
    let loaded = load(text, &Overrides::default());
    let loaded = loaded.unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    loaded.plan
}

fn shown(text: &str) -> String {
    match load(text, &Overrides::default()) {
        Ok(loaded) => loaded.warnings.render(false),
        Err(mistakes) => mistakes.render(false),
    }
}

/// A valid design with these lines in its balancer, workers and requester.
fn asked(balancer: &str, workers: &str, load: &str) -> String {
    format!(
        r#"[balancers.front]
{balancer}
[balancers.front.workers]
count = 4
work = "nap"
{workers}
[requesters.users]
to = "front"
load = {{ {load} }}
"#
    )
}

const BATCH: &str = r#"kind = "batch", requests = 10"#;

/// A valid design with these lines in its balancer.
fn front(lines: &str) -> String {
    asked(lines, "", BATCH)
}

/// A valid design with this load.
fn users(load: &str) -> String {
    asked("", "", load)
}

#[test]
fn a_file_and_a_builder_say_the_same() {
    let built = TopologyConfig::builder("bad")
        .balancer("front", kind("nap").option("time", "5ms"), |front| {
            front
                .workers(10)
                .concurrency(2)
                .policy(LoadPolicy::LeastLoaded)
                .hedge_after(Duration::from_millis(30), 0.02)
                .queue(None)
                .max_attempts(2)
        })
        .balancer("back", "nap", |back| back.workers(5).replicate_all().reject_when_full())
        .requester(
            "users",
            "front",
            closed(100)
                .think(Span::Bimodal {
                    short: Duration::from_millis(1),
                    long: Duration::from_secs(1),
                    share: 0.005,
                })
                .requests(1000),
            |users| users,
        )
        .requester("flood", "back", utilisation(0.5).evenly(), |flood| flood)
        .build();
    let text = r#"
[balancers.front]
policy = "least-loaded"
hedge = { after = "30ms", budget = 0.02 }
queue = "unbounded"
max_attempts = 2
workers = { count = 10, concurrency = 2, work = { kind = "nap", time = "5ms" } }
[balancers.back]
replicate = "all"
full = "reject"
workers = { count = 5, work = "nap" }
[requesters.users]
to = "front"
[requesters.users.load]
kind = "closed"
count = 100
requests = 1000
think = { bimodal = { short = "1ms", long = "1s", share = 0.005 } }
[requesters.flood]
to = "back"
load = { kind = "open", utilisation = 0.5, arrivals = "fixed" }
"#;
    assert_eq!(load(text, &Overrides::default()).unwrap().config, built);
    let (plan, warnings) = Plan::new(&built, &catalog()).unwrap();
    assert!(warnings.is_empty(), "{warnings}");
    let names: Vec<&str> = plan.balancers.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["back", "front"]);
    // `flood` precedes `users` and takes the first place in `to`.
    let to: Vec<usize> = plan.requesters.iter().map(|it| it.to).collect();
    assert_eq!(to, [0, 1]);
}

#[test]
fn programs_and_paths_are_known() {
    let text = front("")
        .replace("work = \"nap\"", "work = { kind = \"command\", diary = \"/tmp/diary\" }");
    let plan = plan(&text);
    assert_eq!(plan.outside, ["`front` starts programs"]);
    assert_eq!(plan.reads(), [Path::new("/tmp/diary")]);
}

#[test]
fn overrides_change_parts_of_a_balancer() {
    let text = asked(
        "policy = { kind = \"reserve\", workers = 3, short = \"5ms\" }\n\
         hedge = { after = \"1s\", budget = 0.5 }",
        "",
        "kind = \"open\", rate = 5, requests = 7",
    );
    let config = |overrides: Overrides| {
        let loaded = load(&text, &overrides).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        loaded.config
    };
    let changed = config(
        Overrides::default()
            .variable("GOPHERWORKS__BALANCERS__FRONT__WORKERS__COUNT", "10")
            .variable("GOPHERWORKS__BALANCERS__FRONT__POLICY__WORKERS", "2")
            // A mutually exclusive key replaces the other.
            .set("balancers.front.hedge.percentile=0.9")
            .set("requesters.users.load.utilisation=0.5"),
    );
    let front = &changed.balancers["front"];
    assert_eq!(front.workers.count, 10);
    let short = Duration::from_millis(5);
    assert_eq!(front.policy, LoadPolicy::Reserve { workers: 2, short, ageing: 0.05 });
    let hedge = HedgeConfig { after: None, percentile: Some(0.9), budget: 0.5 };
    assert_eq!(front.hedge, Some(hedge));
    let asks = LoadConfig::Open {
        rate: None,
        utilisation: Some(0.5),
        arrivals: Arrivals::Poisson,
        requests: Some(7),
    };
    assert_eq!(changed.requesters["users"].load, asks);
    // Another kind replaces the whole table.
    let other = config(
        Overrides::default()
            .set("balancers.front.policy=random")
            .set("balancers.front.queue=unbounded")
            .set("requesters.users.load={ kind = \"batch\", requests = 3 }"),
    );
    assert_eq!(other.balancers["front"].policy, LoadPolicy::Random);
    assert_eq!(other.balancers["front"].queue, None);
    assert_eq!(other.requesters["users"].load, LoadConfig::Batch { requests: 3 });
}

#[test]
fn children_change_and_remove_what_they_inherit() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base.toml");
    std::fs::write(&base, front("hedge = \"1s\"")).unwrap();
    let child = |text: &str| {
        let path = folder.path().join("child.toml");
        let text = format!("extends = \"base.toml\"\n{text}");
        Loaded::parse(path, text, &catalog(), &Overrides::default())
            .unwrap_or_else(|mistakes| panic!("{mistakes}"))
            .config
    };
    let config = child("balancers.front.policy = \"round-robin\"");
    assert_eq!(config.balancers["front"].policy, LoadPolicy::RoundRobin);
    assert_eq!(config.balancers["front"].workers.count, 4);
    let config = child("remove = [\"balancers.front.hedge\"]\nbalancers.front.replicate = \"all\"");
    let front = &config.balancers["front"];
    assert_eq!((front.hedge, front.replicate), (None, Some(ReplicateConfig::All)));
    let config = child("remove = [\"requesters.users\"]");
    assert!(config.requesters.is_empty());
}

#[test]
fn copies_ask_their_own_balancer_or_the_shared_one() {
    let ends = |head: &str| {
        let plan = plan(&format!("{head}\n{}", front("")));
        let requesters = plan.requesters.iter();
        let ends: Vec<(String, String)> = requesters
            .map(|users| (users.name.clone(), plan.balancers[users.to].name.clone()))
            .collect();
        ends
    };
    let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    assert_eq!(
        ends("copies.lane = 2"),
        [pair("users[lane=0]", "front[lane=0]"), pair("users[lane=1]", "front[lane=1]")]
    );
    assert_eq!(
        ends("copies.lane = 2\nshared = [\"front\"]"),
        [pair("users[lane=0]", "front"), pair("users[lane=1]", "front")]
    );
}

#[test]
fn mistakes_in_copies() {
    insta::assert_snapshot!(shown(&format!(
        "copies.lane = 2\nshared = [\"users\", \"frnt\"]\n{}",
        front("")
    )));
}

#[test]
fn mistakes_in_balancers() {
    insta::assert_snapshot!(shown(
        r#"[balancers.a]
policy = "centrl"
replicate = "al"
hedge = 30
queue = "unbound"
full = "drop"
idempotent = "yes"
max_atempts = 3
workers = 10
[balancers.b]
policy = { kind = "central", per_wroker = 2 }
workers = { count = 0, concurrency = 0, work = "npa" }
[balancers.c]
policy = { kind = "reserve", workers = 2 }
[balancers.d]
policy = { kind = "random", ageing = 1 }
workers = { cuont = 4, work = { kind = "nap", tiem = "1s", diary = 4 } }
[requesters.users]
to = "a"
load = { kind = "batch", requests = 1 }
"#
    ));
}

#[test]
fn numbers_of_balancers() {
    let judged = |lines: &str, workers: &str| shown(&asked(lines, workers, BATCH));
    insta::assert_snapshot!(judged(
        "policy = { kind = \"central\", per_worker = 0 }\n\
         hedge = { after = \"1s\", percentile = 0.9, budget = 0 }\nreplicate = 5\nqueue = 0\n\
         max_attempts = 0\nidempotent = false",
        ""
    ));
    insta::assert_snapshot!(judged(
        "policy = { kind = \"reserve\", workers = 4, short = \"0s\", ageing = -1 }\n\
         hedge = { percentile = 95 }",
        "concurrency = 100_000"
    ));
    insta::assert_snapshot!(judged("hedge = { budget = 2 }\nreplicate = 1", ""));
    let alone = |lines: &str| shown(&front(lines).replace("count = 4", "count = 1"));
    insta::assert_snapshot!(alone("replicate = \"all\""));
    insta::assert_snapshot!(alone(
        "hedge = \"0s\"\npolicy = { kind = \"reserve\", workers = 1, short = \"1s\" }"
    ));
}

#[test]
fn mistakes_in_requesters() {
    let bimodal = r#"bimodal = { short = "2s", long = "1s", share = 7 }"#;
    let both = r#"lognormal = { mean = "1s", cv2 = nan }, uniform = ["1s", "2s"]"#;
    insta::assert_snapshot!(shown(&format!(
        r#"{}
[requesters.a]
to = "frnt"
load = {{ kind = "opne", rate = 1 }}
order = "output"
[requesters.b]
to = "users"
load = {{ kind = "closed", cuont = 4, think = {{ lognormal = {{ mean = "1s" }} }} }}
[requesters.c]
[requesters.d]
to = "front"
load = {{ kind = "closed", count = 0, think = {{ uniform = ["2s", "1s"] }}, requests = 0 }}
[requesters.e]
to = "front"
load = {{ kind = "closed", count = 1, think = {{ {bimodal} }} }}
[requesters.f]
to = "front"
load = {{ kind = "closed", count = 1, think = {{ {both} }} }}
[requesters.g]
to = "front"
load = {{ kind = "open" }}
[requesters.h]
to = "front"
load = {{ kind = "open", rate = 0, utilisation = -1, requests = 0 }}
[requesters.i]
to = "front"
load = {{ kind = "batch", requests = -1 }}
"#,
        front("")
    )));
}

#[test]
fn ends_that_are_of_another_sort() {
    let more = "[crews.a]\nlike = \"solo\"\nto = \"front\"\n[crews.b]\nlike = \"solo\"\n\
                from = \"front\"\n[requesters.lost]\nto = \"manuals\"\n\
                load = { kind = \"batch\", requests = 1 }\n";
    insta::assert_snapshot!(shown(&format!("{}{}", small(ALL, more), front(""))));
    insta::assert_snapshot!(shown(&format!(
        "{}[dumps.users]\ncapacity = 9\n[requesters.Bad-Name]\nto = \"front\"\n\
         load = {{ kind = \"batch\", requests = 1 }}\n",
        front("")
    )));
}

#[test]
fn warnings() {
    let more = r#"order = "input"
[requesters.more]
to = "front"
load = { kind = "open", utilisation = 0.5 }
[balancers.idle]
queue = "unbounded"
full = "reject"
max_attempts = 5
workers.work = "nap"
"#;
    let text = users("kind = \"open\", utilisation = 0.6");
    insta::assert_snapshot!(shown(&format!("{text}{more}")));
    insta::assert_snapshot!(shown(&users("kind = \"open\", utilisation = 1.1")));
}

#[test]
fn flags_and_variables_are_blamed() {
    let overrides = Overrides::default()
        .variable("GOPHERWORKS__BALANCERS__FRONT__WORKERS__COUNT", "many")
        .set("balancers.front.policy=fair")
        .set("requesters.users.to=frnt");
    let mistakes = load(&front(""), &overrides).unwrap_err();
    insta::assert_snapshot!(mistakes.render(false));
}

#[test]
fn workers_that_would_ask_their_own_server_are_refused() {
    let design = |url: &str, second: &str| {
        format!(
            "[balancers.a]\nworkers = {{ work = {{ kind = \"http\", url = \"{url}\" }} }}\n\
             [requesters.in_a]\nto = \"a\"\n\
             load = {{ kind = \"http\", listen = \"127.0.0.1:8080\" }}\n\
             [balancers.b]\nworkers = {{ work = {{ kind = \"http\", url = \"{second}\" }} }}\n\
             [requesters.in_b]\nto = \"b\"\n\
             load = {{ kind = \"http\", listen = \"127.0.0.1:8081\" }}\n"
        )
    };
    let there = "http://example.com/";
    for (first, second, way) in [
        ("http://127.0.0.1:8080/x", there, Some("`a` asks `in_a`")),
        ("http://localhost:8080", there, Some("`a` asks `in_a`")),
        (
            "http://127.0.0.1:8081/",
            "http://localhost:8080/{name}",
            Some("`a` asks `in_b`, `b` asks `in_a`"),
        ),
        // A chain, and servers of other projects.
        ("http://127.0.0.1:8081/", there, None),
        ("http://127.0.0.1:9000/", "http://10.0.0.1:8081", None),
    ] {
        let found = parse_with(&design(first, second), &Overrides::default());
        match (found, way) {
            (Ok(_), None) => {}
            (Err(found), Some(way)) => {
                let said = found.render(false);
                assert_eq!(said.matches("would wait for workers").count(), 1, "{said}");
                assert!(said.contains(way), "{said}");
            }
            (found, _) => panic!("{first} {second}: {}", found.is_ok()),
        }
    }
}
