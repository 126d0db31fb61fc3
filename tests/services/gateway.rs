//! A gateway: which parts of a request reach the upstream server, and which parts of its answer
//! reach the client (RFC 9110, 7.6).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use gopherworks::Loaded;
use gopherworks::config::Overrides;
use gopherworks::{Catalog, Report, RunningTopology, Topology};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::upstream::{Heard, Says, Upstream};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn always(answer: &'static str) -> Upstream {
    Upstream::start(move |_| Says::Bytes(answer.into()))
}

struct Gateway {
    address: SocketAddr,
    running: RunningTopology,
}

impl Gateway {
    /// A gateway to `upstream` with `{name}` in its `url`, and these options of the worker.
    async fn to(upstream: SocketAddr, options: &str) -> Self {
        Self::of(&format!("url = \"http://{upstream}/{{name}}\"{options}"), "").await
    }

    async fn of(options: &str, desk: &str) -> Self {
        Self::with(2, options, desk).await
    }

    async fn with(workers: usize, options: &str, desk: &str) -> Self {
        let text = format!(
            r#"[balancers.desk]
{desk}
workers = {{ count = {workers}, work = {{ kind = "http", {options} }} }}
[requesters.web]
to = "desk"
load = {{ kind = "http", listen = "127.0.0.1:0" }}
"#
        );
        let loaded = Loaded::parse("t.toml", text, &Catalog::standard(), &Overrides::default());
        let plan = loaded.unwrap_or_else(|mistakes| panic!("{mistakes}")).plan;
        let running = Topology::from_plan(plan).start().await.expect("it starts");
        running.close_offers();
        let address = running.addresses()[0].1;
        Self { address, running }
    }

    /// Sends a request with these lines; returns the raw answer.
    async fn say(&self, line: &str, fields: &[&str], body: &str) -> String {
        let mut request =
            format!("{line} HTTP/1.1\r\nhost: front.example:80\r\nconnection: close\r\n");
        for field in fields {
            request.push_str(&format!("{field}\r\n"));
        }
        if !body.is_empty() {
            request.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        request.push_str(&format!("\r\n{body}"));
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("it listens");
        let mut said = Vec::new();
        stream.read_to_end(&mut said).await.expect("an answer");
        String::from_utf8_lossy(&said).into_owned()
    }

    async fn end(self) -> Report {
        self.running.drain(Some(Duration::from_secs(20))).await
    }
}

fn status(said: &str) -> &str {
    said.get(9..12).unwrap_or(said)
}

/// The values of the answer's fields of this name.
fn fields<'a>(said: &'a str, name: &str) -> Vec<&'a str> {
    let head = said.split("\r\n\r\n").next().unwrap_or_default();
    let fields = head.split("\r\n").filter_map(|line| line.split_once(": "));
    let named = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value).collect()
}

