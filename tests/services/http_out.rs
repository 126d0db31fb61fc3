//! HTTP client: how workers and burns of kind `http` handle the answers of another server.
#![cfg(feature = "http")]

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use futures_util::StreamExt;
use gopherworks::Loaded;
use gopherworks::config::Overrides;
use gopherworks::pipeline::book::{Body, BodyFile};
use gopherworks::topology::Event;
use gopherworks::{Book, Catalog, Report, Topology};

use crate::gateway::closing;
use crate::support::upstream::{Says, Upstream};

/// Another server, which records its requests.
#[derive(Default)]
struct Others {
    asked: Mutex<Vec<(String, String, Vec<u8>)>>,
    keys: Mutex<Vec<String>>,
    tries: AtomicUsize,
    /// The number of requests after which it answers successfully.
    well_after: AtomicUsize,
}

async fn told(request: HttpRequest, body: web::Bytes, others: web::Data<Others>) -> HttpResponse {
    let try_number = others.tries.fetch_add(1, Ordering::SeqCst);
    let line = (request.method().to_string(), request.uri().to_string());
    let asked = (line.0, line.1, body.to_vec());
    others.asked.lock().expect("not poisoned").push(asked);
    if let Some(key) = request.headers().get("idempotency-key") {
        let key = key.to_str().expect("text").to_owned();
        others.keys.lock().expect("not poisoned").push(key);
    }
    if try_number < others.well_after.load(Ordering::SeqCst) {
        return HttpResponse::ServiceUnavailable().insert_header(("retry-after", "0")).finish();
    }
    match request.path() {
        "/large" => HttpResponse::Ok().body(vec![b'x'; 4096]),
        "/elsewhere" => HttpResponse::Found().insert_header(("location", "/echo")).finish(),
        "/missing" => HttpResponse::NotFound().finish(),
        "/broken" => HttpResponse::InternalServerError().finish(),
        "/never" => std::future::pending().await,
        "/teapot" => HttpResponse::Created().content_type("text/tea").body("tea"),
        _ => HttpResponse::Ok().content_type("text/plain").body(body.to_ascii_uppercase()),
    }
}

fn others() -> (web::Data<Others>, SocketAddr) {
    let others = web::Data::new(Others::default());
    let data = others.clone();
    let server =
        HttpServer::new(move || App::new().app_data(data.clone()).default_service(web::to(told)));
    let server = server.workers(1).disable_signals().bind(("127.0.0.1", 0)).expect("a port");
    let address = server.addrs()[0];
    actix_rt::spawn(server.run());
    (others, address)
}

/// Runs `books` through a worker or a burn of kind `http`.
async fn burned(by_worker: bool, options: &str, books: &[&str]) -> Report {
    let kind = format!("{{ kind = \"http\", {options} }}");
    let text = if by_worker {
        format!(
            "[balancers.desk]\nworkers = {{ work = {kind} }}\n[incinerators.fire]\n\
             burn = {{ kind = \"balancer\", to = \"desk\" }}\n"
        )
    } else {
        format!("[incinerators.fire]\nburn = {kind}\n")
    };
    let text = format!(
        "{text}[piles.inbox]\nmax_attempts = 1\n[crews.crew]\nfrom = \"inbox\"\nto = \"fire\"\n\
         gophers = [\"load push unload return\"]\n"
    );
    let loaded = Loaded::parse("t.toml", text, &Catalog::standard(), &Overrides::default());
    let plan = loaded.unwrap_or_else(|mistakes| panic!("{mistakes}")).plan;
    let running = Topology::from_plan(plan).start().await.expect("it starts");
    let books = books.iter().map(|name| {
        let mut book = Book::new(format!("body of {name}"));
        book.headers.set("name", (*name).to_owned());
        book.headers.set("content-type", "text/x-book");
        book
    });
    running.offer("inbox", books.collect()).await.expect("room");
    let report = running.drain(Some(Duration::from_secs(30))).await;
    assert!(report.balances(), "{report:?}");
    report
}

