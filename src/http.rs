//! HTTP in: a requester of a file that serves.

mod answers;
mod connection;
mod gate;
mod pace;
mod requests;
mod server;
mod serving;

pub(crate) use serving::Listener;
