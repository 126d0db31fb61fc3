//! The shutdown of a server, and its routes for operators.

use super::*;

/// Status and body of a GET below `/admin`, with this `Host`.
async fn admin(address: SocketAddr, path: &str, host: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let head = format!("GET /admin{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.ok()?;
    let mut said = String::new();
    stream.read_to_string(&mut said).await.ok()?;
    let status = said.split(' ').nth(1)?.parse().ok()?;
    Some((status, said.split_once("\r\n\r\n")?.1.to_owned()))
}

#[test]
fn a_server_says_that_it_is_not_ready_before_its_port_is_closed() {
    actix_rt::System::new().block_on(async {
        let service = start(config_with("1ms", "grace = \"4s\"")).await;
        let ready = || admin(service.address, "/health/ready", "localhost");
        assert_eq!(ready().await.map(|answer| answer.0), Some(200));
        let began = Instant::now();
        service.running.close();
        assert_eq!(ready().await.map(|answer| answer.0), Some(503));
        service.is_well().await;
        let report = service.running.drain(Some(Duration::from_secs(20))).await;
        assert!(began.elapsed() >= 4000 * MS, "{:?}", began.elapsed());
        assert_eq!(report.requesters[0].answered, 1);
        assert!(TcpStream::connect(service.address).await.is_err());
    });
}

#[test]
fn a_client_that_never_reads_does_not_hold_the_end() {
    actix_rt::System::new().block_on(async {
        let text = "body = \"16MiB\"\nwrite_timeout = \"1h\"\nread_timeout = \"1h\"";
        let service = start(config_with("1ms", text)).await;
        let mut never = service.connect().await;
        let body = vec![b'z'; 12 << 20];
        let head =
            format!("POST /books/a HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
        never.write_all(head.as_bytes()).await.expect("it listens");
        never.write_all(&body).await.expect("it reads");
        until("it is answered", || service.heard().answered == 1).await;
        // One connection is idle, one in the middle of a head.
        let idle = service.connect().await;
        let mut half = service.connect().await;
        half.write_all(b"GET /bo").await.expect("it listens");
        let began = Instant::now();
        let report = service.running.drain(None).await;
        assert!(began.elapsed() < 10_000 * MS, "{:?}", began.elapsed());
        assert_eq!(report.requesters[0].answered, 1);
        drop((never, idle, half));
    });
}

#[test]
fn requests_under_way_are_answered_before_the_end_and_cut_after_the_timeout() {
    actix_rt::System::new().block_on(async {
        for (time, within, answered) in [("500ms", "30s", 1), ("1h", "1s", 0)] {
            let lines = format!("shutdown_timeout = \"{within}\"");
            let service = start(config_with(time, &lines)).await;
            let mut stream = service.connect().await;
            let request = b"POST /books/a HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi";
            stream.write_all(request).await.expect("it listens");
            until("it is worked on", || service.heard().in_flight == 1).await;
            let began = Instant::now();
            let report = service.running.drain(None).await;
            assert!(began.elapsed() < 10_000 * MS, "{:?}", began.elapsed());
            let heard = &report.requesters[0];
            assert_eq!((heard.answered, heard.cancelled), (answered, 1 - answered));
            let said = read(&mut stream).await;
            // The last answer closes the connection.
            assert_eq!(said, (answered == 1).then_some((200, false, false)));
        }
    });
}

#[test]
fn operators_name_a_host_that_is_served_and_malformed_requests_are_counted() {
    let text = config_with("1ms", "hosts = [\"ops.example\"]");
    serving(text, async |service| {
        for (host, wanted) in [
            ("localhost", 200),
            ("127.0.0.1:9", 200),
            ("ops.example", 200),
            ("evil.example", 421),
            ("10.1.2.3", 421),
        ] {
            for path in ["/health/live", "/health/ready", "/metrics", "/snapshot"] {
                let answer = admin(service.address, path, host).await;
                assert_eq!(answer.map(|answer| answer.0), Some(wanted), "{host} {path}");
            }
        }
        // Requests for workers are answered whatever their `Host`.
        let other = b"GET /books/a HTTP/1.1\r\nhost: evil.example\r\n\r\n";
        assert_eq!(service.say(other).await, Some((200, true)));
        for _ in 0..3 {
            assert_eq!(service.say(b"what is this\r\n\r\n").await, Some((400, false)));
        }
        let line = "gopherworks_http_malformed_requests_total{requester=\"web\"} 3\n";
        let began = Instant::now();
        let text = loop {
            let metrics = admin(service.address, "/metrics", "localhost").await;
            let (_, text) = metrics.expect("metrics");
            // A request is counted when its connection ends, a moment after the response.
            if text.contains(line) {
                break text;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{text}");
        };
        assert!(text.contains("gopherworks_http_connections{requester=\"web\"} "), "{text}");
    });
}
