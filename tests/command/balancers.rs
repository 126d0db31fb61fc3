//! Balancers from the command line: run, simulate, compare, and diagnostics.

use crate::support;

use predicates::prelude::*;
use predicates::str::contains;
use rustix::process::Signal;
use serde_json::Value;
use support::command::{Place, Report, Running, shipped, until};

fn json(place: &Place, args: &[&str]) -> Value {
    let out = place.run(args).assert().code(0).stderr("");
    serde_json::from_slice(&out.get_output().stdout).expect("JSON")
}

#[test]
fn a_run_answers_all_and_tells_its_tails() {
    let place = Place::new();
    let file = shipped("simple-balancer.toml");
    let file = file.to_str().expect("a path");
    let out = place.run(["run", file, "--format", "json"]).assert().code(0);
    let report = Report::printed(&out.get_output().stdout).0;
    let (asked, desk) = (&report["requesters"][0], &report["balancers"][0]);
    assert_eq!((&asked["answered"], &asked["lost"]), (&100.into(), &0.into()));
    // The formula of the talk's simple balancer: the sum of all work divided by its workers, plus
    // at most one request.
    let took = report["wall_s"].as_f64().expect("a time");
    let busy = desk["busy"].as_f64().expect("a share") * took * 4.0;
    assert!(took >= busy / 4.0 && took < busy / 4.0 + 0.5, "{took} {busy}");
    for key in ["p50_s", "p99_s", "p999_s", "mean_s"] {
        assert!(asked["response"][key].as_f64().expect(key) > 0.0, "{key}");
    }
    assert_eq!(desk["workers"].as_array().expect("rows").len(), 4);
    place
        .run(["run", file])
        .assert()
        .code(0)
        .stdout(contains("p99.9").and(contains("central")).and(contains("desk/4")));
}

/// A config with a batch of requests to workers that run `program`.
fn programs(program: &str, load: &str) -> String {
    format!(
        r#"
        [balancers.desk]
        workers = {{ count = 2, work = {{ kind = "command", command = ["{program}"] }} }}
        [requesters.crowd]
        to = "desk"
        load = {load}
    "#
    )
}

#[test]
fn requests_that_a_worker_fails_are_failures_and_no_answers() {
    let place = Place::new();
    for load in [
        r#"{ kind = "batch", requests = 3 }"#,
        r#"{ kind = "closed", count = 2, requests = 3 }"#,
        r#"{ kind = "open", rate = 1000, requests = 3 }"#,
    ] {
        place.write("bad.toml", programs("false", load));
        let out = place
            .run(["run", "bad.toml", "--format", "json", "-q"])
            .assert()
            .code(3)
            .stderr(contains("of crowd failed permanently: ").count(1))
            .stderr(contains("desk: request").and(contains("exit status: 1")));
        let report = Report::printed(&out.get_output().stdout).0;
        let rows = [("requesters", "refused"), ("balancers", "errors")];
        for (row, errors) in rows.map(|(rows, errors)| (&report[rows][0], errors)) {
            let counts = ["asked", "answered", "failed", errors, "in_flight"];
            let counts = counts.map(|name| row[name].as_u64().expect(name));
            assert_eq!(counts, [3, 0, 3, 3, 0], "{load}: {row}");
            assert_eq!(row["response"]["count"], 0);
        }
        let reasons = report["reasons"].as_array().expect("reasons");
        assert_eq!(reasons.len(), 1, "{reasons:?}");
        assert_eq!((&reasons[0]["count"], &reasons[0]["final"]), (&3.into(), &3.into()));
        place.write("good.toml", programs("true", load));
        place.run(["run", "good.toml", "-q"]).assert().code(0);
    }
}

#[test]
fn one_worker_does_requests_in_their_order() {
    let place = Place::new();
    let file = shipped("simple-balancer.toml");
    let trace = place.path("trace");
    place
        .run(["simulate".as_ref(), file.as_os_str(), "--trace".as_ref(), trace.as_os_str()])
        .args(["--set", "balancers.desk.workers.count=1"])
        .assert()
        .code(0);
    let text = place.text("trace");
    let answered: Vec<u64> = (text.lines())
        .filter_map(|line| line.split(" answer ").nth(1)?.strip_suffix(".0")?.parse().ok())
        .collect();
    assert_eq!(answered, (0..100).collect::<Vec<_>>());
}

