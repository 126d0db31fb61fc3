//! The HTTP server of a requester.

mod answers;
mod connection;
mod gate;
mod pace;
mod server;
mod serving;

pub(crate) use serving::Listener;
