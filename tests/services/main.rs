//! HTTP server and client: served requesters, and workers and burns of kind `http`.

#[cfg(feature = "http")]
mod gateway;
mod http_clients;
mod http_out;
mod monitoring;
mod operations;
#[cfg(feature = "http")]
mod statuses;
#[path = "../support/mod.rs"]
mod support;
mod under_load;
mod web;
