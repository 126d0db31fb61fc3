//! The effect of each kind of fault on a topology, and that none of them loses a book.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gopherworks::Loaded;
use gopherworks::config::Overrides;
use gopherworks::pipeline::trace::{Record, Tracer};
use gopherworks::simulate::{in_virtual_time, until_done};
use gopherworks::supervision::fault::Fired;
use gopherworks::topology::{Done, Faulting, Options, Topology};
use gopherworks::{Catalog, Report};

/// A ring of two crews around a dump; a trip takes some milliseconds, a run has 40 cartloads.
const DESIGN: &str = r#"
[piles.manuals]
source = { kind = "generate", books = 200 }
[dumps.middle]
capacity = { books = 20 }
[incinerators.furnace]
burn = "count"
[crews.near]
from = "manuals"
to = "middle"
gophers = ["load push", "unload return"]
carts = { count = 2, books = 5 }
steps = { load = "1ms", push = "1ms", unload = "1ms", return = "1ms" }
[crews.far]
from = "middle"
to = "furnace"
gophers = ["load push unload return"]
carts = { count = 1, books = 5 }
steps = { load = "1ms", unload = "1ms" }
[execution]
cores = 2
[supervision]
intensity = "unlimited"
in_a_row = "unlimited"
backoff = { min = "1ms", max = "2ms" }
hang_after = "20ms"
"#;

#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl Tracer for Lines {
    fn record(&self, record: &Record<'_>) {
        self.0.lock().unwrap().push(record.to_string());
    }
}

struct Ran {
    report: Report,
    fired: Vec<Fired>,
    lines: Vec<String>,
}

impl Ran {
    fn count(&self, part: &str) -> usize {
        self.lines.iter().filter(|line| line.contains(part)).count()
    }
}

/// Runs the design with a fault to its end, and asserts that every book is accounted for.
fn with(fault: &str) -> Ran {
    with_all(&format!("[faults.it]\n{fault}\n"))
}

fn with_all(faults: &str) -> Ran {
    let text = format!("{DESIGN}\n{faults}");
    let loaded = Loaded::parse("own.toml", text, &Catalog::standard(), &Overrides::default());
    let plan = loaded.unwrap_or_else(|mistakes| panic!("{mistakes}")).plan;
    let lines = Arc::new(Lines::default());
    let topology = Topology::from_plan(plan).with_options(Options {
        faults: Faulting::Planned { horizon: Duration::from_secs(1) },
        tracer: Some(lines.clone()),
        ..Options::default()
    });
    let (report, fired) = in_virtual_time(async |clock| {
        let running = topology.in_time_of(&clock, None).start().await.expect("it starts");
        let done = until_done(&running, &clock, None).await;
        assert_eq!(done, Done::Drained, "{faults}");
        let fired = running.fired();
        (running.finish(done).await, fired)
    });
    let ledger = &report.ledger;
    assert!(report.balances(), "{faults}: {ledger:?}");
    assert_eq!(ledger.burned + ledger.dead, 200, "{faults}: {ledger:?}");
    let lines = std::mem::take(&mut *lines.0.lock().unwrap());
    Ran { report, fired, lines }
}

fn calm() -> Ran {
    with_all("")
}

#[test]
fn without_faults_nothing_fires() {
    let calm = calm();
    assert!(calm.fired.is_empty());
    assert_eq!((calm.report.restarts, calm.report.ledger.dead), (0, 0));
}

#[test]
fn panics_kills_and_stops_end_lives_that_are_followed_by_others() {
    for (kind, exit) in [("panic", "panicked"), ("kill", "was killed"), ("stop", "ended normally")]
    {
        for target in ["manuals", "middle", "furnace", "near/1", "far", "manuals.source"] {
            let ran = with(&format!(
                "kind = \"{kind}\"\ntarget = \"{target}\"\n\
                 when = {{ at = [\"10ms\", \"20ms\", \"30ms\"] }}"
            ));
            assert_eq!((ran.fired.len(), ran.report.restarts), (3, 3), "{kind} {target}");
            // All actors stop normally at the end.
            let exits = ran.count(&format!("exited \"{exit}"));
            assert!(exits == 3 || (kind == "stop" && exits > 3), "{kind} {target}");
            assert_eq!(ran.report.ledger.dead, 0, "no book is charged");
        }
    }
}

#[test]
fn a_point_is_where_it_happens_with_the_cart_in_hand() {
    for point in [
        "near.load",
        "near.push",
        "near.unload",
        "near.return",
        "middle.take",
        "middle.deliver",
        "furnace.deliver",
        "middle.look",
    ] {
        let ran = with(&format!("kind = \"panic\"\ntarget = \"{point}\"\nwhen = {{ nth = 3 }}"));
        assert_eq!((ran.fired.len(), ran.report.restarts), (1, 1), "{point}");
        let (_, name) = point.split_once('.').expect("a point");
        assert_eq!(ran.fired[0].site.point.expect("a point").name(), name);
    }
}

#[test]
fn a_hang_moves_all_actors_of_its_thread() {
    for target in ["manuals", "middle", "furnace", "near/1", "near/2", "far", "manuals.source"] {
        let ran =
            with(&format!("kind = \"hang\"\ntarget = \"{target}\"\nwhen = {{ at = \"10ms\" }}"));
        assert_eq!(ran.count("exited \"hung\""), 1, "{target}");
        let others = ran.count("which was blocked by");
        assert_eq!(others as u64 + 1, ran.report.restarts, "{target}");
        // A hang that ends soon does not get its thread replaced.
        let short = with(&format!(
            "kind = \"hang\"\nfor = \"15ms\"\ntarget = \"{target}\"\nwhen = {{ at = \"10ms\" }}"
        ));
        assert_eq!(short.report.restarts, 0, "{target}");
    }
}

