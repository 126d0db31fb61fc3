//! The plan of a file.

use super::*;

#[test]
fn a_design_needs_no_piles() {
    let plan = plan(&front(""));
    assert!(plan.piles.is_empty() && plan.crews.is_empty());
    let [balancer] = &plan.balancers[..] else {
        panic!("{:?}", plan.balancers);
    };
    assert_eq!((balancer.name.as_str(), balancer.kind.as_str()), ("front", "nap"));
    assert_eq!(balancer.policy, LoadPolicy::CENTRAL);
    assert_eq!(balancer.spread, Spread::One);
    assert_eq!((balancer.queue, balancer.full), (Some(1024), WhenFull::Wait));
    assert_eq!((balancer.idempotent, balancer.max_attempts), (false, 3));
    assert_eq!((balancer.workers, balancer.concurrency), (4, 1));
    let [users] = &plan.requesters[..] else {
        panic!("{:?}", plan.requesters);
    };
    assert_eq!((users.to, users.order), (0, Order::Completion));
    assert_eq!(users.load, Load::Batch { requests: 10 });
    assert_eq!(plan.outside, [""; 0]);
    // Without step times, the formulas predict nothing.
    assert_eq!(plan.predict(1.0).speed_up, None);
}

#[test]
fn books_and_requests_stand_side_by_side() {
    let plan = plan(&format!("{}{}", small(ALL, ""), front("")));
    assert_eq!((plan.crews.len(), plan.balancers.len()), (1, 1));
}

#[test]
fn every_policy_is_planned() {
    let policy = |said: &str| plan(&front(&format!("policy = {said}"))).balancers[0].policy;
    for (word, expected) in [
        ("central", LoadPolicy::CENTRAL),
        ("least-loaded", LoadPolicy::LeastLoaded),
        ("two-choices", LoadPolicy::TwoChoices),
        ("round-robin", LoadPolicy::RoundRobin),
        ("random", LoadPolicy::Random),
        ("short-first", LoadPolicy::ShortFirst { ageing: 0.05 }),
    ] {
        assert_eq!(policy(&format!("\"{word}\"")), expected);
        assert_eq!(policy(&format!("{{ kind = \"{word}\" }}")), expected);
        assert_eq!(expected.name(), word);
    }
    assert_eq!(
        policy("{ kind = \"central\", per_worker = 2, skip_slow = true }"),
        LoadPolicy::Central { per_worker: 2, skip_slow: true }
    );
    assert_eq!(
        policy("{ kind = \"short-first\", ageing = 0 }"),
        LoadPolicy::ShortFirst { ageing: 0.0 }
    );
    assert_eq!(
        policy("{ kind = \"reserve\", workers = 3, short = \"5 ms\" }"),
        LoadPolicy::Reserve { workers: 3, short: Duration::from_millis(5), ageing: 0.05 }
    );
}

#[test]
fn requests_to_several_workers_must_be_idempotent() {
    let balancer = |lines: &str| plan(&front(lines)).balancers.remove(0);
    let spread = |lines: &str| {
        let balancer = balancer(lines);
        assert!(balancer.idempotent, "{lines}");
        balancer.spread
    };
    let hedged = |after, budget| Spread::Hedged(Hedge { after, budget });
    let delay = After::Delay(Duration::from_millis(30));
    assert_eq!(spread("replicate = \"all\""), Spread::Replicated(None));
    assert_eq!(spread("replicate = 2"), Spread::Replicated(Some(2)));
    assert_eq!(spread("hedge = \"30 ms\""), hedged(delay, 0.05));
    assert_eq!(spread("hedge = { after = \"30ms\", budget = 0.02 }"), hedged(delay, 0.02));
    assert_eq!(spread("hedge = { percentile = 0.95 }"), hedged(After::Percentile(0.95), 0.05));
    assert!(balancer("idempotent = true").idempotent);
    let queue = balancer("queue = \"unbounded\"\nidempotent = true\nmax_attempts = 7");
    assert_eq!((queue.queue, queue.max_attempts), (None, 7));
    let queue = balancer("queue = 5\nfull = \"reject\"");
    assert_eq!((queue.queue, queue.full), (Some(5), WhenFull::Reject));
}

#[test]
fn every_load_is_planned() {
    let load = |said: &str| plan(&users(said)).requesters[0].load;
    assert_eq!(
        load("kind = \"closed\", count = 100, think = { uniform = [\"0s\", \"20s\"] }"),
        Load::Closed {
            count: 100,
            think: Span::Uniform(Duration::ZERO, Duration::from_secs(20)),
            requests: None
        }
    );
    let mean = Duration::from_millis(1);
    let think = load(
        "kind = \"closed\", count = 1, requests = 5, think = { lognormal = { mean = \"1ms\", \
         cv2 = 10 } }",
    );
    assert_eq!(
        think,
        Load::Closed { count: 1, think: Span::LogNormal { mean, cv2: 10.0 }, requests: Some(5) }
    );
    assert_eq!(
        load("kind = \"open\", rate = 100, arrivals = \"fixed\""),
        Load::Open { rate: Rate::PerSecond(100.0), arrivals: Arrivals::Fixed, requests: None }
    );
    assert_eq!(
        load("kind = \"open\", utilisation = 0.9, requests = 100_000"),
        Load::Open {
            rate: Rate::Utilisation(0.9),
            arrivals: Arrivals::Poisson,
            requests: Some(100_000)
        }
    );
    let ordered = format!("{}order = \"input\"\n", front(""));
    assert_eq!(plan(&ordered).requesters[0].order, Order::Input);
}
