//! Every route: what it answers, in words and as a schema, and its handler.

use actix_web::{HttpRequest, HttpResponse};
use gopherworks_balancer::figures::Tail;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Value, json};

use super::Operations;
use super::api::{self, AuditQuery, BookQuery, DeadQuery, NodeQuery, Question};
use super::watched::{BalancerState, Observation};

/// A response, or a refusal.
pub(super) type Answer = Result<HttpResponse, api::Refusal>;

/// Adds a type to the schemas of a document.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// A route.
pub(super) struct Route {
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    /// Media type of the response.
    pub(super) media: &'static str,
    /// The response, if it is JSON.
    pub(super) answer: Option<SchemaOf>,
    /// Parameters in the query.
    pub(super) query: Option<SchemaOf>,
    pub(super) show: fn(&Operations, &HttpRequest) -> Answer,
}

/// A route that changes a node: POST, with the token.
pub(super) struct Change {
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    /// The body of the request.
    pub(super) body: SchemaOf,
    pub(super) make: fn(&Operations, &HttpRequest, &[u8]) -> Answer,
}

pub(super) const CHANGES: &[Change] = &[
    Change {
        path: "/api/nodes/{node}/pause",
        summary: "Pauses a crew, an incinerator or the source of a pile: what is in hand is \
                  finished, and nothing new is begun until it is resumed or the run drains",
        body: SchemaGenerator::subschema_for::<api::Nothing>,
        make: api::pause,
    },
    Change {
        path: "/api/nodes/{node}/resume",
        summary: "Ends a pause",
        body: SchemaGenerator::subschema_for::<api::Nothing>,
        make: api::resume,
    },
    Change {
        path: "/api/nodes/{node}/scale",
        summary: "Gives a crew another number of gophers; surplus ones finish what they have in \
                  hand",
        body: SchemaGenerator::subschema_for::<api::Size>,
        make: api::scale,
    },
    Change {
        path: "/api/nodes/{node}/kill",
        summary: "Kills the actor of a node, of a crew one of its gophers; it is restarted",
        body: SchemaGenerator::subschema_for::<api::Nothing>,
        make: api::kill,
    },
    Change {
        path: "/api/drain",
        summary: "Closes the sources: the run ends once what has begun is completed",
        body: SchemaGenerator::subschema_for::<api::Nothing>,
        make: api::drain,
    },
];

/// The route of reloads: POST, with the token.
pub(super) const RELOAD: &str = "/api/reload";

const TEXT: &str = "text/plain";
const JSON: &str = "application/json";
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A route without a query whose response is no JSON, or any.
const PLAIN: Route =
    Route { path: "", summary: "", media: JSON, answer: None, query: None, show: live };

pub(super) const ROUTES: &[Route] = &[
    Route { path: "/health/live", summary: "200 while the process answers", media: TEXT, ..PLAIN },
    Route {
        path: "/health/ready",
        summary: "200 while everything runs and accepts work, otherwise 503; it never waits. Names \
                  the nodes that operators have paused",
        media: TEXT,
        show: readiness,
        ..PLAIN
    },
    Route {
        path: "/metrics",
        summary: "Metrics in the format of OpenMetrics, for Prometheus",
        media: METRICS,
        show: metrics,
        ..PLAIN
    },
    Route {
        path: "/snapshot",
        summary: "The present reports of all topologies, and the figures of all balancers",
        show: snapshot,
        ..PLAIN
    },
    Route { path: "/api/openapi.json", summary: "This document", show: api::document, ..PLAIN },
    Route {
        path: "/api/topology",
        summary: "Nodes, what carries books or requests between them, and what books survive",
        answer: Some(SchemaGenerator::subschema_for::<api::Drawing>),
        query: Some(SchemaGenerator::subschema_for::<Question>),
        show: api::topology,
        ..PLAIN
    },
    Route {
        path: "/api/topology.svg",
        summary: "The drawing, as `graph --expand --format svg` prints it",
        media: "image/svg+xml",
        query: Some(SchemaGenerator::subschema_for::<Question>),
        show: api::drawing,
        ..PLAIN
    },
    Route {
        path: "/api/nodes",
        summary: "The present state of nodes, in pages",
        answer: Some(SchemaGenerator::subschema_for::<api::NodePage>),
        query: Some(SchemaGenerator::subschema_for::<NodeQuery>),
        show: api::nodes,
        ..PLAIN
    },
    Route {
        path: "/api/nodes/{node}/tap",
        summary: "Server-sent events: `book` for books that pass a pile, a dump, a crew, a relay \
                  or an incinerator, at most 256 at once and 2,560 a second; `missed` with the \
                  number of those that were not sampled; `end`. At most 8 are open",
        media: "text/event-stream",
        answer: Some(SchemaGenerator::subschema_for::<api::TapData>),
        query: Some(SchemaGenerator::subschema_for::<api::TapQuery>),
        show: api::tap,
    },
    Route {
        path: "/api/nodes/{node}",
        summary: "The present state of one node, why it failed, and its last events",
        answer: Some(SchemaGenerator::subschema_for::<api::NodeDetail>),
        query: Some(SchemaGenerator::subschema_for::<Question>),
        show: api::node,
        ..PLAIN
    },
    Route {
        path: "/api/piles/{pile}/books",
        summary: "Books of a pile that are in memory, in pages: leased, then ready, then delayed \
                  ones",
        answer: Some(SchemaGenerator::subschema_for::<api::BookPage>),
        query: Some(SchemaGenerator::subschema_for::<BookQuery>),
        show: api::books,
        ..PLAIN
    },
    Route {
        path: "/api/dead",
        summary: "The last 1,000 dead letters of the run, the newest first, in pages",
        answer: Some(SchemaGenerator::subschema_for::<api::DeadPage>),
        query: Some(SchemaGenerator::subschema_for::<DeadQuery>),
        show: api::dead,
        ..PLAIN
    },
    Route {
        path: "/api/ledger",
        summary: "The account of all books",
        answer: Some(SchemaGenerator::subschema_for::<api::LedgerNow>),
        query: Some(SchemaGenerator::subschema_for::<Question>),
        show: api::ledger,
        ..PLAIN
    },
    Route {
        path: "/api/audit",
        summary: "The last 256 acts of operators, the newest first: who ordered what, and when",
        answer: Some(SchemaGenerator::subschema_for::<api::AuditPage>),
        query: Some(SchemaGenerator::subschema_for::<AuditQuery>),
        show: api::audit,
        ..PLAIN
    },
    Route {
        path: "/api/stream",
        summary: "Server-sent events: `snapshot` at each sample, `event` for what happens, \
                  `dropped` with the number of events that a slow client has missed, `end`. A \
                  client that sends `Last-Event-ID` gets what it missed meanwhile",
        media: "text/event-stream",
        answer: Some(SchemaGenerator::subschema_for::<api::StreamData>),
        query: Some(SchemaGenerator::subschema_for::<Question>),
        show: api::stream,
    },
];

