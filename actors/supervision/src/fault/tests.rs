//! When rules fire, and how scripts are evaluated.

use super::*;
use crate::clock::{Clock, Seed};
use crate::failure::Failure;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn site(node: &str, point: Option<Point>) -> FaultSite {
    FaultSite { node: node.into(), point, sender: None }
}

fn rule(kind: Kind, when: When, sites: Vec<FaultSite>) -> Rule {
    Rule {
        name: "rule".into(),
        sites,
        what: What::Kind(kind, when),
        from: Time::ZERO,
        until: Time::MAX,
        times: u64::MAX,
    }
}

fn error() -> Kind {
    Kind::Error { text: "broken".into(), permanent: false }
}

/// The visits, out of `visits`, at which a rule fires.
fn hits(rule: Rule, visits: u64, seed: u64) -> Vec<u64> {
    let faults = FaultEngine::new(Clock::simulated(), Seed(seed), vec![rule]);
    (1..=visits).filter(|visit| faults.visit("a", Point::Work, Some(*visit)).is_some()).collect()
}

#[test]
fn visits_are_counted_over_the_sites_of_a_rule_and_no_others() {
    let here = site("a", Some(Point::Work));
    assert_eq!(hits(rule(error(), When::Nth(3), vec![here.clone()]), 10, 1), [3]);
    let items = [4, 7].into_iter().collect();
    assert_eq!(hits(rule(error(), When::Items(items), vec![here]), 10, 1), [4, 7]);
    let elsewhere = vec![site("b", Some(Point::Work)), site("a", Some(Point::Burn))];
    assert!(hits(rule(error(), When::Chance(1.0), elsewhere), 10, 1).is_empty());
}

#[test]
fn chance_is_the_seeds_and_items_keep_their_fate() {
    let here = || vec![site("a", Some(Point::Work))];
    let by_chance = |seed| hits(rule(error(), When::Chance(0.3), here()), 1_000, seed);
    assert_eq!(by_chance(1), by_chance(1));
    assert_ne!(by_chance(1), by_chance(2));
    assert!((200..400).contains(&by_chance(1).len()));
    let poisoned = hits(rule(Kind::Poison, When::ItemChance(0.1), here()), 1_000, 1);
    assert!((50..150).contains(&poisoned.len()));
    let faults = FaultEngine::new(
        Clock::simulated(),
        Seed(1),
        vec![rule(Kind::Poison, When::ItemChance(0.1), here())],
    );
    for item in (1..=1_000).rev() {
        let hit = faults.visit("a", Point::Work, Some(item)).is_some();
        assert_eq!(hit, poisoned.contains(&item), "in whatever order they come");
    }
}

#[test]
fn a_rule_has_its_window_and_its_number() {
    let mut few = rule(error(), When::Chance(1.0), vec![site("a", Some(Point::Work))]);
    few.times = 2;
    assert_eq!(hits(few.clone(), 10, 1), [1, 2]);
    few.from = Time(1);
    assert!(hits(few, 10, 1).is_empty(), "time stands at zero");
}

#[test]
fn messages_and_actors_are_asked_for_by_themselves() {
    let drops = rule(
        Kind::Drop,
        When::Chance(1.0),
        vec![FaultSite { sender: Some("crew".into()), ..site("a", Some(Point::Take)) }],
    );
    let faults = FaultEngine::new(Clock::simulated(), Seed(1), vec![drops]);
    assert_eq!(faults.visit("a", Point::Take, None), None);
    assert_eq!(faults.message("a", Point::Take, Some("other")), None);
    assert_eq!(faults.message("a", Point::Take, Some("crew")), Some(FaultAction::Drop));
    let fired = faults.fired();
    assert_eq!(fired.len(), 1);
    assert_eq!((fired[0].kind.name(), &*fired[0].site.node), ("drop", "a"));
}

#[test]
fn an_error_says_whose_fault_it_is() {
    let faults = FaultEngine::new(
        Clock::simulated(),
        Seed(1),
        vec![rule(error(), When::Nth(1), vec![site("a", Some(Point::Work))])],
    );
    let broken = Failure::transient("broken (fault `rule`)");
    assert_eq!(faults.visit("a", Point::Work, None), Some(FaultAction::Error(broken)));
}

fn span(text: &str) -> Result<Duration, String> {
    match text.strip_suffix("ms").and_then(|number| number.parse().ok()) {
        Some(number) => Ok(ms(number)),
        None => Err(format!("`{text}` is no duration")),
    }
}

#[test]
fn scripts_are_read_as_the_crate_fail_reads_them() {
    let terms = parse("5%2*panic(oops) -> hang(10ms)->off", span).expect("it is one");
    assert_eq!(
        terms[0],
        Term { chance: 0.05, times: Some(2), kind: Some(Kind::Panic { text: "oops".into() }) }
    );
    assert_eq!(terms[1].kind, Some(Kind::Hang { span: ms(10) }));
    assert_eq!(terms[2].kind, None);
    for (wrong, why) in [
        ("", "none of"),
        ("101%panic", "percentage"),
        ("x*panic", "number of times"),
        ("panic(oops", "closing bracket"),
        ("slow", "needs a time"),
        ("delay(5)", "no duration"),
        ("kill(now)", "nothing in brackets"),
        ("explode", "none of off, panic"),
    ] {
        let error = parse(wrong, span).expect_err(wrong);
        assert!(error.contains(why), "{wrong}: {error}");
    }
}

#[test]
fn a_script_goes_on_to_what_has_times_left() {
    let script = |text: &str| Rule {
        what: What::Script(parse(text, span).expect("a script")),
        ..rule(Kind::Kill, When::Nth(1), vec![site("a", Some(Point::Work))])
    };
    assert_eq!(hits(script("2*error->1*off->3*error"), 10, 1), [1, 2, 4, 5, 6]);
    assert_eq!(hits(script("off->error"), 10, 1), [0; 0]);
    let half = hits(script("50%error"), 1_000, 1).len();
    assert!((400..600).contains(&half), "{half}");
}

/// A target that ignores all faults and never ends.
struct Target;

impl FaultInjector for Target {
    fn strike(&self, _: &str, _: crate::Strike) {}
    fn ring_at(&self, _: Time, _: &str) {}
    fn is_over(&self) -> bool {
        false
    }
    fn fired(&self, _: &Fired) {}
}

#[test]
fn a_rule_that_fires_all_the_time_leaves_time_for_others_and_makes_up_for_nothing() {
    for clock in [Clock::simulated(), Clock::real()] {
        for when in [When::Every(Duration::from_nanos(1)), When::Poisson(Duration::from_nanos(1))] {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(clock.is_simulated())
                .build()
                .unwrap();
            let fired = actix_rt::System::with_tokio_rt(|| runtime).block_on(async {
                actix_rt::spawn(clock.driver());
                let rule = rule(Kind::Kill, when, vec![site("a", None)]);
                let faults = FaultEngine::new(clock.clone(), Seed(1), vec![rule]);
                faults.set_injector(Arc::new(Target));
                let driven = actix_rt::spawn(faults.clone().drive());
                clock.sleep(ms(100)).await;
                driven.abort();
                faults.fired().len()
            });
            // Once a millisecond at most, or on average.
            assert!((1..=160).contains(&fired), "{fired} by {clock:?}");
        }
    }
}
