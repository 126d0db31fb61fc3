//! Why requests fail, and what that says about their outcome.

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use gopherworks_pipeline::store::StoreError;
use serde::Deserialize;

/// When to try again after the server could not be reached.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// Why a request failed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Another process was faster: the sequence of a subject is not the expected one.
    Raced,
    /// The server has a message with this `Nats-Msg-Id`.
    Duplicate,
    /// The message, stream or consumer does not exist.
    Missing,
    /// The request may or may not have taken effect.
    Unknown(String),
    /// The request failed without an effect.
    Failed(StoreError),
}

impl Fault {
    /// The meaning for a call that changes something.
    pub fn error(self) -> StoreError {
        match self {
            Self::Raced | Self::Missing => StoreError::Stale,
            Self::Duplicate => StoreError::Other("the message was stored before".into()),
            Self::Unknown(why) => StoreError::Unknown(why.into()),
            Self::Failed(error) => error,
        }
    }

    /// The meaning for a call that only reads.
    pub fn reading(self) -> StoreError {
        match self {
            Self::Unknown(why) => StoreError::unavailable(why, RETRY),
            other => other.error(),
        }
    }
}

/// An answer of the API that says why not.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct ApiError {
    #[serde(default)]
    code: u64,
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl From<ApiError> for Fault {
    fn from(error: ApiError) -> Self {
        let text = || format!("{} ({})", error.description, error.err_code);
        match error.err_code {
            // The last: a stream was created meanwhile.
            10071 | 10164 | 10058 => Self::Raced,
            10201 => Self::Duplicate,
            10014 | 10037 | 10043 | 10057 | 10059 => Self::Missing,
            // 10077 passes on any error of the server's files.
            10077 if !error.description.contains("exceeded") => {
                Self::Failed(StoreError::unavailable(text(), RETRY))
            }
            10002 | 10023 | 10028 | 10047 | 10077 => Self::Failed(StoreError::Full),
            _ if error.code >= 500 => Self::Failed(StoreError::unavailable(text(), RETRY)),
            _ => Self::Failed(StoreError::Other(text().into())),
        }
    }
}

/// What an error of a request says about its outcome.
pub(crate) fn fault(error: &async_nats::RequestError) -> Fault {
    match error.kind() {
        RequestErrorKind::NoResponders => {
            Fault::Failed(StoreError::unavailable("no server has the stream", RETRY))
        }
        RequestErrorKind::InvalidSubject => {
            Fault::Failed(StoreError::Other(error.to_string().into()))
        }
        RequestErrorKind::MaxPayloadExceeded => Fault::Failed(StoreError::TooLarge { limit: 0 }),
        RequestErrorKind::TimedOut | RequestErrorKind::Other => Fault::Unknown(error.to_string()),
    }
}

pub(crate) fn unreadable(error: impl std::fmt::Display) -> Fault {
    Fault::Unknown(format!("an answer can't be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault_of(code: u64, err_code: u64, description: &str) -> Fault {
        ApiError { code, err_code, description: description.to_owned() }.into()
    }

    #[test]
    fn errors_of_the_server_have_a_meaning() {
        let is_full = |fault| matches!(fault, Fault::Failed(StoreError::Full));
        assert!(is_full(fault_of(503, 10077, "maximum messages exceeded")));
        assert!(is_full(fault_of(503, 10077, "maximum bytes exceeded")));
        let down = |fault| matches!(fault, Fault::Failed(StoreError::Unavailable { .. }));
        assert!(down(fault_of(503, 10077, "write: input/output error")));
        assert!(down(fault_of(503, 10008, "JetStream system temporarily unavailable")));
        assert!(matches!(fault_of(400, 10071, "wrong last sequence: 2"), Fault::Raced));
        assert!(matches!(fault_of(400, 10201, "duplicate message id"), Fault::Duplicate));
        assert!(matches!(fault_of(404, 10059, "stream not found"), Fault::Missing));
        // The answer to the deletion of a message that another process has deleted.
        assert!(matches!(fault_of(404, 10043, "sequence 7 not found"), Fault::Missing));
        let other = fault_of(400, 10052, "invalid");
        assert!(matches!(other, Fault::Failed(StoreError::Other(_))), "{other:?}");
    }
}