#[actix_web::test]
async fn each_book_is_sent_once_with_its_name_and_a_key() {
    for by_worker in [false, true] {
        let (others, address) = others();
        let options = format!(
            "url = \"http://{address}/books/{{name}}?n={{id}}\", method = \"PUT\", \
             headers = {{ x-one = \"1\" }}"
        );
        let names = ["a", "b c/d", "é?&#%"];
        let report = burned(by_worker, &options, &names).await;
        assert_eq!((report.ledger.burned, report.ledger.dead), (3, 0));
        let mut asked = others.asked.lock().expect("not poisoned").clone();
        asked.sort();
        let uris: Vec<_> =
            asked.iter().map(|asked| asked.1.split_once("?n=").expect("an id")).collect();
        let paths: Vec<&str> = uris.iter().map(|uri| uri.0).collect();
        assert_eq!(paths, ["/books/%C3%A9%3F%26%23%25", "/books/a", "/books/b%20c/d"]);
        assert!(asked.iter().all(|asked| asked.0 == "PUT"));
        assert_eq!(asked[1].2, b"body of a");
        let mut keys = others.keys.lock().expect("not poisoned").clone();
        keys.sort();
        // `{id}` and the header are the same key: the run's identity and the book's number in the
        // run.
        let (run, _) = keys[0].rsplit_once('-').expect("a run and a number");
        assert_eq!(run.len(), 16);
        assert_eq!(keys, [1, 2, 3].map(|number| format!("{run}-{number}")));
        let mut ids: Vec<&str> = uris.iter().map(|uri| uri.1).collect();
        ids.sort_unstable();
        assert_eq!(ids, keys);
    }
}

#[actix_web::test]
async fn what_may_be_sent_twice_is_tried_again() {
    for (method, retries, tries, burned_books) in
        [("PUT", 3, 3, 1), ("PUT", 1, 2, 0), ("POST", 3, 1, 0)]
    {
        let (others, address) = others();
        others.well_after.store(2, Ordering::SeqCst);
        let options = format!(
            "url = \"http://{address}/echo\", method = \"{method}\", retries = {retries}, \
             backoff = \"1ms\""
        );
        let report = burned(false, &options, &["a"]).await;
        assert_eq!(others.tries.load(Ordering::SeqCst), tries, "{method} {retries}");
        assert_eq!(report.ledger.burned, burned_books, "{method} {retries}");
    }
}

#[actix_web::test]
async fn answers_that_are_no_success_are_failures_with_a_reason() {
    let (others, address) = others();
    let cases = [
        ("/missing", "", "404"),
        ("/broken", "", "500"),
        ("/elsewhere", "", "302"),
        ("/large", "max_response = \"1KiB\"", "more than 1KiB of answer"),
        ("/never", "timeout = \"100ms\"", "timed out"),
    ];
    for by_worker in [false, true] {
        for (path, more, reason) in cases {
            let comma = if more.is_empty() { "" } else { ", " };
            let options = format!("url = \"http://{address}{path}\", retries = 0{comma}{more}");
            let text = format!("{options} of worker {by_worker}");
            let kind = format!("{{ kind = \"http\", {options} }}");
            let report = reasons(by_worker, &kind).await;
            assert!(report.contains(reason), "{text}: {report}");
        }
    }
    // Redirects are followed if configured.
    let options = format!("url = \"http://{address}/elsewhere\", method = \"GET\", redirects = 1");
    assert_eq!(burned(false, &options, &["a"]).await.ledger.burned, 1);
    drop(others);
}

/// The reason why the one book died.
async fn reasons(by_worker: bool, kind: &str) -> String {
    let mut config = String::from(
        "[piles.inbox]\nmax_attempts = 1\n[crews.crew]\nfrom = \"inbox\"\nto = \"fire\"\n\
         gophers = [\"load push unload return\"]\n",
    );
    if by_worker {
        config.push_str(&format!(
            "[balancers.desk]\nworkers = {{ work = {kind} }}\n[incinerators.fire]\n\
             burn = {{ kind = \"balancer\", to = \"desk\" }}\n"
        ));
    } else {
        config.push_str(&format!("[incinerators.fire]\nburn = {kind}\n"));
    }
    let loaded = Loaded::parse("t.toml", config, &Catalog::standard(), &Overrides::default());
    let plan = loaded.unwrap_or_else(|mistakes| panic!("{mistakes}")).plan;
    let running = Topology::from_plan(plan).start().await.expect("it starts");
    running.offer("inbox", vec![Book::new("x")]).await.expect("room");
    let report = running.drain(Some(Duration::from_secs(30))).await;
    assert_eq!((report.ledger.dead, report.ledger.lost), (1, 0), "{kind}");
    running.dead()[0].reason.clone()
}

