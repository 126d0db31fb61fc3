//! A balancer's refusal as an HTTP answer.

use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use gopherworks_balancer::worker::Work;
use gopherworks_balancer::{BalancerHandle, CallError};

/// Why a request has no answer, as a response to its client.
///
/// 503 with `Retry-After` if the balancer is full, sheds load, is shut down, or has lost the
/// worker; 504 if the deadline passed while a worker was running it. The body contains no details:
/// the reason of a worker's death goes to the log only.
/// worker died of is for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    error: CallError,
    retry_after: Duration,
}

impl Refused {
    /// Wraps `error`; `retry_after` is when the client should try again.
    pub fn new(error: CallError, retry_after: Duration) -> Self {
        Self { error, retry_after }
    }

    /// The answer, or the refusal by `balancer`, for a handler to return.
    ///
    /// # Errors
    /// The call failed.
    pub fn or<W: Work, R>(
        balancer: &BalancerHandle<W>,
        answer: Result<R, CallError>,
    ) -> Result<R, Self> {
        answer.map_err(|error| Self::new(error, balancer.retry_after()))
    }

    /// The balancer's error.
    pub fn error(&self) -> &CallError {
        &self.error
    }

    /// The value of `Retry-After`, 1 to 3600 seconds.
    pub fn retry_after_s(&self) -> u64 {
        let seconds = self.retry_after.as_secs_f64().ceil();
        seconds.clamp(1.0, 3600.0) as u64
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.error {
            CallError::WorkerLost { .. } => "the worker was lost",
            CallError::Full | CallError::Shed { .. } => "overloaded",
            CallError::DeadlineExceeded { .. } => "too late",
            // `Closed`, and variants that may be added.
            _ => "shutting down",
        })
    }
}

impl std::error::Error for Refused {}

impl ResponseError for Refused {
    fn status_code(&self) -> StatusCode {
        match self.error {
            CallError::DeadlineExceeded { begun: true } => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        if self.status_code() == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header((RETRY_AFTER, self.retry_after_s()));
        }
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        response.insert_header((CONTENT_TYPE, text)).body(format!("{self}\n"))
    }
}
