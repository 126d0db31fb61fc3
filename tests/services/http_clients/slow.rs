//! Clients that send or read too slowly, and clients that wait for a connection to become free.

use tokio::net::TcpSocket;

use super::*;

/// More than the kernel buffers for a client with a small window.
const LARGE: usize = 8 << 20;

/// Requests an answer of [`LARGE`] bytes, of which the kernel buffers little on the client's side.
async fn asks_for_much(service: &Service) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small window");
    let mut stream = socket.connect(service.address).await.expect("it listens");
    let head = format!("POST /books/a HTTP/1.1\r\nhost: x\r\ncontent-length: {LARGE}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("it listens");
    stream.write_all(&vec![b'z'; LARGE]).await.expect("it reads");
    stream
}

/// Reads up to `part` bytes every `every`, until the server ends the connection; returns the number
/// of bytes.
async fn takes(stream: &mut TcpStream, part: usize, every: Duration) -> usize {
    let (mut all, mut buffer) = (0, vec![0; part]);
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return all,
            Ok(read) => all += read,
        }
        if all >= LARGE {
            return all;
        }
        tokio::time::sleep(every).await;
    }
}

fn large(lines: &str) -> String {
    config_with("1ms", &format!("body = \"16MiB\"\nconnections = 2\n{lines}"))
}

#[test]
fn clients_that_take_nothing_lose_their_places() {
    let heard = serving(large("write_timeout = \"1s\""), async |service| {
        let held = [asks_for_much(service).await, asks_for_much(service).await];
        let began = Instant::now();
        service.is_well().await;
        assert!(began.elapsed() < 10_000 * MS, "{:?}", began.elapsed());
        drop(held);
    });
    assert_eq!(heard.answered, 5, "they were answered, and did not take it");
}

#[test]
fn a_client_that_takes_less_than_the_least_rate_is_cut() {
    let text = large("write_timeout = \"1s\"\nmin_rate = \"10MiB\"");
    serving(text, async |service| {
        let mut stream = asks_for_much(service).await;
        let began = Instant::now();
        let taken = takes(&mut stream, 1024, 20 * MS).await;
        assert!(taken < LARGE, "{taken}");
        assert!(began.elapsed() < 60_000 * MS, "{:?}", began.elapsed());
    });
}

#[test]
fn a_slow_client_that_keeps_up_takes_all() {
    let text = large("write_timeout = \"5s\"\nmin_rate = \"1KiB\"");
    serving(text, async |service| {
        let mut stream = asks_for_much(service).await;
        assert!(takes(&mut stream, 1 << 17, 10 * MS).await >= LARGE);
    });
}

#[test]
fn a_second_head_has_to_come_as_fast_as_the_first() {
    against("1ms", async |service| {
        let mut stream = service.connect().await;
        let whole = b"POST /books/a HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(whole).await.expect("it listens");
        assert_eq!(read(&mut stream).await.map(|answer| answer.0), Some(200));
        let began = Instant::now();
        let (mut reading, mut writing) = stream.split();
        let trickle = async {
            for byte in b"GET /books/a HTTP/1.1\r\nx: ".iter().chain([b'a'].iter().cycle()) {
                tokio::time::sleep(50 * MS).await;
                if writing.write_all(&[*byte]).await.is_err() {
                    break;
                }
            }
            std::future::pending::<()>().await
        };
        let mut said = Vec::new();
        tokio::select! {
            _ = reading.read_to_end(&mut said) => {}
            () = trickle => {}
        }
        assert!(said.is_empty(), "{said:?}");
        assert!(began.elapsed() < 10_000 * MS, "{:?}", began.elapsed());
    });
}

#[test]
fn a_body_that_continues_after_its_refusal_is_not_read_endlessly() {
    let heard = against("1ms", async |service| {
        let mut stream = service.connect().await;
        let head = b"POST /books/a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head).await.expect("it listens");
        let (mut reading, mut writing) = stream.split();
        let began = Instant::now();
        let chunks = async {
            let chunk = format!("400\r\n{}\r\n", "y".repeat(1024));
            while writing.write_all(chunk.as_bytes()).await.is_ok() {
                tokio::time::sleep(MS).await;
            }
        };
        let mut said = Vec::new();
        let listens = async {
            let _ = reading.read_to_end(&mut said).await;
        };
        tokio::join!(chunks, listens);
        assert!(began.elapsed() < 10_000 * MS, "{:?}", began.elapsed());
        assert!(said.starts_with(b"HTTP/1.1 413"), "{said:?}");
    });
    assert_eq!(heard.asked, 2);
}

#[test]
fn idle_connections_are_closed_for_those_that_wait() {
    // Idle connections are kept for a minute.
    let text = config_with("1ms", "connections = 2");
    serving(text, async |service| {
        let began = Instant::now();
        let mut kept = Vec::new();
        for _ in 0..8 {
            let mut stream = service.connect().await;
            let whole = b"POST /books/a HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(whole).await.expect("it listens");
            assert_eq!(read(&mut stream).await.map(|answer| answer.0), Some(200));
            kept.push(stream);
        }
        assert!(began.elapsed() < 20_000 * MS, "{:?}", began.elapsed());
    });
}
