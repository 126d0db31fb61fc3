//! Balancers in virtual time: tail latencies as known from theory and from simulations without
//! actors.

use std::collections::BTreeMap;

use gopherworks::Loaded;
use gopherworks::catalog::Catalog;
use gopherworks::compare::policies::{self, Distribution, PolicyRow, Trial, changes, rows};
use gopherworks::config::Overrides;
use gopherworks::report::{Report, RunOutcome};
use gopherworks::simulate::{TraceLog, in_virtual_time, until_done};
use gopherworks::topology::{Options, Topology};

fn overridden(file: &str, sets: &[String]) -> Loaded {
    let with = (sets.iter()).fold(Overrides::default(), |all, set| all.set(set.clone()));
    Loaded::read(format!("config/{file}.toml"), &Catalog::standard(), &with)
        .unwrap_or_else(|found| panic!("{file} with {sets:?}: {found}"))
}

fn simulated(file: &str, sets: &[&str]) -> Report {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let topology = Topology::from_plan(overridden(file, &sets).plan);
    let report = topology.simulate(None).expect("a start");
    assert_eq!(report.outcome, RunOutcome::Finished, "{:?}", report.failures);
    assert!(report.balances());
    report
}

const EXPONENTIAL: Distribution = ("exponential", policies::exponential);
const LOGNORMAL: Distribution = ("lognormal", policies::lognormal);
const BIMODAL: Distribution = ("bimodal", policies::bimodal);

/// Ten workers that take 10 ms on average; p99 in multiples of that.
fn tried(
    policy: &str,
    service: Distribution,
    load: f64,
    (seeds, requests): (u64, u64),
    more: &[&str],
) -> (f64, PolicyRow) {
    let ten = "balancers.desk.workers.work.time=10ms".to_owned();
    let trial = Trial {
        policy: Some(policy.to_owned()),
        load: Some((load, requests)),
        service: Some(service),
    };
    let base = overridden("balancer", std::slice::from_ref(&ten));
    let mut sets = vec![ten];
    sets.extend(changes(&base.config, &trial).expect("changes"));
    sets.extend(more.iter().map(|set| (*set).to_owned()));
    let plan = overridden("balancer", &sets).plan;
    let mut rows = rows(&plan, &trial, seeds).expect("a start");
    let row = rows.pop().expect("a balancer");
    assert_eq!(row.note, None);
    assert_eq!(row.answered, seeds * requests);
    (row.p99_s / 0.01, row)
}

fn near(what: &str, found: f64, known: f64, within: f64) {
    let off = found / known - 1.0;
    assert!(off.abs() <= within, "{what}: {found:.2}, known {known} ({:+.0}%)", off * 100.0);
}

const HUNDRED: (u64, u64) = (2, 100_000);
const JBSQ: &str = r#"{ kind = "central", per_worker = 2 }"#;

#[test]
fn central_has_the_tail_that_is_known() {
    for (load, known) in [(0.75, 4.8), (0.9, 6.4)] {
        let (p99, _) = tried("central", EXPONENTIAL, load, HUNDRED, &[]);
        near(&format!("central {load}"), p99, known, 0.1);
    }
}

#[test]
fn central_has_it_near_saturation() {
    let (p99, _) = tried("central", EXPONENTIAL, 0.95, (1, 1_000_000), &[]);
    near("central 0.95", p99, 10.2, 0.1);
}

#[test]
fn the_others_have_the_tails_that_are_known() {
    let short = r#"{ kind = "short-first" }"#;
    let reserve = r#"{ kind = "reserve", workers = 3, short = "50ms" }"#;
    let known: [(&str, [Option<f64>; 3]); 7] = [
        ("random", [Some(18.5), None, None]),
        ("round-robin", [Some(11.0), None, None]),
        ("two-choices", [Some(7.4), Some(10.6), Some(14.8)]),
        ("least-loaded", [Some(5.5), Some(8.0), Some(12.2)]),
        (JBSQ, [Some(5.5), Some(7.3), Some(10.8)]),
        (short, [Some(5.1), Some(7.5), Some(11.3)]),
        (reserve, [Some(4.8), Some(5.7), Some(7.4)]),
    ];
    for (policy, known) in known {
        for (load, known) in [0.75, 0.9, 0.95].into_iter().zip(known) {
            if let Some(known) = known {
                let seeds = if load > 0.9 { 5 } else { 1 };
                let (p99, _) = tried(policy, EXPONENTIAL, load, (seeds, 100_000), &[]);
                near(&format!("{policy} {load}"), p99, known, 0.15);
            }
        }
    }
}

