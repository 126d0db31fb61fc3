//! Malformed requests, and requests beyond the limits: answered at once, and never passed to a
//! worker.

use super::*;

/// The head of a request, with a `Host`.
fn head(line: &str, headers: &[&str]) -> String {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    format!("{line} HTTP/1.1\r\nhost: x\r\n{headers}\r\n")
}

#[test]
fn a_table_of_heads() {
    let heard = against("1ms", async |service| {
        let large = "content-length: 99999999";
        for (line, headers, wanted) in [
            ("CONNECT example.com:80", [].as_slice(), (405, false)),
            ("TRACE /books/a", &[], (405, false)),
            ("OPTIONS *", &[], (204, true)),
            ("GET *", &[], (400, false)),
            ("GET /books/a", &["connection: upgrade", "upgrade: websocket"], (501, false)),
            ("GET /books/a", &["expect: the-unexpected"], (417, false)),
            ("PUT /books/a", &["expect: 100-continue, more", "content-length: 2"], (417, false)),
            // Refused before the client sends its body: no 100 comes first.
            ("POST /books/a", &["expect: 100-continue", large], (413, false)),
            ("POST /elsewhere", &["expect: 100-continue", "content-length: 2"], (404, false)),
            ("POST /books/a", &[large], (413, false)),
            ("POST /books/a", &["content-length: 2", "transfer-encoding: chunked"], (400, false)),
            ("POST /books/a", &["content-length: 2", "content-length: 3"], (400, false)),
        ] {
            let answer = service.say(head(line, headers).as_bytes()).await;
            assert_eq!(answer, Some(wanted), "{line} {headers:?}");
        }
    });
    assert_eq!(heard.asked, 2, "only those that were well");
}

#[test]
fn an_upgrade_that_is_not_known_is_ignored() {
    let heard = against("1ms", async |service| {
        let headers = ["connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: x"];
        let answer = service.say(head("GET /books/a", &headers).as_bytes()).await;
        assert_eq!(answer, Some((200, false)));
    });
    assert_eq!(heard.answered, 3);
}

#[test]
fn a_client_that_waits_for_100_is_told_to_go_on() {
    against("1ms", async |service| {
        let mut stream = service.connect().await;
        let head = head("PUT /books/a", &["expect: 100-continue", "content-length: 2"]);
        stream.write_all(head.as_bytes()).await.expect("it listens");
        assert_eq!(read(&mut stream).await.map(|answer| answer.0), Some(100));
        stream.write_all(b"hi").await.expect("it listens");
        assert_eq!(read(&mut stream).await.map(|answer| answer.0), Some(200));
    });
}

/// The raw answer to a request, up to the end of the connection.
async fn whole(service: &Service, line: &str, body: &str) -> String {
    let mut stream = service.connect().await;
    let length = format!("content-length: {}", body.len());
    let request = head(line, &["connection: close", &length]) + body;
    stream.write_all(request.as_bytes()).await.expect("it listens");
    let mut said = String::new();
    stream.read_to_string(&mut said).await.expect("an answer");
    said
}

#[test]
fn methods_and_the_status_are_those_of_the_file() {
    let text = config_with("1ms", "methods = [\"get\", \"POST\"]\nstatus = 202");
    actix_rt::System::new().block_on(async {
        let service = start(text).await;
        let said = whole(&service, "POST /books/a", "hi").await;
        assert!(said.starts_with("HTTP/1.1 202") && said.ends_with("\r\n\r\nhi"), "{said}");
        let said = whole(&service, "HEAD /books/a", "hi").await;
        assert!(said.starts_with("HTTP/1.1 202") && said.ends_with("\r\n\r\n"), "{said}");
        assert!(said.contains("content-length: 2\r\n"), "{said}");
        for (line, status) in [("DELETE /books/a", 405), ("OPTIONS /books/a", 204)] {
            let said = whole(&service, line, "").await;
            assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{said}");
            assert!(said.contains("allow: GET, POST, HEAD, OPTIONS\r\n"), "{said}");
        }
        let said = whole(&service, "GET /admin/health/live", "").await;
        assert!(said.starts_with("HTTP/1.1 421"), "{said}");
        let report = service.running.drain(Some(Duration::from_secs(20))).await;
        assert_eq!(report.requesters[0].asked, 2);
    });
}
