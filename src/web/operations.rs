//! Health, metrics and snapshots over HTTP.

use std::fmt;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, guard};
use gopherworks_balancer::BalancerHandle;
use gopherworks_balancer::worker::Work;
use prometheus_client::registry::Registry;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::api::{MOST_BODY, Refusal, Streams};
use super::hosts::Hosts;
use super::metrics::Metrics;
use super::page;
use super::routes::{CHANGES, Change, RELOAD, ROUTES, Route};
use super::shutdown::PATIENCE;
use super::watched::Watched;
use crate::topology::RunningTopology;

/// Health, metrics and snapshots of balancers and topologies, for an actix-web application. Clones
/// share them.
///
/// It holds handles: its balancers and topologies live until it is dropped or shut down.
#[derive(Clone)]
pub struct Operations {
    pub(super) watched: Arc<Vec<Box<dyn Watched>>>,
    pub(super) registry: Option<Arc<Registry>>,
    closing: Arc<AtomicBool>,
    pub(super) grace: Duration,
    pub(super) patience: Duration,
    /// True after a second signal: the shutdown then waits for nothing.
    pub(super) hurry: watch::Sender<bool>,
    hosts: Option<Hosts>,
    access: Access,
    pub(super) streams: Arc<Streams>,
}

/// Credentials that requests must send.
#[derive(Clone, Default)]
struct Access {
    /// SHA-256 of the token; comparing digests takes a time that does not depend on its length.
    token: Option<[u8; 32]>,
    /// True if everything but health requires the token.
    is_closed: bool,
}

