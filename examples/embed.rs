//! A pipeline inside an application's own actix system: books offered with back-pressure, a work
//! and a burn of the application, events, a drain, and the final ledger.
//!
//! `cargo run --example embed`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt;
use gopherworks::catalog::Catalog;
use gopherworks::{Book, Event, Failure, Topology, TopologyConfig};

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let letters = Arc::new(AtomicU64::new(0));
    let counted = letters.clone();

    // The application's own kinds: closures that a config refers to by name.
    let mut catalog = Catalog::standard();
    catalog.add_work_fn("upper", "Makes text upper-case", |mut book: Book| {
        let text = book.body.read_all(1 << 20).map_err(|error| Failure::io("the text", &error))?;
        if text.is_empty() {
            return Err(Failure::permanent("nothing to shout"));
        }
        book.body = text.to_ascii_uppercase().into();
        Ok(Some(book))
    });
    catalog.add_burn_fn("letters", "Counts letters", move |book: &Book| {
        counted.fetch_add(book.size(), Ordering::Relaxed);
        Ok(())
    });

    let config = TopologyConfig::builder("embedded")
        .pile("inbox", |pile| pile.capacity_books(16))
        .dump("desk", |dump| dump.capacity_books(16))
        .incinerator("out", |fire| fire.burn("letters"))
        .crew("near", "inbox", "desk", |crew| {
            crew.gophers(2, "load push unload return").carts(2).cart_books(4).work("upper")
        })
        .crew("far", "desk", "out", |crew| crew.gophers(1, "load push unload return").cart_books(8))
        .build();
    let running = Topology::from_config(&config, &catalog)?.start().await?;

    let mut events = Box::pin(running.events());
    let watcher = actix::spawn(async move {
        let mut dead = 0;
        while let Some(event) = events.next().await {
            match event {
                Event::Dead { book, reason, .. } => {
                    dead += 1;
                    println!("book {book} is a dead letter: {reason}");
                }
                Event::Ended => break,
                _ => {}
            }
        }
        dead
    });

    // `offer` waits while the pile is full, so nothing grows without bound.
    for n in 0..1000 {
        running.offer("inbox", vec![Book::new(format!("book {n}"))]).await?;
        if n == 100 {
            // An actor may die at any time; the supervisor restarts it and no book is lost.
            running.kill("near/1");
        }
    }
    running.offer("inbox", vec![Book::new("")]).await?;

    let report = running.drain(None).await;
    println!(
        "burned {} of {}, {} dead, {} letters, {} restarts",
        report.ledger.burned,
        report.ledger.offered,
        report.ledger.dead,
        letters.load(Ordering::Relaxed),
        report.restarts,
    );
    assert!(report.ledger.balances());
    assert_eq!((report.ledger.burned, report.ledger.dead), (1000, 1));
    assert_eq!(watcher.await?, 1);
    Ok(())
}
