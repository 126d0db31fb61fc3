//! Changes that operators make, and the account of them.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::Operations;
use super::super::routes::Answer;
use super::{Question, Refusal, named, page, query};
use crate::topology::{ControlAct, ControlError, Controlled, NodeStatus};

/// Longest body of a change, in bytes.
pub(crate) const MOST_BODY: usize = 4096;

/// The body of an act without parameters: empty, or `{}`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// The body of a change of a crew's size.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Size {
    /// Number of gophers, 1 to 100,000: enough that each step is done, as in the config.
    gophers: u32,
}

/// What was done.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Done {
    /// The node; of a source or a killed actor its own name, such as `manuals.source`.
    node: String,
    /// What was ordered, such as `pause`.
    act: &'static str,
    /// False if the node already was as was ordered.
    changed: bool,
    /// The present state of the node that the request names, if it has a row of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Box<NodeStatus>>,
}

/// Parameters of the list of acts.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditQuery {
    /// Name of the topology; required if there are several.
    topology: Option<String>,
    /// Number of acts to skip.
    offset: Option<usize>,
    /// Number of acts to return, 1 to 256. Default: 100.
    limit: Option<usize>,
}

/// A page of acts.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AuditPage {
    /// Number of acts that are kept.
    total: usize,
    acts: Vec<AuditRow>,
}

/// An act of an operator.
#[derive(Serialize, JsonSchema)]
struct AuditRow {
    /// Number of the act, from 1.
    number: u64,
    /// Seconds since the start.
    at_s: f64,
    /// Date and time in UTC as in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    date: Option<String>,
    /// Address of the client that ordered it.
    by: String,
    /// The node, as it was named.
    node: String,
    /// What was ordered, such as `pause`.
    act: String,
    /// Why nothing was done; absent if it was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

pub(crate) fn pause(of: &Operations, request: &HttpRequest, body: &[u8]) -> Answer {
    change(of, request, body, |Nothing {}| ControlAct::Pause)
}

pub(crate) fn resume(of: &Operations, request: &HttpRequest, body: &[u8]) -> Answer {
    change(of, request, body, |Nothing {}| ControlAct::Resume)
}

pub(crate) fn scale(of: &Operations, request: &HttpRequest, body: &[u8]) -> Answer {
    change(of, request, body, |Size { gophers }| ControlAct::Scale(gophers))
}

pub(crate) fn kill(of: &Operations, request: &HttpRequest, body: &[u8]) -> Answer {
    change(of, request, body, |Nothing {}| ControlAct::Kill)
}

fn change<T: DeserializeOwned>(
    of: &Operations,
    request: &HttpRequest,
    body: &[u8],
    act: impl FnOnce(T) -> ControlAct,
) -> Answer {
    let running = of.chosen(query::<Question>(request)?.topology.as_deref())?;
    let (name, act) = (named(request)?, act(read(body)?));
    let done = running.control(&name, act, &by(request)).map_err(refused)?;
    let status = running.nodes().into_iter().find(|node| node.name == name).map(Box::new);
    let (node, changed) = (done.node, done.changed);
    Ok(HttpResponse::Ok().json(Done { node, act: act.name(), changed, status }))
}

pub(crate) fn drain(of: &Operations, request: &HttpRequest, body: &[u8]) -> Answer {
    let running = of.chosen(query::<Question>(request)?.topology.as_deref())?;
    let Nothing {} = read(body)?;
    let Controlled { node, changed, .. } = running.close_by(&by(request)).map_err(refused)?;
    let act = ControlAct::Drain.name();
    Ok(HttpResponse::Ok().json(Done { node, act, changed, status: None }))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| {
        let text = format!("the body: {error}; `/api/openapi.json` describes it");
        Refusal::new(StatusCode::BAD_REQUEST, text)
    })
}

/// Address of the client.
pub(super) fn by(request: &HttpRequest) -> String {
    request.peer_addr().map_or_else(|| "an unknown client".to_owned(), |at| at.to_string())
}

fn refused(error: ControlError) -> Refusal {
    let status = match error {
        ControlError::Unknown { .. } => StatusCode::NOT_FOUND,
        ControlError::Impossible(_) => StatusCode::CONFLICT,
        ControlError::OutOfBounds(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    Refusal::new(status, error.to_string())
}

pub(crate) fn audit(of: &Operations, request: &HttpRequest) -> Answer {
    let query: AuditQuery = query(request)?;
    let (offset, limit) = page(query.offset, query.limit, (100, 256))?;
    let running = of.chosen(query.topology.as_deref())?;
    let acts = running.audit();
    let total = acts.len();
    let acts = acts.into_iter().rev().skip(offset).take(limit).map(|entry| AuditRow {
        number: entry.number,
        at_s: running.seconds(entry.at),
        date: entry.date,
        by: entry.by,
        node: entry.node,
        act: entry.act.to_string(),
        refused: entry.refused,
    });
    Ok(HttpResponse::Ok().json(AuditPage { total, acts: acts.collect() }))
}
