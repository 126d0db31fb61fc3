//! Registers the shipped kinds of worker for balancers.

use super::Catalog;

mod command;
#[cfg(feature = "http")]
mod http;
mod sleep;
pub mod span;
mod spin;
mod xyz;

pub(super) fn register(catalog: &mut Catalog) {
    catalog
        .add_service("sleep", "Waits: a request that takes time and no core", sleep::make)
        .add_service("spin", "Computes: a request that takes a core for its time", spin::make)
        .add_service_with_look(
            "command",
            "Starts a program for each request; a book's body is its input, \
             and its output the answer",
            command::make,
            command::Options::look,
        )
        .add_service("xyz", "Multiplies x by y, and takes so many units of time", xyz::make);
    #[cfg(feature = "http")]
    catalog.add_service(
        "http",
        "Asks somebody else over HTTP; a book's body is sent, and the response's the answer",
        http::make,
    );
}
