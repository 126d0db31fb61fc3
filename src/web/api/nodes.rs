//! The drawing, nodes, and the ledger.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use gopherworks_pipeline::__private::LoggedEvent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Operations;
use super::super::routes::Answer;
use super::{Question, Refusal, named, page, query};
use crate::diagram::{Format, Outline};
use crate::report::{Ledger, ReasonReport, StoreAccount};
use crate::topology::{NodeStatus, PROMISES, RunningTopology};

/// Events of a node that are shown.
const EVENTS: usize = 50;

/// The drawing of a topology.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Drawing {
    #[serde(flatten)]
    outline: Outline,
    /// What the books of each pile survive.
    promises: Vec<PilePromise>,
    /// The nodes that operators have paused; a source is named after its pile, such as
    /// `manuals.source`.
    paused: Vec<PausedNode>,
    /// `allowed` if this request may change nodes; `token` if it would have to send the token;
    /// `off` if there is none, so that all is read-only.
    control: &'static str,
}

/// A node that an operator has paused.
#[derive(Serialize, JsonSchema)]
struct PausedNode {
    node: String,
    /// Address of the client that paused it.
    by: String,
}

/// What the books of piles survive.
#[derive(Serialize, JsonSchema)]
struct PilePromise {
    /// Names of the piles; empty for all others.
    piles: Vec<String>,
    /// What the books survive, in words.
    books: String,
}

pub(crate) fn topology(of: &Operations, request: &HttpRequest) -> Answer {
    let running = chosen(of, request)?;
    let durable = running.durable().map(|(piles, books)| PilePromise { piles, books });
    let others = PilePromise { piles: Vec::new(), books: PROMISES.to_string() };
    let promises = durable.into_iter().chain([others]).collect();
    let paused = running.paused().into_iter().map(|(node, by)| PausedNode { node, by });
    Ok(HttpResponse::Ok().json(Drawing {
        outline: running.picture().outline(),
        promises,
        paused: paused.collect(),
        control: of.control(request),
    }))
}

pub(crate) fn drawing(of: &Operations, request: &HttpRequest) -> Answer {
    let drawn = chosen(of, request)?.picture().draw(Format::Svg);
    Ok(HttpResponse::Ok().content_type("image/svg+xml").body(drawn))
}

fn chosen(of: &Operations, request: &HttpRequest) -> Result<RunningTopology, Refusal> {
    of.chosen(query::<Question>(request)?.topology.as_deref())
}

/// Parameters of a list of nodes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeQuery {
    /// Name of the topology; required if there are several.
    topology: Option<String>,
    /// Only nodes of this kind, such as `crew`.
    kind: Option<String>,
    /// Number of nodes to skip, at most 100,000.
    offset: Option<usize>,
    /// Number of nodes to return, 1 to 10,000. Default: 1,000.
    limit: Option<usize>,
}

/// A page of nodes.
#[derive(Serialize, JsonSchema)]
pub(crate) struct NodePage {
    /// Seconds since the start.
    at_s: f64,
    /// Number of nodes of the kind.
    total: usize,
    nodes: Vec<NodeStatus>,
}

pub(crate) fn nodes(of: &Operations, request: &HttpRequest) -> Answer {
    let query: NodeQuery = query(request)?;
    let (offset, limit) = page(query.offset, query.limit, (1_000, 10_000))?;
    let running = of.chosen(query.topology.as_deref())?;
    let mut nodes = running.nodes();
    nodes.retain(|node| query.kind.as_ref().is_none_or(|kind| node.kind == kind));
    let total = nodes.len();
    let nodes = nodes.into_iter().skip(offset).take(limit).collect();
    Ok(HttpResponse::Ok().json(NodePage { at_s: running.uptime(), total, nodes }))
}

/// The state of a node, its failures and its last events.
#[derive(Serialize, JsonSchema)]
pub(crate) struct NodeDetail {
    /// Seconds since the start.
    at_s: f64,
    #[serde(flatten)]
    status: NodeStatus,
    /// Why books or requests failed at it, the most frequent reason first.
    reasons: Vec<ReasonReport>,
    /// Its last events, at most 50, the newest first; a panic with its source location.
    events: Vec<EventRow>,
}

/// An event of the run.
#[derive(Serialize, JsonSchema)]
pub(crate) struct EventRow {
    /// Number of the event, from 1.
    number: u64,
    /// Seconds since the start.
    at_s: f64,
    /// What happened, such as `exited` or `dead`.
    kind: &'static str,
    /// The node concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// Details, in one line.
    text: String,
}

impl EventRow {
    pub(crate) fn of(running: &RunningTopology, event: LoggedEvent) -> Self {
        let LoggedEvent { number, at, kind, node, text } = event;
        Self { number, at_s: running.seconds(at), kind, node, text }
    }
}

pub(crate) fn node(of: &Operations, request: &HttpRequest) -> Answer {
    let (running, name) = (chosen(of, request)?, named(request)?);
    let Some(status) = running.nodes().into_iter().find(|node| node.name == name) else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "there is no such node"));
    };
    let events = running.log().of(&name, EVENTS).into_iter();
    Ok(HttpResponse::Ok().json(NodeDetail {
        at_s: running.uptime(),
        status,
        reasons: running.reasons_at(&name),
        events: events.map(|event| EventRow::of(&running, event)).collect(),
    }))
}

/// The account of all books.
#[derive(Serialize, JsonSchema)]
pub(crate) struct LedgerNow {
    /// Identity of the run.
    run: String,
    /// Seconds since the start.
    at_s: f64,
    /// True if every book is accounted for exactly once.
    balances: bool,
    ledger: Ledger,
    /// Totals of the store over its runs before this one, if piles are durable.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<StoreAccount>,
}

pub(crate) fn ledger(of: &Operations, request: &HttpRequest) -> Answer {
    let running = chosen(of, request)?;
    let ledger = running.ledger();
    Ok(HttpResponse::Ok().json(LedgerNow {
        run: running.run_id(),
        at_s: running.uptime(),
        balances: ledger.balances(),
        ledger,
        account: running.account(),
    }))
}
