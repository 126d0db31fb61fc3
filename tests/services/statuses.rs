//! The status of each failure of a worker (RFC 9110, 15.5.21, 15.6.3 and 15.6.5): a failure that is
//! not the request's own is never answered by a client error.

use std::net::SocketAddr;
use std::time::Duration;

use gopherworks::Loaded;
use gopherworks::config::Overrides;
use gopherworks::pipeline::book::{Body, BodyFile, Book};
use gopherworks::supervision::failure::Failure;
use gopherworks::{Catalog, Topology};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::upstream::{Says, Upstream};

/// Kinds of worker that fail in code.
fn catalog() -> Catalog {
    let mut catalog = Catalog::standard();
    catalog
        .add_async_service_fn("panics", "", async |_| panic!("on purpose"))
        .add_async_service_fn("never", "", async |_| Err(Failure::permanent("not this one")))
        .add_async_service_fn("own", "", async |_| Err(Failure::permanent("mine").internal()))
        .add_async_service_fn("gone", "", async |_| {
            let file = BodyFile::kept("/there/is/no/such/file");
            Ok(Some(Book::new(Body::file(file, 1))))
        });
    catalog
}

/// The head of the answer to a request, and its status.
async fn ask(address: SocketAddr, target: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it listens");
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await.expect("an answer");
    let said = String::from_utf8_lossy(&said).into_owned();
    (said.get(9..12).unwrap_or_default().to_owned(), said)
}

#[actix_web::test]
async fn failures_of_a_worker_are_no_errors_of_the_client() {
    let upstream = Upstream::start(|heard| {
        let status = heard.line.trim_start_matches("GET /");
        let field = if status == "302" { "location: /\r\n" } else { "" };
        let body = if status == "200" { "x".repeat(2000) } else { String::new() };
        let length = body.len();
        Says::Bytes(
            format!("HTTP/1.1 {status} X\r\n{field}content-length: {length}\r\n\r\n{body}").into(),
        )
    });
    let program = |words: &str, more: &str| {
        format!("{{ kind = \"command\", command = [{words}], max_output = \"1KiB\"{more} }}")
    };
    let strict = format!(
        "{{ kind = \"http\", url = \"http://{}/{{name}}\", statuses = \"success\", retries = 0, \
         max_response = \"1KiB\" }}",
        upstream.address
    );
    let kind = |name: &str| format!("{{ kind = \"{name}\" }}");
    let cases = [
        ("exits", program(r#""sh", "-c", "exit 3""#, ""), "/", "502"),
        ("hangs", program(r#""tail", "-f", "/dev/null""#, ", timeout = \"200ms\""), "/", "504"),
        ("floods", program(r#""head", "-c", "2000", "/dev/zero""#, ""), "/", "502"),
        ("absent", program(r#""./there-is-no-such-program""#, ""), "/", "502"),
        ("panics", kind("panics"), "/", "502"),
        ("own", kind("own"), "/", "502"),
        ("gone", kind("gone"), "/", "502"),
        ("never", kind("never"), "/", "422"),
        ("strict", strict.clone(), "/302", "502"),
        ("strict", strict.clone(), "/200", "502"),
        ("strict", strict.clone(), "/500", "502"),
        ("strict", strict.clone(), "/504", "504"),
        ("strict", strict, "/404", "422"),
    ];
    let mut text = String::new();
    for (at, (name, work, ..)) in cases.iter().enumerate() {
        text += &format!(
            "[balancers.{name}{at}]\nworkers = {{ work = {work} }}\n[requesters.ask{at}]\n\
             to = \"{name}{at}\"\n\
             load = {{ kind = \"http\", listen = \"127.0.0.1:0\" }}\n"
        );
    }
    let loaded = Loaded::parse("t.toml", text, &catalog(), &Overrides::default());
    let plan = loaded.unwrap_or_else(|mistakes| panic!("{mistakes}")).plan;
    let running = Topology::from_plan(plan).start().await.expect("it starts");
    running.close_offers();
    let addresses = running.addresses();
    for (at, (name, _, target, wanted)) in cases.iter().enumerate() {
        let asker = format!("ask{at}");
        let address = addresses.iter().find(|(name, _)| *name == asker).expect("it serves").1;
        let (status, said) = ask(address, target).await;
        assert_eq!(&status, wanted, "{name}: {said}");
        // None of them is a refusal, after which a client should just come again.
        assert!(!said.contains("retry-after"), "{name}: {said}");
    }
    running.drain(Some(Duration::from_secs(20))).await;
}