fn live(_: &Operations, _: &HttpRequest) -> Answer {
    Ok(HttpResponse::Ok().body("live\n"))
}

fn readiness(of: &Operations, _: &HttpRequest) -> Answer {
    let mut out = String::from(if of.is_ready() { "ready\n" } else { "not ready\n" });
    for running in of.watched.iter().filter_map(|watched| watched.topology()) {
        for (node, by) in running.paused() {
            out.push_str(&format!("{node}: paused by {by}\n"));
        }
    }
    if of.is_ready() {
        return Ok(HttpResponse::Ok().body(out));
    }
    for watched in of.watched.iter().filter(|watched| !watched.is_ready()) {
        out.push_str(&format!("{}: not ready\n", watched.name()));
    }
    Ok(HttpResponse::ServiceUnavailable().body(out))
}

fn metrics(of: &Operations, _: &HttpRequest) -> Answer {
    let mut out = String::new();
    let encoded = match &of.registry {
        Some(registry) => encode(&mut out, registry),
        None => {
            let mut own = Registry::default();
            own.register_collector(Box::new(of.metrics()));
            encode(&mut out, &own)
        }
    };
    Ok(match encoded {
        Ok(()) => HttpResponse::Ok().content_type(METRICS).body(out),
        Err(error) => HttpResponse::InternalServerError().body(format!("{error}\n")),
    })
}

fn snapshot(of: &Operations, _: &HttpRequest) -> Answer {
    let (mut balancers, mut topologies) = (Vec::new(), Vec::new());
    let mut paused = Vec::new();
    for watched in of.watched.iter() {
        if let Some(running) = watched.topology() {
            topologies.push(json!(running.snapshot()));
            paused.extend(running.paused().into_keys());
        } else if let Some(Observation::Balancer(state)) = watched.observe() {
            balancers.push(balancer(&state));
        }
    }
    Ok(HttpResponse::Ok().json(json!({
        "ready": of.is_ready(),
        "paused": paused,
        "balancers": balancers,
        "topologies": topologies,
    })))
}

fn balancer(state: &BalancerState) -> Value {
    let figures = &state.figures;
    let counts = figures.counts;
    let tail = |tail: &Tail| json!(crate::report::TailReport::from(*tail));
    let workers = figures.loads.workers.iter().take(figures.workers);
    json!({
        "name": state.name,
        "ready": state.ready,
        "asked": counts.asked,
        "answered": counts.answered,
        "failed": counts.failed + counts.errors,
        "errors": counts.errors,
        "cancelled": counts.cancelled,
        "expired": counts.expired,
        "shed": counts.shed,
        "rejected": counts.rejected,
        "in_flight": figures.open,
        "waiting": figures.waiting,
        "copies": counts.copies,
        "wasted": counts.wasted,
        "retried": counts.retried,
        "ejected": figures.ejected,
        "restarts": state.restarts,
        "response": tail(&figures.response),
        "waited": tail(&figures.waited),
        "pending_mean": figures.loads.mean,
        "pending_variance": figures.loads.variance,
        "workers": workers
            .map(|load| {
                json!({
                    "pending": load.pending,
                    "pending_mean": load.mean,
                    "pending_variance": load.variance,
                })
            })
            .collect::<Vec<_>>(),
    })
}
