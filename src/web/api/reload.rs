//! Reloads of the file that the run was started from.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Operations;
use super::super::routes::Answer;
use super::control::by;
use super::{Question, Refusal, query};
use crate::plan::changes::{Changes, Moves};
use crate::topology::ReloadError;

/// The body of a reload; empty for one without moves.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReloadBody {
    /// True to say only what would change.
    #[serde(default)]
    plan: bool,
    /// Where the books of removed piles go, by the names of these piles. Without it their crews
    /// carry them on first.
    #[serde(default)]
    moves: Moves,
}

/// What a reload has changed, or would change.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Reloaded {
    /// False if nothing was changed, as the request asked only for the plan, or the file says what
    /// runs already.
    applied: bool,
    changes: Changes,
    /// The same as text, one line a change.
    text: String,
}

/// Why nothing was changed.
#[derive(Serialize, JsonSchema)]
pub(crate) struct NotReloaded {
    /// Why, in one text.
    error: String,
    /// Each change that needs a restart, with its reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<String>,
    /// The mistakes of the file, each with its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    diagnostics: Option<serde_json::Value>,
}

/// Reads the file again, and goes on with it or compares it.
pub(crate) async fn reload(of: &Operations, request: &HttpRequest, body: &[u8]) -> Answer {
    let running = of.chosen(query::<Question>(request)?.topology.as_deref())?;
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    let ReloadBody { plan, moves } = serde_json::from_slice(body).map_err(|error| {
        let text = format!("the body: {error}; `/api/openapi.json` describes it");
        Refusal::new(StatusCode::BAD_REQUEST, text)
    })?;
    let reloaded = running.reload_file(moves, plan).await;
    if !plan {
        let changed = reloaded.as_ref().map(|changes| !changes.is_empty());
        let first = |why: &ReloadError| why.to_string().lines().next().unwrap_or("").to_owned();
        running.reloaded_by(&by(request), changed.map_err(first));
    }
    match reloaded {
        Ok(changes) => Ok(HttpResponse::Ok().json(Reloaded {
            applied: !plan && !changes.is_empty(),
            text: changes.to_string(),
            changes,
        })),
        Err(why) => Ok(refused(&why)),
    }
}

fn refused(why: &ReloadError) -> HttpResponse {
    let status = match why {
        ReloadError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
        ReloadError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::CONFLICT,
    };
    HttpResponse::build(status).json(NotReloaded {
        error: why.to_string(),
        refused: match why {
            ReloadError::Refused(refused) => refused.clone(),
            _ => Vec::new(),
        },
        diagnostics: match why {
            ReloadError::Invalid(mistakes) => Some(mistakes.to_json()),
            _ => None,
        },
    })
}
