//! Every design of the document: its speed-up, and invariants that hold for all cores and seeds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gopherworks::Catalog;
use gopherworks::Loaded;
use gopherworks::config::Overrides;
use gopherworks::pipeline::steps::Step;
use gopherworks::pipeline::trace::{Act, Record, Tracer};
use gopherworks::plan::{Plan, Target};
use gopherworks::report::{Report, RunOutcome};
use gopherworks::supervision::clock::{Seed, Time};
use gopherworks::topology::{Options, Topology};
use rand::RngExt;

/// Every design with the speed-up that the document states.
const DESIGNS: [(&str, f64); 14] = [
    ("one-gopher", 1.0),
    ("two-gophers-one-cart", 1.0),
    ("two-gophers", 2.0),
    ("everything-doubled", 2.0),
    ("three-gophers", 2.0),
    ("four-gophers", 4.0),
    ("eight-gophers", 8.0),
    ("eight-gophers-one-core", 1.0),
    ("two-gophers-staged", 4.0 / 3.0),
    ("two-gophers-staged-doubled", 8.0 / 3.0),
    ("four-gophers-staged", 8.0 / 3.0),
    ("eight-gophers-staged", 4.0),
    ("sixteen-gophers", 8.0),
    ("fan-in", 4.0),
];

fn plan(name: &str, sets: &[String]) -> Plan {
    let path = format!("{}/config/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let overrides = sets.iter().fold(Overrides::default(), |all, set| all.set(set));
    Loaded::read(path, &Catalog::standard(), &overrides)
        .unwrap_or_else(|mistakes| panic!("{name}: {mistakes}"))
        .plan
}

/// Checks a trace while it is produced.
#[derive(Default)]
struct Judge(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    /// Burned ids.
    burned: BTreeSet<u64>,
    /// Steps by cart: (start, end).
    carts: BTreeMap<String, Vec<(Time, Time)>>,
    /// Steps by gopher: (start, end).
    gophers: BTreeMap<String, Vec<(Time, Time)>>,
    /// Steps at each end: (crew, step) -> intervals.
    ends: BTreeMap<(String, Step), Vec<(Time, Time)>>,
    /// Ready books and their maximum, by dump.
    ready: BTreeMap<String, (i64, i64)>,
    /// Maximum number of books in one cart, by crew.
    loads: BTreeMap<String, usize>,
    wrong: Vec<String>,
}

impl Tracer for Judge {
    fn record(&self, record: &Record<'_>) {
        let mut seen = self.0.lock().unwrap();
        let node = record.node.to_owned();
        match record.act {
            Act::Step { step, cart, since } => {
                let span = (*since, record.at);
                seen.carts.entry(cart.to_string()).or_default().push(span);
                seen.gophers.entry(node).or_default().push(span);
                let end = (cart.crew.to_owned(), *step);
                seen.ends.entry(end).or_default().push(span);
            }
            Act::Lease { cart, books } => {
                let most = seen.loads.entry(cart.crew.to_owned()).or_default();
                *most = books.len().max(*most);
                let ready = seen.ready.entry(node).or_default();
                ready.0 -= books.len() as i64;
            }
            Act::Put { books } | Act::Pass { books, .. } => {
                let ready = seen.ready.entry(node).or_default();
                ready.0 += books.len() as i64;
                ready.1 = ready.1.max(ready.0);
            }
            Act::Burn { books, .. } => {
                for id in *books {
                    if !seen.burned.insert(id.0) {
                        seen.wrong.push(format!("book {id} burned twice"));
                    }
                }
            }
            _ => {}
        }
    }
}

/// The largest number of intervals that cover one instant; intervals that only touch do not
/// overlap.
fn overlap(spans: &[(Time, Time)]) -> usize {
    let mut edges: Vec<(Time, i64)> = (spans.iter())
        .filter(|(since, at)| since < at)
        .flat_map(|(since, at)| [(*since, 1), (*at, -1)])
        .collect();
    edges.sort();
    let mut now = 0;
    edges
        .iter()
        .map(|(_, step)| {
            now += step;
            now
        })
        .max()
        .unwrap_or(0) as usize
}

fn simulate(plan: &Plan, kills: &[(Duration, usize)]) -> (Report, Arc<Judge>) {
    let judge = Arc::new(Judge::default());
    let options = Options { tracer: Some(judge.clone()), ..Options::default() };
    let topology = Topology::from_plan(plan.clone()).with_options(options);
    let report = gopherworks::simulate::in_virtual_time(async |clock| {
        let running = topology.in_time_of(&clock, None).start().await.unwrap();
        let actors = running.actors();
        let kill = async {
            for (gap, victim) in kills {
                clock.sleep(*gap).await;
                assert!(running.kill(&actors[victim % actors.len()]));
                let ledger = running.snapshot().ledger;
                assert!(ledger.balances(), "{ledger:?}");
            }
            std::future::pending::<()>().await;
        };
        let done = tokio::select! {
            biased;
            done = gopherworks::simulate::until_done(&running, &clock, None) => done,
            () = kill => unreachable!(),
        };
        running.finish(done).await
    });
    (report, judge)
}

/// Asserts properties 1 to 5 and 7 of a design by its trace.
fn assert_sound(name: &str, plan: &Plan, report: &Report, judge: &Judge, books: u64, killed: bool) {
    let seen = judge.0.lock().unwrap();
    let what = format!("{name}, seed {}, {} cores", plan.execution.seed, plan.execution.cores);
    assert_eq!(seen.wrong, Vec::<String>::new(), "{what}");
    assert_eq!(report.outcome, RunOutcome::Finished, "{what}: {:?}", report.failures);
    assert!(report.ledger.balances(), "{what}: {:?}", report.ledger);
    assert_eq!((report.ledger.burned, report.ledger.in_flight), (books, 0), "{what}");
    assert_eq!(seen.burned, (1..=books).collect(), "{what}: the same set of books");
    for (cart, steps) in &seen.carts {
        assert!(overlap(steps) <= 1, "{what}: {cart} had two holders at once");
    }
    for (gopher, steps) in seen.gophers.iter().filter(|_| !killed) {
        assert!(overlap(steps) <= 1, "{what}: {gopher} did two steps at once");
    }
    for crew in &plan.crews {
        assert!(seen.loads[&crew.name] <= crew.cart_books, "{what}: a cart overloaded");
        let carts = seen.carts.keys().filter(|cart| cart.starts_with(&format!("{}#", crew.name)));
        assert!(carts.count() <= crew.carts as usize, "{what}: carts from nowhere");
    }
    let at_end = |crews: Vec<&str>, step| {
        let spans: Vec<_> = crews
            .iter()
            .filter_map(|crew| seen.ends.get(&((*crew).to_owned(), step)))
            .flatten()
            .copied()
            .collect();
        overlap(&spans)
    };
    for (key, pile) in plan.piles.iter().enumerate() {
        let crews =
            plan.crews.iter().filter(|crew| crew.from == key).map(|crew| crew.name.as_str());
        if let Some(slots) = pile.exclusive.load.filter(|_| !killed) {
            assert!(at_end(crews.clone().collect(), Step::Load) <= slots as usize, "{what}");
        }
        let below: i64 = (plan.crews.iter().filter(|crew| crew.from == key))
            .map(|crew| i64::from(crew.carts) * crew.cart_books as i64)
            .sum();
        if let (true, Some(capacity)) = (pile.dump, pile.capacity.books) {
            let most = seen.ready[&pile.name].1;
            let returned = if killed { below } else { 0 };
            assert!(most <= capacity as i64 + returned, "{what}: {} held {most}", pile.name);
        }
    }
    for (key, fire) in plan.incinerators.iter().enumerate() {
        let crews = plan.crews.iter().filter(|crew| crew.to == Target::Incinerator(key));
        if let Some(slots) = fire.exclusive.unload.filter(|_| !killed) {
            let crews = crews.map(|crew| crew.name.as_str()).collect();
            assert!(at_end(crews, Step::Unload) <= slots as usize, "{what}");
        }
    }
    let cpu: Vec<(Time, Time)> = (plan.crews.iter())
        .flat_map(|crew| Step::ALL.map(|step| (crew, step)))
        .flat_map(|(crew, step)| {
            let cpu = crew.steps.of(step).cpu.mean();
            let spans = seen.ends.get(&(crew.name.clone(), step)).into_iter().flatten();
            spans.map(move |(_, at)| (Time(at.0 - cpu.as_nanos() as u64), *at))
        })
        .collect();
    if !killed {
        assert!(overlap(&cpu) <= plan.execution.cores, "{what}: more active than cores");
    }
}

fn sets(cores: u32, seed: u64) -> Vec<String> {
    vec![format!("execution.cores={cores}"), format!("execution.seed={seed}")]
}

#[test]
fn every_design_has_its_speed_up_and_its_properties_on_any_cores_and_seed() {
    for (name, promised) in DESIGNS {
        for cores in [1, 2, 4] {
            for seed in [1, 2, 3] {
                // Designs about one core keep it.
                let cores = if name.ends_with("one-core") { 1 } else { cores };
                let plan = plan(name, &sets(cores, seed));
                let (report, judge) = simulate(&plan, &[]);
                assert_sound(name, &plan, &report, &judge, 10_000, false);
                let measured = report.speed_up.unwrap();
                let formula = report.speed_up_formula.unwrap();
                assert!((formula - promised).abs() < 1e-6, "{name}: formula {formula}");
                assert!((measured / promised - 1.0).abs() <= 0.01, "{name}: {measured}");
                let late = report.makespan_s.unwrap() - report.makespan_formula_s.unwrap();
                // The tolerance is one cycle of one gopher with all its handling.
                assert!(late.abs() <= 0.006, "{name}: the makespan is {late} s off");
            }
        }
    }
}

#[test]
fn on_more_cores_the_ring_of_cpu_steps_is_as_fast_as_it_has_cores() {
    for (cores, promised) in [(1, 1.0), (2, 2.0), (4, 4.0), (8, 8.0)] {
        let plan = plan("eight-gophers-one-core", &sets(cores, 1));
        let (report, judge) = simulate(&plan, &[]);
        assert_sound("eight-gophers-one-core", &plan, &report, &judge, 10_000, false);
        assert!(
            (report.speed_up.unwrap() / promised - 1.0).abs() <= 0.01,
            "{cores}: {:?}",
            report.speed_up
        );
        assert!((report.speed_up_formula.unwrap() - promised).abs() < 1e-6);
    }
}

#[test]
fn on_one_core_a_dump_only_costs() {
    // T1 / (T1 + handling) = 4 / (4 + 2).
    for name in ["two-gophers-staged", "eight-gophers-staged", "sixteen-gophers"] {
        let mut changes = sets(1, 1);
        for (step, time) in
            [("load", "1ms"), ("push", "500us"), ("unload", "1ms"), ("return", "500us")]
        {
            changes.push(format!("crews.near.steps.{step}={{ wait = \"0s\", cpu = \"{time}\" }}"));
        }
        let plan = plan(name, &changes);
        let (report, judge) = simulate(&plan, &[]);
        assert_sound(name, &plan, &report, &judge, 10_000, false);
        assert!(
            (report.speed_up.unwrap() - 2.0 / 3.0).abs() <= 0.01,
            "{name}: {:?}",
            report.speed_up
        );
        assert!((report.speed_up_formula.unwrap() - 2.0 / 3.0).abs() < 1e-6);
    }
}

#[test]
fn every_design_keeps_its_books_when_actors_are_killed() {
    for (name, _) in DESIGNS {
        for seed in 1..=6u64 {
            let mut changes = sets([1, 2, 4][seed as usize % 3], seed);
            changes.push("piles.manuals.source.books=1_000".into());
            changes.push("supervision.intensity=100_000".into());
            changes.push("supervision.in_a_row=100_000".into());
            changes.push("supervision.backoff={ min = \"1ms\", max = \"4ms\" }".into());
            let plan = plan(name, &changes);
            let mut chance = Seed(seed).stream(name, "kills");
            let kills: Vec<(Duration, usize)> = (0..40)
                .map(|_| {
                    (
                        Duration::from_micros(chance.random_range(0..4_000)),
                        chance.random_range(0..1_000),
                    )
                })
                .collect();
            let (report, judge) = simulate(&plan, &kills);
            assert_sound(name, &plan, &report, &judge, 1_000, true);
        }
    }
}

#[test]
fn rings_of_drawn_times_are_as_slow_as_the_formula_says() {
    for (carts, promised) in [(2, 1.6), (4, 16.0 / 7.0), (8, 32.0 / 11.0), (16, 64.0 / 19.0)] {
        let mut changes = sets(2, 7);
        changes.push(format!("crews.haul.carts={{ count = {carts}, books = 1 }}"));
        changes.push("piles.manuals.source.books=100_000".into());
        for step in ["load", "push", "unload", "return"] {
            changes
                .push(format!("crews.haul.steps.{step}={{ wait = {{ exponential = \"1ms\" }} }}"));
        }
        let report = Topology::from_plan(plan("four-gophers", &changes)).simulate(None).unwrap();
        let formula = report.speed_up_formula.unwrap();
        assert!((formula / promised - 1.0).abs() < 1e-6, "{carts} carts: formula {formula}");
        let measured = report.speed_up.unwrap();
        assert!(
            (measured / promised - 1.0).abs() <= 0.03,
            "{carts} carts: {measured} for {promised}"
        );
    }
}

#[test]
fn a_dump_between_drawn_times_costs_what_the_formula_says() {
    for room in [1.0f64, 2.0, 4.0, 8.0, 16.0] {
        let promised = (room + 2.0) / (room + 3.0);
        let mut changes = sets(2, 11);
        changes.push("crews.near.carts={ count = 1, books = 1 }".into());
        changes.push(format!("dumps.middle.capacity={}", room as u64));
        changes.push("piles.manuals.source.books=100_000".into());
        for step in ["load", "unload", "return"] {
            changes.push(format!("crews.near.steps.{step}=\"0s\""));
        }
        changes.push("crews.near.steps.push={ wait = { exponential = \"1ms\" } }".into());
        let report =
            Topology::from_plan(plan("two-gophers-staged", &changes)).simulate(None).unwrap();
        // Both push once a trip, so at full rate they would be twice as fast as one gopher that
        // does both.
        let measured = report.speed_up.unwrap() / 2.0;
        assert!(
            (measured / promised - 1.0).abs() <= 0.03,
            "room {room}: {measured} for {promised}"
        );
        let formula = report.speed_up_formula.unwrap() / 2.0;
        assert!((formula / promised - 1.0).abs() < 1e-6, "room {room}: formula {formula}");
    }
}
