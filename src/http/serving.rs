//! A requester that serves HTTP: from request to response, and its shutdown.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::http::StatusCode;
use actix_web::web::ServiceConfig;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use gopherworks_pipeline::__private::Asker;
use gopherworks_pipeline::book::{Book, header};
use gopherworks_supervision::clock::Clock;
use gopherworks_supervision::pool::Pool;
use tokio::sync::Notify;

use super::answers;
use super::gate;
use super::pace::Pace;
use super::server::{Limits, Server, ServerState};
use super::service::{Entrance, service};
use crate::catalog::http::fields::{Message, take_in};
use crate::catalog::http::{METHOD, PATH, PEER, QUERY};
use crate::config::elements::HttpConfig;
use crate::topology::TopologyLink;
use crate::web::{Hosts, Operations, ServerCounts};

/// A bound socket and the plan of what it serves.
pub(crate) struct Listener {
    socket: TcpListener,
    plan: HttpConfig,
    threads: usize,
}

struct Serving {
    asker: Asker,
    pool: Arc<Pool>,
    entrance: Arc<Entrance>,
    body: usize,
    status: StatusCode,
    key_header: Option<String>,
    most: Option<u64>,
    taken: AtomicU64,
    /// Notified when as many requests were made as there may be.
    enough: Notify,
}

impl Listener {
    /// Binds the socket before anything runs, so that a failure prevents the start.
    pub(crate) fn bind(plan: &HttpConfig, threads: usize) -> io::Result<Self> {
        Ok(Self {
            socket: TcpListener::bind(&plan.listen)?,
            plan: plan.clone(),
            threads: threads.max(1),
        })
    }

    /// The bound address.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until the requester is closed and its grace period is over, or it has made all its
    /// requests. Then closes the port and ends with the last answer, within `shutdown_timeout`.
    pub(crate) fn listen(
        self,
        asker: Asker,
        pool: Arc<Pool>,
        topology: Arc<TopologyLink>,
    ) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let name = asker.name().clone();
            if let Err(error) = self.serve(asker, pool, topology).await {
                log::error!("{name}: the server failed: {error}");
            }
        })
    }

    async fn serve(
        self,
        asker: Asker,
        pool: Arc<Pool>,
        topology: Arc<TopologyLink>,
    ) -> io::Result<()> {
        let Self { socket, plan, threads } = self;
        let limits = Limits::of(&plan);
        let counts = Arc::new(ServerCounts::default());
        let hosts = Hosts::listening(socket.local_addr()?.ip(), &plan.hosts);
        let endpoints = Operations::new().served(&asker, counts.clone(), hosts).linked(topology);
        let shared = ServerState::new(asker.name().clone(), limits, counts);
        let entrance = Entrance::new(&plan, shared.clone());
        let serving = Arc::new(Serving {
            pool,
            entrance: entrance.clone(),
            body: usize::try_from(plan.body).unwrap_or(usize::MAX),
            status: StatusCode::from_u16(plan.status).unwrap_or(StatusCode::OK),
            key_header: plan.key_header.clone(),
            most: plan.requests,
            taken: AtomicU64::new(0),
            enough: Notify::new(),
            asker: asker.clone(),
        });
        let data = web::Data::from(serving.clone());
        let admin = plan.admin.map(|at| (at, endpoints));
        let routes = move |config: &mut ServiceConfig| {
            if let Some((at, endpoints)) = &admin {
                let scope = web::scope(at.trim_end_matches('/'));
                config.service(scope.configure(endpoints.routes()));
            }
            config.app_data(data.clone()).default_service(web::to(answer));
        };
        let make = move || service(entrance.clone(), routes.clone());
        let server = Server::start(socket, shared, (threads, plan.connections), make)?;
        let closed = async {
            asker.closing().await;
            // Readiness fails from here on, so that load balancers choose other servers.
            Clock::real().sleep(plan.grace).await;
        };
        tokio::select! {
            () = closed => {}
            () = serving.enough.notified() => {}
            () = server.stopped_listening() => {
                return Err(io::Error::other("no more connections are accepted"));
            }
        }
        server.end(plan.shutdown_timeout).await;
        Ok(())
    }
}

/// Reads a body, unless it is too large, too slow or broken.
async fn body(
    mut payload: web::Payload,
    most: usize,
    limits: &Limits,
) -> Result<Bytes, HttpResponse> {
    let clock = Clock::real();
    let (mut first, mut more) = (Bytes::new(), BytesMut::new());
    let mut pace = Pace::new(limits.read, limits.rate);
    pace.wait(clock.now());
    loop {
        let chunk = tokio::select! {
            biased;
            chunk = payload.next() => chunk,
            () = clock.sleep_until(pace.due()) => {
                let status = StatusCode::REQUEST_TIMEOUT;
                return Err(answers::plain(status, "the body came too slowly"));
            }
        };
        let chunk = match chunk {
            None if more.is_empty() => return Ok(first),
            None => return Ok(more.freeze()),
            Some(Ok(chunk)) => chunk,
            Some(Err(_)) => {
                return Err(answers::plain(StatusCode::BAD_REQUEST, "the body can't be read"));
            }
        };
        pace.moved(chunk.len(), clock.now());
        if first.len().max(more.len()) + chunk.len() > most {
            return Err(gate::too_large());
        }
        if first.is_empty() {
            first = chunk;
        } else {
            if more.is_empty() {
                more.extend_from_slice(&first);
            }
            more.extend_from_slice(&chunk);
        }
    }
}

async fn answer(
    request: HttpRequest,
    payload: web::Payload,
    serving: web::Data<Serving>,
) -> HttpResponse {
    let Some(path) = serving.entrance.gate.below(request.path()) else {
        return answers::plain(StatusCode::NOT_FOUND, "not found");
    };
    let body = match body(payload, serving.body, &serving.entrance.shared.limits).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let book = book(&request, path, body);
    let asker = &serving.asker;
    let number = serving.taken.fetch_add(1, Ordering::Relaxed);
    if serving.most.is_some_and(|most| number >= most) {
        let text = "no further request is accepted";
        return answers::plain(StatusCode::SERVICE_UNAVAILABLE, text);
    }
    let key = serving.key_header.as_deref();
    let options = match key.and_then(|key| request.headers().get(key)) {
        Some(value) => asker.options().key(value.as_bytes()),
        None => asker.options(),
    };
    let answer = asker.ask(book, options).await;
    if serving.most.is_some_and(|most| number + 1 >= most) {
        serving.enough.notify_one();
    }
    let to = asker.to();
    let method = request.method();
    let closing = asker.is_closing();
    answers::response(to, &serving.pool, method, answer, serving.status, closing).await
}

/// The book of a request. `path` is the part of its path below the served prefix.
fn book(request: &HttpRequest, path: &str, body: Bytes) -> Book {
    let mut book = Book::new(body);
    let headers = &mut book.headers;
    headers.set(header::NAME, path.trim_start_matches('/').to_owned());
    headers.set(METHOD, request.method().as_str().to_owned());
    headers.set(PATH, path.to_owned());
    if let Some(query) = request.uri().query() {
        headers.set(QUERY, query.to_owned());
    }
    if let Some(peer) = request.peer_addr() {
        headers.set(PEER, peer.ip().to_string());
    }
    let fields = || {
        let fields = request.headers().iter();
        fields.map(|(name, value)| (name.as_str(), value.as_bytes()))
    };
    take_in(Message::Request, fields, &[], headers);
    book
}
