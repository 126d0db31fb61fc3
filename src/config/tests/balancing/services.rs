//! Protection of balancers and services: meaning of files, rendering of mistakes.

use gopherworks_balancer::resilience::{Eject, Priority, Resilience, RetryBudget, Shed};

use super::*;

#[test]
fn what_protects_a_balancer_is_read_with_its_defaults() {
    let text = asked(
        r#"deadline = "200ms"
shed = "5ms"
retry_budget = 0.1
slow_start = "10s"
eject = { slower = 3.0 }
idempotent = true
policy = "affinity""#,
        "",
        BATCH,
    );
    let plan = plan(&format!("{text}priority = \"high\"\nkeys = 7\n"));
    let ms = std::time::Duration::from_millis;
    let balancer = &plan.balancers[0];
    let expected = Resilience {
        deadline: Some(ms(200)),
        shed: Some(Shed::default()),
        retries: Some(RetryBudget { share: 0.1, per_second: 10.0 }),
        slow_start: Some(ms(10_000)),
        eject: Some(Eject { slower: Some(3.0), ..Eject::default() }),
    };
    assert_eq!(balancer.resilience, expected);
    assert_eq!(balancer.policy, LoadPolicy::Affinity { bound: 1.25 });
    let requester = &plan.requesters[0];
    assert_eq!((requester.priority, requester.keys), (Priority::High, Some(7)));
    // Files and code have the same defaults.
    let ours =
        BalancerConfig::new(KindConfig { kind: "nap".to_owned(), options: toml::Table::new() });
    assert_eq!(ours.resilience, Resilience::default());
    assert_eq!(super::plan(&asked("", "", BATCH)).balancers[0].resilience, Resilience::default());
    let empty = asked("shed = {}\neject = {}\nretry_budget = {}\nidempotent = true\n", "", BATCH);
    let defaults = super::plan(&empty).balancers[0].resilience;
    assert_eq!(defaults.shed, Some(Shed::default()));
    assert_eq!(defaults.eject, Some(Eject::default()));
    assert_eq!(defaults.retries, Some(RetryBudget::default()));
}

#[test]
fn mistakes_in_what_protects_a_balancer_are_shown() {
    let first = asked(
        r#"deadline = "0s"
shed = { target = "200ms", intervall = "1s" }
retry_budget = -1
slow_start = 5
eject = { failures = 0, slower = 0.5, pause = "0s", at_most = 2 }
policy = { kind = "affinity", bound = 0.5 }"#,
        "",
        BATCH,
    );
    insta::assert_snapshot!(
        "protection",
        shown(&format!("{first}priority = \"urgent\"\nkeys = 0\n"))
    );
    let second = asked(
        r#"deadline = "1ms"
shed = "5ms"
retry_budget = 0.2
eject = 3
policy = { kind = "latency-aware", decay = "0s" }"#,
        "count = 1",
        BATCH,
    );
    insta::assert_snapshot!("protection_2", shown(&second.replacen("count = 4\n", "", 1)));
    let third = asked(
        r#"deadline = "1ms"
shed = { target = "5ms" }
retry_budget = 0.2
eject = 3"#,
        "count = 1",
        BATCH,
    );
    insta::assert_snapshot!("protection_3", shown(&third.replacen("count = 4\n", "", 1)));
}

#[test]
fn mistakes_in_what_serves_http_are_shown() {
    let loads = [
        concat!(
            r#"kind = "http", listen = "0.0.0.0:8080", path = "books", admin = "/", body = 0, "#,
            r#"headers = 200, key_header = "x y", connections = 0, read_timeout = "0s", "#,
            r#"requests = 0"#,
        ),
        r#"kind = "http", listen = "8080", bdoy = "1MiB""#,
        r#"kind = "http", path = "/books""#,
        concat!(
            r#"kind = "http", listen = "127.0.0.1:8080", status = 404, "#,
            r#"methods = ["GET", "CONNECT", "a b"], hosts = ["http://x"], "#,
            r#"write_timeout = "25h", min_rate = 0, grace = "2d", shutdown_timeout = "0s""#,
        ),
        concat!(
            r#"kind = "http", listen = "127.0.0.1:8080", methods = [], hosts = "x", "#,
            r#"body = "2GiB", grace = "25h""#,
        ),
    ];
    for (number, load) in loads.iter().enumerate() {
        insta::assert_snapshot!(format!("http_{}", number + 1), shown(&asked("", "", load)));
    }
    let public = concat!(
        r#"kind = "http", listen = "0.0.0.0:8080", public = true, admin = "/ops", "#,
        r#"key_header = "X-Session", methods = ["get"]"#,
    );
    let plan = plan(&asked("", "", public));
    let http = plan.requesters[0].http.as_ref().expect("it serves");
    assert_eq!((http.path.as_str(), http.body, http.headers), ("/", 1 << 20, 64));
    assert_eq!(http.key_header.as_deref(), Some("x-session"));
    assert_eq!(http.methods.as_deref(), Some(["GET".to_owned()].as_slice()));
    assert_eq!((http.status, http.min_rate), (200, 1024));
    assert_eq!(plan.outside, ["`users` serves HTTP"]);
}
