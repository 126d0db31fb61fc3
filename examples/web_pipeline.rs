//! A pipeline behind an endpoint: a request offers a book, waits while the pile is full, and is
//! answered with the outcome of the book.
//!
//! `cargo run --example web_pipeline`, then `curl -d hello http://127.0.0.1:8081/books`; Ctrl-C
//! shuts it down in order.

use std::time::Duration;

use actix_web::http::header::RETRY_AFTER;
use actix_web::{App, HttpResponse, HttpServer, web};
use gopherworks::pipeline::BookOutcome;
use gopherworks::web::Operations;
use gopherworks::{Book, Catalog, RunningTopology, Topology, TopologyConfig};

#[allow(clippy::disallowed_methods, reason = "the time of an application is its own")]
async fn books(running: web::Data<RunningTopology>, body: web::Bytes) -> HttpResponse {
    let offered = running.offer_watched("inbox", vec![Book::new(body)]);
    // Waits while the pile is full; after one second the client is asked to retry later.
    let Ok(offered) = actix_rt::time::timeout(Duration::from_secs(1), offered).await else {
        let mut busy = HttpResponse::ServiceUnavailable();
        return busy.insert_header((RETRY_AFTER, 1)).body("the pile is full\n");
    };
    let Some(book) = offered.ok().and_then(|mut books| books.pop()) else {
        let mut closing = HttpResponse::ServiceUnavailable();
        return closing.insert_header((RETRY_AFTER, 1)).body("closing\n");
    };
    let id = book.book();
    match book.await {
        Some(BookOutcome::Burned) => HttpResponse::Ok().body(format!("book {id} is burned\n")),
        Some(_) => HttpResponse::UnprocessableEntity().body(format!("book {id} can't be burned\n")),
        None => HttpResponse::Accepted().body(format!("the run ends before book {id} does\n")),
    }
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = (std::env::args().nth(1)).map_or(Ok(8081), |port| port.parse())?;
    let config = TopologyConfig::builder("books")
        .pile("inbox", |pile| pile.capacity_books(64))
        .incinerator("fire", |fire| fire.burn("count"))
        .crew("crew", "inbox", "fire", |crew| {
            crew.gophers(2, "load push unload return").carts(2).cart_books(16).work("sha256")
        })
        .build();
    let running = Topology::from_config(&config, &Catalog::standard())?.start().await?;
    let endpoints = Operations::new().topology(&running);
    let (routes, data) = (endpoints.clone(), web::Data::new(running));
    let server = HttpServer::new(move || {
        let app = App::new().app_data(data.clone());
        app.route("/books", web::post().to(books)).configure(routes.routes())
    });
    let server = server.bind(("127.0.0.1", port))?;
    println!("http://{}", server.addrs()[0]);
    for account in endpoints.serve(server.disable_signals().run()).await? {
        println!("everything is accounted for: {}", account.balances());
    }
    Ok(())
}