#[actix_web::test]
async fn a_server_that_is_not_there_yet_is_waited_for_and_no_book_is_charged() {
    for by_worker in [false, true] {
        // Bound and released, so no server listens there yet.
        let free = std::net::TcpListener::bind("127.0.0.1:0");
        let free = free.and_then(|socket| socket.local_addr()).expect("a port");
        let kind = format!("{{ kind = \"http\", url = \"http://{free}/\", retries = 0 }}");
        let fire = match by_worker {
            true => format!(
                "[balancers.desk]\nworkers = {{ work = {kind} }}\n[incinerators.fire]\n\
                 burn = {{ kind = \"balancer\", to = \"desk\" }}\n"
            ),
            false => format!("[incinerators.fire]\nburn = {kind}\n"),
        };
        let text = format!(
            "[piles.inbox]\nmax_attempts = 1\n{fire}[crews.crew]\nfrom = \"inbox\"\nto = \"fire\"\n\
             gophers = [\"load push unload return\"]\n"
        );
        let loaded = Loaded::parse("t.toml", text, &Catalog::standard(), &Overrides::default());
        let plan = loaded.unwrap_or_else(|mistakes| panic!("{mistakes}")).plan;
        let running = Topology::from_plan(plan).start().await.expect("it starts");
        let mut events = std::pin::pin!(running.events());
        let books = (0..3).map(|number| Book::new(format!("{number}")));
        running.offer("inbox", books.collect()).await.expect("room");
        let reason = loop {
            match events.next().await {
                Some(Event::Unavailable { reason, .. }) => break reason,
                Some(_) => {}
                None => panic!("the run ended"),
            }
        };
        assert!(reason.contains(&free.to_string()), "{reason}");
        let ok = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        let upstream = Upstream::at(free, move |_| Says::Bytes(ok.into()));
        let report = running.drain(Some(Duration::from_secs(30))).await;
        assert_eq!((report.ledger.burned, report.ledger.dead), (3, 0));
        assert_eq!(upstream.heard().len(), 3);
    }
}

#[test]
fn addresses_that_are_none_are_mistakes_with_a_place() {
    for (url, why) in
        [("ftp://x/", "http://"), ("nonsense", "relative URL"), ("http://", "empty host")]
    {
        let text = format!(
            "[balancers.desk]\nworkers = {{ work = {{ kind = \"http\", url = \"{url}\" }} }}\n\
             [requesters.a]\nto = \"desk\"\nload = {{ kind = \"batch\", requests = 1 }}\n"
        );
        let mistakes = Loaded::parse("t.toml", text, &Catalog::standard(), &Overrides::default());
        let shown = mistakes.expect_err("no address").render(false);
        assert!(shown.contains("t.toml:2") && shown.contains(why), "{shown}");
    }
}

#[test]
fn options_that_can_not_be_meant_are_mistakes_with_a_place() {
    for (option, why) in [
        ("headers = { \"x y\" = \"1\" }", "`x y` is not a valid name of a header field"),
        ("headers = { x = \"a\\nb\" }", "`x`: a header field's value has"),
        ("drop_headers = [\"a b\"]", "`a b` is not a valid name of a header field"),
        ("retries = 101", "101 is too large: at most 100"),
        ("redirects = 101", "101 is too large: at most 100"),
        ("pool = { max_idle = 65537 }", "65537 is too large: at most 65536"),
        ("pool = { idle_timeout = \"2d\" }", "2d is too long: at most 1d"),
        ("method = \"FETCH\"", "FETCH"),
    ] {
        let text = format!(
            "[balancers.desk]\nworkers = {{ work = {{ kind = \"http\", url = \"http://h/\", \
             {option} }} }}\n[requesters.a]\nto = \"desk\"\n\
             load = {{ kind = \"batch\", requests = 1 }}\n"
        );
        let mistakes = Loaded::parse("t.toml", text, &Catalog::standard(), &Overrides::default());
        let shown = mistakes.expect_err("a mistake").render(false);
        assert!(shown.contains("t.toml:2") && shown.contains(why), "{shown}");
    }
}

