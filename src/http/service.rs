//! The service of a server's connections: checks heads, then routes.

use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_http::error::DispatchError;
use actix_http::{HttpService, KeepAlive, Request, Response};
use actix_service::map_config;
use actix_web::App;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{AppConfig, Service, ServiceFactory, fn_service};
use actix_web::http::ConnectionType;
use actix_web::web::ServiceConfig;
use bytes::Bytes;
use futures_util::future::{Either, ready};

use super::connection::{Connection, Turn, WatchedStream};
use super::gate::RequestGate;
use super::server::ServerState;
use crate::config::elements::HttpConfig;
use crate::web::Streamed;

/// The checks and counts that every request passes through.
pub(super) struct Entrance {
    pub(super) gate: RequestGate,
    pub(super) shared: Arc<ServerState>,
}

impl Entrance {
    pub(super) fn new(plan: &HttpConfig, shared: Arc<ServerState>) -> Arc<Self> {
        Arc::new(Self { gate: RequestGate::new(plan), shared })
    }
}

/// The service of one thread's connections.
pub(super) fn service(
    entrance: Arc<Entrance>,
    routes: impl FnOnce(&mut ServiceConfig),
) -> impl ServiceFactory<
    (WatchedStream, Option<SocketAddr>),
    Config = (),
    Response = (),
    Error = DispatchError,
    InitError = (),
> {
    let limits = entrance.shared.limits;
    let expected = entrance.clone();
    let app = App::new().configure(routes).wrap_fn(move |request, routes| {
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
            // A stream may be silent for as long as it likes, so its connection is not idle; it
            // ends with the stream.
            let is_stream = answered.response().extensions().contains::<Streamed>();
            // Without an upgrade, the header is not sent either.
            if upgrade || is_stream || shared.closes_connections() {
                let head = answered.response_mut().head_mut();
                head.set_connection_type(ConnectionType::Close);
            }
            Ok(match turn.filter(|_| is_stream) {
                Some(turn) => answered.map_body(|_, body| Held { body, _turn: turn }.boxed()),
                None => answered,
            })
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

/// A body whose request counts as open until it is sent.
struct Held {
    body: BoxBody,
    _turn: Turn,
}

impl MessageBody for Held {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}
