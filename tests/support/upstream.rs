//! A server behind a gateway that sends and records exact bytes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// How the server reacts to a request.
pub enum Says {
    /// Sends these bytes and keeps the connection.
    Bytes(Vec<u8>),
    /// Closes the connection without an answer.
    Closes,
    /// Sends nothing and keeps the connection.
    Nothing,
}

/// A request as received.
#[derive(Debug, Clone)]
pub struct Heard {
    /// The index of its connection, from 0.
    pub connection: usize,
    /// Method and target.
    pub line: String,
    /// Fields in order; names in lower case.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Heard {
    /// The values of the fields of this name, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.fields.iter().filter(|(field, _)| field == name);
        fields.map(|(_, value)| value.as_str()).collect()
    }
}

/// A server that listens until the test ends.
pub struct Upstream {
    pub address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Upstream {
    /// Starts a server that reacts to each request as `says` returns.
    pub fn start(says: impl Fn(&Heard) -> Says + Send + Sync + 'static) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), says)
    }

    /// As [`Upstream::start`], at this address.
    pub fn at(address: SocketAddr, says: impl Fn(&Heard) -> Says + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).expect("a port");
        let address = listener.local_addr().expect("a port");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (hears, says) = (heard.clone(), Arc::new(says));
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().flatten().enumerate() {
                let (hears, says) = (hears.clone(), says.clone());
                std::thread::spawn(move || serve(connection, stream, &hears, &*says));
            }
        });
        Self { address, heard }
    }

    /// All requests so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().expect("no test panics in it").clone()
    }
}

fn serve(
    connection: usize,
    mut stream: TcpStream,
    heard: &Mutex<Vec<Heard>>,
    says: &dyn Fn(&Heard) -> Says,
) {
    let mut left = Vec::new();
    while let Some(request) = read(connection, &mut stream, &mut left) {
        heard.lock().expect("no test panics in it").push(request.clone());
        match says(&request) {
            Says::Bytes(bytes) => {
                if stream.write_all(&bytes).is_err() {
                    return;
                }
            }
            Says::Closes => return,
            Says::Nothing => {}
        }
    }
}

/// Reads one request; `left` keeps bytes read beyond it. `None` at the end of the connection.
fn read(connection: usize, stream: &mut TcpStream, left: &mut Vec<u8>) -> Option<Heard> {
    let mut more = |left: &mut Vec<u8>| {
        let mut buffer = [0; 65536];
        let length = stream.read(&mut buffer).ok().filter(|length| *length > 0)?;
        left.extend_from_slice(&buffer[..length]);
        Some(())
    };
    let end = loop {
        match left.windows(4).position(|four| four == b"\r\n\r\n") {
            Some(end) => break end + 4,
            None => more(left)?,
        }
    };
    let head = String::from_utf8_lossy(&left[..end]).into_owned();
    left.drain(..end);
    let mut lines = head.trim_end().split("\r\n");
    let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let fields = lines.filter_map(|line| line.split_once(':'));
    let fields = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    let mut heard = Heard { connection, line, fields: fields.collect(), body: Vec::new() };
    assert_eq!(heard.all("transfer-encoding"), [""; 0], "lengths are known");
    let length: usize =
        heard.all("content-length").first().map_or(0, |length| length.parse().expect("a length"));
    while left.len() < length {
        more(left)?;
    }
    heard.body = left.drain(..length).collect();
    Some(heard)
}