/// Under equal arrivals and sizes, policies with more information are not slower.
#[test]
fn a_policy_that_knows_more_is_never_slower() {
    let rows = [
        (EXPONENTIAL, 0.75),
        (EXPONENTIAL, 0.9),
        (EXPONENTIAL, 0.95),
        (LOGNORMAL, 0.9),
        (BIMODAL, 0.75),
        (BIMODAL, 0.9),
    ];
    for (service, load) in rows {
        let mut order = vec!["central", JBSQ, "least-loaded", "two-choices"];
        if service.0 == "exponential" {
            order.extend(["round-robin", "random"]);
        }
        let tails: Vec<(f64, &str)> = (order.into_iter())
            .map(|policy| (tried(policy, service, load, (1, 50_000), &[]).0, policy))
            .collect();
        for pair in tails.windows(2) {
            assert!(pair[0].0 <= pair[1].0, "{} {load}: {tails:?}", service.0);
        }
    }
}

#[test]
fn reserved_workers_keep_short_requests_from_waiting_for_long_ones() {
    let (p99, _) = tried("reserve", BIMODAL, 0.9, HUNDRED, &[]);
    assert!(p99 <= 34.0, "{p99}");
}

#[test]
fn a_slow_worker_spoils_little() {
    let slow = "balancers.desk.workers.work.slow={ workers = 1, factor = 5.0 }";
    let (plain, _) = tried("central", EXPONENTIAL, 0.9, HUNDRED, &[slow]);
    assert!(plain <= 8.0, "{plain}");
    let skip = r#"{ kind = "central", skip_slow = true }"#;
    let (skipped, _) = tried(skip, EXPONENTIAL, 0.9, HUNDRED, &[slow]);
    assert!(skipped <= plain, "{skipped} {plain}");
}

#[test]
fn a_hedge_takes_stragglers_away_for_few_copies() {
    let report = simulated("hedged", &[]);
    let desk = &report.balancers[0];
    assert!(desk.response.p99_s <= 0.044, "{:?}", desk.response);
    assert!(desk.copies <= 2_000, "{}", desk.copies);
    let without = simulated("hedged", &["balancers.desk.hedge.after=10s"]);
    assert!(without.balancers[0].response.p99_s > 0.15);
    // Once enough response times are known, a percentile works as well.
    let percentile = simulated("hedged", &["balancers.desk.hedge={ percentile = 0.985 }"]);
    let desk = &percentile.balancers[0];
    assert!(desk.response.p99_s <= 0.1, "{:?}", desk.response);
    assert!(desk.copies <= 2_000, "{}", desk.copies);
}

#[test]
fn the_first_of_five_answers_wins() {
    let report = simulated("replicated-query", &[]);
    let databases = &report.balancers[0];
    // The least of five exponential times has a fifth of their mean.
    near("mean", databases.response.mean_s, 0.02, 0.1);
    assert_eq!((databases.answered, databases.copies), (1000, 4000));
    assert_eq!((databases.wasted, databases.in_flight), (4000, 0));
}

#[test]
fn the_talks_demo_saturates_and_never_deadlocks() {
    for queue in ["1", "3", "10", "79", "1024", "\"unbounded\""] {
        let queue = format!("balancers.desk.queue={queue}");
        let report = simulated("balancer", &[&queue, "requesters.crowd.load.requests=10000"]);
        let (desk, crowd) = (&report.balancers[0], &report.requesters[0]);
        assert_eq!((crowd.answered, crowd.lost), (10_000, 0), "{queue}");
        near("answers a second", crowd.per_s, 2.0, 0.03);
        near("response", crowd.response.mean_s, 40.0, 0.03);
        assert!(desk.busy > 0.98, "{queue}: {}", desk.busy);
    }
    let report = simulated("balancer", &["requesters.crowd.load.requests=10000"]);
    let desk = &report.balancers[0];
    near("pending", desk.pending_mean, 8.0, 0.05);
    let turns = simulated("balancer-round-robin", &["requesters.crowd.load.requests=10000"]);
    let turns = &turns.balancers[0];
    assert!(
        turns.pending_variance > 5.0 * desk.pending_variance,
        "{} {}",
        turns.pending_variance,
        desk.pending_variance
    );
}