fn body(said: &str) -> &str {
    said.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

fn last(upstream: &Upstream) -> Heard {
    upstream.heard().pop().expect("it was asked")
}

#[actix_web::test]
async fn method_path_and_query_are_passed_on_as_they_came() {
    let upstream = always(OK);
    let gateway = Gateway::to(upstream.address, "").await;
    for line in [
        "GET /",
        "POST /a%20b",
        "DELETE /a?x=1",
        "PUT /a%2Fb/c%2fd?q=%26&q=+&r",
        "PATCH /caf%C3%A9;v=1,2@3:4?",
        "PROPFIND /a//b/",
        "OPTIONS /a",
        "POST //a",
    ] {
        let said = gateway.say(line, &[], "").await;
        assert_eq!(status(&said), "200", "{line}: {said}");
        assert_eq!(last(&upstream).line, line);
    }
    let asked = upstream.heard().len();
    for line in ["GET /../a", "GET /a/%2e%2E/b", "GET /.%2e"] {
        let said = gateway.say(line, &[], "").await;
        assert_eq!(status(&said), "400", "{line}: {said}");
    }
    let said = gateway.say("TRACE /a", &[], "").await;
    assert_eq!(status(&said), "405", "{said}");
    assert_eq!(upstream.heard().len(), asked, "none of these is forwarded");
    gateway.end().await;
}

#[actix_web::test]
async fn a_method_or_an_address_that_is_given_is_kept() {
    let upstream = always(OK);
    let options = format!(
        "url = \"http://{}/fixed?k=v\", method = \"PUT\", pass_query = false",
        upstream.address
    );
    let gateway = Gateway::of(&options, "").await;
    gateway.say("POST /a?x=1", &[], "hi").await;
    let heard = last(&upstream);
    assert_eq!((&*heard.line, &*heard.body), ("PUT /fixed?k=v", &b"hi"[..]));
    gateway.end().await;
}

/// Fields of a request that reach the upstream server unchanged.
const PASSED: &[&str] = &[
    "accept: text/html;q=0.5",
    "accept-charset: utf-8",
    "accept-encoding: gzip, br",
    "accept-language: de, en",
    "authorization: Bearer x",
    "baggage: a=b",
    "cache-control: no-cache",
    "content-disposition: attachment",
    "content-encoding: gzip",
    "content-language: de",
    "content-type: text/x-book; charset=utf-8",
    "cookie: a=1; b=2",
    "forwarded: for=10.0.0.1",
    "from: me@example.org",
    "idempotency-key: mine",
    "if-match: \"a\"",
    "if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT",
    "if-none-match: \"b\", W/\"c\"",
    "if-range: \"d\"",
    "if-unmodified-since: Sun, 06 Nov 1994 08:49:37 GMT",
    "origin: http://x.example",
    "pragma: no-cache",
    "prefer: return=minimal",
    "range: bytes=0-9",
    "referer: http://x.example/",
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate: a=b",
    "user-agent: curl/8",
    "x-anything: \u{e9}",
    "x-forwarded-for: 10.0.0.1",
    "x-request-id: r-1",
];

/// Fields of a request that apply to the connection only.
const KEPT_BACK: &[&str] = &[
    "keep-alive: timeout=5",
    "proxy-authorization: Basic x",
    "proxy-authenticate: Basic",
    "proxy-connection: keep-alive",
    "te: trailers",
    "trailer: x-sum",
    "http2-settings: AAMAAABkAARAAAAAAAIAAAAA",
    "x-of-this-hop: 1",
];

#[actix_web::test]
async fn fields_of_a_request_are_passed_on_by_the_table() {
    let upstream = always(OK);
    let gateway = Gateway::to(upstream.address, "").await;
    for field in PASSED {
        let said = gateway.say("POST /a", &[field], "hi").await;
        assert_eq!(status(&said), "200", "{field}: {said}");
        let (name, value) = field.split_once(": ").expect("a field");
        assert_eq!(last(&upstream).all(name), [value], "{field}");
    }
    for field in KEPT_BACK {
        let fields = ["connection: x-of-this-hop", field];
        let said = gateway.say("POST /a", &fields, "hi").await;
        assert_eq!(status(&said), "200", "{field}: {said}");
        let heard = last(&upstream);
        let (name, _) = field.split_once(": ").expect("a field");
        assert_eq!(heard.all(name), [""; 0], "{field}");
        assert_eq!(heard.all("connection"), [""; 0], "{field}");
    }
    let both = ["cookie: a=1", "cookie: b=2"];
    gateway.say("GET /a", &both, "").await;
    let heard = last(&upstream);
    assert_eq!(heard.all("cookie"), ["a=1", "b=2"]);
    assert_eq!(heard.all("host"), [upstream.address.to_string()]);
    assert_eq!(heard.all("via"), ["1.1 gopherworks"]);
    assert_eq!(heard.all("content-length"), [""; 0], "GET has no body");
    gateway.say("GET /a", &["via: 1.0 first"], "").await;
    assert_eq!(last(&upstream).all("via"), ["1.0 first, 1.1 gopherworks"]);
    gateway.say("POST /a", &["content-length: 0"], "").await;
    assert_eq!(last(&upstream).all("content-length"), ["0"]);
    gateway.say("OPTIONS /a", &["max-forwards: 2"], "").await;
    assert_eq!(last(&upstream).all("max-forwards"), ["1"]);
    let asked = upstream.heard().len();
    let said = gateway.say("OPTIONS /a", &["max-forwards: 0"], "").await;
    assert_eq!((status(&said), upstream.heard().len()), ("200", asked));
    gateway.end().await;
}

#[actix_web::test]
async fn options_add_and_drop_fields() {
    let upstream = always("HTTP/1.1 200 OK\r\nserver: secret\r\ncontent-length: 0\r\n\r\n");
    let more = ", headers = { x-one = \"1\", user-agent = \"me\" }, drop_headers = [\"Cookie\", \
                \"Server\"]";
    let forwarded = format!("{more}, via = false, forwarded = \"x-forwarded\"");
    let gateway = Gateway::to(upstream.address, &forwarded).await;
    let came = ["x-one: 2", "cookie: a=1", "user-agent: curl", "x-forwarded-for: 10.0.0.1"];
    let said = gateway.say("GET /a", &came, "").await;
    assert_eq!(fields(&said, "server"), [""; 0]);
    let heard = last(&upstream);
    for (name, values) in [
        ("x-one", &["1"][..]),
        ("user-agent", &["me"]),
        ("cookie", &[]),
        ("via", &[]),
        ("x-forwarded-for", &["10.0.0.1, 127.0.0.1"]),
        ("x-forwarded-host", &["front.example:80"]),
        ("x-forwarded-proto", &["http"]),
    ] {
        assert_eq!(heard.all(name), values, "{name}");
    }
    gateway.end().await;
    let gateway = Gateway::to(upstream.address, ", forwarded = \"forwarded\"").await;
    gateway.say("GET /a", &[], "").await;
    let element = "for=127.0.0.1;host=\"front.example:80\";proto=http";
    assert_eq!(last(&upstream).all("forwarded"), [element]);
    gateway.end().await;
}

/// Fields of an answer that reach the client unchanged.
const ANSWERED: &[&str] = &[
    "accept-ranges: bytes",
    "age: 3",
    "allow: GET, HEAD",
    "cache-control: max-age=60",
    "content-disposition: attachment; filename=\"x\"",
    "content-encoding: gzip",
    "content-language: de",
    "content-location: /a.de",
    "content-range: bytes 0-1/9",
    "content-security-policy: default-src 'self'",
    "content-type: text/x-book",
    "date: Sun, 06 Nov 1994 08:49:37 GMT",
    "etag: W/\"a\"",
    "expires: Sun, 06 Nov 1994 08:49:37 GMT",
    "last-modified: Sun, 06 Nov 1994 08:49:37 GMT",
    "link: </a>; rel=next",
    "location: http://elsewhere.example/a%20b",
    "retry-after: 120",
    "server: them",
    "strict-transport-security: max-age=1",
    "vary: accept-encoding",
    "www-authenticate: Basic realm=\"x\"",
    "x-anything: y",
];

#[actix_web::test]
async fn statuses_and_fields_of_an_answer_are_passed_back_by_the_table() {
    let statuses = [
        "200", "201", "202", "203", "204", "205", "206", "207", "226", "300", "301", "302", "303",
        "304", "307", "308", "400", "401", "402", "403", "404", "405", "406", "408", "409", "410",
        "411", "412", "413", "416", "417", "421", "422", "425", "428", "429", "431", "451", "499",
        "500", "501", "502", "503", "504", "511", "599",
    ];
    let upstream = Upstream::start(|heard| {
        let (_, status) = heard.line.rsplit_once('/').expect("a path");
        let fields = ANSWERED.join("\r\n");
        let empty = matches!(status, "204" | "205" | "304");
        let body = if empty { "" } else { "content-length: 2\r\n\r\nno" };
        let end = if empty { "content-length: 0\r\n\r\n" } else { "" };
        let end = if status == "204" || status == "304" { "\r\n" } else { end };
        let hop = "connection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\n\
                   proxy-authenticate: Basic\r\nproxy-connection: x\r\n";
        let twice = "set-cookie: a=1; Expires=Sun, 06 Nov 1994\r\nset-cookie: b=2";
        Says::Bytes(
            format!("HTTP/1.1 {status} X\r\n{hop}{fields}\r\n{twice}\r\n{body}{end}").into(),
        )
    });
    let gateway = Gateway::to(upstream.address, "").await;
    for code in statuses {
        let asked = upstream.heard().len();
        let said = gateway.say(&format!("GET /{code}"), &[], "").await;
        assert_eq!(status(&said), code, "{said}");
        for field in ANSWERED {
            let (name, value) = field.split_once(": ").expect("a field");
            assert_eq!(fields(&said, name), [value], "{code}: {said}");
        }
        let cookies = ["a=1; Expires=Sun, 06 Nov 1994", "b=2"];
        assert_eq!(fields(&said, "set-cookie"), cookies, "{code}");
        for name in ["x-hop", "keep-alive", "proxy-authenticate", "proxy-connection"] {
            assert_eq!(fields(&said, name), [""; 0], "{code}: {said}");
        }
        let empty = matches!(code, "204" | "205" | "304");
        assert_eq!(body(&said), if empty { "" } else { "no" }, "{code}");
        assert_eq!(
            upstream.heard().len(),
            asked + 1,
            "{code} is an answer, not to be asked for again"
        );
    }
    gateway.end().await;
}

#[actix_web::test]
async fn an_answer_to_head_has_a_length_and_no_body() {
    let upstream = always("HTTP/1.1 200 OK\r\ncontent-length: 123456789\r\netag: \"a\"\r\n\r\n");
    let gateway = Gateway::to(upstream.address, ", max_response = \"1KiB\"").await;
    let said = gateway.say("HEAD /a", &[], "").await;
    assert_eq!((status(&said), body(&said)), ("200", ""));
    assert_eq!(fields(&said, "content-length"), ["123456789"]);
    assert_eq!(fields(&said, "content-type"), [""; 0]);
    gateway.end().await;
}

#[actix_web::test]
async fn failures_of_the_server_behind_have_statuses_of_a_gateway() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let gateway = Gateway::to(gone.expect("a port"), ", retries = 0").await;
    let said = gateway.say("GET /a", &[], "").await;
    assert_eq!(status(&said), "502", "{said}");
    gateway.end().await;
    let upstream = Upstream::start(|heard| match &*heard.line {
        "GET /late" => Says::Nothing,
        "GET /cut" => Says::Bytes("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok".into()),
        "GET /endless" => {
            let mut bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
            bytes.extend(b"800\r\n".iter().chain(&[b'x'; 2048]).chain(b"\r\n"));
            Says::Bytes(bytes)
        }
        "GET /fields" => {
            let field = format!("x: {}\r\n", "y".repeat(70_000));
            Says::Bytes(format!("HTTP/1.1 200 OK\r\n{field}content-length: 0\r\n\r\n").into())
        }
        _ => Says::Bytes("nonsense\r\n\r\n".into()),
    });
    let options = ", retries = 0, timeout = \"200ms\", max_response = \"1KiB\"";
    let gateway = Gateway::to(upstream.address, options).await;
    for (line, code) in [
        ("GET /late", "504"),
        ("GET /cut", "504"),
        ("GET /endless", "502"),
        ("GET /fields", "502"),
        ("GET /nonsense", "502"),
    ] {
        let said = gateway.say(line, &[], "").await;
        assert_eq!(status(&said), code, "{line}: {said}");
    }
    let report = gateway.end().await;
    assert_eq!(report.requesters[0].lost, 0);
}