#[test]
fn slow_steps_and_late_messages_cost_time_and_nothing_else() {
    let usual = calm().report.makespan_s.expect("books were burned");
    for fault in [
        "kind = \"slow\"\nby = \"5ms\"\ntarget = \"near\"\nwhen = { at = \"0s\" }",
        "kind = \"slow\"\nby = \"5ms\"\ntarget = \"far.unload\"\nwhen = { chance = 0.5 }",
        "kind = \"delay\"\nby = \"20ms\"\ntarget = \"near -> middle\"\nwhen = { every = \"10ms\" }",
        "kind = \"delay\"\nby = \"20ms\"\ntarget = \"furnace\"\nwhen = { every = \"10ms\" }",
        "kind = \"full\"\nfor = \"50ms\"\ntarget = \"middle\"\nwhen = { at = \"10ms\" }",
    ] {
        let ran = with(fault);
        assert!(!ran.fired.is_empty(), "{fault}");
        assert_eq!((ran.report.restarts, ran.report.ledger.dead), (0, 0), "{fault}");
        let took = ran.report.makespan_s.expect("books were burned");
        assert!(took > usual * 1.05, "{fault}: {took} and not {usual}");
    }
}

#[test]
fn errors_are_tried_again_and_poison_dies() {
    let errors = with("kind = \"error\"\ntarget = \"furnace\"\nwhen = { chance = 0.1 }");
    assert!(errors.fired.len() > 5);
    let poison = with("kind = \"poison\"\ntarget = \"furnace\"\nwhen = { items = [7, 13] }");
    assert_eq!(poison.report.ledger.dead, 2);
    assert_eq!(poison.fired.len(), 6, "each has three attempts");
    let at_once =
        with("kind = \"error\"\npermanent = true\ntarget = \"furnace\"\nwhen = { items = 7 }");
    assert_eq!((at_once.report.ledger.dead, at_once.fired.len()), (1, 1));
    let panics = with("kind = \"panic\"\ntarget = \"furnace.burn\"\nwhen = { items = 7 }");
    assert_eq!(panics.report.ledger.dead, 1, "the book that panics is charged, and no other");
    let read = with("kind = \"error\"\ntarget = \"manuals.source\"\nwhen = { nth = 1 }");
    assert_eq!((read.report.restarts, read.report.ledger.dead), (1, 0));
}

#[test]
fn what_is_lost_on_its_way_goes_home_and_what_comes_twice_counts_once() {
    for target in ["near -> manuals", "near -> middle", "far -> middle", "furnace"] {
        let ran =
            with(&format!("kind = \"drop\"\ntarget = \"{target}\"\nwhen = {{ every = \"7ms\" }}"));
        assert!(ran.fired.len() > 3, "{target}");
        assert_eq!((ran.report.restarts, ran.report.ledger.dead), (0, 0), "{target}");
    }
    for target in ["middle.settle", "furnace.settle", "middle.look", "manuals.look"] {
        let ran = with(&format!(
            "kind = \"duplicate\"\ntarget = \"{target}\"\nwhen = {{ chance = 1.0 }}"
        ));
        // Wake-ups of a pile are merged, so they are rare.
        assert!(ran.fired.len() >= 3, "{target}: {}", ran.fired.len());
        assert_eq!(ran.report.ledger.duplicates, 0);
    }
}

#[test]
fn windows_numbers_odds_and_scripts_bound_a_fault() {
    let every = "kind = \"kill\"\ntarget = \"near/1\"\nwhen = { every = \"5ms\" }\n";
    let first = |ran: &Ran| ran.fired.first().map(|fired| fired.at.as_nanos() / 1_000_000);
    let window = with(&format!("{every}from = \"20ms\"\nuntil = \"41ms\""));
    assert_eq!((window.fired.len(), first(&window)), (4, Some(25)));
    assert_eq!(with(&format!("{every}times = 2")).fired.len(), 2);
    let there = (0..40).filter(|seed| {
        let faults = format!("[faults.it]\n{every}odds = 0.5\n[execution.x]\n")
            .replace("[execution.x]\n", "");
        let text = format!("{DESIGN}\n{faults}")
            .replace("cores = 2", &format!("cores = 2\nseed = {seed}"));
        let loaded = Loaded::parse("own.toml", text, &Catalog::standard(), &Overrides::default());
        let topology = Topology::from_plan(loaded.expect("a file").plan).with_options(Options {
            faults: Faulting::Planned { horizon: Duration::from_secs(1) },
            ..Options::default()
        });
        topology.simulate(None).expect("it runs").restarts > 0
    });
    let there = there.count();
    assert!((10..=30).contains(&there), "{there} of 40 seeds");
    let script = with("target = \"near.load\"\nactions = \"2*off->1*panic(oops)->1*kill->off\"");
    let kinds: Vec<_> = script.fired.iter().map(|fired| fired.kind.name()).collect();
    assert_eq!(kinds, ["panic", "kill"]);
    assert_eq!(script.count("oops (fault `it`)"), 1);
}

#[test]
fn a_poisson_process_has_its_rate() {
    let ran = with(
        "kind = \"slow\"\nby = \"1us\"\nfor = \"0s\"\ntarget = \"near/1\"\n\
         when = { poisson = \"1ms\" }",
    );
    let span = ran.report.virtual_s.expect("virtual") * 1_000.0;
    let count = ran.fired.len() as f64;
    assert!((span * 0.6..span * 1.4).contains(&count), "{count} in {span} ms");
}
