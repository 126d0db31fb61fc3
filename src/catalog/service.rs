//! Registers the shipped kinds of worker for balancers.

use super::Catalog;

mod command;
#[cfg(feature = "http")]
mod http;
pub(crate) mod span;
mod timed;
mod xyz;

pub(super) fn register(catalog: &mut Catalog) {
    catalog
        .add_service("sleep", "Sleeps: takes time, but no core", timed::sleep)
        .add_service("spin", "Computes: keeps a core busy for its time", timed::spin)
        .add_service_with_look(
            "command",
            "Starts a program for each request; a book's body is its input, \
             and its output the answer",
            command::make,
            command::CommandWorkerOptions::look,
        )
        .add_service("xyz", "Multiplies x by y, and takes that many units of time", xyz::make);
    #[cfg(feature = "http")]
    catalog.add_service(
        "http",
        "Sends a book's body to a server over HTTP; the response's body is the answer",
        http::make,
    );
}