#[actix_web::test]
async fn a_service_passes_requests_on_to_another_server() {
    let (_others, upstream) = others();
    let text = format!(
        r#"[balancers.desk]
workers = {{ count = 2, work = {{ kind = "http", url = "http://{upstream}/{{name}}" }} }}
[requesters.web]
to = "desk"
load = {{ kind = "http", listen = "127.0.0.1:0", requests = 3 }}
"#
    );
    let loaded = Loaded::parse("t.toml", text, &Catalog::standard(), &Overrides::default());
    let plan = loaded.unwrap_or_else(|mistakes| panic!("{mistakes}")).plan;
    let running = Topology::from_plan(plan).start().await.expect("it starts");
    running.close_offers();
    let address = running.addresses()[0].1;
    let say = async |path: &str| {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi"
        );
        stream.write_all(request.as_bytes()).await.expect("it listens");
        let mut said = String::new();
        stream.read_to_string(&mut said).await.expect("an answer");
        said
    };
    let said = say("/echo").await;
    assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("HI"), "{said}");
    let said = say("/teapot").await;
    assert!(said.starts_with("HTTP/1.1 201") && said.contains("text/tea"), "{said}");
    let said = say("/missing").await;
    assert!(said.starts_with("HTTP/1.1 404"), "{said}");
    // These were all books: the run ends by itself.
    let done = running.done().await;
    let report = running.finish(done).await;
    let web = &report.requesters[0];
    assert_eq!((web.answered, web.failed, web.lost), (3, 0, 0));
}

/// Burns one book over HTTP; returns the report and the reasons.
async fn burned_book(burn: &str, book: Book) -> (Report, Vec<String>) {
    let text = format!(
        "[piles.inbox]\nmax_attempts = 1\n[incinerators.fire]\n\
         burn = {{ kind = \"http\", {burn} }}\n[crews.crew]\nfrom = \"inbox\"\nto = \"fire\"\n\
         gophers = [\"load push unload return\"]\n"
    );
    let loaded = Loaded::parse("t.toml", text, &Catalog::standard(), &Overrides::default());
    let plan = loaded.unwrap_or_else(|mistakes| panic!("{mistakes}")).plan;
    let running = Topology::from_plan(plan).start().await.expect("it starts");
    running.offer("inbox", vec![book]).await.expect("room");
    let report = running.drain(Some(Duration::from_secs(30))).await;
    let dead = running.dead();
    let reasons = dead.iter().map(|dead| dead.reason.clone());
    (report, reasons.collect())
}

#[actix_web::test]
async fn a_file_is_sent_whole_with_its_length_and_within_its_limit() {
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    for size in [0, 1, 65_536, 65_537, 1_000_000] {
        let upstream = Upstream::start(move |_| Says::Bytes(ok.into()));
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        let bytes: Vec<u8> = (0..size).map(|at: u32| (at % 251) as u8).collect();
        std::io::Write::write_all(&mut file, &bytes).expect("room on the disk");
        let book = || Book::new(Body::file(BodyFile::kept(file.path()), u64::from(size)));
        let burn = format!("url = \"http://{}/\"", upstream.address);
        let (report, reasons) = burned_book(&burn, book()).await;
        assert_eq!(report.ledger.burned, 1, "{size}: {reasons:?}");
        let heard = upstream.heard().pop().expect("it was asked");
        assert_eq!(heard.all("content-length"), [size.to_string()]);
        assert!(heard.body == bytes, "{size}");
        let burn = format!("{burn}, max_body = \"64KiB\"");
        let (report, reasons) = burned_book(&burn, book()).await;
        let within = size <= 65_536;
        assert_eq!(report.ledger.burned, u64::from(within), "{size}: {reasons:?}");
        let told = reasons.iter().all(|reason| reason.contains("`max_body` allows 64KiB"));
        assert!(told, "{reasons:?}");
    }
}

#[actix_web::test]
async fn a_refusal_is_quoted_in_the_reason() {
    let answer = "HTTP/1.1 400 Bad Request\r\ncontent-length: 18\r\n\r\nno such\nfield: x\r\n";
    let upstream = Upstream::start(move |_| Says::Bytes(answer.into()));
    let burn = format!("url = \"http://{}/\"", upstream.address);
    let (_, reasons) = burned_book(&burn, Book::new("x")).await;
    assert_eq!(reasons.len(), 1);
    assert!(reasons[0].ends_with("400 Bad Request: no such\\nfield: x"), "{reasons:?}");
    assert_eq!(upstream.heard().len(), 1);
}