impl Access {
    /// True if the request sends the token.
    fn is_trusted(&self, request: &HttpRequest) -> bool {
        let sent = request.headers().get(AUTHORIZATION).and_then(|sent| sent.to_str().ok());
        let token = sent.and_then(|sent| {
            let (scheme, token) = sent.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        self.token.zip(token).is_some_and(|(own, sent)| is_same(&own, &digest(sent)))
    }
}

/// Compares digests in a time that does not depend on where they differ.
fn is_same(own: &[u8; 32], sent: &[u8; 32]) -> bool {
    let differs = own.iter().zip(sent).fold(0, |differs, (own, sent)| differs | (own ^ sent));
    std::hint::black_box(differs) == 0
}

fn too_long(error: actix_web::Error) -> Refusal {
    let status = error.as_response_error().status_code();
    Refusal::new(status, format!("{error}; a body is JSON of at most {MOST_BODY} bytes"))
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Marks the response of an event stream, which stays open.
pub(crate) struct Streamed;

const NO_TOKEN: &str = "send the token of `[operations]` as `Authorization: Bearer`";

/// Default of [`Operations::sample`].
const SAMPLE: Duration = Duration::from_secs(1);

/// Adds headers that forbid browsers to cache the response, frame it or guess its media type.
fn protected(mut response: HttpResponse) -> HttpResponse {
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.watched.iter().map(|watched| watched.name()).collect();
        f.debug_struct("Operations").field("of", &names).finish()
    }
}

impl Default for Operations {
    fn default() -> Self {
        Self::new()
    }
}

impl Operations {
    /// Creates endpoints without balancers and topologies.
    pub fn new() -> Self {
        Self {
            watched: Arc::default(),
            registry: None,
            closing: Arc::default(),
            grace: Duration::ZERO,
            patience: PATIENCE,
            hurry: watch::Sender::new(false),
            hosts: None,
            access: Access::default(),
            streams: Arc::new(Streams::new(SAMPLE)),
        }
    }

    /// Adds a balancer. They drain in the order of being added, so add callers before the balancers
    /// that they call.
    ///
    /// # Panics
    /// If this was cloned before, or has one of the same name.
    #[must_use]
    pub fn balancer<W: Work>(self, balancer: &BalancerHandle<W>) -> Self {
        self.with(Box::new(balancer.clone()))
    }

    /// Adds a topology.
    ///
    /// # Panics
    /// As [`Operations::balancer`].
    #[must_use]
    pub fn topology(self, running: &RunningTopology) -> Self {
        self.with(Box::new(running.clone()))
    }

    /// Adds a requester's balancer and server, for requests whose host is one of `hosts`.
    #[cfg(feature = "http")]
    pub(crate) fn served(
        self,
        asker: &gopherworks_pipeline::__private::Asker,
        counts: Arc<super::ServerCounts>,
        hosts: Hosts,
    ) -> Self {
        let served = self.with(Box::new(super::watched::ServedBalancer(asker.clone(), counts)));
        Self { hosts: Some(hosts), ..served }
    }

    /// Adds the topology of a server of its own.
    #[cfg(feature = "http")]
    pub(crate) fn linked(self, topology: Arc<crate::topology::TopologyLink>) -> Self {
        self.with(Box::new(topology))
    }

    /// Applies `[operations]`, for requests whose host is one of `hosts`.
    #[cfg(feature = "http")]
    pub(crate) fn configured(
        self,
        config: &crate::config::elements::OperationsConfig,
        hosts: Hosts,
    ) -> Self {
        let token = config.token.as_ref().map(|token| digest(token.reveal()));
        let access = Access { token, is_closed: config.public };
        let streams = Arc::new(Streams::new(config.sample));
        Self { hosts: Some(hosts), access, streams, ..self }
    }

    /// # Panics
    /// If this was cloned before, since clones would lack it; or if the name is taken, since
    /// their metrics could not be distinguished.
    fn with(mut self, watched: Box<dyn Watched>) -> Self {
        let name = watched.name();
        assert!(
            self.watched.iter().all(|other| {
                other.is_topology() != watched.is_topology() || other.name() != name
            }),
            "the name `{name}` is used twice"
        );
        let Some(all) = Arc::get_mut(&mut self.watched) else {
            panic!("add everything before cloning the endpoints");
        };
        all.push(watched);
        self
    }

    /// Makes `/metrics` show the application's registry, which must contain
    /// [`Operations::metrics`], instead of a registry of its own.
    #[must_use]
    pub fn registry(mut self, registry: Arc<Registry>) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Time between failing readiness and closing the port, for load balancers to notice. Default:
    /// 0.
    #[must_use]
    pub fn grace(mut self, span: Duration) -> Self {
        self.grace = span;
        self
    }

    /// Time for all balancers and topologies to drain; work that is left then is given up and
    /// accounted for. Default: 30 s.
    #[must_use]
    pub fn patience(mut self, span: Duration) -> Self {
        self.patience = span;
        self
    }

    /// Answers only requests that name one of these hosts, `localhost` or an address (otherwise
    /// 421) and whose `Origin`, if any, does so too (otherwise 403). This prevents DNS rebinding:
    /// otherwise a web page could let its own name point to this machine and read the responses
    /// through a local browser. Ports and case are ignored; `"*"` is any host. Default: any host.
    #[must_use]
    pub fn hosts(mut self, hosts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.hosts = Some(Hosts::named(hosts));
        self
    }

    /// Time between two snapshots of `/api/stream`, at least 100 ms. Default: 1 s.
    #[must_use]
    pub fn sample(mut self, span: Duration) -> Self {
        self.streams = Arc::new(Streams::new(span));
        self
    }

    /// Lets requests that send this token as `Authorization: Bearer` see the bodies of books, and
    /// pause, resume, scale and kill nodes. Default: no request can.
    #[must_use]
    pub fn token(mut self, token: impl AsRef<str>) -> Self {
        self.access.token = Some(digest(token.as_ref()));
        self
    }

    /// The metrics, for a registry of the application:
    /// `registry.register_collector(Box::new(endpoints.metrics()))`. Values are read when the
    /// registry is encoded.
    pub fn metrics(&self) -> Metrics {
        Metrics::new(self.watched.clone())
    }

    /// True if each balancer accepts requests and has a worker, and each topology runs; false once
    /// the shutdown has begun. Never waits.
    pub fn is_ready(&self) -> bool {
        !self.closing.load(Ordering::Acquire)
            && self.watched.iter().all(|watched| watched.is_ready())
    }

    /// Ends streams, and fails readiness.
    #[cfg(feature = "http")]
    pub(crate) fn close(&self) {
        self.not_ready();
        self.streams.end();
    }

    /// Whether the request may change nodes, as the API names it: `allowed`, `token` if it lacks
    /// the token, or `off` if there is none.
    pub(super) fn control(&self, request: &HttpRequest) -> &'static str {
        match (self.access.token, self.trusts(request)) {
            (None, _) => "off",
            (_, true) => "allowed",
            (_, false) => "token",
        }
    }

    /// The refusal of a change without the token.
    fn no_control(&self, request: &HttpRequest) -> Option<Refusal> {
        let (status, text) = match self.control(request) {
            "allowed" => return None,
            "off" => (
                StatusCode::FORBIDDEN,
                "this server is read-only; set `token` in `[operations]`, or \
                 `web::Operations::token`",
            ),
            _ => (StatusCode::UNAUTHORIZED, NO_TOKEN),
        };
        Some(Refusal::new(status, text))
    }

    /// True if the request sends the token.
    pub(super) fn trusts(&self, request: &HttpRequest) -> bool {
        self.access.is_trusted(request)
    }

    /// The running topology of this name, or the only one; otherwise a refusal.
    pub(super) fn chosen(&self, name: Option<&str>) -> Result<RunningTopology, Refusal> {
        let all = self.watched.iter().filter(|watched| watched.is_topology());
        let named: Vec<_> = all.filter(|one| name.is_none_or(|name| one.name() == name)).collect();
        match named[..] {
            [one] => one.topology().ok_or_else(|| {
                Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the topology does not run")
            }),
            [] => Err(Refusal::new(StatusCode::NOT_FOUND, "there is no such topology")),
            _ => Err(Refusal::new(StatusCode::BAD_REQUEST, "name one with `?topology=NAME`")),
        }
    }

    /// The refusal of a request from another host.
    pub(super) fn foreign(&self, request: &HttpRequest) -> Option<HttpResponse> {
        self.hosts.as_ref().and_then(|hosts| hosts.refusal(request))
    }

    /// The refusal of a request from another host, or without the token that the route needs.
    fn refusal(&self, request: &HttpRequest, route: &str) -> Option<HttpResponse> {
        if let Some(refusal) = self.foreign(request) {
            return Some(refusal);
        }
        // Not the request's path: the name of a node may contain anything.
        let is_health = route.starts_with("/health/");
        let is_refused = self.access.is_closed && !is_health && !self.access.is_trusted(request);
        is_refused.then(|| Refusal::new(StatusCode::UNAUTHORIZED, NO_TOKEN).response())
    }

    pub(super) fn not_ready(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// The routes, for `.configure(...)` of an application or a scope: the page `/`, health,
    /// `/metrics`, `/snapshot`, and the API that `/api/openapi.json` describes. They answer GET and
    /// HEAD, and those that change a node POST; other methods get 405. Hosts are checked as in
    /// [`Operations::hosts`].
    pub fn routes(&self) -> impl FnOnce(&mut ServiceConfig) + use<> {
        let of = web::Data::new(self.clone());
        move |config: &mut ServiceConfig| {
            // Before the routes of nodes, whose names could end with the name of an act.
            for Change { path, make, .. } in CHANGES {
                let of = of.clone();
                let made = move |request: HttpRequest, body: Result<web::Bytes, _>| {
                    let refused = of.foreign(&request);
                    let refused = refused.or_else(|| Some(of.no_control(&request)?.response()));
                    let answer = || match body.map_err(too_long) {
                        Ok(body) => make(&of, &request, &body).unwrap_or_else(|no| no.response()),
                        Err(refusal) => refusal.response(),
                    };
                    ready(protected(refused.unwrap_or_else(answer)))
                };
                let resource = web::resource(path.replace("{node}", "{node:.*}"));
                let resource = resource.app_data(web::PayloadConfig::new(MOST_BODY));
                config.service(resource.guard(guard::Post()).route(web::post().to(made)));
            }
            let again = of.clone();
            let reload = move |request: HttpRequest, body: Result<web::Bytes, _>| {
                let of = again.clone();
                async move {
                    let refused = of.foreign(&request);
                    if let Some(no) = refused.or_else(|| Some(of.no_control(&request)?.response()))
                    {
                        return protected(no);
                    }
                    let answer = match body.map_err(too_long) {
                        Ok(body) => super::api::reload(&of, &request, &body).await,
                        Err(refusal) => Err(refusal),
                    };
                    protected(answer.unwrap_or_else(|no| no.response()))
                }
            };
            let resource = web::resource(RELOAD).app_data(web::PayloadConfig::new(MOST_BODY));
            config.service(resource.guard(guard::Post()).route(web::post().to(reload)));
            for Route { path, show, .. } in ROUTES {
                let readable = guard::Any(guard::Get()).or(guard::Head());
                let of = of.clone();
                let shown = move |request: HttpRequest| {
                    let answer = || match show(&of, &request) {
                        Ok(answer) => answer,
                        Err(refusal) => refusal.response(),
                    };
                    ready(protected(of.refusal(&request, path).unwrap_or_else(answer)))
                };
                let route = web::route().guard(readable).to(shown);
                // The name of a gopher contains a slash.
                config.service(web::resource(path.replace("{node}", "{node:.*}")).route(route));
            }
            page::add(config, &of);
        }
    }
}
