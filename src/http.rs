//! HTTP in: a requester of a file that serves.

mod answers;
mod serving;

pub(crate) use serving::Listener;