#[actix_web::test]
async fn a_book_keeps_its_key_in_every_attempt() {
    let answer = "HTTP/1.1 503 X\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n";
    let upstream = Upstream::start(move |_| Says::Bytes(answer.into()));
    let burn = format!(
        "url = \"http://{}/{{id}}\", method = \"PUT\", retries = 2, backoff = \"1ms\"",
        upstream.address
    );
    let (report, _) = burned_book(&burn, Book::new("x")).await;
    assert_eq!(report.ledger.dead, 1);
    let heard = upstream.heard();
    assert_eq!(heard.len(), 3);
    let key = heard[0].all("idempotency-key")[0];
    for heard in &heard {
        assert_eq!(heard.all("idempotency-key"), [key]);
        assert_eq!(heard.line, format!("PUT /{key}"));
    }
}

#[actix_web::test]
async fn a_burn_replaces_a_connection_that_was_closed_meanwhile() {
    let upstream = closing();
    let text = format!(
        "[piles.inbox]\nmax_attempts = 1\n[incinerators.fire]\n\
         burn = {{ kind = \"http\", url = \"http://{}/\", retries = 0 }}\n[crews.crew]\n\
         from = \"inbox\"\nto = \"fire\"\ngophers = [\"load push unload return\"]\n\
         carts = {{ count = 1, books = 1 }}\n",
        upstream.address
    );
    let loaded = Loaded::parse("t.toml", text, &Catalog::standard(), &Overrides::default());
    let plan = loaded.unwrap_or_else(|mistakes| panic!("{mistakes}")).plan;
    let running = Topology::from_plan(plan).start().await.expect("it starts");
    let books = (0..3).map(|number| Book::new(format!("{number}")));
    running.offer("inbox", books.collect()).await.expect("room");
    let report = running.drain(Some(Duration::from_secs(30))).await;
    assert_eq!((report.ledger.burned, report.ledger.dead), (3, 0));
    // The second and the third book were sent twice, with one key each.
    let mut keys = std::collections::BTreeMap::new();
    for heard in upstream.heard() {
        *keys.entry(heard.all("idempotency-key")[0].to_owned()).or_insert(0) += 1;
    }
    assert_eq!(keys.into_values().collect::<Vec<_>>(), [1, 2, 2]);
}

#[actix_web::test]
async fn copies_of_a_request_for_a_book_have_the_key_of_the_book() {
    // Only the second copy is answered.
    let seen = Mutex::new(std::collections::BTreeSet::new());
    let upstream = Upstream::start(move |heard| {
        match seen.lock().expect("no test panics in it").insert(heard.line.clone()) {
            true => Says::Nothing,
            false => Says::Bytes("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into()),
        }
    });
    let text = format!(
        "[piles.inbox]\n[balancers.desk]\nreplicate = 2\n\
         workers = {{ count = 2, work = {{ kind = \"http\", url = \"http://{}/{{id}}\" }} }}\n\
         [incinerators.fire]\nburn = {{ kind = \"balancer\", to = \"desk\" }}\n[crews.crew]\n\
         from = \"inbox\"\nto = \"fire\"\ngophers = [\"load push unload return\"]\n",
        upstream.address
    );
    let loaded = Loaded::parse("t.toml", text, &Catalog::standard(), &Overrides::default());
    let plan = loaded.unwrap_or_else(|mistakes| panic!("{mistakes}")).plan;
    let running = Topology::from_plan(plan).start().await.expect("it starts");
    let books = (0..3).map(|number| Book::new(format!("{number}")));
    running.offer("inbox", books.collect()).await.expect("room");
    let report = running.drain(Some(Duration::from_secs(30))).await;
    assert_eq!((report.ledger.burned, report.ledger.dead), (3, 0));
    let heard = upstream.heard();
    assert_eq!(heard.len(), 6);
    for heard in heard {
        let key = heard.all("idempotency-key")[0];
        assert_eq!(heard.line, format!("POST /{key}"));
    }
}
