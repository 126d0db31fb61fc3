//! A web service whose requests are answered by supervised workers. The request `panic` kills its
//! worker; no other request is affected.
//!
//! `cargo run --example web_service`, then `curl -d hello http://127.0.0.1:8080/shout`; Ctrl-C
//! shuts it down in order.

use std::time::Duration;

use actix_web::{App, HttpServer, web};
use gopherworks::balancer::policy::WhenFull;
use gopherworks::balancer::resilience::Shed;
use gopherworks::balancer::worker::Work;
use gopherworks::balancer::{Balancer, BalancerHandle};
use gopherworks::web::{Operations, Refused};

struct Shouter;

impl Work for Shouter {
    type Request = String;
    type Reply = String;

    #[allow(clippy::disallowed_methods, reason = "the time of an application is its own")]
    async fn work(&mut self, text: String) -> String {
        assert_ne!(text, "panic", "told to");
        actix_rt::time::sleep(Duration::from_millis(10)).await;
        text.to_uppercase()
    }
}

async fn shout(
    shouters: web::Data<BalancerHandle<Shouter>>,
    text: String,
) -> Result<String, Refused> {
    Refused::or(&shouters, shouters.call(text).await)
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = (std::env::args().nth(1)).map_or(Ok(8080), |port| port.parse())?;
    let shouters = Balancer::of(|_| Shouter).name("shouters").workers(10).idempotent(3);
    let shouters = shouters.full(WhenFull::Reject).deadline(Duration::from_secs(2));
    let (target, interval) = (Duration::from_millis(20), Duration::from_millis(200));
    let shouters = shouters.shed(Shed { target, interval }).start().await?;
    let endpoints = Operations::new().balancer(&shouters);
    let (routes, data) = (endpoints.clone(), web::Data::new(shouters));
    let server = HttpServer::new(move || {
        let app = App::new().app_data(data.clone());
        app.route("/shout", web::post().to(shout)).configure(routes.routes())
    });
    // A client that disconnects cancels its request.
    let server = server.h1_allow_half_closed(false).bind(("127.0.0.1", port))?;
    println!("http://{}", server.addrs()[0]);
    for account in endpoints.serve(server.disable_signals().run()).await? {
        println!("{account:?}");
    }
    Ok(())
}
