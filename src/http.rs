//! HTTP servers: of requesters, and for operators.

mod answers;
mod connection;
mod gate;
mod operations;
mod pace;
mod server;
mod service;
mod serving;

pub(crate) use operations::{OperationsListener, OperationsServer};
pub(crate) use serving::Listener;
