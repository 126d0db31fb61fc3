//! Balancers and topologies inside an actix-web application.
//!
//! [`Endpoints`] mounts what operators ask for with one `.configure(...)`: whether the process lives and is ready, metrics in the
//! Prometheus text format, and a snapshot in JSON. All of it is read-only and answers at once, whatever the workers do.
//! [`Refused`] makes of a balancer's refusal the HTTP answer that tells a client what to do. [`Endpoints::serve`] runs a server and ends it in
//! order: not ready, HTTP finishes its requests, balancers and topologies drain, the account.
//!
//! ```no_run
//! use actix_web::{App, HttpServer, web};
//! use gopherworks::actors::balancer::Balancer;
//! use gopherworks::actors::worker::from_fn;
//! use gopherworks::web::{Endpoints, Refused};
//!
//! #[actix_web::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let upper = Balancer::of(|_| from_fn(async |text: String| text.to_uppercase()));
//!     let upper = upper.name("upper").workers(4).start().await?;
//!     let endpoints = Endpoints::new().balancer(&upper);
//!     let (routes, data) = (endpoints.clone(), web::Data::new(upper.clone()));
//!     let server = HttpServer::new(move || {
//!         let shout = async |upper: web::Data<_>, text: String| Refused::or(&upper, upper.call(text).await);
//!         App::new().app_data(data.clone()).route("/shout", web::post().to(shout)).configure(routes.routes())
//!     });
//!     let server = server.bind(("127.0.0.1", 8080))?.disable_signals().run();
//!     println!("{:?}", endpoints.serve(server).await?);
//!     Ok(())
//! }
//! ```

mod endpoints;
mod metrics;
mod refused;
mod shutdown;
mod watched;

pub use endpoints::Endpoints;
pub use metrics::Metrics;
pub use refused::Refused;
pub use shutdown::Account;
