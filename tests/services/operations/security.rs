//! Hostile clients get errors and disturb no other client; no output contains a secret.

use gopherworks::web::openapi;

use super::*;

/// Secrets of a design, none of which any output may contain.
const SECRETS: [&str; 4] =
    ["correct-horse-battery", "passw0rd-of-the-url", "s3cret-of-a-header", "s3cret-of-a-variable"];

#[actix_web::test]
async fn no_output_contains_a_secret() {
    let [token, url, header, variable] = SECRETS;
    // The burn can't reach its server, so that its failure is shown as well.
    let text = design(&format!("token = {token:?}")).replace(
        "burn = \"count\"",
        &format!(
            "burn = {{ kind = \"http\", url = \"http://user:{url}@127.0.0.1:1/x\", \
             headers = {{ authorization = \"{header}\" }} }}\n\
             [incinerators.other]\n\
             burn = {{ kind = \"command\", command = [\"false\"], \
             env = {{ KEY = \"{variable}\" }} }}\n\
             [crews.other_way]\nfrom = \"inbox\"\nto = \"other\"\n\
             gophers = [\"load push unload return\"]"
        ),
    );
    let (running, address) = start(&text).await;
    let books = (0..8).map(|number| Book::new(number.to_string())).collect();
    running.offer("inbox", books).await.expect("room");
    while running.nodes().iter().all(|node| node.paused.is_none() && node.failed == 0) {
        tokio::task::yield_now().await;
    }
    let document = openapi();
    let paths = document["paths"].as_object().expect("paths").iter();
    let read = paths.filter(|(_, said)| !said["get"].is_null()).map(|(path, _)| path);
    let streams = ["/api/stream", "/api/nodes/{node}/tap"];
    for path in read.filter(|path| !streams.contains(&path.as_str())) {
        for node in ["fire", "other", "haul", "inbox"] {
            let path = path.replace("{node}", node).replace("{pile}", "inbox");
            let said = get(address, &path).await;
            assert_eq!(said.status, 200, "{path}");
            for secret in SECRETS {
                assert!(!format!("{said:?}").contains(secret), "{path}: {said:?}");
            }
        }
    }
    let debug = format!("{:?}", Topology::from_plan(loaded(&text)).plan().operations);
    assert!(!debug.contains(token), "{debug}");
    running.stop().await;
}

fn loaded(text: &str) -> gopherworks::plan::Plan {
    let loaded = Loaded::parse("works.toml", text.to_owned(), &catalog(), &Overrides::default());
    loaded.expect("a right file").plan
}

#[actix_web::test]
async fn what_is_too_large_is_refused() {
    let (running, address) = start(&design("")).await;
    let many = "x: y\r\n".repeat(80);
    let long = format!("x: {}\r\n", "y".repeat(256 << 10));
    let deep = format!("GET /api/nodes/{}", "x".repeat(128 << 10));
    for (request, lines, wanted) in [
        ("GET /metrics", "content-length: 65537\r\n", [413, 413]),
        ("GET /metrics", many.as_str(), [431, 431]),
        ("GET /metrics", long.as_str(), [431, 431]),
        // The status depends on which limit is exceeded first.
        (deep.as_str(), "", [400, 431]),
        ("GET /api/nodes/..%2f..%2fetc%2fpasswd", "", [404, 404]),
        ("CONNECT localhost:1", "", [405, 405]),
        ("GET *", "", [400, 400]),
    ] {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let lines = format!("host: localhost\r\n{lines}");
        let head = format!("{request} HTTP/1.1\r\nconnection: close\r\n{lines}\r\n");
        // The server may refuse the head before it has read all of it.
        let _ = stream.write_all(head.as_bytes()).await;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.expect("a response");
        let status = String::from_utf8_lossy(&status[9..]).into_owned();
        let is_wanted = wanted.iter().any(|wanted| wanted.to_string() == status);
        assert!(is_wanted, "{status}: {}", &request[..request.len().min(60)]);
    }
    assert_eq!(get(address, "/health/ready").await.status, 200);
    running.stop().await;
}

#[actix_web::test]
async fn two_hundred_slow_clients_hold_up_neither_others_nor_books_nor_the_end() {
    let (running, address) = start(&design("sample = \"100ms\"")).await;
    let mut clients = Vec::new();
    for number in 0..200 {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        // Half of a head, or a stream of which nothing is read.
        let head: &[u8] = match number % 2 {
            0 => b"GET /api/stream HTTP/1.1\r\nhost: localhost\r\n",
            _ => b"GET /api/stream HTTP/1.1\r\nhost: localhost\r\n\r\n",
        };
        stream.write_all(head).await.expect("it listens");
        clients.push(stream);
    }
    let clock = Clock::real();
    for round in 1..=20 {
        let began = clock.now();
        assert_eq!(get(address, "/health/ready").await.status, 200);
        assert_eq!(get(address, "/api/nodes").await.status, 200);
        assert!(clock.now() - began < Duration::from_secs(1), "{:?}", clock.now() - began);
        burned(&running, 100).await;
        assert_eq!(running.snapshot().ledger.burned, 100 * round);
    }
    let began = clock.now();
    assert!(running.drain(None).await.balances());
    assert!(clock.now() - began < Duration::from_secs(1), "{:?}", clock.now() - began);
    drop(clients);
}