#[test]
fn lots_of_work_comes_back_in_either_order() {
    let plain = simulated("simple-balancer", &[]);
    let ordered = simulated("simple-balancer", &["requesters.sender.order=input"]);
    for report in [&plain, &ordered] {
        assert_eq!(report.requesters[0].answered, 100);
    }
    // The work is equal; answers that wait for earlier ones take longer.
    assert_eq!(plain.virtual_s, ordered.virtual_s);
    let mean = |report: &Report| report.requesters[0].response.mean_s;
    assert!(mean(&plain) < mean(&ordered));
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    let hash = |file: &str, seed: u64| {
        let plan = overridden(file, &[format!("execution.seed={seed}")]).plan;
        let trace = std::sync::Arc::new(TraceLog::hashing());
        let options = Options { tracer: Some(trace.clone()), ..Options::default() };
        let topology = Topology::from_plan(plan).with_options(options);
        topology.simulate(None).expect("a start");
        trace.finish().expect("a hash")
    };
    for file in ["simple-balancer", "balancer", "balancer-round-robin", "replicated-query"] {
        assert_eq!(hash(file, 7), hash(file, 7), "{file}");
        assert_ne!(hash(file, 7), hash(file, 8), "{file}");
    }
}

/// Killing actors changes no answer: each requester gets each answer once.
#[test]
fn no_answer_is_lost_when_actors_are_killed() {
    for file in ["balancer", "replicated-query", "simple-balancer"] {
        let sets: Vec<String> = ["supervision.intensity=1000000", "supervision.in_a_row=1000000"]
            .map(str::to_owned)
            .to_vec();
        let mut sets = sets;
        let desk = if file == "replicated-query" { "databases" } else { "desk" };
        sets.push(format!("balancers.{desk}.idempotent=true"));
        let topology = Topology::from_plan(overridden(file, &sets).plan);
        let report = in_virtual_time(async |clock| {
            let running = topology.clone().in_time_of(&clock, None).start().await?;
            let names = running.actors();
            let killer = async {
                for turn in 0.. {
                    clock.sleep(std::time::Duration::from_millis(777)).await;
                    running.kill(&names[turn % names.len()]);
                }
            };
            let done = tokio::select! {
                biased;
                done = until_done(&running, &clock, None) => done,
                () = killer => unreachable!("killing goes on until the report exists"),
            };
            Ok::<_, gopherworks::topology::StartError>(running.finish(done).await)
        })
        .expect("a start");
        assert_eq!(report.outcome, RunOutcome::Finished, "{file}: {:?}", report.failures);
        let asked = &report.requesters[0];
        assert_eq!(asked.answered, asked.asked, "{file}");
        assert_eq!((asked.lost, asked.failed, asked.in_flight), (0, 0, 0), "{file}");
        if file == "balancer" {
            assert!(report.restarts > 100, "{}", report.restarts);
        }
    }
}

#[test]
fn every_file_of_balancers_is_tried_here() {
    let mut known = BTreeMap::new();
    for entry in std::fs::read_dir("config").expect("the folder") {
        let path = entry.expect("an entry").path();
        // The variants with faults are in a folder, and have their own tests.
        if path.is_dir() {
            continue;
        }
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned());
        let name = name.expect("a name");
        // Web services are tested under a real load.
        if name != "web-service" && !overridden(&name, &[]).plan.balancers.is_empty() {
            known.insert(name, ());
        }
    }
    let expected =
        ["balancer", "balancer-round-robin", "hedged", "replicated-query", "simple-balancer"];
    assert_eq!(known.into_keys().collect::<Vec<_>>(), expected);
}
