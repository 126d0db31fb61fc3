//! `load = { kind = "http" }` of `[requesters.x]`: a server of HTTP.

use std::time::Duration;

use super::{Address, Header, Host, Method, UrlPath};
use crate::config::element::Element;
use crate::config::limits::{LARGEST_BODY, MOST_CONNECTIONS, MOST_HEADERS, MOST_REQUESTS};

/// Longest timeout, in seconds.
const DAY: u64 = 24 * 60 * 60;

/// A requester that serves HTTP: each request that arrives is sent to the balancer, and its reply
/// is the response.
#[derive(Debug, Clone, PartialEq, Element)]
pub struct HttpConfig {
    /// Address and port to listen on, such as "127.0.0.1:8080"; port 0 selects any free port.
    #[key(as = Address)]
    pub listen: String,
    /// True if other machines may connect.
    #[key(default)]
    pub public: bool,
    /// Path prefix of the requests that are served; others are answered 404.
    #[key(as = UrlPath, default = "/".to_owned())]
    pub path: String,
    /// Path prefix of the endpoints for operators, such as "/admin": those of `[operations]`.
    /// Without it there are none.
    #[key(as = UrlPath)]
    pub admin: Option<String>,
    /// Most bytes of a request's body.
    #[key(
        as = Size, default = 1 << 20, min = 1, max = LARGEST_BODY,
        because = "a body has 1 byte to 1 GiB"
    )]
    pub body: u64,
    /// Most headers of a request.
    #[key(
        default = 64, min = 1, max = MOST_HEADERS, because = "a request has 1 to 96 headers"
    )]
    pub headers: u32,
    /// Most open connections; further ones wait until one ends, and idle ones are closed for them.
    #[key(
        default = 1024, min = 1, max = MOST_CONNECTIONS,
        because = "1 to 1000000 connections are accepted"
    )]
    pub connections: u32,
    /// Header whose value is the key of a request, for the policy `affinity`. Without it requests
    /// have no key.
    #[key(as = Header)]
    pub key_header: Option<String>,
    /// Status of successful replies that set none.
    #[key(
        default = 200,
        min = 200,
        max = 299,
        because = "a successful answer has a status from 200 to 299"
    )]
    pub status: u16,
    /// Methods that are served, such as ["GET", "POST"] (HEAD with GET); others are answered 405.
    /// Without it all except CONNECT and TRACE.
    #[key(as = Vec<Method>, min = 1, because = "at least one method is served")]
    pub methods: Option<Vec<String>>,
    /// Hosts that a request for `admin` may name besides the address that is listened on, such as
    /// ["ops.example"]; ["*"] allows any.
    #[key(as = Vec<Host>, default)]
    pub hosts: Vec<String>,
    /// Timeout for receiving a request's head, and for each stall while receiving its body.
    #[key(
        default = Duration::from_secs(5), above = 0, max = DAY,
        because = "it must be longer than 0 and at most a day"
    )]
    pub read_timeout: Duration,
    /// Timeout for each stall of a client while it receives a reply: then its connection is cut.
    #[key(
        default = Duration::from_secs(10), above = 0, max = DAY,
        because = "it must be longer than 0 and at most a day"
    )]
    pub write_timeout: Duration,
    /// Least transfer rate of a body or a reply, in bytes per second; a client that is slower for
    /// longer than the timeout is cut.
    #[key(as = Size, default = 1 << 10, min = 1, because = "at least 1 byte a second")]
    pub min_rate: u64,
    /// Most time a connection may be idle between two requests.
    #[key(
        default = Duration::from_secs(15), above = 0, max = DAY,
        because = "it must be longer than 0 and at most a day"
    )]
    pub keep_alive: Duration,
    /// How long it still serves after the first signal, while /health/ready says 503, before the
    /// port is closed.
    #[key(default = Duration::ZERO, max = DAY, because = "at most a day")]
    pub grace: Duration,
    /// Most time for open requests to finish once the port is closed; then their connections are
    /// cut.
    #[key(
        default = Duration::from_secs(30), above = 0, max = DAY,
        because = "it must be longer than 0 and at most a day"
    )]
    pub shutdown_timeout: Duration,
    /// Requests after which it is done. Without it there is no end.
    #[key(min = 1, most = MOST_REQUESTS, because = "a requester makes at least one request")]
    pub requests: Option<u64>,
}