/// Answers the first request of each connection, and closes it at the second, like a server whose
/// idle timeout has passed.
pub(crate) fn closing() -> Upstream {
    let seen = Mutex::new(BTreeSet::new());
    Upstream::start(move |heard| {
        let first = seen.lock().expect("no test panics in it").insert(heard.connection);
        match first {
            true => Says::Bytes(OK.into()),
            false => Says::Closes,
        }
    })
}

#[actix_web::test]
async fn a_connection_that_was_closed_meanwhile_is_replaced_where_that_is_safe() {
    let mine = ["idempotency-key: mine"];
    for (line, fields, code, times) in [
        ("GET /a", &[][..], "200", 2),
        ("DELETE /a", &[], "200", 2),
        ("POST /a", &mine, "200", 2),
        ("POST /a", &[], "502", 1),
    ] {
        let upstream = closing();
        let options = format!("url = \"http://{}/{{name}}\", retries = 0", upstream.address);
        let gateway = Gateway::of(&options, "").await;
        assert_eq!(status(&gateway.say("GET /first", &[], "").await), "200");
        let said = gateway.say(line, fields, "").await;
        assert_eq!(status(&said), code, "{line} {fields:?}");
        let heard = upstream.heard();
        let asked: Vec<_> = heard.iter().filter(|heard| heard.line == line).collect();
        assert_eq!(asked.len(), times, "{line} {fields:?}");
        let keys: Vec<_> = asked.iter().map(|heard| heard.all("idempotency-key")).collect();
        assert!(keys.windows(2).all(|two| two[0] == two[1]), "{keys:?}");
        gateway.end().await;
    }
}

