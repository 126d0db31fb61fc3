//! The JSON API. `routes` declares what each route answers.

mod books;
mod control;
mod document;
mod nodes;
mod reload;
mod stream;
mod tap;

use actix_web::http::StatusCode;
use actix_web::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpRequest, HttpResponse, web};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(super) use books::{BookPage, BookQuery, DeadPage, DeadQuery, books, dead};
pub(super) use control::{
    AuditPage, AuditQuery, MOST_BODY, Nothing, Size, audit, drain, kill, pause, resume, scale,
};
pub(super) use document::document;
pub use document::openapi;
pub(super) use nodes::{
    Drawing, LedgerNow, NodeDetail, NodePage, NodeQuery, drawing, ledger, node, nodes, topology,
};
pub(super) use reload::reload;
pub(super) use stream::{StreamData, Streams, stream};
pub(super) use tap::{TapData, TapQuery, tap};

/// A refused request.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Refusal {
    #[serde(skip)]
    status: StatusCode,
    /// Why the request is refused.
    error: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into() }
    }

    pub(crate) fn response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        match self.status {
            StatusCode::UNAUTHORIZED => _ = response.insert_header((WWW_AUTHENTICATE, "Bearer")),
            StatusCode::SERVICE_UNAVAILABLE => _ = response.insert_header((RETRY_AFTER, "1")),
            _ => {}
        }
        response.json(self)
    }
}

/// Parameters of most routes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    /// Name of the topology; required if there are several.
    topology: Option<String>,
}

/// The parameters in the query of a request.
fn query<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, Refusal> {
    match web::Query::<T>::from_query(request.query_string()) {
        Ok(query) => Ok(query.into_inner()),
        Err(error) => Err(Refusal::new(StatusCode::BAD_REQUEST, error.to_string())),
    }
}

/// The name in the path of a request.
fn named(request: &HttpRequest) -> Result<String, Refusal> {
    let path = <web::Path<String> as actix_web::FromRequest>::extract(request).into_inner();
    let bad = |_| Refusal::new(StatusCode::BAD_REQUEST, "this is not a name");
    path.map(web::Path::into_inner).map_err(bad)
}

/// Maximum number of entries that a request may skip.
const MOST_SKIPPED: usize = 100_000;

/// The requested page of a list: how many entries to skip, and how many to return.
fn page(
    offset: Option<usize>,
    limit: Option<usize>,
    (usual, most): (usize, usize),
) -> Result<(usize, usize), Refusal> {
    let (offset, limit) = (offset.unwrap_or(0), limit.unwrap_or(usual));
    if offset > MOST_SKIPPED || limit > most || limit == 0 {
        let message = format!("`offset` is at most {MOST_SKIPPED}, `limit` is 1 to {most}");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
    }
    Ok((offset, limit))
}
