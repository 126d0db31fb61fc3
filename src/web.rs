//! Balancers and topologies inside an actix-web application.
//!
//! [`Operations`] mounts liveness, readiness, Prometheus metrics and a JSON snapshot with one
//! `.configure(...)`; all are read-only and answer at once, whatever the workers do. [`Refused`]
//! turns a balancer's refusal into an HTTP response. [`Operations::serve`] runs a server and shuts
//! down in order: readiness fails, HTTP finishes its requests, balancers and topologies drain,
//! accounts are returned.
//!
//! ```no_run
//! use actix_web::{App, HttpServer, web};
//! use gopherworks::balancer::{Balancer, BalancerHandle};
//! use gopherworks::balancer::worker::{Functions, Function};
//! use gopherworks::web::{Operations, Refused};
//!
//! type Sums = BalancerHandle<Functions<u64>>;
//!
//! async fn sum(sums: web::Data<Sums>, path: web::Path<(u64, u64)>) -> Result<String, Refused> {
//!     let (a, b) = path.into_inner();
//!     let sum: Function<u64> = Box::new(move || a + b);
//!     Ok(Refused::or(&sums, sums.call(sum).await)?.to_string())
//! }
//!
//! #[actix_web::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let sums = Balancer::of(|_| Functions::<u64>::quick()).name("sums").workers(4);
//!     let sums = sums.start().await?;
//!     let endpoints = Operations::new().balancer(&sums);
//!     let (routes, data) = (endpoints.clone(), web::Data::new(sums));
//!     let server = HttpServer::new(move || {
//!         let app = App::new().app_data(data.clone());
//!         app.route("/sum/{a}/{b}", web::get().to(sum)).configure(routes.routes())
//!     });
//!     let server = server.bind(("127.0.0.1", 8080))?.disable_signals().run();
//!     println!("{:?}", endpoints.serve(server).await?);
//!     Ok(())
//! }
//! ```

mod api;
mod hosts;
mod metrics;
mod operations;
mod page;
mod refused;
mod routes;
#[cfg(feature = "http")]
mod served;
mod shutdown;
mod watched;

pub use api::openapi;
#[cfg(feature = "http")]
pub(crate) use hosts::Hosts;
pub use metrics::{Metrics, reference as metrics_reference};
pub use operations::Operations;
#[cfg(feature = "http")]
pub(crate) use operations::Streamed;
pub use refused::Refused;
#[cfg(feature = "http")]
pub(crate) use served::ServerCounts;
pub use shutdown::Account;
pub(crate) use watched::{BalancerState, StoreState, TopologyState};
