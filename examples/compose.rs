//! Closures compose: Compose(sin, cos)(0.5) is sin(cos(0.5)). In a design the works of a crew
//! compose from left to right.

use gopherworks::config::builder::kind;
use gopherworks::{Book, Catalog, Failure, Topology, TopologyConfig};

fn compose(f: impl Fn(f64) -> f64, g: impl Fn(f64) -> f64) -> impl Fn(f64) -> f64 {
    move |x| f(g(x))
}

fn number(book: &Book) -> Result<f64, Failure> {
    let body = book.body.read_all(64).map_err(|error| Failure::io("reading", &error))?;
    let text = String::from_utf8_lossy(&body);
    text.parse().map_err(|_| Failure::permanent("no number"))
}

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("Compose(sin, cos)(0.5) = {}", compose(f64::sin, f64::cos)(0.5));

    let mut catalog = Catalog::standard();
    for (name, f) in [("sin", f64::sin as fn(f64) -> f64), ("cos", f64::cos)] {
        catalog.add_work_fn(name, "A function of a number", move |mut book: Book| {
            book.body = f(number(&book)?).to_string().into();
            Ok(Some(book))
        });
    }
    catalog.add_burn_fn("print", "Prints a book", |book: &Book| {
        println!("work = [\"cos\", \"sin\"]  = {}", number(book)?);
        Ok(())
    });
    let config = TopologyConfig::builder("compose")
        .pile("in", |pile| pile)
        .incinerator("out", |fire| fire.burn("print"))
        .crew("functions", "in", "out", |crew| {
            crew.gophers(1, "load push unload return").work(kind("cos")).work(kind("sin"))
        })
        .build();
    let running = Topology::from_config(&config, &catalog)?.start().await?;
    running.offer("in", vec![Book::new("0.5")]).await?;
    running.drain(None).await;
    Ok(())
}
