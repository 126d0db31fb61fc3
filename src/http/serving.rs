//! A requester that serves HTTP: its socket, its server, and its end.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::http::{KeepAlive, StatusCode};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use futures_util::future::BoxFuture;
use gopherworks_actors::book::{Book, header};
use gopherworks_actors::clock::Clock;
use gopherworks_actors::pool::Pool;
use gopherworks_actors::requester::Asker;
use tokio::sync::Notify;

use super::answers;
use crate::catalog::http::{METHOD, QUERY, TYPE};
use crate::plan::HttpPlan;
use crate::web::Endpoints;

/// How long requests that were accepted may take once nothing more is accepted.
const LAST_REQUESTS: Duration = Duration::from_secs(60);

/// A socket that is bound, and what is to be served there.
pub(crate) struct Listener {
    socket: TcpListener,
    plan: HttpPlan,
    threads: usize,
}

struct Serving {
    asker: Asker,
    pool: Arc<Pool>,
    prefix: String,
    body: usize,
    headers: usize,
    key_header: Option<String>,
    read_timeout: Duration,
    most: Option<u64>,
    taken: AtomicU64,
    /// As many were asked as there may be.
    enough: Notify,
}

impl Listener {
    /// Binds the socket, so that what is wrong with it is known before anything runs.
    pub(crate) fn bind(plan: &HttpPlan, threads: usize) -> io::Result<Self> {
        Ok(Self {
            socket: TcpListener::bind(plan.listen)?,
            plan: plan.clone(),
            threads: threads.max(1),
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until the requester is closed, or has had as many requests as it may; then takes no further connection, and ends with the
    /// last answer.
    pub(crate) fn listen(self, asker: Asker, pool: Arc<Pool>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let name = asker.name().clone();
            if let Err(error) = self.serve(asker, pool).await {
                log::error!("{name}: the server failed: {error}");
            }
        })
    }

    async fn serve(self, asker: Asker, pool: Arc<Pool>) -> io::Result<()> {
        let Self {
            socket,
            plan,
            threads,
        } = self;
        let serving = web::Data::new(Serving {
            pool,
            prefix: plan.path.trim_end_matches('/').to_owned(),
            body: usize::try_from(plan.body).unwrap_or(usize::MAX),
            headers: plan.headers as usize,
            key_header: plan.key_header.clone(),
            read_timeout: plan.read_timeout,
            most: plan.requests,
            taken: AtomicU64::new(0),
            enough: Notify::new(),
            asker: asker.clone(),
        });
        let endpoints = Endpoints::new().served(&asker);
        let (of, admin) = (serving.clone(), plan.admin.clone());
        let each = (plan.connections as usize).div_ceil(threads);
        let server = HttpServer::new(move || {
            let (routes, admin) = (endpoints.routes(), admin.clone());
            App::new()
                .app_data(of.clone())
                .configure(move |config| {
                    if let Some(admin) = admin {
                        let scope = web::scope(admin.trim_end_matches('/'));
                        config.service(scope.configure(routes));
                    }
                })
                .default_service(web::to(answer))
        });
        let server = server
            .workers(threads)
            .max_connections(each)
            .client_request_timeout(plan.read_timeout)
            .client_disconnect_timeout(plan.read_timeout)
            // Who is gone wants no answer: its request is cancelled. Half a goodbye counts as one.
            .h1_allow_half_closed(false)
            .keep_alive(KeepAlive::Timeout(plan.keep_alive))
            .shutdown_timeout(LAST_REQUESTS.as_secs())
            .disable_signals()
            .listen(socket)?
            .run();
        let handle = server.handle();
        let mut running = Running(Some(server));
        let told = async {
            tokio::select! {
                () = asker.closing() => {}
                () = serving.enough.notified() => {}
            }
            handle.stop(true).await;
        };
        let ended = {
            let Some(server) = running.0.as_mut() else {
                return Ok(());
            };
            let mut told = std::pin::pin!(told);
            tokio::select! {
                biased;
                ended = &mut *server => ended,
                () = &mut told => (&mut *server).await,
            }
        };
        running.0 = None;
        ended
    }
}

/// A server that is dropped before its end is stopped all the same: its threads end with the run.
struct Running(Option<Server>);

impl Drop for Running {
    fn drop(&mut self) {
        let Some(server) = self.0.take() else {
            return;
        };
        // Only whoever polls a server can stop it, and here nobody may wait.
        let stopping = std::thread::Builder::new().name("gopherworks-stop".to_owned());
        let stopped = stopping.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            if let Ok(runtime) = runtime {
                let handle = server.handle();
                let _ = runtime.block_on(async { tokio::join!(server, handle.stop(false)) });
            }
        });
        if let Err(error) = stopped {
            log::error!("a server can't be stopped: {error}");
        }
    }
}

async fn answer(
    request: HttpRequest,
    payload: web::Payload,
    serving: web::Data<Serving>,
) -> HttpResponse {
    let Some(path) = below(&serving.prefix, request.path()) else {
        return answers::plain(StatusCode::NOT_FOUND, "not found");
    };
    if request.headers().len() > serving.headers {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return answers::plain(status, "too many headers");
    }
    let body = payload.to_bytes_limited(serving.body);
    let late = Clock::real();
    let body = tokio::select! {
        biased;
        body = body => Ok(body),
        () = late.sleep(serving.read_timeout) => Err(()),
    };
    let body = match body {
        Err(()) => return answers::plain(StatusCode::REQUEST_TIMEOUT, "the body came too slowly"),
        Ok(Err(_)) => {
            return answers::plain(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
        }
        Ok(Ok(Err(_))) => return answers::plain(StatusCode::BAD_REQUEST, "the body can't be read"),
        Ok(Ok(Ok(body))) => body,
    };
    let mut book = Book::new(body);
    let headers = &mut book.headers;
    headers.set(header::NAME, path.trim_start_matches('/').to_owned());
    headers.set(METHOD, request.method().as_str().to_owned());
    if !request.query_string().is_empty() {
        headers.set(QUERY, request.query_string().to_owned());
    }
    if let Some(kind) = request.headers().get(CONTENT_TYPE) {
        headers.set(TYPE, kind.as_bytes().to_vec());
    }
    let asker = &serving.asker;
    let number = serving.taken.fetch_add(1, Ordering::Relaxed);
    if serving.most.is_some_and(|most| number >= most) {
        let text = "no further request is taken";
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
    answers::response(asker.to(), &serving.pool, answer).await
}

/// What of `path` is below the prefix.
fn below<'a>(prefix: &str, path: &'a str) -> Option<&'a str> {
    let rest = path.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}
