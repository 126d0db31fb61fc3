//! Trace records of requests, for a [`RequestTracer`].

use std::fmt;

use gopherworks_supervision::clock::Time;

/// Receives trace records. Called often, on the thread of the acting caller or worker, so it
/// should be fast; it must not call back into the balancer.
pub trait RequestTracer: Send + Sync {
    /// Receives one record.
    fn record(&self, record: &RequestRecord<'_>);
}

/// A trace record.
#[derive(Debug, Clone, Copy)]
pub struct RequestRecord<'a> {
    /// When it happened.
    pub at: Time,
    /// Name of the balancer or of the worker that acted.
    pub node: &'a str,
    /// What the node did.
    pub act: RequestAct,
}

/// Actions on a request. Requests are numbered in their balancer, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestAct {
    /// The balancer accepted a request.
    Ask {
        /// Number of the request.
        request: u64,
    },
    /// A worker started a request.
    Begin {
        /// Number of the request.
        request: u64,
        /// Number of the copy; 0 for the original.
        copy: u32,
    },
    /// A worker replied to a request.
    Answer {
        /// Number of the request.
        request: u64,
        /// Number of the copy.
        copy: u32,
        /// False if the request was over before.
        wanted: bool,
    },
    /// A worker lost a request that it was running.
    Lose {
        /// Number of the request.
        request: u64,
        /// Number of the copy.
        copy: u32,
    },
    /// A request was cancelled by its caller.
    Cancel {
        /// Number of the request.
        request: u64,
    },
    /// The deadline of a request passed.
    Expire {
        /// Number of the request.
        request: u64,
    },
    /// A request was shed under overload.
    Shed {
        /// Number of the request.
        request: u64,
    },
}

impl fmt::Display for RequestAct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestAct::Ask { request } => write!(f, "ask {request}"),
            RequestAct::Begin { request, copy } => write!(f, "begin {request}.{copy}"),
            RequestAct::Answer { request, copy, wanted } => {
                let word = if *wanted { "answer" } else { "waste" };
                write!(f, "{word} {request}.{copy}")
            }
            RequestAct::Lose { request, copy } => write!(f, "lose {request}.{copy}"),
            RequestAct::Cancel { request } => write!(f, "cancel {request}"),
            RequestAct::Expire { request } => write!(f, "expire {request}"),
            RequestAct::Shed { request } => write!(f, "shed {request}"),
        }
    }
}
