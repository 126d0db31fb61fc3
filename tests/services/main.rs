//! HTTP in and out: served requesters, clients, workers and burns.

#[cfg(feature = "http")]
mod gateway;
mod http_clients;
mod http_out;
#[path = "../support/mod.rs"]
mod support;
mod under_load;
mod web;