#[actix_web::test]
async fn no_connection_is_kept_where_none_may_be() {
    let upstream = always(OK);
    let gateway = Gateway::to(upstream.address, ", pool = { max_idle = 0 }").await;
    for _ in 0..3 {
        gateway.say("GET /a", &[], "").await;
    }
    let connections: Vec<_> = upstream.heard().iter().map(|heard| heard.connection).collect();
    assert_eq!(connections, [0, 1, 2]);
    gateway.end().await;
}

#[actix_web::test]
async fn requests_have_keys_and_their_copies_have_the_same() {
    // Only the second copy of a request is answered.
    let seen = Mutex::new(BTreeSet::new());
    let upstream = Upstream::start(move |heard| {
        let key = (heard.body.clone(), heard.line.clone());
        match seen.lock().expect("no test panics in it").insert(key) {
            true => Says::Nothing,
            false => Says::Bytes(OK.into()),
        }
    });
    let options = format!("url = \"http://{}/{{id}}\"", upstream.address);
    let mut all = BTreeSet::new();
    for run in 1..=2 {
        // A worker for each copy: one that is still ending a copy gets no other.
        let gateway = Gateway::with(6, &options, "replicate = 2").await;
        for _ in 0..2 {
            let said = gateway.say("POST /a", &[], "hi").await;
            assert_eq!(status(&said), "200", "{said}");
        }
        let chosen = ["idempotency-key: mine"];
        gateway.say("POST /a", &chosen, "hi").await;
        gateway.end().await;
        for heard in upstream.heard() {
            let key = heard.all("idempotency-key")[0];
            if key != "mine" {
                assert_eq!(heard.line, format!("POST /{key}"));
                all.insert(key.to_owned());
            }
        }
        assert_eq!(all.len(), 2 * run, "{all:?}");
        assert_eq!(upstream.heard().len(), 6 * run, "each has one copy");
    }
}
