//! The endpoints in an actix-web application: their answers in every state of the workers.
#![cfg(feature = "actix-web")]

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::to_bytes;
use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::{App, HttpServer, ResponseError, test, web};
use gopherworks::balancer::policy::WhenFull;
use gopherworks::balancer::worker::Work;
use gopherworks::balancer::{Balancer, BalancerHandle, CallError};
use gopherworks::supervision::clock::Clock;
use gopherworks::web::{Account, Operations, Refused};
use gopherworks::{Book, Catalog, Topology, TopologyConfig};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::sync::Semaphore;

/// Answers when the semaphore permits it; the request 13 kills its worker.
struct Gated(Arc<Semaphore>);

impl Work for Gated {
    type Request = u64;
    type Reply = u64;

    async fn work(&mut self, request: u64) -> u64 {
        assert_ne!(request, 13, "told to");
        self.0.acquire().await.expect("an open gate").forget();
        request * 2
    }
}

async fn gated(name: &str) -> (BalancerHandle<Gated>, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let own = gate.clone();
    let balancer = Balancer::of(move |_| Gated(own.clone())).name(name).workers(2);
    let balancer = balancer.queue(1).full(WhenFull::Reject).start().await.expect("it starts");
    (balancer, gate)
}

/// The answer to a GET of these endpoints.
async fn get(endpoints: &Operations, path: &str) -> (StatusCode, String) {
    let app =
        test::init_service(App::new().service(web::scope("/ops").configure(endpoints.routes())))
            .await;
    let request = test::TestRequest::get().uri(&format!("/ops{path}")).to_request();
    let response = test::call_service(&app, request).await;
    let status = response.status();
    let body = to_bytes(response.into_body()).await.expect("a body");
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// The value of a sample.
fn sample(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = line.unwrap_or_else(|| panic!("no {name} in {metrics}"));
    value.parse().expect("a number")
}

#[actix_web::test]
async fn metrics_and_snapshot_say_what_has_happened() {
    let (balancer, gate) = gated("desk").await;
    let endpoints = Operations::new().balancer(&balancer);
    assert_eq!(get(&endpoints, "/health/live").await.0, StatusCode::OK);
    assert_eq!(get(&endpoints, "/health/ready").await.0, StatusCode::OK);
    gate.add_permits(3);
    for request in 0..3 {
        assert_eq!(balancer.call(request).await, Ok(request * 2));
    }
    assert!(balancer.call(13).await.is_err());
    while balancer.restarts() == 0 {
        tokio::task::yield_now().await;
    }
    let waiting: Vec<_> = (0..3).map(|n| balancer.try_start(n).expect("room")).collect();
    assert_eq!(balancer.try_start(9).map(drop), Err(CallError::Full));
    // The route answers at once although all workers are busy.
    let (status, metrics) = get(&endpoints, "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    let requests = |outcome: &str| {
        let name = format!(
            r#"gopherworks_balancer_requests_total{{balancer="desk",outcome="{outcome}"}}"#
        );
        sample(&metrics, &name)
    };
    let outcomes = ["answered", "failed", "rejected", "cancelled", "shed"];
    assert_eq!(outcomes.map(requests), [3.0, 1.0, 1.0, 0.0, 0.0]);
    assert_eq!(
        sample(&metrics, r#"gopherworks_balancer_requests_in_flight{balancer="desk"}"#),
        3.0
    );
    assert_eq!(sample(&metrics, r#"gopherworks_balancer_restarts_total{balancer="desk"}"#), 1.0);
    assert_eq!(sample(&metrics, r#"gopherworks_balancer_workers{balancer="desk"}"#), 2.0);
    let response = |le: &str| {
        sample(
            &metrics,
            &format!(
                r#"gopherworks_balancer_response_seconds_bucket{{le="{le}",balancer="desk"}}"#
            ),
        )
    };
    assert_eq!(response("+Inf"), 3.0);
    assert!(response("0.0001") <= response("0.001") && response("0.001") <= response("60.0"));
    assert!(metrics.ends_with("# EOF\n"));
    for line in metrics.lines().filter(|line| line.starts_with("# TYPE")) {
        let same = metrics.lines().filter(|other| *other == line);
        assert_eq!(same.count(), 1, "{line}");
    }
    let (status, snapshot) = get(&endpoints, "/snapshot").await;
    assert_eq!(status, StatusCode::OK);
    let snapshot: Value = serde_json::from_str(&snapshot).expect("JSON");
    let desk = &snapshot["balancers"][0];
    assert_eq!(
        (&desk["name"], &desk["answered"], &desk["in_flight"]),
        (&"desk".into(), &3.into(), &3.into())
    );
    assert_eq!(desk["workers"].as_array().map(Vec::len), Some(2));
    gate.add_permits(3);
    for call in waiting {
        assert!(call.await.is_ok());
    }
}

#[actix_web::test]
async fn everything_is_read_only() {
    let (balancer, _gate) = gated("desk").await;
    let endpoints = Operations::new().balancer(&balancer);
    let app = test::init_service(App::new().configure(endpoints.routes())).await;
    for path in ["/health/live", "/health/ready", "/metrics", "/snapshot"] {
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let method = method.parse().expect("a method");
            let request = test::TestRequest::with_uri(path).method(method).to_request();
            let status = test::call_service(&app, request).await.status();
            assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        }
        let request = test::TestRequest::with_uri(path).method("HEAD".parse().expect("a method"));
        assert!(test::call_service(&app, request.to_request()).await.status().is_success());
    }
}

#[actix_web::test]
async fn an_applications_own_registry_has_all_of_it() {
    let (balancer, _gate) = gated("desk").await;
    let endpoints = Operations::new().balancer(&balancer);
    let mut registry = Registry::default();
    let logins: Counter = Counter::default();
    registry.register("logins", "Logins", logins.clone());
    registry.register_collector(Box::new(endpoints.metrics()));
    let endpoints = endpoints.registry(Arc::new(registry));
    logins.inc_by(5);
    let (_, metrics) = get(&endpoints, "/metrics").await;
    assert_eq!(sample(&metrics, "logins_total"), 5.0);
    assert_eq!(sample(&metrics, r#"gopherworks_balancer_ready{balancer="desk"}"#), 1.0);
}

#[actix_web::test]
async fn it_is_not_ready_without_workers_nor_while_it_ends() {
    let (balancer, gate) = gated("desk").await;
    let (other, _gate) = gated("other").await;
    let endpoints = Operations::new().balancer(&balancer).balancer(&other);
    assert!(endpoints.is_ready());
    let call = balancer.try_start(1).expect("room");
    let drained = actix_rt::spawn({
        let balancer = balancer.clone();
        async move { balancer.drain().await }
    });
    tokio::task::yield_now().await;
    let (status, said) = get(&endpoints, "/health/ready").await;
    assert_eq!(
        (status, said.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\ndesk: not ready\n")
    );
    assert_eq!(get(&endpoints, "/health/live").await.0, StatusCode::OK);
    gate.add_permits(1);
    assert_eq!(call.await, Ok(2));
    drained.await.expect("it drains");
    // No worker can start: the factory fails.
    let alive = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let asked = alive.clone();
    let mortal = Balancer::try_of(move |_| {
        use gopherworks::Failure;
        let alive = asked.load(std::sync::atomic::Ordering::SeqCst);
        alive
            .then(|| Gated(Arc::new(Semaphore::new(0))))
            .ok_or_else(|| Failure::transient("not today"))
    });
    let mortal = mortal.name("mortal").start().await.expect("it starts");
    let endpoints = Operations::new().balancer(&mortal);
    alive.store(false, std::sync::atomic::Ordering::SeqCst);
    assert!(mortal.call(13).await.is_err());
    while mortal.is_ready() {
        tokio::task::yield_now().await;
    }
    assert_eq!(get(&endpoints, "/health/ready").await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[actix_web::test]
async fn refusals_tell_clients_what_to_do_and_nothing_else() {
    let lost = CallError::WorkerLost { reason: "the secret is 42".into() };
    let cases = [
        (lost, 503, "1"),
        (CallError::Full, 503, "1"),
        (CallError::Closed, 503, "1"),
        (CallError::Shed { waited: Duration::ZERO }, 503, "1"),
        (CallError::DeadlineExceeded { begun: false }, 503, "1"),
        (CallError::DeadlineExceeded { begun: true }, 504, ""),
    ];
    for (error, status, after) in cases {
        let refused = Refused::new(error.clone(), Duration::from_millis(3));
        let response = refused.error_response();
        assert_eq!(response.status().as_u16(), status, "{error}");
        let said =
            response.headers().get(RETRY_AFTER).map_or("", |after| after.to_str().expect("text"));
        assert_eq!(said, after, "{error}");
        let body = to_bytes(response.into_body()).await.expect("a body");
        assert!(!String::from_utf8_lossy(&body).contains("secret"));
    }
    assert_eq!(Refused::new(CallError::Full, Duration::from_millis(2100)).retry_after_s(), 3);
    assert_eq!(Refused::new(CallError::Full, Duration::MAX).retry_after_s(), 3600);
}

#[actix_web::test]
#[should_panic(expected = "the name `desk` is used twice")]
async fn names_are_told_apart() {
    let (one, _gate) = gated("desk").await;
    let (two, _gate) = gated("desk").await;
    let _ = Operations::new().balancer(&one).balancer(&two);
}

#[actix_web::test]
async fn the_end_comes_in_order_and_with_an_account() {
    let (balancer, gate) = gated("desk").await;
    let config = TopologyConfig::builder("books")
        .pile("inbox", |pile| pile)
        .incinerator("fire", |fire| fire.burn("count"))
        .crew("crew", "inbox", "fire", |crew| crew.gophers(1, "load push unload return"))
        .build();
    let topology = Topology::from_config(&config, &Catalog::standard()).expect("a right design");
    let running = topology.start().await.expect("it starts");
    let offered =
        running.offer_watched("inbox", vec![Book::new("a"), Book::new("b")]).await.expect("room");
    for book in offered {
        assert!(book.await.is_some());
    }
    let endpoints =
        Operations::new().balancer(&balancer).topology(&running).grace(Duration::from_millis(20));
    let (_, snapshot) = get(&endpoints, "/snapshot").await;
    let snapshot: Value = serde_json::from_str(&snapshot).expect("JSON");
    assert_eq!(snapshot["topologies"][0]["ledger"]["burned"], 2);
    let (_, metrics) = get(&endpoints, "/metrics").await;
    assert_eq!(
        sample(&metrics, r#"gopherworks_books_total{topology="books",outcome="burned"}"#),
        2.0
    );

    let (routes, data) = (endpoints.clone(), web::Data::new(balancer.clone()));
    let server = HttpServer::new(move || {
        let ask = async |desk: web::Data<BalancerHandle<Gated>>| {
            let answer = Refused::or(&desk, desk.call(21).await)?;
            Ok::<_, Refused>(answer.to_string())
        };
        let app = App::new().app_data(data.clone());
        app.route("/ask", web::get().to(ask)).configure(routes.routes())
    });
    let server = server.workers(1).disable_signals().bind(("127.0.0.1", 0)).expect("a port");
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    actix_rt::spawn(server);
    // A request in flight at the beginning of the shutdown is answered.
    let asking = actix_rt::spawn(async move {
        use tokio::io::AsyncWriteExt;
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
        let request = b"GET /ask HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.expect("it listens");
        let mut said = String::new();
        use tokio::io::AsyncReadExt;
        stream.read_to_string(&mut said).await.expect("an answer");
        said
    });
    while balancer.figures().open == 0 {
        tokio::task::yield_now().await;
    }
    let ended = Rc::new(Cell::new(false));
    let (ends, of) = (ended.clone(), endpoints.clone());
    let ending = actix_rt::spawn(async move {
        let accounts = of.shut_down(&handle).await;
        ends.set(true);
        accounts
    });
    while endpoints.is_ready() {
        tokio::task::yield_now().await;
    }
    assert!(!ended.get(), "a request is under way");
    gate.add_permits(1);
    let said = asking.await.expect("a client");
    assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("42"), "{said}");
    let accounts = ending.await.expect("it ends");
    assert_eq!(accounts.len(), 2);
    assert!(accounts.iter().all(Account::balances), "{accounts:?}");
    let Account::Balancer { counts, .. } = &accounts[0] else { panic!("{accounts:?}") };
    assert_eq!((counts.asked, counts.answered), (1, 1));
    assert_eq!(balancer.call(1).await, Err(CallError::Closed));
}

#[actix_web::test]
async fn hosts_are_checked_where_the_application_says_so() {
    let (balancer, _gate) = gated("hosts").await;
    let open = Operations::new().balancer(&balancer);
    let closed = open.clone().hosts(["ops.example"]);
    for (endpoints, foreign) in
        [(&open, StatusCode::OK), (&closed, StatusCode::MISDIRECTED_REQUEST)]
    {
        let app = App::new().configure(endpoints.routes());
        let app = test::init_service(app).await;
        for (host, wanted) in [
            ("localhost:8080", StatusCode::OK),
            ("ops.example", StatusCode::OK),
            ("evil.example", foreign),
        ] {
            for path in ["/health/live", "/health/ready", "/metrics", "/snapshot"] {
                let request = test::TestRequest::get().uri(path);
                let request = request.insert_header(("host", host)).to_request();
                let answer = test::call_service(&app, request).await;
                assert_eq!(answer.status(), wanted, "{host} {path}");
            }
        }
    }
}

#[cfg(unix)]
#[actix_web::test]
async fn a_second_signal_does_not_wait_for_the_grace() {
    use rustix::process::{Signal, getpid, kill_process};
    use tokio::signal::unix::{SignalKind, signal};

    // From now on the signal does not end the process.
    let _heard = signal(SignalKind::terminate()).expect("a signal");
    let terminate = || kill_process(getpid(), Signal::TERM).expect("it is this process");
    let endpoints = Operations::new().grace(Duration::from_secs(3600));
    let server = HttpServer::new(App::new).workers(1).disable_signals();
    let server = server.bind(("127.0.0.1", 0)).expect("a port").run();
    let (of, ended) = (endpoints.clone(), Rc::new(Cell::new(false)));
    let ends = ended.clone();
    let serving = actix_rt::spawn(async move {
        let accounts = of.serve(server).await;
        ends.set(true);
        accounts
    });
    // Wait until it handles signals.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    terminate();
    let late = Clock::real().now() + Duration::from_secs(20);
    while endpoints.is_ready() {
        assert!(Clock::real().now() < late, "it has not heard the signal");
        tokio::task::yield_now().await;
    }
    assert!(!ended.get(), "the grace is not over");
    terminate();
    let accounts = tokio::select! {
        accounts = serving => accounts.expect("it ends").expect("a server"),
        () = Clock::real().sleep_until(late) => panic!("it waits for the grace"),
    };
    assert!(accounts.is_empty(), "{accounts:?}");
}
