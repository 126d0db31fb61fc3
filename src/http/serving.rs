//! A requester that serves HTTP: from request to response, and its shutdown.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_http::error::DispatchError;
use actix_http::{HttpService, KeepAlive, Request, Response};
use actix_service::map_config;
use actix_web::body::BoxBody;
use actix_web::dev::{AppConfig, Service, ServiceFactory, fn_service};
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::{App, HttpRequest, HttpResponse, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, Either, ready};
use gopherworks_pipeline::__private::Asker;
use gopherworks_pipeline::book::{Book, header};
use gopherworks_supervision::clock::Clock;
use gopherworks_supervision::pool::Pool;
use tokio::sync::Notify;

use super::answers;
use super::connection::{Connection, WatchedStream};
use super::gate::{self, RequestGate};
use super::pace::Pace;
use super::server::{Limits, Server, ServerState};
use crate::catalog::http::fields::{Message, take_in};
use crate::catalog::http::{METHOD, PATH, PEER, QUERY};
use crate::config::elements::HttpConfig;
use crate::web::{Endpoints, Hosts, ServerCounts};

/// A bound socket and the plan of what it serves.
pub(crate) struct Listener {
    socket: TcpListener,
    plan: HttpConfig,
    threads: usize,
}

struct Serving {
    asker: Asker,
    pool: Arc<Pool>,
    gate: RequestGate,
    shared: Arc<ServerState>,
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
    pub(crate) fn listen(self, asker: Asker, pool: Arc<Pool>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let name = asker.name().clone();
            if let Err(error) = self.serve(asker, pool).await {
                log::error!("{name}: the server failed: {error}");
            }
        })
    }

    async fn serve(self, asker: Asker, pool: Arc<Pool>) -> io::Result<()> {
        let Self { socket, plan, threads } = self;
        let limits = Limits {
            read: plan.read_timeout,
            write: plan.write_timeout,
            rate: plan.min_rate,
            keep_alive: plan.keep_alive,
        };
        let counts = Arc::new(ServerCounts::default());
        let hosts = Hosts::listening(socket.local_addr()?.ip(), &plan.hosts);
        let endpoints = Endpoints::new().served(&asker, counts.clone(), hosts);
        let shared = ServerState::new(asker.name().clone(), limits, counts);
        let serving = Arc::new(Serving {
            pool,
            gate: RequestGate::new(&plan),
            shared: shared.clone(),
            body: usize::try_from(plan.body).unwrap_or(usize::MAX),
            status: StatusCode::from_u16(plan.status).unwrap_or(StatusCode::OK),
            key_header: plan.key_header.clone(),
            most: plan.requests,
            taken: AtomicU64::new(0),
            enough: Notify::new(),
            asker: asker.clone(),
        });
        let (of, admin) = (serving.clone(), plan.admin.clone());
        let make = move || service(of.clone(), admin.clone().map(|at| (at, endpoints.clone())));
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

/// The service of one thread's connections.
fn service(
    serving: Arc<Serving>,
    admin: Option<(String, Endpoints)>,
) -> impl ServiceFactory<
    (WatchedStream, Option<SocketAddr>),
    Config = (),
    Response = (),
    Error = DispatchError,
    InitError = (),
> {
    let limits = serving.shared.limits;
    let (data, entrance, expected) = (web::Data::from(serving.clone()), serving.clone(), serving);
    let app = App::new()
        .app_data(data)
        .configure(move |config| {
            if let Some((at, endpoints)) = admin {
                let scope = web::scope(at.trim_end_matches('/'));
                config.service(scope.configure(endpoints.routes()));
            }
        })
        .default_service(web::to(answer))
        .wrap_fn(move |request, routes| {
            let connection = request.request().conn_data::<Rc<Connection>>();
            let turn = connection.map(|connection| connection.turn(&entrance.shared));
            let head = request.request().head();
            let upgrade = head.upgrade();
            let answered = match entrance.gate.refusal(head) {
                Some(refusal) => Either::Left(ready(Ok(request.into_response(refusal)))),
                None => Either::Right(routes.call(request)),
            };
            let shared = entrance.shared.clone();
            async move {
                let mut answered = answered.await?;
                // Without an upgrade, the header is not sent either.
                if upgrade || shared.closes_connections() {
                    let head = answered.response_mut().head_mut();
                    head.set_connection_type(ConnectionType::Close);
                }
                drop(turn);
                Ok(answered)
            }
        });
    // Checked before the client gets `100 Continue` for its body.
    let expect = fn_service(move |request: Request| {
        ready(match expected.gate.refusal(request.head()) {
            Some(refusal) => Err(Response::<BoxBody>::from(refusal)),
            None => Ok(request),
        })
    });
    HttpService::build()
        .keep_alive(KeepAlive::Timeout(limits.keep_alive))
        .client_request_timeout(limits.read)
        .client_disconnect_timeout(limits.read)
        // The request of a client that has closed its connection is cancelled; half-closed counts.
        .h1_allow_half_closed(false)
        .expect(expect)
        .on_connect_ext(|stream: &WatchedStream, data: &mut actix_http::Extensions| {
            data.insert(stream.connection.clone());
        })
        .h1(map_config(app, |()| AppConfig::default()))
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
    let Some(path) = serving.gate.below(request.path()) else {
        return answers::plain(StatusCode::NOT_FOUND, "not found");
    };
    let body = match body(payload, serving.body, &serving.shared.limits).await {
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