#[test]
fn a_run_without_an_end_is_closed_by_a_signal_or_by_its_time() {
    let place = Place::new();
    let text = r#"
        [balancers.desk]
        workers = { count = 2, work = { kind = "sleep", time = "1ms" } }
        [requesters.crowd]
        to = "desk"
        load = { kind = "closed", count = 5 }
    "#;
    place.write("endless.toml", text);
    let out =
        place.run(["run", "endless.toml", "--for", "200ms", "--format", "json"]).assert().code(0);
    let report = Report::printed(&out.get_output().stdout).0;
    let asked = &report["requesters"][0];
    assert!(asked["answered"].as_u64().expect("a count") > 10);
    assert_eq!((&asked["in_flight"], &asked["lost"]), (&0.into(), &0.into()));

    let program = r#"{ kind = "command", command = ["bash", "-c", "echo >> began"] }"#;
    let said = r#"{ kind = "sleep", time = "1ms" }"#;
    place.write("programs.toml", text.replace(said, program));
    let args = ["run", "programs.toml", "--report", "r.json"];
    let running = Running::start(place.process(args));
    until("a program has run", || place.path("began").exists());
    running.signal(Signal::INT);
    assert_eq!(running.end().status.code(), Some(0));
    let asked = &place.report("r.json").0["requesters"][0];
    assert_eq!((&asked["in_flight"], &asked["lost"]), (&0.into(), &0.into()));
    assert_eq!(asked["answered"], asked["asked"]);
    assert_eq!(asked["answered"].as_u64(), Some(place.text("began").len() as u64));
}

#[test]
fn policies_stand_side_by_side() {
    let place = Place::new();
    let file = shipped("balancer.toml");
    let file = file.to_str().expect("a path");
    let policies = "central,least-loaded,two-choices,round-robin,random";
    let args = [
        "compare",
        file,
        "--policies",
        policies,
        "--load",
        "0.75,0.9",
        "--service",
        "exponential,lognormal,bimodal",
        "--requests",
        "5000",
        "--seeds",
        "2",
        "--format",
        "json",
    ];
    let rows = json(&place, &args);
    let rows = rows.as_array().expect("rows");
    assert_eq!(rows.len(), 5 * 2 * 3);
    for row in rows {
        assert_eq!(row["answered"], 10_000);
        assert!(row["p99_s"].as_f64() >= row["p50_s"].as_f64());
    }
    let of = |at: usize| rows[at]["p99_s"].as_f64().expect("a time");
    assert!(of(0) < of(4), "random is not as good as central");
    assert_eq!(json(&place, &args), Value::Array(rows.clone()), "the same again");
    place
        .run(["compare", file, "--policies", "central,random"])
        .assert()
        .code(0)
        .stdout(contains("p99").and(contains("█")).and(contains("variance")));
}

#[test]
fn designs_that_cannot_be_compared_are_reported() {
    let place = Place::new();
    let file = shipped("balancer.toml");
    let file = file.to_str().expect("a path");
    let gophers = shipped("one-gopher.toml");
    let gophers = gophers.to_str().expect("a path");
    let simple = shipped("simple-balancer.toml");
    let simple = simple.to_str().expect("a path");
    for (args, said) in [
        (["compare", file, "--policies", "centrl"], "did you mean `central`?"),
        (["compare", file, "--load", "0"], "a load is a share"),
        (["compare", gophers, "--load", "0.5"], "there is no balancer"),
        (["compare", simple, "--service", "bimodal"], "no `time`"),
    ] {
        place.run(args).assert().code(78).stdout("").stderr(contains(said));
    }
}

#[test]
fn mistakes_are_told_all_at_once() {
    let place = Place::new();
    let text = r#"
[balancers.desk]
policy = "least-loded"
replicate = 9
full = "wate"
workers = { count = 2, work = { kind = "slep", time = "1ms" } }
[balancers.spare]
policy = { kind = "reserve", workers = 4, short = "1ms" }
hedge = { after = "1ms", percentile = 0.9 }
workers = { count = 4, work = { kind = "sleep", tyme = "1ms" } }
[requesters.crowd]
to = "dsk"
load = { kind = "open", rate = 5, utilisation = 0.5 }
[requesters.other]
to = "desk"
load = { kind = "opn" }
"#;
    place.write("bad.toml", text);
    let out = place.run(["validate", "bad.toml"]).assert().code(78);
    let said = String::from_utf8_lossy(&out.get_output().stderr).into_owned();
    for what in [
        "did you mean `least-loaded`?",
        "has 2 workers, which is less than 9",
        "`wate` is none of wait, reject",
        "did you mean `sleep`?",
        "all workers of `spare` (4) would be reserved",
        "`after` and `percentile` exclude each other",
        "unknown key `tyme`",
        "no balancer is called `dsk`",
        "`rate` and `utilisation` exclude each other",
        "`opn` is none of closed, open, batch",
    ] {
        assert!(said.contains(what), "{what}: {said}");
    }
}

#[test]
fn every_format_draws_a_balancer() {
    let place = Place::new();
    let file = shipped("balancer.toml");
    for format in ["text", "dot", "mermaid", "svg"] {
        place
            .run(["graph".as_ref(), file.as_os_str()])
            .args(["--format", format])
            .assert()
            .code(0)
            .stdout(contains("desk").and(contains("crowd")).and(contains("10 workers")));
    }
}
